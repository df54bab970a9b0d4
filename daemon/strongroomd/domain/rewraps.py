"""What a re-wrap by the recovery token is about to do, and what it did: for people and programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import spelled

LEVEL: Final = "token"
"""The material and the one-time keys that carry it are in clear inside tokens only, never in a process."""


class Stays(StrEnum):
    """Why a key version is not moved."""

    RESIDENT = "resident"
    NO_RECOVERY_BLOB = "no_recovery_blob"
    WRONG_BLOB = "wrong_blob"
    UNUSABLE = "unusable"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class RewrapPlan:
    """What is to be moved in one token, as the verified records have it.

    Attributes:
        token: name of the token; empty for the main one.
        sealed, exportable: the KEKs that keys move to; the newest of their roles.
        older: CKA_IDs (hex) of the KEKs that keys are to leave, sorted.
        keys: numbers of the versions to be moved, by the id of their key.
        stays: versions that cannot be moved whatever the recovery token says, by why.
        pairs: import wrapping pairs under older KEKs; they end by themselves within a day.
        wrapping_keys: ids of AES wrapping keys under older KEKs; they stay until somebody removes them.
    """

    token: str
    sealed: HouseRecord
    exportable: HouseRecord
    older: tuple[str, ...]
    keys: Mapping[str, tuple[int, ...]]
    stays: Mapping[Stays, tuple[str, ...]]
    pairs: int
    wrapping_keys: tuple[str, ...] = ()

    def target(self, *, exportable: bool) -> str:
        """Give the CKA_ID (hex) of the KEK that a key moves to."""
        return (self.exportable if exportable else self.sealed).hsm_id

    @property
    def versions(self) -> int:
        """Count the versions to be moved."""
        return sum(len(numbers) for numbers in self.keys.values())


@dataclass(slots=True)
class RewrapReport:
    """What a re-wrap found and did; versions are written as `<key id>/<version>`.

    Attributes:
        plan: what was to be moved.
        moved: versions that were.
        stays: versions that were not, by why.
        left_under: how many key versions each older KEK still wraps.
        approved_by: ARNs of who approved it; empty for a dry run, and where nothing was to be moved.
        seconds: how long it took.
    """

    plan: RewrapPlan
    moved: list[str] = field(default_factory=list)
    stays: dict[Stays, list[str]] = field(default_factory=dict)
    left_under: dict[str, int] = field(default_factory=dict)
    approved_by: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Begin with what cannot be moved whatever happens."""
        for why, names in self.plan.stays.items():
            self.stays.setdefault(why, []).extend(names)

    def stay(self, name: str, why: Stays) -> None:
        """Take down a version that is not moved."""
        self.stays.setdefault(why, []).append(name)

    def facts(self) -> dict[str, Any]:
        """Give the report as plain JSON."""
        plan = self.plan
        return {
            "token": spelled(plan.token),
            "from": list(plan.older),
            "sealed": plan.sealed.hsm_id,
            "exportable": plan.exportable.hsm_id,
            "level": LEVEL,
            "planned": plan.versions,
            "moved": self.moved,
            "stays": {why.value: self.stays.get(why, []) for why in Stays},
            "wrapping_pairs": plan.pairs,
            "wrapping_keys": list(plan.wrapping_keys),
            "left_under": self.left_under,
            "approved_by": self.approved_by,
            "seconds": f"{self.seconds:.1f}",
        }
