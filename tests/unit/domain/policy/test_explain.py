"""Explanations: what each statement and grant had to say, and which came near."""

from typing import Any

import pytest
from tests.policy_cases import (
    ALICE,
    BOB,
    KEY,
    OTHER_KEY,
    ROOT,
    Asked,
    allow,
    asked,
    deny,
    document,
    identity,
)

from strongroomd.domain.policy import Basis
from strongroomd.domain.policy.explain import explain

_MAY = identity(allow(Sid="mine"))


def case(*statements: dict[str, Any], who: str = ALICE, **more: Any) -> Asked:
    key_policy = document(*(statements or (allow(ROOT),)))
    return asked({"action": "kms:Decrypt", "who": who, "key": KEY, "key_policy": key_policy} | more)


def test_explaining_names_the_condition_that_failed() -> None:
    one = case(allow(ALICE, Sid="through s3", Condition={"StringEquals": {"kms:ViaService": "s3"}}))

    told = explain(one.authority, one.request, one.standing)

    assert not told.decision.allowed
    assert [(t.statement, t.failed) for t in told.near_misses] == [
        ("through s3", ("Condition.StringEquals.kms:ViaService",))
    ]


def test_explaining_tells_what_each_statement_failed_by() -> None:
    other = allow(BOB, action="kms:Sign", Resource=OTHER_KEY)
    one = case(other, deny(ALICE, action="kms:Sign"), allow(ROOT), identity=_MAY)

    told = explain(one.authority, one.request, one.standing)

    assert [(t.source, t.failed, t.applies, t.delegates) for t in told.traces] == [
        ("key policy", ("Principal", "Action", "Resource"), False, False),
        ("key policy", ("Action",), False, False),
        ("key policy", (), True, True),
        ("identity policy", (), True, False),
    ]
    assert told.decision.basis is Basis.IDENTITY_POLICY_ALLOW


def test_explaining_tells_what_a_grant_failed_by() -> None:
    one = case(grants=[{"grantee": ALICE, "operations": ["Decrypt"], "equals": {"a": "b"}}])

    told = explain(one.authority, one.request, one.standing, one.grants)

    assert told.traces[-1].failed == ("Constraints.EncryptionContext",)
    assert told.traces[-1].is_near_miss


def test_explaining_works_without_a_key() -> None:
    one = asked({"action": "kms:ListKeys", "who": ALICE, "guard_rails": identity(allow(Resource=KEY))})

    told = explain(one.authority, one.request, one.standing)

    assert [(t.source, t.failed) for t in told.traces] == [("guard rail", ("Resource",))]


_S3 = {"StringEquals": {"kms:ViaService": "s3"}}
_NEAR: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "it applies": (allow(ALICE), {}, False),
    "another principal": (allow(BOB), {}, False),
    "another action": (allow(ALICE, action="kms:Sign"), {}, False),
    "another action, under a condition": (allow(ALICE, action="kms:Sign", Condition=_S3), {}, False),
    "another resource": (allow(ALICE, Resource=OTHER_KEY), {}, True),
    "a condition that fails": (allow(ALICE, Condition=_S3), {}, True),
    "a condition that holds": (allow(ALICE, Condition=_S3), {"context": {"kms:ViaService": "s3"}}, False),
}


@pytest.mark.parametrize("name", _NEAR)
def test_a_near_miss_is_what_other_circumstances_would_let_speak(name: str) -> None:
    statement, more, near = _NEAR[name]
    one = case(statement, **more)

    told = explain(one.authority, one.request, one.standing)

    assert [trace.is_near_miss for trace in told.traces] == [near]
    assert told.near_misses == (told.traces if near else ())


_NEAR_GRANTS: dict[str, tuple[dict[str, Any], tuple[str, ...], bool]] = {
    "it permits": ({}, (), False),
    "another operation": ({"operations": ["Sign"]}, ("Operations",), False),
    "another grantee": ({"grantee": BOB}, ("Grantee",), False),
    "another source": ({"source_arn": "arn:aws:s3:::b"}, ("Constraints.Source",), True),
    "another context": ({"subset": {"a": "b"}}, ("Constraints.EncryptionContext",), True),
}


@pytest.mark.parametrize("name", _NEAR_GRANTS)
def test_a_grant_comes_near_by_its_constraints(name: str) -> None:
    change, failed, near = _NEAR_GRANTS[name]
    one = case(allow(BOB), grants=[{"grantee": ALICE, "operations": ["Decrypt"]} | change])

    (_, trace) = explain(one.authority, one.request, one.standing, one.grants).traces

    assert (trace.failed, trace.applies, trace.is_near_miss) == (failed, not failed, near)
    assert not trace.delegates


def test_a_condition_that_holds_is_not_told_among_those_that_failed() -> None:
    one = case(
        allow(ALICE, Condition=_S3 | {"Bool": {"aws:SecureTransport": "true"}}),
        context={"kms:ViaService": "s3"},
    )

    (trace,) = explain(one.authority, one.request, one.standing).traces

    assert trace.failed == ("Condition.Bool.aws:SecureTransport",)


def test_a_statement_about_the_key_speaks_of_it() -> None:
    one = case(allow(ALICE, Resource=KEY))

    assert explain(one.authority, one.request, one.standing).traces[0].applies
