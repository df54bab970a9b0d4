"""How a decision names its ground, and what is remembered of it."""

import json
from typing import Any

import pytest
from tests.policy_cases import (
    ALICE,
    BOB,
    CAROL,
    HOME,
    KEY,
    NIGHT,
    OPS,
    OTHER_KEY,
    PAY,
    ROOT,
    Asked,
    allow,
    asked,
    deny,
    document,
    identity,
)

from strongroomd.domain.actions import Action
from strongroomd.domain.policy import Basis, Decision, PolicyKind, Request, Resource, parse, subject_named
from strongroomd.domain.policy.evaluation import Authority, Standing, leaves_a_way_back
from strongroomd.domain.policy.request import Value


def case(*statements: dict[str, Any], who: str = ALICE, **more: Any) -> Asked:
    key_policy = document(*(statements or (allow(ROOT),)))
    return asked({"action": "kms:Decrypt", "who": who, "key": KEY, "key_policy": key_policy} | more)


def decision(*statements: dict[str, Any], who: str = ALICE, **more: Any) -> Decision:
    return case(*statements, who=who, **more).decide()


_MAY = identity(allow(Sid="mine"))
GROUNDS: dict[str, tuple[Decision, bool, Basis, str]] = {
    "key policy": (decision(allow(ALICE, Sid="hers")), True, Basis.KEY_POLICY_ALLOW, "hers"),
    "key policy, without Sid": (
        decision(allow(BOB), allow(ALICE)),
        True,
        Basis.KEY_POLICY_ALLOW,
        "Statement[1]",
    ),
    "identity policy": (decision(identity=_MAY), True, Basis.IDENTITY_POLICY_ALLOW, "mine"),
    "both": (
        decision(allow(CAROL, Sid="hers"), who=CAROL, identity=_MAY),
        True,
        Basis.BOTH_POLICIES_ALLOW,
        "hers",
    ),
    "root without a key": (
        asked({"action": "kms:ListKeys", "who": ROOT}).decide(),
        True,
        Basis.ROOT_ALLOW,
        "the account's root",
    ),
    "grant": (
        decision(grants=[{"grantee": ALICE, "operations": ["Decrypt"]}]),
        True,
        Basis.GRANT_ALLOW,
        "grant-0",
    ),
    "the second grant": (
        decision(grants=[{"grantee": w, "operations": ["Decrypt"]} for w in (BOB, ALICE)]),
        True,
        Basis.GRANT_ALLOW,
        "grant-1",
    ),
    "key policy's deny": (
        decision(allow(ALICE), deny(ALICE, Sid="no")),
        False,
        Basis.KEY_POLICY_DENY,
        "no",
    ),
    "identity policy's deny": (
        decision(allow(ALICE), identity=identity(deny(Sid="no"))),
        False,
        Basis.IDENTITY_POLICY_DENY,
        "no",
    ),
    "guard rail's deny": (
        decision(allow(ALICE), guard_rails=identity(allow(), deny(Sid="no"))),
        False,
        Basis.GUARD_RAIL_DENY,
        "no",
    ),
    "guard rail's silence": (
        decision(allow(ALICE), guard_rails=identity(allow(action="kms:Sign"))),
        False,
        Basis.GUARD_RAIL_SILENT,
        "no allow in a guard rail",
    ),
    "not delegated": (
        decision(allow(BOB), identity=_MAY),
        False,
        Basis.NOT_DELEGATED,
        "the key policy does not admit the caller",
    ),
    "delegated, but not allowed": (
        decision(allow(ROOT, Sid="root")),
        False,
        Basis.NO_IDENTITY_POLICY,
        "root",
    ),
    "admitted from elsewhere, but not allowed there": (
        decision(allow(CAROL, Sid="hers"), who=CAROL),
        False,
        Basis.NO_IDENTITY_POLICY,
        "hers",
    ),
    "nothing": (decision(allow(BOB)), False, Basis.DEFAULT_DENY, "default deny"),
}


@pytest.mark.parametrize("name", GROUNDS)
def test_a_decision_names_its_ground(name: str) -> None:
    found, allowed, basis, ground = GROUNDS[name]

    assert (found.allowed, found.basis, found.ground) == (allowed, basis, ground)


def test_a_guard_rails_deny_is_named_before_the_key_policys() -> None:
    found = decision(deny("*"), guard_rails=identity(deny()), identity=identity(deny()))

    assert found.basis is Basis.GUARD_RAIL_DENY


def test_a_policy_is_named_before_a_grant() -> None:
    found = decision(allow(ALICE, Sid="hers"), grants=[{"grantee": ALICE, "operations": ["Decrypt"]}])

    assert (found.basis, found.ground) == (Basis.KEY_POLICY_ALLOW, "hers")


def test_a_decision_without_conditions_is_remembered() -> None:
    one = case(allow(ALICE), identity=identity(allow(Resource=OTHER_KEY)))

    assert one.decide() is one.decide()
    assert one.authority._settled


def test_a_decision_under_a_condition_is_not() -> None:
    one = case(allow(ALICE, Condition={"Bool": {"aws:SecureTransport": "true"}}))

    one.decide()

    assert not one.authority._settled


def test_a_decision_under_a_policy_variable_is_not_remembered() -> None:
    mine = identity(allow(Resource="arn:aws:kms:*:*:key/${aws:PrincipalTag/team}*"))
    blue, red = (case(identity=mine, context={"aws:PrincipalTag/team": team}) for team in ("1111", "2222"))

    assert blue.decide().allowed
    assert not blue.authority.decide(red.request, blue.standing).allowed


_S3 = {"StringEquals": {"kms:ViaService": "s3"}}
_UNDER_CONDITION: dict[str, tuple[Asked, bool]] = {
    "the key policy's deny": (case(allow(ALICE), deny(ALICE, Condition=_S3)), False),
    "the key policy's allow": (case(allow(ALICE, Condition=_S3)), True),
    "the key policy's delegation": (case(allow(ROOT, Condition=_S3), identity=_MAY), True),
    "the identity policy's deny": (case(allow(ALICE), identity=identity(deny(Condition=_S3))), False),
    "the identity policy's allow": (case(allow(ROOT), identity=identity(allow(Condition=_S3))), True),
    "the guard rail's deny": (case(allow(ALICE), guard_rails=identity(allow(), deny(Condition=_S3))), False),
    "the guard rail's allow": (case(allow(ALICE), guard_rails=identity(allow(Condition=_S3))), True),
}


@pytest.mark.parametrize("where", _UNDER_CONDITION)
@pytest.mark.parametrize("order", [("s3", "rds"), ("rds", "s3")])
def test_one_request_is_no_answer_to_another(where: str, order: tuple[str, ...]) -> None:
    one, in_s3 = _UNDER_CONDITION[where]
    subject, resource = one.request.subject, one.request.resource
    authority = Authority(one.authority.policy, resource)

    for service in order:
        request = Request(Action.DECRYPT, subject, resource, {"kms:viaservice": service})
        assert authority.decide(request, one.standing).allowed is (in_s3 is (service == "s3"))


def test_callers_actions_and_standings_are_remembered_beside_each_other() -> None:
    one = case(allow(NIGHT, action="kms:Decrypt"))
    resource, authority, standing = one.request.resource, one.authority, one.standing
    day = NIGHT.replace("night", "day")

    def decided(who: str, action: Action = Action.DECRYPT) -> Decision:
        return authority.decide(Request(action, subject_named(who), resource), standing)

    for _ in range(2):
        found = [decided(who).allowed for who in (NIGHT, day, OPS, ALICE)]
        assert [*found, decided(NIGHT, Action.SIGN).allowed] == [True, False, False, False, False]
    assert authority.recall(NIGHT, Action.DECRYPT, standing) is decided(NIGHT)
    assert authority.recall(day, Action.DECRYPT, standing) is decided(day)
    assert authority.recall(NIGHT, Action.DECRYPT, Standing()) is None
    assert authority.recall(NIGHT, Action.VERIFY, standing) is None


@pytest.mark.parametrize("field", ["identity", "guard_rails"])
def test_a_standing_knows_which_conditions_its_policies_ask(field: str) -> None:
    two = identity(allow(action="kms:Sign"), allow(Condition=_S3 | {"Bool": {"aws:SecureTransport": "true"}}))

    more: dict[str, Any] = {field: two}
    standing = case(**more).standing

    assert standing.asks_for("kms:viaservice")
    assert standing.asks_for("aws:securetransport")
    assert not standing.asks_for("kms:resourcealiases")
    assert not Standing().asks_for("kms:viaservice")


class _Unasked:
    """Circumstances that nobody may ask for."""

    def get(self, name: str, /) -> Value | None:
        raise AssertionError(name)


@pytest.mark.parametrize("asks", [{"Condition": _S3}, {"Resource": f"{KEY[:-1]}${{aws:PrincipalTag/team}}"}])
@pytest.mark.parametrize("statements", [(allow(ALICE),), (deny(ALICE),), (allow(ALICE), deny("*"))])
def test_what_speaks_whatever_the_request_decides_before_anything_is_asked(
    statements: Any, asks: dict[str, Any]
) -> None:
    asking = [s | asks | {"Sid": "asks"} for s in statements]
    one = case(*asking, *statements)
    request = Request(Action.DECRYPT, one.request.subject, one.request.resource, _Unasked())

    assert one.authority.decide(request, one.standing).ground.startswith("Statement[")


def test_of_several_statements_the_first_is_the_ground() -> None:
    assert decision(allow(ALICE, Sid="a"), allow(ALICE, Sid="b")).ground == "a"
    assert decision(deny(ALICE, Sid="a"), deny(ALICE, Sid="b")).ground == "a"


def test_a_grant_is_asked_each_time() -> None:
    one = case(grants=[{"grantee": ALICE, "operations": ["Decrypt"]}])

    assert one.decide().allowed
    assert not one.authority.decide(one.request, one.standing).allowed


def test_a_request_about_another_resource_is_a_mistake() -> None:
    one = case(allow(ALICE), deny(ALICE, Resource=KEY))

    with pytest.raises(ValueError, match="another resource"):
        one.authority.decide(Request(Action.DECRYPT, one.request.subject), one.standing)


def test_memory_is_bounded() -> None:
    one, most = case(allow("*")), 0

    for number in range(5_000):
        other = subject_named(f"arn:aws:iam::{HOME}:user/{number}")
        one.authority.decide(Request(Action.DECRYPT, other, one.request.resource), one.standing)

        assert len(one.authority._settled) <= 4_096
        assert len(one.authority._hearings) <= 4_096
        most = max(most, len(one.authority._settled))
    assert most == 4_096


def test_statements_about_other_resources_are_left_out_once() -> None:
    one = case(identity=identity(allow(Resource=OTHER_KEY), allow(Resource=KEY)))

    one.decide()

    (hearing,) = one.authority._hearings.values()
    assert [len(side.sheet.direct) for side in hearing._identity] == [1]


def test_a_statement_is_sorted_by_what_it_does() -> None:
    one = case(deny(ALICE), allow(ALICE), allow(ROOT), deny(ROOT), allow(BOB), deny(BOB))
    assert one.authority.policy is not None

    sheet = one.authority.policy.sheet(one.request.subject, Action.DECRYPT)

    found = [[s.place for s in side] for side in (sheet.denies, sheet.direct, sheet.delegating)]
    assert found == [["Statement[0]", "Statement[3]"], ["Statement[1]"], ["Statement[2]"]]


def test_statements_are_sought_once_for_a_caller_and_an_action() -> None:
    one = case(allow(ALICE, Condition={"Bool": {"aws:SecureTransport": "true"}}))

    one.decide()
    before = list(one.authority._hearings.values())
    one.decide()

    assert [
        hearing is first for hearing, first in zip(one.authority._hearings.values(), before, strict=True)
    ] == [True]


ROLE = Resource(OPS, HOME)
_MAY_ASSUME = identity(allow(action="sts:AssumeRole", Resource=OPS))


@pytest.mark.parametrize(
    ("trusted", "who", "theirs", "may"),
    [
        (ALICE, ALICE, [], True),
        (ALICE, BOB, [], False),
        (ROOT, ALICE, [], False),
        (ROOT, ALICE, _MAY_ASSUME, True),
        (BOB, ALICE, _MAY_ASSUME, False),
        (CAROL, CAROL, [], False),
        (CAROL, CAROL, _MAY_ASSUME, True),
        (CAROL, CAROL, identity(deny(action="sts:*"), *_MAY_ASSUME[0]["Statement"]), False),
        (PAY, PAY, [], True),
    ],
)
def test_a_role_is_assumed_as_a_key_is_used(trusted: str, who: str, theirs: Any, may: bool) -> None:
    trust = {
        "Statement": {"Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole"},
    }
    authority = Authority(parse(json.dumps(trust), kind=PolicyKind.TRUST), ROLE)
    standing = asked({"action": "kms:Decrypt", "who": who, "identity": theirs}).standing

    request = Request(Action.ASSUME_ROLE, subject_named(who), ROLE)

    assert authority.decide(request, standing).allowed is may


@pytest.mark.parametrize(
    ("statements", "who", "safe"),
    [
        ([allow(ALICE)], ALICE, True),
        ([allow(ALICE, action="kms:Encrypt")], ALICE, False),
        ([allow(ALICE), deny("*", action="kms:Put*")], ALICE, False),
        ([allow(ROOT)], ALICE, False),
        ([allow(ROOT)], ROOT, True),
        ([allow(NIGHT)], NIGHT, True),
        ([allow(CAROL)], CAROL, False),
    ],
)
def test_the_lockout_check_asks_for_the_way_back(statements: Any, who: str, safe: bool) -> None:
    one = case(*statements, who=who)
    assert one.authority.policy is not None

    assert leaves_a_way_back(one.authority.policy, one.request, one.standing) is safe


def test_the_lockout_check_counts_identity_policies() -> None:
    one = case(allow(ROOT), identity=_MAY)
    assert one.authority.policy is not None

    assert leaves_a_way_back(one.authority.policy, one.request, one.standing)
