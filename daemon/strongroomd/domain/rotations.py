"""Rotation: when the daemon gives a key its next version by itself, and what versions came of. Pure.

Periods and bounds are AWS KMS's (developer guide, "Rotate AWS KMS keys"): 90 to 2,560 days, 365 if nothing is
said; 25 rotations on demand for each key, which do not move the schedule.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.protection import Record

PERIOD_MIN: Final = 90  # days
PERIOD_MAX: Final = 2_560  # days
PERIOD_DEFAULT: Final = 365  # days
MAX_ON_DEMAND: Final = 25  # rotations of one key that somebody asked for
NEAR_MS: Final = 20 * 60 * 1000
"""So near to an automatic rotation, before it and after, none is made on demand."""
OVERDUE_MS: Final = 3600 * 1000
"""A rotation that is later than this counts as overdue."""
_DAY_MS: Final = 24 * 3600 * 1000


class RotationType(StrEnum):
    """Why a version was made. FIRST is also what versions from before 0014 are taken for."""

    FIRST = ""
    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


@dataclass(frozen=True, slots=True)
class ScheduleRecord(Record):
    """A key's rotation schedule.

    Attributes:
        period_days: days between two automatic rotations; 0 while there are none.
        next_at: when the next one is due, milliseconds since the Unix epoch; 0 while there is none.
    """

    KIND: ClassVar[str] = "schedule"
    key_id: str
    period_days: int
    next_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The key id."""
        return self.key_id

    @property
    def enabled(self) -> bool:
        """Whether the key is rotated automatically."""
        return self.period_days > 0


def settled_period(days: int) -> int:
    """Give the period in days, 0 being the default. Raises INVALID_FIELD for one that is not allowed."""
    if days and not PERIOD_MIN <= days <= PERIOD_MAX:
        raise invalid("rotation_period_days", f"must be from {PERIOD_MIN} to {PERIOD_MAX}")
    return days or PERIOD_DEFAULT


def begun(before: ScheduleRecord | None, key_id: str, days: int, now: int) -> ScheduleRecord:
    """Rotate every so many days, the first time after as many; the same period again changes nothing.

    Args:
        before: the schedule so far, if there was one.
        key_id: the key.
        days: the period.
        now: ms since the Unix epoch.
    """
    if before is not None and before.period_days == days:
        return before
    version = before.row_version + 1 if before else 1
    return ScheduleRecord(key_id, days, now + days * _DAY_MS, version)


def ended(before: ScheduleRecord | None, key_id: str) -> ScheduleRecord:
    """Rotate no more; a key that was not rotated stays as it is."""
    if before is None:
        return ScheduleRecord(key_id, 0, 0)
    return ScheduleRecord(key_id, 0, 0, before.row_version + 1) if before.enabled else before


def is_due(schedule: ScheduleRecord, now: int) -> bool:
    """Say whether an automatic rotation is due."""
    return schedule.enabled and 0 < schedule.next_at <= now


def advanced(schedule: ScheduleRecord, now: int) -> ScheduleRecord:
    """Give the schedule after an automatic rotation: the next period counts from now, however late it is."""
    return ScheduleRecord(
        schedule.key_id, schedule.period_days, now + schedule.period_days * _DAY_MS, schedule.row_version + 1
    )


def require_room(on_demand: int) -> None:
    """Refuse one more rotation on demand. Raises LIMIT_EXCEEDED."""
    if on_demand >= MAX_ON_DEMAND:
        raise StrongroomError(
            Reason.LIMIT_EXCEEDED, f"a key is rotated on demand at most {MAX_ON_DEMAND} times"
        )


def require_distance(schedule: ScheduleRecord | None, newest: RotationType, made_at: int, now: int) -> None:
    """Refuse a rotation on demand that is too near to an automatic one.

    Args:
        schedule: the key's, if it has one.
        newest: why the current version was made.
        made_at: when it was, ms since the Unix epoch.
        now: the same.

    Raises:
        StrongroomError: ROTATION_CONFLICT, with the wait.
    """
    if schedule is not None and schedule.enabled and abs(schedule.next_at - now) <= NEAR_MS:
        raise _conflict(schedule.next_at + NEAR_MS - now)
    if newest is RotationType.AUTOMATIC and 0 <= now - made_at < NEAR_MS:
        raise _conflict(made_at + NEAR_MS - now)


def _conflict(wait_ms: int) -> StrongroomError:
    return StrongroomError(Reason.ROTATION_CONFLICT, retry_after=max(wait_ms, 1000) / 1000)
