"""Events in a core on a real token and store: written with the change or not at all; alarms, rules, compliance."""

import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.core import ADMIN, Core, make_core
from tests.hsmkeys import MADE, OpenedVault

from strongroomd.custody.alarms import GAP_SECONDS, STREAK_SECONDS, Alarms, Streaks
from strongroomd.custody.bulletin import Bulletin
from strongroomd.custody.compliance import Compliance
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.rules import Rules
from strongroomd.custody.scribe import Scribe
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.delivery import COMPLIANCE, RULES, Delivery, Patience, Route, SinkState
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Event, Pattern
from strongroomd.domain.grants import NewGrant
from strongroomd.domain.principals import Caller, parse_principal
from strongroomd.domain.records import CustodyMode, KeyRecord, KeyState
from strongroomd.domain.rules import Rule, RuleAction
from strongroomd.storage.store import SqlStore

HOUR = 3_600.0
DAY = 86_400.0
OPEN = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}],
    }
)


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    await made.store.outbox.register([RULES])
    yield made
    await made.close()


def scribe(core: Core) -> Scribe:
    assert core.ledger.scribe is not None
    return core.ledger.scribe


async def happened(core: Core) -> list[Event]:
    return [event for event, _ in await core.store.outbox.events(0, 1_000)]


async def types(core: Core) -> list[str]:
    return [event.type.removeprefix("strongroom.") for event in await happened(core)]


async def test_an_event_names_who_did_it_and_by_which_call_and_its_mac_is_ours(core: Core) -> None:
    caller = Caller(ADMIN, "request-7", core.clock.monotonic() + 60)
    key = await core.keys.create(caller, NewKey(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, None))

    [(event, mac)] = await core.store.outbox.events(0, 10)

    assert (event.principal, event.request_id) == (ADMIN.arn, "request-7")
    assert event.subject == f"arn:aws:kms:eu-test-1:{ADMIN.account}:key/{key.key_id}"
    assert await scribe(core).is_ours(event, mac)
    assert core.events.counted["emitted", "strongroom.key.created"] == 1


@pytest.mark.parametrize(
    "column", ["type", "subject", "sequence", "time", "principal", "request_id", "data", "mac"]
)
async def test_an_event_that_was_edited_is_not_ours(core: Core, column: str) -> None:
    await core.create()
    value = {"sequence": 9, "time": 9, "mac": b"\0" * 32}.get(column, "x")
    core.edit(f"UPDATE events SET {column} = ?", value)

    [(event, mac)] = await core.store.outbox.events(0, 10)

    assert not await scribe(core).is_ours(event, mac)


@pytest.mark.parametrize("mode", list(MADE))
async def test_every_kind_of_key_tells_of_its_life_once(core: Core, mode: CustodyMode) -> None:
    key = await core.create(mode)
    await core.keys.rotate(core.caller(), key.key_id)
    await core.aliases.create(core.caller(), "alias/doomed", key.key_id)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(8 * DAY)
    await core.upkeep.settle()
    await core.upkeep.settle()

    assert await types(core) == [
        "key.created", "key.rotated", "alias.created", "key.deletion_scheduled", "key.destroyed", "alias.deleted",
    ]  # fmt: skip
    events = await happened(core)
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event.principal for event in events[-2:]] == ["strongroom", "strongroom"]


async def test_a_change_that_fails_leaves_no_event_and_no_gap(core: Core) -> None:
    key = await core.create()

    async def die_in_the_middle() -> None:
        async with core.ledger.change() as change:
            current = await change.get(KeyRecord, key.key_id)
            assert current is not None
            await change.put(dataclasses.replace(current, state=KeyState.DISABLED, row_version=2))
            raise RuntimeError("died")

    with pytest.raises(RuntimeError):
        await die_in_the_middle()
    with pytest.raises(StrongroomError):
        await core.keys.disable(core.caller(), key.key_id, etag="99")
    await core.keys.disable(core.caller(), key.key_id)

    assert [(event.position, event.sequence) for event in await happened(core)] == [(1, 1), (2, 2)]


async def test_a_repeated_call_is_one_event(core: Core) -> None:
    first = await core.create(request_id="once")
    again = await core.create(request_id="once")

    assert first == again
    assert await types(core) == ["key.created"]


async def watched(core: Core, cursor: str) -> list[int | str]:
    """Positions that a watcher gets up to the newest, and the reason it ends for, if it does before."""
    bulletin = Bulletin(core.gate, core.store.outbox, scribe(core), lambda: ())
    newest = str((await core.store.outbox.span())[1])
    found: list[int | str] = []
    try:
        async for event, place in bulletin.watch(core.caller(), (), (), cursor):
            found.append(event.position)
            if place == newest:
                break
    except StrongroomError as error:
        found.append(error.reason.value)
    return found


async def test_no_watcher_skips_what_was_purged_between_dead_letters(core: Core) -> None:
    for _ in range(5):
        await core.create()
    outbox = core.store.outbox
    letters = [Delivery("s", position, "x", dead_at=core.clock.wall_ms()) for position in (2, 4)]
    await outbox.settle(SinkState(RULES, 5), put=letters)
    core.clock.pass_time(8 * DAY)
    assert await outbox.purge(events_before=core.clock.wall_ms(), dead_before=0, limit=100) == 3
    await core.create()

    assert {cursor: await watched(core, cursor) for cursor in "012345"} == {
        "0": [2, 4, 6],
        "1": [2, "NOT_FOUND"],
        "2": ["NOT_FOUND"],
        "3": [4, "NOT_FOUND"],
        "4": ["NOT_FOUND"],
        "5": [6],
    }


def alarms(core: Core) -> Alarms:
    return Alarms(scribe(core), core.store, core.clock, "n1")


def throttled(bucket: str) -> StrongroomError:
    return StrongroomError(Reason.QUOTA_EXCEEDED, violations=((bucket, "text"),))


async def test_a_bucket_that_refuses_for_a_minute_is_one_event_whoever_sees_it(core: Core) -> None:
    key = await core.create()
    workers = [alarms(core), alarms(core)]
    for _ in range(14):
        for worker in workers:
            worker.refused(throttled(f"KEY/{key.key_id}"))
            await worker.flush()
        core.clock.pass_time(5.0)

    events = [event for event in await happened(core) if event.type == "strongroom.quota.exceeded"]
    assert len(events) == 1
    assert events[0].subject.endswith(key.key_id)
    assert events[0].facts()["refusals"] == 13


async def test_failures_are_told_with_their_count_at_most_once_a_minute(core: Core) -> None:
    worker = alarms(core)
    for _ in range(3):
        worker.audit_failed()
    worker.mac_failed()
    await worker.flush()
    worker.audit_failed()
    await worker.flush()
    await worker.flush()

    assert sorted(await types(core)) == ["audit.failure", "record.mac_failure"]
    assert [e.facts() for e in await happened(core) if e.type.endswith("audit.failure")] == [{"count": 3}]


async def test_alarms_outlive_a_store_that_is_away(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = alarms(core)
    worker.audit_failed()

    async def away(*_: Any, **__: Any) -> None:
        raise StrongroomError(Reason.STORE_UNAVAILABLE)

    with monkeypatch.context() as broken:
        broken.setattr(Scribe, "announce", away)
        with pytest.raises(StrongroomError):
            await worker.flush()
    await worker.flush()

    assert await types(core) == ["audit.failure"]


async def test_alarms_outlive_a_store_that_does_not_even_read(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await core.create()
    worker = alarms(core)
    for _ in range(14):
        worker.refused(throttled(f"KEY/{key.key_id}"))
        core.clock.pass_time(5.0)
    worker.audit_failed()

    async def away(*_: Any) -> None:
        raise StrongroomError(Reason.STORE_UNAVAILABLE)

    with monkeypatch.context() as broken:
        broken.setattr(SqlStore, "get", away)
        with pytest.raises(StrongroomError):
            await worker.flush()
    await worker.flush()

    assert await types(core) == ["key.created", "quota.exceeded", "audit.failure"]


async def test_a_damaged_record_silences_no_alarm(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await core.create()
    worker = alarms(core)
    for _ in range(14):
        worker.refused(throttled(f"KEY/{key.key_id}"))
        core.clock.pass_time(5.0)
    worker.mac_failed()

    async def damaged(*_: Any) -> None:
        raise StrongroomError(Reason.INTEGRITY_FAILURE)

    monkeypatch.setattr(SqlStore, "get", damaged)
    await worker.flush()

    assert await types(core) == ["key.created", "quota.exceeded", "record.mac_failure"]


async def test_what_fails_within_the_minute_is_counted_in_the_next_event(core: Core) -> None:
    workers = [alarms(core), alarms(core)]
    for worker in workers:
        worker.audit_failed()
        await worker.flush()
    workers[0].audit_failed()
    workers[0].audit_failed()
    for worker in workers:
        await worker.flush()
        core.clock.pass_time(61.0)
        await worker.flush()
        await worker.flush()

    told = [event.facts() for event in await happened(core)]
    assert told == [{"count": 1}, {"count": 2}, {"count": 1}]


def test_a_streak_ends_with_a_pause() -> None:
    streaks = Streaks()

    assert not any(streaks.note("b", float(second)) for second in range(0, 55, 5))
    assert streaks.note("b", 50.0 + GAP_SECONDS + 0.1) == 0
    assert streaks.note("b", STREAK_SECONDS + 5.0) == 0
    assert streaks.note("other", 200.0) == 0


def rules(core: Core, *wanted: Rule, routes: dict[str, Route] | None = None) -> Rules:
    made = Rules(
        core.store.outbox,
        core.store,
        scribe(core),
        core.keys,
        core.clock,
        core.events,
        lambda arn: parse_principal(arn, "principal"),
    )
    made.use(wanted, routes or {})
    return made


def enabling(principal: str = ADMIN.arn, most: int = 2) -> Rule:
    pattern = Pattern(types=("strongroom.key.disabled",))
    return Rule("keep", pattern, RuleAction.ENABLE_KEY, principal, "", most)


async def state(core: Core, key: KeyRecord) -> KeyState:
    record = await core.ledger.read(KeyRecord, key.key_id)
    assert record is not None
    return record.state


async def test_a_rule_acts_so_often_an_hour_and_after_the_hour_again(core: Core) -> None:
    key, other = await core.create(), await core.create()
    at_work = rules(core, enabling())
    for expected in (KeyState.ENABLED, KeyState.ENABLED, KeyState.DISABLED):
        await core.keys.disable(core.caller(), key.key_id)
        await at_work.apply()
        assert await state(core, key) is expected
    await core.keys.disable(core.caller(), other.key_id)
    await at_work.apply()
    assert await state(core, other) is KeyState.ENABLED, "it counts for each key"

    assert (await types(core)).count("rule.suppressed") == 1
    await core.keys.enable(core.caller(), key.key_id)
    core.clock.pass_time(HOUR + 1)
    await core.keys.disable(core.caller(), key.key_id)
    await rules(core, enabling()).apply()
    assert await state(core, key) is KeyState.ENABLED
    assert core.events.counted["fired", "keep", "done"] == 4


async def test_a_new_rule_looks_at_new_events_only(core: Core) -> None:
    old, new = await core.create(), await core.create()
    at_work = rules(core)
    await at_work.apply()
    await core.keys.disable(core.caller(), old.key_id)
    await at_work.apply()

    at_work.use([enabling()], {})
    await core.keys.disable(core.caller(), new.key_id)
    await at_work.apply()

    assert [await state(core, key) for key in (old, new)] == [KeyState.DISABLED, KeyState.ENABLED]


@pytest.mark.parametrize("ended", [True, False])
async def test_a_worker_that_comes_with_a_new_rule_begins_where_the_last_one_was(
    core: Core, ended: bool
) -> None:
    key = await core.create()
    first = rules(core)
    await first.apply()
    await core.keys.disable(core.caller(), key.key_id)
    await first.apply()
    if ended:
        await first.settle()
    else:  # killed, but not within the second
        core.clock.pass_time(1.0)
        await first.apply()

    await rules(core, enabling()).apply()

    assert await state(core, key) is KeyState.DISABLED


async def test_events_that_concern_no_rule_are_not_a_write_each(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, settle, writes = rules(core), core.store.outbox.settle, 0

    async def counted(*what: Any) -> None:
        nonlocal writes
        writes += 1
        await settle(*what)

    moment = core.clock.monotonic()
    monkeypatch.setattr(core.clock, "monotonic", lambda: moment)
    monkeypatch.setattr(core.store.outbox, "settle", counted)
    for _ in range(5):
        await core.create()
        await at_work.apply()

    assert writes == 1


async def test_two_rules_that_fight_come_to_rest(core: Core) -> None:
    key = await core.create()
    against = Rule(
        "against", Pattern(types=("strongroom.key.enabled",)), RuleAction.DISABLE_KEY, ADMIN.arn, "", 3
    )
    at_work = rules(core, enabling(most=3), against)
    await core.keys.disable(core.caller(), key.key_id)

    await at_work.apply()
    await at_work.apply()

    told = await types(core)
    assert (told.count("key.enabled"), told.count("key.disabled")) == (3, 4)
    assert told.count("rule.suppressed") == 1


async def test_a_rule_can_switch_the_key_that_is_lent(core: Core) -> None:
    key = await core.create()
    wary = Rule(
        "wary", Pattern(types=("strongroom.grant.created",)), RuleAction.DISABLE_KEY, ADMIN.arn, "", 3
    )
    lent = NewGrant(f"arn:aws:iam::{ADMIN.account}:user/bob", frozenset({Action.ENCRYPT}))
    await core.grants.create(core.caller(), key.key_id, lent)

    await rules(core, wary).apply()

    assert await state(core, key) is KeyState.DISABLED


async def test_a_rule_of_keys_that_is_called_for_callers_fails_and_comes_to_rest(core: Core) -> None:
    astray = Rule("astray", Pattern(types=("strongroom.*",)), RuleAction.DISABLE_KEY, ADMIN.arn, "", 2)
    at_work = rules(core, astray)
    await core.rooms.accounts.create(core.caller(), "444455556666")

    await at_work.apply()
    await at_work.apply()

    told = await types(core)
    assert told[:2] == ["account.created", "principal.created"]
    assert (told.count("rule.failed"), told.count("rule.suppressed")) == (4, 1), "two for each subject"


async def test_a_rule_that_is_applied_again_after_a_kill_acts_once(core: Core) -> None:
    key = await core.create()
    await core.keys.disable(core.caller(), key.key_id)
    await rules(core, enabling(most=1)).apply()
    await core.keys.disable(core.caller(), key.key_id)
    core.edit("UPDATE sinks SET position = 1 WHERE name = ?", RULES)

    await rules(core, enabling(most=1)).apply()

    told = await types(core)
    assert told.count("key.enabled") == 1, "the first event's action is answered from its first answer"
    assert await state(core, key) is KeyState.DISABLED


async def test_a_rules_principal_has_no_rights_but_those_of_the_policy(core: Core) -> None:
    key = await core.create()
    await core.keys.disable(core.caller(), key.key_id)

    await rules(core, enabling(f"arn:aws:iam::{ADMIN.account}:role/nobody")).apply()

    assert await state(core, key) is KeyState.DISABLED
    failed = [event for event in await happened(core) if event.type == "strongroom.rule.failed"]
    assert failed[0].facts()["reason"] == "ACCESS_DENIED"
    assert core.events.counted["fired", "keep", "refused"] == 1


async def test_no_rule_acts_on_an_event_that_is_not_ours(core: Core) -> None:
    key = await core.create()
    await core.keys.disable(core.caller(), key.key_id)
    core.edit("UPDATE events SET principal = 'x'")

    await rules(core, enabling()).apply()

    assert await state(core, key) is KeyState.DISABLED


@pytest.mark.parametrize("reason", [Reason.HSM_UNAVAILABLE, Reason.STORE_UNAVAILABLE, Reason.QUOTA_EXCEEDED])
async def test_an_action_that_cannot_be_done_now_is_done_later(
    core: Core, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    key = await core.create()
    await core.keys.disable(core.caller(), key.key_id)
    at_work = rules(core, enabling(most=1))

    async def away(*_: Any) -> None:
        raise StrongroomError(reason)

    with monkeypatch.context() as broken:
        broken.setattr(core.keys, "enable", away)
        for _ in range(3):
            with pytest.raises(StrongroomError):
                await at_work.apply()
    await at_work.apply()

    assert await state(core, key) is KeyState.ENABLED


@pytest.mark.parametrize("reason", [Reason.QUOTA_EXCEEDED, Reason.DEADLINE_EXCEEDED])
async def test_what_one_key_has_not_got_stops_the_others_for_a_minute_only(
    core: Core, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    short, other = await core.create(), await core.create()
    for key in (short, other):
        await core.keys.disable(core.caller(), key.key_id)
    at_work, enable = rules(core, enabling()), core.keys.enable

    async def short_of_it(caller: Caller, subject: str, *more: str) -> Any:
        if subject.endswith(short.key_id):
            raise StrongroomError(reason)
        return await enable(caller, subject, *more)

    monkeypatch.setattr(core.keys, "enable", short_of_it)
    for _ in range(2):
        with pytest.raises(StrongroomError):
            await at_work.apply()
        core.clock.pass_time(30.5)
    await at_work.apply()

    assert [await state(core, key) for key in (short, other)] == [KeyState.DISABLED, KeyState.ENABLED]
    failed = [event.facts() for event in await happened(core) if event.type == "strongroom.rule.failed"]
    assert [fact["reason"] for fact in failed] == [reason.value]
    assert core.events.counted["fired", "keep", "refused"] == 1


async def test_what_nobody_has_is_waited_for(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await core.create()
    await core.keys.disable(core.caller(), key.key_id)
    at_work = rules(core, enabling())

    async def away(*_: Any) -> None:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    with monkeypatch.context() as broken:
        broken.setattr(core.keys, "enable", away)
        for _ in range(2):
            with pytest.raises(StrongroomError):
                await at_work.apply()
            core.clock.pass_time(HOUR)
    await at_work.apply()

    assert await state(core, key) is KeyState.ENABLED


async def test_a_notice_is_queued_for_its_sink_and_only_there(core: Core) -> None:
    patience = Patience(5, 1)
    routes = {"quiet": Route("quiet", None, patience), "all": Route("all", Pattern(), patience)}
    pattern = Pattern(types=("strongroom.key.created",))
    tell = [Rule(f"tell-{s}", pattern, RuleAction.NOTIFY, "", s, 5) for s in routes]
    await core.create()

    await rules(core, *tell, routes=routes).apply()

    queued = await core.store.outbox.deliveries("quiet", dead=False, after=0, limit=10)
    assert [each.position for each in queued] == [1]
    assert await core.store.outbox.deliveries("all", dead=False, after=0, limit=10) == [], "it gets it anyway"


async def test_a_notice_is_sent_once_however_often_the_next_rule_is_postponed(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = {"quiet": Route("quiet", None, Patience(5, 1))}
    tell = Rule("tell", enabling().pattern, RuleAction.NOTIFY, "", "quiet", 5)
    key = await core.create()
    await core.keys.disable(core.caller(), key.key_id)
    at_work = rules(core, tell, enabling(), routes=routes)

    async def away(*_: Any) -> None:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    with monkeypatch.context() as broken:
        broken.setattr(core.keys, "enable", away)
        for _ in range(3):
            with pytest.raises(StrongroomError):
                await at_work.apply()
            sent = await core.store.outbox.deliveries("quiet", dead=False, after=0, limit=10)
            await core.store.outbox.settle(None, drop=sent)
    await at_work.apply()

    assert core.events.counted["fired", "tell", "done"] == 1
    assert await core.store.outbox.deliveries("quiet", dead=False, after=0, limit=10) == []
    assert await state(core, key) is KeyState.ENABLED


def compliance(core: Core, every: int = 3_600, unused: int = 90) -> Compliance:
    return Compliance(
        core.ledger, core.store, core.store.outbox, scribe(core), core.clock, core.events, every, unused
    )


async def test_findings_come_and_go_with_their_events(core: Core) -> None:
    key = await core.create()
    at_work = compliance(core)
    await at_work.run_if_due()
    await core.keys.put_policy(core.caller(), key.key_id, OPEN)
    await at_work.run_if_due()
    assert await core.store.outbox.findings(after=("", ""), limit=10) == [], "the next run is not due"
    core.clock.pass_time(HOUR)
    await at_work.run_if_due()
    [finding] = await core.store.outbox.findings(after=("", ""), limit=10)
    core.clock.pass_time(HOUR)
    await compliance(core).run_if_due()
    assert await core.store.outbox.findings(after=("", ""), limit=10) == [finding], "since is the first time"

    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    await core.keys.put_policy(core.caller(), key.key_id, json.dumps(json.loads(OPEN) | {"Statement": [
        json.loads(OPEN)["Statement"][0] | {"Principal": {"AWS": ADMIN.arn}}
    ]}))  # fmt: skip
    core.clock.pass_time(HOUR)
    await at_work.run_if_due()

    told = [
        (e.type.rpartition(".")[2], e.facts()["check"])
        for e in await happened(core)
        if "compliance" in e.type
    ]
    assert told == [
        ("finding", "POLICY_OPEN_TO_EVERYONE"),
        ("finding", "DELETION_PENDING"),
        ("resolved", "POLICY_OPEN_TO_EVERYONE"),
    ]
    assert core.events.gauges["found", "DELETION_PENDING"] == (1,)
    assert core.events.gauges["found", "POLICY_OPEN_TO_EVERYONE"] == (0,)


async def test_a_damaged_key_keeps_its_findings_and_no_other_key_from_being_judged(core: Core) -> None:
    damaged = await core.create()
    await core.keys.put_policy(core.caller(), damaged.key_id, OPEN)
    await compliance(core).run()
    core.edit("UPDATE keys SET policy = ? WHERE key_id = ?", damaged.policy, damaged.key_id)
    other = await core.create()
    await core.keys.put_policy(core.caller(), other.key_id, OPEN)
    core.clock.pass_time(HOUR)
    before = core.clock.wall_ms()

    await compliance(core).run_if_due()

    found = [f.subject.rpartition("/")[2] for f in await core.store.outbox.findings(after=("", ""), limit=10)]
    assert sorted(found) == sorted([damaged.key_id, other.key_id])
    states = {state.name: state.last_success for state in await core.store.outbox.sinks()}
    assert states[COMPLIANCE] >= before, "the next run waits for its hour"


async def test_a_key_is_unused_after_its_days_and_zero_hours_switch_it_all_off(core: Core) -> None:
    await core.create()
    core.clock.pass_time(91 * DAY)

    await compliance(core, every=0).run_if_due()
    assert await core.store.outbox.findings(after=("", ""), limit=10) == []
    await compliance(core).run()

    assert [f.check for f in await core.store.outbox.findings(after=("", ""), limit=10)] == ["UNUSED"]
