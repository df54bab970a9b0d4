"""The store keeps what it was given, says so only when it is durable, and believes no edited row."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import (
    AliasRecord,
    HouseRecord,
    KeyRecord,
    KeyState,
    LimitRecord,
    LimitScope,
    VersionRecord,
    VersionState,
)
from strongroomd.ports import Answer, JournalEntry, Stored, Usage
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import SqlStore, open_store

MAC = bytes(32)
MakeKey = Callable[..., KeyRecord]
MakeVersion = Callable[..., VersionRecord]


def entry(sequence: int) -> JournalEntry:
    return JournalEntry(sequence, "key", "k1", 1, MAC, MAC, MAC)


def answer(request_id: str = "r1", created_at: int = 5) -> Answer:
    return Answer("arn", request_id, "CreateKey", b"f" * 32, b"{}", created_at, MAC)


def edit(database: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(sql, values)
    connection.close()


def damage(database: Path) -> None:
    data = bytearray(database.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    database.write_bytes(data)


async def put(store: SqlStore, *records: object, mac: bytes = MAC) -> None:
    async with store.transaction() as transaction:
        for record in records:
            await transaction.put(record, mac)  # type: ignore[arg-type]


async def test_every_kind_of_record_comes_back_as_it_was_put(
    store: SqlStore, make_key: MakeKey, make_version: MakeVersion
) -> None:
    records = [
        make_key(),
        make_version(),
        AliasRecord("111122223333", "alias/a", "k1", 1, 2),
        LimitRecord(LimitScope.KEY, "k1", 10, 20),
        HouseRecord("kek", "ab", b"", b"c"),
    ]

    await put(store, *records, mac=b"m" * 32)

    for record in records:
        assert await store.get(type(record), record.record_id) == Stored(record, b"m" * 32)
        assert await store.all(type(record)) == [Stored(record, b"m" * 32)]


async def test_a_missing_record_is_none(store: SqlStore) -> None:
    assert await store.get(KeyRecord, "none") is None
    async with store.transaction() as transaction:
        assert await transaction.get(KeyRecord, "none") is None


async def test_a_second_first_version_is_refused(store: SqlStore, make_key: MakeKey) -> None:
    await put(store, make_key())

    with pytest.raises(StrongroomError) as caught:
        await put(store, make_key())

    assert caught.value.reason is Reason.ALREADY_EXISTS


@pytest.mark.parametrize("row_version", [1, 3, 4])
async def test_a_gap_in_row_versions_is_refused(store: SqlStore, make_key: MakeKey, row_version: int) -> None:
    await put(store, make_key())
    changed = make_key(state=KeyState.DISABLED, row_version=row_version)

    with pytest.raises(StrongroomError) as caught:
        await put(store, changed)

    expected = Reason.ALREADY_EXISTS if row_version == 1 else Reason.ETAG_MISMATCH
    assert caught.value.reason is expected
    stored = await store.get(KeyRecord, "k1")
    assert stored is not None
    assert stored.record == make_key()


async def test_the_next_row_version_replaces_the_record(store: SqlStore, make_key: MakeKey) -> None:
    await put(store, make_key())
    changed = make_key(state=KeyState.DISABLED, tags=(), row_version=2)

    await put(store, changed, mac=b"n" * 32)

    assert await store.get(KeyRecord, "k1") == Stored(changed, b"n" * 32)


async def test_a_failed_block_leaves_nothing(store: SqlStore, make_key: MakeKey) -> None:
    async def fail() -> None:
        async with store.transaction() as transaction:
            await transaction.put(make_key(), MAC)
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        await fail()

    assert await store.get(KeyRecord, "k1") is None


async def test_a_cancelled_block_leaves_nothing_and_the_writer_free(
    store: SqlStore, make_key: MakeKey
) -> None:
    async def stay() -> None:
        async with store.transaction() as transaction:
            await transaction.put(make_key(), MAC)
            await asyncio.sleep(60)

    for delay in (0.0, 0.0005, 0.001, 0.002, 0.05):
        task = asyncio.create_task(stay())
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert await store.get(KeyRecord, "k1") is None
    await put(store, make_key())


async def test_keys_and_versions_are_never_deleted(
    store: SqlStore, database: Path, make_key: MakeKey, make_version: MakeVersion
) -> None:
    await put(store, make_key(), make_version())

    for record in (make_key(), make_version(), HouseRecord("r", "h", b"", b"")):
        with pytest.raises(StrongroomError) as caught:
            async with store.transaction() as transaction:
                await transaction.delete(record)
        assert caught.value.reason is Reason.INTERNAL
    with pytest.raises(sqlite3.IntegrityError, match="rows are kept"):
        edit(database, "DELETE FROM versions")


async def test_an_alias_is_deleted_only_as_it_was_read(store: SqlStore, make_key: MakeKey) -> None:
    alias = AliasRecord("1", "alias/a", "k1", 1, 1)
    await put(store, make_key(), alias)

    with pytest.raises(StrongroomError) as caught:
        async with store.transaction() as transaction:
            await transaction.delete(replace(alias, row_version=2))
    assert caught.value.reason is Reason.ETAG_MISMATCH
    async with store.transaction() as transaction:
        assert [found.record for found in await transaction.aliases_of("k1")] == [alias]
        await transaction.delete(alias)
        assert await transaction.aliases_of("k1") == []

    await put(store, alias)


async def test_a_version_without_its_key_is_refused_at_commit(
    store: SqlStore, make_key: MakeKey, make_version: MakeVersion
) -> None:
    with pytest.raises(StrongroomError) as caught:
        await put(store, make_version())
    assert caught.value.reason is Reason.INTERNAL

    await put(store, make_version(), make_key())


async def test_versions_come_oldest_first(
    store: SqlStore, make_key: MakeKey, make_version: MakeVersion
) -> None:
    await put(store, make_key(), *(make_version(version=n) for n in (10, 2, 1)))

    assert [found.record.version for found in await store.versions("k1")] == [1, 2, 10]


async def test_pages_are_ordered_bounded_and_filtered(store: SqlStore, make_key: MakeKey) -> None:
    await put(store, *(make_key(f"k{n}", account="1" if n % 2 else "2") for n in range(9)))

    first = await store.page(KeyRecord, after="", limit=3, where={"account": "1"})
    rest = await store.page(KeyRecord, after=first[-1].record.record_id, limit=3, where={"account": "1"})

    assert [found.record.key_id for found in first + rest] == ["k1", "k3", "k5", "k7"]


async def test_only_keys_whose_deletion_is_due_are_due(store: SqlStore, make_key: MakeKey) -> None:
    pending = KeyState.PENDING_DELETION
    await put(
        store,
        make_key("a", state=pending, deletion_at=10),
        make_key("b", state=pending, deletion_at=11),
        make_key("c", state=pending, deletion_at=0),
        make_key("d", deletion_at=5),
    )

    assert [found.record.key_id for found in await store.due(pending, 10)] == ["a"]


async def test_unsettled_and_resident_list_token_objects_only(
    store: SqlStore, make_key: MakeKey, make_version: MakeVersion
) -> None:
    versions = [
        make_version(version=n, hsm_id=hsm_id, state=state)
        for n, (hsm_id, state) in enumerate(
            [
                ("a", VersionState.INTENT),
                ("b", VersionState.ACTIVE),
                ("c", VersionState.DESTROYING),
                ("", VersionState.ACTIVE),
            ],
            1,
        )
    ]
    await put(store, make_key(), *versions)

    assert [found.record.hsm_id for found in await store.unsettled()] == ["a", "c"]
    assert [found.record.hsm_id for found in await store.resident()] == ["a", "b", "c"]


async def test_the_journal_is_gapless_and_append_only(store: SqlStore, database: Path) -> None:
    async with store.transaction() as transaction:
        await transaction.append(entry(1))
        await transaction.append(entry(2))

    for wrong in (2, 4):
        with pytest.raises(StrongroomError) as caught:
            async with store.transaction() as transaction:
                await transaction.append(entry(wrong))
        assert caught.value.reason is Reason.INTERNAL
    for statement in ("DELETE FROM journal", "UPDATE journal SET kind = ''"):
        with pytest.raises(sqlite3.IntegrityError):
            edit(database, statement)
    assert await store.journal(1, 10) == [entry(2)]


async def test_an_answer_is_remembered_once_until_it_is_purged(store: SqlStore) -> None:
    async with store.transaction() as transaction:
        await transaction.put_answer(answer())
        assert await transaction.answer("arn", "r1") == answer()

    with pytest.raises(StrongroomError) as caught:
        async with store.transaction() as transaction:
            await transaction.put_answer(answer(created_at=9))
    assert caught.value.reason is Reason.ALREADY_EXISTS
    assert await store.answer("arn", "r1") == answer()
    assert await store.purge_answers(5) == 0
    assert await store.purge_answers(6) == 1
    assert await store.answer("arn", "r1") is None


async def test_usage_adds_counts_and_never_moves_time_back(store: SqlStore) -> None:
    await store.add_usage([])
    await store.add_usage(
        [Usage("k", "Encrypt", 2, 9), Usage("k", "Encrypt", 3, 4), Usage("k", "Sign", 1, 1)]
    )

    assert await store.usage("k") == [Usage("k", "Encrypt", 5, 9), Usage("k", "Sign", 1, 1)]


async def test_a_lease_has_one_holder_until_it_ends(store: SqlStore) -> None:
    assert await store.lease("upkeep", "a", 1_000, 5)
    assert not await store.lease("upkeep", "b", 5_999, 5)
    assert await store.lease("upkeep", "a", 5_000, 5)
    assert not await store.lease("upkeep", "b", 6_001, 5)
    assert await store.lease("upkeep", "b", 10_000, 5)


async def test_a_lease_from_before_the_clock_went_back_does_not_count(store: SqlStore) -> None:
    assert await store.lease("upkeep", "a", 10_000_000, 5)

    assert await store.lease("upkeep", "b", 1_000, 5)


async def test_an_edited_lease_is_free(store: SqlStore, database: Path) -> None:
    assert await store.lease("upkeep", "a", 1_000, 5)
    edit(database, "UPDATE leases SET expires_at = 'never'")

    assert await store.lease("upkeep", "b", 1_000, 5)


async def test_only_one_of_many_takes_a_free_lease(url: str) -> None:
    stores = [open_store(StoreSettings(url)) for _ in range(3)]

    taken = await asyncio.gather(*(store.lease("x", str(n), 1, 5) for n, store in enumerate(stores)))

    assert sorted(taken) == [False, False, True]
    for store in stores:
        await store.close()


EDITS = [
    ("state", "Wonderful"),
    ("state", 7),
    ("exportable", 2),
    ("exportable", "no"),
    ("created_at", "yesterday"),
    ("created_at", 1.5),
    ("policy", b"{}"),
    ("tags", "{"),
    ("tags", '[["a"]]'),
    ("tags", '[["a", 1]]'),
    ("tags", '{"a": "b"}'),
    ("mac", "text"),
    ("mac", 10**12),
    ("key_id", "k2"),
    ("record_id", "k3"),
]


@pytest.mark.parametrize(("column", "value"), EDITS)
async def test_an_edited_row_is_an_integrity_failure(
    store: SqlStore, database: Path, make_key: MakeKey, column: str, value: object
) -> None:
    await put(store, make_key())
    edit(database, f"UPDATE keys SET {column} = ?", value)

    with pytest.raises(StrongroomError) as caught:
        await store.all(KeyRecord)

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


async def test_text_that_is_not_utf8_is_an_integrity_failure(
    store: SqlStore, database: Path, make_key: MakeKey
) -> None:
    await put(store, make_key())
    edit(database, "UPDATE keys SET description = CAST(x'ff00fe' AS TEXT)")

    with pytest.raises(StrongroomError) as caught:
        await store.get(KeyRecord, "k1")

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


async def test_two_rows_that_swapped_ids_are_an_integrity_failure(
    store: SqlStore, database: Path, make_key: MakeKey
) -> None:
    await put(store, make_key("k1"), make_key("k2"))
    for old, new in (("k1", "t"), ("k2", "k1"), ("t", "k2")):
        edit(database, "UPDATE keys SET record_id = ? WHERE record_id = ?", new, old)

    with pytest.raises(StrongroomError) as caught:
        await store.get(KeyRecord, "k1")

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


async def test_a_damaged_file_is_an_integrity_failure(
    store: SqlStore, database: Path, make_key: MakeKey
) -> None:
    await put(store, *(make_key(f"k{n}") for n in range(200)))
    await store.close()
    damage(database)

    with pytest.raises(StrongroomError) as caught:
        await open_store(StoreSettings(f"sqlite:///{database}")).all(KeyRecord)

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


async def test_a_busy_store_is_unavailable_within_two_seconds(
    store: SqlStore, database: Path, make_key: MakeKey
) -> None:
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()

    outcomes = await asyncio.gather(
        put(store, make_key("a")), put(store, make_key("b")), return_exceptions=True
    )

    assert time.monotonic() - start < 2
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [Reason.STORE_UNAVAILABLE] * 2
    assert await store.get(KeyRecord, "a") is None, "reading goes on"
    other.execute("ROLLBACK")
    other.close()
    await put(store, make_key("a"))


async def test_a_reader_that_stays_makes_the_commit_fail_cleanly(
    store: SqlStore, database: Path, make_key: MakeKey
) -> None:
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM keys").fetchall()
    start = time.monotonic()

    with pytest.raises(StrongroomError) as caught:
        await put(store, make_key())

    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert time.monotonic() - start < 2
    other.execute("ROLLBACK")
    other.close()
    await put(store, make_key())


async def test_transactions_of_several_workers_lose_no_change(url: str, make_key: MakeKey) -> None:
    stores = [open_store(StoreSettings(url)) for _ in range(3)]
    await put(stores[0], make_key())

    async def change(store: SqlStore) -> None:
        for _ in range(5):
            async with store.transaction() as transaction:
                stored = await transaction.get(KeyRecord, "k1")
                assert stored is not None
                await transaction.put(replace(stored.record, row_version=stored.record.row_version + 1), MAC)

    await asyncio.gather(*(change(store) for store in stores))

    stored = await stores[0].get(KeyRecord, "k1")
    assert stored is not None
    assert stored.record.row_version == 16
    for store in stores:
        await store.close()


_WRITER = """
import asyncio, sys
from strongroomd.ports import JournalEntry
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import open_store

async def main():
    store = open_store(StoreSettings(sys.argv[1]))
    number = len(await store.journal(0, 1_000_000))
    while True:
        number += 1
        async with store.transaction() as transaction:
            await transaction.append(JournalEntry(number, "key", "k", 1, b"", b"", b""))
        print(number, flush=True)

asyncio.run(main())
"""


def kill_after_some(url: str, commits: int) -> int:
    """Let another process commit, kill it, and give the last number that it acknowledged."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(commits):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = [
        int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")
    ]
    process.wait()
    process.stdout.close()
    return max(acknowledged, default=0)


async def test_a_killed_writer_loses_no_acknowledged_commit(url: str) -> None:
    for commits in (1, 5, 17):
        acknowledged = await asyncio.to_thread(kill_after_some, url, commits)
        store = open_store(StoreSettings(url))

        entries = await store.journal(0, 10_000)

        assert [one.sequence for one in entries] == list(range(1, len(entries) + 1))
        assert len(entries) >= max(acknowledged, commits)
        async with store.transaction() as transaction:
            await transaction.append(entry(len(entries) + 1))
        await store.close()


async def test_a_busy_loop_does_not_starve_readers(store: SqlStore) -> None:
    stop = False

    async def burn() -> None:
        while not stop:
            sum(range(5_000))
            await asyncio.sleep(0)

    burning = asyncio.create_task(burn())
    start = time.monotonic()
    for _ in range(50):
        await store.get(KeyRecord, "k1")
    stop = True
    await burning

    assert time.monotonic() - start < 2
