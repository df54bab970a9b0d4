"""One place where the token is called: session from the pool, time taken, error translated, breaker heeded.

A token that answers GENERAL_ERROR may be ill, or may only have been given forged bytes. A canary, an HMAC
whose answer is known, decides: no caller can open the breaker. What cannot be healed within the process
(logged out, module gone) sets `fatal`: the worker then exits and its successor starts afresh, because
re-initialising a module beside other threads crashes it.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from pkcs11.exceptions import PKCS11Error

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.faults import RULES, Fault, Refused, code_of, fault_of
from strongroomd.hsm.handles import Session
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.pace import LONG, Mark, Pace, mark
from strongroomd.hsm.sessions import Keeper, Pool, Writer

P = ParamSpec("P")
T = TypeVar("T")

CANARY_WAIT: Final = 0.2  # seconds to wait for the canary of another thread
FIRST_PAUSE: Final = 1.0  # seconds that the breaker stays open before the canary is tried again; doubles once
LONGEST_PAUSE: Final = 2.0
MAX_FAILURES: Final = 5  # canaries failing in a row before the process gives up: seven seconds


class Breaker:
    """Refuses calls at once while the token is ill.

    Args:
        observer: hears of changes.

    Attributes:
        fatal: why this process will never use the token again; None while there is hope.
    """

    def __init__(self, observer: Observer) -> None:
        self.fatal: str | None = None
        self._observer = observer
        self._failures = 0
        self._retry_at = 0.0
        self._probing = threading.Lock()

    @property
    def closed(self) -> bool:
        """Whether calls may pass."""
        return self._failures == 0 and self.fatal is None

    def trip(self) -> None:
        """Open, or open for longer; after the fifth time in a row, for good."""
        self._failures += 1
        self._retry_at = time.monotonic() + min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE)
        if self._failures >= MAX_FAILURES:
            self.give_up(f"the canary failed {MAX_FAILURES} times in a row")
        else:
            self._observer.breaker("open")

    def reset(self) -> None:
        """Close."""
        if self._failures and self.fatal is None:
            self._failures = 0
            self._observer.breaker("closed")

    def give_up(self, why: str) -> None:
        """Open for good."""
        if self.fatal is None:
            self.fatal = why
            self._observer.breaker("fatal")
            self._observer.alert("hsm_fatal", why)

    def pass_or_raise(self, canary: Callable[[], bool]) -> None:
        """Let a call through an open breaker only after the pause and one successful canary."""
        wait = self._retry_at - time.monotonic()
        if self.fatal is not None or wait > 0 or not self._probing.acquire(blocking=False):
            raise self.refusal(max(wait, 0.1))
        try:
            if not canary():
                self.trip()
                raise self.refusal(self._retry_at - time.monotonic())
            self.reset()
        finally:
            self._probing.release()

    def refusal(self, wait: float) -> StrongroomError:
        """Make the error that callers get meanwhile."""
        detail = self.fatal or "the breaker is open"
        return StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=wait)


class Health:
    """Whether the token is well.

    Args:
        pool: opens the canary's fresh sessions.
        observer: hears of changes.

    Attributes:
        breaker: see `Breaker`.
        canary: an operation with a known answer; True when the answer is right. Set once house keys are
        known.
    """

    def __init__(self, pool: Pool, observer: Observer) -> None:
        self.breaker = Breaker(observer)
        self.canary: Callable[[Session], bool] = lambda _: True
        self._pool = pool
        self._observer = observer
        self._spare: Session | None = None
        self._testing = threading.Lock()

    def is_well(self) -> bool:
        """Run the canary on a session that does nothing else, and if that fails on a new one.

        The session is kept: opening and closing one for each forged ciphertext would cost time in proportion
        to the objects alive.

        Raises:
            StrongroomError: HSM_UNAVAILABLE when another thread's canary takes long: it may hang, and the
                loop must not wait for it.
        """
        if not self._testing.acquire(timeout=CANARY_WAIT):
            detail = "a canary is under way"
            raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=FIRST_PAUSE)
        try:
            return self._passes() or self._passes()
        finally:
            self._testing.release()

    def close(self) -> None:
        """Let the canary's session go, unless a canary that hangs has it."""
        if self._testing.acquire(timeout=CANARY_WAIT):
            try:
                self._drop_spare()
            finally:
                self._testing.release()

    def _passes(self) -> bool:
        try:
            if self._spare is None:
                self._spare = self._pool.open()
            right = self.canary(self._spare)
        except PKCS11Error as error:
            self._observer.called("canary", 0.0, code_of(error))
            right = False
        if not right:
            self._drop_spare()
        return right

    def _drop_spare(self) -> None:
        if self._spare is not None:
            with suppress(PKCS11Error):
                self._spare.close()
            self._spare = None

    def probe(self) -> None:
        """Prove that the token works.

        Raises:
            StrongroomError: HSM_UNAVAILABLE.
        """
        if not self.breaker.closed:
            self.breaker.pass_or_raise(self.is_well)
        elif not self.is_well():
            self.breaker.trip()
            raise self.breaker.refusal(FIRST_PAUSE)


class Device:
    """The token, as the rest of the room calls it; any thread.

    Args:
        pool: operation sessions, or the keeper of session objects.
        health: breaker and canary, shared by all devices of the token.
        observer: hears of each call.
        forgiving: sessions stay usable after errors about data from outside.
        pace: told of calls on the loop's thread that took long; None for work that may.
        whole: what runs here is one call into the module, not several.
    """

    def __init__(
        self,
        pool: Pool | Keeper | Writer,
        health: "Health",
        observer: Observer,
        *,
        forgiving: bool,
        pace: Pace | None = None,
        whole: bool = True,
    ) -> None:
        self.pool = pool
        self.health = health
        self.breaker = health.breaker
        self.observer = observer
        self._forgiving = forgiving
        self._pace = pace
        self._long = float("inf") if pace is None else LONG
        self._whole = whole

    def run(
        self, name: str, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do `work(session, *args)`; GENERAL_ERROR means that the token is in trouble.

        Raises:
            Refused: a token error, with its class.
            StrongroomError: HSM_UNAVAILABLE when breaker or canary say so, OVERLOADED when no session is
            free.
        """
        return self._attempt(name, work, args, kwargs, doubtful=False, again=True)

    def run_once(
        self, name: str, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same, but never tried twice: for what must not happen twice."""
        return self._attempt(name, work, args, kwargs, doubtful=False, again=False)

    def run_doubtful(
        self, name: str, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for work on bytes from outside.

        With the canary well, GENERAL_ERROR is the bytes' fault.
        """
        return self._attempt(name, work, args, kwargs, doubtful=True, again=True)

    def _attempt(
        self,
        name: str,
        work: Callable[..., T],
        args: Any,  # noqa: ANN401 - passed through
        kwargs: Any,  # noqa: ANN401 - passed through
        *,
        doubtful: bool,
        again: bool,
    ) -> T:
        if not self.breaker.closed:
            self.breaker.pass_or_raise(self._is_well)
        session = self._session(name)
        before = None if self._pace is None else mark()
        start = time.perf_counter()
        try:
            result = work(session, *args, **kwargs)
        except PKCS11Error as error:
            seconds = time.perf_counter() - start
            fault = fault_of(error, doubtful=doubtful)
            self.observer.called(name, seconds, code_of(error))
            if seconds >= self._long:
                self._took(seconds, before)
            self._dispose(session, fault)
            if again and RULES[fault].retry:
                return self._attempt(name, work, args, kwargs, doubtful=doubtful, again=False)
            raise self._judged(name, error, fault) from error
        except StrongroomError:
            self.pool.give(session)  # our own verdict about what the token gave: the session is sound
            raise
        except BaseException:
            self.pool.discard(session, "interrupted")
            raise
        seconds = time.perf_counter() - start
        self.pool.give(session)
        self.observer.called(name, seconds, 0)
        if seconds >= self._long:
            self._took(seconds, before)
        return result

    def _took(self, seconds: float, before: Mark | None) -> None:
        if self._pace is not None and before is not None:
            self._pace.took(seconds, before, alone=self._whole)

    def _session(self, name: str) -> Session:
        try:
            return self.pool.take()
        except PKCS11Error as error:
            raise self._judged(name, error, fault_of(error, doubtful=False)) from error

    def _dispose(self, session: Session, fault: Fault) -> None:
        kept = RULES[fault].keep_session
        kept = kept or (fault is Fault.DOUBTFUL and self._forgiving)
        if kept:
            self.pool.give(session)
        else:
            self.pool.discard(session, fault.value)

    def _judged(self, name: str, error: PKCS11Error, fault: Fault) -> StrongroomError:
        """Give what a failed call comes to: its own refusal, or, where the token is ill, the breaker's."""
        refused = Refused(name, code_of(error), fault)
        rule = RULES[fault]
        if rule.fatal:
            self.breaker.give_up(refused.detail or "fatal token error")
        elif rule.canary and not self._is_well():
            self.breaker.trip()
            return self.breaker.refusal(FIRST_PAUSE)
        return refused

    def _is_well(self) -> bool:
        """Ask the canary; a slow one holds the loop up as any call does."""
        if self._pace is None:
            return self.health.is_well()
        before, start = mark(), time.perf_counter()
        try:
            return self.health.is_well()
        finally:
            seconds = time.perf_counter() - start
            if seconds >= self._long:
                self._took(seconds, before)
