"""Public halves: from the token's attributes to SubjectPublicKeyInfo, and back to something that verifies."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pkcs11.constants import Attribute

from strongroomd.domain.algorithms import DIGESTS, SPECS, KeyFamily, KeySpec, SigningAlgorithm
from strongroomd.hsm.handles import TokenObject

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

CURVES: Final[dict[KeySpec, ec.EllipticCurve]] = {
    KeySpec.ECC_NIST_P256: ec.SECP256R1(),
    KeySpec.ECC_NIST_P384: ec.SECP384R1(),
    KeySpec.ECC_NIST_P521: ec.SECP521R1(),
    KeySpec.ECC_SECG_P256K1: ec.SECP256K1(),
}
HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - OAEP's hash, which needs no collision resistance (RFC 8017, 7.1)
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def public_key_of(spec: KeySpec, public: TokenObject) -> bytes:
    """Encode the public half that a key generation left: DER SubjectPublicKeyInfo.

    Raises:
        ValueError: the token's point is not on the curve.
    """
    key: PublicKey
    family = SPECS[spec].family
    if family is KeyFamily.RSA:
        modulus = int.from_bytes(public[Attribute.MODULUS], "big")
        key = rsa.RSAPublicNumbers(
            int.from_bytes(public[Attribute.PUBLIC_EXPONENT], "big"), modulus
        ).public_key()
    elif family is KeyFamily.EDWARDS:
        key = ed25519.Ed25519PublicKey.from_public_bytes(_octets(public[Attribute.EC_POINT]))
    else:
        key = ec.EllipticCurvePublicKey.from_encoded_point(CURVES[spec], _octets(public[Attribute.EC_POINT]))
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load_public_key(der: bytes) -> PublicKey:
    """Decode a stored SubjectPublicKeyInfo.

    Raises:
        ValueError: it is none, or of a kind that the daemon does not make.
    """
    key = load_der_public_key(der)
    if not isinstance(key, PublicKey):
        raise ValueError(type(key).__name__)  # noqa: TRY004 - bad data, not a caller's mistake
    return key


def verifies(key: PublicKey, algorithm: SigningAlgorithm, data: bytes, signature: bytes) -> bool:
    """Check a signature in software; `data` as `Vault.sign` takes it, the signature as it gives it."""
    try:
        _verify(key, algorithm, data, signature)
    except InvalidSignature:
        return False
    return True


def _verify(key: PublicKey, algorithm: SigningAlgorithm, data: bytes, signature: bytes) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
        return
    digest = HASHES[DIGESTS[algorithm]]
    prehashed = utils.Prehashed(digest)
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(prehashed))
    elif algorithm.startswith("RSASSA_PSS"):
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
        key.verify(signature, data, scheme, prehashed)
    else:
        key.verify(signature, data, padding.PKCS1v15(), prehashed)


def _octets(der: bytes) -> bytes:
    """Strip the OCTET STRING header of CKA_EC_POINT (PKCS#11 v2.40, 2.3.3)."""
    header = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[header:]
