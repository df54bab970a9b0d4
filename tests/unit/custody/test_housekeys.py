"""House keys get successors, and keys move to them: on a real token and store, with workers beside this one."""

import dataclasses
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.failpoints import steps
from tests.faults.core import ADMIN, Core, make_core
from tests.faults.test_imports import bring
from tests.hsmkeys import OpenedVault, soon

from strongroomd.custody.history import signature_ok, verify_history
from strongroomd.custody.housekeys import HouseKeys, house_records, survey
from strongroomd.custody.houseupkeep import HouseUpkeep
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.rewrapper import Rewrapper
from strongroomd.custody.rewraps import Rewraps
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.audit import next_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import ON_DEMAND, House, checkpoint_key
from strongroomd.domain.importing import ImportType
from strongroomd.domain.principals import Caller
from strongroomd.domain.records import (
    HouseRecord,
    HouseState,
    KeyRecord,
    Origin,
    RewrapState,
    VersionRecord,
    VersionState,
)
from strongroomd.frontends.ops.signatures import checkpoint_verifier, successor_verifier
from strongroomd.hsm.house import open_household
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.observer import Silent
from strongroomd.hsm.sessions import Keeper
from strongroomd.hsm.templates import roles_in
from strongroomd.ports import AuditWanted
from strongroomd.storage.audit_pages import read_page
from strongroomd.storage.audit_reader import Report, verify
from strongroomd.storage.checkpoints import CheckpointFile, SignedCheckpoint
from strongroomd.storage.rows import encode
from strongroomd.telemetry import failpoints

STEPS = steps("rotate-kek")
OPERATOR = dataclasses.replace(ADMIN, operator=True)


class Died(BaseException):
    """What a kill is to the code under test: nothing catches it."""


class Moved:
    def __init__(self) -> None:
        self.versions = 0

    def moved(self, versions: int) -> None:
        self.versions += versions


@dataclass
class Scene:
    """A core with its own token, and the use cases of house keys."""

    core: Core
    own: OpenedVault
    keys: HouseKeys
    rewraps: Rewraps
    upkeep: HouseUpkeep
    moved: Moved

    @property
    def vault(self) -> TokenVault:
        return self.own.vault

    def caller(self) -> Caller:
        return dataclasses.replace(self.core.caller(), principal=OPERATOR)

    def rewrapper(self) -> Rewrapper:
        """As the worker has it that was elected just now."""

        async def at_once(_: float) -> None: ...

        core = self.core
        return Rewrapper(core.ledger, core.store, self.vault, core.audit, core.clock, self.moved, at_once)

    async def rotate(self, role: House, **how: str) -> HouseRecord:
        return await self.keys.rotate(self.caller(), role.value, **how)

    async def create(self, spec: KeySpec = KeySpec.HMAC_256, *, exportable: bool = True) -> VersionRecord:
        usage = KeyUsage.GENERATE_VERIFY_MAC if spec is KeySpec.HMAC_256 else KeyUsage.SIGN_VERIFY
        if spec is KeySpec.SYMMETRIC_DEFAULT:
            usage = KeyUsage.ENCRYPT_DECRYPT
        key = await self.core.keys.create(self.core.caller(), NewKey(spec, usage, exportable=exportable))
        return await self.version(key.key_id)

    async def version(self, key_id: str, number: int = 1) -> VersionRecord:
        record = await self.core.ledger.read(VersionRecord, f"{key_id}/{number}")
        assert record is not None
        return record

    async def house(self) -> list[HouseRecord]:
        return await house_records(self.core.ledger, self.core.store)

    @contextmanager
    def worker(self, house: list[HouseRecord] | None = None) -> Iterator[TokenVault]:
        """Another worker's vault, which knows the house keys of before, or these; a process logs in but once."""
        parts, quirks = self.vault._parts, self.vault._parts.login.module.quirks
        with parts.pool.fresh() as session:
            household = open_household(session, self.own.house if house is None else house, quirks)
        cradle, keepers = (
            dataclasses.replace(parts.cradle, house=household),
            [Keeper(parts.pool), Keeper(parts.pool)],
        )
        parts = dataclasses.replace(
            parts, house=household, cradle=cradle, keeper=keepers[0], slow_keeper=keepers[1]
        )
        vault = TokenVault(self.own.token.settings, parts, Silent())
        yield vault
        for lane in (vault._quick.lane, vault._slow, vault._birth, vault._objects.lane):
            lane.close()
        for keeper in keepers:
            keeper.close()


@pytest.fixture
async def scene(tmp_path: Path, own: OpenedVault) -> AsyncIterator[Scene]:
    core = await make_core(tmp_path, own)
    mutations = Mutations(core.ledger, core.store, core.vault, core.clock)
    upkeep = HouseUpkeep(core.ledger, core.store, own.vault, core.audit, core.clock, core.meter)
    keys = HouseKeys(core.gate, mutations, core.store, own.vault)
    yield Scene(core, own, keys, Rewraps(core.gate, mutations), upkeep, Moved())
    failpoints.arm(None)
    await core.close()


def dying_at(step: str) -> None:
    def told(reached: str) -> None:
        if reached == step:
            failpoints.arm(None)
            raise Died

    failpoints.arm(told)


@pytest.mark.parametrize("role", list(House))
async def test_every_role_gets_a_successor_that_a_fresh_worker_finds_and_proves(
    scene: Scene, role: House
) -> None:
    made = await scene.rotate(role)

    assert (made.generation, made.state) == (int(role not in ON_DEMAND), HouseState.ACTIVE)
    assert made.hsm_id in scene.vault._house.known
    after = await scene.create()
    with scene.worker(await scene.house()) as reborn:
        assert reborn._house.known == scene.vault._house.known
        assert (reborn._house.exportable, reborn._house.mac_tag, reborn.checkpoint_key) == (
            scene.vault._house.exportable,
            scene.vault._house.mac_tag,
            scene.vault.checkpoint_key,
        )
        assert await reborn.record_mac(b"data") == await scene.vault.record_mac(b"data")
        await Ledger(scene.core.store, reborn).follow()
    assert (after.kek_id == made.hsm_id) is (role is House.KEK_EXPORTABLE)


@pytest.mark.parametrize(("role", "exportable"), [(House.KEK_SEALED, False), (House.KEK_EXPORTABLE, True)])
async def test_new_versions_use_the_new_kek_and_old_ones_keep_theirs(
    scene: Scene, role: House, exportable: bool
) -> None:
    old = await scene.create(KeySpec.SYMMETRIC_DEFAULT, exportable=exportable)
    await scene.core.use(old.key_id)

    made = await scene.rotate(role)
    await scene.core.keys.rotate(scene.core.caller(), old.key_id)

    assert (await scene.version(old.key_id, 1)).kek_id == old.kek_id != made.hsm_id
    assert (await scene.version(old.key_id, 2)).kek_id == made.hsm_id
    scene.vault.forget(old.key_id)
    for number in (1, 2):
        await scene.core.use(old.key_id, number)
    found = {each.record.hsm_id: each for each in await survey(scene.core.ledger, scene.core.store)}
    assert (found[old.kek_id].versions, found[old.kek_id].in_use) == (1, False)
    assert (found[made.hsm_id].versions, found[made.hsm_id].in_use) == (1, True)


async def test_a_worker_that_has_not_heard_of_a_kek_finds_it_once_by_its_id(scene: Scene) -> None:
    with scene.worker() as neighbour:
        neighbour.housekeeping.source = scene.house
        await scene.rotate(House.KEK_EXPORTABLE)
        key = await scene.create(KeySpec.SYMMETRIC_DEFAULT)
        bound = await scene.core.catalog.version(await scene.core.catalog.entry(key.key_id))
        sealed = await scene.vault.seal(bound, b"text", b"", deadline=soon())

        assert await neighbour.open(bound, sealed, b"", deadline=soon()) == b"text"

        looks = 0

        async def counted() -> list[HouseRecord]:
            nonlocal looks
            looks += 1
            return await scene.house()

        neighbour.housekeeping.source = counted
        unknown = dataclasses.replace(bound, record=dataclasses.replace(bound.record, kek_id="00" * 16))
        for _ in range(5):
            with pytest.raises(StrongroomError) as refusal:
                await neighbour.seal(unknown, b"", b"", deadline=soon())
            assert refusal.value.reason is Reason.KEY_UNAVAILABLE
        assert looks <= 1


async def test_a_key_that_is_not_its_records_is_not_taken_up(scene: Scene) -> None:
    made = await scene.rotate(House.KEK_SEALED)
    with scene.worker() as neighbour:
        swapped = dataclasses.replace(made, role=House.KEK_EXPORTABLE.value)
        with pytest.raises(StrongroomError):
            await neighbour.take_up([swapped])
        damaged = dataclasses.replace(made, check_value=bytes(len(made.check_value)))
        with pytest.raises(StrongroomError):
            await neighbour.take_up([damaged])
        assert made.hsm_id not in neighbour._house.known
        assert neighbour._house.exportable == scene.vault._house.exportable


async def test_only_operators_see_or_replace_house_keys(scene: Scene) -> None:
    administrator = dataclasses.replace(scene.caller(), principal=dataclasses.replace(ADMIN, operator=False))
    for attempt in (
        lambda: scene.keys.list_keys(administrator),
        lambda: scene.keys.rotate(administrator, "kek-sealed"),
        lambda: scene.rewraps.start(administrator),
        lambda: scene.rewraps.get(administrator),
        lambda: scene.rewraps.cancel(administrator),
    ):
        with pytest.raises(StrongroomError) as refusal:
            await attempt()
        assert refusal.value.reason is Reason.ACCESS_DENIED
    assert {record.generation for record in await scene.house()} == {0}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"role": "kek"}, "role"), ({"role": ""}, "role"), ({"role": "kek-sealed", "token": "other"}, "token")],
)
async def test_what_is_no_role_or_token_is_refused(
    scene: Scene, arguments: dict[str, str], field: str
) -> None:
    with pytest.raises(StrongroomError) as refusal:
        await scene.keys.rotate(scene.caller(), **arguments)

    assert (refusal.value.reason, refusal.value.field) == (Reason.INVALID_FIELD, field)
    assert len(await scene.house()) == len(roles_in(""))


async def test_a_repeated_call_makes_no_second_key(scene: Scene) -> None:
    first = await scene.rotate(House.HEALTH, request_id="once")
    again = await scene.rotate(House.HEALTH, request_id="once")

    assert again.hsm_id == first.hsm_id
    assert len(await scene.house()) == len(roles_in("")) + 1


@pytest.mark.parametrize(
    ("role", "step"),
    [
        *((House.KEK_EXPORTABLE, step) for step in STEPS),
        (House.ROW_MAC, STEPS[1]),
        (House.CHECKPOINT, STEPS[1]),
    ],
)
async def test_a_kill_leaves_no_key_or_a_registered_one(scene: Scene, role: House, step: str) -> None:
    dying_at(step)
    with pytest.raises(Died):
        await scene.rotate(role)
    await scene.upkeep.settle()
    assert HouseState.INTENT in {r.state for r in await scene.house()} or step == "rotate-kek.3"
    scene.core.clock.pass_time(120)

    await scene.upkeep.settle()

    [successor] = [r for r in await scene.house() if r.generation == 1]
    there = step == "rotate-kek.3" or (step == "rotate-kek.2" and role is not House.CHECKPOINT)
    assert (successor.state is HouseState.ACTIVE) is there
    assert (successor.hsm_id in scene.vault._house.known) is (there and step != "rotate-kek.3")
    await scene.vault.take_up(await scene.house())
    await scene.create()
    await scene.upkeep.reconcile()
    orphan = step == "rotate-kek.2" and role is House.CHECKPOINT  # its public half went with who died
    assert scene.core.meter.found["orphan"] == orphan
    with scene.worker(await scene.house()) as reborn:
        assert reborn._house.known == {r.hsm_id for r in await scene.house() if r.state is HouseState.ACTIVE}


async def test_rewrap_moves_exportable_keys_and_no_other(scene: Scene) -> None:
    specs = (KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_256, KeySpec.ECC_NIST_P256, KeySpec.RSA_2048)
    old = [await scene.create(spec) for spec in specs]
    sealed = await scene.create(exportable=False)
    await scene.core.use(old[0].key_id)
    made = await scene.rotate(House.KEK_EXPORTABLE)
    new = await scene.create()

    job = await scene.rewraps.start(scene.caller())
    assert (job.total, job.rewrapped, job.state) == (4, 0, RewrapState.RUNNING)
    await scene.rewrapper().round()

    job = await scene.rewraps.get(scene.caller())
    assert (job.state, job.rewrapped, job.failed) == (RewrapState.DONE, 4, 0)
    for version in old:
        now = await scene.version(version.key_id)
        assert (now.kek_id, now.check_value, now.length) == (made.hsm_id, version.check_value, version.length)
        assert now.blob != version.blob
        bound = await scene.core.catalog.version(await scene.core.catalog.entry(version.key_id))
        # Compares attributes and proves the check value.
        scene.vault._held.loader.load(scene.vault._held._berths.keeper, bound)
    assert (await scene.version(sealed.key_id)) == sealed
    assert (await scene.version(new.key_id)) == new
    await scene.core.use(old[0].key_id)
    await scene.core.ledger.recheck()


async def test_rewrap_moves_material_that_waits_for_a_rotation(scene: Scene) -> None:
    core = scene.core
    key = await core.keys.create(
        core.caller(), NewKey(KeySpec.SYMMETRIC_DEFAULT, exportable=True), origin=Origin.EXTERNAL
    )
    await bring(core, key, os.urandom(32))
    await bring(core, key, os.urandom(32), kind=ImportType.NEW_KEY_MATERIAL)
    made = await scene.rotate(House.KEK_EXPORTABLE)

    assert (await scene.rewraps.start(scene.caller())).total == 2
    await scene.rewrapper().round()

    for number, state in ((1, VersionState.ACTIVE), (2, VersionState.PENDING_ROTATION)):
        version = await scene.version(key.key_id, number)
        assert (version.kek_id, version.state) == (made.hsm_id, state)
    await core.keys.rotate(core.caller(), key.key_id)
    await core.use(key.key_id, 1)
    await core.use(key.key_id, 2)


async def test_a_reader_of_the_old_row_goes_on(scene: Scene) -> None:
    key = await scene.create(KeySpec.SYMMETRIC_DEFAULT)
    before = await scene.core.catalog.version(await scene.core.catalog.entry(key.key_id))
    sealed = await scene.vault.seal(before, b"text", b"", deadline=soon())
    await scene.rotate(House.KEK_EXPORTABLE)
    await scene.rewraps.start(scene.caller())
    await scene.rewrapper().round()

    after = await scene.core.catalog.version(await scene.core.catalog.entry(key.key_id))

    assert after.record.kek_id != before.record.kek_id
    for bound in (before, after, before):
        assert await scene.vault.open(bound, sealed, b"", deadline=soon()) == b"text"


@pytest.mark.parametrize("step", steps("rewrap"))
async def test_a_killed_rewrap_goes_on_with_the_next_worker(scene: Scene, step: str) -> None:
    old = [await scene.create() for _ in range(5)]
    await scene.rotate(House.KEK_EXPORTABLE)
    await scene.rewraps.start(scene.caller())
    dying_at(step)
    with pytest.raises(Died):
        await scene.rewrapper().round()

    await scene.rewrapper().round()

    job = await scene.rewraps.get(scene.caller())
    assert (job.state, job.rewrapped, job.failed) == (RewrapState.DONE, 5, 0)
    assert {(await scene.version(v.key_id)).kek_id for v in old} == {job.target}


async def test_what_cannot_be_moved_stays_and_is_counted(scene: Scene) -> None:
    good, bad, worse = [await scene.create() for _ in range(3)]
    await scene.rotate(House.KEK_EXPORTABLE)
    scene.core.edit("UPDATE versions SET blob = ? WHERE record_id = ?", bytes(40), f"{bad.key_id}/1")
    scene.core.edit("UPDATE keys SET exportable = 0 WHERE record_id = ?", worse.key_id)
    await scene.rewraps.start(scene.caller())

    await scene.rewrapper().round()

    job = await scene.rewraps.get(scene.caller())
    assert (job.state, job.rewrapped, job.failed) == (RewrapState.DONE, 1, 2)
    assert (await scene.version(good.key_id)).kek_id == job.target


async def test_a_blob_of_other_material_is_never_taken_over(scene: Scene) -> None:
    """Even if the store could be made to believe it: the check value is asked in the token."""
    mine, other = await scene.create(), await scene.create()
    await scene.rotate(House.KEK_EXPORTABLE)
    bound = await scene.core.catalog.version(await scene.core.catalog.entry(mine.key_id))
    mixed = dataclasses.replace(bound, record=dataclasses.replace(bound.record, blob=other.blob))

    with pytest.raises(StrongroomError) as refusal:
        await scene.vault.rewrap(mixed, deadline=soon())

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE


async def test_a_sealed_key_cannot_be_rewrapped_by_the_token(scene: Scene) -> None:
    key = await scene.create(exportable=False)
    await scene.rotate(House.KEK_SEALED)
    bound = await scene.core.catalog.version(await scene.core.catalog.entry(key.key_id))

    for claimed in (False, True):
        with pytest.raises(StrongroomError) as refusal:
            await scene.vault.rewrap(dataclasses.replace(bound, exportable=claimed), deadline=soon())
        assert refusal.value.reason is Reason.KEY_UNAVAILABLE


async def test_a_cancelled_rewrap_moves_nothing_more(scene: Scene) -> None:
    old = await scene.create()
    await scene.rotate(House.KEK_EXPORTABLE)
    await scene.rewraps.start(scene.caller())

    cancelled = await scene.rewraps.cancel(scene.caller())
    await scene.rewrapper().round()

    assert cancelled.state is RewrapState.CANCELLED
    assert await scene.version(old.key_id) == old
    assert (await scene.rewraps.cancel(scene.caller())).row_version == cancelled.row_version


async def test_a_rewrap_that_is_cancelled_in_the_middle_of_a_batch_writes_nothing(scene: Scene) -> None:
    old = await scene.create()
    await scene.rotate(House.KEK_EXPORTABLE)
    await scene.rewraps.start(scene.caller())
    rewrapper = scene.rewrapper()
    commit = rewrapper._commit

    async def late(*args: Any) -> bool:
        await scene.rewraps.cancel(scene.caller())
        return await commit(*args)

    rewrapper._commit = late  # type: ignore[assignment,method-assign]
    await rewrapper.round()

    assert await scene.version(old.key_id) == old


async def test_there_is_nothing_to_say_of_a_rewrap_that_never_was(scene: Scene) -> None:
    for attempt in (scene.rewraps.get, scene.rewraps.cancel):
        with pytest.raises(StrongroomError) as refusal:
            await attempt(scene.caller())
        assert refusal.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("speed", [-1, 2_001])
async def test_a_speed_out_of_bounds_is_refused(scene: Scene, speed: int) -> None:
    with pytest.raises(StrongroomError) as refusal:
        await scene.rewraps.start(scene.caller(), per_second=speed)

    assert (refusal.value.reason, refusal.value.field) == (Reason.INVALID_FIELD, "per_second")


async def test_no_more_is_moved_in_a_round_than_was_asked_for(scene: Scene) -> None:
    for _ in range(5):
        await scene.create()
    await scene.rotate(House.KEK_EXPORTABLE)
    await scene.rewraps.start(scene.caller(), per_second=2)

    rewrapper = scene.rewrapper()
    await rewrapper.round()

    assert scene.moved.versions == 2
    for _ in range(4):
        await rewrapper.round()
    assert (await scene.rewraps.get(scene.caller())).rewrapped == 5


async def reseal_all(scene: Scene) -> None:
    while await scene.upkeep.reseal():
        pass


async def test_every_record_gets_a_mac_by_the_newest_key_and_says_what_it_said(scene: Scene) -> None:
    keys = [await scene.create() for _ in range(3)]
    entry = await scene.core.catalog.entry(keys[0].key_id)
    await scene.core.catalog.version(entry)
    await scene.rotate(House.ROW_MAC)
    tag = scene.vault.mac_tag
    assert len(tag) == 8

    await reseal_all(scene)

    for table in ("keys", "versions", "house"):
        macs = [row["mac"] for row in scene.core.rows(f"SELECT mac FROM {table}")]
        assert {mac[:8] for mac in macs} == {tag}
        assert {len(mac) for mac in macs} == {40}
    for key in keys:
        assert await scene.version(key.key_id) == key
    assert await scene.core.catalog.entry(keys[0].key_id) is entry  # nothing of it changed
    await scene.core.ledger.recheck()
    assert await scene.core.upkeep.scan(10_000) > 0


@pytest.mark.parametrize("step", steps("reseal"))
async def test_a_killed_resealing_goes_on(scene: Scene, step: str) -> None:
    await scene.create()
    await scene.rotate(House.ROW_MAC)
    dying_at(step)
    with pytest.raises(Died):
        await reseal_all(scene)

    await reseal_all(scene)

    assert {row["mac"][:8] for row in scene.core.rows("SELECT mac FROM keys")} == {scene.vault.mac_tag}


async def test_another_worker_believes_macs_of_a_key_that_it_has_not_seen(scene: Scene) -> None:
    with scene.worker() as neighbour:
        ledger = Ledger(scene.core.store, neighbour)
        await ledger.follow()
        await scene.rotate(House.ROW_MAC)
        key = await scene.create()

        await ledger.follow()

        assert await ledger.read(KeyRecord, key.key_id) is not None
        assert neighbour.mac_tag == b""  # it verifies with it, and uses it once its record is verified
        await neighbour.take_up(await house_records(ledger, scene.core.store))
        assert neighbour.mac_tag == scene.vault.mac_tag


@pytest.mark.parametrize("prefix", [b"", b"\0" * 8, b"\1" * 16])
async def test_a_mac_of_no_key_of_the_house_is_believed_by_nobody(scene: Scene, prefix: bytes) -> None:
    key = await scene.create()
    await scene.rotate(House.ROW_MAC)
    scene.core.edit("UPDATE keys SET mac = ? WHERE record_id = ?", prefix + bytes(32), key.key_id)

    with pytest.raises(StrongroomError) as refusal:
        await scene.core.ledger.read(KeyRecord, key.key_id)

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE
    assert not await scene.vault.record_mac_matches(b"data", prefix + bytes(32))


async def test_a_record_that_passes_another_key_off_as_a_mac_key_is_not_used(scene: Scene) -> None:
    """The canary's key is of the same make; who writes to the store knows its id and check value."""
    health = next(r for r in scene.own.house if r.role == House.HEALTH.value)
    false = dataclasses.replace(health, role=House.ROW_MAC.value, generation=9)
    columns = {"record_id": false.record_id, **encode(false), "mac": bytes(40)}
    marks = ", ".join("?" * len(columns))
    scene.core.edit(f"INSERT INTO house ({', '.join(columns)}) VALUES ({marks})", *columns.values())
    key = await scene.create()
    tag = bytes.fromhex(health.hsm_id)[:8]
    scene.core.edit("UPDATE keys SET mac = ? WHERE record_id = ?", tag + bytes(32), key.key_id)

    with pytest.raises(StrongroomError):
        await scene.core.ledger.read(KeyRecord, key.key_id)

    assert scene.vault.mac_tag == b""
    with pytest.raises(StrongroomError) as refusal:
        await scene.house()
    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


async def test_an_edited_record_is_not_resealed(scene: Scene) -> None:
    key = await scene.create()
    await scene.rotate(House.ROW_MAC)
    scene.core.edit("UPDATE keys SET description = 'edited' WHERE record_id = ?", key.key_id)

    await reseal_all(scene)

    with pytest.raises(StrongroomError):
        await scene.core.ledger.read(KeyRecord, key.key_id)
    [row] = scene.core.rows("SELECT mac FROM keys WHERE record_id = ?", key.key_id)
    assert len(row["mac"]) == 32


async def test_a_removed_house_key_is_missed(scene: Scene) -> None:
    made = await scene.rotate(House.KEK_SEALED)
    scene.core.edit("DELETE FROM house WHERE record_id = ?", made.record_id)

    with pytest.raises(StrongroomError) as refusal:
        await scene.house()

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


def audited(scene: Scene, held: SignedCheckpoint | None = None, *, follow: bool = True) -> Report:
    """What an auditor finds who has nothing but the first public key, as `init` wrote it."""
    first = checkpoint_verifier(checkpoint_key(scene.own.house))
    return verify(
        scene.core.audit_folder,
        first,
        held.checkpoint if held else None,
        successor_verifier if follow else None,
    )


async def test_an_auditor_with_the_first_key_follows_every_later_one(scene: Scene) -> None:
    await scene.create()
    await scene.core.upkeep.checkpoint()
    keys = [checkpoint_key(scene.own.house)]
    for _ in range(2):
        made = await scene.rotate(House.CHECKPOINT)
        keys.append(made.public_key)
        await scene.core.upkeep.checkpoint()  # the one before still signs: it names its successor
        await scene.create()
        await scene.core.upkeep.checkpoint()

    report = audited(scene)

    assert report.ok, report.problems
    assert report.keys == tuple(keys[1:])
    newest = CheckpointFile(scene.core.audit_folder).newest()
    assert newest is not None
    assert signature_ok(keys[-1], newest.checkpoint.message(), newest.signature)
    page = read_page(scene.core.audit_folder, AuditWanted(action="strongroom:RotateHouseKey"), "", 100)
    assert [r["kind"] for r in page.records] == ["intent", "outcome"] * 2
    assert page.records[-1]["house_key"] in scene.vault._house.known
    assert not audited(scene, follow=False).ok


async def test_another_leader_goes_on_with_the_key_that_was_named(scene: Scene) -> None:
    await scene.core.upkeep.checkpoint()
    await scene.rotate(House.CHECKPOINT)
    await scene.core.upkeep.checkpoint()
    await scene.create()

    await scene.core.new_leader().checkpoint()

    assert audited(scene).ok
    await verify_history(None, scene.core.trail, scene.vault.checkpoint_keys)


async def test_a_leader_that_has_not_heard_of_the_key_takes_it_up(scene: Scene) -> None:
    await scene.core.upkeep.checkpoint()
    await scene.rotate(House.CHECKPOINT)
    for _ in range(2):
        await scene.create()
        await scene.core.upkeep.checkpoint()
    with scene.worker() as neighbour:
        leader = scene.core.new_leader()
        leader._checkpoints._vault = neighbour
        await scene.create()

        await leader.checkpoint()

        assert neighbour.checkpoint_key == scene.vault.checkpoint_key
    assert audited(scene).ok


async def test_a_forged_succession_is_found(scene: Scene) -> None:
    """Somebody who owns the files, and a key of their own, cannot have an auditor follow them."""
    await scene.core.upkeep.checkpoint()
    mine = ec.generate_private_key(ec.SECP256R1())
    public = mine.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    file = CheckpointFile(scene.core.audit_folder)
    newest = file.newest()
    assert newest is not None
    before = newest.checkpoint
    for _ in range(2):
        forged = next_checkpoint(
            before,
            before.heads,
            time=before.time,
            journal_sequence=0,
            journal_head=bytes(32),
            next_key=public,
        )
        file.append(SignedCheckpoint(forged, mine.sign(forged.message(), ec.ECDSA(hashes.SHA256()))))
        before = forged

    report = audited(scene)

    assert [problem.text for problem in report.problems] == ["has a wrong signature"]
    assert report.keys == ()
    with pytest.raises(StrongroomError) as refusal:
        await scene.core.new_leader().checkpoint()
    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


@pytest.mark.parametrize("nonsense", [b"", b"nonsense", bytes(91)])
def test_a_named_key_that_is_none_verifies_nothing(nonsense: bytes) -> None:
    assert not successor_verifier(nonsense)(b"message", b"signature")
