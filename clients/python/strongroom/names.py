"""The closed vocabularies of the API, under AWS KMS's names.

Every member is a plain string, and every argument that takes one takes the string as well. Answers carry
plain strings, for a newer daemon may know names that this client does not.
"""

from enum import StrEnum, auto


class _Name(StrEnum):
    """Members whose value is their name."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:  # noqa: ARG004
        return name


class KeySpec(_Name):
    """What kind of key it is and how large."""

    SYMMETRIC_DEFAULT = auto()
    RSA_2048 = auto()
    RSA_3072 = auto()
    RSA_4096 = auto()
    ECC_NIST_P256 = auto()
    ECC_NIST_P384 = auto()
    ECC_NIST_P521 = auto()
    ECC_SECG_P256K1 = auto()
    ECC_NIST_EDWARDS25519 = auto()
    HMAC_224 = auto()
    HMAC_256 = auto()
    HMAC_384 = auto()
    HMAC_512 = auto()


class KeyUsage(_Name):
    """What a key may be used for."""

    ENCRYPT_DECRYPT = auto()
    SIGN_VERIFY = auto()
    GENERATE_VERIFY_MAC = auto()
    KEY_AGREEMENT = auto()


class KeyState(_Name):
    """Where a key stands in its life."""

    CREATING = auto()
    ENABLED = auto()
    DISABLED = auto()
    PENDING_DELETION = auto()
    UNAVAILABLE = auto()


class CustodyMode(_Name):
    """Where the secret half of a key lives."""

    WRAPPED = auto()
    RESIDENT = auto()
    ADOPTED = auto()


class KeyManager(_Name):
    """Who looks after a key."""

    CUSTOMER = auto()
    SERVICE = auto()


class EncryptionAlgorithm(_Name):
    """Encryption schemes."""

    SYMMETRIC_DEFAULT = auto()
    RSAES_OAEP_SHA_1 = auto()
    RSAES_OAEP_SHA_256 = auto()


class SigningAlgorithm(_Name):
    """Signature schemes."""

    RSASSA_PSS_SHA_256 = auto()
    RSASSA_PSS_SHA_384 = auto()
    RSASSA_PSS_SHA_512 = auto()
    RSASSA_PKCS1_V1_5_SHA_256 = auto()
    RSASSA_PKCS1_V1_5_SHA_384 = auto()
    RSASSA_PKCS1_V1_5_SHA_512 = auto()
    ECDSA_SHA_256 = auto()
    ECDSA_SHA_384 = auto()
    ECDSA_SHA_512 = auto()
    ED25519_SHA_512 = auto()


class MacAlgorithm(_Name):
    """Message authentication schemes."""

    HMAC_SHA_224 = auto()
    HMAC_SHA_256 = auto()
    HMAC_SHA_384 = auto()
    HMAC_SHA_512 = auto()


class KeyAgreementAlgorithm(_Name):
    """Key agreement schemes."""

    ECDH = auto()


class MessageType(_Name):
    """Whether Sign and Verify are given the message itself or its digest."""

    RAW = auto()
    DIGEST = auto()


class DataKeySpec(_Name):
    """Kinds of symmetric data key."""

    AES_128 = auto()
    AES_256 = auto()


class DataKeyPairSpec(_Name):
    """Kinds of data key pair."""

    RSA_2048 = auto()
    RSA_3072 = auto()
    RSA_4096 = auto()
    ECC_NIST_P256 = auto()
    ECC_NIST_P384 = auto()
    ECC_NIST_P521 = auto()
    ECC_SECG_P256K1 = auto()
    ECC_NIST_EDWARDS25519 = auto()


class Pinning(_Name):
    """To which AWS KMS key an external key is bound."""

    NONE = auto()
    FIRST_USE = auto()
    FIXED = auto()


class LimitScope(_Name):
    """What a limit counts."""

    KEY = auto()
    PRINCIPAL = auto()
    CLASS = auto()


class QuotaRequestState(_Name):
    """What became of a quota request."""

    PENDING = auto()
    APPROVED = auto()
    DENIED = auto()
    CANCELLED = auto()


class QuotaDecision(_Name):
    """An administrator's answer to a quota request."""

    APPROVE = auto()
    DENY = auto()


class PrincipalKind(_Name):
    """What a principal is."""

    ROOT = auto()
    USER = auto()
    ROLE = auto()
    SERVICE = auto()
