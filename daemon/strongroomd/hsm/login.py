"""Logging in: once per process, one process at a time, and never twice with a PIN that was refused.

The lock is held from before C_Initialize to the end of C_Login: parallel logins fail one time in five, and a
kill in the middle destroys a SoftHSM token. A refused PIN leaves a marker with a slow
salted hash, so that a respawned worker does not try the same PIN again and lock a token that counts.
"""

import fcntl
import hashlib
import hmac
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pkcs11.exceptions import PKCS11Error

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.faults import Fault, fault_of
from strongroomd.hsm.handles import Session
from strongroomd.hsm.module import Module, load
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.packing import MAPPER
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.tokenfile import TokenFileGuard, guard_of

_POLL: Final = 0.02  # seconds between two tries for the lock
_SALT_BYTES: Final = 16
PIN_REFUSED: Final = "the token refused the PIN"


@dataclass(frozen=True, slots=True)
class Login:
    """A logged-in process.

    Attributes:
        module: the loaded module.
        token: the chosen token.
        session: the one session opened with the PIN; closing it logs the process out.
        guard: the guard of token.object, for SoftHSM.
    """

    module: Module
    token: Any
    session: Session
    guard: TokenFileGuard | None


def log_in(settings: HsmSettings, pin: Pin, observer: Observer) -> Login:
    """Load the module and log in, under the lock.

    Raises:
        StrongroomError: HSM_UNAVAILABLE; its detail says whether the lock or the token is the trouble.
            CONFIGURATION for a PIN that the token refused.
    """
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker = RefusedPin(settings)
    with login_lock(settings):
        # Under the lock: of all workers that start at once, only the first tries a wrong PIN.
        marker.check(pin)
        guard = guard_of(settings, observer)
        if guard is not None:
            guard.repair()
        module = load(settings)
        token = module.token(settings)
        session = _guarded_login(module, settings, token, guard, partial(_open, token, pin, marker))
    return Login(module, token, session, guard)


def _guarded_login(
    module: Module,
    settings: HsmSettings,
    token: Any,  # noqa: ANN401 - pkcs11.Token
    guard: TokenFileGuard | None,
    login: Callable[[], Session],
) -> Session:
    """Log in, and have SoftHSM read the token's file again, while nobody changes anything (see the guard)."""
    if guard is None:
        return login()
    serial = token.serial.decode()
    try:
        session = login()
    except StrongroomError:
        if settings.name:  # the right PIN of a further token may come later, and to this process
            with suppress(OSError, struct.error, StrongroomError):
                guard.touch(serial)
                module.token(settings)
        raise
    try:
        guard.protect(serial)
        guard.touch(serial)
        module.token(settings)
    except BaseException:
        session.close()  # it would fail every later login of this process
        raise
    return session


def _open(token: Any, pin: Pin, marker: "RefusedPin") -> Session:  # noqa: ANN401 - pkcs11.Token
    try:
        session = token.open(rw=True, user_pin=pin.reveal(), attribute_mapper=MAPPER)
    except PKCS11Error as error:
        if fault_of(error, doubtful=False) is Fault.PIN:
            marker.remember(pin)
            raise marker.refusal() from error
        name = type(error).__name__
        raise StrongroomError(
            Reason.HSM_UNAVAILABLE, detail=f"login failed: {name}", retry_after=5
        ) from error
    marker.clear()
    return session


@contextmanager
def login_lock(settings: HsmSettings) -> Iterator[None]:
    """Hold the lock that serialises logins and changes of token objects on this host.

    The kernel frees it when the holder dies.

    Raises:
        StrongroomError: HSM_UNAVAILABLE when it stays taken for `lock_seconds`.
    """
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(settings.state / "hsm.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, time.monotonic() + settings.lock_seconds)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StrongroomError(
                    Reason.HSM_UNAVAILABLE, detail="another process holds the login lock", retry_after=5.0
                ) from None
            time.sleep(_POLL)
        else:
            return


class RefusedPin:
    """Remembers, as a slow salted hash, the PIN that the token refused last."""

    def __init__(self, settings: HsmSettings) -> None:
        self._path = settings.state / (f"refused-pin-{settings.name}" if settings.name else "refused-pin")
        self._field = settings.place("pin_file")

    def check(self, pin: Pin) -> None:
        """Raise CONFIGURATION if this very PIN was refused before."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        salt, digest = content[:_SALT_BYTES], content[_SALT_BYTES:]
        if hmac.compare_digest(_digest(pin, salt), digest):
            raise self.refusal()

    def remember(self, pin: Pin) -> None:
        """Write the marker."""
        salt = os.urandom(_SALT_BYTES)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(salt + _digest(pin, salt))

    def clear(self) -> None:
        """Forget: the PIN works."""
        self._path.unlink(missing_ok=True)

    def refusal(self) -> StrongroomError:
        """Make the error for a PIN that the token refused."""
        detail = f"{PIN_REFUSED}; it is not tried again until it changes or the marker is removed"
        return StrongroomError(Reason.CONFIGURATION, PIN_REFUSED, field=self._field, detail=detail)


def _digest(pin: Pin, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.reveal().encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32)
