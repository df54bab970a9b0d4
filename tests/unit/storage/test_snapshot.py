"""A copy of the store as it was at one moment, whoever writes meanwhile; and never another store's leftovers."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage import snapshot as module
from strongroomd.storage.snapshot import settle, snapshot


@pytest.fixture
def living(tmp_path: Path) -> Path:
    path = tmp_path / "living.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = TRUNCATE")
        database.execute("CREATE TABLE pairs (one INTEGER, two INTEGER, pad BLOB)")
        database.executemany("INSERT INTO pairs VALUES (0, 0, ?)", [(bytes(4_000),)] * 500)
        database.commit()
    return path


def test_what_is_copied_is_one_state_though_others_write_all_the_time(living: Path, tmp_path: Path) -> None:
    over = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(living, timeout=5)) as database:
            while not over.is_set():
                with database:
                    database.execute("UPDATE pairs SET one = one + 1")
                    database.execute("UPDATE pairs SET two = two + 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        snapshot(f"sqlite:///{living}", tmp_path / "copy")
    finally:
        over.set()
        writer.join()

    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT count(*), count(DISTINCT one) FROM pairs WHERE one = two").fetchone() == (
            500,
            1,
        )
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_a_store_that_never_rests_is_given_up(
    living: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", -1.0)
    monkeypatch.setattr(module, "_PAGES", 1)

    with pytest.raises(StrongroomError) as refusal:
        snapshot(f"sqlite:///{living}", tmp_path / "copy")

    assert refusal.value.reason is Reason.STORE_UNAVAILABLE


def test_a_damaged_store_is_not_saved(living: Path, tmp_path: Path) -> None:
    content = bytearray(living.read_bytes())
    content[4096 * 40 : 4096 * 41] = bytes(4096)
    living.write_bytes(content)

    with pytest.raises(StrongroomError) as refusal:
        snapshot(f"sqlite:///{living}", tmp_path / "copy")

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


def test_an_absent_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StrongroomError) as refusal:
        snapshot(f"sqlite:///{tmp_path / 'absent'}", tmp_path / "copy")

    assert refusal.value.reason is Reason.STORE_UNAVAILABLE
    assert not (tmp_path / "absent").exists()


def test_a_copy_is_never_written_over_something(living: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("living")

    with pytest.raises(StrongroomError):
        snapshot(f"sqlite:///{living}", tmp_path / "copy")

    assert (tmp_path / "copy").read_text() == "living"


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_a_settled_database_is_one_file(living: Path, mode: str) -> None:
    with closing(sqlite3.connect(living)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("INSERT INTO pairs VALUES (7, 7, x'')")
        database.commit()

    settle(living)

    assert [path.name for path in living.parent.glob("living.sqlite*")] == ["living.sqlite"]
    with closing(sqlite3.connect(living)) as database:
        assert database.execute("SELECT count(*) FROM pairs WHERE one = 7").fetchone() == (1,)
