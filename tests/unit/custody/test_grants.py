"""Grants on a real token and store, without a daemon: memory, tokens, damage, and the end of their keys."""

import dataclasses
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from tests.faults.core import ACCOUNT, Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.custody import bringing, granttokens, upkeep
from strongroomd.custody import grants as use_cases
from strongroomd.custody.grants import ToRetire
from strongroomd.custody.granttokens import GrantTokens
from strongroomd.custody.judging import Judge
from strongroomd.custody.lending import Lending
from strongroomd.domain.actions import Action
from strongroomd.domain.context import EMPTY, Context, parse_context
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.grants import Constraints, NewGrant
from strongroomd.domain.policy.request import Basis, Decision
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import GrantRecord, KeyRecord, KeyState

BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
DAY = 86_400.0
ENCRYPT = frozenset({Action.ENCRYPT})


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


def bob(core: Core) -> Caller:
    return Caller(Principal(BOB, ACCOUNT), "test", core.clock.monotonic() + 60.0)


async def grant(core: Core, key: KeyRecord, **fields: object) -> use_cases.Granted:
    wanted = NewGrant(**({"grantee": BOB, "operations": ENCRYPT} | fields))  # type: ignore[arg-type]
    return await core.grants.create(core.caller(), key.key_id, wanted)


async def decide(core: Core, judge: Judge, key: KeyRecord, context: Context = EMPTY) -> Decision:
    entry = await core.catalog.entry(key.key_id)
    settled = judge.recall(entry, bob(core), Action.ENCRYPT)
    if settled is not None:
        return settled
    return await judge.decide(entry, bob(core), Action.ENCRYPT, partial(bringing.encryption, None, context))


async def refusal(call: object) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        await call  # type: ignore[misc]
    return caught.value


@pytest.mark.parametrize("trusted", [False, True])
def test_a_service_calls_for_its_resource_by_trust_and_not_by_its_name(trusted: bool) -> None:
    named = Principal(f"arn:aws:iam::{ACCOUNT}:service/backup", ACCOUNT, trusted=trusted)

    assert use_cases.for_service(Caller(named, "id", 0.0)) is trusted


async def test_a_caller_without_grants_is_decided_by_a_look_up(core: Core) -> None:
    key, other = await core.create(), await core.create()
    await grant(core, other)
    await decide(core, core.judge, key)

    entry = await core.catalog.entry(key.key_id)
    decision = core.judge.recall(entry, bob(core), Action.ENCRYPT)

    assert decision is not None
    assert decision.basis is Basis.NO_IDENTITY_POLICY


async def test_another_worker_learns_of_a_grant_from_the_journal_and_of_its_end(core: Core) -> None:
    key = await core.create()
    made = await grant(core, key)
    ledger = core.reborn()
    lending = Lending(ledger)
    judge = Judge(core.clock, core.catalog, core.directory, lending, GrantTokens(ledger, lending, core.vault))
    assert (await decide(core, judge, key)).basis is Basis.NO_IDENTITY_POLICY

    await judge.heed((made.token,))
    decision = await decide(core, judge, key)
    assert (decision.basis, decision.ground) == (Basis.GRANT_ALLOW, made.grant.grant_id)

    await core.grants.revoke(core.caller(), key.key_id, made.grant.grant_id)
    assert (await decide(core, core.judge, key)).basis is Basis.NO_IDENTITY_POLICY
    assert (await decide(core, judge, key)).basis is Basis.GRANT_ALLOW
    await ledger.follow()
    assert (await decide(core, judge, key)).basis is Basis.NO_IDENTITY_POLICY
    await judge.heed((made.token,))
    assert (await decide(core, judge, key)).basis is Basis.NO_IDENTITY_POLICY


async def test_a_worker_that_starts_knows_the_grants_that_there_are(core: Core) -> None:
    key = await core.create()
    ended, made = await grant(core, key), await grant(core, key)
    await core.grants.revoke(core.caller(), key.key_id, ended.grant.grant_id)
    ledger = core.reborn()
    await ledger.start()

    lending = Lending(ledger)

    assert lending.count(key.key_id) == 1
    decision = await decide(core, Judge(core.clock, core.catalog, core.directory, lending), key)
    assert (decision.basis, decision.ground) == (Basis.GRANT_ALLOW, made.grant.grant_id)


async def test_a_token_of_a_grant_that_ended_does_not_make_a_worker_read(core: Core) -> None:
    key = await core.create()
    made = await grant(core, key)
    await core.grants.revoke(core.caller(), key.key_id, made.grant.grant_id)
    followed = core.ledger._followed

    await core.judge.heed((made.token,))

    assert core.ledger._followed == followed


async def test_a_token_of_another_house_is_refused(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await core.create()
    made = await grant(core, key)

    async def other_house(_: bytes) -> bytes:
        return bytes(32)

    monkeypatch.setattr(core.vault, "row_mac", other_house)
    stranger = GrantTokens(core.ledger, core.lending, core.vault)

    assert (await refusal(stranger.heed((made.token,)))).reason is Reason.INVALID_GRANT_TOKEN


async def test_tokens_are_remembered_within_bounds(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granttokens, "_REMEMBERED", 3)
    key = await core.create()
    made = [(await grant(core, key)).token for _ in range(5)]

    await core.judge.heed(tuple(made))

    assert len(core.tokens._verified) == 3


async def test_many_grants_of_one_caller_are_read_in_pages_and_told_apart(core: Core) -> None:
    key = await core.create()
    for number in range(40):
        await grant(core, key, constraints=Constraints(subset=(("volume", str(number)),)))

    decision = await decide(core, core.judge, key, parse_context({"volume": "17", "more": "x"}))
    assert decision.basis is Basis.GRANT_ALLOW
    assert (
        await decide(core, core.judge, key, parse_context({"volume": "40"}))
    ).basis is Basis.NO_IDENTITY_POLICY

    await core.grants.revoke(core.caller(), key.key_id, decision.ground)
    again = await decide(core, core.judge, key, parse_context({"volume": "17"}))
    assert again.basis is Basis.NO_IDENTITY_POLICY


async def test_a_dry_run_under_a_used_request_id_is_no_answer_to_rely_on(core: Core) -> None:
    key = await core.create()
    by_id, by_token = await grant(core, key), await grant(core, key)
    retired = ToRetire(token=by_token.token)
    await core.grants.revoke(core.caller(), key.key_id, by_id.grant.grant_id, "first")
    await core.grants.retire(core.caller(), retired, "second")

    for again in (
        core.grants.revoke(core.caller(), key.key_id, by_id.grant.grant_id, "first", dry_run=True),
        core.grants.retire(core.caller(), retired, "second", dry_run=True),
    ):
        assert (await refusal(again)).reason is Reason.DRY_RUN_SUCCEEDED


async def test_grants_beyond_the_limit_are_refused(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_cases, "MAX_GRANTS_PER_KEY", 2)
    key = await core.create()
    first = await grant(core, key, name="first")
    await grant(core, key)

    assert (await refusal(grant(core, key))).reason is Reason.LIMIT_EXCEEDED
    assert (await grant(core, key, name="first")).grant == first.grant
    await core.grants.retire(core.caller(), ToRetire(token=first.token))
    await grant(core, key)


async def test_a_destroyed_key_takes_its_grants_with_it(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_SWEPT", 2)
    key, other = await core.create(), await core.create()
    doomed = [await grant(core, key) for _ in range(5)]
    kept = await grant(core, other)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(7 * DAY + 60)

    await core.upkeep.settle()

    record = await core.ledger.read(KeyRecord, key.key_id)
    assert record is not None
    assert record.state is KeyState.DESTROYED
    for each in doomed:
        assert await core.ledger.read(GrantRecord, each.grant.record_id) is None
    assert core.lending.count(key.key_id) == 0
    assert await core.ledger.read(GrantRecord, kept.grant.record_id) == kept.grant


async def test_a_sweep_that_was_killed_is_taken_up_again(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_SWEPT", 2)
    monkeypatch.setattr(upkeep, "_SWEEPS", 1)
    key = await core.create()
    for _ in range(5):
        await grant(core, key)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(7 * DAY + 60)

    left = []
    for _ in range(4):
        await core.new_leader().settle()
        left.append(core.lending.count(key.key_id))

    assert left == [3, 1, 0, 0]


async def test_an_edited_grant_keeps_no_sweep_waiting(core: Core) -> None:
    key = await core.create()
    for _ in range(3):
        await grant(core, key)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(7 * DAY + 60)
    core.edit("UPDATE grants SET name = 'x' WHERE record_id = (SELECT MIN(record_id) FROM grants)")

    await core.upkeep.settle()

    assert core.lending.count(key.key_id) == 1


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE grants SET operations = 'Decrypt,Encrypt'",
        "UPDATE grants SET operations = 'Everything'",
        "UPDATE grants SET constraint_type = '', context = '[]'",
        "UPDATE grants SET grantee = 'arn:aws:iam::111122223333:user/eve'",
        "UPDATE grants SET mac = x'00'",
        "DELETE FROM grants",
    ],
)
async def test_a_grant_that_somebody_edited_is_not_believed(core: Core, edit: str) -> None:
    key = await core.create()
    await grant(core, key, constraints=Constraints(equals=(("a", "b"),)))
    core.edit(edit)

    assert (await refusal(decide(core, core.judge, key))).reason is Reason.INTEGRITY_FAILURE


async def test_a_grant_that_somebody_put_into_the_store_gives_nothing(core: Core) -> None:
    key = await core.create()
    made = await grant(core, key)
    ledger = core.reborn()
    await core.grants.revoke(core.caller(), key.key_id, made.grant.grant_id)
    forged = dataclasses.replace(made.grant, operations="Decrypt,Encrypt")
    async with core.store.transaction() as transaction:
        await transaction.put(forged, bytes(32))
    await ledger.start()
    lending = Lending(ledger)

    assert (
        await decide(core, Judge(core.clock, core.catalog, core.directory, lending), key)
    ).basis is Basis.NO_IDENTITY_POLICY
    assert await core.lending.find(made.grant.grant_id) is None


async def test_what_is_kept_in_memory_is_bounded(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroomd.custody.lending._MOST_GRANTS", 3)
    keys = [await core.create() for _ in range(5)]
    for key in keys:
        await grant(core, key)

    for key in keys * 2:
        assert (await decide(core, core.judge, key)).allowed
    assert core.lending._loaded <= 3


async def test_two_same_requests_at_once_with_a_name_make_one_grant(core: Core) -> None:
    import asyncio  # noqa: PLC0415 - for this test alone

    key = await core.create()

    made = await asyncio.gather(*(grant(core, key, name="n") for _ in range(8)))

    assert len({each.grant.grant_id for each in made}) == 1
    assert len({each.token for each in made}) == 8


async def test_a_child_whose_parent_ended_meanwhile_is_not_made(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await core.create()
    parent = await grant(core, key, operations=ENCRYPT | {Action.CREATE_GRANT})
    decided = core.judge.decide

    async def then_revoked(*arguments: object) -> Decision:
        decision = await decided(*arguments)  # type: ignore[arg-type]
        monkeypatch.undo()
        await core.grants.revoke(core.caller(), key.key_id, parent.grant.grant_id)
        return decision

    monkeypatch.setattr(core.judge, "decide", then_revoked)
    child = core.grants.create(bob(core), key.key_id, NewGrant(BOB, ENCRYPT))

    assert (await refusal(child)).reason is Reason.ACCESS_DENIED
    assert core.lending.count(key.key_id) == 0
