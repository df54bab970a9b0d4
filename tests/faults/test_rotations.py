"""Rotation on a real store and token: when it falls due, what keeps it back, and what is refused on demand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.faults.core import Core, make_core
from tests.hsmkeys import MADE, OpenedVault, plant

from strongroomd.custody.adoptions import NewAdoption
from strongroomd.custody.births import Births
from strongroomd.custody.diary import BY_UPKEEP
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.rotation import Rotation
from strongroomd.custody.schedules import Schedules
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import CustodyMode, KeyRecord, VersionRecord
from strongroomd.domain.rotations import MAX_ON_DEMAND, RotationType, ScheduleRecord

pytestmark = pytest.mark.softhsm
DAY = 86_400.0
HOUR = 3_600.0


@dataclass
class Meter:
    late: list[int] = field(default_factory=list)
    behind: int = 0

    def worn(self, percent: int, keys: int) -> None:
        return

    def overdue(self, keys: int) -> None:
        self.late.append(keys)

    def waiting(self, versions: int) -> None:
        self.behind = versions


@dataclass
class Rig:
    """A core with its rotation."""

    core: Core
    schedules: Schedules
    rotation: Rotation
    meter: Meter

    async def enabled(self, days: int = 90, mode: CustodyMode = CustodyMode.WRAPPED) -> str:
        key = await self.core.create(mode)
        await self.schedules.enable(self.core.caller(), key.key_id, days)
        return key.key_id

    async def version(self, key_id: str) -> int:
        return (await self.core.keys.describe(self.core.caller(), key_id)).current_version

    async def rotate(self, key_id: str) -> KeyRecord:
        return await self.core.keys.rotate(self.core.caller(), key_id)

    async def tick(self) -> None:
        """What the leader does each second and each ten."""
        await self.core.upkeep.checkpoint()
        await self.rotation.renew()


def rig_of(core: Core) -> Rig:
    mutations, meter = Mutations(core.ledger, core.store, core.vault, core.clock), Meter()
    births, believed = Births(mutations, core.vault), core.upkeep.clock_believed
    rotation = Rotation(core.gate, births, core.catalog, core.ledger, core.store, meter, core.clock, believed)
    return Rig(core, Schedules(core.gate, mutations, core.store), rotation, meter)


@pytest.fixture
async def rig(core: Core) -> Rig:
    return rig_of(core)


@pytest.fixture
async def own_rig(tmp_path: Path, own: OpenedVault) -> AsyncIterator[Rig]:
    core = await make_core(tmp_path, own)
    core.own_token = True
    yield rig_of(core)
    await core.close()


async def reason_of(job: object) -> Reason:
    with pytest.raises(StrongroomError) as refusal:
        await job  # type: ignore[misc]
    return refusal.value.reason


async def test_a_key_is_rotated_when_its_period_is_over_and_not_before(own_rig: Rig) -> None:
    rig, core = own_rig, own_rig.core
    key = await rig.enabled(90)

    for passed, expected in ((90 * DAY - 60, 1), (120, 2), (90 * DAY - 180, 2), (300, 3)):
        for _ in range(3):  # as time really passes: in steps that the checkpoints see
            core.clock.pass_time(passed / 3)
            await rig.tick()
        assert await rig.version(key) == expected

    await core.use(key, 1)
    await core.use(key, 2)
    await core.use(key)
    page = await rig.schedules.rotations(core.caller(), key)
    assert [(v.version, v.rotation) for v in page.versions] == [
        (2, RotationType.AUTOMATIC),
        (3, RotationType.AUTOMATIC),
    ]
    assert core.events.counted["emitted", "strongroom.key.rotated"] == 2
    upkeep = [r for r in core.audited(f"{BY_UPKEEP['principal']}") if r["action"] == "kms:RotateKeyOnDemand"]
    assert [r["kind"] for r in upkeep] == ["intent", "outcome"] * 2
    assert upkeep[-1]["scheduled"]["version"] == 2


@pytest.mark.parametrize("mode", MADE)
async def test_keys_of_both_modes_are_rotated(own_rig: Rig, mode: CustodyMode) -> None:
    key = await own_rig.enabled(90, mode)
    own_rig.core.clock.pass_time(90 * DAY)

    await own_rig.rotation.renew()

    assert await own_rig.version(key) == 2
    await own_rig.core.use(key, 1)
    await own_rig.core.use(key, 2)


async def test_two_leaders_at_once_make_one_version(rig: Rig) -> None:
    key = await rig.enabled()
    rig.core.clock.pass_time(90 * DAY)

    await asyncio.gather(rig.rotation.renew(), rig_of(rig.core).rotation.renew())

    assert await rig.version(key) == 2


async def test_a_key_that_is_not_enabled_is_rotated_once_it_is(rig: Rig) -> None:
    key = await rig.enabled()
    await rig.core.keys.disable(rig.core.caller(), key)
    rig.core.clock.pass_time(200 * DAY)
    await rig.rotation.renew()
    assert await rig.version(key) == 1

    await rig.core.keys.enable(rig.core.caller(), key)
    await rig.rotation.renew()

    assert await rig.version(key) == 2
    schedule = await rig.core.ledger.read(ScheduleRecord, key)
    assert schedule is not None
    assert abs(schedule.next_at - rig.core.clock.wall_ms() - 90 * DAY * 1000) < 60_000


async def test_a_key_that_waits_for_its_deletion_is_not_rotated(rig: Rig) -> None:
    key = await rig.enabled()
    await rig.core.keys.schedule_deletion(rig.core.caller(), key, 30)
    rig.core.clock.pass_time(95 * DAY)

    await rig.rotation.renew()

    versions = await rig.core.store.versions(key)
    assert len(versions) == 1


async def test_rotation_that_was_disabled_does_not_happen(rig: Rig) -> None:
    key = await rig.enabled()
    await rig.schedules.disable(rig.core.caller(), key)
    rig.core.clock.pass_time(90 * DAY)

    await rig.rotation.renew()

    assert await rig.version(key) == 1


@pytest.mark.parametrize("jump", [HOUR, 40 * DAY])
async def test_clock_that_jumps_forward_rotates_nothing_early(own_rig: Rig, jump: float) -> None:
    rig, clock = own_rig, own_rig.core.clock
    key = await rig.enabled(90)
    for _ in range(3):
        clock.pass_time(30 * DAY - 600)
        await rig.core.upkeep.checkpoint()
    await rig.rotation.renew()
    assert await rig.version(key) == 1

    clock.wall_offset += int(jump * 1000)
    await rig.rotation.renew()
    await rig.tick()
    assert await rig.version(key) == 1
    assert rig.core.meter.found["clock_jump"] == 1

    clock.pass_time(DAY + 1)  # the rest is over, and the day has really come
    await rig.tick()
    assert await rig.version(key) == 2


@pytest.mark.parametrize("jump", [HOUR, 40 * DAY])
async def test_clock_that_is_set_back_rotates_late_and_never_twice(own_rig: Rig, jump: float) -> None:
    rig, clock = own_rig, own_rig.core.clock
    key = await rig.enabled(90)
    await rig.tick()
    clock.wall_offset -= int(jump * 1000)
    await rig.tick()
    for _ in range(3):
        clock.pass_time(30 * DAY)
        await rig.tick()
    assert await rig.version(key) == 1

    clock.pass_time(jump + 1)
    await rig.tick()
    await rig.tick()

    assert await rig.version(key) == 2


async def test_a_schedule_that_was_edited_rotates_nothing_and_keeps_no_other_waiting(rig: Rig) -> None:
    edited, sound = await rig.enabled(), await rig.enabled()
    rig.core.clock.pass_time(80 * DAY)
    rig.core.edit("UPDATE schedules SET next_at = 5 WHERE key_id = ?", edited)
    await rig.rotation.renew()
    assert await rig.version(edited) == 1

    rig.core.clock.pass_time(10 * DAY)
    await rig.rotation.renew()

    assert [await rig.version(edited), await rig.version(sound)] == [1, 2]


async def test_rotations_that_are_hours_late_are_counted(rig: Rig) -> None:
    async def never() -> bool:
        return False

    await rig.enabled()
    rig.rotation._clock_believed = never
    rig.core.clock.pass_time(90 * DAY + HOUR / 2)
    await rig.rotation.renew()
    rig.core.clock.pass_time(HOUR)
    await rig.rotation.renew()

    assert rig.meter.late == [0, 1]


async def test_status_tells_period_date_and_what_was_asked_for(rig: Rig) -> None:
    key, caller = await rig.enabled(100), rig.core.caller()
    await rig.rotate(key)

    found = await rig.schedules.status(caller, key)

    assert found.schedule is not None
    assert (found.schedule.period_days, found.on_demand, found.key.current_version) == (100, 1, 2)
    never = await rig.schedules.status(caller, (await rig.core.create()).key_id)
    assert (never.schedule, never.on_demand) == (None, 0)


async def test_enabling_is_idempotent_by_its_request_id(rig: Rig) -> None:
    key, caller = (await rig.core.create()).key_id, rig.core.caller
    first = await rig.schedules.enable(caller(), key, 90, "the same")
    rig.core.clock.pass_time(DAY)

    again = await rig.schedules.enable(caller(), key, 90, "the same")
    other = await reason_of(rig.schedules.enable(caller(), key, 91, "the same"))

    assert (again, other) == (first, Reason.REQUEST_ID_REUSED)


async def test_disabling_what_was_never_enabled_changes_nothing(rig: Rig) -> None:
    key = (await rig.core.create()).key_id

    await rig.schedules.disable(rig.core.caller(), key)

    assert await rig.core.ledger.read(ScheduleRecord, key) is None


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        (KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC),
        (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY),
        (KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT),
    ],
)
async def test_only_symmetric_encryption_keys_rotate_by_themselves(
    rig: Rig, spec: KeySpec, usage: KeyUsage
) -> None:
    key = await rig.core.keys.create(rig.core.caller(), NewKey(spec, usage))

    refused = await reason_of(rig.schedules.enable(rig.core.caller(), key.key_id))

    assert refused is Reason.INVALID_KEY_USAGE


async def test_an_adopted_key_is_refused_by_name(own_rig: Rig) -> None:
    rig = own_rig
    plant(rig.core.opened.vault, label="old-master")
    made = await rig.core.adoptions.adopt(rig.core.caller(), NewAdoption(label="old-master"))

    with pytest.raises(StrongroomError) as refusal:
        await rig.schedules.enable(rig.core.caller(), made.key.key_id)

    assert refusal.value.reason is Reason.INVALID_KEY_STATE
    assert "adopted" in refusal.value.message


@pytest.mark.parametrize("state", ["disabled", "pending"])
async def test_rotation_is_enabled_for_enabled_keys_only(rig: Rig, state: str) -> None:
    key, caller = (await rig.core.create()).key_id, rig.core.caller()
    if state == "disabled":
        await rig.core.keys.disable(caller, key)
    else:
        await rig.core.keys.schedule_deletion(caller, key, 7)

    refused = await reason_of(rig.schedules.enable(rig.core.caller(), key))

    assert refused is (Reason.KEY_DISABLED if state == "disabled" else Reason.KEY_PENDING_DELETION)


async def test_the_26th_rotation_on_demand_is_refused_and_automatic_ones_go_on(own_rig: Rig) -> None:
    rig = own_rig
    key = await rig.enabled(90)
    for _ in range(MAX_ON_DEMAND):
        await rig.rotate(key)

    assert await reason_of(rig.rotate(key)) is Reason.LIMIT_EXCEEDED
    rig.core.clock.pass_time(90 * DAY)
    await rig.rotation.renew()

    assert await rig.version(key) == MAX_ON_DEMAND + 2
    assert await reason_of(rig.rotate(key)) is Reason.LIMIT_EXCEEDED
    await rig.core.use(key, 1)


async def test_a_refused_rotation_of_a_resident_key_makes_no_object(own_rig: Rig) -> None:
    rig = own_rig
    key = await rig.enabled(90, CustodyMode.RESIDENT)
    rig.core.clock.pass_time(90 * DAY - 600)

    refused = await reason_of(rig.rotate(key))

    assert refused is Reason.ROTATION_CONFLICT
    assert len(await rig.core.vault.list_resident()) == 1
    assert len(await rig.core.store.versions(key)) == 1


async def test_no_rotation_on_demand_within_twenty_minutes_of_an_automatic_one(rig: Rig) -> None:
    key, clock = await rig.enabled(90), rig.core.clock
    clock.pass_time(90 * DAY - 1_190)
    assert await reason_of(rig.rotate(key)) is Reason.ROTATION_CONFLICT
    clock.pass_time(1_195)
    await rig.rotation.renew()
    assert await reason_of(rig.rotate(key)) is Reason.ROTATION_CONFLICT

    clock.pass_time(1_200)
    rotated = await rig.rotate(key)

    assert rotated.current_version == 3


async def test_rotation_on_demand_does_not_move_the_schedule(rig: Rig) -> None:
    key = await rig.enabled(90)
    before = await rig.core.ledger.read(ScheduleRecord, key)

    await rig.rotate(key)

    assert await rig.core.ledger.read(ScheduleRecord, key) == before


async def test_the_reason_of_a_version_is_under_its_mac(rig: Rig) -> None:
    key = await rig.enabled(90)
    await rig.rotate(key)
    rig.core.edit("UPDATE versions SET rotation = 'AUTOMATIC' WHERE key_id = ? AND version = 2", key)

    with pytest.raises(StrongroomError) as refusal:
        await rig.core.ledger.read(VersionRecord, f"{key}/2")

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


async def test_the_history_comes_in_pages(rig: Rig) -> None:
    key = await rig.enabled(90)
    for _ in range(3):
        await rig.rotate(key)

    first = await rig.schedules.rotations(rig.core.caller(), key, 2)
    second = await rig.schedules.rotations(rig.core.caller(), key, 2, first.next_token)

    assert [v.version for v in (*first.versions, *second.versions)] == [2, 3, 4]
    assert second.next_token == ""
    versions = await rig.core.keys.versions(rig.core.caller(), key, 2)
    assert await reason_of(rig.schedules.rotations(rig.core.caller(), key, 2, versions.next_token)) is (
        Reason.INVALID_PAGE_TOKEN
    )
