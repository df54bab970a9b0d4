"""A zoo of certificates: of those with a fault, none is accepted."""

import contextlib
import datetime as dt
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tests.conformance.certificates import BAD, GOOD, Forge, Recipe
from tests.harness import Daemon

from strongroom.v1 import access_pb2

_REQUEST = access_pb2.GetCallerIdentityRequest()
_REFUSED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}


@pytest.fixture(scope="module")
def forge(daemon: Daemon) -> Forge:
    return Forge(daemon)


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_certificate_speaks_for_nobody(forge: Forge, name: str) -> None:
    with forge.connect(BAD[name]) as wire:
        outcome = wire.call("GetCallerIdentity", _REQUEST, 5.0)

    assert outcome.code in _REFUSED, outcome
    if outcome.code is grpc.StatusCode.UNAUTHENTICATED:
        assert outcome.reason == "UNAUTHENTICATED_PEER"


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_good_certificate_speaks_for_its_principal(forge: Forge, name: str) -> None:
    with forge.connect(GOOD[name]) as wire:
        outcome = wire.call("GetCallerIdentity", _REQUEST)

    assert outcome.ok, outcome
    assert outcome.reply is not None
    assert str(outcome.reply).count("user/admin") == 1


def test_bad_certificates_all_look_alike_to_their_holders(forge: Forge) -> None:
    texts = set()
    for name in ("unknown principal", "two URIs", "wildcard", "no URI, configured common name"):
        with forge.connect(BAD[name]) as wire:
            texts.add(wire.call("GetCallerIdentity", _REQUEST).message)

    assert len(texts) == 1


def test_many_handshakes_at_once_kill_no_worker(daemon: Daemon) -> None:
    """gRPC's core dies of it when it is given certificates at every handshake; no certificate is needed for that."""
    before = [worker["pid"] for worker in daemon.state["workers"]]
    host, _, port = daemon.endpoint.rpartition(":")
    stranger = ssl.create_default_context(cafile=str(daemon.tls("admin")["ca"]))
    stranger.check_hostname = False
    stranger.set_alpn_protocols(["h2"])

    def connect(_: int) -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5) as plain:
            stranger.wrap_socket(plain, server_hostname="localhost").close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(connect, range(1_500)))

    time.sleep(1.5)  # as long as the supervisor takes at most to see a worker die
    assert [worker["pid"] for worker in daemon.state["workers"]] == before


def test_a_certificate_of_today_does_not_outlive_its_end_on_an_open_connection(forge: Forge) -> None:
    soon = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=3)
    with forge.connect(Recipe(ends=soon)) as wire:
        before = wire.call("GetCallerIdentity", _REQUEST)
        time.sleep(max(0.0, soon.timestamp() + 1.1 - time.time()))
        after = wire.call("GetCallerIdentity", _REQUEST)

    assert before.ok
    assert after.reason == "UNAUTHENTICATED_PEER"
