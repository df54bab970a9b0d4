"""The daemon that conformance tests talk to, below the SDK: bytes on a gRPC channel."""

from collections.abc import Iterator

import pytest
from tests.conformance.wire import PATIENCE, Wire
from tests.harness import Daemon, shared_daemon

from strongroom import Client


@pytest.fixture(scope="session")
def daemon(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """The daemon of this test process, shared with the integration tests."""
    return shared_daemon(pytestconfig, lambda: tmp_path_factory.mktemp("daemon"))


@pytest.fixture(scope="session")
def admin(daemon: Daemon) -> Iterator[Client]:
    """The administrator, by the SDK."""
    with daemon.client("admin", timeout=30.0) as client:
        yield client


@pytest.fixture(scope="session")
def wire(daemon: Daemon) -> Iterator[Wire]:
    """The administrator, by bare gRPC."""
    with Wire.connect(daemon, "admin") as wire:
        wire.patience = PATIENCE
        yield wire


@pytest.fixture(scope="session")
def stranger(daemon: Daemon) -> Iterator[Wire]:
    """The ordinary service, by bare gRPC."""
    with Wire.connect(daemon, "service") as wire:
        wire.patience = PATIENCE
        yield wire
