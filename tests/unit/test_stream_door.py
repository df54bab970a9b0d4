"""The stream of operations with use cases faked: one request's trouble stays its own, and reading is bounded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from strongroom.v1 import crypto_pb2 as pb
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller, Principal
from strongroomd.frontends.grpc.batches import STREAM_IN_FLIGHT, CryptoServicer
from strongroomd.frontends.grpc.door import Call, Refused
from strongroomd.frontends.grpc.identity import Peer

_ALICE = Principal("arn:aws:iam::111122223333:user/alice", "111122223333")
_CALL = Call(Caller(_ALICE, "id", float("inf")), Peer(_ALICE, "", 0.0))


class Signing:
    """Signs `message` by doing what it says."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.hold = asyncio.Event()

    async def sign(self, caller: Caller, key: str, wanted: Any, *, dry_run: bool) -> Any:
        self.ids.add(caller.request_id)
        if wanted.data == b"bug":
            raise KeyError("canary")
        if wanted.data == b"hold":
            await self.hold.wait()
        raise StrongroomError(Reason.KEY_DISABLED)


def servicer(signing: Signing) -> CryptoServicer:
    nothing: Any = None
    return CryptoServicer(nothing, signing, nothing, 2.0)  # type: ignore[arg-type]


def sign(number: int, what: bytes) -> pb.OperateRequest:
    return pb.OperateRequest(id=number, sign=pb.SignRequest(message=what))


async def test_a_bug_in_one_request_is_that_requests_internal_error() -> None:
    async def requests() -> AsyncIterator[Any]:
        yield sign(1, b"bug")
        yield sign(2, b"")
        yield Refused(StrongroomError(Reason.INVALID_FIELD, "not a message", field="request"))
        yield pb.OperateRequest(id=4)

    answers = [answer async for answer in servicer(Signing()).Operate(requests(), _CALL)]

    assert {(a.id, a.error.reason) for a in answers} == {
        (1, "INTERNAL"),
        (2, "KEY_DISABLED"),
        (0, "INVALID_FIELD"),
        (4, "INVALID_FIELD"),
    }
    assert "canary" not in str(answers)


async def test_no_more_is_read_while_64_requests_are_unanswered() -> None:
    signing, read = Signing(), 0

    async def requests() -> AsyncIterator[Any]:
        nonlocal read
        for read in range(1, 201):
            yield sign(read, b"hold")

    answers = servicer(signing).Operate(requests(), _CALL)
    first = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0.05)
    far = read
    signing.hold.set()
    await first
    rest = [answer async for answer in answers]

    assert far == STREAM_IN_FLIGHT + 1  # one is read and waits for room
    assert len(rest) == 199
    assert len(signing.ids) == 200  # each has a request id of its own
