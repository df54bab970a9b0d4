"""When to try again, and after how long: the one retry layer of the SDK (gRPC's own is switched off).

Tried again are calls that may be repeated (all but mutations sent with an empty request_id), after:

- QUOTA_EXCEEDED with a wait named by the daemon: exactly that wait and a little jitter, as often as the
  deadline allows, for the daemon has already made room for the call.
- UNAVAILABLE in every form, a lost connection, and QUOTA_EXCEEDED without a wait: exponential backoff with
  full jitter, at most `max_attempts` in all and as the budget lasts. A wait named by the daemon is honoured
  here too.
- An answer that was damaged on its way: once, at once.

No wait goes past the deadline of the call: then the error is raised at once. The budget is a bucket of tokens
that all calls of a client share; a retry takes tokens, a success gives some back, so that a daemon in trouble
sees few more calls than usual. The first retry after a lost connection is free.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from strongroom.errors import IntegrityError, StrongroomError, Throttled, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a client tries again; times in seconds.

    Attributes:
        max_attempts: calls in all, the first included; 1 switches retries off, waits for quotas too.
        base: the first backoff is 0 to this.
        throttled_base: the same where a quota is used up and the daemon names no wait.
        cap: no backoff is longer.
        budget: tokens that all calls share.
        cost: tokens that one retry takes. A success after a retry gives them back, any other success gives 1.
        wait_for_connection: whether a retry waits, as its deadline allows, until a connection stands: rides
            out the restart of a daemon. If not, a daemon that is down is reported after `max_attempts`.
    """

    max_attempts: int = 5
    base: float = 0.05
    throttled_base: float = 1.0
    cap: float = 20.0
    budget: int = 500
    cost: int = 5
    wait_for_connection: bool = True


class Budget:
    """The tokens that all calls of a client share. Safe for threads."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._tokens = policy.budget
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Pay for one retry, if there is enough left."""
        with self._lock:
            if self._tokens < self._policy.cost:
                return False
            self._tokens -= self._policy.cost
            return True

    def give_back(self, retries: int) -> None:
        """Note a success that took so many paid retries."""
        if self._tokens == self._policy.budget:
            return
        with self._lock:
            returned = max(1, retries * self._policy.cost)
            self._tokens = min(self._policy.budget, self._tokens + returned)


class Attempts:
    """The attempts of one call: says how long to wait before the next, or that there is none.

    Args:
        policy: how to try again.
        budget: the tokens of the client.
        deadline: when the call must be over, by `clock`; None for never.
        repeatable: whether the call may be sent twice.
        clock: seconds of a monotonic clock.
        uniform: random number between two bounds.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        budget: Budget,
        deadline: float | None,
        *,
        repeatable: bool,
        clock: Callable[[], float],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._deadline = deadline
        self._repeatable = repeatable
        self._clock = clock
        self._uniform = uniform
        self._failures = 0
        self._paid = 0
        self._damaged = False
        self._last: StrongroomError | None = None

    @property
    def remaining(self) -> float | None:
        """Seconds left until the deadline, at least 0; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    @property
    def wait_for_connection(self) -> bool:
        """Whether the attempt at hand shall wait until a connection stands."""
        return self._last is not None and self._policy.wait_for_connection

    def succeeded(self) -> None:
        """Note the success of the call."""
        self._budget.give_back(self._paid)

    def wait_after(self, failure: StrongroomError) -> float:
        """Say how many seconds to wait before the next attempt.

        Raises:
            StrongroomError: the failure, where there is no next attempt. If it is a deadline that passed
                while trying again, the failure before it is its cause.
        """
        tries = self._repeatable and self._policy.max_attempts > 1
        wait, paid = self._wait_after(failure) if tries else (None, False)
        remaining = self.remaining
        # Nothing is paid for a retry that the deadline forbids.
        if (
            wait is None
            or (remaining is not None and wait >= remaining)
            or (paid and not self._budget.take())
        ):
            raise failure from self._last
        self._paid += paid
        self._last = failure
        return wait

    def _wait_after(self, failure: StrongroomError) -> tuple[float | None, bool]:
        """Say how long to wait, if there is a next attempt, and whether it costs tokens."""
        match failure:
            case Throttled(retry_after=float(named)):
                return named + self._uniform(0.0, 0.005 + named / 20), False
            case Throttled():
                return self._backoff(self._policy.throttled_base, None), True
            case Unavailable():
                # The death of one worker hits every call of its connection at once, and is no sign of load.
                lost = failure.reason == "CONNECTION_FAILED" and self._failures == 0
                return self._backoff(self._policy.base, failure.retry_after), not lost
            case IntegrityError(reason="REPLY_DAMAGED" | "CHECKSUM_MISMATCH") if not self._damaged:
                self._damaged = True
                return 0.0, False
            case _:
                return None, False

    def _backoff(self, base: float, named: float | None) -> float | None:
        self._failures += 1
        if self._failures >= self._policy.max_attempts:
            return None
        jitter = self._uniform(0.0, min(self._policy.cap, base * 2.0 ** (self._failures - 1)))
        return jitter if named is None else named + jitter / 10
