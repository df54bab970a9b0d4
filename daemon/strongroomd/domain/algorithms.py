"""Key specs, usages and algorithms under AWS KMS's names, with the tables that say what goes with what.

Source: AWS KMS developer guide, key spec reference; RSA limits from RFC 8017 section 7.1.1 (k - 2 hLen - 2).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class KeyUsage(StrEnum):
    """What a key is for; fixed at creation (SP 800-57 part 1, section 5.2: one key, one purpose)."""

    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    SIGN_VERIFY = "SIGN_VERIFY"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"
    KEY_AGREEMENT = "KEY_AGREEMENT"


class KeyFamily(StrEnum):
    """What a spec's material is."""

    AES = "AES"
    RSA = "RSA"
    EC = "EC"
    EDWARDS = "EDWARDS"
    HMAC = "HMAC"


class KeySpec(StrEnum):
    """What a key is made of."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_SECG_P256K1 = "ECC_SECG_P256K1"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    HMAC_224 = "HMAC_224"
    HMAC_256 = "HMAC_256"
    HMAC_384 = "HMAC_384"
    HMAC_512 = "HMAC_512"


class Scheme(StrEnum):
    """How a key version works where its spec leaves a choice; fixed at the version's birth.

    DEFAULT is the only way of every spec but SYMMETRIC_DEFAULT, and XAES-256-GCM for that one. AES_GCM is
    AES-256-GCM under the key itself, for tokens without XAES's derivation or operators who want no other.
    """

    DEFAULT = "DEFAULT"
    AES_GCM = "AES_GCM"


class EncryptionAlgorithm(StrEnum):
    """How Encrypt and Decrypt work."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"


class SigningAlgorithm(StrEnum):
    """How Sign and Verify work; PSS uses a salt as long as the digest."""

    RSASSA_PSS_SHA_256 = "RSASSA_PSS_SHA_256"
    RSASSA_PSS_SHA_384 = "RSASSA_PSS_SHA_384"
    RSASSA_PSS_SHA_512 = "RSASSA_PSS_SHA_512"
    RSASSA_PKCS1_V1_5_SHA_256 = "RSASSA_PKCS1_V1_5_SHA_256"
    RSASSA_PKCS1_V1_5_SHA_384 = "RSASSA_PKCS1_V1_5_SHA_384"
    RSASSA_PKCS1_V1_5_SHA_512 = "RSASSA_PKCS1_V1_5_SHA_512"
    ECDSA_SHA_256 = "ECDSA_SHA_256"
    ECDSA_SHA_384 = "ECDSA_SHA_384"
    ECDSA_SHA_512 = "ECDSA_SHA_512"
    ED25519_SHA_512 = "ED25519_SHA_512"


class MacAlgorithm(StrEnum):
    """How GenerateMac and VerifyMac work; one for each HMAC spec."""

    HMAC_SHA_224 = "HMAC_SHA_224"
    HMAC_SHA_256 = "HMAC_SHA_256"
    HMAC_SHA_384 = "HMAC_SHA_384"
    HMAC_SHA_512 = "HMAC_SHA_512"


class AgreementAlgorithm(StrEnum):
    """How DeriveSharedSecret works: the raw x coordinate, SP 800-56A section 5.7.1.2."""

    ECDH = "ECDH"


class MessageType(StrEnum):
    """Whether Sign and Verify get the message itself or its digest."""

    RAW = "RAW"
    DIGEST = "DIGEST"


class QuotaClass(StrEnum):
    """Operations that share one quota of an account (AWS KMS: symmetric and HMAC share one)."""

    SYMMETRIC = "SYMMETRIC"
    RSA = "RSA"
    ECC = "ECC"
    MANAGEMENT = "MANAGEMENT"


@dataclass(frozen=True, slots=True)
class SpecFacts:
    """What is fixed about a key spec.

    Attributes:
        family: kind of material.
        bits: size of the key in bits (modulus, field or secret length).
        usages: allowed usages, the first being the default where a default exists.
        quota: the class whose quota its cryptographic operations spend.
    """

    family: KeyFamily
    bits: int
    usages: tuple[KeyUsage, ...]
    quota: QuotaClass


_RSA_USAGES = (KeyUsage.ENCRYPT_DECRYPT, KeyUsage.SIGN_VERIFY)
_EC_USAGES = (KeyUsage.SIGN_VERIFY, KeyUsage.KEY_AGREEMENT)
_SIGN = (KeyUsage.SIGN_VERIFY,)
_MAC = (KeyUsage.GENERATE_VERIFY_MAC,)

SPECS: Final[dict[KeySpec, SpecFacts]] = {
    KeySpec.SYMMETRIC_DEFAULT: SpecFacts(
        KeyFamily.AES, 256, (KeyUsage.ENCRYPT_DECRYPT,), QuotaClass.SYMMETRIC
    ),
    KeySpec.RSA_2048: SpecFacts(KeyFamily.RSA, 2048, _RSA_USAGES, QuotaClass.RSA),
    KeySpec.RSA_3072: SpecFacts(KeyFamily.RSA, 3072, _RSA_USAGES, QuotaClass.RSA),
    KeySpec.RSA_4096: SpecFacts(KeyFamily.RSA, 4096, _RSA_USAGES, QuotaClass.RSA),
    KeySpec.ECC_NIST_P256: SpecFacts(KeyFamily.EC, 256, _EC_USAGES, QuotaClass.ECC),
    KeySpec.ECC_NIST_P384: SpecFacts(KeyFamily.EC, 384, _EC_USAGES, QuotaClass.ECC),
    KeySpec.ECC_NIST_P521: SpecFacts(KeyFamily.EC, 521, _EC_USAGES, QuotaClass.ECC),
    KeySpec.ECC_SECG_P256K1: SpecFacts(KeyFamily.EC, 256, _SIGN, QuotaClass.ECC),
    KeySpec.ECC_NIST_EDWARDS25519: SpecFacts(KeyFamily.EDWARDS, 256, _SIGN, QuotaClass.ECC),
    KeySpec.HMAC_224: SpecFacts(KeyFamily.HMAC, 224, _MAC, QuotaClass.SYMMETRIC),
    KeySpec.HMAC_256: SpecFacts(KeyFamily.HMAC, 256, _MAC, QuotaClass.SYMMETRIC),
    KeySpec.HMAC_384: SpecFacts(KeyFamily.HMAC, 384, _MAC, QuotaClass.SYMMETRIC),
    KeySpec.HMAC_512: SpecFacts(KeyFamily.HMAC, 512, _MAC, QuotaClass.SYMMETRIC),
}

_RSA_SIGNING = tuple(a for a in SigningAlgorithm if a.startswith("RSASSA"))
_RSA_ENCRYPTION = (EncryptionAlgorithm.RSAES_OAEP_SHA_1, EncryptionAlgorithm.RSAES_OAEP_SHA_256)

_SIGNING_BY_SPEC: Final[dict[KeySpec, tuple[SigningAlgorithm, ...]]] = {
    KeySpec.RSA_2048: _RSA_SIGNING,
    KeySpec.RSA_3072: _RSA_SIGNING,
    KeySpec.RSA_4096: _RSA_SIGNING,
    KeySpec.ECC_NIST_P256: (SigningAlgorithm.ECDSA_SHA_256,),
    KeySpec.ECC_NIST_P384: (SigningAlgorithm.ECDSA_SHA_384,),
    KeySpec.ECC_NIST_P521: (SigningAlgorithm.ECDSA_SHA_512,),
    KeySpec.ECC_SECG_P256K1: (SigningAlgorithm.ECDSA_SHA_256,),
    KeySpec.ECC_NIST_EDWARDS25519: (SigningAlgorithm.ED25519_SHA_512,),
}

_MAC_BY_SPEC: Final[dict[KeySpec, tuple[MacAlgorithm, ...]]] = {
    KeySpec.HMAC_224: (MacAlgorithm.HMAC_SHA_224,),
    KeySpec.HMAC_256: (MacAlgorithm.HMAC_SHA_256,),
    KeySpec.HMAC_384: (MacAlgorithm.HMAC_SHA_384,),
    KeySpec.HMAC_512: (MacAlgorithm.HMAC_SHA_512,),
}

DIGESTS: Final[dict[SigningAlgorithm, str]] = {
    SigningAlgorithm.RSASSA_PSS_SHA_256: "sha256",
    SigningAlgorithm.RSASSA_PSS_SHA_384: "sha384",
    SigningAlgorithm.RSASSA_PSS_SHA_512: "sha512",
    SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_256: "sha256",
    SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_384: "sha384",
    SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_512: "sha512",
    SigningAlgorithm.ECDSA_SHA_256: "sha256",
    SigningAlgorithm.ECDSA_SHA_384: "sha384",
    SigningAlgorithm.ECDSA_SHA_512: "sha512",
}
"""Hash of each algorithm that signs a digest; Ed25519 signs the message itself (RFC 8032, PureEdDSA)."""

DIGEST_BYTES: Final = {"sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}

OAEP_DIGESTS: Final = {
    EncryptionAlgorithm.RSAES_OAEP_SHA_1: "sha1",
    EncryptionAlgorithm.RSAES_OAEP_SHA_256: "sha256",
}

MAC_DIGESTS: Final = {
    MacAlgorithm.HMAC_SHA_224: "sha224",
    MacAlgorithm.HMAC_SHA_256: "sha256",
    MacAlgorithm.HMAC_SHA_384: "sha384",
    MacAlgorithm.HMAC_SHA_512: "sha512",
}


def schemes(spec: KeySpec) -> tuple[Scheme, ...]:
    """List the schemes that versions of a spec may have."""
    return tuple(Scheme) if SPECS[spec].family is KeyFamily.AES else (Scheme.DEFAULT,)


def encryption_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[EncryptionAlgorithm, ...]:
    """List how a key of this spec and usage can encrypt; empty when it cannot."""
    if usage is not KeyUsage.ENCRYPT_DECRYPT:
        return ()
    if SPECS[spec].family is KeyFamily.RSA:
        return _RSA_ENCRYPTION
    return (EncryptionAlgorithm.SYMMETRIC_DEFAULT,)


def signing_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[SigningAlgorithm, ...]:
    """List how a key of this spec and usage can sign; empty when it cannot."""
    return _SIGNING_BY_SPEC.get(spec, ()) if usage is KeyUsage.SIGN_VERIFY else ()


def mac_algorithms(spec: KeySpec, usage: KeyUsage) -> tuple[MacAlgorithm, ...]:
    """List how a key of this spec and usage can make MACs; empty when it cannot."""
    return _MAC_BY_SPEC.get(spec, ()) if usage is KeyUsage.GENERATE_VERIFY_MAC else ()


def agreement_algorithms(usage: KeyUsage) -> tuple[AgreementAlgorithm, ...]:
    """List how a key of this usage agrees on shared secrets; empty when it cannot."""
    return (AgreementAlgorithm.ECDH,) if usage is KeyUsage.KEY_AGREEMENT else ()


def oaep_limit(spec: KeySpec, algorithm: EncryptionAlgorithm) -> int:
    """Give the longest plaintext in bytes of an OAEP algorithm under an RSA spec (RFC 8017, 7.1.1)."""
    return SPECS[spec].bits // 8 - 2 * DIGEST_BYTES[OAEP_DIGESTS[algorithm]] - 2
