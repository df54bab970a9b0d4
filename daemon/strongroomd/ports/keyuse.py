"""What is done with a key's version, in the token where it lives."""

from collections.abc import Callable
from typing import Protocol

from strongroomd.domain.algorithms import EncryptionAlgorithm, KeySpec, MacAlgorithm, SigningAlgorithm
from strongroomd.domain.keys import BoundVersion


class KeyUse(Protocol):
    """The operations of keys, and of pairs of keys that are the caller's own."""

    async def seal(self, key: BoundVersion, plaintext: bytes, aad: bytes, *, deadline: float) -> bytes:
        """Encrypt under a symmetric key by its version's scheme, with a fresh random nonce.

        Returns nonce (XAES-256-GCM 24 bytes, AES-256-GCM 12) || ciphertext || tag (16). Under AES-256-GCM the
        caller has counted the invocation before.
        """
        ...

    async def seal_apart(
        self, key: BoundVersion, plaintext: bytes, aad_of: Callable[[bytes], bytes], *, deadline: float
    ) -> bytes:
        """Encrypt as `seal` does, where the authenticated data tell of the nonce.

        Args:
            key: the version.
            plaintext: what to encrypt.
            aad_of: gives the authenticated data, from the nonce's first 12 bytes under XAES-256-GCM, of which
                the sub-key is derived, and from nothing under AES-256-GCM. It may be asked twice.
            deadline: monotonic seconds.
        """
        ...

    async def open(self, key: BoundVersion, sealed: bytes, aad: bytes, *, deadline: float) -> bytes:
        """Undo `seal`. Raises INVALID_CIPHERTEXT for whatever does not verify, always the same."""
        ...

    async def rsa_decrypt(
        self, key: BoundVersion, algorithm: EncryptionAlgorithm, ciphertext: bytes, *, deadline: float
    ) -> bytes:
        """Undo RSAES-OAEP. Raises INVALID_CIPHERTEXT for whatever does not decrypt, always the same."""
        ...

    async def sign(
        self, key: BoundVersion, algorithm: SigningAlgorithm, data: bytes, *, deadline: float
    ) -> bytes:
        """Sign a digest (RSA, ECDSA; its length is already checked) or, for Ed25519, the message itself.

        Returns the signature as AWS KMS does: DER for ECDSA, raw otherwise. RSA signatures are verified
        before they are returned.
        """
        ...

    async def mac(
        self, key: BoundVersion, algorithm: MacAlgorithm, message: bytes, *, deadline: float
    ) -> bytes:
        """Make a full-length HMAC."""
        ...

    async def agree(self, key: BoundVersion, peer: bytes, *, deadline: float) -> bytes:
        """Derive the raw ECDH secret with a peer's uncompressed point, already checked to be on the curve."""
        ...

    async def data_key_pair(self, spec: KeySpec, *, deadline: float) -> tuple[bytearray, bytes]:
        """Make a key pair that leaves: (PKCS#8 DER private key, SubjectPublicKeyInfo DER)."""
        ...

    def forget(self, key_id: str) -> None:
        """Drop whatever is cached of a key (handles, sub-keys), once calls in flight are done with it."""
        ...
