"""Backup and restore as commands, on a real daemon, its token and a recovery token: what comes back, what is refused."""

import asyncio
import fcntl
import io
import json
import shutil
import sqlite3
import subprocess
import tarfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.commands import command, stopped
from tests.failpoints import steps
from tests.harness import ADMIN, allow, running
from tests.houses import House, fresh_token, make_house, told

from strongroom import Client
from strongroom.errors import StrongroomError as Refusal
from strongroomd.config import load
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.frontends.ops.signatures import checkpoint_verifier
from strongroomd.storage.backup_sets import new_identity
from strongroomd.wiring.backing import back_up
from strongroomd.wiring.restoring import Order, restore_set

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
EDWARDS = "ECC_NIST_EDWARDS25519"


@dataclass
class Saved:
    """A house that was saved while it served, and lived on; now it stands still.

    Attributes:
        older, newer: two sets.
        sealed: a ciphertext, under key `wrapped`.
        failed: calls that failed while the sets were made.
    """

    house: House
    older: Path
    newer: Path
    wrapped: str
    exportable: str
    resident: str
    sealed: bytes
    failed: list[str]
    calls: int

    def works(self, client: Client) -> None:
        """See that what was sealed before the backup opens now."""
        assert client.decrypt(self.sealed).plaintext == b"before the loss"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    house = make_house(tmp_path_factory.mktemp("backup") / "house")
    with running(house.folder) as daemon, daemon.client() as client:
        wrapped = client.create_key(policy=allow(ADMIN, "kms:*")).key_id
        exportable = client.create_key(exportable=True).key_id
        resident = client.create_key(spec=EDWARDS, usage="SIGN_VERIFY").key_id
        sealed = client.encrypt(wrapped, b"before the loss").ciphertext
        with Load(client, wrapped) as (failed, calls):
            older = house.backup("--with-tls-keys")
            client.create_alias("alias/later", wrapped)
            time.sleep(1.5)  # the anchor follows
            newer = house.backup()
        daemon.stop()
    return Saved(house, older, newer, wrapped, exportable, resident, sealed, failed, len(calls))


class Load:
    """Calls of every kind while the block runs: uses, and changes of the store."""

    def __init__(self, client: Client, key: str) -> None:
        self._client, self._key = client, key
        self._failed: list[str] = []
        self._calls: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> tuple[list[str], list[int]]:
        self._thread.start()
        return self._failed, self._calls

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            try:
                self._client.encrypt(self._key, b"load")
                self._client.tag_key(self._key, {"n": str(len(self._calls))})
            except Refusal as error:
                self._failed.append(error.reason)
            self._calls.append(1)


def refused(saved: Saved, made: Path, config: Path, **changed: object) -> StrongroomError:
    """Restore in this process what must be refused before a token is asked; gives the refusal."""
    house = saved.house
    values: dict[str, object] = {
        "folder": made,
        "signature_ok": checkpoint_verifier(house.public_key.read_bytes()),
        "identity": house.identity,
        **changed,
    }
    before = sorted(config.parent.rglob("*"))
    with pytest.raises(StrongroomError) as refusal:
        asyncio.run(restore_set(load(config, check_files=False), Order(**values)))  # type: ignore[arg-type]
    left = [path for path in sorted(config.parent.rglob("*")) if path not in before]
    assert [path.name for path in left if path.name not in {"state", "run"}] == []
    return refusal.value


@pytest.fixture
def empty(saved: Saved, tmp_path: Path) -> Path:
    """The configuration of an empty target."""
    return saved.house.target(tmp_path / "target")


@pytest.fixture
def copied(saved: Saved, tmp_path: Path) -> Path:
    """A copy of the newer set, to be damaged."""
    return Path(shutil.copytree(saved.newer, tmp_path / saved.newer.name))


# Making sets.


def test_the_daemon_serves_on_while_it_is_saved(saved: Saved) -> None:
    assert saved.failed == []
    assert saved.calls > 10


def test_openssl_alone_verifies_whose_a_set_is(saved: Saved) -> None:
    for made in (saved.older, saved.newer):
        verify = ["openssl", "dgst", "-sha256", "-verify", str(saved.house.public_key)]
        verify += ["-signature", str(made / "statement.sig"), str(made / "statement.json")]
        assert subprocess.run(verify, check=False, capture_output=True).stdout == b"Verified OK\n"


def members(saved: Saved, made: Path) -> dict[str, bytes]:
    """Look into a set with what anybody has: age and tar."""
    text = saved.house.identity.read_text().splitlines()[1]
    plain = pyrage.decrypt((made / "payload.age").read_bytes(), [pyrage.x25519.Identity.from_str(text)])
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def test_a_set_holds_everything_but_pins_and_private_tls_keys(saved: Saved) -> None:
    found = members(saved, saved.newer)
    pin = (saved.house.folder / "token" / "pin").read_bytes()

    assert {
        "manifest.json",
        "store.sqlite",
        "keys.jsonl",
        "strongroomd.toml",
        "audit/checkpoints.jsonl",
    } < set(found)
    assert sum(name.endswith("/token.object") for name in found) == 1
    assert not any(pin in content or b"PRIVATE KEY" in content for content in found.values())
    keys = [json.loads(line) for line in found["keys.jsonl"].splitlines()]
    assert {(key["key_id"], key["custody"], key["recoverable"]) for key in keys} == {
        (saved.wrapped, "WRAPPED", True),
        (saved.exportable, "WRAPPED", True),
        (saved.resident, "RESIDENT", False),
    }


def test_private_tls_keys_are_saved_where_that_is_asked_for(saved: Saved) -> None:
    found = members(saved, saved.older)

    assert found["tls/grpc-key_file"] == (saved.house.folder / "tls" / "server.key").read_bytes()


def test_a_backup_is_in_the_audit_log_before_and_after(saved: Saved) -> None:
    lines = [
        line
        for path in (saved.house.state / "audit").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    told_of = [line for line in lines if '"strongroom:Backup"' in line]

    assert len([line for line in told_of if '"intent"' in line]) >= 2
    assert any(saved.newer.name in line and '"outcome":"OK"' in line for line in told_of)


BAD_SETTINGS = {
    "no recipients": ('recipients_file = "recipients.txt"', "", "backup.recipients_file"),
    "no folder": ('directory = "sets"', "", "backup.directory"),
    "absent recipients": ("recipients.txt", "absent.txt", "backup.recipients_file"),
    "useless recipients": ("recipients.txt", "strongroomd.toml", "backup.recipients_file"),
}


@pytest.mark.parametrize(("old", "new", "field"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_no_backup_without_a_place_and_somebody_who_can_open_it(
    saved: Saved, tmp_path: Path, old: str, new: str, field: str
) -> None:
    config = saved.house.target(tmp_path / "other")
    config.write_text(config.read_text().replace(old, new))

    with pytest.raises(StrongroomError) as refusal:
        asyncio.run(back_up(load(config, check_files=False)))

    assert (refusal.value.reason, refusal.value.field) == (Reason.CONFIGURATION, field)


# Refused before a token is asked.


@pytest.mark.parametrize("name", ["payload.age", "statement.json", "statement.sig"])
@pytest.mark.parametrize(
    "damage", ["cut", "flipped first", "flipped middle", "flipped last", "longer", "gone"]
)
def test_a_damaged_set_is_refused(saved: Saved, copied: Path, empty: Path, name: str, damage: str) -> None:
    path = copied / name
    content = path.read_bytes()
    spot = {"flipped first": 0, "flipped middle": len(content) // 2, "flipped last": len(content) - 1}.get(
        damage
    )
    if damage == "gone":
        path.unlink()
    elif spot is not None:
        path.write_bytes(content[:spot] + bytes([content[spot] ^ 1]) + content[spot + 1 :])
    else:
        path.write_bytes(content[:-1] if damage == "cut" else content + b"\0")

    assert refused(saved, copied, empty).reason is Reason.INTEGRITY_FAILURE


def test_an_edited_statement_is_refused(saved: Saved, copied: Path, empty: Path) -> None:
    statement = copied / "statement.json"
    statement.write_text(statement.read_text().replace('"keys":3', '"keys":2'))

    assert refused(saved, copied, empty).reason is Reason.INTEGRITY_FAILURE


def test_the_parts_of_two_sets_make_no_set(saved: Saved, copied: Path, empty: Path) -> None:
    shutil.copy(saved.older / "payload.age", copied / "payload.age")

    assert refused(saved, copied, empty).reason is Reason.INTEGRITY_FAILURE


def test_a_set_of_another_house_is_refused(saved: Saved, empty: Path) -> None:
    """By the key that was kept: the other house signs as well as this one."""
    key = saved.house.folder / "kept-checkpoint-key.pem"

    error = refused(saved, saved.newer, empty, signature_ok=checkpoint_verifier(key.read_bytes()))

    assert error.reason is Reason.INTEGRITY_FAILURE


@pytest.mark.parametrize(
    ("old", "new"), [("111122223333", "222233334444"), ("[daemon]", '[daemon]\nregion = "x"')]
)
def test_a_set_of_another_account_or_region_is_refused(saved: Saved, empty: Path, old: str, new: str) -> None:
    empty.write_text(empty.read_text().replace(old, new))

    error = refused(saved, saved.newer, empty)

    assert (error.reason, error.field) == (Reason.CONFIGURATION, "daemon.account")


def test_another_recipient_is_refused(saved: Saved, empty: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(new_identity()[0])

    assert refused(saved, saved.newer, empty, identity=other).reason is Reason.INTEGRITY_FAILURE


IN_THE_WAY = ("strongroom.sqlite", "strongroom.sqlite-journal", "strongroom.sqlite-wal", "audit/a.jsonl")


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_is_there_is_not_overwritten(saved: Saved, empty: Path, name: str) -> None:
    path = empty.parent / "state" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("living")

    error = refused(saved, saved.newer, empty)

    assert (error.reason, error.field) == (Reason.CONFIGURATION, "restore")
    assert path.read_text() == "living"


# Refused by the token, or about it.


def test_a_wrong_pin_is_refused(saved: Saved, empty: Path) -> None:
    pin = empty.parent / "token" / "pin"
    pin.chmod(0o600)
    pin.write_text("another pin")

    done = saved.house.restore(saved.newer, empty)

    assert done.returncode == 78
    assert "the token refused the PIN" in done.stderr
    assert "another pin" not in done.stderr
    assert not (empty.parent / "state" / "strongroom.sqlite").exists()
    assert list((empty.parent / "token" / "tokens").iterdir()) == []


def test_a_missing_pin_is_refused(saved: Saved, empty: Path) -> None:
    (empty.parent / "token" / "pin").unlink()

    assert refused(saved, saved.newer, empty).reason is Reason.CONFIGURATION


def test_another_token_in_place_is_refused(saved: Saved, empty: Path) -> None:
    """A fresh one: it is not the set's, and is neither overwritten nor changed."""
    fresh_token(empty.parent / "token")
    before = sorted(path.name for path in (empty.parent / "token" / "tokens").rglob("*"))

    done = saved.house.restore(saved.newer, empty)

    assert done.returncode == 78
    assert "do not belong together" in done.stderr
    assert sorted(path.name for path in (empty.parent / "token" / "tokens").rglob("*")) == before
    assert not (empty.parent / "state" / "strongroom.sqlite").exists()


def in_place(saved: Saved, folder: Path) -> Path:
    """A target whose token is the living one, as it was after the newer set; store and audit log are lost."""
    config = saved.house.target(folder)
    shutil.rmtree(folder / "token" / "tokens")
    shutil.copytree(saved.house.tokens, folder / "token" / "tokens")
    return config


RESETS_NOTHING = ("take_proofs", "note_counted", "note_closed", "_settle")
"""Parts of a restore that must be done before the token forgets that it knew better."""


def test_an_older_set_is_refused_by_the_token_in_place_until_enough_people_signed_for_it(
    saved: Saved, tmp_path: Path
) -> None:
    config, request = in_place(saved, tmp_path / "target"), tmp_path / "request"
    people = [ed25519.Ed25519PrivateKey.generate() for _ in range(2)]
    keys = {f"{ADMIN}{n}": key.public_key() for n, key in enumerate(people)}
    der = {
        arn: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()
        for arn, key in keys.items()
    }
    (tmp_path / "keys").write_text(json.dumps(der))
    ask = ("--request-approval", str(request), "--requester", f"{ADMIN}0", "--purpose", "the store is lost")

    nobody = saved.house.restore(saved.older, config, *ask)
    assert "APPROVAL_REQUIRED" in nobody.stderr, "nobody is enrolled in this set, so nobody can ask"
    assert not request.exists()
    asked = saved.house.restore(saved.older, config, *ask, enrolled=tmp_path / "keys")
    assert (asked.returncode == 0, "APPROVAL_REQUIRED" in asked.stderr) == (False, True)
    assert json.loads(request.read_text())["parameters"]["set"] == saved.older.name
    assert not (config.parent / "state" / "strongroom.sqlite").exists()
    for n, key in enumerate(people):
        (tmp_path / f"signature{n}").write_bytes(key.sign(request.read_bytes()))
    signed = [part for n in range(2) for part in ("--approval", str(tmp_path / f"signature{n}"))]
    unknown = saved.house.restore(saved.older, config, "--approval-request", str(request), *signed)
    assert "INVALID_FIELD" in unknown.stderr, "nobody is enrolled in this set"
    assert not (config.parent / "state" / "strongroom.sqlite").exists()

    approved = ("--approval-request", str(request), *signed)
    for part in RESETS_NOTHING:
        failed = saved.house.restore(saved.older, config, *approved, enrolled=tmp_path / "keys", failing=part)
        assert "STORE_UNAVAILABLE" in failed.stderr, part
        again = saved.house.restore(saved.older, config, enrolled=tmp_path / "keys")
        assert "APPROVAL_REQUIRED" in again.stderr, f"after {part} failed the token still remembers"

    report = told(saved.house.restore(saved.older, config, *approved, enrolled=tmp_path / "keys"))

    assert report["path"] == "token in place"
    assert report["approved_by"] == sorted(keys)
    assert report["rolled_back"] > 0
    assert report["keys"] == {"WRAPPED": 2, "RESIDENT": 1}
    with closing(sqlite3.connect(config.parent / "state" / "strongroom.sqlite")) as store:
        assert store.execute("SELECT * FROM aliases").fetchall() == [], "what came later is forgotten"


def test_a_set_that_does_not_reach_the_checkpoint_that_somebody_kept_is_refused(
    saved: Saved, empty: Path, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    held.write_text(command("audit", "checkpoint", "--config", str(saved.house.config)).stdout)
    keys = (
        "--checkpoint",
        str(held),
        "--checkpoint-key",
        str(saved.house.folder / "kept-checkpoint-key.pem"),
    )

    done = saved.house.restore(saved.older, empty, *keys)

    assert done.returncode != 0
    assert "APPROVAL_REQUIRED" in done.stderr
    assert list((empty.parent / "token" / "tokens").iterdir()) == []


def test_no_restore_beside_a_daemon(saved: Saved, empty: Path) -> None:
    (empty.parent / "run").mkdir()
    with (empty.parent / "run" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = saved.house.restore(saved.newer, empty)

    assert done.returncode == 78
    assert "another daemon" in done.stderr


# Kills, and what comes back after them.


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, saved: Saved) -> Path:
    """A copy of the house's folder, for backups that are killed."""
    folder = tmp_path_factory.mktemp("own") / "house"
    shutil.copytree(saved.house.folder, folder)
    text = (folder / "token" / "softhsm2.conf").read_text()
    (folder / "token" / "softhsm2.conf").write_text(text.replace(str(saved.house.folder), str(folder)))
    shutil.rmtree(folder / "sets")
    return folder


def test_a_backup_that_is_killed_at_any_step_leaves_no_half_set(own: Path) -> None:
    config, sets = str(own / "strongroomd.toml"), own / "sets"
    last = steps("backup")[-1]

    for step in steps("backup"):
        if step == "backup.5":  # in tests/unit/storage/test_backup_sets.py
            continue
        stopped(step, "backup", "--config", config)
        whole = list(sets.glob("[0-9]*")) if sets.exists() else []
        assert len(whole) == (1 if step == last else 0), step

    done = command("backup", "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    assert len(list(sets.glob("[0-9]*"))) == 2
    assert list(sets.glob(".*.partial")) == []
    assert not (own / "state" / "backup.staging").exists()


EDITS = {
    "edited": "UPDATE keys SET description = 'other'",
    "removed": "DELETE FROM aliases",
    "added": "INSERT INTO aliases SELECT 'x', account, 'alias/x', key_id, created_at, updated_at, row_version, mac FROM aliases",
}


@pytest.mark.parametrize("statement", EDITS.values(), ids=EDITS)
def test_the_house_does_not_sign_for_a_store_that_somebody_edited(
    own: Path, tmp_path: Path, statement: str
) -> None:
    store, kept = own / "state" / "strongroom.sqlite", tmp_path / "kept"
    shutil.copy(store, kept)
    with closing(sqlite3.connect(store)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(statement).rowcount > 0
        database.commit()

    done = command("backup", "--config", str(own / "strongroomd.toml"), "--to", str(tmp_path / "sets"))

    shutil.copy(kept, store)
    assert done.returncode == 78, done.stderr
    assert "INTEGRITY_FAILURE" in done.stderr
    assert list((tmp_path / "sets").glob("[0-9]*")) == []


def test_a_restore_that_is_killed_begins_anew_or_is_finished_and_no_daemon_starts_before(
    saved: Saved, empty: Path
) -> None:
    """The steps from 3 on are in tests/unit/storage/test_placing.py, too."""
    for step in ("restore.1", "restore.2"):
        saved.house.restore(saved.newer, empty, step=step)
        assert not (empty.parent / "state" / "strongroom.sqlite").exists()
    saved.house.restore(saved.newer, empty, step="restore.5")
    serving, founding = (command(verb, "--config", str(empty)) for verb in ("serve", "init"))

    report = told(saved.house.restore(saved.newer, empty))

    assert (serving.returncode, founding.returncode) == (78, 78)
    assert "restore" in serving.stderr
    assert report["path"] == "token copy"
    assert report["keys"] == {"WRAPPED": 2, "RESIDENT": 1}
    assert [path.name for path in empty.parent.rglob("*restoring*")] == []
    with running(empty.parent) as daemon, daemon.client() as client:
        saved.works(client)
        client.sign(saved.resident, b"still here", algorithm="ED25519_SHA_512")
        assert [alias.name for alias in client.list_aliases().items] == ["alias/later"]
        daemon.stop()
    verified = command("audit", "verify", "--config", str(empty))
    assert verified.returncode == 0, verified.stdout


def test_keys_are_recovered_into_a_fresh_token_whatever_was_killed_before(saved: Saved, empty: Path) -> None:
    fresh_token(empty.parent / "token")
    for step in steps("recovery"):
        saved.house.recover(saved.newer, empty, step=step)
        assert not (empty.parent / "state" / "strongroom.sqlite").exists()

    report = told(saved.house.recover(saved.newer, empty))

    assert report["path"] == "recovery"
    assert report["keys"] == {"WRAPPED": 2}
    assert report["missing"] == [f"{saved.resident}/1"]
    assert (report["wrong"], report["lost"], report["away"]) == ([], [], [])
    with running(empty.parent) as daemon, daemon.client() as client:
        saved.works(client)
        with pytest.raises(Refusal) as refusal:
            client.sign(saved.resident, b"gone", algorithm="ED25519_SHA_512")
        assert refusal.value.reason == "KEY_UNAVAILABLE"
        again = client.encrypt(saved.exportable, b"new")
        assert client.decrypt(again.ciphertext).plaintext == b"new"
        daemon.stop()


def test_the_wrong_recovery_token_recovers_nothing(saved: Saved, empty: Path, tmp_path: Path) -> None:
    """One whose private key is another: the set stays a set, and the fresh token fresh."""
    fresh_token(empty.parent / "token")
    other = tmp_path / "other"
    shutil.copytree(saved.house.recovery, other)
    for path in (other / "tokens").rglob("*.object"):
        if path.name != "token.object":
            path.unlink()
    conf = (other / "softhsm2.conf").read_text()
    (other / "softhsm2.conf").write_text(conf.replace(str(saved.house.recovery), str(other)))

    done = saved.house.restore(saved.newer, empty, "--recovery-token", str(other / "recovery.toml"))

    assert done.returncode == 78, done.stderr
    assert "recovery" in done.stderr
    assert not (empty.parent / "state" / "strongroom.sqlite").exists()
    tokens = empty.parent / "token" / "tokens"
    assert [path.name for path in tokens.rglob("*.object")] == ["token.object"]
