"""A very small HTTP server: GET and HEAD of three paths, one request a connection, everything bounded.

It runs on threads of its own beside the worker's loop, so that it still answers while the loop is busy. All
workers of a node share its port by SO_REUSEPORT; whichever the kernel picks answers for all in `/metrics` and
for itself in the health paths. It reads nothing but the request line and serves no secret, but it does not
authenticate: keep it on a loopback address, or behind something that does.
"""

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from strongroomd.telemetry import logs
from strongroomd.telemetry.series import CONTENT_TYPE

MAX_REQUEST: Final = 8_192  # bytes of request line and headers
MAX_CONNECTIONS: Final = 8  # served at once; further ones are closed
REQUEST_SECONDS: Final = 5.0  # for a request to arrive, and again for its answer to leave
_TEXT: Final = "text/plain; charset=utf-8"
_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_log = logs.get("ops")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status code, body, and what the body is."""

    status: int
    body: bytes
    content_type: str = _TEXT


class OpsServer:
    """Serves `/metrics`, `/healthz` and `/readyz`.

    Args:
        address: IP address and port; port 0 takes a free one.
        metrics: renders the metrics; called on a thread of this server.
        ready: says why this worker does not serve, or None if it does; called on a thread of this server, so
            it must only read what others keep up to date.
        tokens: says of each token, where there are several, what is wrong with it, empty for nothing; called
            as `ready` is.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        address: tuple[str, int],
        metrics: Callable[[], bytes],
        ready: Callable[[], str | None],
        tokens: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._routes: dict[str, Callable[[], Reply]] = {
            "/metrics": lambda: Reply(200, metrics(), CONTENT_TYPE),
            "/healthz": lambda: Reply(200, b"alive\n"),
            "/readyz": lambda: _readiness(ready(), tokens()),
        }
        self._server = _Server(address, self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, name="ops", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Give the port back; waits for the listening thread, not for answers on the way."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(REQUEST_SECONDS)
        self._server.server_close()

    def _answer(self, head: bytes) -> tuple[Reply, bool]:
        """Answer a request's head; the flag says whether the body is wanted."""
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Reply(400, b"a request line is METHOD PATH HTTP/1.1\n"), True
        if words[0] not in {b"GET", b"HEAD"}:
            return Reply(405, b"only GET and HEAD are served\n"), True
        route = self._routes.get(words[1].split(b"?", 1)[0].decode("latin-1"))
        if route is None:
            return Reply(404, b"/metrics, /healthz and /readyz are served\n"), words[0] == b"GET"
        return _guarded(route), words[0] == b"GET"


def _readiness(reason: str | None, tokens: Mapping[str, str]) -> Reply:
    """Say whether the worker serves; a further token that is away does not keep it from that, but is told."""
    lines = [f"token {name}: {'away or ill' if trouble else 'well'}\n" for name, trouble in tokens.items()]
    first = "ready\n" if reason is None else f"not ready: {reason}\n"
    return Reply(200 if reason is None else 503, "".join([first, *lines]).encode())


def _guarded(route: Callable[[], Reply]) -> Reply:
    try:
        return route()
    except Exception as error:  # noqa: BLE001 - a scrape must not end the server
        _log.error("cannot answer", exc_info=error)
        return Reply(500, b"failed; see the log\n")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    allow_reuse_port = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], answer: Callable[[bytes], tuple[Reply, bool]]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.answer = answer
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Serve a connection on a thread of its own, unless all places are taken."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Give the place back when the connection is done."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Peers that vanish are nobody's error; `socketserver` would print a traceback."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        head = self._read_head()
        if head is None:
            return
        if len(head) > MAX_REQUEST:
            reply, with_body = Reply(431, b"the request's head is too large\n"), True
        else:
            reply, with_body = self.server.answer(head)
        self._write(reply, with_body=with_body)

    def _read_head(self) -> bytes | None:
        """Read up to the empty line; None when it does not come in time."""
        deadline = time.monotonic() + REQUEST_SECONDS
        head = b""
        while b"\r\n\r\n" not in head and len(head) <= MAX_REQUEST:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            self.request.settimeout(remaining)
            try:
                chunk = self.request.recv(MAX_REQUEST + 1 - len(head))
            except OSError:
                return None
            if not chunk:
                return None
            head += chunk
        return head

    def _write(self, reply: Reply, *, with_body: bool) -> None:
        head = (
            f"HTTP/1.1 {reply.status} {_PHRASES[reply.status]}\r\n"
            f"Content-Type: {reply.content_type}\r\n"
            f"Content-Length: {len(reply.body)}\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n"
        )
        self.request.settimeout(REQUEST_SECONDS)
        self.request.sendall(head.encode() + (reply.body if with_body else b""))
