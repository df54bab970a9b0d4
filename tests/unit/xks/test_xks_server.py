"""The real server before a made-up core: HTTP as it must be, rude peers, certificates, and the end."""

import asyncio
import json
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.xksdoor import (
    ENCRYPT,
    HEALTH,
    Peer,
    call,
    issue,
    on_uvloop,
    raw,
    served,
    signed,
    tls_of,
    trusting,
    uri,
)

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.frontends.grpc.pki import Authority
from strongroomd.frontends.xks.connection import MAX_BODY, MAX_HEAD, MAX_WAITING
from strongroomd.frontends.xks.tls import SUITES_12, SUITES_13, TlsFiles, load

PING = b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


# --- HTTP


@on_uvloop
async def test_connection_is_kept_and_pipelined_requests_are_answered_in_order() -> None:
    async with served() as door:
        peer = await door.connect()
        peer.writer.write(call("health", HEALTH) + call("encrypt", ENCRYPT) + PING)

        answers = [await peer.answer() for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 200]
        assert "xksProxyVendor" in answers[0].json
        assert "ciphertext" in answers[1].json
        assert answers[0].headers["content-type"] == "application/json"
        assert (await peer.ask(call("health", HEALTH))).status == 200


@on_uvloop
async def test_request_may_come_byte_by_byte() -> None:
    async with served() as door:
        peer = await door.connect()
        for byte in call("health", HEALTH):
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0)

        assert (await peer.answer()).status == 200


@on_uvloop
async def test_body_may_come_in_chunks() -> None:
    body = json.dumps(HEALTH).encode()
    headers = {**signed(uri("health"), body), "Transfer-Encoding": "chunked"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    chunks = b"".join(b"%x\r\n%c\r\n" % (1, byte) for byte in body)
    async with served() as door:
        peer = await door.connect()

        answer = await peer.ask(
            f"POST {uri('health')} HTTP/1.1\r\n{lines}\r\n".encode() + chunks + b"0\r\n\r\n"
        )

        assert answer.status == 200


@on_uvloop
async def test_peer_that_waits_to_be_told_is_told_to_go_on() -> None:
    body = json.dumps(HEALTH).encode()
    whole = raw(uri("health"), body, {**signed(uri("health"), body), "Expect": "100-continue"})
    async with served() as door:
        peer = await door.connect()

        first = await peer.ask(whole[: -len(body)], body=False)
        second = await peer.ask(body)

        assert (first.status, second.status) == (100, 200)


@pytest.mark.parametrize("line", ["HTTP/1.0\r\n", "HTTP/1.1\r\nConnection: close\r\n"])
@on_uvloop
async def test_connection_ends_when_the_peer_wants_that(line: str) -> None:
    async with served() as door:
        peer = await door.connect()

        answer = await peer.ask(f"GET /ping {line}Host: h\r\n\r\n".encode())

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await peer.closed()


@pytest.mark.parametrize(
    ("method", "path", "ready", "status"),
    [
        ("GET", "/ping", False, 200),
        ("HEAD", "/ping", True, 200),
        ("GET", "/ready", True, 200),
        ("GET", "/ready", False, 503),
        ("POST", "/ping", True, 404),
        ("GET", "/metrics", True, 404),
    ],
)
@on_uvloop
async def test_load_balancers_need_no_credentials(method: str, path: str, ready: bool, status: int) -> None:
    async with served(ready=ready) as door:
        peer = await door.connect()

        answer = await peer.ask(
            f"{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode(), body=method != "HEAD"
        )

        assert answer.status == status
        assert (await peer.ask(PING)).body == b"alive\n"


@on_uvloop
async def test_get_on_a_uri_of_the_api_is_405() -> None:
    async with served() as door:
        peer = await door.connect()

        answer = await peer.ask(raw(uri("health"), b"", {"Host": "h"}, "GET"))

        assert (answer.status, answer.headers["allow"]) == (405, "POST")


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/3.7\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n\x00",
    b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n",
    b"\x00" * 1_000,
    b"A" * 20_000,
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
@on_uvloop
async def test_garbage_ends_the_connection_and_nothing_else(garbage: bytes) -> None:
    async with served(linger_seconds=0.1) as door:
        peer, other = await door.connect(), await door.connect()
        peer.writer.write(garbage)

        answer = await peer.answer()

        assert answer.status in {400, 431}
        assert (answer.error, answer.headers["connection"]) == ("ValidationException", "close")
        assert await peer.closed()
        assert (await other.ask(PING)).status == 200
        assert door.notes.drops == ["malformed"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * MAX_HEAD + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 65 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * MAX_HEAD,
    ],
    ids=["target", "header", "headers", "without end"],
)
@on_uvloop
async def test_head_is_bounded(head: bytes) -> None:
    async with served() as door:
        peer = await door.connect()

        assert (await peer.ask(head)).status in {431, 404}
        assert not door.proxy.calls


PIECES = st.binary(max_size=40) | st.sampled_from(
    [b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n", b"Content-Length: 3\r\n", b"\r\n\r\n", call("health", HEALTH)]
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(PIECES, max_size=12), min_size=10, max_size=20))
def test_whatever_the_bytes_the_next_peer_is_served(peers: list[list[bytes]]) -> None:
    async def pour() -> int:
        async with served() as door:
            for pieces in peers:
                peer = await door.connect()
                for piece in pieces:
                    if not peer.writer.is_closing():
                        peer.writer.write(piece)
                        await asyncio.sleep(0)
            return (await (await door.connect()).ask(PING)).status

    assert uvloop.run(pour()) == 200


@on_uvloop
async def test_more_requests_than_are_answered_end_the_connection() -> None:
    async with served() as door:
        door.proxy.hangs = asyncio.Event()
        peer = await door.connect()
        peer.writer.write(call("health", HEALTH) * (MAX_WAITING + 2))

        assert await peer.closed()
        assert door.notes.drops == ["malformed"]


async def _pour(peer: Peer) -> None:
    while True:
        peer.writer.write(bytes(1 << 20))
        await peer.writer.drain()


@on_uvloop
async def test_body_over_the_limit_is_refused_unread_and_unsigned() -> None:
    """64 MiB are announced: the answer comes before they do."""
    head = f"POST {uri('encrypt')} HTTP/1.1\r\nHost: h\r\nContent-Length: {64 << 20}\r\n\r\n".encode()
    async with served(linger_seconds=0.2) as door:
        peer = await door.connect()

        answer = await peer.ask(head)

        assert (answer.status, answer.error) == (501, "UnsupportedOperationException")
        with pytest.raises((ConnectionError, TimeoutError)):  # it stops reading soon after
            await asyncio.wait_for(_pour(peer), 5)


@on_uvloop
async def test_chunked_body_is_bounded_too() -> None:
    head = f"POST {uri('encrypt')} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    async with served() as door:
        peer = await door.connect()

        answer = await peer.ask(head + chunk * (MAX_BODY // 0x4000 + 1))

        assert answer.status == 501


# --- time


@pytest.mark.parametrize(
    "start", [b"POST /", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"], ids=["head", "body"]
)
@on_uvloop
async def test_slow_request_is_given_up(start: bytes) -> None:
    async with served(read_seconds=0.2, linger_seconds=0.1) as door:
        peer = await door.connect()

        answer = await peer.ask(start)

        assert answer.status == 408
        assert await peer.closed()
        assert door.notes.drops == ["slow"]


@on_uvloop
async def test_dribbling_does_not_buy_time() -> None:
    async with served(read_seconds=0.3, linger_seconds=0.1) as door:
        peer = await door.connect()

        async def dribble() -> None:
            while True:
                peer.writer.write(b"A")
                await asyncio.sleep(0.02)

        peer.writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nX: ")
        dribbling = asyncio.create_task(dribble())
        answer = await peer.answer()
        dribbling.cancel()

        assert answer.status == 408


@on_uvloop
async def test_silent_stranger_has_to_go_sooner_than_a_known_peer() -> None:
    async with served(first_seconds=1) as door:
        stranger, known = await door.connect(), await door.connect()
        await stranger.ask(PING)
        await known.ask(call("health", HEALTH))

        assert await stranger.closed(3.0)
        assert (await known.ask(call("health", HEALTH))).status == 200


@on_uvloop
async def test_peer_that_takes_no_answers_is_cut_off() -> None:
    large = call("encrypt", {**ENCRYPT, "plaintext": "A" * 10_920})
    async with served(stall_seconds=0.3) as door:
        peer = await door.connect()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(2_000):
            peer.writer.write(large)
            await asyncio.sleep(0.002)
            if not door.server.connections:
                break
        assert not door.server.connections


@on_uvloop
async def test_call_that_hangs_is_answered_and_the_connection_goes_on() -> None:
    async with served(deadline=0.1) as door:
        door.proxy.hangs = asyncio.Event()
        peer = await door.connect()

        answer = await peer.ask(call("encrypt", ENCRYPT))
        door.proxy.hangs = None

        assert (answer.status, answer.error) == (503, "DependencyTimeoutException")
        assert (await peer.ask(call("encrypt", ENCRYPT))).status == 200
        assert door.door.in_flight == 0


@on_uvloop
async def test_core_that_does_not_let_itself_be_cancelled_changes_nothing() -> None:
    async with served(deadline=0.05) as door:
        go = asyncio.Event()

        async def stubborn(*_: Any) -> Any:
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue
            raise StrongroomError(Reason.INTERNAL)

        door.proxy.health = stubborn  # type: ignore[method-assign, assignment]
        peer = await door.connect()

        late = await peer.ask(call("health", HEALTH))
        next_one = await peer.ask(call("encrypt", ENCRYPT))
        go.set()
        await asyncio.sleep(0.01)

        assert (late.status, next_one.status) == (503, 200)
        assert (await peer.ask(PING)).status == 200


@on_uvloop
async def test_peer_that_hangs_up_during_a_call_harms_nobody() -> None:
    async with served() as door:
        door.proxy.hangs = asyncio.Event()
        peer = await door.connect()
        peer.writer.write(call("encrypt", ENCRYPT))
        await door.proxy.called.wait()
        peer.close()
        await asyncio.sleep(0.05)
        door.proxy.hangs.set()
        await asyncio.sleep(0.05)

        assert (door.server.connections, door.door.in_flight) == (0, 0)
        assert (await (await door.connect()).ask(PING)).status == 200


# --- how many


@on_uvloop
async def test_newcomer_takes_the_place_of_the_stranger_that_waits_longest() -> None:
    async with served(max_connections=3) as door:
        known = await door.connect()
        await known.ask(call("health", HEALTH))
        first, second = await door.connect(), await door.connect()
        await first.ask(PING)
        await second.ask(PING)

        newcomer = await door.connect()

        assert (await newcomer.ask(call("health", HEALTH))).status == 200
        assert await first.closed()
        assert (await known.ask(call("health", HEALTH))).status == 200
        assert door.notes.drops == ["full"]


@on_uvloop
async def test_peer_with_a_call_under_way_keeps_its_place() -> None:
    async with served(max_connections=1) as door:
        door.proxy.hangs = asyncio.Event()
        busy = await door.connect()
        busy.writer.write(call("encrypt", ENCRYPT))
        await door.proxy.called.wait()

        refused = await door.connect()

        assert await refused.closed()
        door.proxy.hangs.set()
        assert (await busy.answer()).status == 200


@on_uvloop
async def test_two_thousand_idle_connections_keep_nobody_out() -> None:
    async with served(max_connections=150) as door:
        idle = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(500)]
        try:
            await asyncio.sleep(0.2)
            peer = await door.connect()

            assert (await peer.ask(call("health", HEALTH))).status == 200
            assert door.server.connections <= 150
        finally:
            for one in idle:
                one.close()


@on_uvloop
async def test_peers_that_never_begin_tls_keep_nobody_out(tmp_path: Path, authority: Authority) -> None:
    async with served(tls_of(tmp_path, authority), trusting(authority), max_connections=20) as door:
        idle = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(60)]
        try:
            await asyncio.sleep(0.1)
            peer = await door.connect()

            assert (await peer.ask(call("health", HEALTH))).status == 200
            assert door.server.connections <= 20
            await asyncio.sleep(0.05)
            assert "full" in door.notes.drops
        finally:
            for one in idle:
                one.close()


# --- TLS


def shaken(port: int, authority: Authority, *, version: ssl.TLSVersion, suites: str = "") -> str:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    if suites:
        context.set_ciphers(suites)
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.settimeout(5)
        with context.wrap_socket(plain, server_hostname="localhost") as peer:
            return str(peer.cipher()[0])  # type: ignore[index]


@on_uvloop
async def test_offers_exactly_the_suites_of_kms(tmp_path: Path, authority: Authority) -> None:
    tls = tls_of(tmp_path, authority)

    assert {suite["name"] for suite in tls.context.get_ciphers()} == {*SUITES_12, *SUITES_13}
    async with served(tls, trusting(authority)) as door:
        new = await asyncio.to_thread(shaken, door.port, authority, version=ssl.TLSVersion.TLSv1_3)
        old = await asyncio.to_thread(
            shaken, door.port, authority, version=ssl.TLSVersion.TLSv1_2, suites="ECDHE+AESGCM"
        )
        assert (new, old) == ("TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384")


@pytest.mark.parametrize(
    ("version", "suites"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-SHA384"),
    ],
)
@on_uvloop
async def test_other_suites_are_refused(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion, suites: str
) -> None:
    async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(shaken, door.port, authority, version=version, suites=suites)
        await asyncio.sleep(0.05)
        assert door.notes.drops == ["handshake"]


@on_uvloop
async def test_aes_128_of_tls_13_is_refused(tmp_path: Path, authority: Authority) -> None:
    async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-tls1_3"),
            *("-ciphersuites", "TLS_AES_128_GCM_SHA256"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        assert await asyncio.wait_for(client.wait(), 10) != 0


@on_uvloop
async def test_new_certificate_serves_new_connections_and_cuts_no_old_one(
    tmp_path: Path, authority: Authority
) -> None:
    other = Authority.make("another CA")
    async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
        old = await door.connect()
        await old.ask(call("health", HEALTH))

        door.server.use(load(issue(tmp_path, other, name="next")))

        assert (await old.ask(call("health", HEALTH))).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await door.connect()
        new = await replace(door, trust=trusting(other)).connect()
        assert (await new.ask(call("health", HEALTH))).status == 200


def client_of(
    authority: Authority, folder: Path, name: str, issuer: Authority | None = None
) -> ssl.SSLContext:
    context = trusting(authority)
    (issuer or authority).client(name).write(folder / f"{name}.pem", folder / f"{name}.key")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def mutual(folder: Path, authority: Authority, names: frozenset[str]) -> Any:
    ca = folder / "ca.pem"
    ca.write_bytes(authority.certificate)
    return load(replace(issue(folder, authority), client_ca=ca, client_names=names))


KMS = "cks.kms.us-east-1.amazonaws.com"


@on_uvloop
async def test_client_certificate_of_the_right_name_is_let_in(tmp_path: Path, authority: Authority) -> None:
    tls = mutual(tmp_path, authority, frozenset({KMS, "cks.kms.eu-west-1.amazonaws.com"}))
    async with served(tls, client_of(authority, tmp_path, KMS)) as door:
        assert (await (await door.connect()).ask(call("health", HEALTH))).status == 200


@pytest.mark.parametrize("kind", ["none", "another name", "another authority"])
@on_uvloop
async def test_other_client_certificates_are_not(tmp_path: Path, authority: Authority, kind: str) -> None:
    clients = {
        "none": lambda: trusting(authority),
        "another name": lambda: client_of(authority, tmp_path, "cks.kms.us-east-2.amazonaws.com"),
        "another authority": lambda: client_of(authority, tmp_path, KMS, Authority.make("another")),
    }
    async with served(mutual(tmp_path, authority, frozenset({KMS})), clients[kind]()) as door:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await (await door.connect()).ask(call("health", HEALTH))
        assert not door.proxy.calls


@pytest.mark.parametrize("broken", ["certificate", "key", "client_ca", "foreign key", "absent"])
def test_files_that_cannot_be_served_with_are_refused(
    tmp_path: Path, authority: Authority, broken: str
) -> None:
    files = issue(tmp_path, authority)
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    changed: dict[str, TlsFiles] = {
        "certificate": replace(files, certificate=junk),
        "key": replace(files, key=junk),
        "client_ca": replace(files, client_ca=junk),
        "foreign key": replace(files, key=issue(tmp_path, authority, name="other").key),
        "absent": replace(files, certificate=tmp_path / "absent.pem"),
    }

    with pytest.raises(StrongroomError) as refused:
        load(changed[broken])
    assert refused.value.reason is Reason.CONFIGURATION
    assert str(refused.value.field).startswith("xks.")


# --- the end


@on_uvloop
async def test_draining_finishes_calls_and_tells_peers_to_go() -> None:
    async with served() as door:
        door.proxy.hangs = asyncio.Event()
        busy, idle = await door.connect(), await door.connect()
        busy.writer.write(call("encrypt", ENCRYPT))
        await door.proxy.called.wait()
        await idle.ask(PING)

        draining = asyncio.create_task(door.server.drain(5.0))
        await asyncio.sleep(0.02)
        door.proxy.hangs.set()
        answer = await busy.answer()

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await idle.closed()
        await asyncio.wait_for(draining, 5)
        with pytest.raises(OSError):
            await door.connect()


@on_uvloop
async def test_known_peer_may_still_ask_once_while_draining() -> None:
    async with served() as door:
        known = await door.connect()
        await known.ask(call("health", HEALTH))

        draining = asyncio.create_task(door.server.drain(5.0))
        await asyncio.sleep(0.05)
        answer = await known.ask(call("health", HEALTH))

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await known.closed()
        await asyncio.wait_for(draining, 5)


@on_uvloop
async def test_call_that_does_not_end_does_not_hold_up_the_end() -> None:
    async with served() as door:
        door.proxy.hangs = asyncio.Event()
        peer = await door.connect()
        peer.writer.write(call("encrypt", ENCRYPT))
        await door.proxy.called.wait()

        await asyncio.wait_for(door.server.drain(0.1), 3)

        assert await peer.closed()


@on_uvloop
async def test_workers_share_a_port_and_one_that_drains_refuses_nobody() -> None:
    async with served() as one, served(port=one.port) as two:
        await one.server.drain(1.0)

        for _ in range(20):
            peer: Peer = await two.connect()
            assert (await peer.ask(PING)).status == 200
