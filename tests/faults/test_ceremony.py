"""The ceremony by its plan alone: what it leaves, what no file of it holds, and what it refuses to begin with."""

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.commands import command
from typer.testing import CliRunner

from strongroomd.cli.app import app
from strongroomd.cli.firststart import demand_fresh
from strongroomd.cli.softhsm import find_module
from strongroomd.config import ConfigurationErrors, load
from strongroomd.config.attached import attached_token
from strongroomd.config.ceremony import ceremony_plan
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.statements import parse_statement
from strongroomd.storage.backup_sets import parse_recipients

CONFIG = """
[daemon]
account = "111122223333"
state_dir = "state"
run_dir = "run"
allow_root = true
[grpc]
certificate_file = "unused"
key_file = "unused"
client_ca_file = "unused"
[hsm]
module = "{module}"
token_label = "strongroom"
pin_file = "pin"
softhsm_conf = "softhsm2.conf"
recovery_public_key = "recovery.pem"
[backup]
recipients_file = "recipients.txt"
directory = "sets"
"""
PLAN = """
people = ["Ada", "Grace"]
shareholders = ["Ada", "Grace", "Joan"]
threshold = 2
output = "ceremony"
recovery_bits = 3072
"""


@dataclass
class Place:
    """A folder with a plan and a configuration, and nothing else yet."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "tokens").mkdir(parents=True)
        tokens = f"directories.tokendir = {self.folder / 'tokens'}\n"
        (self.folder / "softhsm2.conf").write_text(f"{tokens}objectstore.backend = file\nlog.level = ERROR\n")
        self.config.write_text(CONFIG.format(module=find_module()))
        self.plan.write_text(PLAN)
        for path in (self.config, self.plan):
            path.chmod(0o600)

    @property
    def config(self) -> Path:
        return self.folder / "strongroomd.toml"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.toml"

    @property
    def output(self) -> Path:
        return self.folder / "ceremony"

    def share(self, number: int, name: str) -> Path:
        return self.output / f"shares-{number}" / f"{name}.share"

    def recovered(self, to: Path, name: str, *numbers: int) -> subprocess.CompletedProcess[str]:
        shares = [part for number in numbers for part in ("--share", str(self.share(number, name)))]
        return command("ceremony", "recover-pin", *shares, "--to", str(to))


@dataclass
class Held(Place):
    """The same after a ceremony, with what the command said."""

    said: str = ""


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    place = Held(tmp_path_factory.mktemp("ceremony") / "house")
    done = command("ceremony", "start", str(place.plan), "--config", str(place.config), "--yes")
    assert done.returncode == 0, done.stderr
    place.said = done.stdout + done.stderr
    return place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "house")


NAMES = (
    "main-token-user-PIN",
    "main-token-SO-PIN",
    "recovery-token-user-PIN",
    "recovery-token-SO-PIN",
    "backup-identity",
)


def test_every_shareholder_has_one_share_of_every_secret_and_nobody_else_can_read_it(held: Held) -> None:
    for number in (1, 2, 3):
        found = {
            path.name: path.stat().st_mode & 0o777 for path in (held.output / f"shares-{number}").iterdir()
        }
        assert found == {f"{name}.share": 0o600 for name in NAMES}


def test_two_of_three_have_the_pin_together_and_one_has_not(held: Held, tmp_path: Path) -> None:
    together = held.recovered(tmp_path / "pin", NAMES[0], 3, 1)
    alone = held.recovered(tmp_path / "none", NAMES[0], 2)
    again = held.recovered(tmp_path / "pin", NAMES[0], 1, 2)

    assert together.returncode == 0, together.stderr
    pin = (tmp_path / "pin").read_text()
    assert pin == (held.folder / "pin").read_text()
    assert (tmp_path / "pin").stat().st_mode & 0o777 == 0o600
    assert pin.strip() not in together.stdout + together.stderr
    assert alone.returncode != 0
    assert not (tmp_path / "none").exists()
    assert again.returncode == 78, "a file that is there is not overwritten"


def test_no_secret_is_in_any_other_file_nor_in_what_was_said(held: Held, tmp_path: Path) -> None:
    secrets = []
    for name in NAMES:
        assert held.recovered(tmp_path / name, name, 1, 2).returncode == 0
        secrets.append((tmp_path / name).read_text().strip())
    pin = held.folder / "pin"

    for path in held.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found = [secret for secret in secrets if secret.encode() in content]
        assert found == ([secrets[0]] if path == pin else []), path
    assert not any(secret in held.said for secret in secrets)
    assert len(set(secrets)) == len(NAMES)


def test_the_house_signs_the_transcript_and_openssl_verifies_it(held: Held) -> None:
    key, text = held.output / "statement-public-key.pem", held.output / "transcript.json"
    verify = [
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        str(key),
        "-signature",
        str(held.output / "transcript.sig"),
    ]
    claims = parse_statement(text.read_bytes()).claims

    assert subprocess.run([*verify, str(text)], check=False, capture_output=True).stdout == b"Verified OK\n"
    assert key.read_bytes() == (held.folder / "state" / "statement-public-key.pem").read_bytes()
    assert claims["people"] == ["Ada", "Grace"]
    steps = [step["step"] for step in claims["steps"]]
    assert steps[-3:] == [
        "backup made",
        "backup restored on the token's copy, its key proved",
        "key recovered into a fresh token, and proved there",
    ]
    assert steps.index("shares handed out") < steps.index("main token initialised")


def test_what_the_daemon_needs_is_where_its_configuration_says_and_the_rest_is_gone(held: Held) -> None:
    assert (held.folder / "pin").stat().st_mode & 0o777 == 0o400
    assert (held.folder / "recovery.pem").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    parse_recipients((held.folder / "recipients.txt").read_text().splitlines())
    assert not (held.output / "rehearsal").exists()
    assert not (held.output / "recovery-token" / "pin").exists()
    assert json.loads((held.folder / "state" / "last-backup.json").read_text())["keys"] == 1


def test_a_second_ceremony_in_the_same_place_is_refused(held: Held) -> None:
    with pytest.raises(StrongroomError) as refusal:
        demand_fresh(load(held.config, check_files=False), ceremony_plan(held.plan))

    assert refusal.value.reason is Reason.CONFIGURATION


TAKEN = {
    "pin": "hsm.pin_file",
    "recovery.pem": "hsm.recovery_public_key",
    "recipients.txt": "backup.recipients_file",
    "ceremony/left": "output",
    "state/strongroom.sqlite": "store.path",
    "tokens/left": "hsm.softhsm_conf",
}


@pytest.mark.parametrize(("name", "field"), TAKEN.items())
def test_a_place_that_is_taken_is_refused_before_anything_is_made(
    place: Place, name: str, field: str
) -> None:
    (place.folder / name).parent.mkdir(exist_ok=True)
    (place.folder / name).touch()

    with pytest.raises(StrongroomError) as refusal:
        demand_fresh(load(place.config, check_files=False), ceremony_plan(place.plan))

    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("old", "field"),
    [
        ('pin_file = "pin"', "hsm.pin_file"),
        ('recovery_public_key = "recovery.pem"', "hsm.recovery_public_key"),
        ('recipients_file = "recipients.txt"', "backup.recipients_file"),
        ('softhsm_conf = "softhsm2.conf"', "hsm.softhsm_conf"),
    ],
)
def test_a_configuration_that_names_no_place_is_refused(place: Place, old: str, field: str) -> None:
    new = 'pin_credential = "x"' if field == "hsm.pin_file" else ""
    place.config.write_text(place.config.read_text().replace(old, new))

    with pytest.raises(StrongroomError) as refusal:
        demand_fresh(load(place.config, check_files=False), ceremony_plan(place.plan))

    assert refusal.value.field == field


BAD_PLANS = {
    "alone": ('people = ["Ada", "Grace"]', 'people = ["Ada"]'),
    "twice": ('people = ["Ada", "Grace"]', 'people = ["Ada", "Ada"]'),
    "one shareholder": ('shareholders = ["Ada", "Grace", "Joan"]', 'shareholders = ["Ada"]'),
    "shareholder twice": ('shareholders = ["Ada", "Grace", "Joan"]', 'shareholders = ["Ada", "Ada"]'),
    "threshold one": ("threshold = 2", "threshold = 1"),
    "threshold four": ("threshold = 2", "threshold = 4"),
    "weak recovery key": ("recovery_bits = 3072", "recovery_bits = 2048"),
    "no output": ('output = "ceremony"', ""),
    "unknown": ("threshold = 2", "threshold = 2\nmore = 1"),
    "no TOML": ("threshold = 2", "threshold = "),
}


@pytest.mark.parametrize(("old", "new"), BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_plan_that_protects_nothing_is_refused(place: Place, old: str, new: str) -> None:
    place.plan.write_text(place.plan.read_text().replace(old, new))

    with pytest.raises(ConfigurationErrors):
        ceremony_plan(place.plan)


BAD_TOKENS = (
    "",
    "x = 1",
    'module = "/m"',
    'module = "/m"\npin_file = "p"',
    'module = 1\npin_file = "p"\ntoken_label = "a"',
)


@pytest.mark.parametrize("text", BAD_TOKENS)
def test_a_recovery_token_that_is_not_described_whole_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recovery.toml"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(ConfigurationErrors):
        attached_token(path)


def test_somebody_who_types_another_name_ends_it(place: Place) -> None:
    arguments = ["ceremony", "start", str(place.plan), "--config", str(place.config)]
    ended = asyncio.run(asyncio.to_thread(CliRunner().invoke, app, arguments, input="Ada\nMallory\n"))

    assert ended.exit_code == 78
    assert not place.output.exists()
    assert list((place.folder / "tokens").iterdir()) == []
