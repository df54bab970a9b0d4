"""AES-GCM in the token, by handle: the one call that sealing and opening come down to."""

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.device import Device
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import IV_BYTES
from strongroomd.hsm.xaes import TAG_BYTES

_FORGED = (Fault.DATA, Fault.DOUBTFUL)


class Ciphers:
    """Encrypts and decrypts; the thread is that which the calls are for.

    Args:
        device: over the session pool.
        calls: into the module.
    """

    def __init__(self, device: Device, calls: DirectCalls) -> None:
        self._device = device
        self._calls = calls

    def encrypt(self, handle: int, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Give ciphertext || tag."""
        return self._device.run("C_Encrypt", self._calls.encrypt_gcm, handle, iv, aad, plaintext)

    def decrypt(self, handle: int, sealed: bytes, aad: bytes) -> bytes:
        """Open IV || ciphertext || tag; what does not verify is INVALID_CIPHERTEXT."""
        iv, body = sealed[:IV_BYTES], sealed[IV_BYTES:]
        if len(body) < TAG_BYTES:
            raise forged()
        try:
            return self._device.run_doubtful("C_Decrypt", self._calls.decrypt_gcm, handle, iv, aad, body)
        except Refused as refused:
            if refused.kind in _FORGED:
                raise forged() from refused
            raise


def forged() -> StrongroomError:
    """Make the one error for every ciphertext that does not decrypt."""
    return StrongroomError(Reason.INVALID_CIPHERTEXT)
