"""One connection: uvicorn's HTTP/1.1 (httptools, RFC 9112), with bounds that uvicorn does not have.

uvicorn parses, keeps connections, queues pipelined requests and writes answers. Added here: when a
request's first byte came, how long its head may be, what llhttp leaves to its users (`heads`), an end to
bodies that are too large and to what stands around them, a time for each phase, and who has proved himself.
"""

import asyncio
import logging
import random
import time
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from strongroomd.frontends.xks import early, errors, heads, routes
from strongroomd.frontends.xks.crowd import Crowd
from strongroomd.frontends.xks.errors import ErrorName
from strongroomd.frontends.xks.restraint import Restraint
from strongroomd.frontends.xks.rests import SHORT
from strongroomd.frontends.xks.transports import GONE, Answer

if TYPE_CHECKING:
    from strongroomd.frontends.xks.routes import Route
    from strongroomd.frontends.xks.server import Server

MAX_HEAD: Final = 16_384  # bytes of request line and headers
MAX_HEADERS: Final = 64
MAX_BODY: Final = 65_536  # bytes; the largest legal request has about 21,000
MAX_WIRE: Final = 8 * MAX_BODY  # bytes of a body with its chunks' sizes, extensions and trailers
MAX_WAITING: Final = 8  # pipelined requests that wait for the one before them: KMS sends none
_BUFFERED_SECONDS: Final = 0.002  # in which the loop reads what was there before
_SPREAD: Final = 0.4  # of a rest, which so lasts 140 ms at most where a caller is to be answered in time
_HIGH_WATER: Final = 32_768  # bytes that wait to be taken; the largest answer has about 11,000

# What uvicorn warns of is what strangers send: they shall not fill the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class Phase(Enum):
    """What a connection waits for."""

    FIRST = auto()  # its next request, from somebody who has not proved anything
    IDLE = auto()  # the next request
    READING = auto()  # the rest of a request
    ANSWERING = auto()  # our own answer
    LINGERING = auto()  # the peer, to hang up or send the rest of what is not looked at any more


class Connection(HttpToolsProtocol):
    """One peer.

    Args:
        server: whose connection it is.
        accepted: `time.monotonic()` seconds of its first packet.

    Attributes:
        accepted: as given.
        known: whether it ever brought a good signature.
        was_right: whether its last call was served, and not nonsense (400, 401).
        signs_for: path prefix, which may be empty, of the store whose good signature it brought, and no bad
            one since.
        phase: what it waits for.
        since: `time.monotonic()` seconds of the phase's beginning.
        stalled_since: the same of when it stopped taking what is written; 0 while it takes it.
    """

    def __init__(self, server: "Server", accepted: float) -> None:
        super().__init__(server.config, server.state, {}, asyncio.get_running_loop())
        self.known = self.was_right = False
        self.signs_for: str | None = None
        self.phase = Phase.FIRST
        self.accepted, self.since = accepted, time.monotonic()
        self.stalled_since = 0.0
        self._owner = server
        self._now = self.since
        self._head_bytes = self._body_bytes = self._wire_bytes = 0
        self._in_head = self._in_body = False
        self._ended = False
        self._route: Route | None = None
        self._restraint = Restraint()
        self._alarm: asyncio.TimerHandle | None = None

    # --- the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a peer whose handshake is done."""
        self.since = time.monotonic()
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        super().connection_made(transport)
        self._owner.joined(self)
        if not self._owner.admits(transport.get_extra_info("peercert")):
            self._owner.drop(self, "certificate")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the peer. A call in flight goes on to its deadline, and its answer is for nobody."""
        self._unset_keepalive_if_required()
        self._forget_alarm()
        super().connection_lost(exc)
        self._owner.left(self)
        self.flow._transport = GONE  # noqa: SLF001
        self.release()

    def release(self) -> None:
        """Let go of what refers to this, not to wait for the garbage collector: TLS alone has 256 KiB."""
        if self.cycle is not None:
            self.cycle.transport = GONE
        for cycle, _ in self.pipeline:
            cycle.transport = GONE
        self.pipeline.clear()
        self.transport = GONE
        self.parser = self.scope = self.cycle = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Read; what comes after the end is thrown away, and after a while not even taken."""
        if self.transport.is_closing():
            return
        if not self._ended:
            self._now = self._restraint.since or time.monotonic()
            if self._shed(data):
                return
            super().data_received(data)
        self._weigh(len(data))

    def _shed(self, data: bytes) -> bool:
        """Send a whole request away before it is parsed, if the door would not serve it."""
        path = early.path_of(data) if self._may_shed else None
        route = None if path is None else routes.find(path)
        if route is None:
            return False
        reply = self._owner.door.shed(route, self._now)
        if reply is None:
            self._route = route
            self._restraint.lift()
            return False
        self.transport.write(_head(reply.status, len(reply.body)) + reply.body)
        self.rest(reply.rest, route.prefix)
        return True

    @property
    def _may_shed(self) -> bool:
        """Whether others are shed, and an answer can be given here."""
        owner = self._owner
        return (
            self._is_between
            and owner.door.is_shedding(self._now)
            and not (self.flow.write_paused or owner.is_draining)
        )

    @property
    def _is_between(self) -> bool:
        """Whether the last request is answered and the next one has not begun."""
        return not (self.busy or self._in_head or self._in_body)

    def rest(self, most: float, store: str) -> None:
        """Read nothing for a while, unless something is under way already.

        Args:
            most: seconds that it lasts at most, or nearly so.
            store: the path prefix that was called.
        """
        if not self._is_between or self._ended or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._forget_alarm()
        self.since = now = time.monotonic()
        self.flow.pause_reading()
        signs, least = self.signs_for == store, 0.0
        if most > SHORT:
            least = self._owner.rests.begin(self, store, signs=signs)
        # Who has brought no signature may be a store's own caller, on a new connection.
        rest = self._restraint.begin(now, most, least, at_once=signs)
        # Those who were refused together shall not come back together.
        seconds = rest * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - no secret
        self._alarm = self.loop.call_later(seconds, self._read_again)

    def wake(self) -> None:
        """End a rest before its time."""
        self._restraint.shorten(time.monotonic())
        self._read_again()

    def _read_again(self) -> None:
        """Read what came during a rest, and then what comes."""
        self._forget_alarm()
        self._owner.rests.end(self)
        if self.phase in {Phase.FIRST, Phase.IDLE}:
            self.since = time.monotonic()
        self._restraint.end()
        self.flow.resume_reading()
        self.loop.call_later(_BUFFERED_SECONDS, self._restraint.forget)

    def _forget_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _weigh(self, size: int) -> None:
        """Bound what is read of one request before it is whole, and after the end."""
        if self._in_head and not self._ended:
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD:
                self.fail(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "malformed")
        elif self._in_body or self._ended:
            self._wire_bytes += size
            if self._wire_bytes > MAX_WIRE:
                self._take_no_more()

    def pause_writing(self) -> None:
        """Note that the peer does not take its answers."""
        self.stalled_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self.stalled_since = 0.0
        super().resume_writing()

    # --- the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head_bytes = self._body_bytes = self._wire_bytes = 0
        self._in_head = True
        if not self.busy:
            self._enter(Phase.READING)
        # Each request's own dictionary: what the application is told besides the request.
        self.scope["state"] = {
            "connection": self,
            "arrived": self._now,
            "too_large": False,
            "route": self._route,
            "inside": False,
        }
        self._route = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes after the body (a trailer) counts for nothing."""
        if not self._in_head or self._ended:
            return
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD or len(self.headers) >= MAX_HEADERS:
            self.fail(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "malformed")
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Have a request answered, if its head is good."""
        self._in_head, self._in_body = False, True
        if self._ended:
            return
        version = self.parser.get_http_version()
        # After an upgrade (CONNECT is one) the parser skips what follows: there can be none.
        if self.parser.should_upgrade() or not heads.is_plain(self.url, version, self.headers):
            self.fail(HTTPStatus.BAD_REQUEST, "malformed")
        elif len(self.pipeline) >= MAX_WAITING:
            self.fail(HTTPStatus.TOO_MANY_REQUESTS, "malformed")
        else:
            super().on_headers_complete()
            self.cycle.transport = Answer(self, self.cycle)  # type: ignore[assignment]
            self._bound_body()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, up to the limit."""
        if self._ended:
            return
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY:
            self._too_much()
        elif not self.cycle.response_complete:
            self.cycle.body += body  # nobody is woken for a piece: the application waits for all of it

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._in_body = False
        if not self._ended:
            if self.busy and told(self.scope, "route") is not None:
                enter(self._owner.door.crowd, self.scope)
            self._enter(Phase.ANSWERING if self.busy else self._waiting)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait for it."""
        if self.phase is not Phase.LINGERING:
            self._enter(Phase.READING if self._in_body else self._waiting)
        self.timeout_keep_alive = self._owner.patience(known=self.known)
        super().on_response_complete()
        if self.busy:
            self._enter(Phase.READING if self.cycle.more_body else Phase.ANSWERING)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's wording
        """Answer what is no HTTP."""
        if not self._ended:
            self.fail(HTTPStatus.BAD_REQUEST, "malformed")

    # --- ends

    @property
    def busy(self) -> bool:
        """Whether an answer is due."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def fail(self, status: int, cause: str) -> None:
        """End a connection that cannot go on: with an answer, unless another one is under way.

        Args:
            status: of the answer.
            cause: why, for the metric.
        """
        self._owner.dropped(cause)
        if self.busy and (self.cycle.scope is not self.scope or self.pipeline or self.cycle.response_started):
            self.abort()
            return
        body = errors.spelt(ErrorName.VALIDATION, HTTPStatus(status).phrase)
        self.transport.write(_head(status, len(body), "Connection: close\r\n") + body)
        self._disconnect()
        self.linger()

    def linger(self) -> None:
        """Let the peer read its answer: to close while it still sends would reset the connection."""
        self._ended = True
        self._unset_keepalive_if_required()
        self._enter(Phase.LINGERING)
        self.flow.resume_reading()

    def finish(self) -> None:
        """Close after an answer, or linger where the request was not read to its end."""
        if not self._ended:
            self.transport.close()
        elif not self.transport.is_closing():
            self.linger()

    def abort(self) -> None:
        """Close without another word."""
        self._ended = True
        self.transport.abort()

    @property
    def _waiting(self) -> Phase:
        """What a connection without a request waits for."""
        return Phase.IDLE if self.known else Phase.FIRST

    def _disconnect(self) -> None:
        """Let an application that waits for the rest of a request go."""
        if self.busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _bound_body(self) -> None:
        """Look at the length that a body announces."""
        length = max((int(value) for name, value in self.headers if name == b"content-length"), default=0)
        if length > MAX_BODY:
            if length > MAX_WIRE:  # it would not come to its end: little more is taken, to see who hangs up
                self._wire_bytes = MAX_WIRE - MAX_BODY
            self._too_much()

    def _too_much(self) -> None:
        """End the request here: it is answered, and the rest of its bytes are not looked at."""
        if not self.busy:  # it has been answered before its body was here
            self._owner.dropped("malformed")
            self.linger()
            return
        self._ended = True
        self.scope["state"]["too_large"] = True
        self.cycle.waiting_for_100_continue = self.cycle.more_body = False
        self.cycle.message_event.set()
        self._enter(Phase.ANSWERING)

    def _take_no_more(self) -> None:
        """Leave the rest to the network's buffers: what is not read costs nothing."""
        if not self._ended:
            self.fail(HTTPStatus.BAD_REQUEST, "malformed")
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.since = time.monotonic()


def _head(status: int, length: int, more: str = "") -> bytes:
    """Spell the head of an answer that is JSON."""
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
    return f"{line}Content-Length: {length}\r\n{more}\r\n".encode()


def enter(crowd: Crowd, scope: Any) -> None:  # noqa: ANN401 - ASGI's dictionaries
    """Count a whole request in that is not shed, once."""
    if not told(scope, "inside"):
        scope["state"]["inside"] = True
        crowd.enter(store_of(scope))


def leave(crowd: Crowd, scope: Any) -> None:  # noqa: ANN401 - ASGI's dictionaries
    """Count it out, if it was counted in."""
    if told(scope, "inside"):
        crowd.leave(store_of(scope))


def store_of(scope: Any) -> str:  # noqa: ANN401 - ASGI's dictionaries
    """Give the path prefix of the store whose call it is, if that was looked at when it came."""
    route: Route | None = told(scope, "route")
    return "" if route is None else route.prefix


def told(scope: Any, name: str) -> Any:  # noqa: ANN401 - ASGI's dictionaries
    """Read what a connection tells of a request."""
    return scope["state"][name]
