"""Rows to frozen dataclasses and back, by the dataclass's own type hints.

A row is what somebody may have edited with another program. Whatever is not exactly of the field's type is an
INTEGRITY_FAILURE naming the record, never a crash and never a guess.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_type_hints

import orjson

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import Record
from strongroomd.ports import Stored
from strongroomd.telemetry import logs

D = TypeVar("D")
R = TypeVar("R", bound=Record)
Decoder = Callable[[Any], Any]
_log = logs.get("storage")


def damaged(what: str) -> StrongroomError:
    """Make the error for a row that cannot be what the daemon wrote; `what` goes to the log only."""
    return StrongroomError(Reason.INTEGRITY_FAILURE, detail=f"store: {what}")


def encode(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass that has a table
    """Give the columns of a record: enums as their text, pairs as JSON, truth values as 0 and 1."""
    return {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}


def decode(cls: type[D], row: Mapping[str, Any]) -> D:
    """Make the dataclass of a row.

    Raises:
        StrongroomError: INTEGRITY_FAILURE if any column holds what the daemon cannot have written.
    """
    try:
        decoders = _decoders(cls)  # type: ignore[arg-type]  # mypy takes type[D] for unhashable
        return cls(**{name: decoder(row[name]) for name, decoder in decoders.items()})
    except (TypeError, ValueError) as error:
        raise damaged(f"a {cls.__name__} row is damaged: {type(error).__name__}") from error


def decode_stored(cls: type[R], row: Mapping[str, Any]) -> Stored[R]:
    """Make a record and its MAC from a row, proving that the row stands under its own id.

    The MAC covers the fields but not the primary key: without this check two rows could swap their places.
    """
    record_id = row["record_id"]
    try:
        record = decode(cls, row)
        mac = _bytes(row["mac"])
    except (StrongroomError, TypeError) as error:
        raise damaged(f"{cls.KIND} {record_id!r} is damaged") from error
    if record.record_id != record_id:
        raise damaged(f"{cls.KIND} {record_id!r} holds another record")
    return Stored(record, mac)


def decode_whole(cls: type[R], rows: Iterable[Mapping[str, Any]]) -> list[Stored[R]]:
    """Make the records of those rows that can be read; the others are logged, and keep nobody waiting."""
    whole = []
    for row in rows:
        try:
            whole.append(decode_stored(cls, row))
        except StrongroomError as error:
            _log.error("a row is damaged and left out", detail=error.detail)
    return whole


@cache
def _decoders(cls: type[Any]) -> dict[str, Decoder]:
    hints = get_type_hints(cls)
    return {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(cls)}


def _decoder(annotation: Any) -> Decoder:  # noqa: ANN401 - a type hint may be anything
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation
    return _DECODERS[annotation]


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case bool():
            return int(value)
        case tuple():
            return orjson.dumps(value).decode()
        case _:
            return value


def _bool(value: object) -> bool:
    if type(value) is not int or value not in {0, 1}:
        raise TypeError("not a truth value")
    return value == 1


def _int(value: object) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError("not text")
    return value


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise TypeError("not bytes")
    return value


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    pairs = orjson.loads(_text(value))
    if not isinstance(pairs, list):
        raise TypeError("not a list")
    return tuple(_pair(pair) for pair in pairs)


def _pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError("not a pair")
    return _text(value[0]), _text(value[1])


_DECODERS: dict[Any, Decoder] = {
    bool: _bool,
    int: _int,
    str: _text,
    bytes: _bytes,
    tuple[tuple[str, str], ...]: _pairs,
}
