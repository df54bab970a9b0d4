"""The daemon's own keys in the token: which there are, and which of several generations is the one in use.

A role gets successors; what came before stays, to unwrap and to verify. A successor is first an intent (a
record that names the CKA_ID to come), then an object, then the active record: who dies in between leaves an
intent, which upkeep finishes or marks as failed. House keys cannot be destroyed.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from strongroomd.domain.errors import invalid
from strongroomd.domain.records import HouseRecord, HouseState


class House(StrEnum):
    """The daemon's own keys in the token."""

    KEK_SEALED = "kek-sealed"
    KEK_EXPORTABLE = "kek-exportable"
    ROW_MAC = "row-mac"
    CHECKPOINT = "checkpoint"
    STATEMENT = "statement"
    SENTINEL = "sentinel"
    HEALTH = "health"
    REPLICA = "replica"


KEKS: Final = (House.KEK_SEALED, House.KEK_EXPORTABLE)
"""Those that wrap customers' keys."""

OF_EVERY_TOKEN: Final = frozenset({*KEKS, House.SENTINEL, House.HEALTH})
"""Those that a further token has as well; the others are the main one's alone."""

ON_DEMAND: Final = frozenset({House.REPLICA})
"""Those that a house has only once an operator asks for the first one (RotateHouseKey)."""


MAC_TAG_BYTES: Final = 8
"""So many bytes of its CKA_ID name the row MAC key before a MAC; the first key's MACs have no such name."""


def active(records: Iterable[HouseRecord]) -> list[HouseRecord]:
    """Pick the keys that are there, older generations first."""
    there = [record for record in records if record.state is HouseState.ACTIVE]
    return sorted(there, key=lambda record: record.generation)


def newest(records: Iterable[HouseRecord], role: House, token: str) -> HouseRecord | None:
    """Find the key of a role that is in use in a token; None where there is none."""
    mine = [record for record in active(records) if record.role == role.value and record.token == token]
    return mine[-1] if mine else None


def checkpoint_key(house: Iterable[HouseRecord]) -> bytes:
    """Find the public key of the first checkpoint house key (DER SubjectPublicKeyInfo)."""
    return next(iter(checkpoint_keys(house)), b"")


def checkpoint_keys(house: Iterable[HouseRecord]) -> list[bytes]:
    """Find the public keys of all checkpoint house keys (DER SubjectPublicKeyInfo), the first one first."""
    return [record.public_key for record in active(house) if record.role == House.CHECKPOINT.value]


def older(records: Iterable[HouseRecord], target: str) -> list[HouseRecord]:
    """Pick the active keys of generations before a key's, by its CKA_ID (hex); none for an unknown one."""
    there = active(records)
    age = next((record.generation for record in there if record.hsm_id == target), 0)
    return [record for record in there if record.generation < age]


def next_generation(records: Iterable[HouseRecord], role: House, token: str) -> int:
    """Number the successor: one more than any that was ever tried."""
    tried = [r.generation for r in records if r.role == role.value and r.token == token]
    return max(tried, default=-1) + 1


def role_of(text: str, token: str) -> House:
    """Read the role of a key that can get a successor in a token.

    Raises:
        StrongroomError: INVALID_FIELD for a word that is no role, or a role that a further token lacks.
    """
    try:
        role = House(text)
    except ValueError:
        raise invalid("role", "must be one of " + ", ".join(House)) from None
    if token and role not in OF_EVERY_TOKEN:
        raise invalid("role", "only the main token has such a key")
    return role
