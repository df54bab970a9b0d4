"""Bounded, deadline-aware admission in front of the HSM: work that cannot be done in time is refused at once.

Each lane (quick calls; RSA; key generation) keeps the number of calls inside and the interval between
completions while it is busy. By Little's law a newcomer waits about inside × interval; if that passes the
caller's deadline the call is refused with the wait as a hint, before it costs the HSM anything.
"""

from dataclasses import dataclass
from enum import StrEnum, auto

from strongroomd.custody.clock import Clock
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.tokens import MAIN

_WEIGHT = 0.1
_MOST_INTERVAL = 5.0


class Lane(StrEnum):
    """Kinds of work that queue apart from each other."""

    QUICK = auto()
    RSA = auto()
    BIRTH = auto()


@dataclass(slots=True)
class _State:
    inside: int = 0
    interval: float = 0.0
    last: float = 0.0


class Admission:
    """One worker's admission; each token has lanes of its own: a slow one holds up its own keys alone.

    Args:
        clock: monotonic seconds.
        most_inside: bound of each lane.
    """

    def __init__(self, clock: Clock, most_inside: dict[Lane, int]) -> None:
        self._clock = clock
        self._most = most_inside
        self._lanes = {lane: _State() for lane in Lane}
        self._further: dict[tuple[Lane, str], _State] = {}

    def enter(self, lane: Lane, deadline: float, token: str = MAIN) -> None:
        """Take a place, to be given back by `leave`.

        Args:
            lane: the kind of work.
            deadline: monotonic seconds.
            token: where the work is done; one of a known few.

        Raises:
            StrongroomError: DEADLINE_EXCEEDED when it has passed already; OVERLOADED with a retry hint.
        """
        state = self._lanes[lane] if token == MAIN else self._further.setdefault((lane, token), _State())
        now = self._clock.monotonic()
        if now >= deadline:
            raise StrongroomError(Reason.DEADLINE_EXCEEDED)
        wait = state.inside * state.interval
        if now + wait > deadline or state.inside >= self._most[lane]:
            raise StrongroomError(Reason.OVERLOADED, retry_after=max(wait, state.interval, 0.05))
        if state.inside == 0:
            state.last = now
        state.inside += 1

    def leave(self, lane: Lane, token: str = MAIN) -> None:
        """Give a place back and learn from how long it took."""
        state = self._lanes[lane] if token == MAIN else self._further[lane, token]
        now = self._clock.monotonic()
        taken = min(now - state.last, _MOST_INTERVAL)
        state.interval += _WEIGHT * (taken - state.interval)
        state.last = now
        state.inside -= 1

    def inside(self, lane: Lane) -> int:
        """How many calls are in the lane now, whatever the token."""
        further = (state.inside for (kind, _), state in self._further.items() if kind is lane)
        return self._lanes[lane].inside + sum(further)
