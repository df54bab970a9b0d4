"""Records of every kind, with something in every field."""

import dataclasses
from enum import Enum
from typing import Any, get_type_hints

from strongroomd.domain.records import KeyState, Record, RewrapState, VersionState

LIVING: dict[str, Any] = {
    "rewrap": RewrapState.RUNNING,
    "key": KeyState.ENABLED,
    "version": VersionState.ACTIVE,
}


def sample(kind: type[Record]) -> Any:
    """A record of a kind with something in every field."""
    hints = get_type_hints(kind)
    values = {field.name: _some(hints[field.name]) for field in dataclasses.fields(kind)}
    if kind.KIND in LIVING:
        values["state"] = LIVING[kind.KIND]
    return kind(**values)


def _some(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    return {str: "1", int: 1, bool: False, bytes: b"1"}.get(hint, (("a", "1"),))
