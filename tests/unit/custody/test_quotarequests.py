"""Quota requests on a real token and store: who may ask, see and answer, what is one change, and what ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.core import ACCOUNT, ADMIN, Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.custody import quotarequests
from strongroomd.custody.ledger import Change
from strongroomd.custody.principals import NewPrincipal
from strongroomd.custody.quotarequests import RequestFilter, Wanted
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_QUOTA_REQUESTS
from strongroomd.domain.policy import default_policy
from strongroomd.domain.principals import Behalf, Caller, Principal, RoleSession
from strongroomd.domain.quota import LimitScope, Rate
from strongroomd.domain.quotarequests import Answer, Decision, QuotaRequestRecord, RequestState
from strongroomd.domain.records import LimitRecord, Record

DAY = 86_400.0
FOREIGN = "999988887777"
ALICE = Principal(f"arn:aws:iam::{ACCOUNT}:user/alice", ACCOUNT)
BOSS = Principal(f"arn:aws:iam::{ACCOUNT}:user/boss", ACCOUNT, administrator=True)
ROLE = Principal(f"arn:aws:iam::{ACCOUNT}:role/night", ACCOUNT)
SERVICE = Principal(f"arn:aws:iam::{ACCOUNT}:service/relay", ACCOUNT, trusted=True)
STRANGER = Principal(f"arn:aws:iam::{FOREIGN}:user/stranger", FOREIGN)
FOREIGN_BOSS = Principal(f"arn:aws:iam::{FOREIGN}:user/boss", FOREIGN, administrator=True)
RSA = Wanted(LimitScope.CLASS, "RSA", Rate(50, 60), "payday")
MYSELF = Wanted(LimitScope.PRINCIPAL, ALICE.arn, Rate(5, 5))
YES, NO = Answer(Decision.APPROVE), Answer(Decision.DENY, note="no")
LIMIT = f"CLASS/{ACCOUNT}/RSA"


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


def by(core: Core, principal: Principal) -> Caller:
    return Caller(principal, "call", core.clock.monotonic() + 60.0)


async def ask(core: Core, who: Principal = ALICE, wanted: Wanted = RSA, **options: Any) -> QuotaRequestRecord:
    return await core.requests.request(by(core, who), wanted, **options)


async def refused(call: Awaitable[object]) -> tuple[Reason, str | None, str]:
    with pytest.raises(StrongroomError) as caught:
        await call
    return caught.value.reason, caught.value.field, caught.value.message


async def reason(call: Awaitable[object]) -> Reason:
    return (await refused(call))[0]


async def state(core: Core, request: QuotaRequestRecord) -> RequestState:
    record = await core.ledger.read(QuotaRequestRecord, request.id)
    assert record is not None
    return record.state


async def told(core: Core) -> list[tuple[str, str]]:
    """The events so far: type, and who caused it."""
    events = [event for event, _ in await core.store.outbox.events(0, 100)]
    return [(event.type.removeprefix("strongroom."), event.principal) for event in events]


# --- asked and answered


async def test_an_approval_is_in_force_and_request_and_answer_are_audited_and_told(core: Core) -> None:
    asked = await ask(core)
    done = await core.requests.answer(by(core, BOSS), asked.id, YES)

    assert (asked.account, asked.subject, asked.state) == (ACCOUNT, f"{ACCOUNT}/RSA", RequestState.PENDING)
    assert (asked.in_force_per_second, asked.in_force_burst) == (100_000, 100_000)
    assert (done.state, done.granted_per_second, done.granted_burst) == (RequestState.APPROVED, 50, 60)
    assert (done.closed_by, done.row_version) == (BOSS.arn, 2)
    assert core.gate.quotas.rate(LimitScope.CLASS, f"{ACCOUNT}/RSA") == Rate(50, 60)
    assert await told(core) == [
        ("quota.requested", ALICE.arn), ("limit.changed", BOSS.arn), ("quota.answered", BOSS.arn),
    ]  # fmt: skip
    for who, action, fact in ((ALICE, "RequestQuota", "asked"), (BOSS, "AnswerQuotaRequest", "granted")):
        intent, outcome = core.audited(who.arn)
        assert {intent["action"], outcome["action"]} == {f"strongroom:{action}"}
        assert [intent["outcome"], outcome["outcome"]] == ["PENDING", "OK"]
        assert (outcome["quota_request"], outcome["limit"]) == (asked.id, LIMIT)
        assert outcome[fact] == {"per_second": 50, "burst": 60}


async def test_what_people_wrote_is_in_no_event_and_no_audit_record(core: Core) -> None:
    asked = await ask(core, wanted=Wanted(LimitScope.CLASS, "RSA", Rate(5, 5), "a secret why"))
    await core.requests.answer(by(core, BOSS), asked.id, Answer(Decision.DENY, note="a secret note"))

    events = [event.data for event, _ in await core.store.outbox.events(0, 100)]
    records = core.audited(ALICE.arn) + core.audited(BOSS.arn)
    assert len(events) == 2
    assert len(records) == 4
    assert "secret" not in json.dumps([events, records])


async def test_another_limit_than_asked_may_be_granted_and_a_denial_sets_none(core: Core) -> None:
    less = await ask(core)
    no = await ask(core, wanted=MYSELF)

    done = await core.requests.answer(by(core, BOSS), less.id, Answer(Decision.APPROVE, Rate(20, 30), "less"))
    denied = await core.requests.answer(by(core, BOSS), no.id, NO)

    limit = await core.ledger.read(LimitRecord, LIMIT)
    assert limit is not None
    assert (limit.per_second, limit.burst, done.granted_per_second, done.note) == (20, 30, 20, "less")
    assert (denied.state, denied.note, denied.granted_burst) == (RequestState.DENIED, "no", 0)
    assert await core.ledger.read(LimitRecord, f"PRINCIPAL/{ALICE.arn}") is None


@pytest.mark.parametrize("kind", [LimitRecord, QuotaRequestRecord])
async def test_an_approval_that_is_cut_short_leaves_neither_half(
    core: Core, monkeypatch: pytest.MonkeyPatch, kind: type[Record]
) -> None:
    asked = await ask(core)
    put = Change.put

    async def dies(change: Change, record: Record) -> bytes:
        mac = await put(change, record)
        if isinstance(record, kind):
            raise ConnectionResetError
        return mac

    monkeypatch.setattr(Change, "put", dies)
    assert await reason(core.requests.answer(by(core, BOSS), asked.id, YES, "", "again")) is Reason.INTERNAL
    monkeypatch.undo()

    assert await core.ledger.read(LimitRecord, LIMIT) is None
    assert await state(core, asked) is RequestState.PENDING
    done = await core.requests.answer(by(core, BOSS), asked.id, YES, "", "again")
    assert done.state is RequestState.APPROVED


async def test_a_limit_that_is_there_is_replaced_and_was_told_when_it_was_asked(core: Core) -> None:
    await core.limits.put(core.caller(), LimitScope.CLASS, "RSA", 7, 8)
    asked = await ask(core)
    await core.limits.put(core.caller(), LimitScope.CLASS, "RSA", 9, 9)

    await core.requests.answer(by(core, BOSS), asked.id, YES)

    assert (asked.in_force_per_second, asked.in_force_burst) == (7, 8)
    limit = await core.ledger.read(LimitRecord, LIMIT)
    assert limit is not None
    assert (limit.per_second, limit.row_version) == (50, 3)


# --- who may ask


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(LimitScope.PRINCIPAL, BOSS.arn, Rate(1, 1)), Reason.ACCESS_DENIED),
        (Wanted(LimitScope.PRINCIPAL, f"{ALICE.arn}x", Rate(1, 1)), Reason.ACCESS_DENIED),
        (Wanted(LimitScope.CLASS, f"{FOREIGN}/RSA", Rate(1, 1)), Reason.ACCESS_DENIED),
        (Wanted(LimitScope.CLASS, "rsa", Rate(1, 1)), Reason.INVALID_FIELD),
        (Wanted(LimitScope.PRINCIPAL, "alice", Rate(1, 1)), Reason.INVALID_FIELD),
        (Wanted(LimitScope.KEY, "not a key", Rate(1, 1)), Reason.INVALID_FIELD),
        (Wanted(LimitScope.KEY, "", Rate(1, 1)), Reason.INVALID_FIELD),
    ],
)
async def test_nobody_asks_for_what_is_not_theirs(core: Core, wanted: Wanted, expected: Reason) -> None:
    assert await reason(ask(core, wanted=wanted)) is expected
    assert core.ledger.known(QuotaRequestRecord) == []


async def test_an_unknown_key_and_a_forbidden_one_are_one_answer_in_the_audit_log_too(core: Core) -> None:
    key = await core.create()
    names = (key.key_id, "00000000-0000-0000-0000-000000000000")

    answers = [
        await refused(ask(core, STRANGER, Wanted(LimitScope.KEY, f"{core.catalog.realm.key_arn(name, ACCOUNT)}", Rate(1, 1))))
        for name in names
    ]  # fmt: skip

    assert answers[0] == answers[1]
    assert answers[0][0] is Reason.ACCESS_DENIED
    first, second = ({*record} for record in core.audited(STRANGER.arn))
    assert first == second


async def test_whoever_may_describe_a_key_may_ask_for_it_and_its_own_account_answers(core: Core) -> None:
    key = await core.create()
    policy = json.loads(default_policy(ADMIN.arn))
    policy["Statement"].append(
        {"Effect": "Allow", "Principal": {"AWS": ALICE.arn}, "Action": "kms:DescribeKey", "Resource": "*"}
    )
    await core.keys.put_policy(core.caller(), key.key_id, json.dumps(policy))

    asked = await ask(core, wanted=Wanted(LimitScope.KEY, key.key_id, Rate(3, 4)))

    assert (asked.subject, asked.account, asked.in_force_per_second) == (key.key_id, ACCOUNT, 0)
    await core.requests.answer(by(core, BOSS), asked.id, YES)
    assert core.gate.quotas.rate(LimitScope.KEY, key.key_id) == Rate(3, 4)


async def policed(core: Core, principal: Principal, *denied: Action) -> None:
    """Deny a principal some actions by a policy of its own."""
    rooms = core.rooms
    if not core.directory.population(principal.account):
        await rooms.accounts.create(core.caller(), principal.account)
    await rooms.principals.create(core.caller(), NewPrincipal(principal.arn))
    statement = {"Effect": "Deny", "Action": list(denied), "Resource": "*"}
    await rooms.attachments.put_policy(
        core.caller(), principal.arn, "no", json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )


async def test_an_explicit_deny_keeps_from_asking_looking_and_cancelling(core: Core) -> None:
    asked = await ask(core)
    await policed(
        core, ALICE, Action.REQUEST_QUOTA, Action.GET_QUOTA_REQUEST, Action.LIST_QUOTA_REQUESTS,
        Action.CANCEL_QUOTA_REQUEST,
    )  # fmt: skip

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: ask(core, wanted=MYSELF),
        lambda: core.requests.get(by(core, ALICE), asked.id),
        lambda: core.requests.list_requests(by(core, ALICE), RequestFilter()),
        lambda: core.requests.cancel(by(core, ALICE), asked.id),
    ]

    assert [await reason(call()) for call in calls] == [Reason.ACCESS_DENIED] * 4
    assert await state(core, asked) is RequestState.PENDING


# --- who may answer


async def test_whoever_could_not_put_the_limit_does_not_answer_and_learns_nothing(core: Core) -> None:
    asked = await ask(core)
    await policed(core, BOSS, Action.PUT_LIMIT)

    for answer in (YES, NO):
        answers = {
            await refused(core.requests.answer(by(core, who), request, answer))
            for who in (ALICE, STRANGER, FOREIGN_BOSS, BOSS)
            for request in (asked.id, "0" * 32)
        }
        assert [found[0] for found in answers] == [Reason.ACCESS_DENIED]  # one answer for all of them
    assert await state(core, asked) is RequestState.PENDING


async def test_nobody_answers_their_own_request_not_even_an_operator(core: Core) -> None:
    of_boss, of_operator = await ask(core, BOSS), await ask(core, ADMIN)

    for who, own, others in ((BOSS, of_boss, of_operator), (ADMIN, of_operator, of_boss)):
        found, _, text = await refused(core.requests.answer(by(core, who), own.id, YES))
        assert (found, text) == (Reason.ACCESS_DENIED, "whoever asked for it may not answer it")
        assert await reason(core.requests.answer(by(core, who), own.id, NO)) is Reason.ACCESS_DENIED
        assert (await core.requests.answer(by(core, who), others.id, NO)).state is RequestState.DENIED


async def test_who_assumed_the_role_or_is_named_by_the_service_that_asked_does_not_answer(core: Core) -> None:
    session, relay = by(core, ROLE), by(core, SERVICE)
    session.session = RoleSession(ROLE.arn, "tonight", BOSS.arn, "", 0, "", 0)
    relay.behalf = Behalf(source_principal=BOSS.arn)

    for asker in (session, relay):
        asked = await core.requests.request(asker, RSA)
        assert await reason(core.requests.answer(by(core, BOSS), asked.id, YES)) is Reason.ACCESS_DENIED
        assert (await core.requests.answer(by(core, ADMIN), asked.id, NO)).state is RequestState.DENIED


async def test_an_answer_is_final_and_a_stale_etag_is_said_first(core: Core) -> None:
    asked = await ask(core)
    boss = by(core, BOSS)

    assert await reason(core.requests.answer(boss, asked.id, YES, "7")) is Reason.ETAG_MISMATCH
    await core.requests.answer(boss, asked.id, NO, "1")

    assert await reason(core.requests.answer(boss, asked.id, YES)) is Reason.REQUEST_ANSWERED
    assert await reason(core.requests.answer(boss, asked.id, YES, "1")) is Reason.ETAG_MISMATCH
    assert await reason(core.requests.cancel(by(core, ALICE), asked.id)) is Reason.REQUEST_ANSWERED
    assert await core.ledger.read(LimitRecord, LIMIT) is None


async def test_of_two_who_answer_at_once_one_is_heard(core: Core) -> None:
    asked = await ask(core)

    ended = await asyncio.gather(
        *(core.requests.answer(by(core, who), asked.id, YES) for who in (BOSS, ADMIN)), return_exceptions=True
    )

    errors = [each.reason for each in ended if isinstance(each, StrongroomError)]
    assert errors == [Reason.REQUEST_ANSWERED]


async def test_repeated_calls_get_their_first_answer(core: Core) -> None:
    asked = await ask(core, request_id="ask")
    assert await ask(core, request_id="ask") == asked
    assert await reason(ask(core, wanted=MYSELF, request_id="ask")) is Reason.REQUEST_ID_REUSED

    done = await core.requests.answer(by(core, BOSS), asked.id, YES, "", "answer")
    assert await core.requests.answer(by(core, BOSS), asked.id, YES, "", "answer") == done
    reused = core.requests.answer(by(core, BOSS), asked.id, NO, "", "answer")
    assert await reason(reused) is Reason.REQUEST_ID_REUSED


async def test_only_who_asked_cancels(core: Core) -> None:
    asked = await ask(core)

    answers = {
        await refused(core.requests.cancel(by(core, who), request))
        for who in (BOSS, ADMIN, STRANGER)
        for request in (asked.id, "0" * 32)
    }
    assert [found[0] for found in answers] == [Reason.ACCESS_DENIED]
    assert await reason(core.requests.cancel(by(core, ALICE), asked.id, "7")) is Reason.ETAG_MISMATCH

    done = await core.requests.cancel(by(core, ALICE), asked.id)
    assert (done.state, done.closed_by) == (RequestState.CANCELLED, ALICE.arn)
    assert await reason(core.requests.answer(by(core, BOSS), asked.id, YES)) is Reason.REQUEST_ANSWERED
    assert (await told(core))[-1] == ("quota.request_cancelled", ALICE.arn)


# --- bounds


async def test_the_same_wish_waits_once_and_may_come_again(core: Core) -> None:
    asked = await ask(core)

    assert (await refused(ask(core)))[:2] == (Reason.ALREADY_EXISTS, "subject")
    other_spelling = Wanted(LimitScope.CLASS, f"{ACCOUNT}/RSA", Rate(9, 9))
    assert await reason(ask(core, wanted=other_spelling)) is Reason.ALREADY_EXISTS
    await ask(core, BOSS)  # somebody else's wish for the same class is their own affair
    await core.requests.cancel(by(core, ALICE), asked.id)

    assert (await ask(core)).state is RequestState.PENDING


async def keys_of(core: Core, count: int) -> list[Wanted]:
    """Wishes of the administrator for keys, each for one of its own."""
    keys = [(await core.create()).key_id for _ in range(count)]
    return [Wanted(LimitScope.KEY, key, Rate(1, 1)) for key in keys]


async def test_ten_wishes_of_a_principal_wait_and_not_one_more_however_they_race(core: Core) -> None:
    wishes = await keys_of(core, MAX_QUOTA_REQUESTS + 3)

    ended = await asyncio.gather(*(ask(core, ADMIN, wish) for wish in wishes), return_exceptions=True)

    made = [each for each in ended if isinstance(each, QuotaRequestRecord)]
    errors = [each.reason for each in ended if isinstance(each, StrongroomError)]
    assert (len(made), errors) == (MAX_QUOTA_REQUESTS, [Reason.LIMIT_EXCEEDED] * 3)
    await core.requests.cancel(by(core, ADMIN), made[0].id)
    assert (await ask(core, ADMIN, RSA)).state is RequestState.PENDING


async def test_an_account_has_a_bound_of_its_own_that_strangers_do_not_fill(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotarequests, "MAX_QUOTA_REQUESTS_OF_ACCOUNT", 2)
    await ask(core, STRANGER)
    await ask(core)
    await ask(core, BOSS)

    refusal = await refused(ask(core, ADMIN))

    assert refusal == (Reason.LIMIT_EXCEEDED, None, "an account has at most 2 pending quota requests")
    assert (await ask(core, FOREIGN_BOSS)).state is RequestState.PENDING


async def test_who_asks_and_cancels_again_and_again_comes_to_an_end(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotarequests, "MAX_QUOTA_REQUESTS_KEPT", 3)
    for _ in range(3):
        await core.requests.cancel(by(core, ALICE), (await ask(core)).id)

    assert await reason(ask(core)) is Reason.LIMIT_EXCEEDED


# --- who sees what


async def test_everybody_sees_their_own_and_administrators_their_accounts(core: Core) -> None:
    alices, bosss, strangers = await ask(core), await ask(core, BOSS), await ask(core, STRANGER)
    everything = [alices.id, bosss.id, strangers.id]

    async def seen(who: Principal, **wanted: Any) -> list[str]:
        page = await core.requests.list_requests(by(core, who), RequestFilter(**wanted))
        for request in everything:
            allowed = request in [each.id for each in page.requests]
            if not wanted:
                call = core.requests.get(by(core, who), request)
                assert (await call).id == request if allowed else await reason(call) is Reason.ACCESS_DENIED
        return [each.id for each in page.requests]

    assert await seen(ALICE) == [alices.id]
    assert await seen(STRANGER) == [strangers.id]
    assert await seen(BOSS) == [alices.id, bosss.id]
    assert await seen(FOREIGN_BOSS) == [strangers.id]
    assert await seen(ADMIN) == everything
    assert await seen(BOSS, own=True) == [bosss.id]
    assert await seen(ADMIN, scope=LimitScope.KEY) == []
    await core.requests.answer(by(core, BOSS), alices.id, NO)
    assert await seen(BOSS, state=RequestState.PENDING) == [bosss.id]
    assert await seen(BOSS, state=RequestState.DENIED) == [alices.id]


async def test_what_cannot_be_seen_and_what_is_not_are_one_answer(core: Core) -> None:
    asked = await ask(core)

    answers = {
        await refused(core.requests.get(by(core, who), request))
        for who in (STRANGER, FOREIGN_BOSS, ROLE)
        for request in (asked.id, "0" * 32)
    }

    assert [found[0] for found in answers] == [Reason.ACCESS_DENIED]
    first, second = ({*record} for record in core.audited(ROLE.arn))
    assert first == second


async def test_pages_are_bound_to_their_filters(core: Core) -> None:
    wishes = [RSA, MYSELF, Wanted(LimitScope.CLASS, "ECC", Rate(1, 1))]
    asked = [(await ask(core, wanted=wish)).id for wish in wishes]
    boss = by(core, BOSS)

    first = await core.requests.list_requests(boss, RequestFilter(), 2)
    rest = await core.requests.list_requests(boss, RequestFilter(), 2, first.next_token)

    assert sorted(asked) == [each.id for each in [*first.requests, *rest.requests]]
    assert rest.next_token == ""
    for wanted in (RequestFilter(scope=LimitScope.CLASS), RequestFilter(own=True)):
        other = core.requests.list_requests(boss, wanted, 2, first.next_token)
        assert await reason(other) is Reason.INVALID_PAGE_TOKEN


# --- forgotten


async def test_a_closed_request_is_forgotten_after_90_days_and_one_that_waits_is_not(core: Core) -> None:
    closed, waiting = await ask(core), await ask(core, wanted=MYSELF)
    await core.upkeep.settle()
    await core.requests.answer(by(core, BOSS), closed.id, YES)

    core.clock.pass_time(90 * DAY - 60)
    await core.upkeep.purge()
    assert await state(core, closed) is RequestState.APPROVED
    core.clock.pass_time(120)
    await core.upkeep.purge()

    assert await core.ledger.read(QuotaRequestRecord, closed.id) is None
    assert await state(core, waiting) is RequestState.PENDING
    assert await core.ledger.read(LimitRecord, LIMIT) is not None
    await core.upkeep.scan()


async def test_a_clock_that_jumped_makes_nobody_forget(core: Core) -> None:
    closed = await ask(core)
    await core.requests.cancel(by(core, ALICE), closed.id)
    await core.upkeep.settle()

    core.clock.wall_offset += int(100 * DAY * 1000)
    await core.upkeep.purge()

    assert await state(core, closed) is RequestState.CANCELLED
