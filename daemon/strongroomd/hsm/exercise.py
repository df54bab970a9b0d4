"""Using the token as callers do, to learn whether that works: AES-GCM there and back, with a key for it."""

import os
import time
from typing import Final

from strongroomd.domain.algorithms import KeyFamily, KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.birth import generate
from strongroomd.hsm.ciphers import Ciphers
from strongroomd.hsm.device import FIRST_PAUSE, Device
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import IV_BYTES, Session, TokenObject
from strongroomd.hsm.packing import pack
from strongroomd.hsm.sessions import Keeper
from strongroomd.hsm.templates import GCM_DUTY, Life, template

_KEY: Final = pack(template(KeyFamily.AES, Life.SEALED, GCM_DUTY))
_TEXT_BYTES: Final = 32


class Exerciser:
    """Encrypts and decrypts; one call at a time, any thread.

    Args:
        keeper: over the session that owns the key, an AES-256 session object that cannot leave the token.
        ciphers: for that thread.
    """

    def __init__(self, keeper: Device, ciphers: Ciphers) -> None:
        self._keeper = keeper
        self._ciphers = ciphers
        self._key: TokenObject | None = None
        self._epoch = 0

    def run(self) -> float:
        """Encrypt and decrypt random bytes; gives the seconds that both took.

        Raises:
            StrongroomError: HSM_UNAVAILABLE when the token fails or answers wrongly, and others.
        """
        try:
            return self._there_and_back(self._handle())
        except Refused as refused:
            if refused.kind is not Fault.HANDLE:
                raise
            self._key = None
        return self._there_and_back(self._handle())

    def _there_and_back(self, handle: int) -> float:
        text, aad, iv = os.urandom(_TEXT_BYTES), os.urandom(_TEXT_BYTES), os.urandom(IV_BYTES)
        start = time.perf_counter()
        sealed = self._ciphers.encrypt(handle, iv, aad, text)
        opened = self._ciphers.decrypt(handle, iv + sealed, aad)
        seconds = time.perf_counter() - start
        if opened != text:
            detail = "the token decrypts otherwise than it encrypted"
            raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=FIRST_PAUSE)
        return seconds

    def _handle(self) -> int:
        """Give the key, a new one after the session that owned the last was lost."""
        keeper = self._keeper.pool
        epoch = keeper.epoch if isinstance(keeper, Keeper) else 0
        if self._key is None or epoch != self._epoch:
            self._key = self._keeper.run("C_GenerateKey", _generate)
            self._epoch = epoch
        return int(self._key.handle)


def _generate(session: Session) -> TokenObject:
    return generate(session, KeySpec.SYMMETRIC_DEFAULT, _KEY).held
