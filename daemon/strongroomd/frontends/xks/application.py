"""The ASGI application: reads a request, has it answered in time, writes the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from strongroomd.frontends.sigv4 import HttpParts
from strongroomd.frontends.xks import routes
from strongroomd.frontends.xks.connection import Connection, enter, leave, store_of, told
from strongroomd.frontends.xks.door import Exchange, Reply, Request

if TYPE_CHECKING:
    from strongroomd.frontends.xks.routes import Route
    from strongroomd.frontends.xks.server import Server

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Message]]
_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_CLOSE: Final = (b"connection", b"close")
_TELLING: Final = frozenset({HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED})


class Application:
    """What uvicorn calls for each request.

    Args:
        server: whose requests they are.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server

    async def __call__(self, scope: Any, receive: _Receive, send: _Send) -> None:  # noqa: ANN401 - ASGI's own
        """Serve one request."""
        try:
            await self._serve(scope, receive, send)
        finally:
            leave(self._server.door.crowd, scope)

    async def _serve(self, scope: Any, receive: _Receive, send: _Send) -> None:  # noqa: ANN401 - ASGI's own
        probe = self._server.probes.get(scope["path"])
        if probe is not None and scope["method"] in {"GET", "HEAD"}:
            status, text = probe()
            await self._write(send, status, text, [_TEXT], last=told(scope, "too_large"))
            return
        body = await _body(scope, receive)
        if body is None:
            return
        connection: Connection = told(scope, "connection")
        door, request = self._server.door, _request(scope, body)
        reply = self._shed(scope, request)
        if reply is None:
            enter(door.crowd, scope)
            reply = await self._answered(connection, told(scope, "route"), request)
        self._note(connection, reply, scope)
        allow = [(b"allow", reply.allow.encode())] if reply.allow else []
        await self._write(send, reply.status, reply.body, [_JSON, *allow], last=told(scope, "too_large"))
        if reply.rest:
            connection.rest(reply.rest, store_of(scope))

    def _note(self, connection: Connection, reply: Reply, scope: Any) -> None:  # noqa: ANN401 - ASGI's own
        """Note what an answer tells of who asked. That he may not, or asked for too much, tells nothing."""
        if reply.authenticated:
            connection.known, connection.signs_for = True, told(scope, "route").prefix
            self._server.proved(connection)
        elif reply.status == HTTPStatus.UNAUTHORIZED:
            connection.signs_for = None
        if reply.status in _TELLING:
            connection.was_right = reply.status == HTTPStatus.OK

    def _shed(self, scope: Any, request: Request) -> Reply | None:  # noqa: ANN401 - ASGI's own
        """Look at what was not looked at when it came: whatever way a request took, its store counts."""
        if told(scope, "route") is not None:
            return None
        route = scope["state"]["route"] = routes.find(request.parts.path)
        return self._server.door.shed(route, request.arrived)

    async def _answered(self, connection: Connection, route: "Route | None", request: Request) -> Reply:
        """Have a call answered, after all others if its store or its connection is one that has to wait."""
        door = self._server.door
        if route is None or (connection.was_right and not door.courtesy.is_due(route.prefix)):
            return await _in_time(door.open(request))
        async with door.courtesy.last(route.prefix, signs=connection.signs_for == route.prefix):
            shed = door.shed(route, request.arrived, waited=True)
            return shed or await _in_time(door.open(request))

    async def _write(
        self, send: _Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]], *, last: bool = False
    ) -> None:
        """Write an answer, the connection's last one at the worker's end."""
        headers.append((b"content-length", b"%d" % len(body)))
        if last or self._server.is_draining:
            headers.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _body(scope: Any, receive: _Receive) -> bytes | None:  # noqa: ANN401 - ASGI's own
    """Read the whole body; empty where it is too large; None if the peer is gone before its end."""
    body = bytearray()
    while True:
        if told(scope, "too_large"):
            return b""
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message["body"]
        if not message["more_body"] and not told(scope, "too_large"):
            return bytes(body)


def _request(scope: Any, body: bytes) -> Request:  # noqa: ANN401 - ASGI's own
    headers = tuple([(_text(name), _text(value)) for name, value in scope["headers"]])
    parts = HttpParts(scope["method"], _text(scope["raw_path"]), _text(scope["query_string"]), headers, body)
    address, port = scope["client"] or ("", 0)
    return Request(parts, address, port, told(scope, "arrived"), told(scope, "too_large"))


def _text(raw: bytes) -> str:
    """Read bytes as text so that the very same bytes come back."""
    return raw.decode("utf-8", "surrogateescape")


async def _in_time(exchange: Exchange) -> Reply:
    """Have a call answered; when it takes too long, whatever it does then, the answer says so."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Reply] = loop.create_future()
    running = loop.create_task(_run(exchange, answer))
    timer = loop.call_later(
        max(0.0, exchange.answer_by - time.monotonic()), _give_up, exchange, answer, running
    )
    try:
        return await answer
    finally:
        timer.cancel()


async def _run(exchange: Exchange, answer: "asyncio.Future[Reply]") -> None:
    reply = await exchange.run()
    if not answer.done():
        answer.set_result(reply)


def _give_up(exchange: Exchange, answer: "asyncio.Future[Reply]", running: "asyncio.Task[None]") -> None:
    if not answer.done():
        answer.set_result(exchange.late())
        running.cancel()
