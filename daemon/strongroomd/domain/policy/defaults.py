"""Policies that are written for people: AWS's default, and administrators beside users."""

import json
from collections.abc import Sequence
from typing import Final

_VERSION: Final = "2012-10-17"

ADMINISTRATION: Final = (
    *("kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*"),
    *("kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource"),
    *("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:RotateKeyOnDemand"),
)
"""What administrators of a key may do: the list of AWS's console (KMS developer guide, key policies)."""

USE: Final = (
    *("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"),
    *("kms:Sign", "kms:Verify", "kms:GenerateMac", "kms:VerifyMac", "kms:DeriveSharedSecret"),
    "kms:GetPublicKey",
)
"""What users of a key may do, of which a key's usage leaves some part."""

PASSING_ON: Final = ("kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant")
"""What users may do with grants, as long as a service does it for them."""


def _document(statements: Sequence[dict[str, object]], name: str) -> str:
    return json.dumps({"Version": _VERSION, "Id": name, "Statement": statements})


def _allow(sid: str, principals: Sequence[str], actions: Sequence[str] | str) -> dict[str, object]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": sorted(set(principals))},
        "Action": actions,
        "Resource": "*",
    }


def default_policy(*principals: str) -> str:
    """Write the policy of a key that was created without one: these principals may do everything with it.

    With an account's root alone it is AWS's default, which leaves all to the account's identity policies.
    """
    return _document([_allow("key-default-1", principals, "kms:*")], "key-default-1")


def console_policy(root: str, administrators: Sequence[str], users: Sequence[str]) -> str:
    """Write the policy of AWS's console: root delegates, administrators manage, users use.

    Administrators cannot use the key and users cannot manage it; users make grants only where a service does
    so for them (kms:GrantIsForAWSResource).
    """
    statements = [_allow("Enable IAM User Permissions", [root], "kms:*")]
    if administrators:
        statements.append(_allow("Allow access for Key Administrators", administrators, ADMINISTRATION))
    if users:
        for_services = _allow("Allow attachment of persistent resources", users, PASSING_ON)
        for_services["Condition"] = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        statements += [_allow("Allow use of the key", users, USE), for_services]
    return _document(statements, "key-consolepolicy-3")
