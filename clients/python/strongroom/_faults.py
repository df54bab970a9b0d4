"""gRPC errors and the API's own item errors, translated once into `strongroom.errors`.

The daemon's errors carry google.rpc details, of which ErrorInfo (domain "strongroom") names the reason. A
status without them was made by gRPC itself: a lost connection, a passed deadline, or a message that the
transport refused.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2

from strongroom.errors import StrongroomError, error
from strongroom.v1 import crypto_pb2

DOMAIN: Final = "strongroom"
_STATUS: Final = "grpc-status-details-bin"
_PUSHBACK: Final = "grpc-retry-pushback-ms"
_C = grpc.StatusCode

_WITHOUT_DETAILS: Final[dict[grpc.StatusCode, tuple[str, str]]] = {
    _C.UNAVAILABLE: ("CONNECTION_FAILED", "the daemon cannot be reached, or the connection was lost"),
    # A worker that dies in the middle of an answer shows as one of these three.
    _C.INTERNAL: ("CONNECTION_FAILED", "the connection was lost during the call"),
    _C.UNKNOWN: ("CONNECTION_FAILED", "the connection was lost during the call"),
    _C.CANCELLED: ("CONNECTION_FAILED", "the call was cancelled on its way"),
    _C.DEADLINE_EXCEEDED: ("DEADLINE_EXCEEDED", "the deadline passed before the answer came"),
    _C.RESOURCE_EXHAUSTED: (
        "FIELD_TOO_LARGE",
        "the request is larger than one message may be (262,144 bytes)",
    ),
    _C.UNIMPLEMENTED: (
        "UNSUPPORTED_BY_DAEMON",
        "this daemon does not know the method; it may be older than this client",
    ),
    _C.UNAUTHENTICATED: ("UNAUTHENTICATED_PEER", "the daemon does not accept the client certificate"),
    _C.INVALID_ARGUMENT: ("INVALID_FIELD", "the daemon could not read the request"),
}

D = TypeVar("D", bound=Message)


def from_rpc(failure: grpc.RpcError) -> StrongroomError:
    """Translate what a call of gRPC, sync or aio, raised."""
    call: Any = failure  # grpc.RpcError itself has no methods; every error of a call is a grpc.Call as well
    trailers = dict(call.trailing_metadata() or ())
    code: grpc.StatusCode = call.code()
    status = _status(trailers.get(_STATUS))
    info = _first(status, details_pb2.ErrorInfo)
    if info is None or info.domain != DOMAIN:
        return _from_transport(code)
    request = _first(status, details_pb2.RequestInfo)
    return error(
        info.reason,
        status.message or info.reason,
        field=_field(status, info),
        retry_after=_wait(status, trailers.get(_PUSHBACK)),
        request_id="" if request is None else request.request_id,
        code=code.name,
        violations=tuple(_violations(status)),
    )


def from_item(item: crypto_pb2.ItemError) -> StrongroomError:
    """Translate the error of one item of a batch, or of one request of a stream."""
    wait = item.retry_after.ToTimedelta().total_seconds() if item.HasField("retry_after") else None
    return error(item.reason, item.message, field=item.field, retry_after=wait)


def _from_transport(code: grpc.StatusCode) -> StrongroomError:
    reason, message = _WITHOUT_DETAILS.get(code, ("CONNECTION_FAILED", "the call failed without a reason"))
    return error(reason, message, code=code.name)


def _status(trailer: str | bytes | None) -> status_pb2.Status:
    status = status_pb2.Status()
    if isinstance(trailer, bytes):
        try:
            status.ParseFromString(trailer)
        except DecodeError:
            # Details that cannot be read are as good as none.
            status.Clear()
    return status


def _first(status: status_pb2.Status, kind: Callable[[], D]) -> D | None:
    """Find the one detail of a kind; each occurs at most once (AIP-193)."""
    for packed in status.details:
        found = kind()
        if packed.Is(found.DESCRIPTOR) and packed.Unpack(found):
            return found
    return None


def _field(status: status_pb2.Status, info: details_pb2.ErrorInfo) -> str:
    request = _first(status, details_pb2.BadRequest)
    if request is not None and request.field_violations:
        return str(request.field_violations[0].field)
    return str(info.metadata.get("field", ""))


def _wait(status: status_pb2.Status, pushback: str | bytes | None) -> float | None:
    """Read the wait that the daemon names: RetryInfo, else the pushback trailer."""
    retry = _first(status, details_pb2.RetryInfo)
    if retry is not None:
        return max(0.0, float(retry.retry_delay.ToTimedelta().total_seconds()))
    try:
        milliseconds = int(pushback) if pushback is not None else -1
    except ValueError:
        return None
    return milliseconds / 1000 if milliseconds >= 0 else None


def _violations(status: status_pb2.Status) -> Iterable[tuple[str, str]]:
    quota = _first(status, details_pb2.QuotaFailure)
    if quota is not None:
        yield from ((each.subject, each.description) for each in quota.violations)
    state = _first(status, details_pb2.PreconditionFailure)
    if state is not None:
        yield from ((each.subject, each.description) for each in state.violations)
