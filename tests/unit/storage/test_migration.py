"""A database is brought to the schema by migrations alone, and any other is refused with advice."""

import sqlite3
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from strongroomd.domain.algorithms import Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord, KeyManager, KeyRecord, VersionRecord, canonical
from strongroomd.domain.tokens import MAIN
from strongroomd.storage import migration
from strongroomd.storage.database import StoreSettings, journal_mode, parse_url, writing_engine
from strongroomd.storage.migration import SchemaState, migrate, schema_state
from strongroomd.storage.rows import encode
from strongroomd.storage.schema import METADATA, REVISIONS
from strongroomd.storage.store import open_store


def test_migrations_create_what_the_schema_declares(url: str) -> None:
    engine = writing_engine(parse_url(url))
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    engine.dispose()

    assert differences == []


def test_the_known_revisions_are_the_packaged_ones() -> None:
    scripts = ScriptDirectory(str(Path(migration.__file__).parent / "migrations"))

    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


VERSION_BEFORE: dict[str, str | int | bytes] = {
    "record_id": "k/1",
    "key_id": "k",
    "version": 1,
    "state": "ACTIVE",
    "created_at": 2,
    "kek_id": "kek",
    "hsm_id": "",
    "blob": b"blob",
    "length": 32,
    "public_key": b"",
    "check_value": b"check",
    "recovery_blob": b"",
    "row_version": 1,
    "mac": b"mac",
}


async def test_a_version_from_before_schemes_is_read_as_what_its_mac_was_made_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of revision 0001, with a row as that daemon wrote it, is brought to the newest schema."""
    path = tmp_path / "old.db"
    monkeypatch.setattr(command, "upgrade", partial(_upgrade_to, command.upgrade, "0001"))
    migrate(f"sqlite:///{path}")
    monkeypatch.undo()
    with sqlite3.connect(path) as connection:
        names = ", ".join(VERSION_BEFORE)
        places = ", ".join("?" * len(VERSION_BEFORE))
        connection.execute(f"INSERT INTO versions ({names}) VALUES ({places})", [*VERSION_BEFORE.values()])
    connection.close()
    assert schema_state(f"sqlite:///{path}") is SchemaState.OUTDATED

    migrate(f"sqlite:///{path}")
    store = open_store(StoreSettings(f"sqlite:///{path}"))
    stored = await store.get(VersionRecord, "k/1")
    await store.close()

    assert stored is not None
    assert (stored.record.scheme, stored.mac) == (Scheme.DEFAULT, b"mac")
    fields = [VERSION_BEFORE[name] for name in VERSION_BEFORE if name not in ("record_id", "mac")]
    parts = [b"version", b"0", *(f if isinstance(f, bytes) else str(f).encode() for f in fields)]
    framed = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    assert canonical(stored.record) == b"strongroom.record.v1" + framed


async def test_a_key_from_before_managers_is_its_customers_and_its_mac_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_key: Callable[..., KeyRecord]
) -> None:
    path, key = tmp_path / "old.db", make_key()
    before = {"record_id": "k1", **encode(key), "mac": b"mac"}
    for later in ("manager", "token", "quorum", "multi_region", "primary_region", "term"):
        del before[later]
    monkeypatch.setattr(command, "upgrade", partial(_upgrade_to, command.upgrade, "0007"))
    migrate(f"sqlite:///{path}")
    monkeypatch.undo()
    with sqlite3.connect(path) as connection:
        places = ", ".join("?" * len(before))
        connection.execute(f"INSERT INTO keys ({', '.join(before)}) VALUES ({places})", [*before.values()])
    connection.close()

    migrate(f"sqlite:///{path}")
    store = open_store(StoreSettings(f"sqlite:///{path}"))
    stored = await store.get(KeyRecord, "k1")
    await store.close()

    assert stored is not None
    assert (stored.record, stored.record.manager) == (key, KeyManager.CUSTOMER)
    assert b"manager" not in canonical(stored.record)


@pytest.mark.parametrize(("table", "kind"), [("house", HouseRecord), ("versions", VersionRecord)])
async def test_a_record_from_before_there_were_several_tokens_is_of_the_main_one(
    tmp_path: Path, table: str, kind: type[HouseRecord] | type[VersionRecord]
) -> None:
    path = tmp_path / "old.db"
    engine = writing_engine(parse_url(f"sqlite:///{path}"))
    migration._upgrade(engine, REVISIONS[REVISIONS.index("0009") - 1])
    engine.dispose()
    row = VERSION_BEFORE | {"scheme": "DEFAULT"} if table == "versions" else HOUSE_BEFORE
    with sqlite3.connect(path) as connection:
        places = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", [*row.values()])
    connection.close()

    migrate(f"sqlite:///{path}")
    store = open_store(StoreSettings(f"sqlite:///{path}"))
    (stored,) = await store.all(kind)
    await store.close()

    assert stored.record.token == MAIN
    assert b"token" not in canonical(stored.record)
    assert b"second" in canonical(replace(stored.record, token="second"))
    assert not any(name in canonical(stored.record) for name in (b"object_", b"uses", b"traits"))


HOUSE_BEFORE: dict[str, str | int | bytes] = {
    "record_id": "kek-sealed/ab",
    "role": "kek-sealed",
    "hsm_id": "ab",
    "public_key": b"",
    "check_value": b"check",
    "row_version": 1,
    "mac": b"mac",
}


def _upgrade_to(real: Callable[..., None], revision: str, config: Config, _: str) -> None:
    real(config, revision)


def test_migrating_twice_changes_nothing(url: str) -> None:
    migrate(url)

    assert schema_state(url) is SchemaState.CURRENT


def test_a_store_of_the_first_revision_keeps_what_it_holds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = writing_engine(parse_url(url))
    migration._upgrade(engine, REVISIONS[0])
    with engine.begin() as connection:
        row = "'CLASS/1/RSA', 'CLASS', '1/RSA', 5, 5, 1, x'00'"
        connection.exec_driver_sql(f"INSERT INTO limits VALUES ({row})")
    engine.dispose()
    assert schema_state(url) is SchemaState.OUTDATED

    migrate(url)

    assert schema_state(url) is SchemaState.CURRENT
    with sqlite3.connect(tmp_path / "old.db") as old:
        assert old.execute("SELECT subject FROM limits").fetchall() == [("1/RSA",)]
        assert old.execute("SELECT * FROM principals").fetchall() == []
    old.close()


def test_the_file_belongs_to_its_owner_alone(url: str, database: Path) -> None:
    assert database.stat().st_mode & 0o777 == 0o600


def test_looking_at_an_absent_database_does_not_make_it(tmp_path: Path) -> None:
    path = tmp_path / "none.db"

    assert schema_state(f"sqlite:///{path}") is SchemaState.ABSENT
    assert not path.exists()


@pytest.mark.parametrize(
    ("revision", "advice"), [("9999", "newer"), (None, "never set up")], ids=["newer", "empty"]
)
def test_another_schema_is_refused_with_advice(
    url: str, database: Path, revision: str | None, advice: str
) -> None:
    with sqlite3.connect(database) as connection:
        if revision:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        else:
            connection.execute("DROP TABLE alembic_version")
    connection.close()

    with pytest.raises(StrongroomError, match=advice) as caught:
        open_store(StoreSettings(url))

    assert caught.value.reason is Reason.CONFIGURATION


def test_a_newer_database_is_not_migrated(url: str, database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(StrongroomError, match="newer"):
        migrate(url)


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "postgresql://h/d", "sqlite:///a?b=c"]
)
def test_a_url_that_cannot_be_used_is_a_configuration_error(url: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        parse_url(url)

    assert (caught.value.reason, caught.value.field) == (Reason.CONFIGURATION, "store.url")


def test_a_database_in_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StrongroomError) as caught:
        migrate(f"sqlite:///{tmp_path}/none/a.db")

    assert caught.value.reason is Reason.STORE_UNAVAILABLE


def test_a_file_that_is_no_database_is_an_integrity_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(StrongroomError) as caught:
        schema_state(f"sqlite:///{path}")

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


@pytest.mark.parametrize(
    ("version", "mode"), [((3, 40, 1), "TRUNCATE"), ((3, 51, 2), "TRUNCATE"), ((3, 51, 3), "WAL")]
)
def test_wal_only_with_the_fixed_sqlite(version: tuple[int, ...], mode: str) -> None:
    assert journal_mode(version) == mode


def test_every_connection_is_set_up_for_durability(url: str) -> None:
    engine = writing_engine(parse_url(url))
    with engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "journal_mode", "foreign_keys")
        ]
    engine.dispose()

    assert found == [2, journal_mode().lower(), 1]
