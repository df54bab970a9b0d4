"""Structured logs: one JSON object a line on standard error, with the request id of the call being served.

Code logs names, versions, sizes, durations and reasons, never secrets. The redactor here is a net beneath
that rule, not a licence: it drops every bytes value, every value under a name that speaks of a secret, the
repr of every object, and the text of every foreign exception (an SQL error quotes its parameters). Writing a
log line never fails a call: a closed or full log pipe loses lines.
"""

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from strongroomd.domain.errors import StrongroomError

_SECRET_WORDS: Final = (
    "pin",
    "password",
    "passphrase",
    "secret",
    "plaintext",
    "private",
    "material",
    "credential",
    "authorization",
    "blob",
    "seed",
)
_SECRET_NAMES: Final = frozenset(
    {"data_key", "datakey", "message", "digest", "shared", "key_pem", "token_pin"}
)
_REDACTED: Final = "[redacted]"
_MAX_TEXT: Final = 2_000  # characters of one value: a log line stays a line
_MAX_DEPTH: Final = 4
_MAX_FRAMES: Final = 20


def configure(level: str = "info", worker: int | None = None, stream: TextIO | None = None) -> None:
    """Send every log of this process, third parties' included, as JSON lines to standard error.

    Args:
        level: the least severe level that is written: debug, info, warning or error.
        worker: the worker's index, put into each line; None in the supervisor and in commands.
        stream: where to write instead of standard error.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    sink = _Sink(sys.stderr if stream is None else stream)
    place = {} if worker is None else {"worker": worker}
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        lambda _logger, _method, event: {**place, **event},
        redact,
        structlog.processors.JSONRenderer(sort_keys=False, default=_type_name),
    ]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_args: sink,
        cache_logger_on_first_use=False,
    )
    handler = _Foreign()
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    logging.captureWarnings(capture=True)


def get(room: str) -> FilteringBoundLogger:
    """Give the logger of a room; `room` names the source of each line, e.g. `hsm`.

    The logger finds its configuration at each line, so a module may make one while it is imported.
    """
    return cast("FilteringBoundLogger", structlog.get_logger(room=room))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop what may be secret: bytes, values under telling names, reprs, foreign exceptions' texts."""
    error = event.pop("exc_info", None)
    clean: EventDict = {key: _clean(key, value, 0) for key, value in event.items()}
    if error := _exception(error):
        clean["error"] = describe(error)
    return clean


def describe(error: BaseException) -> dict[str, Any]:
    """Say what an exception is and where it was raised, without the values it speaks of."""
    frames = traceback.extract_tb(error.__traceback__, limit=-_MAX_FRAMES)
    described: dict[str, Any] = {
        "type": type(error).__qualname__,
        "at": [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, StrongroomError):
        described |= {"reason": error.reason.value, "field": error.field, "detail": error.detail}
    elif isinstance(error, OSError):
        described["errno"] = error.errno
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        described["cause"] = type(cause).__qualname__
    return described


def _exception(value: object) -> BaseException | None:
    match value:
        case BaseException():
            return value
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exc_info()[1]
    return None


def _clean(key: str, value: object, depth: int) -> Any:  # noqa: ANN401, PLR0911 - any JSON value
    if _tells_secret(key):
        return _REDACTED
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return _clean("", value.value, depth)
        case str():
            return value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "…"
        case PurePath():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return f"[{len(value)} bytes]"
        case BaseException():
            return describe(value)
        case Mapping() if depth < _MAX_DEPTH:
            return {str(name): _clean(str(name), item, depth + 1) for name, item in value.items()}
        case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
            return [_clean("", item, depth + 1) for item in value]
    return _type_name(value)


def _tells_secret(key: str) -> bool:
    parts = key.lower().replace("-", "_").split("_")
    return key.lower() in _SECRET_NAMES or any(word in parts for word in _SECRET_WORDS)


def _type_name(value: object) -> str:
    return f"[{type(value).__qualname__}]"


class _Sink:
    """Writes lines to a stream and gives up silently when it cannot: logging must not fail a call."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = fatal = log = msg


class _Foreign(logging.Handler):
    """Carries the standard library's log records into ours: the format string, not what was put into it."""

    def emit(self, record: logging.LogRecord) -> None:
        event: MutableMapping[str, Any] = {"room": "third-party", "source": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        structlog.get_logger().log(record.levelno, str(record.msg)[:_MAX_TEXT], **event)
