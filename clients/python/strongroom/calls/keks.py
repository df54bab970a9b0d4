"""KekService: the daemon's own keys, and moving keys from older KEKs to the newest."""

from typing import Any, Final

from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.v1 import keks_pb2 as pb


def _rpc(method: str) -> Rpc[Any, Any]:
    return Rpc("KekService", method, getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response"))


_LIST: Final = _rpc("ListHouseKeys")
_ROTATE: Final = _rpc("RotateHouseKey")
_START: Final = _rpc("StartRewrap")
_GET: Final = _rpc("GetRewrap")
_CANCEL: Final = _rpc("CancelRewrap")


def list_house_keys() -> Call[tuple[results.HouseKey, ...]]:
    """List the daemon's own keys, and how many key versions each KEK wraps; for operators."""
    return _LIST.call(_LIST.make(), lambda reply: tuple(map(_house_key, reply.house_keys)))


def rotate_house_key(role: str, *, token: str = "", request_id: str | None = None) -> Call[results.HouseKey]:
    """Make a new key for one of the daemon's own roles; the one before stays for what is under it.

    Args:
        role: `kek-sealed`, `kek-exportable`, `row-mac`, `checkpoint`, `statement`, `sentinel`,
            `health` or `replica`.
        token: which token; empty for the main one.
        request_id: idempotency key; a fresh one by default.
    """
    request = _ROTATE.make(role=role, token=token, request_id=request_id)
    return _ROTATE.call(request, lambda reply: _house_key(reply.house_key))


def start_rewrap(
    *, token: str = "", per_second: int = 0, request_id: str | None = None
) -> Call[results.Rewrap]:
    """Have a token's exportable keys move to its newest exportable KEK, in the background.

    Args:
        token: which token; empty for the main one.
        per_second: most key versions moved in a second, 1 to 2,000; 0 for 200.
        request_id: idempotency key; a fresh one by default.
    """
    request = _START.make(token=token, per_second=per_second, request_id=request_id)
    return _START.call(request, _rewrap)


def get_rewrap(*, token: str = "") -> Call[results.Rewrap]:
    """Say how far a token's re-wrap is, or how it ended."""
    return _GET.call(_GET.make(token=token), _rewrap)


def cancel_rewrap(*, token: str = "", request_id: str | None = None) -> Call[results.Rewrap]:
    """Stop a token's re-wrap; what has moved stays moved."""
    return _CANCEL.call(_CANCEL.make(token=token, request_id=request_id), _rewrap)


def _house_key(found: pb.HouseKey) -> results.HouseKey:
    return results.HouseKey(
        role=found.role,
        token=found.token,
        generation=found.generation,
        house_key_id=found.house_key_id,
        in_use=found.in_use,
        state=found.state,
        created_time=_read.time_of(found, "created_time"),
        versions=found.versions,
        public_key=found.public_key,
    )


def _rewrap(reply: Any) -> results.Rewrap:  # noqa: ANN401 - any answer that carries a re-wrap
    found: pb.Rewrap = reply.rewrap
    return results.Rewrap(
        token=found.token,
        target_house_key_id=found.target_house_key_id,
        state=found.state,
        total=found.total,
        rewrapped=found.rewrapped,
        failed=found.failed,
        per_second=found.per_second,
        start_time=_read.time_of(found, "start_time"),
        end_time=_read.time_of(found, "end_time"),
        started_by=found.started_by,
    )
