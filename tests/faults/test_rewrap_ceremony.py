"""`strongroomd rewrap` on real tokens: what moves, what stays, who must agree, and kills at every step."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.commands import command, stopped
from tests.drill import Kept, keep
from tests.failpoints import ROOT, steps
from tests.faults.test_tokens import eventually, make_second, page
from tests.harness import ACCOUNT, Daemon, running
from tests.houses import House, fresh_token, make_house, told
from tests.people import new_key

from strongroom import Client, signing
from strongroomd.cli.rehearsal import DESCRIPTION
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.statements import parse_statement

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
STEPS = steps("rewrap-ceremony")
CEREMONY = "strongroom:RewrapCeremony"
PEOPLE = {name: f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("bob", "carol", "dave", "erin")}


def columns(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row is no mapping


@dataclass
class Founded:
    """A stopped house with keys of every spec under its first KEKs, and newer ones since; and a second token.

    Attributes:
        keys: private keys (PEM) of approvers, by name; Dave is disabled, Erin's key is revoked.
        kept: keys, with what they did before.
        request: what a ceremony needs signed, asked for while the daemon served.
        mac, resident, exportable, pending: ids of keys.
        preview: what a dry run said beside the daemon.
        beside, elsewhere: how the daemon's presence was answered; by a configuration of its own, too.
        second: two keys of the second token.
    """

    house: House
    keys: dict[str, bytes]
    kept: list[Kept]
    request: Path
    mac: str
    resident: str
    exportable: str
    pending: str
    preview: dict[str, Any]
    beside: subprocess.CompletedProcess[str]
    elsewhere: subprocess.CompletedProcess[str]
    second: list[Kept]

    def copy(self, folder: Path) -> House:
        """A house of the test's own, with the same token."""
        shutil.copytree(self.house.folder, folder)
        conf = folder / "token" / "softhsm2.conf"
        conf.write_text(conf.read_text().replace(str(self.house.folder), str(folder)))
        return House(folder, self.house.recovery, self.house.identity)

    def signed(self, folder: Path, *names: str, request: Path | None = None) -> list[str]:
        """Have people sign; gives the options that bring their signatures."""
        folder.mkdir(exist_ok=True)
        file, options = request or self.request, []
        for number, name in enumerate(names):
            path = folder / f"{number}-{name}.sig"
            path.write_bytes(signing.sign(self.keys[name], file.read_bytes()))
            options += ["--approval", str(path)]
        return ["--approval-request", str(file), *options]

    def hold(
        self,
        house: House,
        folder: Path,
        *options: str,
        step: str = "",
        by: tuple[str, ...] = ("bob", "carol"),
    ) -> subprocess.CompletedProcess[str]:
        """Hold the ceremony; `options` win."""
        usual = {"--recovery-token": house.recovery / DESCRIPTION, "--output": folder / "out"}
        given = [str(part) for pair in usual.items() if pair[0] not in options for part in pair]
        if "--approval-request" not in options:
            given += self.signed(folder, *by)
        arguments = ["rewrap", "--config", str(house.config), "--json", *given, *options]
        return stopped(step, *arguments) if step else command(*arguments)


def rows(house: House) -> dict[str, dict[str, Any]]:
    """Every version's row, by its name."""
    with closing(sqlite3.connect(house.state / "strongroom.sqlite")) as database:
        database.row_factory = sqlite3.Row
        return {row["record_id"]: columns(row) for row in database.execute("SELECT * FROM versions")}


def edit(house: House, statement: str, *values: object) -> None:
    """Change the database behind the house's back."""
    with closing(sqlite3.connect(house.state / "strongroom.sqlite")) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        assert database.execute(statement, values).rowcount == 1
        database.commit()


def audited(house: House) -> list[dict[str, Any]]:
    """Every audit record of the command."""
    lines = [
        line
        for path in (house.state / "audit").rglob("*.jsonl")
        for line in path.read_text().splitlines()
        if '"strongroom:Rewrap' in line
    ]
    found: list[dict[str, Any]] = [json.loads(line[line.index("{") :]) for line in lines]
    return sorted(found, key=lambda record: str(record["time"]))


def make_keys(client: Client) -> list[Kept]:
    """One key of every spec, and some more symmetric ones, the last of them with three versions."""
    made = [keep(client, spec) for spec in [*KeySpec, *[KeySpec.SYMMETRIC_DEFAULT] * 3]]
    for _ in range(2):
        client.rotate_key(made[-1].key_id)
    return made


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    folder = tmp_path_factory.mktemp("rewrap")
    house, request = make_house(folder / "house"), folder / "request"
    text = "".join(
        f'\n[[identities]]\narn = "{arn}"\nuri = "spiffe://x/{name}"\n' for name, arn in PEOPLE.items()
    )
    house.config.write_text(house.config.read_text() + text)
    make_second(house.folder)
    made = command("init", "--token", "second", "--config", str(house.config))
    assert made.returncode == 0, made.stderr
    keys = {name: new_key(name) for name in PEOPLE}
    with running(house.folder) as daemon, daemon.client(timeout=120.0) as client:
        enrolled = {name: enrol(client, PEOPLE[name], *pair) for name, pair in keys.items()}
        client.create_principal(PEOPLE["dave"])
        client.disable_principal(PEOPLE["dave"])
        client.revoke_approver(enrolled["erin"])
        kept = make_keys(client)
        exportable = client.create_key(exportable=True).key_id
        pending = client.create_key().key_id
        client.schedule_key_deletion(pending, pending_window_days=30)
        for role in ("kek-sealed", "kek-exportable", "kek-sealed"):
            client.rotate_house_key(role)
        client.create_key(description="under the newest KEK already")
        eventually(lambda: "token second: well" in page(daemon, "readyz"))
        second = [keep(client, spec, "second") for spec in (KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_256)]
        client.rotate_house_key("kek-sealed", token="second")
        arguments = ("rewrap", "--config", str(house.config))
        preview = told(command(*arguments, "--dry-run", "--json"))
        asked = command(
            *arguments, "--request-approval", str(request), "--requester", PEOPLE["bob"], "--purpose", "KEK"
        )
        assert "APPROVAL_REQUIRED" in asked.stderr, asked.stderr
        attach = ("--recovery-token", str(house.recovery / DESCRIPTION), "--output", str(folder / "none"))
        beside = command(*arguments, *attach, "--approval-request", str(request))
        other = house.folder / "other.toml"
        other.write_text(house.config.read_text().replace('run_dir = "run"', 'run_dir = "other-run"'))
        other.chmod(0o600)
        elsewhere = command("rewrap", "--config", str(other), *attach, "--approval-request", str(request))
        daemon.stop()
    of = {each.spec: each.key_id for each in kept}
    pems = {name: pem for name, (pem, _) in keys.items()}
    return Founded(
        house, pems, kept, request, of[KeySpec.HMAC_256], of[KeySpec.ECC_NIST_EDWARDS25519],
        exportable, pending, preview, beside, elsewhere, second,
    )  # fmt: skip


def enrol(client: Client, arn: str, private: bytes, public: bytes) -> str:
    """Enrol a person's key; gives its id."""
    proof = signing.sign(private, signing.enrolment_file(ACCOUNT, arn, public))
    return client.enrol_approver(arn, public, proof).approver_id


@dataclass
class Held:
    """A house after its ceremony.

    Attributes:
        output: transcript and report.
        before: the versions' rows before it.
        progress: what was said on standard error.
    """

    house: House
    output: Path
    report: dict[str, Any]
    before: dict[str, dict[str, Any]]
    progress: str


@pytest.fixture(scope="module")
def held(founded: Founded, tmp_path_factory: pytest.TempPathFactory) -> Held:
    folder = tmp_path_factory.mktemp("held")
    house = founded.copy(folder / "house")
    before = rows(house)
    done = founded.hold(house, folder)
    return Held(house, folder / "out", told(done), before, done.stderr)


# What is planned, beside the daemon.


def test_a_dry_run_beside_the_daemon_says_what_would_move_and_what_not(founded: Founded) -> None:
    found = founded.preview
    wrapped = {name: row for name, row in rows(founded.house).items() if row["blob"]}

    assert found["planned"] == len(wrapped) - 1 - 2, "all but one under the newest KEK, and two elsewhere"
    assert len(found["from"]) == 3, "two sealed KEKs and an exportable one"
    assert sum(found["left_under"].values()) == found["planned"]
    assert found["moved"] == found["approved_by"] == []
    assert found["stays"]["resident"] == [f"{founded.resident}/1"]
    assert not any(names for why, names in found["stays"].items() if why != "resident")


def test_no_key_moves_beside_a_daemon(founded: Founded) -> None:
    assert founded.beside.returncode == 78
    assert "another daemon" in founded.beside.stderr


def test_nor_beside_one_that_has_another_run_folder(founded: Founded) -> None:
    assert founded.elsewhere.returncode == 78
    assert "a daemon works on this store" in founded.elsewhere.stderr


def test_what_approvers_sign_names_the_keks_and_the_recovery_key(founded: Founded) -> None:
    request = json.loads(founded.request.read_bytes())
    parameters = request["parameters"]

    assert (request["action"], request["quorum"]) == ("REWRAP_KEYS", 2)
    assert parameters["from"].split() == founded.preview["from"]
    assert parameters["to"].split() == [founded.preview["sealed"], founded.preview["exportable"]]
    assert parameters["token"] == "main"
    assert len(parameters["recovery_key_sha256"]) == 64


# What moved.


def test_every_key_of_every_spec_is_under_the_newest_kek_and_no_other_field_changed(
    founded: Founded, held: Held
) -> None:
    after, moved = rows(held.house), set(held.report["moved"])
    sealed, exportable = held.report["sealed"], held.report["exportable"]

    assert after.keys() == held.before.keys()
    assert len(moved) == held.report["planned"] >= 16
    assert set(held.report["left_under"].values()) == {0}
    assert {f"{founded.exportable}/1", f"{founded.pending}/1", f"{founded.kept[-1].key_id}/2"} <= moved
    for name, row in after.items():
        old = held.before[name]
        changed = {column for column in row if row[column] != old[column]}
        if name in moved:
            assert changed == {"kek_id", "blob", "recovery_blob", "row_version", "mac"}
            assert row["kek_id"] == (exportable if name == f"{founded.exportable}/1" else sealed)
        else:
            assert changed == set()
    keys = len({name[:36] for name in moved})
    assert held.progress.splitlines()[-1] == f"{keys} of {keys} keys"


def test_openssl_alone_verifies_the_transcript_and_it_names_who_agreed_and_the_report(held: Held) -> None:
    key, output = held.house.public_key, held.output
    verify = ["openssl", "dgst", "-sha256", "-verify", str(key)]
    verify += ["-signature", str(output / "transcript.sig"), str(output / "transcript.json")]
    digest = subprocess.run(["sha256sum", output / "report.json"], capture_output=True, text=True, check=True)

    assert subprocess.run(verify, check=False, capture_output=True).stdout == b"Verified OK\n"
    statement = parse_statement((output / "transcript.json").read_bytes())
    assert statement.kind == "rewrap-transcript"
    assert statement.claims["approval"]["approved_by"] == [PEOPLE["bob"], PEOPLE["carol"]]
    assert (statement.claims["moved"], statement.claims["level"]) == (held.report["planned"], "token")
    assert statement.claims["report_sha256"] == digest.stdout.split()[0]
    assert json.loads((output / "report.json").read_bytes())["moved"] == held.report["moved"]


def test_the_audit_log_has_each_key_before_and_after_with_level_and_approval(held: Held) -> None:
    records = audited(held.house)
    of_keys = [each for each in records if each["action"] == "strongroom:RewrapByRecovery"]
    intents = {each["key"]: each for each in of_keys if each["kind"] == "intent"}
    outcomes = {each["key"]: each for each in of_keys if each["kind"] == "outcome"}
    whole = [each for each in records if each["action"] == CEREMONY]

    assert intents.keys() == outcomes.keys()
    assert {key.rpartition("/")[2] for key in outcomes} == {name[:36] for name in held.report["moved"]}
    assert {(each["outcome"], each["level"]) for each in outcomes.values()} == {("OK", "token")}
    assert all(each["moved"] == each["versions"] for each in outcomes.values())
    ends = [(each["kind"], each["outcome"]) for each in whole]
    beside = [("intent", "PENDING"), ("outcome", "CONFIGURATION")]  # the attempt beside the daemon
    assert ends == [*beside, ("intent", "PENDING"), ("outcome", "OK")]
    assert len({each["approval_digest"] for each in [*of_keys, whole[-1]]}) == 1


def works(founded: Founded, house: House, daemon: Daemon) -> None:
    """Every key does what it did, and the older KEKs wrap nothing."""
    with daemon.client(timeout=120.0) as client:
        eventually(lambda: "token second: well" in page(daemon, "readyz"))
        assert [kept.spec for kept in [*founded.kept, *founded.second] if not kept.proof(client)] == []
        keks = [key for key in client.list_house_keys() if key.role.startswith("kek-") and not key.in_use]
        assert [key.versions for key in keks if key.token == "main"] == [0, 0, 0]
        client.cancel_key_deletion(founded.pending)
        client.enable_key(founded.pending)
        sealed = client.encrypt(founded.pending, b"back").ciphertext
        assert client.decrypt(sealed).plaintext == b"back"


def test_a_pin_holder_cannot_take_a_moved_key_out_of_its_new_blob(founded: Founded, held: Held) -> None:
    row = rows(held.house)[f"{founded.mac}/1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.dualcontrol.test_at_the_token", str(held.house.folder)],
        input=json.dumps({"kek_id": row["kek_id"], "blob": row["blob"].hex()}),
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)

    assert said.pop("use it")
    assert len(said) == 22
    assert [name for name, answer in said.items() if answer == "done"] == []


def test_every_stored_ciphertext_decrypts_and_the_new_recovery_blobs_bring_all_into_a_fresh_token(
    founded: Founded, held: Held, tmp_path: Path
) -> None:
    house = held.house
    with running(house.folder) as daemon:
        works(founded, house, daemon)
        made = house.backup()
        daemon.stop()
    verified = command("audit", "verify", "--config", str(house.config))
    assert verified.returncode == 0, verified.stdout
    request = tmp_path / "request"
    config = house.target(tmp_path / "target")
    fresh_token(config.parent / "token")
    ask = ("--request-approval", str(request), "--requester", PEOPLE["bob"], "--purpose", "drill")
    assert "APPROVAL_REQUIRED" in house.recover(made, config, *ask).stderr
    signed = founded.signed(tmp_path / "signed", "bob", "carol", request=request)

    report = told(house.recover(made, config, *signed))

    assert report["lost"] == []
    assert report["keys"] == {"WRAPPED": held.report["planned"] + 1}


def test_a_further_tokens_keys_move_in_a_ceremony_of_their_own(founded: Founded, tmp_path: Path) -> None:
    house, request, of_second = founded.copy(tmp_path / "house"), tmp_path / "request", ("--token", "second")
    ask = ("--request-approval", str(request), "--requester", PEOPLE["bob"], "--purpose", "KEK")
    assert "APPROVAL_REQUIRED" in command("rewrap", "--config", str(house.config), *of_second, *ask).stderr
    before = rows(house)
    others = founded.hold(house, tmp_path / "others", *of_second)
    assert "APPROVAL_MISMATCH" in others.stderr, "what was signed for the main token"
    assert rows(house) == before

    signed = founded.signed(tmp_path / "signed", "bob", "carol", request=request)
    report = told(founded.hold(house, tmp_path, *of_second, *signed))

    after = rows(house)
    assert sorted(report["moved"]) == sorted(f"{kept.key_id}/1" for kept in founded.second)
    assert {name for name in after if after[name] != before[name]} == set(report["moved"])
    assert {after[name]["kek_id"] for name in report["moved"]} == {report["sealed"]}
    assert (report["token"], set(report["left_under"].values())) == ("second", {0})
    with running(house.folder) as daemon, daemon.client(timeout=120.0) as client:
        eventually(lambda: "token second: well" in page(daemon, "readyz"))
        assert [kept.spec for kept in founded.second if not kept.proof(client)] == []
        daemon.stop()


# What is refused, and then no key has moved.


@pytest.fixture(scope="module")
def own(founded: Founded, tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house on which every ceremony is refused."""
    return founded.copy(tmp_path_factory.mktemp("own") / "house")


TOO_FEW: dict[str, tuple[tuple[str, ...], str]] = {
    "nobody": ((), "APPROVAL_REQUIRED"),
    "one person": (("carol",), "APPROVAL_REQUIRED"),
    "who asked alone": (("bob",), "APPROVAL_REQUIRED"),
    "one person twice": (("carol", "carol"), "APPROVAL_REQUIRED"),
    "with a disabled one": (("carol", "dave"), "APPROVAL_REQUIRED"),
    "with a revoked one": (("carol", "erin"), "APPROVAL_REQUIRED"),
}


@pytest.mark.parametrize(("by", "reason"), TOO_FEW.values(), ids=TOO_FEW)
def test_too_few_people_move_nothing(
    founded: Founded, own: House, tmp_path: Path, by: tuple[str, ...], reason: str
) -> None:
    before = rows(own)

    done = founded.hold(own, tmp_path, by=by)

    assert done.returncode != 0
    assert reason in done.stderr
    assert rows(own) == before
    assert not (tmp_path / "out").exists()
    tried, ended = audited(own)[-2:]
    assert (tried["action"], tried["kind"]) == (ended["action"], "intent") == (CEREMONY, "intent")
    assert (ended["kind"], ended["outcome"]) == ("outcome", reason)


REQUESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "to another KEK": (lambda body: body["parameters"].update(to=" ".join(["00" * 16] * 2)), "APPROVAL_MISMATCH"),
    "from fewer KEKs": (lambda body: body["parameters"].update({"from": ""}), "APPROVAL_MISMATCH"),
    "by another recovery key": (
        lambda body: body["parameters"].update(recovery_key_sha256="0" * 64), "APPROVAL_MISMATCH"
    ),
    "another token": (lambda body: body["parameters"].update(token_serial="0" * 16), "APPROVAL_MISMATCH"),
    "another action": (lambda body: body.update(action="ATTACH_RECOVERY_TOKEN"), "APPROVAL_MISMATCH"),
    "a lower quorum": (lambda body: body.update(quorum=1), "APPROVAL_MISMATCH"),
    "a day ago": (
        lambda body: body.update({name: body[name] - 86_400_001 for name in ("created_at", "expires_at")}),
        "APPROVAL_CLOSED",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), REQUESTS.values(), ids=REQUESTS)
def test_another_request_moves_nothing_whoever_signed_it(
    founded: Founded, own: House, tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    body, request, before = json.loads(founded.request.read_bytes()), tmp_path / "request", rows(own)
    change(body)
    request.write_text(json.dumps(body, sort_keys=True, indent=2) + "\n")

    done = founded.hold(own, tmp_path, *founded.signed(tmp_path / "signed", "bob", "carol", request=request))

    assert done.returncode != 0
    assert reason in done.stderr
    assert rows(own) == before


OPTIONS = {
    "nothing": (),
    "two at once": ("--dry-run", "--request-approval", "r"),
    "no output": ("--recovery-token", "t"),
    "unknown token": ("--dry-run", "--token", "elsewhere"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_that_do_not_go_together_are_refused(own: House, options: tuple[str, ...]) -> None:
    done = command("rewrap", "--config", str(own.config), *options)

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_used_output_folder_is_refused(founded: Founded, own: House, tmp_path: Path) -> None:
    before, folder = rows(own), tmp_path / "used"
    folder.mkdir()
    (folder / "transcript.json").write_text("another's")

    done = founded.hold(own, tmp_path, "--output", str(folder))

    assert done.returncode == 78
    assert "output" in done.stderr
    assert rows(own) == before


def other_recovery(founded: Founded, folder: Path) -> Path:
    """A copy of the recovery token, to be made another; gives its description."""
    shutil.copytree(founded.house.recovery, folder)
    conf = folder / "softhsm2.conf"
    conf.write_text(conf.read_text().replace(str(founded.house.recovery), str(folder)))
    return folder / DESCRIPTION


def test_another_recovery_token_moves_nothing(founded: Founded, own: House, tmp_path: Path) -> None:
    description, before = other_recovery(founded, tmp_path / "other"), rows(own)
    for path in (tmp_path / "other" / "tokens").rglob("*.object"):
        if path.name != "token.object":
            path.unlink()

    done = founded.hold(own, tmp_path, "--recovery-token", str(description))

    assert done.returncode == 78
    assert "recovery token cannot be used" in done.stderr
    assert rows(own) == before
    assert audited(own)[-1]["outcome"] == "HSM_UNAVAILABLE"


def test_a_wrong_pin_of_the_recovery_token_moves_nothing_and_is_not_told(
    founded: Founded, own: House, tmp_path: Path
) -> None:
    description, before = other_recovery(founded, tmp_path / "other"), rows(own)
    pin = tmp_path / "other" / "pin"
    pin.chmod(0o600)
    pin.write_text("not-this-one")

    done = founded.hold(own, tmp_path, "--recovery-token", str(description))

    assert done.returncode == 78
    assert "refused the PIN" in done.stderr
    assert "not-this-one" not in done.stderr
    assert rows(own) == before


def test_edited_rows_and_rows_put_back_stop_the_ceremony_before_anything_is_attached(
    founded: Founded, tmp_path: Path
) -> None:
    house = founded.copy(tmp_path / "house")
    name, other = f"{founded.mac}/1", f"{founded.pending}/1"
    before = rows(house)
    edits: dict[str, tuple[str, tuple[object, ...]]] = {
        "a swapped recovery blob": (
            "UPDATE versions SET recovery_blob = ? WHERE record_id = ?", (before[other]["recovery_blob"], name)
        ),
        "no recovery blob": ("UPDATE versions SET recovery_blob = x'' WHERE record_id = ?", (name,)),
        "another KEK": (
            "UPDATE versions SET kek_id = ? WHERE record_id = ?", (founded.preview["sealed"], name)
        ),
        "exportable": ("UPDATE keys SET exportable = 1 WHERE record_id = ?", (founded.mac,)),
        "removed": ("DELETE FROM versions WHERE record_id = ?", (name,)),
    }  # fmt: skip
    kept = (house.state / "strongroom.sqlite").read_bytes()
    for what, (statement, values) in edits.items():
        edit(house, statement, *values)
        edited = rows(house)
        done = founded.hold(house, tmp_path / "signed")
        assert done.returncode == 78, what
        assert "INTEGRITY_FAILURE" in done.stderr, what
        assert rows(house) == edited, what
        (house.state / "strongroom.sqlite").write_bytes(kept)

    done = founded.hold(
        house, tmp_path / "whole"
    )  # it moves now; then its older row is put back, MAC and all
    assert len(told(done)["moved"]) == founded.preview["planned"]
    back = before[name]
    assignments = ", ".join(f'"{column}" = ?' for column in back)
    edit(house, f"UPDATE versions SET {assignments} WHERE record_id = ?", *back.values(), name)
    done = founded.hold(house, tmp_path / "again")
    assert (done.returncode, "INTEGRITY_FAILURE" in done.stderr) == (78, True)
    (house.state / "strongroom.sqlite").write_bytes(kept)
    done = founded.hold(house, tmp_path / "older")
    assert (done.returncode, "older" in done.stderr) == (78, True), "the token remembers the ceremony"
    ended = [each["outcome"] for each in audited(house) if each["action"] == CEREMONY][1::2]
    assert ended == ["CONFIGURATION", *["INTEGRITY_FAILURE"] * len(edits), "OK", *["INTEGRITY_FAILURE"] * 2]


# What somebody with the PIN forged stays where it is, by name; everything else moves.


def test_recovery_blobs_that_a_pin_holder_swapped_move_nothing_into_the_wrong_key(
    founded: Founded, tmp_path: Path
) -> None:
    house = founded.copy(tmp_path / "house")
    symmetric = [f"{kept.key_id}/1" for kept in founded.kept if kept.spec is KeySpec.SYMMETRIC_DEFAULT]
    of = {kept.spec: f"{kept.key_id}/1" for kept in founded.kept}
    macs, curves = (
        [of[KeySpec.HMAC_384], of[KeySpec.HMAC_512]],
        [of[KeySpec.ECC_NIST_P256], of[KeySpec.RSA_2048]],
    )
    swapped, stripped, replaced = [*symmetric[:2], *macs, *curves], of[KeySpec.HMAC_224], symmetric[2]
    forged = {"swap": swapped, "strip": [stripped], "replace": [replaced, symmetric[0]]}
    subprocess.run(
        [sys.executable, "-m", "tests.faults.run_forger", str(house.config)],
        input=json.dumps(forged), text=True, check=True, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    before = rows(house)

    report = told(founded.hold(house, tmp_path))

    assert sorted(report["stays"]["wrong_blob"]) == sorted(swapped)
    assert report["stays"]["no_recovery_blob"] == [stripped]
    assert report["stays"]["unusable"] == [replaced]
    after, stayed = rows(house), {*swapped, stripped, replaced}
    assert {name for name in after if after[name] != before[name]} == set(report["moved"])
    assert len(report["moved"]) == founded.preview["planned"] - len(stayed)
    assert sum(report["left_under"].values()) == len(stayed)


# Kills.


def test_killed_at_any_step_each_key_is_old_or_new_and_the_same_command_goes_on(
    founded: Founded, tmp_path: Path
) -> None:
    house, older = founded.copy(tmp_path / "house"), set(founded.preview["from"])
    newly = {"rewrap-ceremony.5": 1, "rewrap-ceremony.6": 1}
    before = rows(house)
    for step in STEPS:
        founded.hold(house, tmp_path / step, step=step)
        after = rows(house)
        moved = {name for name in after if after[name] != before[name]}
        assert all(before[name]["kek_id"] in older and after[name]["kek_id"] not in older for name in moved)
        keks: dict[str, set[bool]] = {}
        for name, row in after.items():
            keks.setdefault(name[:36], set()).add(row["kek_id"] in older)
        assert all(len(kinds) == 1 for kinds in keks.values()), step
        if step != "rewrap-ceremony.7":  # by then the rest has moved
            assert len({name[:36] for name in moved}) == newly.get(step, 0), step
        before = after

    report = told(founded.hold(house, tmp_path / "last"))

    assert report["moved"] == []
    assert set(report["left_under"].values()) == {0}
    outcomes = [each for each in audited(house) if each["kind"] == "outcome" and "key" in each]
    assert {each["outcome"] for each in outcomes} == {"OK"}
    with running(house.folder) as daemon:
        works(founded, house, daemon)
        daemon.stop()
    verified = command("audit", "verify", "--config", str(house.config))
    assert verified.returncode == 0, verified.stdout
