"""HTTP/1.1 requests out of bytes, everything bounded (RFC 9112).

llhttp does the parsing, by httptools; it refuses what proxies and servers may read in two ways (both
Content-Length and Transfer-Encoding, bare carriage returns, folded lines). Here are the bounds, and what it
leaves to its users: exactly one Host, no upgrades, and an end as soon as a body is too large.
"""

from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httptools

from strongroomd.frontends.sigv4 import HttpParts

MAX_HEAD: Final = 16_384  # bytes of request line and headers
MAX_HEADERS: Final = 64
MAX_BODY: Final = 65_536  # bytes; the largest legal request has about 21,000
MAX_WAITING: Final = 8  # requests of one connection that are read and not answered: KMS does not pipeline


class MalformedError(Exception):
    """The peer does not speak HTTP/1.1 as it must; the connection cannot go on.

    Attributes:
        status: of the last answer.
    """

    def __init__(self, status: int) -> None:
        super().__init__(HTTPStatus(status).phrase)
        self.status = status


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One request as read.

    Attributes:
        parts: as sent.
        arrived: `time.monotonic()` seconds of its first byte.
        keep_alive: whether the connection may go on after it.
        too_large: whether its body was, and was not kept.
    """

    parts: HttpParts
    arrived: float
    keep_alive: bool
    too_large: bool = False


class Reader:
    """The requests of one connection.

    Attributes:
        ready: requests that are complete.
        wants_continue: whether the peer waits for 100 (Continue); whoever sends it sets this back.
        begun: whether a request has begun and is not complete.
    """

    def __init__(self) -> None:
        self.ready: deque[Message] = deque()
        self.wants_continue = False
        self.begun = False
        self._parser = httptools.HttpRequestParser(self)
        self._now = 0.0
        self._closed = False
        self._failure = 0
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._begin()

    def feed(self, data: bytes, now: float) -> None:
        """Take what was received.

        Raises:
            MalformedError: what is read cannot be gone on with; complete requests before it stay in `ready`.
        """
        if self._closed:
            return
        self._now = now
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._failure = self._failure or HTTPStatus.BAD_REQUEST
        if self.begun and not self._head_complete:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._failure = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if self._failure:
            self._closed = True
            raise MalformedError(self._failure)

    # --- what httptools calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._begin()
        self.begun = True
        self._arrived = self._now

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes after the body (a trailer) counts for nothing."""
        if self._head_complete:
            return
        self._head += len(name) + len(value)
        if self._head > MAX_HEAD or len(self._headers) >= MAX_HEADERS:
            self._failure = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return
        self._headers.append((_text(name).lower(), _text(value)))

    def on_headers_complete(self) -> None:
        """Look at the head as a whole."""
        self._head_complete = True
        hosts = lengths = 0
        for name, value in self._headers:
            if name == "host":
                hosts += 1
            elif name == "content-length":
                lengths = int(value) if value.isdecimal() and len(value) < 20 else MAX_BODY + 1
            elif name == "expect":
                self.wants_continue = value.lower() == "100-continue"
        if hosts != 1:
            self._failure = HTTPStatus.BAD_REQUEST
        elif lengths > MAX_BODY:
            self._too_much()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._closed or self._failure:
            return
        self._size += len(body)
        if self._size > MAX_BODY:
            self._too_much()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Have a request, unless something was wrong with it."""
        if not self._closed and not self._failure:
            keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
            self._complete(b"".join(self._body), keep_alive=keep_alive)

    def _too_much(self) -> None:
        """End the request here: it is answered, and the rest of its bytes are not looked at."""
        self._complete(b"", keep_alive=False, too_large=True)
        self._closed = True

    def _complete(self, body: bytes, *, keep_alive: bool, too_large: bool = False) -> None:
        if len(self.ready) >= MAX_WAITING:
            self._failure = HTTPStatus.TOO_MANY_REQUESTS
            return
        path, _, query = _text(self._target).partition("?")
        method = self._parser.get_method().decode()
        parts = HttpParts(method, path, query, tuple(self._headers), body)
        self.ready.append(Message(parts, self._arrived, keep_alive, too_large))
        self.begun = self.wants_continue = False
        self._body = []

    def _begin(self) -> None:
        self._arrived = self._now
        self._target = b""
        self._headers = []
        self._body = []
        self._head = 0
        self._size = 0
        self._head_complete = False


def _text(raw: bytes) -> str:
    """Read bytes as text so that the very same bytes come back."""
    return raw.decode("utf-8", "surrogateescape")
