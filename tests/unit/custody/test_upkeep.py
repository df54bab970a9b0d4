"""Upkeep on a real token and store, with clocks that the test turns: what is due goes, and nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.faults.core import ADMIN, Core, make_core
from tests.hsmkeys import MADE, OpenedVault

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    KeyRecord,
    KeyState,
    VersionRecord,
    VersionState,
)

DAY = 86_400.0


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


async def state(core: Core, key: KeyRecord) -> KeyState:
    record = await core.ledger.read(KeyRecord, key.key_id)
    assert record is not None
    return record.state


@pytest.mark.parametrize("mode", list(MADE))
async def test_a_key_is_destroyed_when_its_time_has_come_and_not_before(
    core: Core, mode: CustodyMode
) -> None:
    key = await core.create(mode)
    await core.aliases.create(core.caller(), "alias/doomed", key.key_id)
    await core.keys.rotate(core.caller(), key.key_id)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    objects = len(await core.vault.list_resident())

    core.clock.pass_time(7 * DAY - 60)
    await core.upkeep.settle()
    assert await state(core, key) is KeyState.PENDING_DELETION
    core.clock.pass_time(120)
    await core.upkeep.settle()

    assert await state(core, key) is KeyState.DESTROYED
    for number in (1, 2):
        version = await core.ledger.read(VersionRecord, f"{key.key_id}/{number}")
        assert version is not None
        assert (version.state, version.blob, version.recovery_blob) == (VersionState.DESTROYED, b"", b"")
    assert await core.ledger.read(AliasRecord, f"{ADMIN.account}/alias/doomed") is None
    gone = 2 if mode is CustodyMode.RESIDENT else 0
    assert len(await core.vault.list_resident()) == objects - gone


async def test_a_destroyed_key_looks_like_one_that_never_was(core: Core) -> None:
    key = await core.create()
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(8 * DAY)
    await core.upkeep.settle()
    refusals = []
    for name in (key.key_id, "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(StrongroomError) as caught:
            await core.keys.describe(core.caller(), name)
        refusals.append((caught.value.reason, caught.value.message))

    assert refusals[0] == refusals[1]
    assert refusals[0][0] is Reason.ACCESS_DENIED


async def test_a_deletion_that_was_called_off_does_not_happen(core: Core) -> None:
    key = await core.create()
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    await core.keys.cancel_deletion(core.caller(), key.key_id)

    core.clock.pass_time(60 * DAY)
    await core.upkeep.settle()

    assert await state(core, key) is KeyState.DISABLED
    await core.keys.enable(core.caller(), key.key_id)
    await core.use(key.key_id)


async def test_destruction_is_audited_and_counted_once(core: Core) -> None:
    key = await core.create(CustodyMode.RESIDENT)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(8 * DAY)

    await core.upkeep.settle()
    await core.upkeep.settle()

    text = b"".join(p.read_bytes() for p in core.audit_folder.rglob("*.jsonl")).decode()
    assert text.count('"strongroom:DestroyKey"') == 2  # intent and outcome
    assert core.meter.found["destroyed"] == 1


async def test_answers_are_forgotten_after_a_day_and_the_id_is_then_new(core: Core) -> None:
    first = await core.create(request_id="once")
    core.clock.wall_offset += int((DAY - 60) * 1000)
    await core.upkeep.purge()
    assert (await core.create(request_id="once")).key_id == first.key_id

    core.clock.wall_offset += 120_000
    await core.upkeep.purge()

    assert (await core.create(request_id="once")).key_id != first.key_id


async def test_an_old_answer_that_nobody_purged_yet_is_still_the_answer(core: Core) -> None:
    first = await core.create(request_id="once")
    core.clock.pass_time(2 * DAY)

    assert (await core.create(request_id="once")).key_id == first.key_id


async def test_one_worker_is_elected_and_its_lease_runs_out(core: Core) -> None:
    assert await core.upkeep.elected()
    assert not await core.store.lease("upkeep", "other", core.clock.wall_ms(), 6.0)
    core.clock.pass_time(7.0)

    assert await core.store.lease("upkeep", "other", core.clock.wall_ms(), 6.0)
    assert not await core.upkeep.elected()


async def test_a_record_of_another_method_is_never_given_as_an_answer(core: Core) -> None:
    key = await core.create(request_id="once")

    with pytest.raises(StrongroomError) as caught:
        await core.keys.disable(core.caller(), key.key_id, request_id="once")

    assert caught.value.reason is Reason.REQUEST_ID_REUSED
