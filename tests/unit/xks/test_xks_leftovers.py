"""The XKS door leaves nothing to the garbage collector, whatever becomes of a call or of its connection."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests import leftovers
from tests.xksdoor import (
    DECRYPT,
    ENCRYPT,
    HEALTH,
    Served,
    call,
    on_uvloop,
    raw,
    served,
    tls_of,
    trusting,
    uri,
)

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.frontends.grpc.pki import Authority

OTHERS = b"A" * 43
TIMES = 5


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


async def _served(door: Served) -> None:
    peer = await door.connect()
    for _ in range(TIMES):
        assert (await peer.ask(call("encrypt", ENCRYPT))).status == 200
        assert (await peer.ask(call("decrypt", DECRYPT))).status == 200


async def _refused_by_the_core(door: Served) -> None:
    peer = await door.connect()
    for _ in range(TIMES):
        door.proxy.fails = StrongroomError(Reason.INVALID_CIPHERTEXT)
        assert (await peer.ask(call("decrypt", DECRYPT))).status == 400
    door.proxy.fails = None


async def _badly_signed(door: Served) -> None:
    peer = await door.connect()
    for _ in range(TIMES):
        assert (await peer.ask(call("health", HEALTH, secret=OTHERS))).status == 401


async def _no_such_path(door: Served) -> None:
    peer = await door.connect()
    for _ in range(TIMES):
        assert (await peer.ask(raw("/else", b"{}", {"Host": "h"}))).status == 404


async def _not_json(door: Served) -> None:
    peer = await door.connect()
    for _ in range(TIMES):
        assert (await peer.ask(call("encrypt", "nothing"))).status == 400


async def _shed(door: Served) -> None:
    door.proxy.sheds = True
    for _ in range(TIMES):
        peer = await door.connect()
        assert (await peer.ask(call("encrypt", ENCRYPT))).status in {429, 503}
    door.proxy.sheds = False


async def _beyond_the_limit(door: Served) -> None:
    door.proxy.left = 0
    for _ in range(TIMES):
        peer = await door.connect()
        assert (await peer.ask(call("encrypt", ENCRYPT))).status == 429
    door.proxy.left = None


async def _gone_in_its_head(door: Served) -> None:
    for _ in range(TIMES):
        peer = await door.connect()
        peer.writer.write(f"POST {uri('encrypt')} HTTP/1.1\r\nHost: h".encode())
        await peer.writer.drain()
        peer.close()


async def _gone_in_its_body(door: Served) -> None:
    for _ in range(TIMES):
        peer = await door.connect()
        peer.writer.write(call("encrypt", ENCRYPT)[:-5])
        await peer.writer.drain()
        peer.close()


async def _gone_with_others_waiting(door: Served) -> None:
    door.proxy.hangs = asyncio.Event()
    for _ in range(TIMES):
        door.proxy.called.clear()
        peer = await door.connect()
        peer.writer.write(call("encrypt", ENCRYPT) * 3)
        await door.proxy.called.wait()
        peer.close()
    await asyncio.sleep(0.02)
    door.proxy.hangs.set()
    await _until(lambda: door.door.in_flight == 0)
    door.proxy.hangs = None


async def _gone_before_his_turn(door: Served) -> None:
    for _ in range(TIMES):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"\x16\x03\x01")
        writer.write_eof()
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()


async def _gone_amid_tls(door: Served) -> None:
    for _ in range(TIMES):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"\x16\x03\x01")
        await asyncio.sleep(0.02)
        writer.write_eof()
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize(
    "calls",
    [
        _served,
        _refused_by_the_core,
        _badly_signed,
        _no_such_path,
        _not_json,
        _shed,
        _beyond_the_limit,
        _gone_in_its_head,
        _gone_in_its_body,
        _gone_with_others_waiting,
        _gone_before_his_turn,
        _gone_amid_tls,
    ],
    ids=lambda calls: calls.__name__.strip("_"),
)
def test_nothing_is_left_to_the_garbage_collector(
    calls: Callable[[Served], Awaitable[None]], authority: Authority, tmp_path: Path
) -> None:
    tls, trust = tls_of(tmp_path, authority), trusting(authority)

    @on_uvloop
    async def scene() -> None:
        async with served(tls, trust) as door:
            await calls(door)  # once for what is kept ever after
            await _alone(door)
            with leftovers.counted() as left:
                await calls(door)
                await _alone(door)

        assert not left

    scene()


async def _alone(door: Served) -> None:
    """Hang up, and wait until the door has noticed."""
    for peer in door.peers:
        peer.close()
    door.peers.clear()
    await _until(lambda: door.server.connections == 0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the door tells nobody
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
