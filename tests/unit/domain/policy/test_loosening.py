"""Which change of a key policy is plainly no looser; whatever else differs is taken for looser."""

import json
from typing import Any

import pytest

from strongroomd.domain.policy.loosening import loosens

ALICE, BOB = ({"AWS": f"arn:aws:iam::111122223333:user/{name}"} for name in ("alice", "bob"))


def allow(principal: object = ALICE, action: object = "kms:*", **more: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*", **more}


def deny(principal: object = BOB, **more: object) -> dict[str, Any]:
    return {**allow(principal, **more), "Effect": "Deny"}


def policy(*statements: dict[str, Any], **more: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


BEFORE = policy(allow(), allow(BOB, "kms:Encrypt"), deny(BOB, action="kms:Decrypt"))


@pytest.mark.parametrize(
    "after",
    [
        BEFORE,
        json.dumps(json.loads(BEFORE), indent=4),
        policy(allow(), allow(BOB, "kms:Encrypt"), deny(BOB, action="kms:Decrypt"), deny(ALICE)),
        policy(allow(), deny(BOB, action="kms:Decrypt")),
        policy(deny(BOB, action="kms:Decrypt")),
        policy(deny(BOB, action="kms:Decrypt"), allow(BOB, "kms:Encrypt", Sid="renamed"), allow()),
        policy(allow(), deny(BOB, action="kms:Decrypt"), Id="another"),
    ],
)
def test_plainly_tighter_or_the_same(after: str) -> None:
    assert not loosens(BEFORE, after)


@pytest.mark.parametrize(
    "after",
    [
        policy(allow(), allow(BOB, "kms:Encrypt")),
        policy(allow(), allow(BOB, "kms:Decrypt"), deny(BOB, action="kms:Decrypt")),
        policy(allow(BOB), deny(BOB, action="kms:Decrypt")),
        policy(allow("*"), deny(BOB, action="kms:Decrypt")),
        policy(allow(), deny(BOB, action="kms:Encrypt")),
        policy(
            allow(), deny(BOB, action="kms:Decrypt", Condition={"Bool": {"aws:SecureTransport": "false"}})
        ),
        policy(allow(Condition={"Bool": {"aws:SecureTransport": "true"}}), deny(BOB, action="kms:Decrypt")),
    ],
)
def test_what_may_be_looser(after: str) -> None:
    """The last is tighter in truth; that much is not looked into."""
    assert loosens(BEFORE, after)


def test_one_statement_needs_no_list() -> None:
    alone = json.dumps({"Version": "2012-10-17", "Statement": allow()})
    assert not loosens(policy(allow()), alone)
    assert loosens(alone, policy(allow(), allow(BOB)))
