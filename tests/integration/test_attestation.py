"""Statements, rotation and renewal on the command line, against a real daemon; openssl has the last word."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
from tests.harness import ACCOUNT, Daemon, Shell, refused, wait_until

from strongroom import Client
from strongroom.renewal import Renewer, renew_lines

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]


@pytest.fixture
def key(admin: Client) -> str:
    return admin.create_key().key_id


def made(shell: Shell, *arguments: str) -> bytes:
    done = shell(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_recipe_of_the_documentation_works(
    shell: Shell, daemon: Daemon, key: str, tmp_path: Path
) -> None:
    """protos/README.md, "Statements", with the PEM that `init` left."""
    pem = str(daemon.folder / "state" / "statement-public-key.pem")
    payload, signature = str(tmp_path / "payload"), str(tmp_path / "signature")

    made(shell, "attest", "key", key, "--nonce", "n-1", "--out", payload, "--signature-out", signature)

    openssl = ["openssl", "dgst", "-sha256", "-verify", pem, "-signature", signature, payload]
    done = subprocess.run(openssl, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "Verified OK\n")
    verify = ("attest", "verify", "--public-key", pem, "--signature", signature, "--in", payload)
    found = json.loads(made(shell, *verify, "--kind", "key-attestation", "--nonce", "n-1", "--json"))
    assert found["claims"]["key"]["arn"].endswith(key)
    assert found["house"].endswith(ACCOUNT)

    Path(payload).write_bytes(Path(payload).read_bytes().replace(b'"exportable":false', b'"exportable":true'))
    assert shell(*verify).returncode == 7
    assert subprocess.run(openssl, capture_output=True, check=False, timeout=30).returncode != 0


def test_the_key_that_the_daemon_gives_is_the_one_that_init_left(
    shell: Shell, daemon: Daemon, admin: Client, tmp_path: Path
) -> None:
    given = tmp_path / "given.pem"

    made(shell, "attest", "keys", "--out", str(given))

    assert given.read_bytes() == (daemon.folder / "state" / "statement-public-key.pem").read_bytes()
    current = admin.list_statement_keys()[-1]
    assert current.current
    assert current.key_id == admin.get_key_attestation(admin.create_key().key_id).signing_key_id


def test_what_was_not_destroyed_has_no_certificate(admin: Client, key: str) -> None:
    with refused("NOT_FOUND", "key"):
        admin.get_destruction_certificate(key)
    admin.schedule_key_deletion(key, pending_window_days=7)
    with refused("NOT_FOUND", "key"):
        admin.get_destruction_certificate(key)


def test_rotation_is_enabled_looked_at_and_disabled(shell: Shell, admin: Client, key: str) -> None:
    plan = json.loads(made(shell, "key", "rotation", "enable", key, "--days", "90", "--json"))
    assert plan["rotation_period_days"] == 90
    admin.rotate_key(key)

    status = admin.get_key_rotation_status(key)
    assert (status.rotation_enabled, status.on_demand_rotations, status.current_version) == (True, 1, 2)
    assert status.next_rotation_time is not None
    assert b"ON_DEMAND" in made(shell, "key", "rotation", "history", key)
    admin.disable_key_rotation(key)
    assert not admin.get_key_rotation_status(key).rotation_enabled
    with refused("INVALID_FIELD", "rotation_period_days"):
        admin.enable_key_rotation(key, rotation_period_days=89)


def test_old_ciphertexts_are_renewed_in_files_and_lines(
    shell: Shell, admin: Client, key: str, tmp_path: Path
) -> None:
    sealed = [admin.encrypt(key, b"%d" % n, context={"n": "1"}).ciphertext for n in range(3)]
    files = [tmp_path / f"f{n}" for n in range(3)]
    for file, data in zip(files, sealed, strict=True):
        file.write_bytes(data)
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps({"ciphertext": base64.b64encode(d).decode()}) + "\n" for d in sealed))
    admin.rotate_key(key)
    with Renewer(admin, dry_run=True) as counting:
        renew_lines(counting, lines)
    assert dict(counting.counts) == {(key, 1): 3}

    report = json.loads(made(shell, "renew", "files", *map(str, files), "-c", "n=1", "--json"))
    made(shell, "renew", "lines", str(lines), "-c", "n=1")

    assert (report["renewed"], report["current"], report["failed"]) == (3, 0, 0)
    assert report["versions"] == [{"key_id": key, "version": 1, "ciphertexts": 3}]
    rows = [base64.b64decode(json.loads(line)["ciphertext"]) for line in lines.read_text().splitlines()]
    for n, data in enumerate([*(file.read_bytes() for file in files), *rows]):
        opened = admin.decrypt(data, context={"n": "1"})
        assert (opened.plaintext, opened.key_version) == (b"%d" % (n % 3), 2)
    admin.rotate_key(key)
    assert shell("renew", "files", str(files[0]), "-c", "n=2").returncode == 7


def test_a_key_that_is_wanted_while_it_waits_for_its_deletion_is_counted(
    daemon: Daemon, admin: Client, key: str
) -> None:
    admin.schedule_key_deletion(key, pending_window_days=7)

    with refused("KEY_PENDING_DELETION"):
        admin.encrypt(key, b"x")

    wait_until(lambda: "strongroom_pending_deletion_refusals_total 0" not in daemon.metrics(), 10)
    assert "strongroom_pending_deletion_refusals_total" in daemon.metrics()


def test_after_a_rotation_the_new_key_is_published_and_old_statements_still_verify(
    shell: Shell, daemon: Daemon, admin: Client, key: str, tmp_path: Path
) -> None:
    state = daemon.folder / "state"
    current = state / "statement-public-key.pem"
    before, pem = admin.get_key_attestation(key), current.read_bytes()

    admin.rotate_house_key("statement")
    wait_until(lambda: current.read_bytes() != pem, 20)
    after = admin.get_key_attestation(key)

    retired = state / f"statement-public-key.retired-{before.signing_key_id}.pem"
    assert retired.read_bytes() == pem
    keys = admin.list_statement_keys()
    assert [found.key_id for found in keys][-2:] == [before.signing_key_id, after.signing_key_id]
    assert [found.current for found in keys] == [False] * (len(keys) - 1) + [True]
    for number, stated in enumerate((before, after)):
        (tmp_path / f"payload{number}").write_bytes(stated.payload)
        (tmp_path / f"signature{number}").write_bytes(stated.signature)

    def verified(number: int, path: Path) -> bool:
        arguments = (
            "--signature",
            str(tmp_path / f"signature{number}"),
            "--in",
            str(tmp_path / f"payload{number}"),
        )
        return shell("attest", "verify", "--public-key", str(path), *arguments).returncode == 0

    assert [verified(0, retired), verified(1, current)] == [True, True]
    assert [verified(0, current), verified(1, retired)] == [False, False]
