"""A real daemon for each test session and process; see tests/harness.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import Daemon, make_folder, running, shared_daemon

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
