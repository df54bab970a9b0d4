"""Streams with use cases faked: one request's trouble stays its own, reading is bounded, rights end in time."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from strongroom.v1 import audit_pb2
from strongroom.v1 import crypto_pb2 as pb
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller, Principal
from strongroomd.frontends.grpc.audit import AuditServicer
from strongroomd.frontends.grpc.batches import STREAM_IN_FLIGHT, CryptoServicer
from strongroomd.frontends.grpc.door import Call, Refused
from strongroomd.frontends.grpc.identity import Peer

_ALICE = Principal("arn:aws:iam::111122223333:user/alice", "111122223333")
_PEER = Peer(_ALICE, "", 0.0)
_CALL = Call(Caller(_ALICE, "id", float("inf")), _PEER, lambda: _PEER)


class Signing:
    """Signs `message` by doing what it says."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.principals: list[Principal] = []
        self.hold = asyncio.Event()

    async def sign(self, caller: Caller, key: str, wanted: Any, *, dry_run: bool) -> Any:
        self.ids.add(caller.request_id)
        self.principals.append(caller.principal)
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


class Renewals:
    """Answers `Call.renew` with one thing after another; the last one stays."""

    def __init__(self, *answers: Principal | StrongroomError) -> None:
        self.answers = list(answers)

    def __call__(self) -> Peer:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, StrongroomError):
            raise answer
        return Peer(answer, "", 0.0)


async def _ending(replies: AsyncIterator[Any], each: Callable[[Any], None]) -> StrongroomError:
    """Take a stream's replies; give the error that it ends with."""
    try:
        async for reply in replies:
            each(reply)
    except StrongroomError as error:
        return error
    raise AssertionError("the stream ended well")


_REMOVED = StrongroomError(Reason.UNAUTHENTICATED_PEER)


async def test_a_certificate_that_speaks_for_nobody_any_more_ends_the_stream_once_all_is_answered() -> None:
    signing, read = Signing(), 0
    answers: list[int] = []

    async def requests() -> AsyncIterator[Any]:
        nonlocal read
        for read in range(1, 10):
            yield sign(read, b"")

    call = dataclasses.replace(_CALL, renew=Renewals(_ALICE, _ALICE, _REMOVED))
    error = await _ending(servicer(signing).Operate(requests(), call), lambda reply: answers.append(reply.id))

    assert error.reason is Reason.UNAUTHENTICATED_PEER
    assert (sorted(answers), read, len(signing.ids)) == ([1, 2], 3, 2)


async def test_each_operation_has_the_rights_of_its_moment() -> None:
    signing, administrator = Signing(), dataclasses.replace(_ALICE, administrator=True)

    async def requests() -> AsyncIterator[Any]:
        yield sign(1, b"")
        yield sign(2, b"")

    call = dataclasses.replace(_CALL, renew=Renewals(administrator, _ALICE))
    async for _ in servicer(signing).Operate(requests(), call):
        pass

    assert signing.principals == [administrator, _ALICE]


class Trail:
    """Gives records without end."""

    async def tail(self, *_: object) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield {"chain": "c", "seq": 1, "time": "2026-11-22T00:00:00.000Z", "hash": b"", "body": b""}

    def require_right(self, _: object) -> None:
        """Nobody loses it."""


@pytest.mark.parametrize(("after", "reason"), [(_REMOVED, "UNAUTHENTICATED_PEER"), (_ALICE, "ACCESS_DENIED")])
async def test_a_tail_ends_with_its_administrators_rights(
    after: Principal | StrongroomError, reason: str
) -> None:
    administrator = dataclasses.replace(_ALICE, administrator=True)
    renew = Renewals(administrator, administrator, after)
    call = Call(Caller(administrator, "id", float("inf")), Peer(administrator, "", 0.0), renew)
    nothing: Any = Trail()
    given: list[Any] = []

    tail = AuditServicer(nothing).TailAuditRecords(audit_pb2.TailAuditRecordsRequest(), call)
    error = await _ending(tail, given.append)

    assert (len(given), error.reason.value) == (2, reason)
