"""The policy of a key that a verb is given: a file, or `--administrator P --user P`.

The composed one keeps them apart: who manages cannot use, and the reverse.
"""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from strongroom.cli import inputs
from strongroom.errors import invalid

if TYPE_CHECKING:
    from strongroom.client import Client

MANAGE: Final = (
    *(
        "kms:DescribeKey",
        "kms:GetPublicKey",
        "kms:ListKeyRotations",
        "kms:ListResourceTags",
        "kms:GetKeyLastUsage",
    ),
    *("kms:UpdateKeyDescription", "kms:EnableKey", "kms:DisableKey", "kms:RotateKeyOnDemand"),
    *("kms:EnableKeyRotation", "kms:DisableKeyRotation", "kms:GetKeyRotationStatus"),
    *("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:GetKeyPolicy", "kms:PutKeyPolicy"),
    *("kms:GetParametersForImport", "kms:ImportKeyMaterial", "kms:DeleteImportedKeyMaterial"),
    *("kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"),
    *("kms:ReplicateKey", "kms:UpdatePrimaryRegion"),
    *("kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias", "kms:TagResource", "kms:UntagResource"),
)
"""What administrators of a key may do."""

USE: Final = (
    *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey"),
    *(
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:GenerateDataKeyPair",
        "kms:GenerateDataKeyPairWithoutPlaintext",
    ),
    *("kms:Sign", "kms:Verify", "kms:GenerateMac", "kms:VerifyMac", "kms:DeriveSharedSecret"),
    *("kms:DescribeKey", "kms:GetPublicKey"),
)
"""What users of a key may do."""

_SHORT = re.compile(r"(?:user|role|service)/[A-Za-z0-9+=,.@_/-]{1,128}|root", re.ASCII)


def given(client: "Client", source: str | None, administrators: list[str], users: list[str]) -> str:
    """Read or compose a policy; empty where none was asked for."""
    if source is not None and (administrators or users):
        raise invalid("policy", "give a file, or administrators and users, not both")
    if source is not None:
        return inputs.text(source, "policy")
    if not (administrators or users):
        return ""
    caller = client.get_caller_identity()
    managers = [principal(text, caller.account) for text in administrators]
    return compose(managers or [caller.principal_arn], [principal(text, caller.account) for text in users])


def compose(administrators: Sequence[str], users: Sequence[str]) -> str:
    """Write the policy, for principals given by ARN."""
    statements = [_allow("Administrators", administrators, MANAGE)]
    if users:
        statements.append(_allow("Users", users, USE))
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)


def principal(text: str, account: str) -> str:
    """Complete a principal: `user/alice` is one of the caller's own account; an ARN stands as it is."""
    if text.startswith("arn:"):
        return text
    if not _SHORT.fullmatch(text):
        raise invalid("principal", "must be an ARN, root, user/NAME, role/NAME or service/NAME")
    return f"arn:aws:iam::{account}:{text}"


def _allow(sid: str, principals: Sequence[str], actions: Sequence[str]) -> dict[str, object]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": list(principals)},
        "Action": list(actions),
        "Resource": "*",
    }
