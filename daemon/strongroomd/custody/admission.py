"""Admission in front of the HSM: what cannot be done in time is refused at once, and the rest served in turn.

Each lane of each token (quick calls; RSA; key generation) has a number of calls that may be inside at once.
While there is room a call goes in without waiting, and without a task or a future. Else it waits in a fair
queue (fairqueue.py): one account's flood holds up another's calls by about one call of its own.

How long a wait will be is known from the interval between completions; who cannot wait so long is refused at
the door, and who waited longer than allowed is refused from the queue. Allowed is what the deadline leaves
beside the work itself; but once a flow's line has not been empty for `STANDING` seconds, half of that: a line
that stands serves nobody by being longer, it only makes every call late (CoDel's reasoning; ADR 0029).

How many may be inside is what the vault says does good (`resize`), and less while calls come out after their
deadlines: each such call takes a part away, calls in time give it back one by one (AIMD).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Final

from strongroomd.custody.clock import Clock
from strongroomd.custody.fairqueue import FairQueue, Flow
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.tokens import MAIN
from strongroomd.telemetry.lag import Lag

STANDING: Final = 0.1  # seconds: CoDel's interval (RFC 8289, 4.3)
LAG_SHARE: Final = 0.5  # of what a deadline leaves: a call passes the loop twice at least
_WEIGHT: Final = 0.1
_MOST_INTERVAL: Final = 5.0
_LESS: Final = 0.8
_LEAST_HINT: Final = 0.05
NOBODY: Final = ("", "")


class Lane(StrEnum):
    """Kinds of work that queue apart from each other: what shares threads of a token."""

    QUICK = auto()
    RSA = auto()  # and the slower curves
    BIRTH = auto()


@dataclass(slots=True, eq=False)
class Turn:
    """A place in a queue.

    Attributes:
        since: monotonic seconds when it began to wait.
        latest: until when it may.
        done: ends when the call may go in, or with the error that it is refused with.
    """

    flow: Flow
    deadline: float
    since: float
    latest: float
    done: "asyncio.Future[None]"
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class _State:
    """One lane of one token.

    Attributes:
        room: how many may be inside at most; None while nobody said.
        limit: how many may be inside now, of which `places` is the whole part.
        inside: how many are.
        interval: seconds between two completions when all places are taken.
        last: monotonic seconds of the last completion, or of the first call inside.
        cut: when the limit was lowered last.
    """

    limit: float
    places: int
    room: int | None = None
    inside: int = 0
    interval: float = 0.0
    last: float = 0.0
    cut: float = 0.0
    queue: FairQueue[Turn] = field(default_factory=FairQueue)


class Admission:
    """One worker's admission; each token has lanes of its own: a slow one holds up its own keys alone.

    Args:
        clock: monotonic seconds.
        most: how many calls each lane may have, inside and waiting.
        room: how many of them may be inside at once; lanes not named here queue in the vault.
        waited: told of each call that had to wait how long that was.

    Attributes:
        lag: how late the loop is; looks once it is started.
    """

    def __init__(
        self,
        clock: Clock,
        most: Mapping[Lane, int],
        room: Mapping[Lane, int] | None = None,
        waited: Callable[[Lane, float], None] | None = None,
    ) -> None:
        self.lag = Lag()
        self._clock = clock
        self._most = most
        self._room = dict(room or {})
        self._waited = waited
        self._lanes = {lane: self._fresh(lane) for lane in Lane}
        self._further: dict[tuple[Lane, str], _State] = {}

    def _fresh(self, lane: Lane) -> _State:
        room = self._room.get(lane)
        most = self._most[lane] if room is None else room
        return _State(limit=most, places=most, room=room)

    def _state(self, lane: Lane, token: str) -> _State:
        if token == MAIN:
            return self._lanes[lane]
        state = self._further.get((lane, token))
        if state is None:
            state = self._further[lane, token] = self._fresh(lane)
        return state

    # --- for doors ---

    def overloaded(self, deadline: float) -> bool:
        """Say whether the loop is so late that a call will hardly be done in time, before any work on it."""
        now = self._clock.monotonic()
        return self.lag.now(now) > LAG_SHARE * (deadline - now)

    def require_time(self, deadline: float) -> None:
        """Refuse a call for which `overloaded` holds. Raises OVERLOADED with a retry hint."""
        if self.overloaded(deadline):
            raise _refusal(self.lag.last, "the event loop is late")

    def require_turn(self, lane: Lane, deadline: float, token: str, flow: Flow) -> None:
        """Refuse a call that `enter` would refuse now, before any work on it. Raises OVERLOADED likewise."""
        state = self._state(lane, token)
        if state.inside < state.places and not state.queue:
            return
        wait, left = _prospects(state, deadline, flow, self._clock.monotonic())
        if wait > left:
            raise _refusal(wait, "no turn before the deadline")

    # --- for the gate ---

    def enter(self, lane: Lane, deadline: float, token: str = MAIN, flow: Flow = NOBODY) -> Turn | None:
        """Take a place inside, to be given back by `leave`, or a turn, to be waited for by `wait`.

        Args:
            lane: the kind of work.
            deadline: monotonic seconds.
            token: where the work is done; one of a known few.
            flow: account and principal of the caller.

        Returns:
            None if the call is inside.

        Raises:
            StrongroomError: DEADLINE_EXCEEDED when it has passed already; OVERLOADED with a retry hint.
        """
        state = self._lanes[lane] if token == MAIN else self._state(lane, token)
        now = self._clock.monotonic()
        if now >= deadline:
            raise StrongroomError(Reason.DEADLINE_EXCEEDED)
        if state.inside >= state.places or state.queue:
            return self._queue(state, lane, deadline, flow, now)
        if state.inside == 0:
            state.last = now
        elif now + _work(state) > deadline:
            raise _refusal(_work(state), "")
        state.inside += 1
        return None

    async def wait(self, turn: Turn, lane: Lane, token: str = MAIN) -> None:
        """Wait for a turn; the call is inside afterwards, and outside if this raises.

        Raises:
            StrongroomError: OVERLOADED with a retry hint, DEADLINE_EXCEEDED.
        """
        state = self._state(lane, token)
        try:
            await turn.done
            if self._waited is not None:
                self._waited(lane, self._clock.monotonic() - turn.since)
        except asyncio.CancelledError:
            if turn.done.done() and not turn.done.cancelled() and turn.done.exception() is None:
                self._out(state, self._clock.monotonic())  # it had its turn, and nobody was there
            raise
        finally:
            state.queue.remove(turn.flow, turn)
            if turn.timer is not None:
                turn.timer.cancel()

    def leave(self, lane: Lane, token: str = MAIN, deadline: float = float("inf")) -> None:
        """Give a place back, and learn from how long it took."""
        state = self._lanes[lane] if token == MAIN else self._further[lane, token]
        now = self._clock.monotonic()
        taken, room = min(now - state.last, _MOST_INTERVAL), state.room
        if room is not None and state.inside < state.places:
            taken *= state.inside / state.places  # all places taken, completions would be closer together
        state.interval += _WEIGHT * (taken - state.interval)
        if room is not None:
            self._adapt(state, room, now, late=now > deadline)
        self._out(state, now)

    def resize(self, lane: Lane, token: str, room: int | None) -> None:
        """Take note of how many calls of a lane do good inside at once; None for no such number."""
        state = self._state(lane, token)
        self._room_of(state, lane, room)
        self._admit(state, self._clock.monotonic())

    def bound(self, lane: Lane, most: int) -> None:
        """Take note of how many calls of a lane there may be, inside and waiting, on each token."""
        self._most = {**self._most, lane: most}
        for state in self._states(lane):
            if state.room is None:
                state.limit = state.places = most

    def inside(self, lane: Lane) -> int:
        """How many calls are in the lane now, inside or waiting, whatever the token."""
        return sum(state.inside + len(state.queue) for state in self._states(lane))

    def waiting(self, lane: Lane) -> int:
        """How many of them wait for their turn."""
        return sum(len(state.queue) for state in self._states(lane))

    # --- how ---

    def _states(self, lane: Lane) -> list[_State]:
        return [self._lanes[lane], *(state for (kind, _), state in self._further.items() if kind is lane)]

    def _room_of(self, state: _State, lane: Lane, room: int | None) -> None:
        state.room = room
        state.limit = state.places = self._most[lane] if room is None else room
        state.interval = 0.0  # it was that of another regime

    def _queue(self, state: _State, lane: Lane, deadline: float, flow: Flow, now: float) -> Turn:
        wait, left = _prospects(state, deadline, flow, now)
        if wait > left:
            raise _refusal(wait, "")
        if state.inside + len(state.queue) >= self._most[lane]:
            self._make_room(state, flow, wait)
        loop = asyncio.get_running_loop()
        turn = Turn(flow, deadline, now, now + left, loop.create_future())
        turn.timer = loop.call_later(left, self._expire, state, turn)
        state.queue.push(flow, turn, now)
        return turn

    def _make_room(self, state: _State, flow: Flow, wait: float) -> None:
        displaced = state.queue.take_from_longest(flow) if state.queue else None
        if displaced is None:
            raise _refusal(wait, "")
        _refuse(displaced, _refusal(wait, ""))

    def _expire(self, state: _State, turn: Turn) -> None:
        state.queue.remove(turn.flow, turn)
        late = self._clock.monotonic() >= turn.deadline
        error = StrongroomError(Reason.DEADLINE_EXCEEDED) if late else _refusal(_work(state), "")
        _refuse(turn, error)

    def _adapt(self, state: _State, room: int, now: float, *, late: bool) -> None:
        """Lower the limit, once for all calls that were inside together, or raise it again."""
        if not late:
            state.limit = min(state.limit + 1 / state.limit, room)
        elif now - state.cut > _work(state):
            state.limit, state.cut = max(state.limit * _LESS, 1.0), now
        state.places = int(state.limit)

    def _out(self, state: _State, now: float) -> None:
        state.inside -= 1
        state.last = now
        if state.queue:
            self._admit(state, now)

    def _admit(self, state: _State, now: float) -> None:
        while state.queue and state.inside < state.places:
            turn = state.queue.pop()
            if turn.done.done():
                continue
            if now > min(turn.latest, turn.deadline - _work(state)):  # estimates may have changed since
                self._expire(state, turn)
                continue
            if state.inside == 0:
                state.last = now
            state.inside += 1
            turn.done.set_result(None)


def _work(state: _State) -> float:
    """Estimate how long a call is inside, in seconds, by Little's law."""
    return (state.inside if state.room is None else state.places) * state.interval


def _prospects(state: _State, deadline: float, flow: Flow, now: float) -> tuple[float, float]:
    """Estimate how long a newcomer of a flow would wait for its turn, and how long it may, in seconds."""
    wait = (state.queue.ahead(flow) + 1) * state.interval
    left = deadline - now - _work(state)
    return wait, left / 2 if state.queue.standing(flow, now) > STANDING else left


def _refuse(turn: Turn, error: StrongroomError) -> None:
    if not turn.done.done():
        turn.done.set_exception(error)


def _refusal(wait: float, detail: str) -> StrongroomError:
    return StrongroomError(Reason.OVERLOADED, detail=detail or None, retry_after=max(wait, _LEAST_HINT))
