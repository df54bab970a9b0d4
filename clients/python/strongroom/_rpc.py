"""One call as a value: what is asked, and how its answer is checked and read.

The modules in `strongroom.calls` turn plain arguments into a `Call`; the clients and streams only carry it
out. So arguments, checksums and answers are handled once, for sync and asyncio alike. What holds for every
message of the API is read from its descriptor: `<field>_crc32c` companions, `verified_<field>_crc32c`,
`request_id`.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar, cast

import google_crc32c
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from strongroom.errors import InvalidRequest, StrongroomError, damaged

Answer = TypeVar("Answer")
Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)
M = TypeVar("M", bound=Message)

_CRC = "_crc32c"
_KEY_FIELDS = ("", "source_", "destination_")  # ReEncrypt names two keys


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A request that is ready to be sent.

    Attributes:
        path: the method, `/strongroom.v1.<Service>/<Method>`.
        request: the message; it may hold secrets and has no repr.
        parse: reads the reply's bytes.
        read: checks a parsed reply and makes the answer; raises IntegrityError for a damaged one.
        repeatable: whether sending it twice does what sending it once does.
    """

    path: str
    request: Message = field(repr=False)
    parse: Callable[[bytes], Message] = field(repr=False)
    read: Callable[[Message], Answer] = field(repr=False)
    repeatable: bool


class Rpc(Generic[Request, Reply]):
    """One method of the API: its path and its two message types."""

    def __init__(self, service: str, method: str, request: type[Request], reply: type[Reply]) -> None:
        self.path = f"/strongroom.v1.{service}/{method}"
        self._request = request
        self._reply = reply

    def make(self, /, **fields: object) -> Request:
        """Make the request, with its checksums, and a fresh request_id where `request_id` is None."""
        if fields.get("request_id", "") is None:
            fields["request_id"] = str(uuid.uuid4())
        return make(self._request, **fields)

    def call(self, request: Request, read: Callable[[Reply], Answer]) -> Call[Answer]:
        """Say that this request shall be sent, and how its answer is read."""

        def checked_read(reply: Message) -> Answer:
            check_reply(reply)
            _check_answers_the_question(request, reply)
            return read(cast("Reply", reply))

        # The one field that makes a mutation repeatable; calls that change nothing have none and always are.
        repeatable = getattr(request, "request_id", None) != ""
        return Call(self.path, request, self._reply.FromString, checked_read, repeatable)


def make(message: type[M], /, **fields: object) -> M:
    """Make a message with the checksums of its bytes; arguments of a wrong type are refused by name.

    Raises:
        InvalidRequest: INVALID_FIELD.
    """
    try:
        made = message(**cast("Any", fields))
    except (TypeError, ValueError) as mistake:
        raise _blame(message, fields, mistake) from None
    for name in _plan(message.DESCRIPTOR).checksummed:
        # A field with presence: left out, it is not checked.
        setattr(made, name + _CRC, crc32c(getattr(made, name)))
    return made


def serialise(message: Message) -> bytes:
    """Write a message: what gRPC calls the serialiser of requests."""
    return message.SerializeToString()


def crc32c(data: bytes) -> int:
    """CRC32C (Castagnoli) of some bytes, as a number."""
    return cast("int", google_crc32c.value(data))


def check_reply(reply: Message) -> None:
    """Check every checksum in a reply, and that those of the request were looked at.

    Raises:
        IntegrityError: REPLY_DAMAGED, naming the field.
    """
    plan = _plan(reply.DESCRIPTOR)
    for name in plan.checksummed:
        if crc32c(getattr(reply, name)) != getattr(reply, name + _CRC):
            raise damaged("the answer does not match its CRC32C", name)
    for name in plan.verified:
        if not getattr(reply, name):
            raise damaged("the daemon did not see the request's CRC32C", name)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the descriptor of a message says about checksums."""

    checksummed: tuple[str, ...]
    verified: tuple[str, ...]


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    names = [found.name for found in descriptor.fields]
    verified = tuple(name for name in names if name.startswith("verified_") and name.endswith(_CRC))
    companions = (name.removesuffix(_CRC) for name in names if name.endswith(_CRC) and name not in verified)
    return _Plan(tuple(companions), verified)


def _check_answers_the_question(request: Message, reply: Message) -> None:
    """Check that the key and version that answered are those that were asked, where the request says them."""
    for prefix in _KEY_FIELDS:
        key: str = getattr(request, f"{prefix}key", "")
        arn: str = getattr(reply, f"{prefix}key_arn", "")
        by_id = bool(key) and not key.startswith("alias/") and ":alias/" not in key
        if by_id and arn and key not in (arn, arn.rpartition("/")[2]):
            raise damaged("the answer is about another key than the request", f"{prefix}key_arn")
        version: int = getattr(request, f"{prefix}key_version", 0)
        if version and getattr(reply, f"{prefix}key_version", version) != version:
            raise damaged("the answer is about another key version than the request", f"{prefix}key_version")


def _blame(message: type[Message], fields: dict[str, object], mistake: Exception) -> StrongroomError:
    """Find the field that a message cannot take; the error names it, never its value."""
    rule = "must be valid UTF-8" if isinstance(mistake, UnicodeError) else "has a wrong type or range"
    for name, value in fields.items():
        try:
            message(**cast("Any", {name: value}))
        except (TypeError, ValueError):
            return InvalidRequest("INVALID_FIELD", rule, field=name)
    return InvalidRequest("INVALID_FIELD", rule)
