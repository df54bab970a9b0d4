"""Which workers there are, which are missing, and how long the supervisor waits: arithmetic only."""

import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class Timing:
    """The supervisor's patience, in seconds.

    Attributes:
        tick: how often it looks around without being woken.
        start: silence allowed before a worker is ready: imports, the login lock, a slow module. A kill during
            a login can damage a SoftHSM token, so this is generous.
        silence: silence allowed of a serving worker; with a tick it stays under the two seconds promised.
        first_backoff, longest_backoff: pause before the second replacement in a row that died before it was
            ready, doubled for each one more.
        reload: how often the configuration file is looked at.
    """

    tick: float = 0.2
    start: float = 30.0
    silence: float = 1.75
    first_backoff: float = 0.25
    longest_backoff: float = 10.0
    reload: float = 1.0


DEFAULT_TIMING: Final = Timing()


class Cause(StrEnum):
    """Why a worker was replaced; the label of a metric."""

    CRASH = "crash"
    HANG = "hang"
    FATAL = "fatal"
    RECYCLE = "recycle"


@dataclass(slots=True)
class Worker:
    """One worker process, as the supervisor knows it.

    Attributes:
        pipe: the heartbeat pipe's reading end.
        pidfd: becomes readable when the process ends.
        last_beat: `time.monotonic()` seconds.
        was_ready: whether it ever served.
        outdated: whether the configuration changed while it started.
        retiring: whether it waits for its successor; it no longer counts among the wanted ones.
        told_to_stop_at: when it was sent SIGTERM.
        killed_as: why it was killed, if it was.
    """

    index: int
    process: subprocess.Popen[bytes]
    pipe: int
    pidfd: int
    last_beat: float
    state: str = "starting"
    was_ready: bool = False
    outdated: bool = False
    retiring: bool = False
    told_to_stop_at: float | None = None
    killed_as: Cause | None = None


@dataclass(slots=True)
class Fleet:
    """Which workers there are and which are missing: arithmetic only."""

    wanted: int
    workers: dict[int, Worker] = field(default_factory=dict)
    due: list[float] = field(default_factory=list)
    early_deaths: int = 0

    def free_index(self) -> int:
        """Give the lowest number that no living worker has."""
        return next(index for index in range(len(self.workers) + 1) if index not in self.workers)

    def missing(self) -> int:
        """Count the workers that are neither there nor due."""
        return self.wanted - len(self.due) - sum(not worker.retiring for worker in self.workers.values())

    def may_retire(self) -> bool:
        """One worker at a time, and only while nothing else is missing."""
        return not any(worker.retiring for worker in self.workers.values()) and not self.due

    def dispensable(self) -> list[Worker]:
        """List retiring workers whose successors are ready."""
        fresh = sum(w.state == "ready" and not w.retiring for w in self.workers.values())
        leaving = [w for w in self.workers.values() if w.retiring and w.told_to_stop_at is None]
        return leaving[: max(0, len(leaving) - (self.wanted - fresh))]

    def pause(self, timing: Timing) -> float:
        """Tell how long to wait before the next start: not at all, unless starts fail again and again."""
        repeats = self.early_deaths - 1
        if repeats < 1:
            return 0.0
        return float(min(timing.first_backoff * 2 ** min(repeats - 1, 16), timing.longest_backoff))
