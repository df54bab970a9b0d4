"""Public-key work, done in software: RSA-OAEP encryption, verification, the points of peers."""

import hashlib
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from strongroomd.domain.algorithms import (
    DIGESTS,
    OAEP_DIGESTS,
    EncryptionAlgorithm,
    KeySpec,
    SigningAlgorithm,
)
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.exporting import MAX_RECIPIENT_BITS, MIN_RECIPIENT_BITS
from strongroomd.domain.limits import MAX_PUBLIC_KEY

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - RSAES_OAEP_SHA_1 needs no collision resistance (RFC 8017, B.1)
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_CURVES: Final[dict[KeySpec, type[ec.EllipticCurve]]] = {
    KeySpec.ECC_NIST_P256: ec.SECP256R1,
    KeySpec.ECC_NIST_P384: ec.SECP384R1,
    KeySpec.ECC_NIST_P521: ec.SECP521R1,
    KeySpec.ECC_SECG_P256K1: ec.SECP256K1,
}


@lru_cache(maxsize=4096)
def load(spki: bytes) -> PublicKey:
    """Load a SubjectPublicKeyInfo of ours, whose record is verified already."""
    key = serialization.load_der_public_key(spki)
    if not isinstance(key, PublicKey):
        raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="stored public key is of another kind")
    return key


def recipient(spki: bytes, field: str) -> bytes:
    """Check the public key that a key is to leave under: RSA of 2,048 to 8,192 bits, in its one encoding.

    Raises:
        StrongroomError: INVALID_FIELD, FIELD_TOO_LARGE.
    """
    if len(spki) > MAX_PUBLIC_KEY:
        raise too_large(field, MAX_PUBLIC_KEY)
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPublicKey) or not MIN_RECIPIENT_BITS <= key.key_size <= MAX_RECIPIENT_BITS:
        raise invalid(field, "must be the DER SubjectPublicKeyInfo of an RSA key of 2,048 to 8,192 bits")
    exponent = key.public_numbers().e
    if not _EXPONENTS[0] <= exponent <= _EXPONENTS[1] or key.public_bytes(*_SPKI) != spki:
        raise invalid(field, "must be in DER, with a public exponent from 65,537 (NIST SP 800-56B, 6.2)")
    return spki


_EXPONENTS: Final = (65_537, 1 << 256)
_SPKI: Final = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem(spki: bytes) -> str:
    """Spell a SubjectPublicKeyInfo as PEM."""
    return (
        load(spki)
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def oaep_encrypt(spki: bytes, algorithm: EncryptionAlgorithm, plaintext: bytes) -> bytes:
    """Encrypt by RSAES-OAEP with an empty label (RFC 8017, 7.1.1); the length is checked already."""
    key = load(spki)
    if not isinstance(key, rsa.RSAPublicKey):
        raise StrongroomError(Reason.UNSUPPORTED_ALGORITHM)
    digest = _HASHES[OAEP_DIGESTS[algorithm]]
    return key.encrypt(plaintext, padding.OAEP(padding.MGF1(digest), digest, None))


def digest(algorithm: SigningAlgorithm, message: bytes) -> bytes:
    """Hash a message as the algorithm wants it signed; Ed25519 signs the message itself."""
    name = DIGESTS.get(algorithm)
    return message if name is None else hashlib.new(name, message).digest()


def verify(spki: bytes, algorithm: SigningAlgorithm, data: bytes, signature: bytes) -> None:
    """Verify a signature over a digest (or, for Ed25519, the message).

    Raises:
        StrongroomError: INVALID_SIGNATURE.
    """
    key = load(spki)
    try:
        match key:
            case rsa.RSAPublicKey():
                prehashed = _HASHES[DIGESTS[algorithm]]
                key.verify(signature, data, _rsa_padding(algorithm), Prehashed(prehashed))
            case ec.EllipticCurvePublicKey():
                key.verify(signature, data, ec.ECDSA(Prehashed(_HASHES[DIGESTS[algorithm]])))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, data)
    except (InvalidSignature, ValueError):
        raise StrongroomError(Reason.INVALID_SIGNATURE) from None


def _rsa_padding(algorithm: SigningAlgorithm) -> padding.PSS | padding.PKCS1v15:
    if algorithm.startswith("RSASSA_PSS"):
        return padding.PSS(padding.MGF1(_HASHES[DIGESTS[algorithm]]), padding.PSS.DIGEST_LENGTH)
    return padding.PKCS1v15()


def peer_point(spec: KeySpec, spki: bytes, field: str = "public_key") -> bytes:
    """Take the uncompressed point out of a peer's SubjectPublicKeyInfo; on the curve, of the key's own curve.

    Raises:
        StrongroomError: INVALID_FIELD for anything else.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES[spec]):
        raise invalid(field, "must be a DER SubjectPublicKeyInfo with a point of the key's own curve")
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
