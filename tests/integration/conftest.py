"""A real daemon for each test session and process; see tests/harness.py."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.commands import RUNNER
from tests.harness import Daemon, Shell, make_folder, running, shared_daemon

from strongroom import Client

__all__ = ["Daemon", "make_folder", "running"]


@pytest.fixture(scope="session")
def daemon(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """One daemon with two workers for the tests that only use it."""
    return shared_daemon(pytestconfig, lambda: tmp_path_factory.mktemp("daemon"))


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of the test's own, to be stopped, killed or damaged."""
    folder = tmp_path / "own"
    folder.mkdir()
    with running(make_folder(folder)) as mine:
        yield mine


@pytest.fixture(scope="session")
def admin(daemon: Daemon) -> Iterator[Client]:
    """The administrator."""
    with daemon.client("admin", timeout=30.0) as client:
        yield client


@pytest.fixture(scope="session")
def service(daemon: Daemon) -> Iterator[Client]:
    """An ordinary service, which no policy names unless a test does."""
    with daemon.client("service", timeout=30.0) as client:
        yield client


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path) -> Shell:
    """Run `strongroom` as an identity, with input."""

    def run(*arguments: str, stdin: bytes = b"", who: str = "admin") -> subprocess.CompletedProcess[bytes]:
        tls = daemon.tls(who)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")},
            "STRONGROOM_ENDPOINT": daemon.endpoint,
            "XDG_CONFIG_HOME": str(tmp_path),
            **{f"STRONGROOM_{name.upper()}": str(path) for name, path in tls.items()},
        }
        return RUNNER.run_client(arguments, environment, stdin)

    return run
