"""Store and token brought together again, row by row of the table of reconciliation (reliability facts, 4.2)."""

import asyncio
import dataclasses
import itertools
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.core import Core, make_core
from tests.hsmkeys import MADE, OpenedVault, soon

from strongroomd.custody.births import INTENT_GRACE_MS, abandon, destroy_object
from strongroomd.custody.clockwatch import CLOCK_REST_SECONDS
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.audit import next_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Material
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    KeyRecord,
    KeyState,
    VersionRecord,
    VersionState,
)

pytestmark = pytest.mark.softhsm

DAY = 24 * 3600.0


async def version_of(core: Core, key_id: str, number: int = 1) -> VersionRecord:
    version = await core.ledger.read(VersionRecord, f"{key_id}/{number}")
    assert version is not None
    return version


async def key_of(core: Core, key_id: str) -> KeyRecord:
    key = await core.ledger.read(KeyRecord, key_id)
    assert key is not None
    return key


async def objects(core: Core) -> dict[str, int]:
    return {found.hsm_id: found.count for found in await core.vault.list_resident()}


async def half_born(core: Core, *, made: bool) -> VersionRecord:
    """A resident key as a worker leaves it that dies before (or after) it made the object."""
    template = await core.create()
    key = dataclasses.replace(
        template,
        key_id="0b5e6a52-2f33-4d6f-9f5c-5a2b7a9d6c11",
        mode=CustodyMode.RESIDENT,
        state=KeyState.CREATING,
        created_at=core.clock.wall_ms(),
        row_version=1,
    )
    hsm_id = (await core.vault.random(16)).hex()
    births = core.keys._births
    intent = births._version(key, 1, Material("", hsm_id, b"", 0, b"", b"", b""), VersionState.INTENT)
    async with core.ledger.change() as change:
        await change.put(key)
        await change.put(intent)
    if made:
        await make_object(core, hsm_id)
    return intent


async def make_object(core: Core, hsm_id: str) -> None:
    await core.vault.generate(
        KeySpec.SYMMETRIC_DEFAULT,
        KeyUsage.ENCRYPT_DECRYPT,
        CustodyMode.RESIDENT,
        exportable=False,
        hsm_id=hsm_id,
        deadline=soon(),
    )


def files(core: Core) -> set[Path]:
    """The object files of this core's token."""
    conf = core.opened.token.settings.softhsm_conf
    assert conf is not None
    serial = core.opened.token.serial
    folder = next(f for f in (conf.parent / "tokens").iterdir() if f.name.replace("-", "").endswith(serial))
    return {path for path in folder.glob("*.object") if path.name != "token.object"}


def tell(folder: Path) -> None:
    """Make SoftHSM look at the folder again: another process counted a change."""
    generation = folder / "generation"
    number = struct.unpack(">Q", generation.read_bytes())[0]
    generation.write_bytes(struct.pack(">Q", number + 1))


@contextmanager
def away(paths: set[Path]) -> Iterator[None]:
    """Move object files out of sight, and back."""
    folder = next(iter(paths)).parent
    for path in paths:
        path.rename(path.with_suffix(".away"))
    tell(folder)
    try:
        yield
    finally:
        for path in paths:
            path.with_suffix(".away").rename(path)
        tell(folder)


async def resident_key(core: Core) -> tuple[KeyRecord, VersionRecord, set[Path]]:
    before = files(core)
    key = await core.create(CustodyMode.RESIDENT)
    return key, await version_of(core, key.key_id), files(core) - before


async def test_young_intent_is_left_to_its_worker(own_core: Core) -> None:
    intent = await half_born(own_core, made=True)

    await own_core.upkeep.settle()
    await own_core.upkeep.reconcile()

    assert (await version_of(own_core, intent.key_id)).state is VersionState.INTENT
    assert intent.hsm_id in await objects(own_core)


@pytest.mark.parametrize("made", [False, True])
async def test_old_intent_is_undone(own_core: Core, made: bool) -> None:
    core, intent = own_core, await half_born(own_core, made=made)

    core.clock.pass_time(INTENT_GRACE_MS / 1000 + 1)
    await core.upkeep.settle()

    assert (await version_of(core, intent.key_id)).state is VersionState.FAILED
    assert (await key_of(core, intent.key_id)).state is KeyState.DESTROYED
    assert intent.hsm_id not in await objects(core)
    assert core.meter.found["intent_undone"] == 1


async def test_object_that_a_failed_birth_left_is_destroyed(own_core: Core) -> None:
    """The generating thread may be done only after its caller gave up."""
    core, intent = own_core, await half_born(own_core, made=False)
    await abandon(core.ledger, core.vault, intent)
    await make_object(core, intent.hsm_id)

    await core.upkeep.reconcile()

    assert intent.hsm_id not in await objects(core)
    assert core.meter.found["intent_undone"] == 1
    assert core.meter.found["resurrected"] == 0


async def test_birth_that_succeeds_at_the_last_moment_keeps_its_object(own_core: Core) -> None:
    """Upkeep read an intent; before it acts, the birth is committed and acknowledged."""
    core = own_core
    key, version, _ = await resident_key(core)
    stale = dataclasses.replace(version, state=VersionState.INTENT, row_version=1)

    await abandon(core.ledger, core.vault, stale)

    assert await objects(core) == {version.hsm_id: 1}
    await core.use(key.key_id)


@contextmanager
def nth_commit_fails_once_made(core: Core, number: int) -> Iterator[None]:
    """Let one commit report an error although it is on the disk, as after an I/O error at the very end."""
    database, count = core.store._database, itertools.count(1)
    commit = database._commit

    def made_but_unknown() -> None:
        commit()
        if next(count) == number:
            raise sqlite3.OperationalError("disk I/O error")

    database._commit = made_but_unknown  # type: ignore[method-assign]
    try:
        yield
    finally:
        database._commit = commit  # type: ignore[method-assign]


async def test_birth_whose_commit_is_made_but_reports_failure_keeps_its_object(own_core: Core) -> None:
    """The call fails and undoes what it believes was not made; asked again it answers, and the key must work."""
    core = own_core

    with nth_commit_fails_once_made(core, 2), pytest.raises(StrongroomError) as refused:
        await core.create(CustodyMode.RESIDENT, "the same")

    assert refused.value.reason is Reason.STORE_UNAVAILABLE
    key = await core.create(CustodyMode.RESIDENT, "the same")
    assert await objects(core) == {(await version_of(core, key.key_id)).hsm_id: 1}
    await core.use(key.key_id)


async def test_rotation_whose_commit_is_made_but_reports_failure_keeps_its_object(own_core: Core) -> None:
    core = own_core
    key, _, _ = await resident_key(core)

    with nth_commit_fails_once_made(core, 2), pytest.raises(StrongroomError):
        await core.keys.rotate(core.caller(), key.key_id, request_id="the same")

    rotated = await core.keys.rotate(core.caller(), key.key_id, request_id="the same")
    assert rotated.current_version == 2
    assert len(await objects(core)) == 2
    await core.use(key.key_id, 2)


async def test_missing_object_refuses_use_and_is_never_forgotten(own_core: Core) -> None:
    core = own_core
    key, version, held = await resident_key(core)
    core.vault.forget(key.key_id)

    with away(held):
        await core.upkeep.reconcile()
        assert (await version_of(core, key.key_id)).state is VersionState.MISSING
        with pytest.raises(StrongroomError) as caught:
            await core.use(key.key_id)
        assert caught.value.reason is Reason.KEY_UNAVAILABLE
        await core.upkeep.reconcile()
    await core.upkeep.reconcile()

    assert (await version_of(core, key.key_id)).state is VersionState.ACTIVE
    await core.use(key.key_id)
    assert core.meter.found["missing"] == core.meter.found["found_again"] == 1
    assert await objects(core) == {version.hsm_id: 1}


async def test_two_objects_with_one_id_refuse_use(own_core: Core) -> None:
    core = own_core
    key, version, held = await resident_key(core)
    with away(held):
        await make_object(core, version.hsm_id)
    core.vault.forget(key.key_id)

    await core.upkeep.reconcile()

    assert core.meter.found["duplicate"] == 1
    with pytest.raises(StrongroomError) as caught:
        await core.use(key.key_id)
    assert caught.value.reason is Reason.KEY_UNAVAILABLE
    assert await objects(core) == {version.hsm_id: 2}


async def test_destruction_that_was_interrupted_is_repeated(own_core: Core) -> None:
    core = own_core
    key, version, _ = await resident_key(core)
    await _mark(core, version, VersionState.DESTROYING)

    await core.upkeep.settle()

    assert (await version_of(core, key.key_id)).state is VersionState.DESTROYED
    assert await objects(core) == {}


async def test_resurrected_object_is_destroyed_again(own_core: Core) -> None:
    core = own_core
    _, version, _ = await resident_key(core)
    await _mark(core, version, VersionState.DESTROYED)

    await core.upkeep.reconcile()

    assert await objects(core) == {}
    assert core.meter.found["resurrected"] == 1


async def test_orphan_is_reported_and_left_alone(own_core: Core) -> None:
    await make_object(own_core, "ab" * 16)

    await own_core.upkeep.reconcile()

    assert await objects(own_core) == {"ab" * 16: 1}
    assert own_core.meter.found["orphan"] == 1


async def test_nothing_is_believed_while_the_sentinel_is_not_visible(own_core: Core) -> None:
    core = own_core
    _, version, _ = await resident_key(core)

    with away(files(core)):
        with pytest.raises(StrongroomError) as caught:
            await core.upkeep.reconcile()
        assert caught.value.reason is Reason.HSM_UNAVAILABLE
        with pytest.raises(StrongroomError):
            await core.vault.destroy_resident(version.hsm_id)

    assert core.rows("SELECT state FROM versions") == [{"state": "ACTIVE"}]
    assert core.meter.found["missing"] == 0


class _Interrupted:
    """A vault during whose listing something else happens."""

    def __init__(self, vault: Any) -> None:
        self._vault = vault
        self.meanwhile: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    async def list_resident(self, token: str) -> Any:
        listed = await self._vault.list_resident(token)
        if self.meanwhile is not None:
            work, self.meanwhile = self.meanwhile, None
            await work()
        return listed


async def test_key_born_while_upkeep_looks_is_neither_missing_nor_an_orphan(
    tmp_path: Path, own: OpenedVault
) -> None:
    core = await make_core(tmp_path, own, _Interrupted)
    core.vault  # noqa: B018 - the plain vault; the core uses the interrupted one
    interrupted: Any = core.upkeep._reconciliation._vault
    interrupted.meanwhile = lambda: core.create(CustodyMode.RESIDENT)

    await core.upkeep.reconcile()

    states = [row["state"] for row in core.rows("SELECT state FROM versions")]
    assert states == ["ACTIVE"]
    assert core.meter.found == {}
    await core.close()


def listed_before(core: Core, monkeypatch: pytest.MonkeyPatch, name: str, listing: Any) -> None:
    """Let upkeep work with a listing of the store that was made before what happened since."""

    async def earlier() -> Any:
        return listing

    monkeypatch.setattr(core.store, name, earlier)


async def test_intent_that_became_a_version_since_it_was_listed_keeps_its_object(
    own_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While upkeep undid another birth this one was committed and acknowledged: so keys were lost under load."""
    core, intent = own_core, await half_born(own_core, made=True)
    listed_before(core, monkeypatch, "unsettled", await core.store.unsettled())
    await _mark(core, intent, VersionState.ACTIVE)

    core.clock.pass_time(INTENT_GRACE_MS / 1000 + 1)
    await core.upkeep.settle()

    assert (await version_of(core, intent.key_id)).state is VersionState.ACTIVE
    assert await objects(core) == {intent.hsm_id: 1}
    assert core.meter.found == {}


async def test_object_made_since_the_token_was_listed_is_not_missing(
    own_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, intent = own_core, await half_born(own_core, made=False)
    listed_before(core, monkeypatch, "resident", await core.store.resident())
    await make_object(core, intent.hsm_id)
    await _mark(core, intent, VersionState.ACTIVE)

    async def nothing_yet(_token: str) -> list[Any]:
        return []

    monkeypatch.setattr(core.vault, "list_resident", nothing_yet)
    await core.upkeep.reconcile()

    assert (await version_of(core, intent.key_id)).state is VersionState.ACTIVE
    assert core.meter.found["missing"] == 0


@pytest.mark.parametrize("state", [VersionState.INTENT, VersionState.ACTIVE, VersionState.MISSING])
async def test_object_of_a_version_that_has_not_ended_is_never_destroyed(
    own_core: Core, state: VersionState
) -> None:
    core = own_core
    _, version, _ = await resident_key(core)
    if state is not version.state:
        await _mark(core, version, state)
    believed = dataclasses.replace(version, state=VersionState.DESTROYING)

    with pytest.raises(StrongroomError) as refused:
        await destroy_object(core.ledger, core.vault, believed)

    assert refused.value.reason is Reason.INTERNAL
    assert await objects(core) == {version.hsm_id: 1}


async def test_object_of_another_id_than_the_stores_is_never_destroyed(own_core: Core) -> None:
    core, failed = own_core, await half_born(own_core, made=False)
    _, other, _ = await resident_key(core)
    await _mark(core, failed, VersionState.FAILED)

    with pytest.raises(StrongroomError):
        await destroy_object(core.ledger, core.vault, dataclasses.replace(failed, hsm_id=other.hsm_id))

    assert await objects(core) == {other.hsm_id: 1}


async def _mark(core: Core, version: VersionRecord, state: VersionState) -> None:
    async with core.ledger.change() as change:
        await change.put(dataclasses.replace(version, state=state, row_version=version.row_version + 1))


# --- deletions and clocks


async def test_deletion_that_fell_due_leaves_a_tombstone_and_nothing_else(own_core: Core) -> None:
    core = own_core
    wrapped, (resident, _, _) = await core.create(), await resident_key(core)
    await core.aliases.create(core.caller(), "alias/doomed", wrapped.key_id)
    for key in (wrapped, resident):
        await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    await core.upkeep.settle()
    assert (await key_of(core, wrapped.key_id)).state is KeyState.PENDING_DELETION

    core.clock.pass_time(7 * DAY + 1)
    await core.upkeep.settle()

    for key in (wrapped, resident):
        assert (await key_of(core, key.key_id)).state is KeyState.DESTROYED
        gone = await version_of(core, key.key_id)
        assert (gone.state, gone.blob) == (VersionState.DESTROYED, b"")
    assert core.ledger.known(AliasRecord) == []
    assert await objects(core) == {}


@pytest.mark.parametrize("jump", [3600.0, 40 * DAY])
async def test_clock_that_jumps_forward_destroys_nothing_early(core: Core, jump: float) -> None:
    key = await core.create()
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(7 * DAY - 60)
    await core.upkeep.settle()

    core.clock.wall_offset += int(jump * 1000)
    await core.upkeep.settle()
    await core.upkeep.settle()

    assert (await key_of(core, key.key_id)).state is KeyState.PENDING_DELETION
    assert core.meter.found["clock_jump"] == 1
    core.clock.pass_time(CLOCK_REST_SECONDS + 1)
    await core.upkeep.settle()
    assert (await key_of(core, key.key_id)).state is KeyState.DESTROYED


async def test_start_long_after_the_last_checkpoint_destroys_nothing_for_a_day(own_core: Core) -> None:
    core = own_core
    key = await core.create()
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    await core.upkeep.checkpoint()

    core.clock.wall_offset += int(40 * DAY * 1000)
    await core.upkeep.settle()

    assert (await key_of(core, key.key_id)).state is KeyState.PENDING_DELETION
    assert core.meter.found["clock_jump"] == 1


async def _doomed(core: Core, left: float) -> KeyRecord:
    """A key that falls due in `left` seconds, and a checkpoint of just now."""
    key = await core.create()
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(7 * DAY - left)
    await core.upkeep.checkpoint()
    await core.upkeep.settle()
    return key


@pytest.mark.parametrize("worker", ["same", "new"])
async def test_checkpoint_with_the_jumped_time_does_not_make_it_right(own_core: Core, worker: str) -> None:
    """The first checkpoint is signed before anything is settled."""
    core = own_core
    key = await _doomed(core, 60.0)
    leader = core.upkeep if worker == "same" else core.new_leader()

    core.clock.wall_offset += int(40 * DAY * 1000)
    await core.create()
    await leader.checkpoint()
    await leader.settle()

    newest = await core.trail.newest()
    assert newest is not None
    assert newest[0].time > core.clock.wall_ms() - 60_000
    assert (await key_of(core, key.key_id)).state is KeyState.PENDING_DELETION
    assert core.meter.found["clock_jump"] == 1


@pytest.mark.parametrize("jump", [3600.0, 40 * DAY])
async def test_next_leader_keeps_the_rest_after_a_clock_jump(own_core: Core, jump: float) -> None:
    core = own_core
    key = await _doomed(core, 60.0)
    core.clock.wall_offset += int(jump * 1000)
    await core.upkeep.checkpoint()
    await core.create()
    await core.upkeep.checkpoint()

    core.clock.pass_time(CLOCK_REST_SECONDS - 60)
    leader = core.new_leader()
    await leader.checkpoint()
    await leader.settle()
    assert (await key_of(core, key.key_id)).state is KeyState.PENDING_DELETION

    core.clock.pass_time(120)
    await leader.settle()
    assert (await key_of(core, key.key_id)).state is KeyState.DESTROYED


async def test_clock_that_creeps_forward_in_small_steps_destroys_nothing_early(own_core: Core) -> None:
    core = own_core
    key = await _doomed(core, 100.0)

    for _ in range(4):
        core.clock.wall_offset += 30_000
        await core.upkeep.checkpoint()
        await core.upkeep.settle()
        if core.meter.found["clock_jump"]:
            break

    assert core.meter.found["clock_jump"] == 1
    core.clock.wall_offset += 60_000
    await core.upkeep.settle()
    assert (await key_of(core, key.key_id)).state is KeyState.PENDING_DELETION


async def test_clock_put_right_again_lets_deletions_happen(own_core: Core) -> None:
    core = own_core
    key = await _doomed(core, 60.0)
    core.clock.wall_offset += int(40 * DAY * 1000)
    await core.upkeep.settle()

    core.clock.wall_offset -= int(40 * DAY * 1000)
    await core.upkeep.settle()
    core.clock.pass_time(61)
    await core.upkeep.settle()

    assert (await key_of(core, key.key_id)).state is KeyState.DESTROYED


async def test_clock_jump_is_in_the_audit_log(own_core: Core) -> None:
    core = own_core
    await core.upkeep.settle()
    core.clock.wall_offset += 3_600_000
    await core.upkeep.settle()

    (told,) = core.audited("upkeep")
    assert told["action"] == "strongroom:DistrustClock"
    assert abs(told["milliseconds"] - 3_600_000) < 10_000


# --- what upkeep writes down


def told(core: Core) -> list[tuple[str, str, str]]:
    """What upkeep wrote down; each record names a key."""
    records = core.audited("upkeep")
    assert all(":key/" in record["key"] for record in records)
    return [(record["action"].partition(":")[2], record["kind"], record["outcome"]) for record in records]


def both(action: str, outcome: str = "OK") -> list[tuple[str, str, str]]:
    return [(action, "intent", "PENDING"), (action, "outcome", outcome)]


async def test_undone_birth_is_in_the_audit_log(own_core: Core) -> None:
    core, intent = own_core, await half_born(own_core, made=True)
    core.clock.pass_time(INTENT_GRACE_MS / 1000 + 1)
    await core.upkeep.settle()

    assert told(core) == both("UndoBirth")
    assert core.audited("upkeep")[0]["key"].endswith(intent.key_id)
    assert core.audited("upkeep")[0]["version"] == 1


async def test_birth_undone_by_its_own_call_is_in_that_calls_record(
    own_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = own_core

    async def fail(*_: object, **__: object) -> None:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    monkeypatch.setattr(core.keys._births._mutations, "once", fail)
    with pytest.raises(StrongroomError):
        await core.create(CustodyMode.RESIDENT)

    (row,) = core.rows("SELECT record_id, state FROM versions")
    assert row["state"] == "FAILED"
    last = core.audited(core.caller().principal.arn)[-1]
    assert (last["outcome"], last["undone"]) == ("HSM_UNAVAILABLE", row["record_id"])


async def test_destruction_is_in_the_audit_log_with_its_objects(own_core: Core) -> None:
    core = own_core
    key, _, _ = await resident_key(core)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(7 * DAY + 1)
    await core.upkeep.settle()

    intent, outcome = both("DestroyKey")
    assert told(core) == [intent, *both("DestroyVersion"), outcome]


async def test_destruction_called_off_at_the_last_moment_leaves_no_open_intent(own_core: Core) -> None:
    core = own_core
    key = await core.create()
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    due = await key_of(core, key.key_id)
    await core.keys.cancel_deletion(core.caller(), key.key_id)

    await core.upkeep._endings._destroy(due)

    assert told(core) == both("DestroyKey", "UNCHANGED")


async def test_interrupted_destruction_repeated_is_in_the_audit_log(own_core: Core) -> None:
    core = own_core
    _, version, _ = await resident_key(core)
    await _mark(core, version, VersionState.DESTROYING)
    await core.upkeep.settle()

    assert told(core) == both("DestroyVersion")


@pytest.mark.parametrize("state", [VersionState.DESTROYED, VersionState.FAILED])
async def test_object_destroyed_again_is_in_the_audit_log(own_core: Core, state: VersionState) -> None:
    core = own_core
    _, version, _ = await resident_key(core)
    await _mark(core, version, state)
    await core.upkeep.reconcile()

    assert told(core) == both("DestroyVersion")


async def test_missing_and_found_objects_are_in_the_audit_log(own_core: Core) -> None:
    core = own_core
    _, _, held = await resident_key(core)
    with away(held):
        await core.upkeep.reconcile()
    await core.upkeep.reconcile()

    assert told(core) == both("MarkVersion") * 2
    assert [r.get("state") for r in core.audited("upkeep")[1::2]] == ["MISSING", "ACTIVE"]


async def test_destruction_that_fails_says_so(own_core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    core = own_core
    _, version, _ = await resident_key(core)
    await _mark(core, version, VersionState.DESTROYING)

    async def fail(_hsm_id: str, _token: str) -> None:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    monkeypatch.setattr(core.vault, "destroy_resident", fail)
    await core.upkeep.settle()

    assert told(core) == both("DestroyVersion", "HSM_UNAVAILABLE")


# --- checkpoints


async def test_newest_checkpoint_of_anothers_making_ends_all_checkpoints(own_core: Core) -> None:
    """Whoever can write the file makes the next checkpoint by the rules, but cannot sign it."""
    core = own_core
    key = await _doomed(core, 60.0)
    newest = await core.trail.newest()
    assert newest is not None
    before = newest[0]
    forged = next_checkpoint(
        before,
        before.heads,
        time=before.time,
        journal_sequence=before.journal_sequence,
        journal_head=bytes(32),
    )
    await core.trail.append(forged, newest[1])

    core.clock.pass_time(61)
    leader = core.new_leader()
    for work in (leader.checkpoint, leader.settle):
        with pytest.raises(StrongroomError) as caught:
            await work()
        assert caught.value.reason is Reason.INTEGRITY_FAILURE

    assert core.meter.chains[-1] is False
    assert await core.trail.nth(forged.number + 1) is None
    assert (await key_of(core, key.key_id)).state is KeyState.PENDING_DELETION


# --- clocks set back


async def test_clock_set_back_keeps_answers_leases_and_keys(core: Core) -> None:
    key = await core.create(request_id="once")
    assert await core.upkeep.elected()

    core.clock.wall_offset -= int(40 * DAY * 1000)

    assert (await core.create(request_id="once")).key_id == key.key_id
    assert await core.upkeep.elected()
    await core.upkeep.settle()
    await core.upkeep.purge()
    await core.use(key.key_id)
    assert (await core.create(request_id="once")).key_id == key.key_id


@pytest.mark.parametrize(
    ("column", "value"), [("description", "edited"), ("spec", "NO_SUCH_SPEC"), ("tags", "{")]
)
async def test_one_damaged_row_does_not_keep_other_deletions_waiting(
    core: Core, column: str, value: str
) -> None:
    bad, good = await core.create(), await core.create()
    for key in (bad, good):
        await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.edit(f"UPDATE keys SET {column} = ? WHERE record_id = ?", value, bad.key_id)

    core.clock.pass_time(8 * DAY)
    await core.upkeep.settle()

    assert (await key_of(core, good.key_id)).state is KeyState.DESTROYED


# --- idempotency


async def test_one_idempotency_key_used_at_once_makes_one_key(core: Core) -> None:
    for mode in MADE:
        made = await asyncio.gather(*(core.create(mode, f"at once {mode}") for _ in range(8)))
        assert len({key.key_id for key in made}) == 1
    enabled = core.rows("SELECT * FROM keys WHERE state = 'Enabled'")
    assert len(enabled) == 2
    assert not core.rows("SELECT * FROM versions WHERE state = 'INTENT'")
