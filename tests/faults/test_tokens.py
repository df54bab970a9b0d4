"""A daemon with two tokens: each key lives and works in its own, and one that is away takes no other with it."""

import os
import secrets
import shutil
import signal
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Daemon, make_folder, refused, running, within

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.results import Key
from strongroom.retry import RetryPolicy

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
ONCE = RetryPolicy(max_attempts=1)
SECONDS = 60.0
SECOND = """
[[hsm.tokens]]
name = "second"
token_label = "second"
pin_file = "token/pin2"
"""
OTHER = """
[[hsm.tokens]]
name = "other"
module = "token/other/module.so"
softhsm_conf = "token/other/softhsm2.conf"
token_label = "other"
pin_file = "token/other/pin"
"""


@dataclass
class House:
    """A daemon with one worker, its second token's folder, and an administrator who never tries twice."""

    daemon: Daemon
    place: Path
    client: Client
    prepared: set[str] = field(default_factory=set)

    @property
    def readiness(self) -> str:
        """What the health page says; nothing while a worker that was killed has no successor yet."""
        return page(self.daemon, "readyz")

    @property
    def metrics(self) -> str:
        """The metrics; nothing likewise."""
        return page(self.daemon, "metrics")

    def make(self, token: str, **settings: Any) -> Key:
        return self.client.create_key(token=token, **settings)

    def works(self, key: Key) -> bool:
        """Whether the key encrypts and decrypts now; nothing but its token may keep it from that."""
        try:
            sealed = self.client.encrypt(key.key_id, b"text")
            return self.client.decrypt(sealed.ciphertext).plaintext == b"text"
        except StrongroomError as error:
            if error.reason != "HSM_UNAVAILABLE":
                raise
            return False

    def await_second(self) -> None:
        """Have the second token prepared, if no test before has, and wait for it."""
        if "second" not in self.prepared:
            done = self.daemon.command("init", "--token", "second")
            assert done.returncode == 0, done.stderr
            self.prepared.add("second")
        eventually(lambda: "token second: well" in self.readiness)
        eventually(lambda: served(lambda: bool(self.client.list_keys())))  # over a living connection


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + within(SECONDS)
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.2)


def page(daemon: Daemon, name: str) -> str:
    """A page of the operators' server, or nothing while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{daemon.state['ops']}/{name}", timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


def make_second(folder: Path) -> Path:
    """Make another token beside a folder's first one, and name it in the configuration; gives its own folder."""
    before = set((folder / "token" / "tokens").iterdir())
    make_token(folder / "token" / "softhsm2.conf", "second", folder / "token" / "pin2")
    (made,) = set((folder / "token" / "tokens").iterdir()) - before
    config = folder / "strongroomd.toml"
    config.write_text(config.read_text() + SECOND)
    return made


def make_other(folder: Path) -> str:
    """Make a token of another module, a copy of SoftHSM with files of its own; gives its configuration."""
    home, module = folder / "token" / "other", tomllib.loads((folder / "strongroomd.toml").read_text())
    (home / "tokens").mkdir(parents=True)
    shutil.copy(module["hsm"]["module"], home / "module.so")
    conf = home / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {home / 'tokens'}\nobjectstore.backend = file\n")
    make_token(conf, "other", home / "pin")
    return OTHER


def make_token(conf: Path, label: str, pin_file: Path) -> None:
    pin = secrets.token_hex(8)
    write_pin(pin_file, pin)
    tool = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", pin]
    environment = {**os.environ, "SOFTHSM2_CONF": str(conf)}
    subprocess.run(tool, env=environment, check=True, capture_output=True)


def write_pin(path: Path, pin: str) -> None:
    path.touch(mode=0o600)
    path.write_text(pin)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house founded with a main and another token, and then given a second one, which is not prepared yet."""
    folder = tmp_path_factory.mktemp("tokens")
    make_folder(folder, workers=1, edit=lambda text: text + make_other(folder))
    place = make_second(folder)
    with running(folder) as daemon, daemon.client(retry=ONCE) as client:
        yield House(daemon, place, client)


@contextmanager
def away(house: House) -> Iterator[None]:
    """Take the second token's files away."""
    elsewhere = house.daemon.folder / "elsewhere"
    shutil.move(house.place, elsewhere)
    try:
        yield
    finally:
        shutil.move(elsewhere, house.place)


def test_init_prepares_every_token_that_is_configured_by_then_whatever_its_module(house: House) -> None:
    eventually(lambda: "token other: well" in house.readiness)

    assert house.works(house.make("other"))
    assert house.works(house.make("other", custody_mode="RESIDENT"))


def test_token_is_prepared_once_while_the_daemon_serves(house: House) -> None:
    with refused("HSM_UNAVAILABLE"):
        house.make("second")
    with refused("INVALID_FIELD", "token"):
        house.make("third")
    assert house.works(house.make("main"))

    house.await_second()
    again = house.daemon.command("init", "--token", "second")

    assert house.works(house.make("second"))
    assert again.returncode == 78
    assert "hsm.tokens" in again.stderr


def test_a_further_tokens_keks_get_successors_of_their_own(house: House) -> None:
    house.await_second()
    with refused("INVALID_FIELD", "role"):
        house.client.rotate_house_key("row-mac", token="second")
    old = [house.make("second", exportable=exportable) for exportable in (False, True)]
    roles = ("kek-sealed", "kek-exportable")
    with house.daemon.client() as patient:
        made = [patient.rotate_house_key(role, token="second") for role in roles]

    new = [house.make("second", exportable=exportable) for exportable in (False, True)]
    assert house.client.start_rewrap(token="second").total == 1
    eventually(lambda: house.client.get_rewrap(token="second").state == "DONE")

    assert all(house.works(key) for key in (*old, *new))
    found = {key.house_key_id: key for key in house.client.list_house_keys()}
    assert [found[each.house_key_id].versions for each in made] == [1, 2]
    main = [key for key in found.values() if key.token == "main" and key.role in roles]
    assert {key.generation for key in main} == {0}


def test_keys_tell_their_token_and_stay_there_and_survive_both_its_loss_and_a_new_worker(
    house: House,
) -> None:
    house.await_second()
    ours = [house.make(""), house.make("main", custody_mode="RESIDENT")]
    theirs = [house.make("second"), house.make("second", custody_mode="RESIDENT")]
    signing = house.make("second", spec="ECC_NIST_P256", usage="SIGN_VERIFY")
    for key in (*ours, *theirs):
        assert house.client.rotate_key(key.key_id).token == key.token
        assert house.works(key)
    assert [key.token for key in (*ours, *theirs)] == ["main", "main", "second", "second"]
    assert house.client.describe_key(signing.key_id).token == "second"
    assert {key.token for key in house.client.list_keys().items} >= {"main", "second"}
    worker = house.daemon.workers()

    with away(house):
        eventually(lambda: "token second: away" in house.readiness)
        for key in theirs:
            assert not house.works(key)
        with refused("HSM_UNAVAILABLE"):
            house.client.sign(signing.key_id, b"message", algorithm="ECDSA_SHA_256")
        with refused("HSM_UNAVAILABLE"):
            house.make("second")
        assert all(house.works(key) for key in ours)
        assert house.works(house.make("main"))
        assert house.works(house.make("other"))
        assert house.readiness.startswith("ready\n")
        assert 'hsm_breaker_state{token="second"} 2.0' in house.metrics
        assert 'hsm_breaker_state{token="main"} 0.0' in house.metrics
        assert house.daemon.workers() == worker

    eventually(lambda: all(house.works(key) for key in theirs))
    assert house.client.sign(signing.key_id, b"message", algorithm="ECDSA_SHA_256").signature
    assert all(house.works(key) for key in ours)


def test_refused_pin_of_the_second_token_keeps_only_that_one_out(house: House) -> None:
    house.await_second()
    eventually(lambda: house.daemon.state["state"] == "ready")
    ours, theirs = house.make("main"), house.make("second")
    pin_file = house.daemon.folder / "token" / "pin2"
    right = pin_file.read_text()
    write_pin(pin_file, "wrong-" + right)
    for pid in house.daemon.workers():
        os.kill(pid, signal.SIGKILL)

    eventually(lambda: served(lambda: house.works(ours)))
    assert not house.works(theirs)
    eventually(lambda: 'hsm_pin_failures_total{token="second"} 1.0' in house.metrics)
    assert right not in house.daemon.log

    write_pin(pin_file, right)
    eventually(lambda: house.works(theirs))


def served(call: Callable[[], bool]) -> bool:
    """Whether a call comes through to a worker at all."""
    try:
        return call()
    except StrongroomError:
        return False
