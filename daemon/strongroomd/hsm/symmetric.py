"""XAES-256-GCM, AES-256-GCM and HMAC over loaded keys, on the event loop's thread."""

import os
import time
from collections.abc import Callable

from strongroomd.domain.algorithms import MacAlgorithm, Scheme
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.limits import SUBKEY_MESSAGES, SUBKEY_SECONDS
from strongroomd.hsm import handles
from strongroomd.hsm.cache import LoadedKey, SubKey, SubKeyCache
from strongroomd.hsm.ciphers import Ciphers, forged
from strongroomd.hsm.device import Device
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.handles import IV_BYTES, Session
from strongroomd.hsm.mechanisms import MACS
from strongroomd.hsm.quick import Quick
from strongroomd.hsm.templates import SUBKEY
from strongroomd.hsm.xaes import NONCE_BYTES, PREFIX_BYTES, TAG_BYTES, derivation_blocks


class Symmetric:
    """Seals and opens.

    Args:
        device: over the session pool.
        keeper: over the session that owns sub-keys.
        size: most sub-keys kept for decryption.
        calls: into the module.
        quick: has the keeper's session while the token is slow.
    """

    def __init__(self, device: Device, keeper: Device, size: int, calls: DirectCalls, quick: Quick) -> None:
        self._calls = calls
        self._device = device
        self._ciphers = Ciphers(device, calls)
        self._keeper = keeper
        self._quick = quick
        self._subkeys = SubKeyCache(size, self._destroy, keeper.observer)

    def __len__(self) -> int:
        """How many sub-keys are kept for decryption."""
        return len(self._subkeys)

    def seal(self, key: LoadedKey, plaintext: bytes, aad: bytes) -> bytes | None:
        """Encrypt; prefix and IV are fresh random, never counters, so that no restart can repeat one.

        None if a sub-key must be made for it while a thread may have the keeper's session.
        """
        if key.bound.record.scheme is Scheme.AES_GCM:
            return self._seal_plainly(key, plaintext, aad)
        subkey = self._sealing_now(key)
        return None if subkey is None else self._seal_under(subkey, plaintext, aad)

    def seal_apart(self, key: LoadedKey, plaintext: bytes, aad_of: Callable[[bytes], bytes]) -> bytes | None:
        """Encrypt with authenticated data that tell of the nonce's prefix; see `Vault.seal_apart`."""
        if key.bound.record.scheme is Scheme.AES_GCM:
            return self._seal_plainly(key, plaintext, aad_of(b""))
        subkey = self._sealing_now(key)
        return None if subkey is None else self._seal_under(subkey, plaintext, aad_of(subkey.prefix))

    def _seal_plainly(self, key: LoadedKey, plaintext: bytes, aad: bytes) -> bytes:
        iv = os.urandom(IV_BYTES)
        return iv + self._ciphers.encrypt(key.handle, iv, aad, plaintext)

    def _sealing_now(self, key: LoadedKey) -> SubKey | None:
        subkey = self.sealing(key)
        if subkey is None and self._quick.unused:
            return self.renew(key, self.derive(key, os.urandom(PREFIX_BYTES)))
        return subkey

    def _seal_under(self, subkey: SubKey, plaintext: bytes, aad: bytes) -> bytes:
        subkey.messages += 1
        iv = os.urandom(NONCE_BYTES - PREFIX_BYTES)
        return subkey.prefix + iv + self._ciphers.encrypt(subkey.handle, iv, aad, plaintext)

    def open(self, key: LoadedKey, sealed: bytes, aad: bytes) -> bytes | None:
        """Decrypt; None as `seal`.

        Raises:
            StrongroomError: INVALID_CIPHERTEXT for whatever does not verify.
        """
        if key.bound.record.scheme is Scheme.AES_GCM:
            return self._ciphers.decrypt(key.handle, sealed, aad)
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise forged()
        prefix = sealed[:PREFIX_BYTES]
        subkey = self._subkeys.get(key, prefix)
        if subkey is not None:
            return self._ciphers.decrypt(subkey.handle, sealed[PREFIX_BYTES:], aad)
        if not self._quick.unused:
            return None
        return self._open_first(self.derive(key, prefix), sealed, aad)

    def mac(self, key: LoadedKey, algorithm: MacAlgorithm, message: bytes) -> bytes:
        """HMAC of full length."""
        return self._device.run("C_Sign", self._calls.sign, key.handle, MACS[algorithm], message)

    def forget(self, key: LoadedKey) -> None:
        """Take all sub-keys of a key that is leaving out of the token."""
        self._subkeys.drop_all_of(key)

    def _open_first(self, subkey: SubKey, sealed: bytes, aad: bytes) -> bytes:
        """Keep the sub-key only once a tag has verified: else forgeries would push good ones out."""
        try:
            plaintext = self._ciphers.decrypt(subkey.handle, sealed[PREFIX_BYTES:], aad)
        except BaseException:
            self._destroy(subkey)
            raise
        self._subkeys.put(subkey)
        return plaintext

    # --- sub-keys, for distant.py too; on the loop's thread, but for `derive` and `destroy` ---

    def sealing(self, key: LoadedKey) -> SubKey | None:
        """Give the sub-key that new messages are encrypted under; None when the next one is due."""
        subkey = key.sealing
        if (
            subkey is None
            or subkey.messages >= SUBKEY_MESSAGES
            or time.monotonic() - subkey.born >= SUBKEY_SECONDS
        ):
            return None
        return subkey

    def renew(self, key: LoadedKey, fresh: SubKey) -> SubKey:
        """Encrypt new messages under a fresh sub-key; the last one may still be needed for decryption."""
        if key.sealing is not None:
            self._subkeys.put(key.sealing)
        key.sealing = fresh
        return fresh

    def known(self, key: LoadedKey, prefix: bytes) -> SubKey | None:
        """Find the sub-key of a prefix."""
        return self._subkeys.get(key, prefix)

    def keep(self, subkey: SubKey) -> None:
        """Keep a sub-key whose tag has verified, unless another call was first."""
        key = subkey.owner
        if subkey.prefix in key.opening or (key.sealing is not None and key.sealing.prefix == subkey.prefix):
            self._destroy(subkey)
        else:
            self._subkeys.put(subkey)

    def pin(self, subkey: SubKey) -> None:
        """A call on another thread begins to use a sub-key."""
        subkey.pins += 1

    def unpin(self, subkey: SubKey) -> None:
        """That call ended."""
        subkey.pins -= 1
        if subkey.doomed and subkey.pins == 0:
            self._destroy(subkey)

    def derive(self, key: LoadedKey, prefix: bytes) -> SubKey:
        """Make the sub-key of a prefix in the token; any thread."""
        blocks = derivation_blocks(key.mask, prefix)
        held = self._keeper.run("C_DeriveKey", handles.derive_blocks, key.handle, blocks, SUBKEY)
        self._keeper.observer.leaked(1)
        return SubKey(key, prefix, held, int(held.handle), time.monotonic())

    def destroy(self, subkey: SubKey) -> None:
        """Take a sub-key out of the token; any thread. A vanished one is as good as destroyed."""
        if subkey.owner.is_current():
            try:
                self._keeper.run_once("C_DestroyObject", _destroy_held, subkey)
            except StrongroomError:
                return

    def _destroy(self, subkey: SubKey) -> None:
        if subkey.pins:
            subkey.doomed = True
        else:
            self._quick.tidy(self.destroy, subkey)


def _destroy_held(_: Session, subkey: SubKey) -> None:
    subkey.held.destroy()
