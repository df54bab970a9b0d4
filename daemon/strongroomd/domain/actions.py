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
    ENABLE_KEY_ROTATION = "kms:EnableKeyRotation"
    DISABLE_KEY_ROTATION = "kms:DisableKeyRotation"
    GET_KEY_ROTATION_STATUS = "kms:GetKeyRotationStatus"
    LIST_KEY_VERSIONS = "kms:ListKeyRotations"
    GET_PUBLIC_KEY = "kms:GetPublicKey"
    GET_PARAMETERS_FOR_IMPORT = "kms:GetParametersForImport"
    IMPORT_KEY_MATERIAL = "kms:ImportKeyMaterial"
    DELETE_KEY_MATERIAL = "kms:DeleteImportedKeyMaterial"
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
    ADOPT_KEY = "strongroom:AdoptKey"
    GET_LIMIT = "strongroom:GetLimit"
    PUT_LIMIT = "strongroom:PutLimit"
    DELETE_LIMIT = "strongroom:DeleteLimit"
    LIST_LIMITS = "strongroom:ListLimits"
    GET_QUOTA_USAGE = "strongroom:GetQuotaUsage"
    REQUEST_QUOTA = "strongroom:RequestQuota"
    GET_QUOTA_REQUEST = "strongroom:GetQuotaRequest"
    LIST_QUOTA_REQUESTS = "strongroom:ListQuotaRequests"
    ANSWER_QUOTA_REQUEST = "strongroom:AnswerQuotaRequest"
    CANCEL_QUOTA_REQUEST = "strongroom:CancelQuotaRequest"
    LIST_AUDIT_RECORDS = "strongroom:ListAuditRecords"
    TAIL_AUDIT_RECORDS = "strongroom:TailAuditRecords"
    GET_AUDIT_CHECKPOINT = "strongroom:GetAuditCheckpoint"
    GET_CALLER_IDENTITY = "strongroom:GetCallerIdentity"
    CREATE_ACCOUNT = "strongroom:CreateAccount"
    DESCRIBE_ACCOUNT = "strongroom:DescribeAccount"
    LIST_ACCOUNTS = "strongroom:ListAccounts"
    PUT_GUARD_RAIL = "strongroom:PutGuardRail"
    GET_GUARD_RAIL = "strongroom:GetGuardRail"
    LIST_GUARD_RAILS = "strongroom:ListGuardRails"
    DELETE_GUARD_RAIL = "strongroom:DeleteGuardRail"
    CREATE_PRINCIPAL = "strongroom:CreatePrincipal"
    DESCRIBE_PRINCIPAL = "strongroom:DescribePrincipal"
    LIST_PRINCIPALS = "strongroom:ListPrincipals"
    DELETE_PRINCIPAL = "strongroom:DeletePrincipal"
    ENABLE_PRINCIPAL = "strongroom:EnablePrincipal"
    DISABLE_PRINCIPAL = "strongroom:DisablePrincipal"
    TAG_PRINCIPAL = "strongroom:TagPrincipal"
    UNTAG_PRINCIPAL = "strongroom:UntagPrincipal"
    PUT_IDENTITY_POLICY = "strongroom:PutIdentityPolicy"
    GET_IDENTITY_POLICY = "strongroom:GetIdentityPolicy"
    LIST_IDENTITY_POLICIES = "strongroom:ListIdentityPolicies"
    DELETE_IDENTITY_POLICY = "strongroom:DeleteIdentityPolicy"
    PUT_TRUST_POLICY = "strongroom:PutTrustPolicy"
    REVOKE_ROLE_SESSIONS = "strongroom:RevokeRoleSessions"
    ADD_IDENTITY = "strongroom:AddIdentity"
    REMOVE_IDENTITY = "strongroom:RemoveIdentity"
    LIST_IDENTITIES = "strongroom:ListIdentities"
    CREATE_ACCESS_KEY = "strongroom:CreateAccessKey"
    LIST_ACCESS_KEYS = "strongroom:ListAccessKeys"
    ACTIVATE_ACCESS_KEY = "strongroom:ActivateAccessKey"
    DEACTIVATE_ACCESS_KEY = "strongroom:DeactivateAccessKey"
    DELETE_ACCESS_KEY = "strongroom:DeleteAccessKey"
    WATCH_EVENTS = "strongroom:WatchEvents"
    LIST_SINKS = "strongroom:ListSinks"
    LIST_DEAD_LETTERS = "strongroom:ListDeadLetters"
    REDRIVE_DEAD_LETTER = "strongroom:RedriveDeadLetter"
    GET_COMPLIANCE_REPORT = "strongroom:GetComplianceReport"
    CREATE_KEY_STORE = "strongroom:CreateKeyStore"
    DESCRIBE_KEY_STORE = "strongroom:DescribeKeyStore"
    LIST_KEY_STORES = "strongroom:ListKeyStores"
    UPDATE_KEY_STORE = "strongroom:UpdateKeyStore"
    BLOCK_KEY_STORE = "strongroom:BlockKeyStore"
    UNBLOCK_KEY_STORE = "strongroom:UnblockKeyStore"
    DELETE_KEY_STORE = "strongroom:DeleteKeyStore"
    CREATE_KEY_STORE_CREDENTIAL = "strongroom:CreateKeyStoreCredential"
    LIST_KEY_STORE_CREDENTIALS = "strongroom:ListKeyStoreCredentials"
    DELETE_KEY_STORE_CREDENTIAL = "strongroom:DeleteKeyStoreCredential"
    ADD_EXTERNAL_KEY = "strongroom:AddExternalKey"
    DESCRIBE_EXTERNAL_KEY = "strongroom:DescribeExternalKey"
    LIST_EXTERNAL_KEYS = "strongroom:ListExternalKeys"
    UPDATE_EXTERNAL_KEY = "strongroom:UpdateExternalKey"
    BLOCK_EXTERNAL_KEY = "strongroom:BlockExternalKey"
    UNBLOCK_EXTERNAL_KEY = "strongroom:UnblockExternalKey"
    REMOVE_EXTERNAL_KEY = "strongroom:RemoveExternalKey"
    GET_KEY_STORE_HEALTH = "strongroom:GetKeyStoreHealth"
    LIST_HOUSE_KEYS = "strongroom:ListHouseKeys"
    ROTATE_HOUSE_KEY = "strongroom:RotateHouseKey"
    START_REWRAP = "strongroom:StartRewrap"
    GET_REWRAP = "strongroom:GetRewrap"
    CANCEL_REWRAP = "strongroom:CancelRewrap"
    ENROL_APPROVER = "strongroom:EnrolApprover"
    REVOKE_APPROVER = "strongroom:RevokeApprover"
    LIST_APPROVERS = "strongroom:ListApprovers"
    GET_QUORUM = "strongroom:GetQuorum"
    PUT_QUORUM = "strongroom:PutQuorum"
    ASK_APPROVAL = "strongroom:AskApproval"
    DESCRIBE_APPROVAL = "strongroom:DescribeApproval"
    LIST_APPROVALS = "strongroom:ListApprovals"
    APPROVE_REQUEST = "strongroom:ApproveRequest"
    APPROVE_ACCOUNT_REQUEST = "strongroom:ApproveAccountRequest"
    REJECT_REQUEST = "strongroom:RejectRequest"
    CANCEL_REQUEST = "strongroom:CancelRequest"
    REQUEST_EXPORT = "strongroom:RequestExport"
    EXECUTE_EXPORT = "strongroom:ExecuteExport"
    REGISTER_WRAPPING_KEY = "strongroom:RegisterWrappingKey"
    LIST_WRAPPING_KEYS = "strongroom:ListWrappingKeys"
    REMOVE_WRAPPING_KEY = "strongroom:RemoveWrappingKey"
    GET_KEY_ATTESTATION = "strongroom:GetKeyAttestation"
    LIST_STATEMENT_KEYS = "strongroom:ListStatementKeys"
    GET_DESTRUCTION_CERTIFICATE = "strongroom:GetDestructionCertificate"
    REPLICATE_KEY = "kms:ReplicateKey"
    UPDATE_PRIMARY_REGION = "kms:UpdatePrimaryRegion"
    GET_PEER_STATEMENT = "strongroom:GetPeerStatement"
    REGISTER_PEER = "strongroom:RegisterPeer"
    LIST_PEERS = "strongroom:ListPeers"
    REMOVE_PEER = "strongroom:RemovePeer"
    GET_REPLICA_BUNDLE = "strongroom:GetReplicaBundle"
    IMPORT_REPLICA = "strongroom:ImportReplica"
    ACKNOWLEDGE_REPLICA = "strongroom:AcknowledgeReplica"
    REMOVE_REPLICA = "strongroom:RemoveReplica"
    MOVE_LOST_PRIMARY = "strongroom:MoveLostPrimary"
    CHECK_POLICY = "strongroom:CheckPolicy"
    SIMULATE_POLICY = "strongroom:SimulatePolicy"


ACCESS_READS: Final[frozenset[Action]] = frozenset(
    {
        Action.DESCRIBE_ACCOUNT,
        Action.LIST_ACCOUNTS,
        Action.GET_GUARD_RAIL,
        Action.LIST_GUARD_RAILS,
        Action.DESCRIBE_PRINCIPAL,
        Action.LIST_PRINCIPALS,
        Action.GET_IDENTITY_POLICY,
        Action.LIST_IDENTITY_POLICIES,
        Action.LIST_IDENTITIES,
        Action.LIST_ACCESS_KEYS,
    }
)
"""Looking at accounts, principals and what they prove themselves by."""

ACCESS_CHANGES: Final[frozenset[Action]] = frozenset(
    {
        Action.CREATE_ACCOUNT,
        Action.PUT_GUARD_RAIL,
        Action.DELETE_GUARD_RAIL,
        Action.CREATE_PRINCIPAL,
        Action.DELETE_PRINCIPAL,
        Action.ENABLE_PRINCIPAL,
        Action.DISABLE_PRINCIPAL,
        Action.TAG_PRINCIPAL,
        Action.UNTAG_PRINCIPAL,
        Action.PUT_IDENTITY_POLICY,
        Action.DELETE_IDENTITY_POLICY,
        Action.PUT_TRUST_POLICY,
        Action.REVOKE_ROLE_SESSIONS,
        Action.ADD_IDENTITY,
        Action.REMOVE_IDENTITY,
        Action.CREATE_ACCESS_KEY,
        Action.ACTIVATE_ACCESS_KEY,
        Action.DEACTIVATE_ACCESS_KEY,
        Action.DELETE_ACCESS_KEY,
    }
)
"""Changing them."""

KEY_STORE_READS: Final[frozenset[Action]] = frozenset(
    {
        Action.DESCRIBE_KEY_STORE,
        Action.LIST_KEY_STORES,
        Action.LIST_KEY_STORE_CREDENTIALS,
        Action.DESCRIBE_EXTERNAL_KEY,
        Action.LIST_EXTERNAL_KEYS,
    }
)
"""Looking at external key stores."""

KEY_STORE_CHANGES: Final[frozenset[Action]] = frozenset(
    {
        Action.CREATE_KEY_STORE,
        Action.UPDATE_KEY_STORE,
        Action.BLOCK_KEY_STORE,
        Action.UNBLOCK_KEY_STORE,
        Action.DELETE_KEY_STORE,
        Action.CREATE_KEY_STORE_CREDENTIAL,
        Action.DELETE_KEY_STORE_CREDENTIAL,
        Action.ADD_EXTERNAL_KEY,
        Action.UPDATE_EXTERNAL_KEY,
        Action.BLOCK_EXTERNAL_KEY,
        Action.UNBLOCK_EXTERNAL_KEY,
        Action.REMOVE_EXTERNAL_KEY,
    }
)
"""Changing them. Adding a key to a store is decided by the key, too: it lends the key (kms:CreateGrant)."""

HOUSE_READS: Final[frozenset[Action]] = frozenset({Action.LIST_HOUSE_KEYS, Action.GET_REWRAP})
"""Looking at the daemon's own keys."""

HOUSE_CHANGES: Final[frozenset[Action]] = frozenset(
    {Action.ROTATE_HOUSE_KEY, Action.START_REWRAP, Action.CANCEL_REWRAP}
)
"""Giving them successors, and moving keys from one KEK to the next."""

APPROVAL_READS: Final[frozenset[Action]] = frozenset(
    {
        Action.LIST_APPROVERS,
        Action.GET_QUORUM,
        Action.DESCRIBE_APPROVAL,
        Action.LIST_APPROVALS,
        Action.LIST_WRAPPING_KEYS,
    }
)
"""Looking at approvers, approval requests and wrapping keys."""

APPROVAL_CHANGES: Final[frozenset[Action]] = frozenset(
    {
        Action.ENROL_APPROVER,
        Action.REVOKE_APPROVER,
        Action.PUT_QUORUM,
        Action.ASK_APPROVAL,
        Action.REJECT_REQUEST,
        Action.CANCEL_REQUEST,
        Action.REGISTER_WRAPPING_KEY,
        Action.REMOVE_WRAPPING_KEY,
    }
)
"""Changing them. Asking, rejecting and cancelling is decided by what the request is about."""

PEER_CHANGES: Final[frozenset[Action]] = frozenset({Action.REGISTER_PEER, Action.REMOVE_PEER})
"""Saying to which other houses an account's multi-region keys may go."""

REPLICA_CHANGES: Final[frozenset[Action]] = frozenset(
    {
        Action.REPLICATE_KEY,
        Action.UPDATE_PRIMARY_REGION,
        Action.GET_REPLICA_BUNDLE,
        Action.ACKNOWLEDGE_REPLICA,
        Action.REMOVE_REPLICA,
        Action.MOVE_LOST_PRIMARY,
    }
)
"""What is done with a primary and its replicas. But for the first two they ask for one of their rights."""

ON_KEYS_OF_OURS: Final[frozenset[Action]] = frozenset(
    {Action.REQUEST_EXPORT, Action.EXECUTE_EXPORT, Action.APPROVE_REQUEST}
)
"""Actions on one key that AWS lacks."""

OPERATORS_ONLY: Final[frozenset[Action]] = frozenset(
    {
        *HOUSE_READS,
        *HOUSE_CHANGES,
        Action.CREATE_ACCOUNT,
        Action.PUT_GUARD_RAIL,
        Action.DELETE_GUARD_RAIL,
        Action.ADD_IDENTITY,
        Action.ADOPT_KEY,
        Action.WATCH_EVENTS,
        Action.LIST_SINKS,
        Action.LIST_DEAD_LETTERS,
        Action.REDRIVE_DEAD_LETTER,
        Action.GET_COMPLIANCE_REPORT,
    }
)
"""Actions that are nobody's but the operator's.

Guard rails bind an account's own administrators; the names in certificates are the whole daemon's: who could
bind any of them could speak for another account's caller; an object that was in the token before us belongs
to no account; events and compliance report tell of every account; house keys are the whole daemon's.
"""

KEYLESS: Final[frozenset[Action]] = frozenset(
    {
        *ACCESS_READS,
        *ACCESS_CHANGES,
        *KEY_STORE_READS,
        *KEY_STORE_CHANGES,
        *HOUSE_READS,
        *HOUSE_CHANGES,
        *APPROVAL_READS,
        *APPROVAL_CHANGES,
        *PEER_CHANGES,
        Action.LIST_PEERS,
        Action.IMPORT_REPLICA,  # the key may not be here yet
        Action.APPROVE_ACCOUNT_REQUEST,  # no call itself: a right that ApproveRequest asks for
        Action.CREATE_KEY,
        Action.ADOPT_KEY,
        Action.LIST_KEYS,
        Action.LIST_ALIASES,
        Action.LIST_RETIRABLE_GRANTS,
        Action.GET_LIMIT,
        Action.PUT_LIMIT,
        Action.DELETE_LIMIT,
        Action.LIST_LIMITS,
        Action.GET_QUOTA_USAGE,
        Action.REQUEST_QUOTA,  # of what is the caller's own, as is cancelling: whoever no policy denies it
        Action.GET_QUOTA_REQUEST,
        Action.LIST_QUOTA_REQUESTS,
        Action.ANSWER_QUOTA_REQUEST,
        Action.CANCEL_QUOTA_REQUEST,
        Action.LIST_AUDIT_RECORDS,
        Action.TAIL_AUDIT_RECORDS,
        Action.GET_AUDIT_CHECKPOINT,
        Action.WATCH_EVENTS,
        Action.LIST_SINKS,
        Action.LIST_DEAD_LETTERS,
        Action.REDRIVE_DEAD_LETTER,
        Action.GET_COMPLIANCE_REPORT,
        Action.SIMULATE_POLICY,
        Action.GET_DESTRUCTION_CERTIFICATE,  # the key and its policy are no more
    }
)
"""Actions without one key: for the administrators that the configuration names, and `BY_IDENTITY`."""

BY_IDENTITY: Final[frozenset[Action]] = (
    KEYLESS
    - OPERATORS_ONLY
    - {
        Action.PUT_LIMIT,
        Action.DELETE_LIMIT,
        Action.ANSWER_QUOTA_REQUEST,
        Action.GET_AUDIT_CHECKPOINT,
        Action.ENROL_APPROVER,  # whose signature counts is not for those to say who could count themselves
        Action.REVOKE_APPROVER,
        Action.PUT_QUORUM,
    }
)
"""Actions without one key that identity policies may allow: they concern the caller's own account."""

NEVER_DENIED: Final[frozenset[Action]] = frozenset({Action.GET_CALLER_IDENTITY})
"""Actions that no policy can take away (AWS: sts:GetCallerIdentity)."""

FOR_ANYONE: Final[frozenset[Action]] = frozenset(
    {
        *(Action.GET_CALLER_IDENTITY, Action.GENERATE_RANDOM, Action.CHECK_POLICY),
        *(Action.LIST_STATEMENT_KEYS, Action.GET_PEER_STATEMENT),
    }
)
"""Actions that every known principal may do: they touch nobody's key."""

MUTATIONS: Final[frozenset[Action]] = frozenset(
    {
        *ACCESS_CHANGES,
        *KEY_STORE_CHANGES,
        *HOUSE_CHANGES,
        *APPROVAL_CHANGES,
        *ON_KEYS_OF_OURS,
        *PEER_CHANGES,
        *REPLICA_CHANGES,
        Action.IMPORT_REPLICA,
        Action.CREATE_KEY,
        Action.ADOPT_KEY,
        Action.UPDATE_KEY_DESCRIPTION,
        Action.ENABLE_KEY,
        Action.DISABLE_KEY,
        Action.SCHEDULE_KEY_DELETION,
        Action.CANCEL_KEY_DELETION,
        Action.ROTATE_KEY,
        Action.ENABLE_KEY_ROTATION,
        Action.DISABLE_KEY_ROTATION,
        Action.GET_PARAMETERS_FOR_IMPORT,
        Action.IMPORT_KEY_MATERIAL,
        Action.DELETE_KEY_MATERIAL,
        Action.CREATE_ALIAS,
        Action.UPDATE_ALIAS,
        Action.DELETE_ALIAS,
        Action.TAG_KEY,
        Action.UNTAG_KEY,
        Action.PUT_KEY_POLICY,
        Action.PUT_LIMIT,
        Action.DELETE_LIMIT,
        Action.REQUEST_QUOTA,
        Action.ANSWER_QUOTA_REQUEST,
        Action.CANCEL_QUOTA_REQUEST,
        Action.CREATE_GRANT,
        Action.RETIRE_GRANT,
        Action.REVOKE_GRANT,
    }
)
"""Actions whose intent and outcome are both audited."""

NOT_ON_SERVICE_KEYS: Final[frozenset[Action]] = (
    MUTATIONS
    - ACCESS_CHANGES
    - KEY_STORE_CHANGES
    - HOUSE_CHANGES
    - APPROVAL_CHANGES
    - PEER_CHANGES
    - {Action.CREATE_KEY, Action.IMPORT_REPLICA}
)
"""What nobody does to a service's own key, whoever they are: every change of a key or of what is said of it.

So a change that is invented later is refused, too, until somebody decides otherwise here.
"""
