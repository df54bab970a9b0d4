"""Compliance: what is noted about a key, judged from a snapshot of it. Pure.

Rotation is not judged: `strongroom_rotations_overdue` tells of schedules that are not kept.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from strongroomd.domain.adoption import AdoptedObject
from strongroomd.domain.records import KeyRecord, KeyState

_DAY_MS: Final = 86_400_000
NOT_OFFERED: Final = ("ROTATION_OFF",)
"""Checks that others make and this release cannot."""


class Check(StrEnum):
    """What can be found."""

    DELETION_PENDING = "DELETION_PENDING"
    POLICY_OPEN_TO_EVERYONE = "POLICY_OPEN_TO_EVERYONE"
    EXPORTABLE = "EXPORTABLE"
    OBJECT_NOT_CONFINED = "OBJECT_NOT_CONFINED"
    UNUSED = "UNUSED"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found about one key.

    Attributes:
        subject: ARN of the key.
        check: what was found, a `Check`.
        since: when it was found first, ms since the Unix epoch.
    """

    subject: str
    check: str
    since: int


def judge(
    key: KeyRecord, last_used: int, now: int, unused_days: int, found: AdoptedObject | None = None
) -> Iterator[Check]:
    """Give what is to be said about a key.

    Args:
        key: the key, verified.
        last_used: when it was last used, ms; 0 for never.
        now: ms since the Unix epoch.
        unused_days: after how many days without use an enabled key counts as unused; 0 for never.
        found: of an adopted key, the object that its current version is.
    """
    if key.state in (KeyState.CREATING, KeyState.DESTROYED):
        return
    if key.state is KeyState.PENDING_DELETION:
        yield Check.DELETION_PENDING
    if open_to_everyone(key.policy):
        yield Check.POLICY_OPEN_TO_EVERYONE
    if key.exportable:
        yield Check.EXPORTABLE
    if found is not None and not found.confined:
        yield Check.OBJECT_NOT_CONFINED
    idle = now - max(last_used, key.created_at)
    if unused_days and key.state is KeyState.ENABLED and idle >= unused_days * _DAY_MS:
        yield Check.UNUSED


def open_to_everyone(policy: str) -> bool:
    """Say whether a policy allows everyone something without a condition."""
    try:
        statements = json.loads(policy)["Statement"]
    except (ValueError, KeyError, TypeError):
        return False
    listed = statements if isinstance(statements, list) else [statements]
    return any(_is_open(statement) for statement in listed if isinstance(statement, dict))


def _is_open(statement: dict[str, Any]) -> bool:
    if statement.get("Effect") != "Allow" or statement.get("Condition"):
        return False
    if "NotPrincipal" in statement:
        return True  # everyone but some
    principal = statement.get("Principal")
    named = principal.get("AWS") if isinstance(principal, dict) else principal
    return "*" in (named if isinstance(named, list) else [named])
