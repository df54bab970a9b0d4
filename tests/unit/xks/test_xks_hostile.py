"""The XKS door's server under attack: requests that are read in two ways, bodies without end, taken places."""

import asyncio
import contextlib
import gc
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.xksdoor import (
    ENCRYPT,
    HEALTH,
    Peer,
    call,
    on_uvloop,
    raw,
    served,
    signed,
    tls_of,
    trusting,
    until,
    uri,
)

from strongroomd.frontends.grpc.pki import Authority
from strongroomd.frontends.xks.connection import MAX_BODY, MAX_WIRE

PING = b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n"
PATH = uri("health")
BODY = json.dumps(HEALTH).encode()
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def request(line: str, *more: str, body: bytes = BODY, length: bool = True) -> bytes:
    """A request with a good signature, under another request line and with further headers."""
    lines = [line, *(f"{name}: {value}" for name, value in signed(PATH, BODY).items()), *more]
    lines += [f"Content-Length: {len(body)}"] * length
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*more: str, line: str = f"POST {PATH} HTTP/1.1") -> bytes:
    return request(line, *more, body=CHUNKED, length=False)


AMBIGUOUS = {
    "absolute target": request(f"POST http://elsewhere.example.com{PATH} HTTP/1.1"),
    "fragment": request(f"POST {PATH}#fragment HTTP/1.1"),
    "target without a slash": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT to a path": b"CONNECT /ping HTTP/1.1\r\nHost: h\r\n\r\n" + PING,
    "CONNECT": b"CONNECT elsewhere.example.com:443 HTTP/1.1\r\nHost: h\r\n\r\n" + PING,
    "upgrade to h2c": request(f"POST {PATH} HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c"),
    "upgrade to a web socket": b"GET /ping HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    + PING,
    "HTTP/2.0 in text": request(f"POST {PATH} HTTP/2.0"),
    "a coding before chunked": chunked("Transfer-Encoding: gzip, chunked"),
    "chunked for HTTP/1.0": chunked("Transfer-Encoding: chunked", line=f"POST {PATH} HTTP/1.0"),
    "length and chunked": request(f"POST {PATH} HTTP/1.1", "Transfer-Encoding: chunked", body=CHUNKED),
    "two equal lengths": request(f"POST {PATH} HTTP/1.1", f"Content-Length: {len(BODY)}"),
    "list of lengths": request(
        f"POST {PATH} HTTP/1.1", f"Content-Length: {len(BODY)}, {len(BODY)}", length=False
    ),
    "length with a sign": request(f"POST {PATH} HTTP/1.1", f"Content-Length: +{len(BODY)}", length=False),
    "folded coding": chunked("Transfer-Encoding:\r\n chunked"),
    "space before a colon": chunked("Transfer-Encoding : chunked"),
    "vertical tab before a coding": chunked("Transfer-Encoding: \x0bchunked"),
    "bare CR": request(f"POST {PATH} HTTP/1.1", "A: b\rX: c"),
    "bare LF": request(f"POST {PATH} HTTP/1.1", "A: b\nX: c"),
    "NUL": request(f"POST {PATH} HTTP/1.1", "A: b\0c"),
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
@on_uvloop
async def test_request_that_can_be_read_in_two_ways_is_refused_and_ends_its_connection(sent: bytes) -> None:
    async with served(linger_seconds=0.05) as door:
        peer = await door.connect()

        answer = await peer.ask(sent)

        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await peer.closed()
        assert (door.proxy.calls, door.notes.drops) == ([], ["malformed"])


def _hold_little(peer: Peer) -> None:
    """What the peer's own kernel keeps shall not count."""
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)


async def _pour(peer: Peer, piece: bytes) -> int:
    """Send a piece again and again until the door hangs up; gives how much it took."""
    taken = 0
    with contextlib.suppress(ConnectionError):
        while taken < 64 << 20 and not peer.reader.at_eof():
            peer.writer.write(piece)
            await peer.writer.drain()
            taken += len(piece)
    return taken


@on_uvloop
async def test_body_over_the_limit_is_not_even_taken() -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {64 << 20}\r\n\r\n".encode()
    async with served(linger_seconds=1.0) as door:
        peer = await door.connect()
        _hold_little(peer)

        assert (await peer.ask(head)).status == 501
        taken = await _pour(peer, bytes(16_384))
        assert taken < MAX_WIRE  # by the kernel, on both sides, to where it has to stop


@on_uvloop
async def test_body_somewhat_over_the_limit_is_taken_so_that_its_sender_may_read_the_answer() -> None:
    body = bytes(MAX_WIRE - MAX_BODY)
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with served(linger_seconds=5.0) as door:
        peer = await door.connect()
        _hold_little(peer)
        peer.writer.write(head + body)

        await peer.writer.drain()  # an honest client reads when all is sent

        assert (await peer.answer()).status == 501


@on_uvloop
async def test_probe_that_announces_a_body_without_end_is_the_last_on_its_connection() -> None:
    head = b"GET /ping HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (64 << 20)
    async with served(linger_seconds=0.1) as door:
        peer = await door.connect()

        answer = await peer.ask(head)

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await peer.closed()
        assert door.notes.drops == []


@on_uvloop
async def test_who_announces_too_much_and_hangs_up_is_gone_at_once() -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {64 << 20}\r\n\r\n".encode()
    async with served(linger_seconds=60.0, first_seconds=60) as door:
        peer = await door.connect()
        assert (await peer.ask(head)).status == 501

        peer.close()

        await until(lambda: not door.server.connections)


@pytest.mark.parametrize("start", [b"0\r\nX: ", b"1;x="], ids=["trailer", "chunk extension"])
@on_uvloop
async def test_what_stands_around_a_body_is_bounded_too(start: bytes) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with served(linger_seconds=0.1) as door:
        peer = await door.connect()
        _hold_little(peer)
        peer.writer.write(head + start)
        pouring = asyncio.create_task(_pour(peer, b"a" * 16_384))

        answer = await peer.answer()

        assert answer.status == 400
        assert door.notes.drops == ["malformed"]
        taken = await asyncio.wait_for(pouring, 10)
        assert taken < 2 * MAX_WIRE  # half of it by the kernel


@on_uvloop
async def test_body_that_comes_after_its_answer_buys_no_time() -> None:
    head = b"GET /ping HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with served(linger_seconds=0.1) as door:
        peer = await door.connect()

        assert (await peer.ask(head)).status == 200
        peer.writer.write((b"4000\r\n" + bytes(0x4000) + b"\r\n") * (MAX_BODY // 0x4000 + 2))

        assert await peer.closed()


@on_uvloop
async def test_strangers_with_slow_bodies_take_no_known_peers_place() -> None:
    slow = raw(PATH, b"", {"Host": "h"}).replace(b"Content-Length: 0", b"Content-Length: 9")
    async with served(max_connections=4) as door:
        known = await door.connect()
        await known.ask(call("health", HEALTH))
        for _ in range(8):
            (await door.connect()).writer.write(slow)
            await asyncio.sleep(0.02)

        assert (await known.ask(call("health", HEALTH))).status == 200
        assert (await (await door.connect()).ask(PING)).status == 200


@on_uvloop
async def test_strangers_that_wait_for_answers_take_no_known_peers_place() -> None:
    async with served(max_connections=3) as door:
        known = await door.connect()
        await known.ask(call("health", HEALTH))
        door.proxy.hangs = asyncio.Event()
        for _ in range(4):
            (await door.connect()).writer.write(call("encrypt", ENCRYPT))
            await asyncio.sleep(0.02)
        door.proxy.hangs.set()

        assert (await known.ask(call("health", HEALTH))).status == 200


@on_uvloop
async def test_peers_that_never_begin_tls_take_no_newcomers_place(tmp_path: Path) -> None:
    authority = Authority.make()
    async with served(tls_of(tmp_path, authority), trusting(authority), max_connections=4) as door:
        mute = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(3)]
        await asyncio.sleep(0.05)
        peer = await door.connect()  # it has not said anything yet
        mute += [socket.create_connection(("127.0.0.1", door.port)) for _ in range(3)]
        await asyncio.sleep(0.05)
        try:
            assert (await peer.ask(call("health", HEALTH))).status == 200
        finally:
            for one in mute:
                one.close()


def _come_and_go(port: int, authority: Authority) -> None:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        trusting(authority).wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        peer.sendall(call("health", HEALTH))
        assert peer.recv(1).startswith(b"H")


@on_uvloop
async def test_gone_connections_leave_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    authority = Authority.make()
    gc.collect()
    gc.disable()
    try:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            for _ in range(5):
                await asyncio.to_thread(_come_and_go, door.port, authority)
            await asyncio.sleep(0.1)

            assert door.server.connections == 0
            assert [each for each in gc.get_objects() if type(each).__name__ == "SSLProtocol"] == []
    finally:
        gc.enable()


def without_holes() -> list[int]:
    """Take descriptors until every number up to the last one is taken."""
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    taken = [os.dup(0)]
    while taken[-1] < highest:
        taken.append(os.dup(0))
    return taken


@on_uvloop
async def test_without_descriptors_newcomers_take_the_places_of_silent_strangers() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # what others left closes no descriptor meanwhile
    async with served() as door:
        clients = [socket.socket() for _ in range(8)]
        taken = without_holes()
        try:
            # None is free up to the last one taken: beyond it there are four, for eight.
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 5, limits[1]))
            for client in clients:
                client.connect(("127.0.0.1", door.port))  # the kernel takes them
            last = clients[-1]
            last.settimeout(5)
            last.send(PING)

            answer = await asyncio.to_thread(last.recv, 100)

            assert answer.startswith(b"HTTP/1.1 200")
            assert "full" in door.notes.drops
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for each in taken:
                os.close(each)
            for client in clients:
                client.close()


def hardened(code: str) -> str:
    """Run code in a process that is hardened as workers are."""
    start = "import ctypes, os, resource\nfrom strongroomd.worker import harden\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_worker_opens_as_many_descriptors_as_it_may() -> None:
    code = """hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
harden(os.getppid())
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 65_536))"""

    assert hardened(code) == "True"


def test_worker_gives_the_memory_of_large_blocks_back() -> None:
    code = """harden(os.getppid())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = resident()
for _ in range(2):
    blocks = []
    for _ in range(100):
        blocks.append(libc.malloc(262_144))
        libc.memset(blocks[-1], 1, 262_144)
        libc.malloc(2_000)  # something small that stays between them
    for block in blocks:
        libc.free(block)
print(resident() - before < 10 << 20)"""

    assert hardened(code) == "True"
