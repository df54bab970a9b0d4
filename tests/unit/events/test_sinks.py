"""Sinks against servers that accept, refuse, redirect, dawdle and lie; and addresses that nobody may lead us to."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.receiver import SECRET, receiving, signed

from strongroomd.domain.delivery import Blame, Undelivered
from strongroomd.domain.events import Event
from strongroomd.events import formats
from strongroomd.events.addresses import is_allowed, resolve
from strongroomd.events.jetstream import JetStream, NatsSettings
from strongroomd.events.webhook import Webhook, WebhookSettings, _seconds
from strongroomd.frontends.grpc.pki import Authority

EVENT = Event(
    1, "id-1", "strongroom.key.disabled", "arn:k1", 1, 1_700_000_000_123, "p", "r", '{"state":"Disabled"}'
)
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def webhook(url: str, **changes: Any) -> Webhook:
    fields: dict[str, Any] = {
        "secret": SECRET,
        "seconds": 2.0,
        "networks": LOOPBACK,
        "ca_file": None,
        "source": "/s",
    }
    return Webhook(WebhookSettings(url=url, **(fields | changes)))


async def refusal(url: str, **changes: Any) -> Undelivered:
    sink = webhook(url, **changes)
    try:
        with pytest.raises(Undelivered) as caught:
            await sink.send(EVENT)
    finally:
        await sink.close()
    return caught.value


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    serving: set[asyncio.Task[None]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    made = await asyncio.start_server(kept, "127.0.0.1", 0, ssl=context)
    try:
        yield made.sockets[0].getsockname()[1]
    finally:
        made.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)


def saying(*answer: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in answer:
            writer.write(piece)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return serve


async def test_an_event_is_posted_in_structured_mode_and_signed() -> None:
    with receiving() as receiver:
        sink = webhook(receiver.url)
        await sink.send(EVENT)
        await sink.send(EVENT)
        await sink.close()

    (_, event, headers), (_, again, _) = receiver.requests
    assert event == again
    assert headers["Content-Type"].startswith("application/cloudevents+json")
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert (event["id"], event["time"]) == ("id-1", "2023-11-14T22:13:20.123Z")
    assert event["data"] == {"state": "Disabled"}


def test_the_signature_has_the_documented_form() -> None:
    header = formats.signature(b"k" * 16, 1_700_000_000, b"{}")

    assert header == "t=1700000000,v1=6d58fb78491a4cd45b0a5944663cf2020c2185a67defd8caec14059846f09e3d"
    assert not signed(header, b"{} ", b"k" * 16)
    assert not signed(header, b"{}", b"l" * 16)


@pytest.mark.parametrize(
    ("status", "blame"),
    [
        (400, Blame.EVENT), (413, Blame.EVENT), (422, Blame.EVENT), (500, Blame.EVENT),
        (401, Blame.SINK), (403, Blame.SINK), (404, Blame.SINK), (429, Blame.SINK), (503, Blame.SINK),
        (301, Blame.SINK), (302, Blame.SINK), (307, Blame.SINK), (308, Blame.SINK), (304, Blame.SINK),
    ],
)  # fmt: skip
async def test_anything_but_a_2xx_is_no_receipt_and_somebodys_fault(status: int, blame: Blame) -> None:
    with receiving() as receiver:
        receiver.judge = lambda _: (status, {"Location": receiver.url, "Retry-After": "7"})
        failure = await refusal(receiver.url)

    assert len(receiver.requests) == 1, "no redirect is followed"
    assert (failure.blame, failure.retry_after) == (blame, 7.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0), ("0", 0.0), ("", None), ("soon", None), ("-5", None), ("9" * 40, None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("1e9", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert _seconds(text, 100.0) == seconds


async def test_a_server_that_says_nothing_is_waited_for_so_long_only() -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3.0)
        writer.close()

    async with server(dawdle) as port:
        failure = await refusal(f"http://127.0.0.1:{port}/", seconds=0.3)

    assert (failure.blame, failure.error) == (Blame.SINK, "no answer in time")


async def test_a_server_that_drips_its_answer_is_waited_for_so_long_only() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(60):
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.05)
        writer.close()

    async with server(drip) as port:
        failure = await refusal(f"http://127.0.0.1:{port}/", seconds=0.3)

    assert failure.error == "no answer in time"


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            for _ in range(10_000):
                writer.write(b"x" * 10_000)
                await writer.drain()
                written += 10_000
        except OSError:
            pass
        writer.close()

    async with server(flood) as port:
        sink = webhook(f"http://127.0.0.1:{port}/")
        await sink.send(EVENT)
        await sink.close()

    assert written < 50_000_000


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n"]
)
async def test_what_is_no_answer_is_the_sinks_failure(answer: bytes) -> None:
    async with server(saying(answer)) as port:
        failure = await refusal(f"http://127.0.0.1:{port}/")

    assert failure.blame is Blame.SINK
    assert "y" * 10 not in failure.error


async def test_nobody_there_is_the_sinks_failure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failure = await refusal(f"http://127.0.0.1:{taken.getsockname()[1]}/")

    assert failure.blame is Blame.SINK


def tls(folder: Path, names: list[str]) -> tuple[ssl.SSLContext, Path]:
    authority = Authority.make()
    (folder / "ca.pem").write_bytes(authority.certificate)
    authority.server(names).write(folder / "server.pem", folder / "server.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context, folder / "ca.pem"


_OK = saying(b"HTTP/1.1 204 No Content\r\n\r\n")


async def test_tls_verifies_the_name_while_the_checked_address_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, ca = tls(tmp_path, ["hooks.example.org"])
    asked: list[str] = []

    async def lookup(_self: Any, host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with server(_OK, context) as port:
        monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", lookup)
        sink = webhook(f"https://hooks.example.org:{port}/x", ca_file=ca)
        await sink.send(EVENT)
        await sink.close()
        wrong_name = await refusal(f"https://other.example.org:{port}/x", ca_file=ca)
        unknown = await refusal(f"https://hooks.example.org:{port}/x")

    # The address is looked up literally when it is connected to: never the name a second time.
    assert [host for host in asked if host == "hooks.example.org"] == ["hooks.example.org"] * 2
    assert wrong_name.error == unknown.error == "the certificate does not verify"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.1.2.3", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1",
        "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
        "fec0::1", "feff::1", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.0.255", "::ffff:192.0.0.9",
    ],
)  # fmt: skip
def test_addresses_of_private_networks_are_refused(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), ())


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address), ())


def test_only_the_configured_range_is_excepted() -> None:
    ten = (ipaddress.ip_network("10.1.0.0/16"),)

    assert is_allowed(ipaddress.ip_address("10.1.2.3"), ten)
    assert is_allowed(ipaddress.ip_address("::ffff:10.1.2.3"), ten)
    assert not is_allowed(ipaddress.ip_address("10.2.0.1"), ten)
    assert not is_allowed(ipaddress.ip_address("::1"), ten)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "::1"])
async def test_no_spelling_of_loopback_gets_through(host: str) -> None:
    with pytest.raises(Undelivered):
        await resolve(host, 80, ())


async def test_one_bad_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, 80)) for address in ("1.1.1.1", "169.254.169.254")]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", lookup)

    with pytest.raises(Undelivered, match="not allowed"):
        await resolve("rebind.example.org", 80, ())


async def test_a_secret_is_in_no_text(tmp_path: Path) -> None:
    settings = WebhookSettings("https://x.example/", SECRET, 1.0, (), None, "/s")
    assert SECRET.decode() not in repr(settings)
    assert "token-1" not in repr(NatsSettings(("nats://x:1",), "s", "token-1", 1.0, None, "/s"))


async def test_a_nats_server_that_is_not_there_is_the_sinks_failure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        sink = JetStream(NatsSettings((f"nats://127.0.0.1:{port}",), "s", "", 1.0, None, "/s"))
        with pytest.raises(Undelivered) as caught:
            await sink.send(EVENT)
        await sink.close()

    assert caught.value.blame is Blame.SINK


async def test_something_that_is_no_nats_server_is_the_sinks_failure() -> None:
    async with server(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        sink = JetStream(NatsSettings((f"nats://127.0.0.1:{port}",), "s", "", 1.0, None, "/s"))
        with pytest.raises(Undelivered):
            await sink.send(EVENT)
        await sink.close()


async def test_a_nats_token_never_leaves_in_clear_where_tls_was_asked_for() -> None:
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"x","version":"2.10.0","auth_required":true,"max_payload":1048576}\r\n'
        )
        while piece := await reader.read(4_096):
            heard.extend(piece)
            if b"PING" in piece:
                writer.write(b"PONG\r\n")

    async with server(plain) as port:
        sink = JetStream(NatsSettings((f"tls://127.0.0.1:{port}",), "s", "token-1", 1.0, None, "/s"))
        with pytest.raises(Undelivered, match="does not offer the TLS") as caught:
            await sink.send(EVENT)
        await sink.close()

    assert caught.value.blame is Blame.SINK
    assert heard == b""
