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
    PENDING_IMPORT = auto()


class WrappingAlgorithm(_Name):
    """How key material is wrapped for its way into the HSM."""

    RSAES_OAEP_SHA_1 = auto()
    RSAES_OAEP_SHA_256 = auto()
    RSA_AES_KEY_WRAP_SHA_1 = auto()
    RSA_AES_KEY_WRAP_SHA_256 = auto()


class WrappingKeySpec(_Name):
    """The wrapping key."""

    RSA_2048 = auto()
    RSA_3072 = auto()
    RSA_4096 = auto()


class ImportLevel(_Name):
    """Where imported material was in clear on its way in."""

    TOKEN = auto()
    HOST_EPHEMERAL = auto()
    HOST = auto()


class ExpirationModel(_Name):
    """Whether imported material goes by itself."""

    KEY_MATERIAL_EXPIRES = auto()
    KEY_MATERIAL_DOES_NOT_EXPIRE = auto()


class ImportType(_Name):
    """Whether material is new to its key."""

    EXISTING_KEY_MATERIAL = auto()
    NEW_KEY_MATERIAL = auto()


class MaterialState(_Name):
    """Whether imported material is there."""

    IMPORTED = auto()
    REMOVED = auto()


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


class MultiRegionKeyType(_Name):
    """What a multi-region key is."""

    PRIMARY = auto()
    REPLICA = auto()


class GuardedAction(_Name):
    """What dual control guards."""

    EXPORT_KEY = auto()
    PUT_KEY_POLICY = auto()
    SCHEDULE_KEY_DELETION = auto()
    DELETE_KEY_MATERIAL = auto()
    EXPIRE_KEY_MATERIAL = auto()
    REGISTER_WRAPPING_KEY = auto()
    PUT_QUORUM = auto()
    ATTACH_RECOVERY_TOKEN = auto()
    RESTORE_OLDER_STATE = auto()
    REWRAP_KEYS = auto()
    REGISTER_PEER = auto()
    MOVE_LOST_PRIMARY = auto()


class ApprovalState(_Name):
    """What became of an approval request; all but the first two are final."""

    WAITING = auto()
    APPROVED = auto()
    EXECUTED = auto()
    CANCELLED = auto()
    EXPIRED = auto()
    REJECTED = auto()


class WrappingKeyKind(_Name):
    """What a wrapping key is."""

    RSA = auto()
    AES = auto()


class ExportLevel(_Name):
    """Where a key is in clear on its way out, the strictest first."""

    TOKEN = auto()
    HOST_EPHEMERAL = auto()
    HOST = auto()


class ExportAlgorithm(_Name):
    """How a key is wrapped on its way out."""

    RSA_AES_KEY_WRAP_SHA_1 = auto()
    RSA_AES_KEY_WRAP_SHA_256 = auto()
    RSAES_OAEP_SHA_256 = auto()
    AES_KEY_WRAP_PAD = auto()
