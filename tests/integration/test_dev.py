"""`strongroomd dev`: one command, a whole daemon on a real token, and nothing left behind."""

import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import within

pytestmark = [pytest.mark.softhsm, pytest.mark.daemon, pytest.mark.slow]


def strongroomd(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "strongroomd", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=check, env=clean)


class Dev:
    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.output = strongroomd("dev", "--env", "--dir", str(folder), *arguments).stdout

    @property
    def environment(self) -> dict[str, str]:
        words = [word for line in self.output.splitlines() for word in shlex.split(line, comments=True)]
        return dict(word.split("=", 1) for word in words if word != "export")

    def state(self) -> dict[str, Any]:
        return json.loads((self.folder / "run" / "daemon.json").read_text())

    def get(self, path: str) -> str:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.state()['ops_port']}{path}", timeout=10
        ) as reply:
            return reply.read().decode()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    made = Dev(tmp_path_factory.mktemp("dev") / "daemon", "--workers", "2", "--xks-port", "0")
    yield made
    done = strongroomd("dev", "--down", "--dir", str(made.folder))
    assert not made.folder.exists()
    assert set(done.stdout.split()) == {"unset", *made.environment}


def test_a_shell_can_evaluate_its_output(dev: Dev) -> None:
    environment = dev.environment

    assert set(environment) == {
        "STRONGROOM_ENDPOINT",
        "STRONGROOM_CA",
        "STRONGROOM_CERT",
        "STRONGROOM_KEY",
        "STRONGROOM_DEV_DIR",
        "STRONGROOM_XKS_ENDPOINT",
    }
    assert environment["STRONGROOM_ENDPOINT"] == f"127.0.0.1:{dev.state()['grpc_port']}"
    for name in ("STRONGROOM_CA", "STRONGROOM_CERT", "STRONGROOM_KEY"):
        assert Path(environment[name]).is_file()


def test_the_door_of_key_stores_answers_where_it_says_with_the_certificate_that_it_says(dev: Dev) -> None:
    trust = ssl.create_default_context(cafile=dev.environment["STRONGROOM_CA"])
    url = f"{dev.environment['STRONGROOM_XKS_ENDPOINT']}/ping"

    with urllib.request.urlopen(url, timeout=10, context=trust) as reply:  # noqa: S310 - https
        assert reply.status == 200


def test_a_second_time_in_the_same_shell_it_tells_of_the_same_daemon(dev: Dev) -> None:
    pid = dev.state()["pid"]

    again = Dev(dev.folder)

    assert again.environment == dev.environment
    assert dev.state()["pid"] == pid


def test_a_second_daemon_in_the_foreground_is_refused(dev: Dev) -> None:
    done = strongroomd("dev", "--dir", str(dev.folder), check=False)

    assert done.returncode == 1
    assert "runs already" in done.stderr


@pytest.mark.parametrize("verb", ["--down", "--env"])
@pytest.mark.parametrize("trap", ["open", "link", "another user's"])
def test_a_folder_that_somebody_else_could_have_filled_is_not_believed(
    tmp_path: Path, verb: str, trap: str
) -> None:
    folder = tmp_path / "predictable"
    folder.mkdir(mode=0o700)
    (folder / "strongroom-dev").touch()
    (folder / "strongroomd.toml").write_text("[hsm]\nmodule = '/tmp/evil.so'\n")
    named = folder
    if trap == "open":
        folder.chmod(0o777)
    elif trap == "link":
        named = tmp_path / "link"
        named.symlink_to(folder)
    elif os.geteuid() == 0:
        os.chown(folder, 65_534, 65_534)
    else:
        pytest.skip("only root can make a folder of another user")

    done = strongroomd("dev", verb, "--dir", str(named), check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert "not trusted" in done.stderr or "symbolic link" in done.stderr
    assert (folder / "strongroomd.toml").exists()


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null", "/dev/null/x"])
@pytest.mark.parametrize("verb", ["--down", "--env"])
def test_a_place_that_cannot_be_a_folder_is_one_line(place: str, verb: str) -> None:
    done = strongroomd("dev", verb, "--dir", place, check=False)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_health_and_metrics_are_served(dev: Dev) -> None:
    assert dev.get("/readyz") == "ready\n"
    assert 'strongroom_workers{state="ready"} 2.0' in dev.get("/metrics")


@pytest.mark.timed
def test_a_killed_worker_is_replaced_within_five_seconds(dev: Dev) -> None:
    victim = dev.state()["workers"][0]["pid"]
    start = time.monotonic()

    os.kill(victim, signal.SIGKILL)
    while dev.state()["restarts"]["crash"] == 0 or dev.state()["state"] != "ready":
        assert time.monotonic() - start < within(30)
        time.sleep(0.05)

    assert time.monotonic() - start < within(5.0)


def test_doctor_finds_nothing_wrong_with_it(dev: Dev) -> None:
    done = strongroomd("doctor", "--config", str(dev.folder / "strongroomd.toml"), check=False)

    assert done.returncode == 0, done.stdout
    assert "a daemon serves on" in done.stdout


def test_its_audit_log_verifies_and_a_forged_one_does_not(dev: Dev) -> None:
    config = str(dev.folder / "strongroomd.toml")
    deadline = time.monotonic() + within(20)
    while (checkpoint := strongroomd("audit", "checkpoint", "--config", config, check=False)).returncode:
        assert time.monotonic() < deadline, checkpoint.stderr
    held = dev.folder / "held.json"
    held.write_text(checkpoint.stdout)

    assert (
        "the log is whole"
        in strongroomd("audit", "verify", "--config", config, "--checkpoint", str(held)).stdout
    )
    held.write_text(re.sub(r'"number":\d+', '"number":99', checkpoint.stdout))
    forged = strongroomd("audit", "verify", "--config", config, "--checkpoint", str(held), check=False)
    assert forged.returncode == 1
    assert "Traceback" not in forged.stderr


def test_init_refuses_the_used_token(dev: Dev) -> None:
    done = strongroomd("init", "--config", str(dev.folder / "strongroomd.toml"), check=False)

    assert done.returncode == 78
    assert "CONFIGURATION" in done.stderr


def test_the_pin_is_in_no_log_argument_variable_or_state_file(dev: Dev) -> None:
    pin = (dev.folder / "token" / "pin").read_bytes()
    so_pin = (dev.folder / "token" / "so-pin").read_bytes()
    pids = [dev.state()["pid"], *(worker["pid"] for worker in dev.state()["workers"])]
    places = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "environ")]
    places += [dev.folder / "log", dev.folder / "strongroomd.toml"]
    places += [
        file for folder in ("run", "state") for file in (dev.folder / folder).rglob("*") if file.is_file()
    ]

    assert len(places) > 10
    for place in places:
        content = place.read_bytes()
        assert pin not in content, place
        assert so_pin not in content, place


def test_in_the_foreground_it_cleans_up_after_ctrl_c(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    command = [sys.executable, "-P", "-m", "strongroomd", "dev"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment | {"TMPDIR": str(tmp_path)}
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Ctrl-C stops" in line:
                process.send_signal(signal.SIGINT)
        code = process.wait(60)

    assert code == 0
    assert list(tmp_path.iterdir()) == []
