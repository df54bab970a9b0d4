"""What a restore found and did: the report for people and programs."""

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class RestorePath(StrEnum):
    """How the keys came back."""

    TOKEN_COPY = "token copy"  # noqa: S105 - a path's name
    TOKEN_IN_PLACE = "token in place"  # noqa: S105 - likewise
    RECOVERY = "recovery"


@dataclass(slots=True)
class RestoreReport:
    """What a restore found and did; every list is of key versions, as `<key id>/<version>`, but the last two.

    Attributes:
        set: the set's name.
        created_at: when it was made, RFC 3339.
        path: how the keys came back.
        seconds: how long it took.
        tokens: what became of each token, by its name.
        records, audit_records, checkpoints: how many verified.
        keys: how many versions have the right check value, by custody mode.
        wrong: wrapped versions that cannot be used.
        missing: resident versions whose object is not in the token: only the token's own copy brings them
        back.
        elsewhere: adopted versions whose object is not in the token.
        away: versions in a token that could not be asked.
        lost: wrapped versions that no other token can have: they have no recovery blob.
        untold: imported versions whose material cannot be told again: nothing can be imported for them.
        rotate: versions that may encrypt so often only, and whose count may be behind: rotate them.
        rolled_back: the newer journal sequence that the token remembered; 0 where it remembered none.
        approved_by: ARNs of who approved what needs approvals.
        notes: what else somebody has to do.
    """

    set: str
    created_at: str
    path: RestorePath = RestorePath.TOKEN_COPY
    seconds: float = 0.0
    tokens: dict[str, str] = field(default_factory=dict)
    records: int = 0
    audit_records: int = 0
    checkpoints: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    rotate: list[str] = field(default_factory=list)
    rolled_back: int = 0
    approved_by: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Give the report as plain JSON."""
        return {**dataclasses.asdict(self), "path": self.path.value, "seconds": f"{self.seconds:.1f}"}
