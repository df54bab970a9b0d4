"""A real daemon for each test session and worker: SoftHSM token, certificates, supervisor, workers."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from strongroom import Client

READY_SECONDS = 60.0


@dataclass
class Daemon:
    """A running daemon and how to reach it."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def state(self) -> dict[str, object]:
        """What the supervisor publishes."""
        state: dict[str, object] = json.loads((self.folder / "run" / "daemon.json").read_bytes())
        return state

    @property
    def endpoint(self) -> str:
        """Where the gRPC door is."""
        return str(self.state["grpc"])

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "strongroomd.toml"

    @property
    def log(self) -> str:
        """What the daemon logged so far."""
        return (self.folder / "log").read_text()

    def tls(self, name: str) -> dict[str, Path]:
        """File arguments of a client for an identity: `admin` or `service`."""
        tls = self.folder / "tls"
        return {"ca": tls / "ca.pem", "cert": tls / f"{name}.pem", "key": tls / f"{name}.key"}

    def client(self, name: str = "admin", **options: object) -> Client:
        """Connect as an identity."""
        return Client.connect(self.endpoint, **self.tls(name), **options)  # type: ignore[arg-type]

    def metrics(self) -> str:
        """Scrape."""
        with urllib.request.urlopen(f"http://{self.state['ops']}/metrics", timeout=5) as reply:
            return str(reply.read().decode())

    def workers(self) -> list[int]:
        """Process ids of the living workers."""
        return [int(worker["pid"]) for worker in self.state["workers"]]  # type: ignore[attr-defined]

    def stop(self) -> int:
        """Drain and stop; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL supervisor and workers."""
        pids = self.workers()
        self.process.kill()
        self.process.wait(10)
        for pid in pids:
            _kill(pid)

    def start(self) -> None:
        """Start again after `stop` or `kill`."""
        self.process = _serve(self.folder)
        await_ready(self)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "strongroomd", "serve", "--config", str(folder / "strongroomd.toml")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def await_ready(daemon: Daemon) -> None:
    """Wait until every worker serves."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if daemon.process.poll() is not None:
            break
        try:
            if daemon.state["pid"] == daemon.process.pid and daemon.state["state"] == "ready":
                return
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.05)
    pytest.fail(f"the daemon is not ready:\n{daemon.log[-4000:]}")


def make_folder(folder: Path, workers: int = 2, edit: Callable[[str], str] | None = None) -> Path:
    """Make token, certificates, configuration and house keys in an empty folder."""
    script = (
        "import sys; from pathlib import Path; from strongroomd.cli.dev import prepare;"
        f"prepare(Path(sys.argv[1]), 0, 0, {workers})"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True, capture_output=True)
    config = folder / "strongroomd.toml"
    if edit is not None:
        config.write_text(edit(config.read_text()))
    init = [sys.executable, "-m", "strongroomd", "init", "--config", str(config)]
    subprocess.run(init, check=True, capture_output=True)
    return folder


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    """Serve from a folder made by `make_folder`."""
    daemon = Daemon(folder, _serve(folder))
    try:
        await_ready(daemon)
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.kill()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon with two workers for the tests that only use it."""
    with running(make_folder(tmp_path_factory.mktemp("daemon"))) as running_daemon:
        yield running_daemon


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of the test's own, to be stopped, killed or damaged."""
    with running(make_folder(tmp_path / "own" if not (tmp_path / "own").mkdir() else tmp_path)) as mine:
        yield mine


@pytest.fixture(scope="session")
def admin(daemon: Daemon) -> Iterator[Client]:
    """The administrator."""
    with daemon.client("admin") as client:
        yield client


@pytest.fixture(scope="session")
def service(daemon: Daemon) -> Iterator[Client]:
    """An ordinary service, which no policy names unless a test does."""
    with daemon.client("service") as client:
        yield client
