"""Keys that services make for themselves in the accounts they serve (AWS: AWS managed keys). Pure.

A service has one key in each account, under `alias/aws/<service>`. Its name is that of its principal,
`arn:aws:iam::<account>:service/<name>`, and what it says in kms:ViaService must be the same. The policy is
fixed: the account's principals use the key through the service and not otherwise, and read about it as far
as their identity policies allow. Nobody changes such a key; the daemon rotates it.
"""

import json
from typing import Final

from strongroomd.domain.actions import NOT_ON_SERVICE_KEYS, Action
from strongroomd.domain.names import RESERVED_ALIAS
from strongroomd.domain.principals import Caller
from strongroomd.domain.records import KeyManager, KeyRecord

_USES: Final = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey")
_READS: Final = ("kms:Describe*", "kms:Get*", "kms:List*")

FIRST_USES: Final[frozenset[Action]] = frozenset(
    {
        Action.ENCRYPT,
        Action.RE_ENCRYPT_TO,
        Action.GENERATE_DATA_KEY,
        Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
        Action.GENERATE_DATA_KEY_PAIR,
        Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
    }
)
"""What a service's key is made for when there is none: what makes a ciphertext."""


def is_fixed(key: KeyRecord, action: Action) -> bool:
    """Say whether an action would change a key that nobody changes."""
    return key.manager is KeyManager.SERVICE and action in NOT_ON_SERVICE_KEYS


def own_alias(caller: Caller) -> str:
    """Give the alias of a trusted service's own key in the account that it says it calls for; else nothing.

    A name with a dot cannot be an alias. In a role session a service is not itself.
    """
    behalf, name = caller.behalf, caller.principal.arn.partition(":service/")[2]
    itself = caller.principal.trusted and caller.session is None
    if not itself or not behalf.caller_account or name != behalf.via_service or "." in name:
        return ""
    return RESERVED_ALIAS + name


def fixed_policy(service: str, account: str) -> str:
    """Write the policy of a service's key in an account, after that of AWS managed keys.

    Unlike AWS's it asks for the service's own principal, too: there every caller's service is beyond doubt,
    here any trusted service may say any name.
    """
    through = {
        "Sid": "Allow use through the service for all principals of the account",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": list(_USES),
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:ViaService": service, "kms:CallerAccount": account},
            "ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::*:service/{service}"},
        },
    }
    reading = {
        "Sid": "Allow direct access to key metadata to the account",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": list(_READS),
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Id": "service-key-1", "Statement": [through, reading]})
