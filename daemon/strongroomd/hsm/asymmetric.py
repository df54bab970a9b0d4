"""RSA and elliptic curve operations over loaded keys; any thread."""

from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.algorithms import SPECS, EncryptionAlgorithm, KeySpec, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.hsm import handles
from strongroomd.hsm.cache import LoadedKey
from strongroomd.hsm.ciphers import forged
from strongroomd.hsm.device import Device
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session
from strongroomd.hsm.mechanisms import SIGNING
from strongroomd.hsm.oaep import Padding, in_range, raw_decrypt
from strongroomd.hsm.publickeys import verifies
from strongroomd.hsm.signatures import encode_signature
from strongroomd.hsm.templates import MASK

_FORGED = (Fault.DATA, Fault.DOUBTFUL)


class Asymmetric:
    """Signs, decrypts and agrees.

    Args:
        device: over the session pool.
        here: the same, for the loop's thread.
        calls: into the module, for signatures that take microseconds.
    """

    def __init__(self, device: Device, here: Device, calls: DirectCalls) -> None:
        self._calls = calls
        self._here = here
        self._device = device
        self._padding = Padding()

    def sign(self, key: LoadedKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        """Sign.

        An RSA signature is verified first, since a faulty one gives the key away (Boneh et al. 1997).
        """
        how = SIGNING[algorithm]
        raw = self._device.run(
            "C_Sign", handles.sign, key.handle, how.mechanism, how.parameter, how.prefix + data
        )
        signature = encode_signature(algorithm, raw)
        if isinstance(key.public, rsa.RSAPublicKey) and not verifies(key.public, algorithm, data, signature):
            raise StrongroomError(
                Reason.HSM_UNAVAILABLE, detail="the token made a wrong signature", retry_after=1
            )
        return signature

    def sign_here(self, key: LoadedKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        """Sign by a spec of `INLINE_SIGNING`, on the loop's thread."""
        mechanism = SIGNING[algorithm].mechanism
        raw = self._here.run("C_Sign", self._calls.sign, key.handle, mechanism, data)
        return encode_signature(algorithm, raw)

    def decrypt(self, key: LoadedKey, algorithm: EncryptionAlgorithm, ciphertext: bytes) -> bytes:
        """Undo OAEP.

        Raises:
            StrongroomError: INVALID_CIPHERTEXT for whatever does not decrypt.
        """
        if not isinstance(key.public, rsa.RSAPublicKey) or not in_range(key.public, ciphertext):
            raise forged()
        try:
            plaintext = self._decrypt(key.handle, key.public, algorithm, ciphertext)
        except Refused as refused:
            if refused.kind in _FORGED:
                raise forged() from refused
            raise
        if plaintext is None:
            raise forged()
        return plaintext

    def agree(self, key: LoadedKey, peer: bytes) -> bytes:
        """Raw ECDH secret, as long as the field.

        Raises:
            StrongroomError: INVALID_FIELD when the token will not have the peer's point.
        """
        try:
            return self._device.run_doubtful(
                "C_DeriveKey", _agree, key.handle, peer, field_bytes(key.bound.spec)
            )
        except Refused as refused:
            if refused.kind in _FORGED:
                raise invalid("public_key", "the point is not on the key's curve") from refused
            raise

    def _decrypt(
        self, handle: int, public: rsa.RSAPublicKey, algorithm: EncryptionAlgorithm, ciphertext: bytes
    ) -> bytes | None:
        if algorithm is EncryptionAlgorithm.RSAES_OAEP_SHA_1:
            return self._device.run_doubtful(
                "C_Decrypt", handles.decrypt_rsa, handle, Mechanism.RSA_PKCS_OAEP, ciphertext
            )
        block = self._device.run_doubtful("C_Decrypt", raw_decrypt, handle, public, ciphertext)
        return self._padding.remove(block)


def _agree(session: Session, handle: int, peer: bytes, size: int) -> bytes:
    return handles.take_value(handles.derive_ecdh(session, handle, peer, size, MASK))


def field_bytes(spec: KeySpec) -> int:
    """Length of a curve's coordinates in bytes."""
    return (SPECS[spec].bits + 7) // 8
