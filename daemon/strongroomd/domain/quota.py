"""The quota's arithmetic: the generic cell rate algorithm (GCRA), in whole nanoseconds.

A bucket is one number, its theoretical arrival time (TAT): when it will be full again. With an emission
interval of T (one unit's share of a second) a cost moves the TAT by cost times T; the cost is granted if the
TAT then lies at most burst times T ahead. So over any time t a bucket grants at most per_second * t + burst
units, and an idle bucket grants exactly its burst at once.

T is rounded up to a whole nanosecond: the grant falls short of `per_second` by less than per_second / 10^9,
0.1 % at the highest settable limit, and never exceeds it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.errors import invalid
from strongroomd.domain.limits import MAX_BURST, MAX_PER_SECOND

NANOSECONDS: Final = 1_000_000_000


class LimitScope(StrEnum):
    """What a quota limit applies to."""

    KEY = "KEY"
    PRINCIPAL = "PRINCIPAL"
    CLASS = "CLASS"


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit: cost units granted each second, and how many may be spent at once."""

    per_second: int
    burst: int


def settle_rate(per_second: int, burst: int, within: str = "") -> Rate:
    """Check a limit that is to be; burst 0 means as much as one second grants.

    Args:
        per_second: from 1.
        burst: from 0.
        within: what stands before the fields' names in errors, such as `limit.`.

    Raises:
        StrongroomError: INVALID_FIELD.
    """
    if not 1 <= per_second <= MAX_PER_SECOND:
        raise invalid(f"{within}per_second", f"must be from 1 to {MAX_PER_SECOND}")
    if not 0 <= burst <= MAX_BURST:
        raise invalid(f"{within}burst", f"must be from 0 to {MAX_BURST}")
    return Rate(per_second, burst or per_second)


def interval(per_second: int) -> int:
    """Give the emission interval T in nanoseconds. Raises ValueError unless per_second is positive."""
    if per_second < 1:
        raise ValueError("a quota needs a positive rate")
    return -(-NANOSECONDS // per_second)


def backlog(tat: int, now: int, step: int, burst: int) -> int:
    """Give the nanoseconds until a bucket is full, 0 if it is.

    A TAT further ahead than the burst allows was left by a clock that ran before the machine restarted, or by
    a larger burst: it counts as an empty bucket and no worse, so that nobody is locked out.
    """
    return min(max(tat - now, 0), burst * step)


def charge(tat: int, now: int, cost: int, per_second: int, burst: int) -> tuple[int, int]:
    """Decide on a cost.

    Args:
        tat: the bucket's arrival time; 0 for one never used.
        now: the same clock's time.
        cost: units wanted, not negative.
        per_second: units granted each second.
        burst: units that a full bucket grants at once.

    Returns:
        The TAT after the charge, and the wait in nanoseconds: 0 if the cost is granted, else the time after
        which the same charge would be granted if nobody else charged the bucket. A cost above the burst is
        never granted; its wait is that of an empty debt, (cost - burst) * T longer than filling the bucket.
    """
    step = interval(per_second)
    ahead = backlog(tat, now, step, burst) + cost * step
    return now + ahead, max(0, ahead - burst * step)


def available(tat: int, now: int, per_second: int, burst: int) -> int:
    """Give the units that would be granted now."""
    step = interval(per_second)
    return burst - -(-backlog(tat, now, step, burst) // step)
