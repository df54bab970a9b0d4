"""What was destroyed is in no file of the store any more, whatever the linked SQLite does by itself."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from strongroomd.domain.importing import ImportLevel, WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.materials import WrappingPairRecord
from strongroomd.domain.records import KeyRecord, VersionRecord, VersionState
from strongroomd.storage.store import SqlStore

SIZES = {"in a page": 40, "over several pages": 9_000}


@pytest.fixture(autouse=True)
def _lax_library() -> Iterator[None]:
    """Have each connection begin as most builds of SQLite do; Debian's is stricter by itself."""

    def begin(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA secure_delete = OFF")

    event.listen(Engine, "connect", begin)
    yield
    event.remove(Engine, "connect", begin)


def holds(database: Path, secret: bytes) -> bool:
    """Whether a piece of a secret is in any of the store's files; a page may have parted it, but not at 16 bytes."""
    pieces = [secret[at : at + 16] for at in range(0, len(secret) - 15, 16)]
    files = [path.read_bytes() for path in database.parent.glob(f"{database.name}*")]
    return any(piece in content for piece in pieces for content in files)


async def put(store: SqlStore, *records: Any) -> None:
    async with store.transaction() as transaction:
        for record in records:
            await transaction.put(record, b"mac")


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_a_destroyed_blob_is_gone(
    store: SqlStore,
    database: Path,
    make_key: Callable[..., KeyRecord],
    make_version: Callable[..., VersionRecord],
    size: int,
) -> None:
    secret = os.urandom(size)
    version = make_version(blob=secret)
    await put(store, make_key(), version)
    assert holds(database, secret)

    await put(store, dataclasses.replace(version, state=VersionState.DESTROYED, blob=b"", row_version=2))

    assert not holds(database, secret)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_a_deleted_row_is_gone(
    store: SqlStore, database: Path, make_key: Callable[..., KeyRecord], size: int
) -> None:
    secret, key = os.urandom(size), make_key()
    pair = WrappingPairRecord(
        key.key_id,
        "0" * 32,
        key.account,
        WrappingKeySpec.RSA_2048,
        WrappingAlgorithm.RSAES_OAEP_SHA_1,
        ImportLevel.TOKEN,
        1,
        2,
        "kek",
        secret,
        b"public",
    )
    await put(store, key, pair)
    assert holds(database, secret)

    async with store.transaction() as transaction:
        await transaction.delete(pair)

    assert not holds(database, secret)
