"""The gate with everything behind it faked: order of decisions, and nothing without its record."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from tests import leftovers

from strongroomd.custody import refusals
from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.auditfacts import note_decision
from strongroomd.custody.clock import Clock
from strongroomd.custody.contextnotes import ContextNotes
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.judging import Judge, Nobody
from strongroomd.custody.passage import Passage
from strongroomd.domain import policy
from strongroomd.domain.actions import FOR_ANYONE, KEYLESS, MUTATIONS, OPERATORS_ONLY, Action
from strongroomd.domain.algorithms import KeySpec, QuotaClass
from strongroomd.domain.context import Context
from strongroomd.domain.errors import Reason, StrongroomError, denied
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.policy.evaluation import Authority
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import KeyManager, KeyState
from strongroomd.ports import Charge

ALICE = Principal("arn:aws:iam::111122223333:user/alice", "111122223333")
ADMIN = Principal("arn:aws:iam::111122223333:user/admin", "111122223333", administrator=True)


class Fakes:
    """Everything behind the gate, and the order in which it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.audit_fails_after = 1_000
        self.quota_left = 1_000
        self.manager = KeyManager.CUSTOMER
        self.refusals_left = 1_000
        self.state = KeyState.ENABLED
        self.records: list[dict[str, Any]] = []
        self.uses: list[tuple[str, str, int]] = []
        self.refused_count = 0
        self.wanted: list[tuple[str, str]] = []
        self.key_account = ""
        self.key_policy = policy.default_policy(ALICE.arn)

    async def find(self, account: str, text: str, field: str) -> Any:
        self.asked.append("find")
        if text != "key":
            raise denied("there is no such key")
        spec = KeySpec.SYMMETRIC_DEFAULT
        account = self.key_account or account
        key = SimpleNamespace(
            key_id="key", account=account, spec=spec, state=self.state, manager=self.manager
        )
        authority = Authority(policy.parse(self.key_policy), policy.Resource("arn:key", account))
        return SimpleNamespace(key=key, arn="arn:key", authority=authority, aliases=None)

    def spend(
        self, principal: Principal, key_id: str, class_: QuotaClass, cost: int, more: Sequence[Charge] = ()
    ) -> None:
        self.asked.append(("spend", class_, cost))
        if cost > self.quota_left:
            raise StrongroomError(Reason.QUOTA_EXCEEDED, retry_after=1.0)

    def spend_refusal(self, arn: str, cost: int = 1) -> StrongroomError | None:
        if self.refusals_left < cost:
            return StrongroomError(Reason.QUOTA_EXCEEDED, retry_after=0.02)
        self.refusals_left -= cost
        return None

    async def write(self, record: dict[str, Any]) -> None:
        self.asked.append(record["kind"])
        if len(self.records) >= self.audit_fails_after:
            raise StrongroomError(Reason.AUDIT_UNAVAILABLE)
        self.records.append(record)

    def count(self, key_id: str, operation: str, times: int = 1) -> None:
        self.uses.append((key_id, operation, times))

    def refused(self, error: StrongroomError) -> None:
        self.refused_count += 1

    def wanted_while_pending(self, key_id: str, principal: str) -> None:
        self.wanted.append((key_id, principal))


class Cases(UseCases):
    """Some use cases."""

    def __init__(self, gate: Gate, fakes: Fakes) -> None:
        super().__init__(gate)
        self._fakes = fakes
        self.changed = 0

    @gated(Action.ENCRYPT)
    async def use(self, passage: Passage, key: str, cost: int = 1) -> str:
        await passage.claim(key, cost=cost)
        self._fakes.asked.append("work")
        return "result"

    @gated(Action.ENCRYPT)
    async def use_under(self, passage: Passage, key: str, *contexts: Context) -> None:
        notes = ContextNotes(bytes(32), ["tenant"])
        for context in contexts:
            passage.under(notes.noting(context))
            await passage.claim(key)

    @gated(Action.DISABLE_KEY)
    async def mutate(self, passage: Passage, key: str, pause: float = 0.0) -> str:
        await passage.claim(key, Act.READ)
        await passage.intent()
        await asyncio.sleep(pause)
        self.changed += 1
        return "changed"

    @gated(Action.ENCRYPT)
    async def slow(self, passage: Passage, key: str) -> None:
        await passage.claim(key)
        await asyncio.sleep(60.0)

    @gated(Action.DECRYPT)
    async def all_items_refused(self, passage: Passage) -> str:
        with pytest.raises(StrongroomError):
            await passage.claim("other")
        return "batch"

    @gated(Action.DECRYPT)
    async def refused_batch(self, passage: Passage) -> None:
        with suppress(StrongroomError):
            await passage.claim("other")

    @gated(Action.GENERATE_MAC)
    async def token(self, passage: Passage) -> str:
        await passage.claim("key")
        return await passage.work(Lane.QUICK, self.worked())

    async def worked(self) -> str:
        self._fakes.asked.append("work")
        return "mac"

    @gated(Action.SIGN)
    async def crash(self, passage: Passage) -> None:
        raise KeyError("canary")

    @gated(Action.LIST_KEYS)
    async def keyless(self, passage: Passage) -> str:
        passage.claim_keyless()
        return "list"


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def cases(fakes: Fakes) -> Cases:
    admission = Admission(Clock(), dict.fromkeys(Lane, 10))
    judge = Judge(Clock(), fakes, Nobody())  # type: ignore[arg-type]
    gate = Gate(fakes, fakes, fakes, admission, fakes, fakes, judge)  # type: ignore[arg-type]
    return Cases(gate, fakes)


def caller(principal: Principal = ALICE) -> Caller:
    return Caller(principal, "req-1", time.monotonic() + 10.0, "peer")


async def refusal(call: Any) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        await call
    return caught.value


async def test_a_use_is_decided_charged_done_and_written_down_in_that_order(
    cases: Cases, fakes: Fakes
) -> None:
    assert await cases.use(caller(), "key") == "result"

    assert fakes.asked == ["find", ("spend", QuotaClass.SYMMETRIC, 1), "work", "outcome"]
    (record,) = fakes.records
    assert record == {
        "kind": "outcome",
        "action": "kms:Encrypt",
        "principal": ALICE.arn,
        "request_id": "req-1",
        "source": "peer",
        "door": "grpc",
        "outcome": "OK",
        "key": "arn:key",
        "decision": {"basis": "key-policy-allow", "ground": "key-default-1"},
    }
    assert fakes.uses == [("key", "Encrypt", 1)]


async def test_work_queues_as_its_callers_account_and_principal(
    cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows: list[object] = []
    enter = Admission.enter

    def entered(self: Admission, *arguments: Any) -> Any:
        flows.append(arguments[-1])
        return enter(self, *arguments)

    monkeypatch.setattr(Admission, "enter", entered)
    assert await cases.token(caller()) == "mac"

    assert flows == [(ALICE.account, ALICE.arn)]


async def test_a_call_that_waited_in_vain_does_no_work(
    cases: Cases, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise StrongroomError(Reason.OVERLOADED, retry_after=1.0)

    monkeypatch.setattr(Admission, "enter", lambda *_: "a turn")
    monkeypatch.setattr(Admission, "wait", refused)

    assert (await refusal(cases.token(caller()))).reason is Reason.OVERLOADED
    assert "work" not in fakes.asked


async def test_a_refused_caller_is_not_charged_and_nothing_is_done(cases: Cases, fakes: Fakes) -> None:
    fakes.key_policy = policy.default_policy(ADMIN.arn)

    error = await refusal(cases.use(caller(), "key"))

    assert error.reason is Reason.ACCESS_DENIED
    assert fakes.asked == ["find", "find", "outcome"], "asked again on the newest state, once"
    assert (fakes.records[0]["outcome"], fakes.refused_count, fakes.uses) == ("ACCESS_DENIED", 1, [])


async def test_policy_is_asked_before_the_state_and_the_state_before_the_quota(
    cases: Cases, fakes: Fakes
) -> None:
    fakes.state, fakes.quota_left = KeyState.DISABLED, 0

    assert (await refusal(cases.use(caller(), "key"))).reason is Reason.KEY_DISABLED
    fakes.key_policy = policy.default_policy(ADMIN.arn)
    assert (await refusal(cases.use(caller(), "key"))).reason is Reason.ACCESS_DENIED
    assert not any(isinstance(asked, tuple) for asked in fakes.asked)


async def test_unknown_and_forbidden_keys_are_refused_alike(cases: Cases, fakes: Fakes) -> None:
    unknown = await refusal(cases.use(caller(), "other"))
    fakes.key_policy = policy.default_policy(ADMIN.arn)
    forbidden = await refusal(cases.use(caller(), "key"))

    assert (unknown.reason, unknown.message, unknown.field) == (
        forbidden.reason,
        forbidden.message,
        forbidden.field,
    )


async def test_no_result_leaves_without_its_record(cases: Cases, fakes: Fakes) -> None:
    fakes.audit_fails_after = 0

    error = await refusal(cases.use(caller(), "key"))

    assert error.reason is Reason.AUDIT_UNAVAILABLE
    assert fakes.uses == []


async def test_no_refusal_leaves_without_its_record(cases: Cases, fakes: Fakes) -> None:
    fakes.audit_fails_after = 0

    assert (await refusal(cases.use(caller(), "other"))).reason is Reason.AUDIT_UNAVAILABLE


async def test_nothing_is_changed_whose_intent_cannot_be_written(cases: Cases, fakes: Fakes) -> None:
    fakes.audit_fails_after = 0

    assert (await refusal(cases.mutate(caller(), "key"))).reason is Reason.AUDIT_UNAVAILABLE
    assert cases.changed == 0


async def test_a_mutation_writes_intent_and_outcome(cases: Cases, fakes: Fakes) -> None:
    await cases.mutate(caller(), "key")

    assert [(r["kind"], r["outcome"]) for r in fakes.records] == [("intent", "PENDING"), ("outcome", "OK")]


async def test_a_mutation_is_finished_and_written_down_though_its_caller_goes_away(
    cases: Cases, fakes: Fakes
) -> None:
    call = asyncio.ensure_future(cases.mutate(caller(), "key", 0.05))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0.1)

    assert (cases.changed, fakes.records[-1]["outcome"]) == (1, "OK")


async def test_a_bug_is_internal_audited_and_says_nothing(cases: Cases, fakes: Fakes) -> None:
    error = await refusal(cases.crash(caller()))

    assert (error.reason, fakes.records[0]["outcome"]) == (Reason.INTERNAL, "INTERNAL")
    assert "canary" not in str(error)


async def test_calls_without_a_key_are_for_administrators(cases: Cases, fakes: Fakes) -> None:
    assert await cases.keyless(caller(ADMIN)) == "list"
    assert (await refusal(cases.keyless(caller()))).reason is Reason.ACCESS_DENIED
    assert [r["outcome"] for r in fakes.records] == ["OK", "ACCESS_DENIED"]


@pytest.mark.parametrize("action", sorted(OPERATORS_ONLY))
def test_what_is_for_operators_is_for_no_mere_administrator(cases: Cases, action: Action) -> None:
    operator = dataclasses.replace(ADMIN, operator=True)

    Passage(cases.gate, caller(operator), action).claim_keyless()
    with pytest.raises(StrongroomError) as caught:
        Passage(cases.gate, caller(ADMIN), action).claim_keyless()
    assert caught.value.reason is Reason.ACCESS_DENIED


def test_an_account_is_for_its_own_administrators_and_for_operators(cases: Cases) -> None:
    operator = dataclasses.replace(ADMIN, operator=True)
    reading = Action.DESCRIBE_PRINCIPAL

    Passage(cases.gate, caller(ADMIN), reading).claim_account("111122223333")
    Passage(cases.gate, caller(operator), reading).claim_account("444455556666")
    for who, account in ((ADMIN, "444455556666"), (ALICE, "111122223333"), (ADMIN, "")):
        with pytest.raises(StrongroomError) as caught:
            Passage(cases.gate, caller(who), reading).claim_account(account)
        assert caught.value.reason is Reason.ACCESS_DENIED


async def test_a_use_over_its_quota_is_refused_with_the_wait(cases: Cases, fakes: Fakes) -> None:
    fakes.quota_left = 4

    await cases.use(caller(), "key", 4)
    error = await refusal(cases.use(caller(), "key", 5))

    assert (error.reason, error.retry_after) == (Reason.QUOTA_EXCEEDED, 1.0)
    assert "work" not in fakes.asked[fakes.asked.index("outcome") + 1 :]


def _sets() -> Sequence[frozenset[Action]]:
    return KEYLESS, FOR_ANYONE


def test_no_action_is_both_for_anyone_and_for_administrators() -> None:
    administrators, anyone = _sets()

    assert not administrators & anyone
    assert not anyone & MUTATIONS


# --- callers who go away


async def test_a_use_whose_caller_goes_away_is_written_down_as_cancelled(cases: Cases, fakes: Fakes) -> None:
    call = asyncio.ensure_future(cases.slow(caller(), "key"))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await cases.gate.settle(1.0) == 0

    assert [(r["outcome"], r["key"]) for r in fakes.records] == [("CANCELLED", "arn:key")]
    assert fakes.uses == []


async def test_a_worker_that_ends_waits_for_mutations_that_callers_left_behind(
    cases: Cases, fakes: Fakes
) -> None:
    call = asyncio.ensure_future(cases.mutate(caller(), "key", 0.05))
    await asyncio.sleep(0.01)
    call.cancel()

    assert await cases.gate.settle(5.0) == 0
    assert (cases.changed, fakes.records[-1]["outcome"]) == (1, "OK")


async def test_a_worker_that_ends_does_not_wait_for_ever(cases: Cases) -> None:
    call = asyncio.ensure_future(cases.mutate(caller(), "key", 60.0))
    await asyncio.sleep(0.01)

    assert await cases.gate.settle(0.05) == 1
    for task in tuple(cases.gate._unfinished):
        task.cancel()
    await asyncio.gather(call, return_exceptions=True)


# --- refusals without end


async def flood(cases: Cases, fakes: Fakes, left: int, times: int) -> list[StrongroomError]:
    fakes.refusals_left = left
    return [await refusal(cases.use(caller(), "other")) for _ in range(times)]


async def test_refusals_above_their_quota_share_one_record(cases: Cases, fakes: Fakes) -> None:
    errors = await flood(cases, fakes, left=2, times=50)

    assert [e.reason for e in errors[:3]] == [Reason.ACCESS_DENIED] * 2 + [Reason.QUOTA_EXCEEDED]
    assert {e.retry_after for e in errors[2:]} == {0.02}
    assert len(fakes.records) == 2
    await cases.gate.settle(1.0)
    assert fakes.records[2:] == [
        {
            "kind": "outcome",
            "action": "strongroom:Refusals",
            "principal": ALICE.arn,
            "outcome": "QUOTA_EXCEEDED",
            "refusals": 48,
        }
    ]
    assert fakes.refused_count == 50


async def test_the_count_of_refusals_is_written_down_though_nobody_calls_again(
    cases: Cases, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "REFUSALS_REPORT_SECONDS", 0.01)
    await flood(cases, fakes, left=0, times=3)
    await asyncio.sleep(0.05)
    await flood(cases, fakes, left=0, times=4)
    await asyncio.sleep(0.05)

    assert [r["refusals"] for r in fakes.records] == [3, 4]


async def test_a_count_that_could_not_be_written_is_told_later(cases: Cases, fakes: Fakes) -> None:
    await flood(cases, fakes, left=0, times=3)
    fakes.audit_fails_after = 0
    await cases.gate.settle(1.0)
    fakes.audit_fails_after = 1_000
    await cases.gate.settle(1.0)

    assert [r["refusals"] for r in fakes.records] == [3]


async def test_a_throttled_flood_costs_no_record_each_and_keeps_its_own_wait(
    cases: Cases, fakes: Fakes
) -> None:
    fakes.quota_left, fakes.refusals_left = 0, 1
    errors = [await refusal(cases.use(caller(), "key")) for _ in range(20)]

    assert {(e.reason, e.retry_after) for e in errors} == {(Reason.QUOTA_EXCEEDED, 1.0)}
    assert len(fakes.records) == 1


async def test_a_flood_that_is_shed_costs_no_record_each_and_is_told_of_the_overload(
    cases: Cases, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shed(*_: object) -> None:
        raise StrongroomError(Reason.OVERLOADED, retry_after=1.0)

    monkeypatch.setattr(Admission, "enter", shed)
    fakes.refusals_left = 2
    errors = [await refusal(cases.token(caller())) for _ in range(20)]

    assert {(e.reason, e.retry_after) for e in errors} == {(Reason.OVERLOADED, 1.0)}
    assert [record["outcome"] for record in fakes.records] == ["OVERLOADED"] * 2


async def test_a_key_in_the_wrong_state_is_refused_at_the_same_price(cases: Cases, fakes: Fakes) -> None:
    fakes.state, fakes.refusals_left = KeyState.DISABLED, 0

    assert (await refusal(cases.use(caller(), "key"))).reason is Reason.QUOTA_EXCEEDED
    assert fakes.records == []


async def test_a_batch_whose_items_are_all_refused_pays_as_a_refusal(cases: Cases, fakes: Fakes) -> None:
    fakes.refusals_left = 1

    assert await cases.all_items_refused(caller()) == "batch"
    assert (await refusal(cases.all_items_refused(caller()))).reason is Reason.QUOTA_EXCEEDED
    assert len(fakes.records) == 1


async def test_what_a_quota_paid_for_is_no_refusal_to_be_charged(cases: Cases, fakes: Fakes) -> None:
    fakes.refusals_left = 0

    assert await cases.use(caller(), "key") == "result"
    call = asyncio.ensure_future(cases.slow(caller(), "key"))
    await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await cases.gate.settle(1.0)

    assert [r["outcome"] for r in fakes.records] == ["OK", "CANCELLED"]


async def test_faults_of_the_daemon_are_always_written_down(cases: Cases, fakes: Fakes) -> None:
    fakes.refusals_left = 0

    assert (await refusal(cases.crash(caller()))).reason is Reason.INTERNAL
    assert fakes.records[0]["outcome"] == "INTERNAL"


async def test_a_condition_is_held_against_the_call(cases: Cases, fakes: Fakes) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ALICE.arn},
        "Action": "kms:*",
        "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
    }
    fakes.key_policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    inside, outside = caller(), caller()
    inside.source, outside.source = "ipv4:192.0.2.7:1", "ipv4:198.51.100.7:1"

    assert await cases.use(inside, "key") == "result"
    assert (await refusal(cases.use(outside, "key"))).reason is Reason.ACCESS_DENIED
    assert (await refusal(cases.use(caller(), "key"))).reason is Reason.ACCESS_DENIED


async def test_a_condition_on_what_nobody_brought_refuses(cases: Cases, fakes: Fakes) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "kms:*",
        "Condition": {"StringNotEquals": {"kms:EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}},
    }
    fakes.key_policy = json.dumps({"Version": "2012-10-17", "Statement": statement})

    assert (await refusal(cases.use(caller(), "key"))).reason is Reason.ACCESS_DENIED
    assert fakes.records[-1]["outcome"] == "ACCESS_DENIED"


# --- what records tell of decisions and contexts

CONTEXT: Context = ((b"patient", b"patient-4711"), (b"tenant", b"blue"))


async def test_a_record_names_the_policy_that_decided(cases: Cases, fakes: Fakes) -> None:
    for name in ("", "duty", "rest"):
        passage = Passage(cases.gate, caller(), Action.ENCRYPT)
        note_decision(
            passage.facts,
            policy.Decision(allowed=True, ground="1", basis=policy.Basis.KEY_POLICY_ALLOW, policy=name),
        )
        assert passage.facts["decision"].get("policy", "") == name
        assert ("policy" in passage.facts["decision"]) == bool(name)


async def test_a_record_has_the_names_of_a_context_and_values_where_configured(
    cases: Cases, fakes: Fakes
) -> None:
    await cases.use_under(caller(), "key", CONTEXT)

    (record,) = fakes.records
    assert record["context"] == {"tenant": "blue"}
    assert record["context_hmac"].keys() == {"patient"}
    assert "patient-4711" not in json.dumps(record)


async def test_a_refusal_within_the_account_tells_the_context_too(cases: Cases, fakes: Fakes) -> None:
    fakes.key_policy = policy.default_policy(ADMIN.arn)

    assert (await refusal(cases.use_under(caller(), "key", CONTEXT))).reason is Reason.ACCESS_DENIED
    assert "context_hmac" in fakes.records[0]


async def test_a_refusal_by_another_accounts_key_is_told_as_by_none(cases: Cases, fakes: Fakes) -> None:
    fakes.key_account, fakes.key_policy = (
        "444455556666",
        policy.default_policy("arn:aws:iam::444455556666:user/bob"),
    )

    for name in ("key", "other"):
        assert (await refusal(cases.use_under(caller(), name, CONTEXT))).reason is Reason.ACCESS_DENIED
    real, ghost = fakes.records

    assert {**real, "named": ""} == {**ghost, "named": ""}
    assert not {"context", "context_hmac", "key", "decision"} & real.keys()


async def test_a_call_without_context_has_no_fields_of_one(cases: Cases, fakes: Fakes) -> None:
    await cases.use_under(caller(), "key", ())

    assert not [name for name in fakes.records[0] if "context" in name]


@pytest.mark.parametrize(("quota", "refusals"), [(1_000, 1_000), (0, 1_000), (0, 0), (1_000, 0)])
@pytest.mark.parametrize("key", ["key", "other"])
async def test_neither_use_nor_refusal_leaves_anything_to_the_garbage_collector(
    cases: Cases, fakes: Fakes, quota: int, refusals: int, key: str
) -> None:
    fakes.quota_left, fakes.refusals_left = quota, refusals
    with leftovers.counted() as left:
        for _ in range(5):
            with suppress(StrongroomError):
                await cases.use(caller(), key)

    assert not left


async def test_a_batch_that_is_refused_as_a_whole_leaves_nothing_to_the_garbage_collector(
    cases: Cases, fakes: Fakes
) -> None:
    fakes.refusals_left = 0
    with leftovers.counted() as left:
        for _ in range(5):
            with suppress(StrongroomError):
                await cases.refused_batch(caller())

    assert not left
