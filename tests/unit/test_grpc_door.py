"""The door refuses what is too much, and the server what it could not serve with."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from strongroom.v1 import access_pb2
from strongroom.v1.access_pb2_grpc import AccessServiceStub
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Principal
from strongroomd.frontends.grpc.door import Call, Deadlines, Door
from strongroomd.frontends.grpc.identity import Identities, IdentityRule
from strongroomd.frontends.grpc.pki import Authority
from strongroomd.frontends.grpc.server import SERVICES, Certificates, Server, ServerSettings
from strongroomd.wiring import rooms

URI = "spiffe://strongroom.dev/alice"
ALICE = Principal("arn:aws:iam::111122223333:user/alice", "111122223333")
REQUEST = access_pb2.GetCallerIdentityRequest()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


def certificates(authority: Authority, **changes: bytes) -> Certificates:
    issued = authority.server(["localhost", "127.0.0.1"])
    fields = {
        "chain": issued.certificate,
        "key": issued.key.reveal(),
        "client_ca": authority.certificate,
    }
    return Certificates(**(fields | changes))


class Servicers:
    """Every method; those that are called wait for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return self._stream if name == "Operate" else self._answer

    async def _answer(self, _request: Any, call: Call) -> Any:
        await self.go.wait()
        return access_pb2.GetCallerIdentityResponse(principal_arn=call.caller.principal.arn)

    async def _stream(self, requests: AsyncIterator[Any], _call: Call) -> AsyncIterator[Any]:
        async for _ in requests:
            pass
        return
        yield


async def _unwritten(_attempt: Any, error: StrongroomError) -> StrongroomError:
    """What the door refuses is no subject here."""
    return error


@asynccontextmanager
async def served(authority: Authority, most: int) -> AsyncIterator[tuple[grpc.aio.Channel, Door, Servicers]]:
    served = certificates(authority)
    identities = Identities([IdentityRule(ALICE, uri=URI)], served.client_ca, time.time)
    meter: Any = SimpleNamespace(observe=lambda _code, _seconds: None)
    unwritten: Any = SimpleNamespace(refuse=_unwritten)
    door = Door(identities, Deadlines(5.0, 5.0), lambda _: meter, unwritten, most=most)
    servicers = Servicers()
    settings = ServerSettings("127.0.0.1:0", 100, 5, 60, 60, 5, reflection=False)
    server = Server(settings, served, door, dict.fromkeys(SERVICES, servicers))
    port = await server.start()
    client = authority.client("alice", URI)
    credentials = grpc.ssl_channel_credentials(authority.certificate, client.key.reveal(), client.certificate)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        yield channel, door, servicers
    await server.drain(0.0)


def details(error: grpc.aio.AioRpcError) -> tuple[str, float]:
    """Reason and seconds to wait, from a status."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(retry)
    return info.reason, retry.retry_delay.ToTimedelta().total_seconds()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


async def test_calls_beyond_the_bound_are_refused_with_a_hint_and_health_is_not(authority: Authority) -> None:
    async with served(authority, most=3) as (channel, door, servicers):
        stub: Any = AccessServiceStub(channel)
        held = [asyncio.ensure_future(_answer(stub)) for _ in range(3)]
        await until(lambda: door.in_flight == 3)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetCallerIdentity(REQUEST, timeout=5)
        health: Any = health_pb2_grpc.HealthStub(channel)
        serving = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        servicers.go.set()
        answers = await asyncio.gather(*held)
        again = await _answer(stub)

    reason, wait = details(caught.value)
    assert (reason, caught.value.code()) == ("OVERLOADED", grpc.StatusCode.UNAVAILABLE)
    assert wait > 0
    assert serving.status == health_pb2.HealthCheckResponse.SERVING
    assert answers == [ALICE.arn] * 3
    assert again == ALICE.arn
    assert door.in_flight == 0


async def _answer(stub: Any) -> str:
    return str((await stub.GetCallerIdentity(REQUEST, timeout=10)).principal_arn)


async def test_streams_are_bounded_apart_from_calls(authority: Authority) -> None:
    async with served(authority, most=2) as (channel, door, servicers):
        operate: Any = channel.stream_stream("/strongroom.v1.CryptoService/Operate")
        held = [operate() for _ in range(2)]
        await until(lambda: door.streams == 2)

        refused = operate()
        code = await refused.code()
        servicers.go.set()
        called = await _answer(AccessServiceStub(channel))
        for stream in held:
            await stream.done_writing()
            await stream.code()
        await until(lambda: door.streams == 0)

    assert code is grpc.StatusCode.UNAVAILABLE
    assert called == ALICE.arn


def broken(authority: Authority) -> Iterator[tuple[dict[str, bytes], str]]:
    other = authority.server(["localhost"])
    yield {"key": other.key.reveal()}, "grpc.key_file"
    yield {"chain": other.certificate}, "grpc.key_file"
    yield {"key": b"junk"}, "grpc.key_file"
    yield {"chain": b""}, "grpc.certificate_file"
    yield (
        {"chain": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        "grpc.certificate_file",
    )
    yield {"client_ca": other.key.reveal()}, "grpc.client_ca_file"


def test_a_pair_that_cannot_be_served_with_is_refused_by_its_setting(authority: Authority) -> None:
    certificates(authority).check()
    for changes, field in broken(authority):
        with pytest.raises(StrongroomError) as caught:
            certificates(authority, **changes).check()
        assert (caught.value.reason, caught.value.field) == (Reason.CONFIGURATION, field)


def test_certificates_are_checked_when_they_are_read(authority: Authority, tmp_path: Path) -> None:
    good, other = certificates(authority), certificates(authority)
    for name, data in (("chain", good.chain), ("key", other.key), ("ca", good.client_ca)):
        (tmp_path / name).write_bytes(data)
    files = SimpleNamespace(
        certificate_file=tmp_path / "chain", key_file=tmp_path / "key", client_ca_file=tmp_path / "ca"
    )
    settings: Any = SimpleNamespace(grpc=files)

    with pytest.raises(StrongroomError) as caught:
        rooms.certificates(settings)

    assert (caught.value.reason, caught.value.field) == (Reason.CONFIGURATION, "grpc.key_file")
