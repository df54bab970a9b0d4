"""The counter of an AES-GCM version on a real store and token: shared, kept, warned of, rotated, refused."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.faults.core import Core, make_core
from tests.hsmkeys import MADE, OpenedVault, choosing

from strongroomd.custody import invocations
from strongroomd.custody.batches import Batches
from strongroomd.custody.contextnotes import ContextNotes
from strongroomd.custody.crypto import Crypto
from strongroomd.custody.invocations import Invocations
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.rotation import Rotation, succession
from strongroomd.custody.sealing import Ciphertext, Sealer
from strongroomd.custody.signing import Signing
from strongroomd.domain import envelope
from strongroomd.domain.algorithms import Scheme
from strongroomd.domain.envelope import Format
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.invocations import Bounds
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode, InvocationsRecord, KeyRecord
from strongroomd.ports import Vault
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import open_store

pytestmark = pytest.mark.softhsm
SMALL = Bounds(limit=100, block=10, warn=80, rotate=90)


@dataclass
class Meter:
    """What the counters and the rotation tell."""

    blocks: int = 0
    levels: dict[int, int] = field(default_factory=dict)
    late: int = 0
    behind: int = 0

    def reserved(self) -> None:
        self.blocks += 1

    def worn(self, percent: int, keys: int) -> None:
        self.levels[percent] = keys

    def overdue(self, keys: int) -> None:
        self.late = keys

    def waiting(self, versions: int) -> None:
        self.behind = versions


@dataclass
class Worker:
    """One worker's part of the core."""

    core: Core
    ledger: Ledger
    counters: Invocations
    crypto: Crypto
    batches: Batches
    rotation: Rotation
    meter: Meter

    async def encrypt(self, key: KeyRecord, times: int = 1) -> bytes:
        made = b""
        for _ in range(times):
            made = (await self.crypto.encrypt(self.core.caller(), key.key_id, b"plaintext")).ciphertext
        return made

    async def decrypt(self, ciphertext: bytes) -> bytes:
        return (await self.crypto.decrypt(self.core.caller(), Ciphertext(ciphertext))).plaintext

    async def current(self, key: KeyRecord) -> BoundVersion:
        return await self.core.catalog.version(await self.core.catalog.entry(key.key_id))


def worker(core: Core, ledger: Ledger | None = None, bounds: Bounds = SMALL) -> Worker:
    gate, meter, ledger = core.keys.gate, Meter(), ledger or core.ledger
    counters = Invocations(ledger, meter, bounds)
    sealer = Sealer(core.vault, core.catalog, 4_096, counters, ContextNotes(bytes(32)))
    batches = Batches(gate, sealer, Signing(gate, core.vault, core.catalog), core.catalog, core.service_keys)
    rotation = Rotation(
        gate,
        core.keys._births,
        core.catalog,
        core.ledger,
        core.store,
        meter,
        core.clock,
        core.upkeep.clock_believed,
        bounds,
    )
    return Worker(core, ledger, counters, Crypto(gate, sealer, core.service_keys), batches, rotation, meter)


async def new_key(core: Core, mode: CustodyMode = CustodyMode.WRAPPED) -> KeyRecord:
    with choosing(core.opened.vault, "aes-gcm"):
        return await core.create(mode)


async def refused(work: Any, reason: Reason) -> None:
    with pytest.raises(StrongroomError) as caught:
        await work
    assert caught.value.reason is reason


def reserved(core: Core, key: KeyRecord, version: int = 1) -> int:
    rows = core.rows("SELECT reserved FROM invocations WHERE record_id = ?", f"{key.key_id}/{version}")
    return int(rows[0]["reserved"]) if rows else 0


@pytest.fixture
async def other(core: Core) -> AsyncIterator[Ledger]:
    """What a second worker of the same daemon has: a store connection and a ledger of its own."""
    store = open_store(StoreSettings(f"sqlite:///{core.database}"))
    ledger = Ledger(store, core.reborn()._vault)
    await ledger.start()
    yield ledger
    await store.close()


async def test_what_is_written_has_format_2_and_opens(core: Core) -> None:
    key, mine = await new_key(core), worker(core)

    ciphertext = await mine.encrypt(key)

    parsed = envelope.parse(ciphertext)
    assert (parsed.format, parsed.key_id, parsed.version) == (Format.AES_256_GCM, key.key_id, 1)
    assert len(ciphertext) == 52 + len(b"plaintext")
    assert await mine.decrypt(ciphertext) == b"plaintext"


async def test_an_envelope_of_the_other_format_is_refused(core: Core) -> None:
    gcm, xaes, mine = await new_key(core), await core.create(), worker(core)
    for key in (gcm, xaes):
        ciphertext = await mine.encrypt(key)
        forged = ciphertext[:2] + bytes([3 - ciphertext[2]]) + ciphertext[3:] + bytes(12)
        await refused(mine.decrypt(forged), Reason.INVALID_CIPHERTEXT)


async def test_a_block_is_one_transaction_and_xaes_needs_none(core: Core) -> None:
    key, xaes, mine = await new_key(core), await core.create(), worker(core)
    before = core.ledger.sequence

    await mine.encrypt(key, 10)
    await mine.encrypt(xaes, 25)
    for _ in range(5):
        await mine.decrypt(await mine.encrypt(xaes))

    assert core.ledger.sequence == before + 1
    assert mine.meter.blocks == 1
    assert reserved(core, key) == 11  # the first was the birth's own
    await mine.encrypt(key)
    assert reserved(core, key) == 21


async def test_batches_data_keys_and_re_encryption_are_counted(core: Core) -> None:
    key, mine, caller = await new_key(core), worker(core), core.caller
    await mine.batches.encrypt(caller(), key.key_id, [(b"x", ())] * 3)
    await mine.crypto.generate_data_key(caller(), key.key_id, 32)
    ciphertext = await mine.encrypt(key)
    await mine.crypto.re_encrypt(caller(), Ciphertext(ciphertext), key.key_id)
    with pytest.raises(StrongroomError):
        await mine.crypto.encrypt(caller(), key.key_id, b"x", dry_run=True)

    assert (await mine.counters.take(await mine.current(key))) == 8


async def test_workers_share_by_different_blocks(core: Core, other: Ledger) -> None:
    key, one = await new_key(core), worker(core)
    two = worker(core, other)
    bound = await one.current(key)

    numbers = [await (one, two)[n % 2].counters.take(bound) for n in range(40)]

    assert sorted(numbers) == list(range(2, 42))


async def test_a_new_worker_leaves_the_dead_ones_block_alone(core: Core) -> None:
    key = await new_key(core)
    bound = await worker(core).current(key)

    numbers = [await worker(core).counters.take(bound) for _ in range(5)]

    assert numbers == [2, 12, 22, 32, 42]


async def test_each_version_has_a_counter_of_its_own(core: Core) -> None:
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key, 12)
    with choosing(core.opened.vault, "aes-gcm"):
        await core.keys.rotate(core.caller(), key.key_id)

    await mine.encrypt(key)

    assert (reserved(core, key, 1), reserved(core, key, 2)) == (21, 11)


async def test_after_the_last_invocation_encryption_is_refused_and_decryption_goes_on(core: Core) -> None:
    key, mine = await new_key(core), worker(core)
    ciphertext = await mine.encrypt(key, 99)
    sequence = core.ledger.sequence

    for _ in range(3):
        await refused(mine.encrypt(key), Reason.KEY_EXHAUSTED)
    await refused(worker(core).encrypt(key), Reason.KEY_EXHAUSTED)
    await refused(mine.crypto.generate_data_key(core.caller(), key.key_id, 32), Reason.KEY_EXHAUSTED)
    batch = await mine.batches.encrypt(core.caller(), key.key_id, [(b"x", ())] * 2)

    assert [r.reason for r in batch.results if isinstance(r, StrongroomError)] == [Reason.KEY_EXHAUSTED] * 2
    assert (reserved(core, key), core.ledger.sequence) == (100, sequence)
    assert await mine.decrypt(ciphertext) == b"plaintext"
    await core.keys.rotate(core.caller(), key.key_id)
    assert await mine.decrypt(await mine.encrypt(key)) == b"plaintext"


async def test_an_older_copy_of_the_counter_is_refused(core: Core) -> None:
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key)
    older = core.rows("SELECT * FROM invocations")[0]
    await mine.encrypt(key, 10)

    assignments = ", ".join(f"{column} = ?" for column in older)
    core.edit(f"UPDATE invocations SET {assignments}", *older.values())

    await mine.encrypt(key, 9)  # what was reserved before is this worker's own
    await refused(mine.encrypt(key), Reason.INTEGRITY_FAILURE)
    await refused(worker(core).encrypt(key), Reason.INTEGRITY_FAILURE)
    with pytest.raises(StrongroomError):
        await core.upkeep.scan()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM invocations",
        "UPDATE invocations SET reserved = 1",
        "UPDATE invocations SET reserved = 'x'",
    ],
)
async def test_a_removed_or_edited_counter_is_refused(core: Core, damage: str) -> None:
    key = await new_key(core)
    await worker(core).encrypt(key)

    core.edit(damage)

    await refused(worker(core).encrypt(key), Reason.INTEGRITY_FAILURE)
    assert await core.vault.random(1)


async def test_a_counter_cannot_be_deleted_by_the_daemons_own_store(core: Core) -> None:
    key = await new_key(core)
    await worker(core).encrypt(key)
    record = await core.ledger.read(InvocationsRecord, f"{key.key_id}/1")
    assert record is not None

    async def delete() -> None:
        async with core.ledger.change() as change:
            await change.delete(record)

    await refused(delete(), Reason.INTERNAL)


async def test_a_block_goes_on_while_the_store_is_away_and_no_further(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key)

    def away() -> Any:
        raise StrongroomError(Reason.STORE_UNAVAILABLE, retry_after=1.0)

    monkeypatch.setattr(core.store, "transaction", away)
    await mine.encrypt(key, 9)
    await refused(mine.encrypt(key), Reason.STORE_UNAVAILABLE)
    monkeypatch.undo()
    await mine.encrypt(key)


async def test_calls_that_wait_for_a_block_share_one(core: Core) -> None:
    key, mine = await new_key(core), worker(core)

    await asyncio.gather(*(mine.encrypt(key) for _ in range(10)))

    assert (mine.meter.blocks, reserved(core, key)) == (1, 11)


async def test_a_block_is_not_lost_when_its_callers_go_away_before_they_hear_of_it(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, key = worker(core), await new_key(core)
    bound, reserve, committed = await one.current(key), one.counters._reserve, asyncio.Event()

    async def slowly(version: BoundVersion) -> Any:
        block = await reserve(version)
        committed.set()
        await asyncio.sleep(0.01)
        return block

    monkeypatch.setattr(one.counters, "_reserve", slowly)
    for _ in range(3):
        committed.clear()
        impatient = asyncio.ensure_future(one.counters.take(bound))
        await asyncio.wait(
            {impatient, asyncio.ensure_future(committed.wait())}, return_when="FIRST_COMPLETED"
        )
        impatient.cancel()
        await asyncio.wait({impatient})

    assert await one.counters.take(bound) <= 5
    assert reserved(core, key) == 11


async def test_the_memory_of_blocks_is_bounded(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "_MOST_PURSES", 2)
    keys, mine = [await new_key(core) for _ in range(3)], worker(core)
    for key in (keys[0], keys[1], keys[0], keys[2]):
        await mine.encrypt(key)

    assert len(mine.counters._purses) == 2
    assert await mine.counters.take(await mine.current(keys[0])) == 4, "it was used last but one, and kept"
    assert await mine.counters.take(await mine.current(keys[1])) == 12


# --- warned of and rotated ---


def audited(core: Core) -> list[tuple[str, str]]:
    records = core.audited("upkeep")
    assert {r["action"] for r in records} <= {"kms:RotateKeyOnDemand"}
    return [(r["kind"], r["outcome"]) for r in records]


async def test_nothing_is_worn_below_the_warning_mark(core: Core) -> None:
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key, 70)  # 71 are reserved

    await mine.rotation.renew()

    assert mine.meter.levels == {80: 0, 90: 0}
    assert audited(core) == []


async def test_past_the_warning_mark_operators_are_told_and_nothing_is_done(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(invocations, "_log", SimpleNamespace(warning=lambda _, **facts: told.append(facts)))
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key, 40)
    await worker(core).encrypt(key, 31)
    for _ in range(2):
        await mine.rotation.renew()

    assert mine.meter.levels == {80: 1, 90: 0}
    assert audited(core) == []
    assert told == [{"key": key.key_id, "version": 1, "percent": 80}]


@pytest.mark.parametrize("mode", list(MADE))
@pytest.mark.parametrize(("setting", "scheme"), [("auto", Scheme.DEFAULT), ("aes-gcm", Scheme.AES_GCM)])
async def test_past_the_second_mark_the_key_gets_a_new_version(
    core: Core, mode: CustodyMode, setting: str, scheme: Scheme
) -> None:
    key, mine = await new_key(core, mode), worker(core)
    old = await mine.encrypt(key, 81)

    with choosing(core.opened.vault, setting):
        await asyncio.gather(*(worker(core).rotation.renew() for _ in range(3)))
        await mine.rotation.renew()

    bound = await mine.current(key)
    assert (bound.version, bound.record.scheme) == (
        2 if mode is CustodyMode.WRAPPED else bound.version,
        scheme,
    )
    assert mine.meter.levels == {80: 0, 90: 0}
    assert Counter(audited(core))["outcome", "OK"] == 1
    assert await mine.decrypt(old) == await mine.decrypt(await mine.encrypt(key)) == b"plaintext"
    facts = next(r for r in core.audited("upkeep") if r["outcome"] == "OK")
    assert facts["worn"] == {"version": 1, "invocations": 91}
    assert facts["key"].endswith(key.key_id)
    assert facts["changes"]


async def test_a_key_that_is_not_in_use_is_left_alone_until_it_is(core: Core) -> None:
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key, 81)
    await core.keys.disable(core.caller(), key.key_id)

    await mine.rotation.renew()
    assert (mine.meter.levels, audited(core)) == ({80: 0, 90: 0}, [])

    await core.keys.enable(core.caller(), key.key_id)
    await mine.rotation.renew()
    assert (await mine.current(key)).version == 2


async def test_a_key_rotated_meanwhile_is_not_rotated_again(core: Core) -> None:
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key, 81)
    entry = await core.catalog.entry(key.key_id)
    counter = await core.ledger.read(InvocationsRecord, f"{key.key_id}/1")
    assert counter is not None
    await core.keys.rotate(core.caller(), key.key_id)

    await mine.rotation._rotate(entry, {}, succession(key.key_id, after=counter.version))

    assert (await mine.current(key)).version == 2
    assert audited(core) == [("intent", "PENDING"), ("outcome", "UNCHANGED")]


async def test_a_damaged_counter_keeps_no_other_key_waiting(core: Core) -> None:
    damaged, sound, mine = await new_key(core), await new_key(core), worker(core)
    await mine.encrypt(damaged, 85)
    await mine.encrypt(sound, 85)
    core.edit("UPDATE invocations SET reserved = 99 WHERE key_id = ?", damaged.key_id)

    await mine.rotation.renew()

    assert [(await mine.current(key)).version for key in (damaged, sound)] == [1, 2]


class _IllOnce:
    """A vault whose births fail so often."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    async def generate(self, *arguments: Any, **named: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise StrongroomError(Reason.HSM_UNAVAILABLE, retry_after=1.0)
        return await self._vault.generate(*arguments, **named)


async def test_a_rotation_that_fails_is_written_down_and_tried_again(
    tmp_path: Path, opened: OpenedVault
) -> None:
    core = await make_core(tmp_path, opened, _IllOnce)
    births: Any = core.keys._births._vault
    key, other, mine = await new_key(core), await new_key(core), worker(core)
    await mine.encrypt(key, 81)
    await mine.encrypt(other, 81)
    births.failures = 1

    await mine.rotation.renew()
    assert sorted([(await mine.current(k)).version for k in (key, other)]) == [1, 2]
    assert ("outcome", "HSM_UNAVAILABLE") in audited(core)
    assert mine.meter.levels == {80: 2, 90: 2}

    await mine.rotation.renew()
    assert [(await mine.current(k)).version for k in (key, other)] == [2, 2]
    await core.close()


async def test_a_destroyed_keys_counter_stays_and_is_nobodys_concern(core: Core) -> None:
    key, mine = await new_key(core), worker(core)
    await mine.encrypt(key, 85)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(8 * 24 * 3600)
    core.edit("UPDATE leases SET expires_at = 0")
    for _ in range(2):
        await core.upkeep.checkpoint()
        await core.upkeep.settle()

    await mine.rotation.renew()

    assert mine.meter.levels == {80: 0, 90: 0}
    assert reserved(core, key) == 91
    assert (await core.ledger.read(KeyRecord, key.key_id)) is not None
