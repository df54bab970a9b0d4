"""What the sync and the asyncio stream share: requests of the stream and their answers."""

import itertools
from functools import cache
from typing import Final

from google.protobuf.message import Message

from strongroom._faults import from_item
from strongroom.errors import InvalidRequest, StrongroomError, Unavailable, damaged, error
from strongroom.v1 import crypto_pb2 as pb

PATH: Final = "/strongroom.v1.CryptoService/Operate"
WINDOW: Final = 64
"""Requests under way at once: more than these the daemon does not read."""


class Numbers:
    """Numbers for the requests of one stream."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def wrap(self, request: Message) -> pb.OperateRequest:
        """Put a request under a fresh number."""
        name = _names().get(request.DESCRIPTOR.full_name)
        if name is None:
            raise InvalidRequest("INVALID_FIELD", "a stream does not carry this operation", field="operation")
        wrapped = pb.OperateRequest(id=next(self._next))
        getattr(wrapped, name).CopyFrom(request)
        return wrapped


def unwrap(request: pb.OperateRequest, response: pb.OperateResponse) -> Message:
    """Take the reply out of the answer to a request.

    Raises:
        StrongroomError: the request failed, or the answer is of another kind than the request.
    """
    kind = response.WhichOneof("result")
    if kind == "error":
        raise from_item(response.error)
    if kind is None or kind != request.WhichOneof("operation"):
        raise damaged("the answer is of another kind than the request", "result")
    reply: Message = getattr(response, kind)
    return reply


def lost() -> StrongroomError:
    """Say that the stream ended before the answer came; the request may be sent again on another."""
    return Unavailable("CONNECTION_FAILED", "the stream ended before the answer came")


def again(failure: StrongroomError) -> StrongroomError:
    """Make an equal error: one broken stream fails many operations, and each raises an error of its own."""
    return error(failure.reason, failure.message, retry_after=failure.retry_after, code=failure.code)


def closed() -> StrongroomError:
    """Say that the stream or client was closed by its owner."""
    return error("CLOSED", "it was closed by its owner")


@cache
def _names() -> dict[str, str]:
    """Message type -> member of the oneof that carries it."""
    members = pb.OperateRequest.DESCRIPTOR.oneofs_by_name["operation"].fields
    return {member.message_type.full_name: member.name for member in members if member.message_type}
