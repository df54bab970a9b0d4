"""Circumstances that somebody supposes, for trying a policy out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from strongroomd.domain.errors import invalid
from strongroomd.domain.policy import keys
from strongroomd.domain.policy.circumstances import Circumstances
from strongroomd.domain.policy.keys import Kind
from strongroomd.domain.policy.request import Value

_FIELD: Final = "circumstances"


@dataclass(slots=True)
class Supposed(Circumstances):
    """What is supposed first, then what is known; what neither has is not there.

    Attributes:
        given: by condition key in lower case.
    """

    given: Mapping[str, Value] = field(default_factory=dict)

    def get(self, name: str, /) -> Value | None:
        """Give a condition key's value. Raises ACCESS_DENIED as its base does for names spelt alike."""
        return self.given[name] if name in self.given else Circumstances.get(self, name)

    def missing(self, _name: str) -> None:
        """Give nothing: a request that is made would bring it."""


def supposed_value(name: str, text: str) -> tuple[str, Value]:
    """Read a value that is written as text: (the condition key in lower case, the value).

    Raises:
        StrongroomError: INVALID_FIELD for a condition key that is unknown, or a value of another kind.
    """
    try:
        folded, row = keys.find(name)
    except keys.UnknownKeyError as error:
        raise invalid(_FIELD, f"a condition key {error}") from None
    if row.many:
        return folded, tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return folded, _read(row.kind, text)
    except ValueError:
        raise invalid(f"{_FIELD}.{row.name}", f"must be {row.kind.value}") from None


def _read(kind: Kind, text: str) -> Value:
    match kind:
        case Kind.BOOL:
            if text.lower() not in {"true", "false"}:
                raise ValueError(kind)
            return text.lower() == "true"
        case Kind.NUMERIC:
            return _finite(float(text))
        case Kind.DATE | Kind.EPOCH:
            return _moment(datetime.fromisoformat(text))
        case _:
            return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _moment(when: datetime) -> float:
    """Give seconds since 1970; a time without an offset is UTC."""
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
