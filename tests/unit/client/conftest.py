"""A fake daemon and a client of it, for every test of this folder."""

from collections.abc import Iterator

import pytest
from tests.unit.client.fake_daemon import QUICK, FakeDaemon, Pems, issue, pem_of

from strongroom import Client


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    folder = tmp_path_factory.mktemp("pems")
    authority = issue("authority")
    client = pem_of(*issue("client", authority))
    (folder / "ca.pem").write_bytes(pem_of(*authority)[0])
    (folder / "client.pem").write_bytes(client[0])
    (folder / "client-key.pem").write_bytes(client[1])
    return Pems(
        folder / "ca.pem",
        pem_of(*issue("server", authority)),
        folder / "client.pem",
        folder / "client-key.pem",
    )


@pytest.fixture
def daemon(pems: Pems) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(pems)
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[Client]:
    with Client(daemon.settings, retry=QUICK) as made:
        yield made
