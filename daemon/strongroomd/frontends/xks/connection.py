"""One connection: requests in, answers out, one at a time and in order, each phase within its time."""

import asyncio
import time
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from strongroomd.frontends.xks import errors
from strongroomd.frontends.xks.door import Exchange, Reply, Request
from strongroomd.frontends.xks.errors import ErrorName
from strongroomd.frontends.xks.http1 import MalformedError, Message, Reader
from strongroomd.telemetry import logs

if TYPE_CHECKING:
    from strongroomd.frontends.xks.server import Server

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_HIGH_WATER: Final = 32_768  # bytes that wait to be taken; the largest answer has about 11,000
_log = logs.get("xks")


class Phase(Enum):
    """What a connection waits for."""

    FIRST = auto()  # its first request, from somebody who has not proved anything
    IDLE = auto()  # the next request
    READING = auto()  # the rest of a request
    ANSWERING = auto()  # our own answer
    STALLED = auto()  # the peer, to take what was written
    LINGERING = auto()  # the peer, to hang up or send the rest of what is not looked at any more


class Connection(asyncio.Protocol):
    """One peer.

    Args:
        server: whose connection it is.
        address, port: the peer's.

    Attributes:
        known: whether it ever brought a good signature.
        phase: what it waits for.
        since: `time.monotonic()` seconds of the phase's beginning.
    """

    def __init__(self, server: "Server", address: str, port: int) -> None:
        self.known = False
        self.phase = Phase.FIRST
        self.since = time.monotonic()
        self._server = server
        self._address = address
        self._port = port
        self._reader = Reader()
        self._task: asyncio.Task[None] | None = None
        self._last_status = 0
        self._stalled = False

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a peer whose handshake is done."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._server.joined(self)
        if not self._server.admits(transport.get_extra_info("peercert")):
            self._server.drop(self, "certificate")

    def data_received(self, data: bytes) -> None:
        """Read; what comes while lingering is thrown away."""
        if self.phase is Phase.LINGERING or self._last_status:
            return
        reader = self._reader
        try:
            reader.feed(data, time.monotonic())
        except MalformedError as error:
            self._last_status = error.status
        if self._task is None:
            self._next()

    def pause_writing(self) -> None:
        """Hear that the peer does not take its answers."""
        self._stalled = True

    def resume_writing(self) -> None:
        """Hear that it does again."""
        self._stalled = False
        if self.phase is Phase.STALLED:
            self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the peer. A call in flight goes on to its deadline, and its answer is for nobody."""
        self._server.left(self)

    # --- what the server asks for

    def last_call(self) -> None:
        """Close once nothing is under way: at once if nothing is."""
        if self.phase in {Phase.FIRST, Phase.IDLE}:
            self._transport.close()

    def abort(self) -> None:
        """Close without another word."""
        self._transport.abort()

    def too_slow(self) -> None:
        """Tell the peer that its request takes too long, and close."""
        self._fail(HTTPStatus.REQUEST_TIMEOUT)

    @property
    def busy(self) -> bool:
        """Whether an answer is due."""
        return self._task is not None

    # --- requests

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.since = time.monotonic()

    def _next(self) -> None:
        """Answer the next complete request, or wait for it."""
        if self._stalled:
            self._enter(Phase.STALLED)
        elif self._reader.ready:
            self._begin(self._reader.ready.popleft())
        elif self._last_status:
            self._server.dropped("malformed")
            self._fail(self._last_status)
        elif self._reader.begun:
            self._enter(Phase.READING)
            self._encourage()
        elif self.phase is not Phase.FIRST:
            self._enter(Phase.IDLE)

    def _encourage(self) -> None:
        """Tell a peer that waits for it to send its body (RFC 9110, section 10.1.1)."""
        if self._reader.wants_continue:
            self._reader.wants_continue = False
            self._transport.write(_CONTINUE)

    def _begin(self, message: Message) -> None:
        self._enter(Phase.ANSWERING)
        probe = self._server.probes.get(message.parts.path)
        if probe is not None and message.parts.method in {"GET", "HEAD"}:
            status, body = probe()
            self._finish(message, status, body, TEXT)
            return
        request = Request(message.parts, self._address, self._port, message.arrived, message.too_large)
        exchange = self._server.door.open(request)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(
            max(0.0, exchange.answer_by - time.monotonic()), self._late, message, exchange
        )
        self._task = loop.create_task(self._answer(message, exchange, timer))

    async def _answer(self, message: Message, exchange: Exchange, timer: asyncio.TimerHandle) -> None:
        reply = await exchange.run()
        timer.cancel()
        if self._task is asyncio.current_task():
            self._deliver(message, reply)

    def _late(self, message: Message, exchange: Exchange) -> None:
        """Answer in time for a call that does not."""
        if self._task is not None:
            self._task.cancel()
            self._deliver(message, exchange.late())

    def _deliver(self, message: Message, reply: Reply) -> None:
        self._task = None
        if reply.authenticated:
            self.known = True
            self._server.proved(self)
        self._finish(message, reply.status, reply.body, JSON, allow=reply.allow)

    def _finish(self, message: Message, status: int, body: bytes, kind: str, *, allow: str = "") -> None:
        """Write an answer, then go on to the next request or towards the end."""
        if self._transport.is_closing():
            return
        last = not message.keep_alive or self._server.is_draining
        with_body = message.parts.method != "HEAD"
        self._transport.write(
            head(status, len(body), kind, last=last, allow=allow) + (body if with_body else b"")
        )
        if message.too_large:
            self._linger()
        elif last:
            self._transport.close()
        else:
            self._enter(Phase.IDLE if self.known else Phase.FIRST)
            self._next()

    def _fail(self, status: int) -> None:
        """Answer what is no request, and end."""
        body = errors.spelt(ErrorName.VALIDATION, HTTPStatus(status).phrase)
        if not self._transport.is_closing():
            self._transport.write(head(status, len(body), JSON, last=True) + body)
        self._linger()

    def _linger(self) -> None:
        """Let the peer read its answer: to close while it still sends would reset the connection."""
        self._enter(Phase.LINGERING)


def head(status: int, length: int, kind: str, *, last: bool, allow: str = "") -> bytes:
    """Spell the head of an answer."""
    lines = f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    if allow:
        lines += f"Allow: {allow}\r\n"
    return (lines + ("Connection: close\r\n\r\n" if last else "\r\n")).encode()


_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
