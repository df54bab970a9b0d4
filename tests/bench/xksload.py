"""A load generator for an XKS proxy, in a process of its own: kept HTTP/1.1 connections, an open or a closed loop.

In the open loop requests are due at fixed times, whatever comes back: latency counts from when a request was due,
also where it had to wait for a connection, so that a stalled server cannot hide behind a stalled generator.
Each line on standard input is an `Order` as JSON, each line on standard output what came of it.
"""

import asyncio
import json
import resource
import ssl
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import uvloop
from tests.bench import apart
from tests.bench.xkscalls import Calls, Sent, Target

LATE = 0.250  # seconds after which KMS has given up
TICK = 0.001
LAST = 3.0  # seconds that answers are waited for after the end


@dataclass(frozen=True)
class Order:
    """What to do.

    Attributes:
        target: fields of the store's Target.
        rate: requests due a second; 0 is the closed loop: each connection sends as soon as it has its answer.
        decrypting: share of Decrypt.
        patience: seconds after which a request that found no connection is not sent any more; 0 for never.
        echo: the answers are no answers, for the bare echo; requests are made and signed as for the door.
    """

    target: dict[str, Any]
    seconds: float
    rate: float = 0.0
    connections: int = 32
    decrypting: float = 0.5
    patience: float = 0.0
    echo: bool = False


@dataclass
class Tally:
    """What came back."""

    good: "array[float]" = field(default_factory=lambda: array("d"))
    refused: "array[float]" = field(default_factory=lambda: array("d"))
    lateness: "array[float]" = field(default_factory=lambda: array("d"))
    names: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    unsent: int = 0
    lost: int = 0
    wrong: int = 0
    opened: int = 0


class Connection(asyncio.Protocol):
    """One connection: at most one request under way."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.due = 0.0
        self.sent: Sent | None = None
        self._got = b""
        self._wanted = 0
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.load.tally.opened += 1

    def send(self, due: float, request: bytes, sent: Sent) -> None:
        """Send a request that was due then."""
        self.due, self.sent = due, sent
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._wanted:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = self._got[:end].lower()
            length = self._head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._wanted = end + 4 + int(length)
        if len(self._got) < self._wanted:
            return
        body = self._got[self._wanted - int(self._head.partition(b"content-length:")[2].split()[0]) :]
        status, sent = int(self._head[9:12]), self.sent
        self._got, self._wanted, self.sent = b"", 0, None
        if b"connection: close" in self._head:
            self.transport.close()
        assert sent is not None
        self.load.answered(self, sent, status, body)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.load.gone(self)


class Load:
    """One order under way."""

    def __init__(self, order: Order, calls: Calls) -> None:
        self.order = order
        self.tally = Tally()
        self._calls = calls
        self._where = Target(**order.target).address
        self._context = None
        if self._where.scheme == "https":
            self._context = ssl.create_default_context(cafile=order.target["ca"] or None)
        self._all: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._busy = 0
        self._measuring = True
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, Any]:
        """Do it."""
        await asyncio.gather(*(self._open() for _ in range(self.order.connections)))
        began, used = time.perf_counter(), _cpu()
        self._ends = began + self.order.seconds
        if self.order.rate:
            await self._open_loop(began)
        else:
            while self._idle:
                self._send(time.perf_counter())
            await asyncio.sleep(self.order.seconds)
        took, used = time.perf_counter() - began, _cpu() - used
        self._measuring = False
        self.tally.unsent += len(self._due)
        self._due.clear()
        last = time.perf_counter() + LAST
        while self._busy and time.perf_counter() < last:
            await asyncio.sleep(0.01)
        self.tally.lost += self._busy
        for task in tuple(self._opening):
            task.cancel()
        for connection in tuple(self._all):
            connection.transport.abort()
        return self._report(took, used)

    def answered(self, connection: Connection, sent: Sent, status: int, body: bytes) -> None:
        """Note an answer, and send what is due."""
        now, tally = time.perf_counter(), self.tally
        if self._measuring or self.order.rate:
            if status == 200:
                tally.good.append(now - connection.due)
                tally.wrong += not (self.order.echo or self._calls.take(sent, body))
            else:
                tally.refused.append(now - connection.due)
                tally.names[f"{status} {_error_name(body)}"] += 1
        self._busy -= 1
        if connection.transport.is_closing():
            return
        self._idle.append(connection)
        if self.order.rate:
            self._flush(now)
        elif self._measuring:
            self._send(now)

    def gone(self, connection: Connection) -> None:
        """A connection was closed: open another."""
        if connection.sent is not None:
            self.tally.lost += 1
            self._busy -= 1
            connection.sent = None
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._measuring:
            task = asyncio.ensure_future(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        where = self._where
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(
                lambda: Connection(self), where.host, where.port, ssl=self._context
            )
        except OSError:
            self.tally.names["no connection"] += 1
            await asyncio.sleep(0.1)
            return
        self._all.add(made)
        self._idle.append(made)
        if self.order.rate:
            self._flush(time.perf_counter())

    async def _open_loop(self, began: float) -> None:
        step, number = 1 / self.order.rate, 0
        while (now := time.perf_counter()) < self._ends:
            while (due := began + number * step) <= now:
                self._due.append(due)
                number += 1
            if self._idle and self._due:
                self.tally.lateness.append(now - self._due[0])
            self._flush(now)
            await asyncio.sleep(max(TICK, began + number * step - time.perf_counter()))

    def _flush(self, now: float) -> None:
        """Send what is due, as far as connections go."""
        due, patience = self._due, self.order.patience
        while patience and due and now - due[0] > patience:
            due.popleft()
            self.tally.unsent += 1
        while due and self._idle:
            self._send(due.popleft())

    def _send(self, due: float) -> None:
        request, sent = self._calls.next()
        self._busy += 1
        self.tally.sent += 1
        self._idle.popleft().send(due, request, sent)

    def _report(self, took: float, used: float) -> dict[str, Any]:
        tally = self.tally
        every = array("d", tally.good + tally.refused)
        for connection in self._idle:
            connection.transport.close()
        return {
            "seconds": took,
            "sent": tally.sent,
            "good": len(tally.good),
            "goodput": sum(each <= LATE for each in tally.good) / took,
            "late": sum(each > LATE for each in every),
            "unsent": tally.unsent,
            "lost": tally.lost,
            "wrong": tally.wrong,
            "connections": tally.opened,
            "names": dict(tally.names),
            "cpu": used / took,
            "lateness": percentile(tally.lateness, 0.99) * 1e3,
            **{name: percentile(tally.good, share) * 1e3 for name, share in SHARES.items()},
            "worst": percentile(every, 1.0) * 1e3,
        }


SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}


def percentile(values: "array[float]", share: float) -> float:
    """The least value that at least this share does not exceed (nearest rank); 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


def _error_name(body: bytes) -> str:
    try:
        return str(json.loads(body)["errorName"])
    except (ValueError, KeyError, TypeError):
        return "?"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def serve() -> None:
    """Carry out orders until standard input ends."""
    known: dict[str, Calls] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = Order(**json.loads(line))
        name = json.dumps(order.target, sort_keys=True)
        if name not in known:
            target = Target(**{**order.target, "keys": tuple(order.target["keys"])})
            known[name] = Calls(target, 0.0)
            if not order.echo:  # something to decrypt
                await Load(Order(order.target, 0.5), known[name]).run()
        known[name].decrypting = order.decrypting
        print(json.dumps(await Load(order, known[name]).run()), flush=True)


if __name__ == "__main__":
    if apart.GIVES_WAY in sys.argv:
        apart.give_way()
    uvloop.run(serve())
