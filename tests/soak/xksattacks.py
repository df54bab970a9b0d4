"""What strangers do to the XKS door, in a process of its own, as `tests.soak.xks` orders.

Each line on standard input is an `Order` as JSON, or empty for its end. Each is answered by one line: `ready` once
all attackers have begun (`late` if they have not in time), and how often they did what they do.
"""

import asyncio
import base64
import itertools
import json
import os
import random
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import uvloop
from tests.bench import apart
from tests.bench.xkscalls import Calls, Target

BODY = 64 << 20  # bytes, of the largest
DRIP = 0.2  # seconds between a slow peer's bytes
PATIENCE = 30.0  # seconds in which all attackers should have begun
SHAKING = 50  # TLS handshakes at once
NICE = 10  # where the daemon has no processor of its own, the machine is the daemon's first


@dataclass(frozen=True)
class Order:
    """What to do.

    Attributes:
        attack: one of `ATTACKS`.
        target: fields of a store's Target.
        share: of the attackers that the attack has by itself.
    """

    attack: str
    target: dict[str, Any]
    share: float = 1.0


class Peer:
    """A connection that may go at any moment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send; raises ConnectionError when the door has hung up."""
        if self.reader.at_eof():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """Read an answer's body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split()[0])
        return await self.reader.readexactly(length)

    async def end(self) -> None:
        """Wait until the door hangs up."""
        while await self.reader.read(65_536):
            pass


class Site:
    """The door as attackers see it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.where = target.address
        self.head = f"POST {self.where.path}/health HTTP/1.1\r\nHost: {self.where.authority}\r\n".encode()
        self.acts = 0
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._shaking = asyncio.Semaphore(SHAKING)

    async def open(self, *, tls: bool = True) -> Peer:
        """Connect."""
        async with self._shaking:
            context = self._context if tls else None
            return Peer(*await asyncio.open_connection(self.where.host, self.where.port, ssl=context))


async def _idle(site: Site, peer: Peer) -> None:
    site.acts += 1
    await peer.end()


async def _slow_head(site: Site, peer: Peer) -> None:
    await _drip(site, peer, site.head + b"X: ")


async def _slow_body(site: Site, peer: Peer) -> None:
    await _drip(site, peer, site.head + b"Content-Length: 9999\r\n\r\n")


async def _drip(site: Site, peer: Peer, start: bytes) -> None:
    site.acts += 1
    await peer.send(start)
    while True:
        await asyncio.sleep(DRIP)
        await peer.send(b"a")


async def _large_body(site: Site, peer: Peer) -> None:
    site.acts += 1
    await peer.send(site.head + b"Content-Length: %d\r\n\r\n" % BODY)
    piece = bytes(65_536)
    for _ in range(BODY // len(piece)):
        await peer.send(piece)


async def _noise(site: Site, peer: Peer) -> None:
    """Send no TLS, or no HTTP; some of it begins well."""
    site.acts += 1
    start = random.choice((b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", site.head))
    await peer.send(start + random.randbytes(random.randint(1, 2_000)))
    with suppress(TimeoutError):
        await asyncio.wait_for(peer.end(), 1.0)


async def _half_close(site: Site, peer: Peer) -> None:
    site.acts += 1
    await peer.send(site.head[: random.randint(0, len(site.head))])
    transport: Any = peer.writer.transport
    transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    with suppress(TimeoutError):
        await asyncio.wait_for(peer.end(), 1.0)


async def _come_and_go(site: Site, _peer: Peer) -> None:
    site.acts += 1


async def _bad_signatures(site: Site, peer: Peer) -> None:
    calls = Calls(replace(site.target, secret="0" * 43), 0.0)
    while True:
        await peer.send(calls.next()[0])
        await peer.answer()
        site.acts += 1
        await asyncio.sleep(PACE)


async def _fuzzed_bodies(site: Site, peer: Peer) -> None:
    """Send, with a good signature, what is no call any more: JSON and base64 with some bytes changed."""
    calls = Calls(site.target, 0.0, change=damaged)
    while True:
        await peer.send(calls.next()[0])
        await peer.answer()
        site.acts += 1
        await asyncio.sleep(PACE)


def damaged(body: bytes) -> bytes:
    """Cut, flip or insert some bytes."""
    made = bytearray(body)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(made))
        made[place : place + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
    return bytes(made)


async def _forgeries(site: Site, peer: Peer) -> None:
    """Decrypt, with a good signature, what nobody has encrypted."""
    calls = Calls(site.target, 1.0)
    request, sent = calls.next()
    await peer.send(request)
    sealed = json.loads(await peer.answer())
    while True:
        forged = {**sealed, "authenticationTag": base64.b64encode(random.randbytes(16)).decode()}
        calls.take(sent, json.dumps(forged).encode())
        await peer.send(calls.next()[0])
        await peer.answer()
        site.acts += 1
        await asyncio.sleep(PACE)


PACE = 0.05


@dataclass(frozen=True)
class Attack:
    """One kind of trouble.

    Attributes:
        act: what one attacker does on a new connection, until it is over.
        crowd: how many attackers.
        pause: seconds of each between two connections.
        tls: whether the connection is brought to the end of its handshake first.
    """

    act: Callable[[Site, Peer], Awaitable[None]]
    crowd: int
    pause: float = 0.0
    tls: bool = True


ATTACKS = {
    "slow heads": Attack(_slow_head, 300),
    "slow bodies": Attack(_slow_body, 300),
    "idle TLS": Attack(_idle, 2_000),
    "no TLS begun": Attack(_idle, 2_000, tls=False),
    "too many": Attack(_idle, 3_500),
    "64 MiB bodies": Attack(_large_body, 8, 0.1),
    "noise for TLS": Attack(_noise, 16, 0.1, tls=False),
    "noise for HTTP": Attack(_noise, 16, 0.1),
    "half closed": Attack(_half_close, 32, 0.1),
    "come and go": Attack(_come_and_go, 16, 0.1),
    "fuzzed bodies": Attack(_fuzzed_bodies, 8),
    "bad signatures": Attack(_bad_signatures, 8),
    "forgeries": Attack(_forgeries, 8),
}


SIGNED = {"forgeries", "fuzzed bodies"}
"""What is done with good signatures: those of a store of its own."""


async def _attack(site: Site, attack: Attack, begun: "asyncio.Queue[None]") -> None:
    """Come again and again."""
    for number in itertools.count():
        peer = None
        with suppress(OSError, asyncio.IncompleteReadError):
            peer = await site.open(tls=attack.tls)
        if number == 0:
            begun.put_nowait(None)
        if peer is not None:
            try:
                with suppress(OSError, asyncio.IncompleteReadError):
                    await attack.act(site, peer)
            finally:
                peer.writer.transport.abort()
        await asyncio.sleep(attack.pause if peer else 0.2)


async def _carry_out(order: Order, lines: "asyncio.Queue[str]") -> None:
    target = Target(**{**order.target, "keys": tuple(order.target["keys"])})
    site, attack, begun = Site(target), ATTACKS[order.attack], asyncio.Queue[None]()
    crowd = max(1, int(attack.crowd * order.share))
    tasks = [asyncio.create_task(_attack(site, attack, begun)) for _ in range(crowd)]
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(crowd):
                await begun.get()
    except TimeoutError:
        _say("late")
    else:
        _say("ready")
    await lines.get()
    pending = set(tasks)
    while pending:  # a cancellation that comes with a result may be lost on the way
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.5)
    _say(str(site.acts))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def serve() -> None:
    """Carry out orders until standard input ends."""
    if apart.GIVES_WAY in sys.argv:
        apart.give_way()
    else:
        os.nice(NICE)
    lines: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    while line := await lines.get():
        await _carry_out(Order(**json.loads(line)), lines)


if __name__ == "__main__":
    uvloop.run(serve())
