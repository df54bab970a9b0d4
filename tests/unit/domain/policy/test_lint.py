"""Lint: each rule finds what it is for, at its place, and leaves a sound policy alone."""

import json
from typing import Any

import pytest
from tests.policy_cases import ALICE, BOB, HOME, OTHER_KEY, ROOT, allow, deny, document

from strongroomd.domain import policy
from strongroomd.domain.policy import PolicyKind
from strongroomd.domain.policy.lint import Severity, lint

SOUND = allow(ROOT)
VIA = {"StringEquals": {"kms:ViaService": "s3"}}


def found(*statements: dict[str, Any], version: str = "2012-10-17") -> list[tuple[str, str]]:
    text = json.dumps(document(*statements, version=version))
    return [(finding.code, finding.place) for finding in lint(policy.parse(text))]


FINDINGS: dict[str, tuple[list[dict[str, Any]], tuple[str, str]]] = {
    "everyone": ([allow("*", action="kms:Decrypt")], ("open-to-everyone", "Statement[1]")),
    "all but some": (
        [allow(action="kms:Decrypt") | {"NotPrincipal": {"AWS": ALICE}}],
        ("allow-not-principal", "Statement[1]"),
    ),
    "all but one action": ([allow(ALICE, NotAction="kms:Decrypt")], ("allow-not-action", "Statement[1]")),
    "everything to a user": ([allow(ALICE)], ("everything-to-users", "Statement[1]")),
    "everything and more to a user": ([allow(ALICE, action="*")], ("everything-to-users", "Statement[1]")),
    "an action that is not offered": (
        [allow(ALICE, action=["kms:Decrypt", "kms:CreateCustom*"])],
        ("action-of-nothing", "Statement[1]"),
    ),
    "no action at all": ([allow(ALICE, action="kms:CreateCustomKeyStore")], ("no-action", "Statement[1]")),
    "a key that is never there": (
        [allow(ALICE, action="kms:Sign", Condition={"StringEquals": {"kms:MacAlgorithm": "x"}})],
        ("key-never-there", "Statement[1].Condition.StringEquals.kms:MacAlgorithm"),
    ),
    "a key that is there sometimes": (
        [
            allow(
                ALICE,
                action=["kms:Sign", "kms:Decrypt"],
                Condition={"StringEquals": {"kms:MessageType": "RAW"}},
            )
        ],
        ("key-sometimes-there", "Statement[1].Condition.StringEquals.kms:MessageType"),
    ),
    "all values of one": (
        [allow(ALICE, action="kms:Decrypt", Condition={"ForAnyValue:StringEquals": {"kms:ViaService": "x"}})],
        ("quantified-single", "Statement[1].Condition.ForAnyValue:StringEquals.kms:ViaService"),
    ),
    "all values of none": (
        [
            allow(
                ALICE,
                action="kms:CreateGrant",
                Condition={"ForAllValues:StringEquals": {"kms:GrantOperations": "x"}},
            )
        ],
        ("holds-when-missing", "Statement[1].Condition.ForAllValues:StringEquals.kms:GrantOperations"),
    ),
    "a deny above all": ([allow(BOB, action="kms:Sign"), deny("*", action="kms:S*")], ("unreachable", "Statement[1]")),
    "a deny of the account": ([allow(ALICE, action="kms:Sign"), deny(ALICE)], ("unreachable", "Statement[1]")),
    "said before": ([allow(ALICE, action="kms:Sign"), allow(ALICE, action="kms:Sign")], ("redundant", "Statement[2]")),
    "a narrower repetition": ([allow(ROOT, action="kms:Sign")], ("redundant", "Statement[1]")),
    "said before, of all but some": (
        [
            deny(action="kms:Sign") | {"NotPrincipal": {"AWS": ALICE}},
            deny(action="kms:Sign") | {"NotPrincipal": {"AWS": ALICE}},
        ],
        ("redundant", "Statement[2]"),
    ),
    "all but some, of everyone before": (
        [deny("*", action="kms:Sign"), deny(action="kms:Sign") | {"NotPrincipal": {"AWS": ALICE}}],
        ("redundant", "Statement[2]"),
    ),
    "some, of everyone before": (
        [deny("*", action="kms:Sign"), deny(ALICE, action="kms:Sign")],
        ("redundant", "Statement[2]"),
    ),
    "some, of more before": (
        [allow(ALICE, BOB, action="kms:Sign"), allow(ALICE, action="kms:Sign")],
        ("redundant", "Statement[2]"),
    ),
    "all values, guarded by another operator": (
        [
            allow(
                ALICE,
                action="kms:CreateGrant",
                Condition={
                    "ForAllValues:StringEquals": {"kms:GrantOperations": "x"},
                    "Null": {"kms:GrantOperations": "true", "kms:GranteePrincipal": "false"},
                },
            )
        ],
        ("holds-when-missing", "Statement[1].Condition.ForAllValues:StringEquals.kms:GrantOperations"),
    ),
    "everything to a user beside the account": ([allow(ROOT, ALICE)], ("everything-to-users", "Statement[1]")),
    "everyone locked out": ([deny("*", action="kms:Put*")], ("lock-out", "Statement[1]")),
}  # fmt: skip


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_suspicious_is_found_at_its_place(name: str) -> None:
    statements, expected = FINDINGS[name]

    assert expected in found(SOUND, *statements)


CLEAN: dict[str, list[dict[str, Any]]] = {
    "the default": [],
    "everyone under a condition": [allow("*", action="kms:Decrypt", Condition=VIA)],
    "a user with some actions": [allow(ALICE, action=["kms:Decrypt", "kms:Encrypt"])],
    "a deny of all but some": [deny(action="kms:Decrypt") | {"NotPrincipal": {"AWS": ALICE}}],
    "a deny of all but one action": [deny(ALICE, NotAction="kms:Decrypt")],
    "all values, of some": [
        allow(
            ALICE,
            action="kms:CreateGrant",
            Condition={
                "ForAllValues:StringEquals": {"kms:GrantOperations": "x"},
                "Null": {"kms:GrantOperations": "false"},
            },
        )
    ],
    "a deny of all values": [
        deny(
            ALICE,
            action="kms:CreateGrant",
            Condition={"ForAllValues:StringEquals": {"kms:GrantOperations": "x"}},
        )
    ],
    "a deny under a condition": [allow(BOB, action="kms:Sign"), deny("*", action="kms:Sign", Condition=VIA)],
    "a deny of another": [allow(BOB, action="kms:Sign"), deny(ALICE, action="kms:Sign")],
    "a deny of everyone": [deny("*", action="kms:Encrypt")],
    "a deny of everyone to change the policy, under a condition": [
        deny("*", action="kms:Put*", Condition=VIA)
    ],
    "a deny of all but some to change the policy": [
        deny(action="kms:Put*") | {"NotPrincipal": {"AWS": ["*", ALICE]}}
    ],
    "everything denied to a user": [deny(ALICE)],
    "all but some denied everything": [deny(action="kms:*") | {"NotPrincipal": {"AWS": ALICE}}],
    "the same of another resource before": [
        allow(ALICE, action="kms:Sign", Resource=OTHER_KEY),
        allow(ALICE, action="kms:Sign"),
    ],
    "a deny of all but one, and an allow of that one": [
        allow(ALICE, action="kms:Sign"),
        deny(action="kms:Sign") | {"NotPrincipal": {"AWS": ALICE}},
    ],
    "a deny of nobody": [
        deny(action="kms:Sign") | {"NotPrincipal": {"AWS": "*"}},
        deny(action="kms:Sign") | {"NotPrincipal": {"AWS": ALICE}},
    ],
    "a deny of some among others": [
        deny(BOB, action="kms:Sign"),
        deny(action="kms:Sign") | {"NotPrincipal": {"AWS": BOB}},
    ],
    "a deny of less": [allow(BOB, action=["kms:Sign", "kms:Verify"]), deny(BOB, action="kms:Sign")],
    "the same under a condition before": [
        allow(ALICE, action="kms:Sign", Condition=VIA),
        allow(ALICE, action="kms:Sign"),
    ],
}


@pytest.mark.parametrize("name", CLEAN)
def test_what_is_sound_is_left_alone(name: str) -> None:
    assert found(SOUND, *CLEAN[name]) == []


def test_a_policy_that_nobody_can_change_is_an_error_of_the_whole() -> None:
    assert ("lock-out", "") in found(allow(ROOT, action="kms:Decrypt"))


def test_a_policy_that_names_no_account_says_so() -> None:
    assert ("no-delegation", "") in found(allow(ALICE))
    assert ("no-delegation", "") not in found(allow(HOME))


def test_the_language_of_2008_is_noted() -> None:
    assert ("old-version", "") in found(SOUND, version="2008-10-17")


def test_policies_of_principals_are_linted_by_their_own_rules() -> None:
    text = json.dumps(document(allow(), allow(action="kms:Sign"), deny(action="kms:Sign")))
    codes = [finding.code for finding in lint(policy.parse(text, kind=PolicyKind.IDENTITY))]

    assert codes == ["unreachable", "redundant"]


def test_findings_have_a_severity_and_a_sentence() -> None:
    text = json.dumps(document(allow("*")))
    finding = next(f for f in lint(policy.parse(text)) if f.code == "open-to-everyone")

    assert finding.severity is Severity.ERROR
    assert "every principal" in finding.message


def test_only_an_allow_of_the_account_delegates() -> None:
    assert ("no-delegation", "") in found(allow(ALICE), deny(ROOT, action="kms:Sign"))
    assert ("no-delegation", "") not in found(allow(ALICE, ROOT))


def test_only_an_allow_lets_anyone_change_the_policy() -> None:
    assert ("lock-out", "") in found(allow(ROOT, action="kms:Decrypt"), deny(ALICE, action="kms:Put*"))


@pytest.mark.parametrize("kind", [PolicyKind.IDENTITY, PolicyKind.GUARD_RAIL])
def test_policies_of_principals_lock_nobody_out(kind: PolicyKind) -> None:
    text = json.dumps(document(allow(action="kms:Sign"), deny(action="kms:PutKeyPolicy")))

    assert lint(policy.parse(text, kind=kind)) == []


def test_not_action_is_everything_to_users_only_once() -> None:
    everything_but = allow(ALICE, NotAction="strongroom:*")

    assert [code for code, _ in found(SOUND, everything_but)] == ["allow-not-action"]


def test_all_but_some_are_no_users_to_whom_everything_is_allowed() -> None:
    all_but = allow() | {"NotPrincipal": {"AWS": ALICE}}

    assert [code for code, _ in found(all_but)] == ["no-delegation", "allow-not-principal"]


def test_what_speaks_of_nothing_is_redundant_to_nothing() -> None:
    nothing = allow(ROOT, action="kms:CreateCustomKeyStore")

    assert [code for code, _ in found(SOUND, nothing)] == ["action-of-nothing", "no-action"]


def test_who_lets_everyone_change_the_policy_locks_nobody_out() -> None:
    assert [code for code, _ in found(SOUND, allow("*", action="kms:Put*"))] == ["open-to-everyone"]
