"""The table of condition keys: which there are, what they hold, and which actions they exist for.

Names are compared without regard to case, as in AWS, what stands after a prefix included: AWS KMS says so of
`kms:EncryptionContext:`, and to tell cases apart a policy names the pair's key in kms:EncryptionContextKeys.
A key that has no meaning here is refused by name, so that nobody relies on what is never there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.actions import KEYLESS, ON_KEYS_OF_OURS, Action


class Kind(StrEnum):
    """What a key holds, which decides the operators that fit it (operators.py)."""

    STRING = "text from a list of words"
    TEXT = "text that may be an ARN"
    ARN = "ARN"
    BOOL = "true or false"
    NUMERIC = "number"
    DATE = "date"
    EPOCH = "date in seconds"
    IP = "IP address"


@dataclass(frozen=True, slots=True)
class ConditionKey:
    """One condition key, or all that share a prefix.

    Attributes:
        name: as AWS spells it.
        many: holds a list, which only ForAllValues, ForAnyValue and Null can ask.
        actions: `kms:` names for which it exists; None for all.
    """

    name: str
    kind: Kind = Kind.STRING
    many: bool = False
    actions: frozenset[str] | None = None

    def exists_for(self, action: str) -> bool:
        """Say whether a request for this action can have the key."""
        return self.actions is None or action in self.actions


def _kms(*names: str) -> frozenset[str]:
    return frozenset(f"kms:{name}" for name in names)


def _own(*names: str) -> frozenset[str]:
    return frozenset(f"strongroom:{name}" for name in names)


_PAIRS: Final = _kms("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")
_ENCRYPTION: Final = _PAIRS | _kms(
    *("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"),
    *("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
)
_GRANTED: Final = _ENCRYPTION | _kms("CreateGrant", "RetireGrant")
_SIGNING: Final = _kms("Sign", "Verify")
_MACS: Final = _kms("GenerateMac", "VerifyMac")
_BY_NAME: Final = _ENCRYPTION | _SIGNING | _MACS | _kms("DescribeKey", "GetPublicKey", "DeriveSharedSecret")
_ON_KEYS: Final = frozenset(
    {a.value for a in Action if a.startswith("kms:") and a not in KEYLESS} - {Action.GENERATE_RANDOM.value}
    | ON_KEYS_OF_OURS
) | _kms("CreateKey", "GetParametersForImport", "ImportKeyMaterial", "ReplicateKey", "EnableKeyRotation")
_REPLICAS: Final = _own("ImportReplica")
_POLICIES: Final = _kms("CreateKey", "PutKeyPolicy", "ReplicateKey") | _REPLICAS
_TAGGING: Final = _kms("CreateKey", "TagResource", "ReplicateKey") | _REPLICAS

_KEYS: Final = (
    # What the caller sends.
    ConditionKey("kms:EncryptionContextKeys", many=True, actions=_GRANTED),
    ConditionKey("kms:EncryptionAlgorithm", actions=_ENCRYPTION),
    ConditionKey("kms:SigningAlgorithm", actions=_SIGNING),
    ConditionKey("kms:MessageType", actions=_SIGNING),
    ConditionKey("kms:MacAlgorithm", actions=_MACS),
    ConditionKey("kms:KeyAgreementAlgorithm", actions=_kms("DeriveSharedSecret")),
    ConditionKey("kms:DataKeyPairSpec", actions=_PAIRS),
    ConditionKey("kms:RequestAlias", actions=_BY_NAME),
    ConditionKey("kms:ReEncryptOnSameKey", Kind.BOOL, actions=_kms("ReEncryptFrom", "ReEncryptTo")),
    ConditionKey("kms:BypassPolicyLockoutSafetyCheck", Kind.BOOL, actions=_POLICIES),
    ConditionKey("kms:PolicyName", actions=_kms("GetKeyPolicy", "PutKeyPolicy")),
    ConditionKey("kms:RotationPeriodInDays", Kind.NUMERIC, actions=_kms("EnableKeyRotation")),
    ConditionKey(
        "kms:ScheduleKeyDeletionPendingWindowInDays", Kind.NUMERIC, actions=_kms("ScheduleKeyDeletion")
    ),
    ConditionKey("kms:WrappingAlgorithm", actions=_kms("GetParametersForImport")),
    ConditionKey("kms:WrappingKeySpec", actions=_kms("GetParametersForImport")),
    ConditionKey("kms:ExpirationModel", actions=_kms("ImportKeyMaterial")),
    ConditionKey("kms:ValidTo", Kind.DATE, actions=_kms("ImportKeyMaterial")),
    ConditionKey("strongroom:ImportLevel", actions=_kms("GetParametersForImport", "ImportKeyMaterial")),
    ConditionKey("kms:PrimaryRegion", actions=_kms("UpdatePrimaryRegion") | _REPLICAS),
    ConditionKey("kms:ReplicaRegion", actions=_kms("ReplicateKey")),
    # Grants.
    ConditionKey("kms:GrantOperations", many=True, actions=_kms("CreateGrant")),
    ConditionKey("kms:GranteePrincipal", Kind.TEXT, actions=_kms("CreateGrant")),
    ConditionKey("kms:RetiringPrincipal", Kind.TEXT, actions=_kms("CreateGrant")),
    ConditionKey("kms:GrantConstraintType", actions=_kms("CreateGrant", "RetireGrant")),
    ConditionKey(
        "kms:GrantIsForAWSResource", Kind.BOOL, actions=_kms("CreateGrant", "ListGrants", "RevokeGrant")
    ),
    # Exports and approvals.
    ConditionKey("strongroom:ExportLevel", actions=_own("RequestExport", "ExecuteExport")),
    ConditionKey("strongroom:GuardedAction", actions=_own("ApproveRequest")),
    ConditionKey("strongroom:ApproverIsRequester", Kind.BOOL, actions=_own("ApproveRequest")),
    # The key.
    ConditionKey("kms:KeySpec", actions=_ON_KEYS | _REPLICAS),
    ConditionKey("kms:KeyUsage", actions=_ON_KEYS | _REPLICAS),
    ConditionKey("kms:KeyOrigin", actions=_ON_KEYS | _REPLICAS),
    ConditionKey("kms:MultiRegion", Kind.BOOL, actions=_ON_KEYS | _REPLICAS),
    ConditionKey("kms:MultiRegionKeyType", actions=_ON_KEYS | _REPLICAS),
    ConditionKey("kms:ResourceAliases", many=True, actions=_ON_KEYS - _kms("CreateKey")),
    ConditionKey("aws:ResourceAccount"),
    # The caller and the call.
    ConditionKey("kms:CallerAccount"),
    ConditionKey("kms:ViaService"),
    ConditionKey("aws:PrincipalArn", Kind.ARN),
    ConditionKey("aws:PrincipalAccount"),
    ConditionKey("aws:PrincipalType"),
    ConditionKey("aws:PrincipalIsAWSService", Kind.BOOL),
    ConditionKey("aws:username"),
    ConditionKey("aws:ViaAWSService", Kind.BOOL),
    ConditionKey("aws:SourceArn", Kind.ARN),
    ConditionKey("aws:SourceAccount"),
    ConditionKey("aws:SourceIp", Kind.IP),
    ConditionKey("aws:SecureTransport", Kind.BOOL),
    ConditionKey("aws:CurrentTime", Kind.DATE),
    ConditionKey("aws:EpochTime", Kind.EPOCH),
    ConditionKey("aws:RequestedRegion"),
    ConditionKey("aws:TagKeys", many=True, actions=_TAGGING | _kms("UntagResource")),
)

_PREFIXES: Final = (
    ConditionKey("kms:EncryptionContext:", Kind.TEXT, actions=_GRANTED),
    ConditionKey("aws:PrincipalTag/", Kind.TEXT),
    ConditionKey("aws:ResourceTag/", Kind.TEXT, actions=_ON_KEYS - _kms("CreateKey")),
    ConditionKey("aws:RequestTag/", Kind.TEXT, actions=_TAGGING),
)

CONDITION_KEYS: Final[dict[str, ConditionKey]] = {key.name.lower(): key for key in _KEYS}
PREFIXES: Final[dict[str, ConditionKey]] = {key.name.lower(): key for key in _PREFIXES}

_NETWORK: Final = "there are no VPC endpoints here; use aws:SourceIp"
_ORGANISATION: Final = "there are no organisations here; use aws:PrincipalAccount or aws:ResourceAccount"
_SESSION: Final = "sessions here have no such property"
_NO_IDS: Final = "principals have no ids besides their ARNs here; use aws:PrincipalArn or aws:username"
_CLAIMED: Final = "it is what the caller claims of itself, which proves nothing"
_ATTESTATION: Final = "kms:recipientattestation:"
_ENCLAVE: Final = "there are no attested enclaves here"

MEANINGLESS: Final[dict[str, str]] = {
    "kms:customermasterkeyspec": "it is replaced by kms:KeySpec",
    "kms:customermasterkeyusage": "it is replaced by kms:KeyUsage",
    "aws:sourcevpc": _NETWORK,
    "aws:sourcevpce": _NETWORK,
    "aws:sourcevpcarn": _NETWORK,
    "aws:vpcsourceip": _NETWORK,
    "aws:principalorgid": _ORGANISATION,
    "aws:principalorgpaths": _ORGANISATION,
    "aws:resourceorgid": _ORGANISATION,
    "aws:resourceorgpaths": _ORGANISATION,
    "aws:sourceorgid": _ORGANISATION,
    "aws:sourceorgpaths": _ORGANISATION,
    "aws:calledvia": "chains of services are not known here; use kms:ViaService",
    "aws:calledviafirst": "chains of services are not known here; use kms:ViaService",
    "aws:calledvialast": "chains of services are not known here; use kms:ViaService",
    "aws:principalservicename": "services have ARNs here; use aws:PrincipalArn",
    "aws:principalservicenameslist": "services have ARNs here; use aws:PrincipalArn",
    "aws:userid": _NO_IDS,
    "aws:federatedprovider": "there are no federated principals here",
    "aws:multifactorauthpresent": _SESSION,
    "aws:multifactorauthage": _SESSION,
    "aws:tokenissuetime": _SESSION,
    "aws:sourceidentity": _SESSION,
    "aws:referer": _CLAIMED,
    "aws:useragent": _CLAIMED,
}
"""AWS's condition keys that are never in a request here, with what to do instead."""


class UnknownKeyError(ValueError):
    """There is no such condition key here.

    Args:
        why: the rule, which quotes nothing.
        name: the key's name if this table has it, else empty.
    """

    def __init__(self, why: str, name: str = "") -> None:
        super().__init__(why)
        self.name = name


def find(name: str) -> tuple[str, ConditionKey]:
    """Find a condition key by the name that a policy writes: (its name in the context, its row).

    Raises:
        UnknownKeyError: for a key that is unknown, or that has no meaning here.
    """
    folded = name.lower()
    key = CONDITION_KEYS.get(folded) or _prefixed(folded)
    if key is None:
        raise _unknown(folded)
    return folded, key


def _prefixed(folded: str) -> ConditionKey | None:
    for prefix, key in PREFIXES.items():
        if folded.startswith(prefix) and len(folded) > len(prefix):
            return key
    return None


def _unknown(folded: str) -> UnknownKeyError:
    if folded.startswith(_ATTESTATION):
        return UnknownKeyError(f"has no meaning here: {_ENCLAVE}", _ATTESTATION)
    if folded in MEANINGLESS:
        return UnknownKeyError(f"has no meaning here: {MEANINGLESS[folded]}", folded)
    return UnknownKeyError("names a condition key that this daemon does not know")


Find = Callable[[str], tuple[str, ConditionKey]]
"""Finds a condition key by the name that a policy writes, as `find` does; raises UnknownKeyError."""
