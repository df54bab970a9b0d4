"""What audit records tell of encryption contexts: names in clear, values as a MAC unless configured.

Equal pairs have equal MACs, so that the uses of one tenant can be found together; without the token nobody
can try values out on a stolen log. Whoever suspects a value makes a call under it, and compares its record.
"""

import hmac
import struct
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, Final

from strongroomd.domain.context import Context

LABEL: Final = b"strongroom.audit-context.v1"
"""What the row MAC key makes the key of: MACs of records begin otherwise."""
_SHOWN: Final = 16  # bytes of a MAC that a record has
_MOST_NAMES: Final = 10  # names that the record of a batch tells
_LENGTH: Final = struct.Struct(">I")

Facts = dict[str, Any]
Note = Callable[[Facts], None]
"""Puts a context into the facts of a record."""


class ContextNotes:
    """Makes notes of contexts.

    Args:
        key: HMAC key, 32 bytes; the same in every worker.
        plain: names whose values records tell in clear.
    """

    def __init__(self, key: bytes, plain: Collection[str] = ()) -> None:
        self._key = key
        self._plain = frozenset(name.encode() for name in plain)

    def noting(self, context: Context, field: str = "context") -> Note | None:
        """Give the note of a call's context, as `field` and `<field>_hmac`; None for an empty one."""
        return partial(self._note, context, field) if context else None

    def _note(self, context: Context, field: str, facts: Facts) -> None:
        clear, hashed = {}, {}
        for name, value in context:
            if name in self._plain:
                clear[name.decode()] = value.decode()
            else:
                hashed[name.decode()] = self._mac(name, value)
        if clear:
            facts[field] = clear
        if hashed:
            facts[f"{field}_hmac"] = hashed

    def _mac(self, name: bytes, value: bytes) -> str:
        message = _LENGTH.pack(len(name)) + name + _LENGTH.pack(len(value)) + value
        return hmac.digest(self._key, message, "sha256")[:_SHOWN].hex()


def noting_names(contexts: Iterable[Context]) -> Note:
    """Give the note of a batch's contexts: `context_keys`, the first distinct names."""
    return partial(_note_names, contexts)


def _note_names(contexts: Iterable[Context], facts: Facts) -> None:
    for context in contexts:
        for name, _ in context:
            told = facts.setdefault("context_keys", [])
            if len(told) == _MOST_NAMES:
                return
            text = name.decode()
            if text not in told:
                told.append(text)
