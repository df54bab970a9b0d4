"""The table of condition keys against AWS's: for which actions each exists, and what is refused with advice."""

import pytest

from strongroomd.domain.actions import ON_KEYS_OF_OURS, Action
from strongroomd.domain.policy import keys

_DATA_KEYS = (
    *("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
    *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
)
_CRYPT = ("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", *_DATA_KEYS)
_MACS = ("GenerateMac", "VerifyMac")
_SIGNING = ("Sign", "Verify")
_NAMED = (*_CRYPT, *_MACS, *_SIGNING, "DescribeKey", "GetPublicKey", "DeriveSharedSecret")

# KMS developer guide, condition keys: "API operations" of each.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "kms:EncryptionContext:k": (*_CRYPT, "CreateGrant", "RetireGrant"),
    "kms:EncryptionContextKeys": (*_CRYPT, "CreateGrant", "RetireGrant"),
    "kms:EncryptionAlgorithm": _CRYPT,
    "kms:SigningAlgorithm": _SIGNING,
    "kms:MessageType": _SIGNING,
    "kms:MacAlgorithm": _MACS,
    "kms:KeyAgreementAlgorithm": ("DeriveSharedSecret",),
    "kms:DataKeyPairSpec": ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
    "kms:RequestAlias": _NAMED,
    "kms:ReEncryptOnSameKey": ("ReEncryptFrom", "ReEncryptTo"),
    "kms:BypassPolicyLockoutSafetyCheck": ("CreateKey", "PutKeyPolicy", "ReplicateKey"),
    "kms:PrimaryRegion": ("UpdatePrimaryRegion",),
    "kms:ReplicaRegion": ("ReplicateKey",),
    "kms:PolicyName": ("GetKeyPolicy", "PutKeyPolicy"),
    "kms:ScheduleKeyDeletionPendingWindowInDays": ("ScheduleKeyDeletion",),
    "kms:GrantOperations": ("CreateGrant",),
    "kms:GranteePrincipal": ("CreateGrant",),
    "kms:RetiringPrincipal": ("CreateGrant",),
    "kms:GrantConstraintType": ("CreateGrant", "RetireGrant"),
    "kms:GrantIsForAWSResource": ("CreateGrant", "ListGrants", "RevokeGrant"),
    "aws:RequestTag/k": ("CreateKey", "TagResource", "ReplicateKey"),
    "aws:TagKeys": ("CreateKey", "TagResource", "UntagResource", "ReplicateKey"),
}
BROUGHT_IN = frozenset(
    {"kms:BypassPolicyLockoutSafetyCheck", "kms:PrimaryRegion", "aws:RequestTag/k", "aws:TagKeys"}
)
"""What ImportReplica has besides: here the other half of AWS's ReplicateKey, in the replica's own house."""
NOT_OFFERED: dict[str, tuple[str, ...]] = {
    "kms:RotationPeriodInDays": ("EnableKeyRotation",),
    "kms:WrappingAlgorithm": ("GetParametersForImport",),
    "kms:WrappingKeySpec": ("GetParametersForImport",),
    "kms:ExpirationModel": ("ImportKeyMaterial",),
    "kms:ValidTo": ("ImportKeyMaterial",),
    "kms:KeySpec": ("GetParametersForImport", "ImportKeyMaterial", "EnableKeyRotation"),
}
OF_THE_KEY = ("kms:KeySpec", "kms:KeyUsage", "kms:KeyOrigin", "kms:MultiRegion", "kms:MultiRegionKeyType")
OF_A_KEY_THAT_IS_THERE = ("kms:ResourceAliases", "aws:ResourceTag/k")
ALWAYS = (
    *(
        "aws:ResourceAccount",
        "kms:CallerAccount",
        "kms:ViaService",
        "aws:PrincipalArn",
        "aws:PrincipalAccount",
    ),
    *("aws:PrincipalType", "aws:PrincipalIsAWSService", "aws:username", "aws:ViaAWSService", "aws:SourceArn"),
    *("aws:SourceAccount", "aws:SourceIp", "aws:SecureTransport", "aws:CurrentTime", "aws:EpochTime"),
    *("aws:RequestedRegion", "aws:PrincipalTag/k"),
)
ABOUT_NO_KEY = (
    *("kms:CreateKey", "kms:ListKeys", "kms:ListAliases", "kms:ListRetirableGrants", "kms:GenerateRandom"),
    *("sts:AssumeRole", "strongroom:GetCallerIdentity", "strongroom:CheckPolicy", "strongroom:GetLimit"),
)


def actions_of(name: str) -> set[str]:
    _, row = keys.find(name)
    return {action.value for action in Action if row.exists_for(action)}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_key_exists_for_the_operations_that_aws_lists(name: str) -> None:
    of_aws = {f"kms:{operation}" for operation in OPERATIONS[name]}

    assert actions_of(name) == of_aws | ({Action.IMPORT_REPLICA.value} if name in BROUGHT_IN else set())


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_a_key_exists_for_operations_of_aws_that_are_not_offered_here(name: str) -> None:
    _, row = keys.find(name)

    assert all(row.exists_for(f"kms:{operation}") for operation in NOT_OFFERED[name])


@pytest.mark.parametrize("name", OF_THE_KEY + OF_A_KEY_THAT_IS_THERE)
def test_what_is_known_of_a_key_exists_for_every_action_on_one(name: str) -> None:
    expected = {a.value for a in Action if a.startswith("kms:") and a not in ABOUT_NO_KEY} | ON_KEYS_OF_OURS

    of_new_ones = {"kms:CreateKey", Action.IMPORT_REPLICA.value}
    assert actions_of(name) == expected | (of_new_ones if name in OF_THE_KEY else set())


@pytest.mark.parametrize("name", ALWAYS)
def test_what_is_known_of_caller_and_call_exists_for_every_action(name: str) -> None:
    assert actions_of(name) == set(Action)


def test_these_keys_hold_lists() -> None:
    many = {row.name for row in (*keys.CONDITION_KEYS.values(), *keys.PREFIXES.values()) if row.many}

    lists = {"kms:EncryptionContextKeys", "kms:GrantOperations", "kms:ResourceAliases", "aws:TagKeys"}
    assert many == lists


MEANINGLESS = (
    *("kms:CustomerMasterKeySpec", "kms:CustomerMasterKeyUsage", "aws:SourceVpc", "aws:SourceVpce"),
    *("aws:SourceVpcArn", "aws:VpcSourceIp", "aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:userid"),
    *("aws:ResourceOrgID", "aws:ResourceOrgPaths", "aws:SourceOrgID", "aws:SourceOrgPaths", "aws:CalledVia"),
    *("aws:CalledViaFirst", "aws:CalledViaLast", "aws:PrincipalServiceName", "aws:PrincipalServiceNamesList"),
    *("aws:FederatedProvider", "aws:MultiFactorAuthPresent", "aws:MultiFactorAuthAge", "aws:TokenIssueTime"),
    *("aws:SourceIdentity", "aws:referer", "aws:UserAgent", "kms:RecipientAttestation:ImageSha384"),
)


@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_key_of_aws_that_means_nothing_here_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(keys.UnknownKeyError) as caught:
        keys.find(name)

    assert str(caught.value).startswith("has no meaning here: ")
    assert name.lower().startswith(caught.value.name)
    assert caught.value.name


def test_an_unknown_key_is_refused_without_its_name() -> None:
    with pytest.raises(keys.UnknownKeyError) as caught:
        keys.find("aws:Canary")

    assert str(caught.value) == "names a condition key that this daemon does not know"
    assert not caught.value.name
