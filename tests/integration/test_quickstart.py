"""scripts/quickstart, as a stranger runs it: from anywhere, without a terminal, twice, and leaving nothing."""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import within

pytestmark = [pytest.mark.softhsm, pytest.mark.daemon, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "quickstart"
SECONDS = 200


class Quickstart:
    """One folder of state, and what the script said."""

    def __init__(self, folder: Path, elsewhere: Path) -> None:
        self.folder = folder
        self._elsewhere = elsewhere

    def run(self, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
        clean["STRONGROOM_QUICKSTART_DIR"] = str(self.folder)
        if path is not None:
            clean["PATH"] = path
        return subprocess.run(
            [str(SCRIPT), *arguments],
            check=False,
            cwd=self._elsewhere,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )

    def environment(self) -> dict[str, str]:
        """What `. .strongroom/env` gives a shell."""
        shown = subprocess.run(
            ["bash", "-c", 'set -e; . "$0"; env -0', str(self.folder / "env")],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
        return dict(line.split("=", 1) for line in shown.split("\0") if line)

    def daemon(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "daemon" / "run" / "daemon.json").read_text())
        return found


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quickstart]:
    folder = tmp_path_factory.mktemp("quick start") / "state's"
    made = Quickstart(folder, tmp_path_factory.mktemp("elsewhere"))
    yield made
    made.run("--down")


@pytest.fixture(scope="module")
def first(quickstart: Quickstart) -> str:
    """What the first run says. Its usual ports are taken."""
    with socket.socket() as grpc, socket.socket() as ops, socket.socket() as xks:
        for taken, port in ((grpc, 7443), (ops, 9464), (xks, 8443)):
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody else has it, which serves as well
        done = quickstart.run()
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_narrates_every_step_and_each_did_what_it_says(first: str) -> None:
    for step in range(1, 11):
        assert re.search(rf"^\[ ?{step}/10\] \S", first, re.MULTILINE), step
    for told in (
        "user/admin",
        "user/service",
        "it is alias/payroll",
        "the same, byte for byte",
        "Verified OK",
        "QUOTA_EXCEEDED, try again in",
        "25 of 25 calls",
        "strongroom_throttled_total",
        'strongroom_workers{state="ready"} 2.0',
        "the log is whole",
        "--down",
    ):
        assert told in first, told


def test_each_command_stands_there_as_it_could_be_typed(first: str) -> None:
    commands = re.findall(r"^        \$ (.+)$", first, re.MULTILINE)

    assert len(commands) >= 15
    for command in commands:
        checked = subprocess.run(["bash", "-n", "-c", command], check=False, capture_output=True, timeout=10)
        assert checked.returncode == 0, command


def test_it_takes_other_ports_where_its_own_are_taken(first: str, quickstart: Quickstart) -> None:
    daemon = quickstart.daemon()

    assert daemon["grpc_port"] != 7443
    assert daemon["ops_port"] != 9464
    assert daemon["xks_port"] != 8443


def test_its_state_lies_in_one_folder_that_others_cannot_read(first: str, quickstart: Quickstart) -> None:
    assert quickstart.folder.stat().st_mode & 0o077 == 0
    assert {path.name for path in quickstart.folder.iterdir()} == {
        *("daemon", "files", "client.toml", "env", "lock", ".gitignore", ".made-by-quickstart")
    }
    assert (quickstart.folder / ".gitignore").read_text() == "*\n"


def test_the_three_commands_to_paste_work(first: str, quickstart: Quickstart) -> None:
    pasted = first.partition("Yours to try:")[2].partition("Stop it")[0].strip().splitlines()
    script = "\n".join(["set -e", *pasted])

    done = subprocess.run(
        ["bash", "-c", script], check=False, capture_output=True, text=True, timeout=60, env=_bare()
    )

    assert len(pasted) == 3
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("hello\n")
    assert "SYMMETRIC_DEFAULT" in done.stdout


def test_the_readmes_ten_lines_run(first: str, quickstart: Quickstart) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None

    done = subprocess.run(
        [sys.executable, "-c", code[1]],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=quickstart.environment(),
    )

    assert len(code[1].splitlines()) <= 10
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("b'4000 EUR' by version 1 of arn:aws:kms:")
    assert done.stdout.splitlines()[1] == "INVALID_CIPHERTEXT"


def test_the_readmes_key_store_passes_its_selftest(
    first: str, quickstart: Quickstart, tmp_path: Path
) -> None:
    commands = re.search(r"```sh\n(\. \.strongroom/env\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert commands is not None
    (tmp_path / ".strongroom").symlink_to(quickstart.folder)

    done = subprocess.run(
        ["bash", "-c", f"set -e\n{commands[1]}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=_bare(),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "AWS calls it the path /blue/kms/xks/v1" in done.stderr
    assert re.search(r"\d\d pass, 2 warn$", done.stderr.strip()), done.stderr


def test_a_second_run_uses_what_is_there_even_after_a_crash(first: str, quickstart: Quickstart) -> None:
    os.kill(int(str(quickstart.daemon()["pid"])), signal.SIGKILL)
    time.sleep(0.5)

    done = quickstart.run()

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("is there already") == 3
    assert "the log is whole" in done.stdout


def test_when_something_goes_wrong_it_says_where_and_shows_the_log(
    first: str, quickstart: Quickstart
) -> None:
    key = quickstart.folder / "daemon" / "tls" / "service.key"
    content = key.read_bytes()
    key.write_text("no key\n")

    done = quickstart.run()
    key.write_bytes(content)

    assert done.returncode == 1
    assert done.stdout.count("failed (exit code") == 1
    assert "step 3" in done.stdout
    assert '"event": "worker ready"' in done.stdout
    assert "--down" in done.stdout


def test_without_root_and_with_packages_missing_it_prints_the_apt_line_and_stops(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        (folder / "bin").mkdir()
        for tool in ("bash", "cat", "cut", "dirname", "env", "flock", "grep", "mkdir", "sed", "sha256sum"):
            (folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
        (folder / "bin" / "apt-get").symlink_to("/bin/false")
        nobody = (
            [str(shutil.which("setpriv")), "--reuid=65534", "--regid=65534", "--clear-groups"]
            if os.geteuid() == 0
            else []
        )

        done = subprocess.run(
            [*nobody, str(shutil.which("bash")), str(folder / "scripts" / "quickstart")],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            cwd="/",
            env={"PATH": str(folder / "bin"), "STRONGROOM_QUICKSTART_DIR": "/nonexistent"},
        )

    assert done.returncode == 1
    line = re.search(r"sudo apt-get update && sudo apt-get install .*", done.stdout + done.stderr)
    assert line is not None, done.stdout + done.stderr
    assert {"python3", "openssl"} <= set(line[0].split())
    assert "--down" not in done.stdout + done.stderr
    assert "Nothing was made yet" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--down"]])
def test_a_folder_that_it_did_not_make_is_left_as_it_is(tmp_path: Path, arguments: list[str]) -> None:
    home = tmp_path / "home"
    for name in ("files", "env", "daemon"):
        (home / name).mkdir(parents=True)
        (home / name / "precious").touch()

    done = Quickstart(home, tmp_path).run(*arguments)

    assert done.returncode == 1
    assert "was not made by this script" in done.stdout
    assert {path.parent.name for path in home.rglob("precious")} == {"files", "env", "daemon"}


def test_down_waits_for_nobody_and_removes_nothing_under_another_run(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "files").mkdir(parents=True)
    (home / ".made-by-quickstart").touch()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = Quickstart(home, tmp_path).run("--down")

    assert done.returncode == 1
    assert "another quickstart is at work" in done.stdout
    assert (home / "files").is_dir()


def test_a_relative_folder_is_that_of_the_caller_and_files_of_others_stay(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "files").mkdir(parents=True)
    for name in (".made-by-quickstart", "mine"):
        (home / name).touch()

    done = Quickstart(Path("home"), tmp_path).run("--down")

    assert done.returncode == 0, done.stdout
    assert [path.name for path in home.iterdir()] == ["mine"]
    assert "stays" in done.stdout


def test_the_command_that_removes_it_all_names_the_folder(first: str, quickstart: Quickstart) -> None:
    command = first.partition("Stop it and remove its folder:")[2].strip()

    assert shlex.split(command) == [f"STRONGROOM_QUICKSTART_DIR={quickstart.folder}", str(SCRIPT), "--down"]


def test_down_stops_the_daemon_and_leaves_nothing_and_may_be_repeated(
    first: str, quickstart: Quickstart
) -> None:
    pid = int(str(quickstart.daemon()["pid"]))

    done, again = quickstart.run("--down"), quickstart.run("--down")

    assert (done.returncode, again.returncode) == (0, 0), done.stdout + again.stdout
    assert not quickstart.folder.exists()
    assert is_gone(pid)
    assert "nothing to remove" in again.stdout


def is_gone(pid: int) -> bool:
    """Say whether a process has ended, within a few seconds; a zombie has, whoever should have reaped it."""
    deadline = time.monotonic() + within(5)
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def _bare() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
