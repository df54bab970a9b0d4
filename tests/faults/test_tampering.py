"""Whoever edits the store is found out: by the next use of the record, by the scan, and at the next start."""

import dataclasses
import os
import random
import shutil
import uuid
from collections.abc import Awaitable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.faults.core import ADMIN, Core
from tests.faults.keystores import KMS_KEY, make_shop
from tests.hsmkeys import plant
from tests.records import sample

from strongroomd.custody.adoptions import NewAdoption
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.invocations import Invocations
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.principals import NewPrincipal
from strongroomd.custody.quotarequests import Wanted
from strongroomd.domain import journal
from strongroomd.domain.accounts import uri_fact
from strongroomd.domain.actions import Action
from strongroomd.domain.approvalrecords import (
    ApprovalRecord,
    ApprovalRequestRecord,
    ApproverRecord,
    QuorumRecord,
)
from strongroomd.domain.destruction import DeletionRecord
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import WrappingKeyRecord
from strongroomd.domain.grants import Constraints, NewGrant
from strongroomd.domain.keys import Anchor
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.quota import Rate
from strongroomd.domain.records import (
    RECORD_KINDS,
    AliasRecord,
    CustodyMode,
    HouseRecord,
    KeyRecord,
    LimitRecord,
    LimitScope,
    Record,
    RewrapRecord,
    RewrapState,
    VersionRecord,
)
from strongroomd.domain.replication import CopyRecord, PeerRecord, ReplicaRecord
from strongroomd.domain.rotations import ScheduleRecord
from strongroomd.domain.xks.records import Pinning
from strongroomd.storage.schema import RECORD_TABLES

pytestmark = pytest.mark.softhsm

EVERYBODY = '{"Statement": [{"Effect": "Allow", "Action": "xks:*"}]}'
SAMPLED = (
    *(ScheduleRecord, DeletionRecord, MaterialRecord, WrappingPairRecord, WrappingKeyRecord),
    *(ApproverRecord, ApprovalRequestRecord, ApprovalRecord, QuorumRecord),
    *(PeerRecord, CopyRecord, ReplicaRecord),
)
"""Kinds whose records need more of a world than there is here."""
HANDFULS = [list(RECORD_KINDS)[start::4] for start in range(4)]
"""Kinds whose records are tried in one world: to make it takes longer than to try most of them."""
SHORT = 16  # bytes of which every bit is flipped; of longer values, a sample
SAMPLE = 24


async def stocked(core: Core) -> KeyRecord:
    """A store with a record of every kind."""
    key = await core.create()
    await core.keys.rotate(core.caller(), key.key_id)
    await core.create(CustodyMode.RESIDENT)
    plant(core.opened.vault, label := f"theirs-{uuid.uuid4().hex}", os.urandom(8))
    await core.adoptions.adopt(core.caller(), NewAdoption(label=label))
    await core.aliases.create(core.caller(), "alias/one", key.key_id)
    await core.limits.put(core.caller(), LimitScope.KEY, key.key_id, 10, 20)
    await core.requests.request(core.caller(), Wanted(LimitScope.KEY, key.key_id, Rate(30, 40), "more"))
    await stock_callers(core)
    shop = make_shop(core)
    store = await shop.store(policy=EVERYBODY)
    await shop.add(store, key, pinning=Pinning.FIXED, kms_key_arn=KMS_KEY)
    await shop.credentials.create(shop.caller(), store.store_id)
    await Invocations(core.ledger).take(await core.catalog.version(await core.catalog.entry(key.key_id)))
    context = Constraints(subset=(("tenant", "7"),))
    lent = NewGrant(ADMIN.arn, frozenset({Action.DECRYPT}), context, ADMIN.arn, "a name")
    await core.grants.create(core.caller(), key.key_id, lent)
    async with core.ledger.change() as change:
        await change.put(RewrapRecord("", "00" * 16, RewrapState.DONE, 2, 1, 1, 200, 1, 2, ADMIN.arn))
        for made in map(sample, SAMPLED):
            of_key = hasattr(made, "key_id")
            await change.put(dataclasses.replace(made, key_id=key.key_id) if of_key else made)
    return key


async def stock_callers(core: Core) -> None:
    """An account, a user, and what speaks for it."""
    user, rooms = "arn:aws:iam::444455556666:user/alice", core.rooms
    await rooms.accounts.create(core.caller(), "444455556666", "blue")
    await rooms.principals.create(core.caller(), NewPrincipal(user, "a user", (("team", "blue"),)))
    await rooms.identities.add(core.caller(), user, uri_fact("spiffe://example.org/alice"))
    key = await rooms.access_keys.create(core.caller(), user)
    core.addresses.used(key.record.access_key_id, "192.0.2.1")
    await core.addresses.flush()


async def detected(core: Core, kind: type[Record], record_id: str) -> bool:
    """Load the record as its next use would."""
    return await _fails(core.ledger.read(kind, record_id))


async def found_by_scan(core: Core) -> bool:
    """Make one pass of the background scan; these stores are smaller than a batch."""
    return await _fails(core.upkeep.scan())


async def _fails(work: Awaitable[object]) -> bool:
    """Whether the work ends with INTEGRITY_FAILURE; nothing else counts as detection."""
    try:
        await work
    except StrongroomError as error:
        if error.reason is Reason.INTEGRITY_FAILURE:
            return True
        raise
    return False


async def refused_at_start(core: Core, ledger: Ledger | None = None) -> str:
    with pytest.raises(StrongroomError) as caught:
        await (ledger or core.reborn()).start()
    assert caught.value.reason is Reason.INTEGRITY_FAILURE
    return caught.value.detail or ""


def flips(value: object) -> Iterator[object]:
    """The value with single bits flipped: all bits of a short one, some of a long one."""
    if isinstance(value, int):
        yield from (value ^ (1 << bit) for bit in range(63))
        return
    data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
    bits = range(len(data) * 8)
    for bit in bits if len(data) <= SHORT else sorted(random.sample(bits, SAMPLE)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        yield bytes(flipped)


def put(core: Core, table: str, column: str, where: str, key: object, value: object, like: object) -> None:
    """Set a column; bytes become text where text was, as a flipped bit in the file would have it."""
    with core.behind() as connection:
        connection.execute(setting(table, column, where, like), (value, key))


def setting(table: str, column: str, where: str, like: object) -> str:
    """The statement that does so."""
    place = "CAST(? AS TEXT)" if isinstance(like, str) else "?"
    return f"UPDATE {table} SET {column} = {place} WHERE {where} = ?"


@pytest.mark.slow
@pytest.mark.parametrize("kinds", HANDFULS, ids=", ".join)
async def test_every_flipped_bit_of_every_column_is_detected_on_load(core: Core, kinds: list[str]) -> None:
    await stocked(core)
    for kind in kinds:
        assert await unnoticed_flips(core, RECORD_KINDS[kind]) == []


async def unnoticed_flips(core: Core, kind: type[Record]) -> list[tuple[str, object, object]]:
    """Flip the bits of one record, one after another, and load it each time; gives what was believed."""
    table = RECORD_TABLES[kind].name
    row = core.rows(f"SELECT * FROM {table} ORDER BY record_id LIMIT 1")[0]
    unnoticed, tried = [], 0
    with core.behind() as connection:
        for column, value in row.items():
            statement = setting(table, column, "record_id", value)
            for flipped in flips(value) if column != "record_id" else ():
                connection.execute(statement, (flipped, row["record_id"]))
                connection.commit()
                tried += 1
                if not await detected(core, kind, row["record_id"]):
                    unnoticed.append((column, value, flipped))
            connection.execute(statement, (value, row["record_id"]))
            connection.commit()
    assert tried > 100
    assert not await detected(core, kind, row["record_id"])
    return unnoticed


@pytest.mark.parametrize("kinds", HANDFULS, ids=", ".join)
async def test_one_flipped_bit_of_each_column_is_found_by_the_scan(core: Core, kinds: list[str]) -> None:
    await stocked(core)
    assert not await found_by_scan(core)
    for kind in kinds:
        table = RECORD_TABLES[RECORD_KINDS[kind]].name
        row = core.rows(f"SELECT * FROM {table} ORDER BY record_id DESC LIMIT 1")[0]

        for column, value in row.items():
            if column != "record_id" and (flipped := next(flips(value), None)) is not None:
                put(core, table, column, "record_id", row["record_id"], flipped, value)
                assert await found_by_scan(core), (kind, column)
                put(core, table, column, "record_id", row["record_id"], value, value)


async def test_a_bad_record_does_not_stop_the_scan_from_looking_at_the_others(core: Core) -> None:
    for _ in range(3):
        await core.create()
    core.edit("UPDATE keys SET description = 'edited'")
    failures: list[str] = []
    core.ledger._meter = SimpleNamespace(failed=lambda: failures.append("seen"), changed=lambda _: None)

    assert await found_by_scan(core)

    assert len(failures) == 3
    assert not core.upkeep._unscanned


async def test_rows_that_swap_places_are_detected(core: Core) -> None:
    one, two = await core.create(), await core.create()
    columns = [f.name for f in dataclasses.fields(VersionRecord) if f.name not in ("key_id", "version")] + [
        "mac"
    ]
    rows = {row["key_id"]: row for row in core.rows("SELECT * FROM versions")}

    for key, other in ((one, two), (two, one)):
        values = [rows[other.key_id][column] for column in columns]
        assignments = ", ".join(f"{column} = ?" for column in columns)
        core.edit(f"UPDATE versions SET {assignments} WHERE key_id = ?", *values, key.key_id)

    assert await detected(core, VersionRecord, f"{one.key_id}/1")
    assert await detected(core, VersionRecord, f"{two.key_id}/1")
    assert await found_by_scan(core)


async def test_a_row_with_another_rows_identity_is_detected(core: Core) -> None:
    one, two = await core.create(), await core.create()

    core.edit("UPDATE keys SET record_id = 'x' WHERE record_id = ?", one.key_id)
    core.edit("UPDATE keys SET record_id = ? WHERE record_id = ?", one.key_id, two.key_id)
    core.edit("UPDATE keys SET record_id = ? WHERE record_id = 'x'", two.key_id)

    assert await detected(core, KeyRecord, one.key_id)
    assert await detected(core, KeyRecord, two.key_id)


@pytest.mark.parametrize("kind", RECORD_KINDS.values(), ids=RECORD_KINDS)
async def test_a_deleted_row_is_detected_on_load_and_by_the_scan(core: Core, kind: type[Record]) -> None:
    await stocked(core)
    table = RECORD_TABLES[kind].name
    record_id = core.rows(f"SELECT record_id FROM {table} LIMIT 1")[0]["record_id"]

    core.edit(f"DELETE FROM {table} WHERE record_id = ?", record_id)

    assert await detected(core, kind, record_id)
    assert await found_by_scan(core)


async def test_an_older_valid_copy_of_a_row_is_detected(own_core: Core) -> None:
    core = own_core
    key = await core.create()
    disabled = core.rows("SELECT * FROM keys")[0]
    await core.keys.disable(core.caller(), key.key_id)

    assignments = ", ".join(f"{column} = ?" for column in disabled)
    core.edit(f"UPDATE keys SET {assignments}", *disabled.values())

    assert await detected(core, KeyRecord, key.key_id)
    assert await found_by_scan(core)
    await core.upkeep.checkpoint()
    reborn = core.reborn()
    await reborn.start()
    with pytest.raises(StrongroomError):
        await reborn.read(KeyRecord, key.key_id)


async def test_a_deleted_alias_that_comes_back_is_detected(core: Core) -> None:
    key = await core.create()
    await core.aliases.create(core.caller(), "alias/gone", key.key_id)
    row = core.rows("SELECT * FROM aliases")[0]
    await core.aliases.delete(core.caller(), "alias/gone")

    core.edit(f"INSERT INTO aliases VALUES ({', '.join('?' * len(row))})", *row.values())

    assert await detected(core, AliasRecord, row["record_id"])
    assert await found_by_scan(core)


async def test_an_alias_pointed_at_another_key_is_detected(own_core: Core) -> None:
    core = own_core
    one, two = await core.create(), await core.create()
    await core.aliases.create(core.caller(), "alias/payments", one.key_id)

    core.edit("UPDATE aliases SET key_id = ?", two.key_id)
    await core.upkeep.checkpoint()
    reborn = core.reborn()
    await reborn.start()

    with pytest.raises(StrongroomError) as caught:
        await reborn.read(AliasRecord, core.rows("SELECT record_id FROM aliases")[0]["record_id"])
    assert caught.value.reason is Reason.INTEGRITY_FAILURE
    assert await found_by_scan(core)


async def test_a_row_that_the_daemon_never_wrote_is_detected(core: Core) -> None:
    key = await core.create()
    row = core.rows("SELECT * FROM keys")[0] | {"record_id": "mrk-" + "0" * 32, "key_id": "mrk-" + "0" * 32}

    core.edit(f"INSERT INTO keys VALUES ({', '.join('?' * len(row))})", *row.values())

    assert await detected(core, KeyRecord, row["record_id"])
    assert await found_by_scan(core)
    assert not await detected(core, KeyRecord, key.key_id)


@pytest.mark.parametrize("column", ["kind", "record_id", "row_version", "row_mac", "head", "head_mac"])
async def test_an_edited_journal_entry_refuses_the_start(core: Core, column: str) -> None:
    await stocked(core)
    last = core.rows("SELECT * FROM journal ORDER BY sequence DESC LIMIT 1")[0]

    flipped = list(flips(last[column]))[-1]
    put(core, "journal", column, "sequence", last["sequence"], flipped, last[column])

    await refused_at_start(core)


async def test_an_early_journal_entry_edited_while_the_daemon_runs_is_found_by_the_scan(core: Core) -> None:
    await stocked(core)

    core.edit("UPDATE journal SET row_version = 7 WHERE sequence = 2")

    assert await found_by_scan(core)
    await refused_at_start(core)


async def test_a_removed_journal_entry_refuses_the_start(core: Core) -> None:
    await stocked(core)

    core.edit("DELETE FROM journal WHERE sequence = 3")

    assert await found_by_scan(core)
    await refused_at_start(core)


async def test_a_truncated_journal_is_found_by_the_scan_and_by_the_anchor(own_core: Core) -> None:
    core = own_core
    key = await stocked(core)
    await core.upkeep.checkpoint()
    await core.keys.disable(core.caller(), key.key_id)
    await core.upkeep.checkpoint()

    core.edit("DELETE FROM journal WHERE sequence = (SELECT max(sequence) FROM journal)")

    assert await found_by_scan(core)
    assert "older" in await refused_at_start(core)


async def test_a_journal_rewritten_without_the_token_refuses_the_start(core: Core) -> None:
    """Whoever computes a right chain still cannot make the head's MAC."""
    await stocked(core)
    rows = core.rows("SELECT * FROM journal ORDER BY sequence")
    head = journal.GENESIS
    for row in rows:
        version = row["row_version"] + (row["sequence"] == 2)
        head = journal.next_head(
            head, row["sequence"], row["kind"], row["record_id"], version, row["row_mac"]
        )
        core.edit(
            "UPDATE journal SET row_version = ?, head = ? WHERE sequence = ?", version, head, row["sequence"]
        )

    assert await refused_at_start(core)


async def test_an_older_database_refuses_the_start(own_core: Core) -> None:
    core = own_core
    key = await stocked(core)
    await core.upkeep.checkpoint()
    shutil.copy(core.database, core.folder / "older.db")
    await core.keys.disable(core.caller(), key.key_id)
    await core.upkeep.checkpoint()
    anchor = await core.vault.read_anchor()

    shutil.copy(core.folder / "older.db", core.database)

    assert anchor == Anchor(core.ledger.sequence, core.ledger.head, *_checkpoint(anchor))
    assert "older" in await refused_at_start(core)
    assert await detected(core, KeyRecord, key.key_id)


def _checkpoint(anchor: Anchor | None) -> tuple[int, bytes]:
    assert anchor is not None
    return anchor.checkpoint, anchor.checkpoint_hash


async def test_another_history_of_the_same_length_refuses_the_start(own_core: Core) -> None:
    """A fork: the older database went on elsewhere, with the same token key, and is now put in place."""
    core = own_core
    key = await stocked(core)
    shutil.copy(core.database, core.folder / "older.db")
    await core.keys.disable(core.caller(), key.key_id)
    await core.upkeep.checkpoint()
    shutil.copy(core.folder / "older.db", core.database)
    fork = core.reborn()
    await fork._read_on(None)
    for _ in range(2):
        async with fork.change() as change:
            current = await change.get(KeyRecord, key.key_id)
            assert current is not None
            await change.put(dataclasses.replace(current, row_version=current.row_version + 1))

    assert "not the one that the token remembers" in await refused_at_start(core)


async def test_an_edited_idempotency_answer_is_refused(core: Core) -> None:
    await core.create(request_id="once")
    answer = core.rows("SELECT * FROM answers")[0]

    for column in ("fingerprint", "answer", "created_at", "method", "mac"):
        value = answer[column]
        flipped = value - 90_000_000 if isinstance(value, int) else next(iter(flips(value)))
        put(core, "answers", column, "request_id", "once", flipped, value)
        with pytest.raises(StrongroomError) as caught:
            await core.create(request_id="once")
        assert caught.value.reason is Reason.INTEGRITY_FAILURE, column
        put(core, "answers", column, "request_id", "once", value, value)

    again = await core.create(request_id="once")
    assert [row["record_id"] for row in core.rows("SELECT record_id FROM keys")] == [again.key_id]


async def test_an_answer_moved_to_another_idempotency_key_is_refused(core: Core) -> None:
    await core.create(request_id="mine")

    core.edit("UPDATE answers SET request_id = 'other'")

    with pytest.raises(StrongroomError) as caught:
        await core.create(request_id="other")
    assert caught.value.reason is Reason.INTEGRITY_FAILURE


async def test_a_failed_row_is_never_served(own_core: Core) -> None:
    core = own_core
    key = await core.create()
    await core.use(key.key_id)
    core.edit("UPDATE versions SET check_value = ?", b"\0" * 8)
    fresh = await _fresh_catalog(core)

    with pytest.raises(StrongroomError) as caught:
        await fresh.version(await fresh.entry(key.key_id))

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


async def _fresh_catalog(core: Core) -> Any:
    await core.upkeep.checkpoint()
    ledger = core.reborn()
    await ledger.start()
    return Catalog(ledger, core.vault, core.catalog.realm)


async def test_a_house_record_that_was_edited_is_detected(core: Core) -> None:
    record = core.opened.house[0]

    core.edit("UPDATE house SET check_value = ? WHERE record_id = ?", b"x", record.record_id)

    assert await detected(core, HouseRecord, record.record_id)


async def test_a_limit_that_was_raised_behind_the_back_is_detected(core: Core) -> None:
    key = await core.create()
    await core.limits.put(core.caller(), LimitScope.KEY, key.key_id, 10, 20)

    core.edit("UPDATE limits SET per_second = 1000000")

    assert await detected(core, LimitRecord, f"KEY/{key.key_id}")
