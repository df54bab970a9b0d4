"""Newcomers: nothing is done for the silent, and little at a time for the others."""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests import leftovers
from tests.xksdoor import HEALTH, Served, call, on_uvloop, served, tls_of, trusting, until

from strongroomd.frontends.grpc.pki import Authority
from strongroomd.frontends.xks import arrivals
from strongroomd.frontends.xks.connection import Connection

PING = b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Connections for which anything was made."""
    made: list[Connection] = []

    def make(*arguments: object) -> Connection:
        made.append(Connection(*arguments))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(arrivals, "Connection", make)
    return made


def is_over(peer: socket.socket) -> bool:
    """Whether the other side has closed, with what it had not read or without."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def dial(door: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", door.port))


@on_uvloop
async def _silent(tls_folder: Path, authority: Authority, made: list[Connection]) -> None:
    async with served(tls_of(tls_folder, authority), trusting(authority)) as door:
        silent = [dial(door) for _ in range(5)]
        await until(lambda: door.server.connections == 5)

        assert made == []
        peer = await door.connect()
        assert (await peer.ask(PING)).status == 200
        assert len(made) == 1
        for each in silent:
            each.close()
        await until(lambda: door.server.connections == 1)
        assert door.notes.drops == ["handshake"] * 5


def test_nothing_is_made_for_who_says_nothing(
    tmp_path: Path, authority: Authority, made: list[Connection]
) -> None:
    _silent(tmp_path, authority, made)


def test_who_does_not_begin_as_tls_begins_goes_no_further(
    tmp_path: Path, authority: Authority, made: list[Connection]
) -> None:
    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            for start in (PING, b"\x15", b"\0", b"SSH-2.0-x\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
                writer.write(start)
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await asyncio.wait_for(reader.readexactly(1), 10)
                writer.close()

            assert (made, door.notes.drops, door.server.connections) == ([], ["handshake"] * 4, 0)

    scene()


def test_who_says_nothing_for_too_long_has_to_go(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_HANDSHAKE_SECONDS", 0.05)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            silent = [dial(door) for _ in range(3)]
            await until(lambda: len(door.notes.drops) == 3)

            assert (door.notes.drops, door.server.connections) == (["handshake"] * 3, 0)
            for each in silent:
                assert each.recv(1) == b""
                each.close()

    scene()


def test_who_says_nothing_keeps_no_worker_from_its_end(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_HANDSHAKE_SECONDS", 1_000.0)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            silent = dial(door)
            await until(lambda: door.server.connections == 1)
            began = time.monotonic()

            await door.server.drain(60.0)

            assert time.monotonic() - began < 30
            silent.close()

    scene()


@on_uvloop
async def test_who_goes_before_his_turn_is_closed_and_leaves_nothing() -> None:
    async with served() as door:
        newcomers = door.server._arrivals
        with leftovers.counted() as left:
            for started in (False, True):
                ours, theirs = socket.socketpair()
                theirs.settimeout(5)
                newcomers._welcome(ours)
                (newcomer,) = newcomers.under_way
                await newcomers._turn.acquire()
                if started:
                    await asyncio.sleep(0)
                newcomers.let_go(newcomer)
                newcomers._turn.release()
                await asyncio.sleep(0.01)
                assert theirs.recv(1) == b""
                theirs.close()
                del newcomer

        assert not left
        assert door.server.connections == 0


def test_the_silent_go_before_those_who_spoke(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_SPEAKS_SECONDS", 0.0)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority), max_connections=2) as door:
            newcomers = door.server._arrivals
            await newcomers._turn.acquire()
            spoke = dial(door)
            spoke.send(b"\x16")
            await until(lambda: newcomers._waiting == 1)
            silent = dial(door)
            silent.settimeout(5)
            await until(lambda: door.server.connections == 2)
            third = dial(door)
            await until(lambda: door.notes.drops == ["full"])

            assert silent.recv(1) == b""
            assert newcomers._waiting == 1
            newcomers._turn.release()
            for each in (spoke, silent, third):
                each.close()

    scene()


def test_one_who_is_about_to_speak_does_not_go_before_those_who_spoke_earlier(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_SPEAKS_SECONDS", 1_000.0)
    monkeypatch.setattr(arrivals, "_HANDSHAKE_SECONDS", 1_000.0)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority), max_connections=3) as door:
            newcomers = door.server._arrivals
            await newcomers._turn.acquire()
            spoke = [dial(door) for _ in range(2)]
            for each in spoke:
                each.settimeout(5)
                each.send(b"\x16")
            await until(lambda: newcomers._waiting == 2)
            others = [dial(door)]
            await until(lambda: door.server.connections == 3)
            others.append(dial(door))
            await until(lambda: door.notes.drops == ["full"])
            await until(lambda: newcomers._waiting == 1)

            assert await asyncio.to_thread(is_over, spoke[0])
            newcomers._turn.release()
            for each in (*spoke, *others):
                each.close()

    scene()


@pytest.mark.parametrize(("earlier", "goes"), [("newcomer", "newcomer"), ("stranger", "stranger")])
def test_whoever_came_first_makes_room_whoever_else_is_silent(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, earlier: str, goes: str
) -> None:
    monkeypatch.setattr(arrivals, "_HANDSHAKE_SECONDS", 1_000.0)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority), max_connections=3) as door:
            newcomers = door.server._arrivals
            if earlier == "stranger":
                stranger = await door.connect()
            await newcomers._turn.acquire()
            spoke = dial(door)
            spoke.send(b"\x16")
            spoke.settimeout(5)
            await until(lambda: newcomers._waiting == 1)
            if earlier == "newcomer":
                newcomers._turn.release()
                (held,) = newcomers.under_way
                stranger = await door.connect()
                assert held in newcomers.under_way
            young = dial(door)
            await until(lambda: door.server.connections == 3)
            another = dial(door)
            await until(lambda: door.notes.drops == ["full"])

            assert (len(door.server._strangers) == 0) == (goes == "stranger")
            if goes == "newcomer":
                await until(lambda: held.task is None)
                assert await asyncio.to_thread(is_over, spoke)
                assert (await stranger.ask(PING)).status == 200
            else:
                newcomers._turn.release()
            for each in (spoke, young, another):
                each.close()

    scene()


def test_who_hung_up_has_no_turn(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    shaken: list[object] = []

    async def noted(*_: object) -> None:
        shaken.append(_)

    monkeypatch.setattr(arrivals.Arrivals, "_shake_hands", noted)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            newcomers = door.server._arrivals
            await newcomers._turn.acquire()
            peers = [dial(door) for _ in range(3)]
            for each in peers:
                each.send(b"\x16")
            await until(lambda: newcomers._waiting == 3)
            peers[0].close()
            peers[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peers[1].close()  # with a reset
            newcomers._turn.release()
            await until(lambda: len(door.notes.drops) == 2 and len(shaken) == 1)
            peers[2].close()

        assert door.notes.drops == ["handshake"] * 2

    scene()


def test_nobody_waits_for_his_turn_for_ever(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_HANDSHAKE_SECONDS", 0.05)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            await door.server._arrivals._turn.acquire()
            peer = dial(door)
            peer.settimeout(5)
            peer.send(b"\x16")

            await until(lambda: door.notes.drops == ["handshake"] and not door.server.connections)
            assert is_over(peer)
            peer.close()

    scene()


def test_the_time_of_a_peer_begins_when_his_handshake_is_done(
    tmp_path: Path, authority: Authority, made: list[Connection]
) -> None:
    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            turn = door.server._arrivals._turn
            await turn.acquire()
            coming = asyncio.create_task(door.connect())
            await until(lambda: len(made) == 1)
            made[0].since -= 1_000.0
            turn.release()
            await coming

            assert time.monotonic() - made[0].since < 500

    scene()


@pytest.mark.parametrize("turns", range(6))
@on_uvloop
async def test_nobody_who_was_there_is_lost_where_accepting_ends(turns: int) -> None:
    async with served() as door:
        await asyncio.sleep(0.05)  # the loop waits for somebody
        peer = dial(door)
        for _ in range(turns):
            await asyncio.sleep(0)

        await door.server._arrivals.stop()

        assert door.server.connections == 1
        peer.close()


def test_who_has_not_shaken_hands_in_time_keeps_no_worker_from_its_end(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_HANDSHAKE_SECONDS", 1_000.0)

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            half = dial(door)
            half.send(b"\x16")
            await until(lambda: door.server.connections == 1)
            began = time.monotonic()

            await door.server.drain(60.0)

            assert time.monotonic() - began < 30
            half.close()

    scene()


@on_uvloop
async def test_where_the_door_cannot_listen_for_a_moment_it_does_afterwards() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals, "_PAUSE_SECONDS", 0.01)
        patch.setattr(arrivals, "_somebody", _failing_once(arrivals._somebody))
        async with served() as door:
            assert (await (await door.connect()).ask(PING)).status == 200


@on_uvloop
async def test_where_somebody_is_gone_before_he_is_accepted_the_door_goes_on_at_once() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrivals, "_PAUSE_SECONDS", 1_000.0)
        patch.setattr(arrivals, "_somebody", _mistaken_once(arrivals._somebody))
        async with served() as door:
            await asyncio.sleep(0.05)  # there was nobody to be accepted
            assert (await (await door.connect()).ask(PING)).status == 200


def _mistaken_once(wait: Callable[[socket.socket], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    mistakes = [True]

    async def waits(listener: socket.socket) -> None:
        if mistakes:
            mistakes.clear()
            return
        await wait(listener)

    return waits


def _failing_once(wait: Callable[[socket.socket], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    failures = [OSError(28, "no watches left")]

    async def waits(listener: socket.socket) -> None:
        if failures:
            raise failures.pop()
        await wait(listener)

    return waits


@on_uvloop
async def test_a_newcomer_that_cannot_be_listened_to_does_not_end_the_door() -> None:
    async with served() as door:
        newcomers = door.server._arrivals
        door.server.tls = Any  # type: ignore[assignment]
        ours, theirs = socket.socketpair()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: SimpleNamespace(add_reader=_cannot))
            newcomers._welcome(ours)
        door.server.tls = None

        assert (theirs.recv(1), door.server.connections, door.notes.drops) == (b"", 0, ["handshake"])
        theirs.close()


def _cannot(*_: object) -> None:
    raise OSError(28, "no watches left")


def test_silent_newcomers_end_with_the_server(tmp_path: Path, authority: Authority) -> None:
    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            silent = dial(door)
            await until(lambda: door.server.connections == 1)
            await door.server.drain(0.1)

            assert silent.recv(1) == b""
            silent.close()

    scene()


def test_a_connection_gets_no_ticket(tmp_path: Path, authority: Authority) -> None:
    def shaken(port: int, version: ssl.TLSVersion) -> bool:
        context = trusting(authority)
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as peer,
        ):
            peer.sendall(PING)
            assert peer.recv(1)  # after which a ticket would have been here
            session = peer.session
            return session is not None and session.has_ticket

    @on_uvloop
    async def scene() -> None:
        async with served(tls_of(tmp_path, authority), trusting(authority)) as door:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                assert not await asyncio.to_thread(shaken, door.port, version)

    scene()


# --- one after the other


@on_uvloop
async def test_newcomers_leave_time_to_a_peer_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "AT_ONCE", 5)
    async with served() as door:
        known = await door.connect()
        assert (await known.ask(call("health", HEALTH))).status == 200

        began = time.monotonic()
        peers = await asyncio.gather(*(door.connect() for _ in range(16)))
        for peer in peers:
            assert (await peer.ask(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200

        assert time.monotonic() - began >= 9.9 * arrivals.EVERY_SECONDS


@on_uvloop
async def test_as_many_newcomers_as_kms_may_bring_are_let_in_quickly() -> None:
    async with served() as door:
        paced = door.server._arrivals._pace
        assert {paced() for _ in range(1_000)} == {0.0}, "nobody has to wait for a newcomer"
        known = await door.connect()
        assert (await known.ask(call("health", HEALTH))).status == 200

        assert {paced() for _ in range(arrivals.AT_ONCE)} == {arrivals._APART_SECONDS}
        assert [paced() for _ in range(50)][-1] > arrivals._APART_SECONDS


@on_uvloop
async def test_no_two_handshakes_begin_together(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    shake_hands = arrivals.Arrivals._shake_hands

    async def noted(self: arrivals.Arrivals, *arguments: Any) -> None:
        begun.append(time.monotonic())
        await shake_hands(self, *arguments)

    monkeypatch.setattr(arrivals.Arrivals, "_shake_hands", noted)
    async with served() as door:
        known = await door.connect()
        assert (await known.ask(call("health", HEALTH))).status == 200
        sockets = [dial(door) for _ in range(10)]  # the loop stands still
        await until(lambda: len(begun) == 11)
        for each in sockets:
            each.close()

    assert begun[-1] - begun[1] >= 9 * arrivals._APART_SECONDS / 2
