"""XAES-256-GCM, AES-256-GCM and HMAC over loaded keys, on the event loop's thread."""

import os
import time
from collections.abc import Callable

from strongroomd.domain.algorithms import MacAlgorithm, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import SUBKEY_MESSAGES, SUBKEY_SECONDS
from strongroomd.hsm import handles
from strongroomd.hsm.cache import LoadedKey, SubKey, SubKeyCache
from strongroomd.hsm.device import Device
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session
from strongroomd.hsm.mechanisms import MACS
from strongroomd.hsm.templates import SUBKEY
from strongroomd.hsm.xaes import NONCE_BYTES, PREFIX_BYTES, TAG_BYTES, derivation_blocks

_IV_BYTES = 12
_FORGED = (Fault.DATA, Fault.DOUBTFUL)


class Symmetric:
    """Seals and opens.

    Args:
        device: over the session pool.
        keeper: over the session that owns sub-keys.
        size: most sub-keys kept for decryption.
        calls: into the module.
    """

    def __init__(self, device: Device, keeper: Device, size: int, calls: DirectCalls) -> None:
        self._calls = calls
        self._device = device
        self._keeper = keeper
        self._subkeys = SubKeyCache(size, self._destroy, keeper.observer)

    def __len__(self) -> int:
        """How many sub-keys are kept for decryption."""
        return len(self._subkeys)

    def seal(self, key: LoadedKey, plaintext: bytes, aad: bytes) -> bytes:
        """Encrypt; prefix and IV are fresh random, never counters, so that no restart can repeat one."""
        if key.bound.record.scheme is Scheme.AES_GCM:
            return self._seal_plainly(key, plaintext, aad)
        return self._seal_under(self._sealing(key), plaintext, aad)

    def seal_apart(self, key: LoadedKey, plaintext: bytes, aad_of: Callable[[bytes], bytes]) -> bytes:
        """Encrypt with authenticated data that tell of the nonce's prefix; see `Vault.seal_apart`."""
        if key.bound.record.scheme is Scheme.AES_GCM:
            return self._seal_plainly(key, plaintext, aad_of(b""))
        subkey = self._sealing(key)
        return self._seal_under(subkey, plaintext, aad_of(subkey.prefix))

    def _seal_plainly(self, key: LoadedKey, plaintext: bytes, aad: bytes) -> bytes:
        iv = os.urandom(_IV_BYTES)
        return iv + self._encrypt(key.handle, iv, aad, plaintext)

    def _seal_under(self, subkey: SubKey, plaintext: bytes, aad: bytes) -> bytes:
        subkey.messages += 1
        iv = os.urandom(NONCE_BYTES - PREFIX_BYTES)
        return subkey.prefix + iv + self._encrypt(subkey.handle, iv, aad, plaintext)

    def _sealing(self, key: LoadedKey) -> SubKey:
        """Give the sub-key that new messages are encrypted under: fresh after a number of them, or a time."""
        subkey = key.sealing
        if (
            subkey is None
            or subkey.messages >= SUBKEY_MESSAGES
            or time.monotonic() - subkey.born >= SUBKEY_SECONDS
        ):
            subkey = self._next_sealing(key)
        return subkey

    def open(self, key: LoadedKey, sealed: bytes, aad: bytes) -> bytes:
        """Decrypt.

        Raises:
            StrongroomError: INVALID_CIPHERTEXT for whatever does not verify.
        """
        if key.bound.record.scheme is Scheme.AES_GCM:
            return self._decrypt(key.handle, sealed, aad)
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise forged()
        prefix = sealed[:PREFIX_BYTES]
        subkey = self._subkeys.get(key, prefix)
        if subkey is not None:
            return self._decrypt(subkey.handle, sealed[PREFIX_BYTES:], aad)
        return self._open_first(self._derive(key, prefix), sealed, aad)

    def mac(self, key: LoadedKey, algorithm: MacAlgorithm, message: bytes) -> bytes:
        """HMAC of full length."""
        return self._device.run("C_Sign", self._calls.sign, key.handle, MACS[algorithm], message)

    def forget(self, key: LoadedKey) -> None:
        """Take all sub-keys of a key that is leaving out of the token."""
        self._subkeys.drop_all_of(key)

    def _destroy(self, subkey: SubKey) -> None:
        """Take a sub-key out of the token; a vanished one is as good as destroyed."""
        if subkey.owner.is_current():
            try:
                self._keeper.run_once("C_DestroyObject", _destroy_held, subkey)
            except StrongroomError:
                return

    def _encrypt(self, handle: int, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        return self._device.run("C_Encrypt", self._calls.encrypt_gcm, handle, iv, aad, plaintext)

    def _decrypt(self, handle: int, sealed: bytes, aad: bytes) -> bytes:
        """Open IV || ciphertext || tag; what does not verify is INVALID_CIPHERTEXT."""
        iv, body = sealed[:_IV_BYTES], sealed[_IV_BYTES:]
        if len(body) < TAG_BYTES:
            raise forged()
        try:
            return self._device.run_doubtful("C_Decrypt", self._calls.decrypt_gcm, handle, iv, aad, body)
        except Refused as refused:
            if refused.kind in _FORGED:
                raise forged() from refused
            raise

    def _open_first(self, subkey: SubKey, sealed: bytes, aad: bytes) -> bytes:
        """Keep the sub-key only once a tag has verified: else forgeries would push good ones out."""
        try:
            plaintext = self._decrypt(subkey.handle, sealed[PREFIX_BYTES:], aad)
        except BaseException:
            self._destroy(subkey)
            raise
        self._subkeys.put(subkey)
        return plaintext

    def _next_sealing(self, key: LoadedKey) -> SubKey:
        fresh = self._derive(key, os.urandom(PREFIX_BYTES))
        if key.sealing is not None:
            self._subkeys.put(key.sealing)
        key.sealing = fresh
        return fresh

    def _derive(self, key: LoadedKey, prefix: bytes) -> SubKey:
        blocks = derivation_blocks(key.mask, prefix)
        held = self._keeper.run("C_DeriveKey", handles.derive_blocks, key.handle, blocks, SUBKEY)
        self._keeper.observer.leaked(1)
        return SubKey(key, prefix, held, int(held.handle), time.monotonic())


def _destroy_held(_: Session, subkey: SubKey) -> None:
    subkey.held.destroy()


def forged() -> StrongroomError:
    """Make the one error for every ciphertext that does not decrypt."""
    return StrongroomError(Reason.INVALID_CIPHERTEXT)
