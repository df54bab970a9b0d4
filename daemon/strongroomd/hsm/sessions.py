"""Sessions: one that keeps the process logged in, and a bounded pool of PIN-less ones that work.

Closing a session that was opened with a PIN logs the whole process out, so the login
session is never closed before the end and never used for an operation.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pkcs11.exceptions import PKCS11Error

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.handles import Session
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.packing import MAPPER


class Pool:
    """PIN-less read-only sessions, last in first out; each is used by one call at a time.

    Args:
        token: the token, logged in.
        size: most sessions open at once.
        observer: hears of openings and losses.
    """

    def __init__(self, token: Any, size: int, observer: Observer) -> None:  # noqa: ANN401 - pkcs11.Token
        self._token = token
        self._size = size
        self._observer = observer
        self._idle: list[Session] = []
        self._opened = 0
        self._changed = threading.Condition()

    def take(self, deadline: float | None = None) -> Session:
        """Check a session out; waits for one until the deadline (time.monotonic seconds; None: at most 1 s).

        Raises:
            PKCS11Error: a new session cannot be opened.
            StrongroomError: OVERLOADED when none came free in time.
        """
        try:
            return self._idle.pop()  # list.pop is atomic: the hot path takes no lock
        except IndexError:
            return self._take_slowly(time.monotonic() + 1.0 if deadline is None else deadline)

    def give(self, session: Session) -> None:
        """Check a session in."""
        self._idle.append(session)
        if self._opened >= self._size:
            with self._changed:
                self._changed.notify()

    def discard(self, session: Session, reason: str) -> None:
        """Close a session that is not trusted any more; the next call opens another."""
        with suppress(PKCS11Error):
            session.close()
        with self._changed:
            self._opened -= 1
            self._changed.notify()
        self.lost(reason)

    def lost(self, reason: str) -> None:
        """Tell the observer that a session was thrown away."""
        self._observer.discarded(reason)
        self._observer.sessions(self._opened, len(self._idle))

    def open(self, *, writable: bool = False) -> Session:
        """Open a session outside the pool; whoever asks closes it."""
        return self._token.open(rw=writable, attribute_mapper=MAPPER)

    @contextmanager
    def fresh(self, *, writable: bool = False) -> Iterator[Session]:
        """Open a session for one purpose and close it afterwards."""
        session = self.open(writable=writable)
        try:
            yield session
        finally:
            with suppress(PKCS11Error):
                session.close()

    def close(self, login: Session) -> None:
        """Close the idle sessions and then the login session, which logs the process out."""
        while self._idle:
            self.discard(self._idle.pop(), "closing")
        with suppress(PKCS11Error):
            login.close()

    def _take_slowly(self, deadline: float) -> Session:
        with self._changed:
            while self._opened >= self._size:
                with suppress(IndexError):
                    return self._idle.pop()
                if not self._changed.wait(deadline - time.monotonic()):
                    raise StrongroomError(
                        Reason.OVERLOADED, detail="no HSM session came free in time", retry_after=0.2
                    )
            self._opened += 1
        try:
            session = self.open()
        except PKCS11Error:
            with self._changed:
                self._opened -= 1
            raise
        self._observer.sessions(self._opened, len(self._idle))
        return session


class Keeper:
    """One long-lived session that owns session objects; they die with it, so it is closed only when broken.

    Calls through it leave no operation behind (unwrap, derive, destroy, read), so errors about their data
    leave it usable. It has the shape of a pool of one.

    Attributes:
        epoch: rises whenever the session was lost, and with it every object that it owned.
    """

    def __init__(self, pool: Pool) -> None:
        self.epoch = 0
        self._pool = pool
        self._session: Session | None = None
        self._lock = threading.Lock()

    def take(self, deadline: float | None = None) -> Session:
        """Get the session exclusively."""
        wait = 5.0 if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not self._lock.acquire(timeout=wait):
            raise StrongroomError(Reason.OVERLOADED, detail="the key loader is busy", retry_after=0.2)
        try:
            if self._session is None:
                self._session = self._pool.open()
        except BaseException:
            self._lock.release()
            raise
        return self._session

    def give(self, session: Session) -> None:
        """Hand the session back."""
        del session
        self._lock.release()

    def discard(self, session: Session, reason: str) -> None:
        """Give the session up, and every object in it."""
        with suppress(PKCS11Error):
            session.close()
        self._session = None
        self.epoch += 1
        self._lock.release()
        self._pool.lost(reason)

    def close(self) -> None:
        """Close the session at the very end."""
        with self._lock, suppress(PKCS11Error):
            if self._session is not None:
                self._session.close()
            self._session = None


class Writer:
    """Read-write sessions, one for each call: for making and destroying token objects.

    Has the shape of a pool.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def take(self, deadline: float | None = None) -> Session:
        """Open a session."""
        del deadline
        return self._pool.open(writable=True)

    def give(self, session: Session) -> None:
        """Close the session."""
        with suppress(PKCS11Error):
            session.close()

    def discard(self, session: Session, reason: str) -> None:
        """Close the session."""
        self.give(session)
        self._pool.lost(reason)
