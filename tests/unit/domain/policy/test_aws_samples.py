"""AWS's sample key policies, line by line: what each statement gives, to whom, and what it does not.

The policies are those of AWS's key management notes: the default root statement, the console's administrators
and users, a key shared with another account through one service, and a key that stays in its account.
"""

import json
from typing import Any

import pytest
from tests.policy_cases import ALICE, AWAY, AWAY_ROOT, BOB, CAROL, HOME, KEY, ROOT, answer, identity

from strongroomd.domain import policy
from strongroomd.domain.actions import Action

ADMIN, USER = f"arn:aws:iam::{HOME}:user/KMSAdminUser", f"arn:aws:iam::{HOME}:role/KMSUserRole"
MANAGING = (
    *("kms:EnableKey", "kms:DisableKey", "kms:PutKeyPolicy", "kms:GetKeyPolicy", "kms:CreateAlias"),
    *("kms:UpdateKeyDescription", "kms:DescribeKey", "kms:ListResourceTags", "kms:TagResource"),
    *("kms:UntagResource", "kms:RevokeGrant", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
)
USING = (
    *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey"),
    *("kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"),
)
ONLY_MANAGING = tuple(action for action in MANAGING if action not in USING)
ONLY_USING = tuple(action for action in USING if action not in MANAGING)


def may(document: dict[str, Any] | str, who: str, action: str, **case: Any) -> bool:
    """Ask whether a principal may do something with the key that has this policy."""
    loaded = json.loads(document) if isinstance(document, str) else document
    return answer({"key_policy": loaded, "who": who, "action": action, "key": KEY} | case)


# 1. The default key policy: one statement, which lets the account's identity policies decide.

DEFAULT = {
    "Version": "2012-10-17",
    "Id": "key-default-1",
    "Statement": [
        {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{HOME}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ],
}


@pytest.mark.parametrize("action", MANAGING + USING)
def test_the_default_policy_gives_the_root_everything(action: str) -> None:
    assert may(DEFAULT, ROOT, action)


@pytest.mark.parametrize("action", MANAGING + USING)
def test_the_default_policy_gives_no_user_anything_by_itself(action: str) -> None:
    assert not may(DEFAULT, ALICE, action)


def test_under_the_default_policy_an_identity_policy_decides() -> None:
    theirs = identity({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": KEY})

    assert may(DEFAULT, ALICE, "kms:Decrypt", identity=theirs)
    assert not may(DEFAULT, ALICE, "kms:Encrypt", identity=theirs)


def test_under_the_default_policy_an_administrator_of_the_account_reaches_the_key() -> None:
    everything = identity({"Effect": "Allow", "Action": "*", "Resource": "*"})

    assert may(DEFAULT, ALICE, "kms:PutKeyPolicy", identity=everything)


def test_the_default_policy_lets_no_other_account_in() -> None:
    everything = identity({"Effect": "Allow", "Action": "*", "Resource": "*"})

    assert not may(DEFAULT, CAROL, "kms:Decrypt", identity=everything)
    assert not may(DEFAULT, AWAY_ROOT, "kms:Decrypt")


def test_the_default_policy_is_what_a_key_of_the_root_is_born_with() -> None:
    born = json.loads(policy.default_policy(ROOT))["Statement"][0]

    assert born["Principal"] == {"AWS": [ROOT]}
    assert (born["Action"], born["Resource"], born["Effect"]) == ("kms:*", "*", "Allow")


# 2. The console's policy: administrators manage and cannot use, users use and cannot manage.

CONSOLE = policy.console_policy(ROOT, [ADMIN], [USER])


@pytest.mark.parametrize("action", MANAGING)
def test_key_administrators_manage(action: str) -> None:
    assert may(CONSOLE, ADMIN, action)


@pytest.mark.parametrize("action", ONLY_USING)
def test_key_administrators_do_not_use(action: str) -> None:
    assert not may(CONSOLE, ADMIN, action)


@pytest.mark.parametrize("action", USING)
def test_key_users_use(action: str) -> None:
    assert may(CONSOLE, USER, action)
    assert may(CONSOLE, f"arn:aws:sts::{HOME}:assumed-role/KMSUserRole/session", action)


@pytest.mark.parametrize("action", ONLY_MANAGING)
def test_key_users_do_not_manage(action: str) -> None:
    assert not may(CONSOLE, USER, action)


@pytest.mark.parametrize("action", ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"])
def test_key_users_make_grants_only_where_a_service_does_it_for_them(action: str) -> None:
    for_service = {"kms:GrantIsForAWSResource": True}

    assert may(CONSOLE, USER, action, context=for_service)
    assert not may(CONSOLE, USER, action, context={"kms:GrantIsForAWSResource": False})
    assert not may(CONSOLE, USER, action)


@pytest.mark.parametrize("action", MANAGING + USING)
def test_others_get_nothing_from_the_consoles_policy(action: str) -> None:
    assert not may(CONSOLE, BOB, action)
    assert not may(CONSOLE, CAROL, action)


def test_the_console_policy_leaves_the_root_in_charge() -> None:
    assert all(may(CONSOLE, ROOT, action.value) for action in Action if action.startswith("kms:"))


# 3. A key that another account uses, through one service, which may attach it to its resources.

SHARED = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": ROOT},
            "Action": "kms:*",
            "Resource": "*",
        },
        {
            "Sid": "Allow an external account to use this key through EC2",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{AWAY}:root"},
            "Action": [
                "kms:Encrypt",
                "kms:Decrypt",
                "kms:ReEncrypt*",
                "kms:GenerateDataKey*",
                "kms:DescribeKey",
            ],
            "Resource": "*",
            "Condition": {
                "StringEquals": {"kms:ViaService": "ec2.eu-test-1.amazonaws.com", "kms:CallerAccount": AWAY}
            },
        },
        {
            "Sid": "Allow attachment of persistent resources in the external account",
            "Effect": "Allow",
            "Principal": {"AWS": AWAY},
            "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
            "Resource": "*",
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
    ],
}
THEIRS = identity(
    {
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:CreateGrant", "kms:ReEncrypt*"],
        "Resource": f"arn:aws:kms:eu-test-1:{HOME}:key/*",
    }
)
EC2 = {"kms:ViaService": "ec2.eu-test-1.amazonaws.com"}


def test_the_other_account_uses_the_key_through_the_service() -> None:
    assert may(SHARED, CAROL, "kms:Decrypt", identity=THEIRS, context=EC2)


def test_it_does_not_use_the_key_by_itself() -> None:
    assert not may(SHARED, CAROL, "kms:Decrypt", identity=THEIRS)


def test_it_does_not_use_the_key_through_another_service() -> None:
    other = {"kms:ViaService": "rds.eu-test-1.amazonaws.com"}

    assert not may(SHARED, CAROL, "kms:Decrypt", identity=THEIRS, context=other)


def test_both_sides_are_needed_its_own_account_must_allow_too() -> None:
    assert not may(SHARED, CAROL, "kms:Decrypt", context=EC2)
    assert not may(SHARED, CAROL, "kms:Encrypt", identity=THEIRS, context=EC2)


def test_it_makes_grants_for_resources_of_services_only() -> None:
    for_resource = {"kms:GrantIsForAWSResource": True}

    assert may(SHARED, CAROL, "kms:CreateGrant", identity=THEIRS, context=for_resource)
    assert not may(SHARED, CAROL, "kms:CreateGrant", identity=THEIRS)


def test_it_never_manages_the_key() -> None:
    everything = identity({"Effect": "Allow", "Action": "kms:*", "Resource": "*"})
    through = EC2 | {"kms:GrantIsForAWSResource": True}

    for action in ("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:DisableKey"):
        assert not may(SHARED, CAROL, action, identity=everything, context=through)


def test_a_third_account_gets_nothing() -> None:
    stranger = "arn:aws:iam::777788889999:user/eve"
    everything = identity({"Effect": "Allow", "Action": "kms:*", "Resource": "*"})

    assert not may(SHARED, stranger, "kms:Decrypt", identity=everything, context=EC2)


# 4. A key that never leaves its account, whatever else its policy says one day.

ISOLATED = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Allow everyone who may",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": "kms:*",
            "Resource": "*",
        },
        {
            "Sid": "Deny every other account",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "kms:*",
            "Resource": "*",
            "Condition": {"StringNotEquals": {"kms:CallerAccount": HOME}},
        },
    ],
}


def test_within_the_account_the_isolated_key_is_used() -> None:
    assert may(ISOLATED, ALICE, "kms:Decrypt")
    assert may(ISOLATED, ROOT, "kms:PutKeyPolicy")


def test_no_other_account_uses_the_isolated_key_whatever_it_was_given() -> None:
    everything = identity({"Effect": "Allow", "Action": "*", "Resource": "*"})
    grant = {"grantee": CAROL, "operations": ["Decrypt"]}

    assert not may(ISOLATED, CAROL, "kms:Decrypt", identity=everything)
    assert not may(ISOLATED, AWAY_ROOT, "kms:Decrypt")
    assert not may(ISOLATED, CAROL, "kms:Decrypt", identity=everything, grants=[grant])


def test_a_grant_within_the_account_still_works() -> None:
    grant = {"grantee": BOB, "operations": ["Decrypt"]}

    assert may(ISOLATED, BOB, "kms:Decrypt", grants=[grant])


# 5. A right for a time, and one that a condition key must or must not have.


def test_a_right_ends_with_its_day() -> None:
    until = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": ALICE},
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": {
                "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
                "DateLessThan": {"aws:CurrentTime": "2026-07-01T00:00:00Z"},
            },
        },
    }

    assert may(until, ALICE, "kms:Decrypt", context={"aws:CurrentTime": "2026-06-30T23:59:59Z"})
    assert not may(until, ALICE, "kms:Decrypt", context={"aws:CurrentTime": "2026-07-01T00:00:00Z"})
    assert not may(until, ALICE, "kms:Decrypt", context={"aws:CurrentTime": "2025-12-31T23:59:59Z"})


def test_use_is_refused_where_the_encryption_context_is_left_out() -> None:
    required = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "kms:*", "Resource": "*"},
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["kms:Encrypt", "kms:Decrypt"],
                "Resource": "*",
                "Condition": {"Null": {"kms:EncryptionContextKeys": "true"}},
            },
        ],
    }

    assert may(required, ALICE, "kms:Encrypt", encryption_context={"tenant": "7"})
    assert not may(required, ALICE, "kms:Encrypt", encryption_context={})
    assert may(required, ALICE, "kms:DescribeKey")


_CONSOLE_ADMINISTRATORS = (
    *("kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*"),
    *("kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource"),
    *("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:RotateKeyOnDemand"),
)
_CONSOLE_USERS = (
    *("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"),
    *("kms:Sign", "kms:Verify", "kms:GenerateMac", "kms:VerifyMac", "kms:DeriveSharedSecret"),
    "kms:GetPublicKey",
)


def _written(sid: str, who: str, actions: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Principal": {"AWS": [who]}, "Action": actions, "Resource": "*"}


def test_the_consoles_policy_is_written_as_in_aws() -> None:
    grants = ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"]
    passing_on = _written("Allow attachment of persistent resources", USER, grants)

    assert json.loads(CONSOLE) == {
        "Version": "2012-10-17",
        "Id": "key-consolepolicy-3",
        "Statement": [
            _written("Enable IAM User Permissions", ROOT, "kms:*"),
            _written("Allow access for Key Administrators", ADMIN, list(_CONSOLE_ADMINISTRATORS)),
            _written("Allow use of the key", USER, list(_CONSOLE_USERS)),
            passing_on | {"Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}},
        ],
    }


def test_the_consoles_policy_names_nobody_whom_there_is_not() -> None:
    def sids(*people: list[str]) -> list[str]:
        return [s["Sid"] for s in json.loads(policy.console_policy(ROOT, *people))["Statement"]]

    root, administrators, *users = sids([ADMIN], [USER])
    assert sids([], []) == [root]
    assert sids([ADMIN], []) == [root, administrators]
    assert sids([], [USER]) == [root, *users]


def test_the_default_policy_is_written_as_in_aws() -> None:
    written = _written("key-default-1", ROOT, "kms:*")

    assert json.loads(policy.default_policy(ROOT)) == {
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [written],
    }
    assert json.loads(policy.default_policy(USER, ROOT, USER))["Statement"][0]["Principal"] == {
        "AWS": sorted([USER, ROOT])
    }
