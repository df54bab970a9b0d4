"""The judge alone: what it remembers, when it asks for grants, and how actions without a key are decided."""

import dataclasses
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from strongroomd.custody.asking import NOTHING_BROUGHT, Brought
from strongroomd.custody.judging import Judge, Nobody
from strongroomd.domain import policy
from strongroomd.domain.actions import BY_IDENTITY, FOR_ANYONE, KEYLESS, OPERATORS_ONLY, Action
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.grants import Grant, NewGrant
from strongroomd.domain.policy import PolicyKind, Resource
from strongroomd.domain.policy.circumstances import Target
from strongroomd.domain.policy.evaluation import NO_STANDING, Authority, Standing
from strongroomd.domain.policy.request import Basis, Decision, Request
from strongroomd.domain.principals import Caller, Principal, RoleSession
from strongroomd.domain.records import Origin

HOME = "111122223333"
ROOT = f"arn:aws:iam::{HOME}:root"
ALICE = Principal(f"arn:aws:iam::{HOME}:user/alice", HOME, tags=(("team", "blue"),))
OPS = Principal(f"arn:aws:iam::{HOME}:role/ops", HOME)
NIGHT = RoleSession(OPS.arn, "night", ALICE.arn, "00" * 32, 0, "id", 1)
ADMIN = Principal(ALICE.arn, HOME, administrator=True)
OPERATOR = Principal(ALICE.arn, HOME, administrator=True, operator=True)
KEY = f"arn:aws:kms:eu-test-1:{HOME}:key/1"
GRANT = Grant("grant-1", "1", ROOT, NewGrant(OPS.arn, frozenset({Action.DECRYPT})))


class Fakes:
    """What the judge asks, and how often."""

    def __init__(self) -> None:
        self.times = 0
        self.aliases_learnt = 0
        self.attached = NO_STANDING
        self.lends_to: set[str] = set()
        self.grant: Grant | None = None
        self.grants_read: list[tuple[str, tuple[str, ...]]] = []
        self.heeded: list[tuple[str, ...]] = []
        self.caught_up = 0

    def wall_ms(self) -> int:
        self.times += 1
        return 1_780_272_000_000

    async def learn_aliases(self, entry: Any) -> None:
        self.aliases_learnt += 1
        entry.aliases = ("alias/orders",)

    def standing(self, arn: str, /) -> Standing:
        return self.attached if arn in {ALICE.arn, OPS.arn} else NO_STANDING

    def require_whole(self, _arn: str, /) -> None:
        return

    async def catch_up(self) -> None:
        self.caught_up += 1

    def concern(self, key_id: str, names: Iterable[str]) -> bool:
        return key_id == "1" and not self.lends_to.isdisjoint(names)

    async def permitting(self, key_id: str, names: Iterable[str], request: Request) -> Grant | None:
        self.grants_read.append((key_id, tuple(names)))
        return self.grant

    async def heed(self, tokens: tuple[str, ...]) -> None:
        self.heeded.append(tokens)

    def attach(self, *statements: dict[str, Any], guard_rail: bool = False) -> None:
        """Attach a policy to the callers, or a guard rail to their account."""
        kind = PolicyKind.GUARD_RAIL if guard_rail else PolicyKind.IDENTITY
        made = policy.parse(document(*statements), kind=kind)
        self.attached = Standing(*(((), (made,)) if guard_rail else ((made,), ())))


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect: str, action: str = "*", principal: str = "", **condition: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"Effect": effect, "Action": action, "Resource": "*"}
    made |= {"Principal": {"AWS": principal}} if principal else {}
    return made | ({"Condition": condition} if condition else {})


def entry(*statements: dict[str, Any]) -> Any:
    """A key with a policy of these statements; without any it names somebody else."""
    text = document(*(statements or [statement("Allow", "kms:*", f"arn:aws:iam::{HOME}:user/bob")]))
    key = SimpleNamespace(
        key_id="1",
        account=HOME,
        spec=KeySpec.SYMMETRIC_DEFAULT,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        origin=Origin.HSM,
        tags=(),
    )
    authority = Authority(policy.parse(text), Resource(KEY, HOME))
    return SimpleNamespace(key=key, arn=KEY, authority=authority, aliases=None)


def caller(principal: Principal = ALICE, session: RoleSession | None = None) -> Caller:
    return Caller(principal, "request", 0.0, "ipv4:192.0.2.1:5000", session=session)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def judge(fakes: Fakes) -> Judge:
    return Judge(fakes, fakes, fakes, fakes, fakes)  # type: ignore[arg-type]


async def decide(
    judge: Judge, key: Any, who: Caller, action: Action = Action.DECRYPT, brought: Brought = NOTHING_BROUGHT
) -> Decision:
    return await judge.decide(key, who, action, lambda _: brought)


# What nobody knows of.


async def test_without_standings_lending_and_tokens_key_policies_decide_alone(fakes: Fakes) -> None:
    judge = Judge(fakes, fakes, Nobody())  # type: ignore[arg-type]
    await judge.catch_up()
    await judge.heed(("token",))
    key = entry()

    decision = await decide(judge, key, caller())

    assert decision.basis is Basis.DEFAULT_DENY
    assert judge.recall(key, caller(), Action.DECRYPT) is decision
    assert Nobody().standing(ALICE.arn) is NO_STANDING


async def test_tokens_and_the_word_of_other_workers_are_heeded(judge: Judge, fakes: Fakes) -> None:
    await judge.heed(("token",))
    await judge.catch_up()

    assert (fakes.heeded, fakes.caught_up) == ([("token",)], 1)


# A key's policy first, then grants.


async def test_what_a_policy_allows_needs_no_grant(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to, fakes.grant = {ALICE.arn}, GRANT

    decision = await decide(judge, entry(statement("Allow", "kms:*", ALICE.arn)), caller())

    assert decision.basis is Basis.KEY_POLICY_ALLOW
    assert fakes.grants_read == []


async def test_what_is_explicitly_denied_no_grant_allows(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to, fakes.grant = {ALICE.arn}, GRANT

    decision = await decide(judge, entry(statement("Deny", "kms:*", ALICE.arn)), caller())

    assert decision.basis is Basis.KEY_POLICY_DENY
    assert fakes.grants_read == []


async def test_what_no_policy_decides_a_grant_allows(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to, fakes.grant = {ALICE.arn}, GRANT

    decision = await decide(judge, entry(), caller())

    assert decision == Decision(allowed=True, ground="grant-1", basis=Basis.GRANT_ALLOW)
    assert fakes.grants_read == [("1", (ALICE.arn,))]


async def test_a_grant_that_does_not_permit_leaves_the_policies_decision(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to = {ALICE.arn}

    decision = await decide(judge, entry(), caller())

    assert decision.basis is Basis.DEFAULT_DENY
    assert len(fakes.grants_read) == 1


async def test_no_grant_is_read_for_a_caller_whom_the_key_lends_nothing(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to, fakes.grant = {ROOT}, GRANT

    assert not (await decide(judge, entry(), caller())).allowed
    assert fakes.grants_read == []


async def test_a_session_has_the_grants_of_its_role_and_its_own(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to, fakes.grant = {OPS.arn}, GRANT

    decision = await decide(judge, entry(), caller(OPS, NIGHT))

    assert decision.basis is Basis.GRANT_ALLOW
    assert fakes.grants_read == [("1", (OPS.arn, NIGHT.arn))]


async def test_grants_are_sought_in_an_order_that_does_not_change(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to = {OPS.arn}
    sessions = [dataclasses.replace(NIGHT, name=f"night-{number}") for number in range(12)]

    for session in sessions:
        await decide(judge, entry(), caller(OPS, session))

    assert fakes.grants_read == [("1", (OPS.arn, session.arn)) for session in sessions]


async def test_what_a_use_case_knows_may_be_waited_for(judge: Judge) -> None:
    async def bring(_: Any) -> Brought:
        return Brought({"kms:encryptionalgorithm": "SYMMETRIC_DEFAULT"})

    asks: dict[str, Any] = {"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}
    key = entry(statement("Allow", "kms:*", ALICE.arn, **asks))

    assert (await judge.decide(key, caller(), Action.DECRYPT, bring)).allowed


async def test_aliases_are_learnt_where_a_callers_policy_asks_for_them(judge: Judge, fakes: Fakes) -> None:
    asks: dict[str, Any] = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/orders"}}
    fakes.attach(statement("Allow", "kms:*", **asks))

    assert (await decide(judge, entry(statement("Allow", "kms:*", ROOT)), caller())).allowed
    assert fakes.aliases_learnt == 1


async def test_aliases_are_not_looked_up_for_policies_that_do_not_ask(judge: Judge, fakes: Fakes) -> None:
    fakes.attach(statement("Allow", "kms:*", StringEquals={"aws:PrincipalTag/team": "blue"}))

    assert (await decide(judge, entry(statement("Allow", "kms:*", ROOT)), caller())).allowed
    assert fakes.aliases_learnt == 0


# What is remembered.


async def test_nothing_is_recalled_before_it_was_decided(judge: Judge) -> None:
    assert judge.recall(entry(), caller(), Action.DECRYPT) is None


async def test_an_allow_is_recalled_whatever_the_key_lends(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to = {ALICE.arn}
    key = entry(statement("Allow", "kms:*", ALICE.arn))
    decision = await decide(judge, key, caller())

    assert judge.recall(key, caller(), Action.DECRYPT) is decision


async def test_an_explicit_deny_is_recalled_whatever_the_key_lends(judge: Judge, fakes: Fakes) -> None:
    fakes.lends_to = {ALICE.arn}
    key = entry(statement("Deny", "kms:*", ALICE.arn))
    decision = await decide(judge, key, caller())

    assert judge.recall(key, caller(), Action.DECRYPT) is decision


async def test_a_refusal_that_a_grant_may_turn_is_not_recalled(judge: Judge, fakes: Fakes) -> None:
    key = entry()
    decision = await decide(judge, key, caller())
    assert judge.recall(key, caller(), Action.DECRYPT) is decision

    fakes.lends_to = {ALICE.arn}
    assert judge.recall(key, caller(), Action.DECRYPT) is None


async def test_what_was_decided_under_another_standing_is_not_recalled(judge: Judge, fakes: Fakes) -> None:
    key = entry(statement("Allow", "kms:*", ROOT))
    await decide(judge, key, caller())

    fakes.attach(statement("Allow", "kms:*"))

    assert judge.recall(key, caller(), Action.DECRYPT) is None
    assert (await decide(judge, key, caller())).allowed


# Retiring a grant.


async def test_a_grant_alone_says_who_may_retire_it(judge: Judge, fakes: Fakes) -> None:
    lent = NewGrant(OPS.arn, frozenset({Action.DECRYPT}), retiring=ALICE.arn)
    brought = Brought(retired=Grant("grant-2", "1", ROOT, lent))

    decision = await decide(judge, entry(), caller(), Action.RETIRE_GRANT, brought)

    assert decision == Decision(allowed=True, ground="grant-2", basis=Basis.GRANT_ALLOW)


@pytest.mark.parametrize("brought", [NOTHING_BROUGHT, Brought(retired=GRANT)])
async def test_no_policy_lets_anyone_retire_a_grant(judge: Judge, fakes: Fakes, brought: Brought) -> None:
    fakes.lends_to, fakes.grant = {ALICE.arn}, GRANT
    key = entry(statement("Allow", "kms:*", ALICE.arn))

    assert (await decide(judge, key, caller(), Action.RETIRE_GRANT, brought)).basis is Basis.DEFAULT_DENY
    assert judge.recall(key, caller(), Action.RETIRE_GRANT) is None


async def test_an_explicit_deny_keeps_from_retiring(judge: Judge) -> None:
    lent = NewGrant(OPS.arn, frozenset({Action.DECRYPT}), retiring=ALICE.arn)
    brought = Brought(retired=Grant("grant-2", "1", ROOT, lent))
    key = entry(statement("Deny", "kms:*", ALICE.arn))

    decision = await decide(judge, key, caller(), Action.RETIRE_GRANT, brought)

    assert decision.basis is Basis.KEY_POLICY_DENY


# The way back from a key policy.


def way_back(
    judge: Judge, *statements: dict[str, Any], known: bool = True, brought: Brought = NOTHING_BROUGHT
) -> bool:
    there = entry()
    target = Target(KEY, there.key) if known else Resource(KEY, HOME)
    return judge.leaves_a_way_back(caller(), document(*statements), target, brought)


def test_a_policy_that_lets_its_maker_change_it_leaves_a_way_back(judge: Judge) -> None:
    assert way_back(judge, statement("Allow", "kms:PutKeyPolicy", ALICE.arn))
    assert way_back(judge, statement("Allow", "kms:PutKeyPolicy", ALICE.arn), known=False)
    assert not way_back(judge, statement("Allow", "kms:Decrypt", ALICE.arn))


def test_identity_policies_are_a_way_back_through_the_account(judge: Judge, fakes: Fakes) -> None:
    assert not way_back(judge, statement("Allow", "kms:*", ROOT))
    fakes.attach(statement("Allow", "kms:PutKeyPolicy"))
    assert way_back(judge, statement("Allow", "kms:*", ROOT))


def test_the_way_back_may_depend_on_the_key_once_there_is_one(judge: Judge) -> None:
    allow = statement("Allow", "kms:*", ALICE.arn, StringEquals={"kms:KeySpec": "SYMMETRIC_DEFAULT"})

    assert way_back(judge, allow)
    assert not way_back(judge, allow, known=False)


def test_the_way_back_may_depend_on_what_the_use_case_brings(judge: Judge) -> None:
    allow = statement("Allow", "kms:*", ALICE.arn, StringEquals={"kms:PolicyName": "default"})

    assert way_back(judge, allow, brought=Brought({"kms:policyname": "default"}))
    assert not way_back(judge, allow)


def test_a_policy_that_does_not_parse_is_no_answer_about_a_way_back(judge: Judge) -> None:
    with pytest.raises(StrongroomError) as caught:
        judge.leaves_a_way_back(caller(), "{", Resource(KEY, HOME), NOTHING_BROUGHT)

    assert caught.value.reason is Reason.MALFORMED_POLICY


# Actions without a key.


@pytest.mark.parametrize("action", sorted(OPERATORS_ONLY))
def test_what_is_for_operators_no_policy_and_no_administrator_has(
    judge: Judge, fakes: Fakes, action: Action
) -> None:
    fakes.attach(statement("Allow"))

    assert judge.decide_keyless(caller(ADMIN), action).basis is Basis.DEFAULT_DENY
    assert judge.decide_keyless(caller(OPERATOR), action).basis is Basis.CONFIGURATION_ALLOW


@pytest.mark.parametrize("action", sorted(KEYLESS - OPERATORS_ONLY))
def test_administrators_may_what_identity_policies_may_allow_and_more(
    judge: Judge, fakes: Fakes, action: Action
) -> None:
    assert judge.decide_keyless(caller(ADMIN), action).basis is Basis.CONFIGURATION_ALLOW
    assert judge.decide_keyless(caller(), action).basis is Basis.DEFAULT_DENY

    fakes.attach(statement("Allow"))
    found = judge.decide_keyless(caller(), action).basis
    assert found is (Basis.IDENTITY_POLICY_ALLOW if action in BY_IDENTITY else Basis.DEFAULT_DENY)


@pytest.mark.parametrize("action", sorted(FOR_ANYONE))
def test_everybody_may_what_touches_nobodys_key(judge: Judge, action: Action) -> None:
    assert judge.decide_keyless(caller(), action).basis is Basis.CONFIGURATION_ALLOW


def test_an_administrator_has_nothing_that_needs_a_key(judge: Judge) -> None:
    assert judge.decide_keyless(caller(ADMIN), Action.DECRYPT).basis is Basis.DEFAULT_DENY


@pytest.mark.parametrize("guard_rail", [False, True])
@pytest.mark.parametrize("principal", [ALICE, ADMIN])
def test_an_explicit_deny_binds_all_but_operators(
    judge: Judge, fakes: Fakes, principal: Principal, guard_rail: bool
) -> None:
    fakes.attach(statement("Allow"), statement("Deny", "kms:*"), guard_rail=guard_rail)
    denied = Basis.GUARD_RAIL_DENY if guard_rail else Basis.IDENTITY_POLICY_DENY

    assert judge.decide_keyless(caller(principal), Action.LIST_KEYS).basis is denied
    assert judge.decide_keyless(caller(principal), Action.GENERATE_RANDOM).basis is denied
    assert judge.decide_keyless(caller(OPERATOR), Action.LIST_KEYS).basis is Basis.CONFIGURATION_ALLOW


def test_nobody_can_be_denied_to_ask_who_he_is(judge: Judge, fakes: Fakes) -> None:
    fakes.attach(statement("Deny"))

    assert judge.decide_keyless(caller(), Action.GET_CALLER_IDENTITY).allowed
    assert judge.forbids(caller(), Action.GET_CALLER_IDENTITY) is None


def test_a_policy_that_asks_for_what_the_request_lacks_refuses_all_but_operators(
    judge: Judge, fakes: Fakes
) -> None:
    fakes.attach(statement("Allow", "kms:CreateKey", StringEquals={"aws:RequestTag/team": "blue"}))

    for principal in (ALICE, ADMIN):
        with pytest.raises(StrongroomError) as caught:
            judge.decide_keyless(caller(principal), Action.CREATE_KEY)
        assert caught.value.reason is Reason.ACCESS_DENIED
    assert judge.decide_keyless(caller(OPERATOR), Action.CREATE_KEY).basis is Basis.CONFIGURATION_ALLOW


@pytest.mark.parametrize("principal", [ALICE, OPERATOR])
def test_a_failure_to_learn_what_is_attached_is_nobodys_permission(
    judge: Judge, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, principal: Principal
) -> None:
    def standing(_: str) -> Standing:
        raise StrongroomError(Reason.INTEGRITY_FAILURE)

    monkeypatch.setattr(fakes, "standing", standing)

    with pytest.raises(StrongroomError) as caught:
        judge.decide_keyless(caller(principal), Action.LIST_KEYS)
    assert caught.value.reason is Reason.INTEGRITY_FAILURE


def test_conditions_of_identity_policies_are_held_against_caller_call_and_request(
    judge: Judge, fakes: Fakes
) -> None:
    conditions: dict[str, Any] = {
        "StringEquals": {
            "aws:PrincipalTag/team": "blue",
            "aws:RequestTag/stage": "live",
            "kms:KeySpec": "RSA_2048",
        },
        "IpAddress": {"aws:SourceIp": "192.0.2.1"},
        "DateEquals": {"aws:CurrentTime": "2026-06-01T00:00:00Z"},
    }
    fakes.attach(statement("Allow", "kms:CreateKey", **conditions))
    facts: dict[str, Any] = {"kms:keyspec": "RSA_2048"}

    def found(stage: str) -> bool:
        brought = Brought(facts, request_tags={"stage": stage})
        return judge.decide_keyless(caller(), Action.CREATE_KEY, brought).allowed

    assert found("live")
    assert not found("test")


def test_a_session_is_held_to_its_roles_policies(judge: Judge, fakes: Fakes) -> None:
    fakes.attach(statement("Allow", "kms:ListKeys", ArnEquals={"aws:PrincipalArn": OPS.arn}))

    assert judge.decide_keyless(caller(OPS, NIGHT), Action.LIST_KEYS).allowed


def test_what_depends_on_nothing_is_decided_without_working_out_the_request(
    judge: Judge, fakes: Fakes
) -> None:
    fakes.attach(statement("Allow", "kms:ListKeys"))

    first, second = (judge.decide_keyless(caller(), Action.LIST_KEYS) for _ in range(2))

    assert first is second
    assert fakes.times == 1


def test_only_an_explicit_deny_forbids(judge: Judge, fakes: Fakes) -> None:
    assert judge.forbids(caller(), Action.LIST_RETIRABLE_GRANTS) is None

    fakes.attach(statement("Deny", "kms:ListRetirableGrants"))

    decision = judge.forbids(caller(), Action.LIST_RETIRABLE_GRANTS)
    assert decision is not None
    assert decision.basis is Basis.IDENTITY_POLICY_DENY
    assert judge.forbids(caller(OPERATOR), Action.LIST_RETIRABLE_GRANTS) is None
