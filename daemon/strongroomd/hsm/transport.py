"""The two ends of a restore onto another token: the recovery token, and the way into the other.

Which bytes pass between them is recovery.py's: first parts of recovery blobs, wrapped all the way. The
recovery token is opened by a process of its own, since one process has one copy of a module with one
configuration.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pkcs11.exceptions import PKCS11Error

from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.hsm import handles, materialtraits, recovery
from strongroomd.hsm.birth import Cradle
from strongroomd.hsm.faults import Fault, Refused, code_of, fault_of
from strongroomd.hsm.handles import Session
from strongroomd.hsm.login import log_in
from strongroomd.hsm.observer import Silent
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.sessions import Pool
from strongroomd.hsm.settings import HsmSettings

T = TypeVar("T")
_OF_THE_BLOB: Final = frozenset({Fault.DATA, Fault.DOUBTFUL, Fault.REQUEST})
"""What a token may say of a blob that does not open; whether it is the blob, a trial then tells."""


def make_recovery_token(settings: HsmSettings, pin: Pin, bits: int = recovery.RECOVERY_BITS) -> bytes:
    """Make the recovery pair in a fresh token of its own; gives its public half (DER SubjectPublicKeyInfo).

    Args:
        settings: the recovery token, which must hold no object.
        pin: its user PIN.
        bits: of the modulus, 3,072 or more.

    Raises:
        StrongroomError: CONFIGURATION for a token that holds objects, HSM_UNAVAILABLE.
    """
    login = log_in(settings, pin, Silent())
    try:
        if handles.find(login.session, {}):
            raise StrongroomError(
                Reason.CONFIGURATION, "the recovery token holds objects already", field="recovery"
            )
        public_key = recovery.make_recovery_pair(login.session, os.urandom(16), bits)
        if login.guard is not None:
            login.guard.sync()
        return public_key
    except PKCS11Error as error:
        raise _refused("C_GenerateKeyPair", error) from error
    finally:
        login.session.close()


def retarget_all(
    settings: HsmSettings, pin: Pin, recovery_key: bytes, transport: bytes, blobs: Iterable[bytes]
) -> Iterator[bytes]:
    """Change the heads of recovery blobs in the recovery token, each before the next is read.

    Args:
        settings: the recovery token.
        pin: its user PIN.
        recovery_key: the public half that the blobs were made for (DER SubjectPublicKeyInfo).
        transport: the other token's transport key (likewise).
        blobs: recovery blobs, or their heads alone.

    Yields:
        The blob for the transport key, or nothing at all (`b""`) for one whose head does not open.

    Raises:
        StrongroomError: CONFIGURATION for a token without the private half, HSM_UNAVAILABLE; INTERNAL where
            the token works for no head.
    """
    size = recovery.head_bytes(recovery_key)
    login = log_in(settings, pin, Silent())
    session = login.session
    try:
        private = recovery.find_recovery_key(session, recovery_key)
        trial = recovery.fresh_head(recovery_key)
        for blob in blobs:
            try:
                yield recovery.retarget(session, private, blob, size, transport)
            except PKCS11Error as error:
                _blame(error, lambda: recovery.retarget(session, private, trial, size, transport))
                yield b""
    finally:
        login.session.close()


class Landing:
    """A transport pair in the token that gets the keys, and the way in by it; a context manager.

    Args:
        pool: opens the session that owns the pair.
        cradle: wraps what arrives.
    """

    def __init__(self, pool: Pool, cradle: Cradle) -> None:
        self._pool = pool
        self._cradle = cradle
        self._session: Any = None
        self._transport: recovery.Transport

    @property
    def public_key(self) -> bytes:
        """The transport key (DER SubjectPublicKeyInfo)."""
        return self._transport.public_key

    def __enter__(self) -> Self:
        self._session = self._pool.open()
        try:
            self._transport = recovery.open_transport(self._session)
        except PKCS11Error as error:
            self._session.close()
            raise _refused("C_GenerateKeyPair", error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def receive(self, blob: bytes, bound: BoundVersion) -> Material:
        """Bring one key in, by its recovery blob for this pair.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when it does not open, or is not that version's material; what
                the faults' table says when it is the token that fails.
        """
        try:
            return self._opened(lambda: recovery.land(*self._by_pair, blob, bound, self._cradle))
        except StrongroomError as error:
            if isinstance(error, Refused) or error.reason is not Reason.INTERNAL:
                raise
            # It arrived as the right key, and what was made of it here fails: this key only.
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail=error.detail) from error

    # --- what tells imported material again (materialtraits.py) ---

    def trait_of(self, bound: BoundVersion) -> bytes:
        """Make the trait of a version that is in this token. Raises as `receive`."""
        record = bound.record
        if record.public_key:
            return materialtraits.trait_of_pair(record.public_key)
        return self._opened(
            lambda: materialtraits.trait_of(
                self._session,
                self._cradle,
                bound.spec,
                exportable=bound.exportable,
                kek_id=record.kek_id,
                blob=record.blob,
            )
        )

    def receive_trait(self, blob: bytes, spec: KeySpec) -> bytes:
        """Read a trait from its blob for this pair. Raises as `receive`."""
        return self._opened(lambda: recovery.land_trait(*self._by_pair, blob, spec))

    def wrap_trait(self, trait: bytes) -> bytes:
        """Wrap a trait to the recovery key of this token's house. Raises as `receive`."""
        return self._opened(lambda: materialtraits.wrap_trait(self._session, self._cradle, trait))

    @property
    def _by_pair(self) -> tuple[Session, recovery.Transport]:
        return self._session, self._transport

    def _opened(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except PKCS11Error as error:
            _blame(error, lambda: recovery.try_transport(*self._by_pair))
            detail = f"the recovery blob does not open ({type(error).__name__})"
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail=detail) from error


def _blame(error: PKCS11Error, trial: Callable[[], object]) -> None:
    """Return if a blob is to blame for an error: if what is sound opens in the same session, now.

    Raises:
        Refused: for the token's own failures; they say nothing of the blob.
    """
    refused = _refused("C_UnwrapKey", error, doubtful=True)
    if refused.kind not in _OF_THE_BLOB:
        raise refused from error
    try:
        trial()
    except PKCS11Error as failed:
        raise _refused("C_UnwrapKey", failed) from failed


def _refused(call: str, error: PKCS11Error, *, doubtful: bool = False) -> Refused:
    return Refused(call, code_of(error), fault_of(error, doubtful=doubtful))
