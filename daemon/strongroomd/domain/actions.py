"""Every action that a policy can allow: AWS's `kms:` and `sts:` names, `strongroom:` for what AWS lacks."""

from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """Actions on keys (decided by the key's policy) and without a key (for administrators)."""

    CREATE_KEY = "kms:CreateKey"
    DESCRIBE_KEY = "kms:DescribeKey"
    LIST_KEYS = "kms:ListKeys"
    UPDATE_KEY_DESCRIPTION = "kms:UpdateKeyDescription"
    ENABLE_KEY = "kms:EnableKey"
    DISABLE_KEY = "kms:DisableKey"
    SCHEDULE_KEY_DELETION = "kms:ScheduleKeyDeletion"
    CANCEL_KEY_DELETION = "kms:CancelKeyDeletion"
    ROTATE_KEY = "kms:RotateKeyOnDemand"
    LIST_KEY_VERSIONS = "kms:ListKeyRotations"
    GET_PUBLIC_KEY = "kms:GetPublicKey"
    CREATE_ALIAS = "kms:CreateAlias"
    UPDATE_ALIAS = "kms:UpdateAlias"
    DELETE_ALIAS = "kms:DeleteAlias"
    LIST_ALIASES = "kms:ListAliases"
    TAG_KEY = "kms:TagResource"
    UNTAG_KEY = "kms:UntagResource"
    LIST_TAGS = "kms:ListResourceTags"
    GET_KEY_POLICY = "kms:GetKeyPolicy"
    PUT_KEY_POLICY = "kms:PutKeyPolicy"
    GET_KEY_USAGE = "kms:GetKeyLastUsage"
    ENCRYPT = "kms:Encrypt"
    DECRYPT = "kms:Decrypt"
    RE_ENCRYPT_FROM = "kms:ReEncryptFrom"
    RE_ENCRYPT_TO = "kms:ReEncryptTo"
    GENERATE_DATA_KEY = "kms:GenerateDataKey"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "kms:GenerateDataKeyWithoutPlaintext"
    GENERATE_DATA_KEY_PAIR = "kms:GenerateDataKeyPair"
    GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT = "kms:GenerateDataKeyPairWithoutPlaintext"
    SIGN = "kms:Sign"
    VERIFY = "kms:Verify"
    GENERATE_MAC = "kms:GenerateMac"
    VERIFY_MAC = "kms:VerifyMac"
    DERIVE_SHARED_SECRET = "kms:DeriveSharedSecret"  # noqa: S105 - an action's name
    GENERATE_RANDOM = "kms:GenerateRandom"
    CREATE_GRANT = "kms:CreateGrant"
    LIST_GRANTS = "kms:ListGrants"
    LIST_RETIRABLE_GRANTS = "kms:ListRetirableGrants"
    RETIRE_GRANT = "kms:RetireGrant"
    REVOKE_GRANT = "kms:RevokeGrant"
    ASSUME_ROLE = "sts:AssumeRole"
    GET_LIMIT = "strongroom:GetLimit"
    PUT_LIMIT = "strongroom:PutLimit"
    DELETE_LIMIT = "strongroom:DeleteLimit"
    LIST_LIMITS = "strongroom:ListLimits"
    GET_QUOTA_USAGE = "strongroom:GetQuotaUsage"
    LIST_AUDIT_RECORDS = "strongroom:ListAuditRecords"
    TAIL_AUDIT_RECORDS = "strongroom:TailAuditRecords"
    GET_AUDIT_CHECKPOINT = "strongroom:GetAuditCheckpoint"
    GET_CALLER_IDENTITY = "strongroom:GetCallerIdentity"


KEYLESS: Final[frozenset[Action]] = frozenset(
    {
        Action.CREATE_KEY,
        Action.LIST_KEYS,
        Action.LIST_ALIASES,
        Action.LIST_RETIRABLE_GRANTS,
        Action.GET_LIMIT,
        Action.PUT_LIMIT,
        Action.DELETE_LIMIT,
        Action.LIST_LIMITS,
        Action.GET_QUOTA_USAGE,
        Action.LIST_AUDIT_RECORDS,
        Action.TAIL_AUDIT_RECORDS,
        Action.GET_AUDIT_CHECKPOINT,
    }
)
"""Actions without one key, decided by whether the configuration names the caller an administrator."""

FOR_ANYONE: Final[frozenset[Action]] = frozenset({Action.GET_CALLER_IDENTITY, Action.GENERATE_RANDOM})
"""Actions that every known principal may do: they touch nobody's key."""

MUTATIONS: Final[frozenset[Action]] = frozenset(
    {
        Action.CREATE_KEY,
        Action.UPDATE_KEY_DESCRIPTION,
        Action.ENABLE_KEY,
        Action.DISABLE_KEY,
        Action.SCHEDULE_KEY_DELETION,
        Action.CANCEL_KEY_DELETION,
        Action.ROTATE_KEY,
        Action.CREATE_ALIAS,
        Action.UPDATE_ALIAS,
        Action.DELETE_ALIAS,
        Action.TAG_KEY,
        Action.UNTAG_KEY,
        Action.PUT_KEY_POLICY,
        Action.PUT_LIMIT,
        Action.DELETE_LIMIT,
        Action.CREATE_GRANT,
        Action.RETIRE_GRANT,
        Action.REVOKE_GRANT,
    }
)
"""Actions whose intent and outcome are both audited."""
