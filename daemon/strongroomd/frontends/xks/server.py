"""The HTTPS server of the XKS door: connections, how many and for how long; certificates; the end.

HTTP is uvicorn's (`connection`); it is not run by uvicorn's own server, which takes signals, counts no
connection before TLS is done, and serves with one certificate for good. Each worker listens by itself
(SO_REUSEPORT). It accepts by hand, so that a connection counts from its first packet, before TLS; so that
every one is accepted with the newest certificates; and so that the backlog is served before the port is
given back. At the cap the longest idle stranger has to go for a newcomer, and a peer that has proved itself
only where there are no strangers: idle connections of nobody keep nobody out.
"""

import asyncio
import errno
import math
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from strongroomd.frontends.xks.application import Application
from strongroomd.frontends.xks.connection import Connection, Phase
from strongroomd.frontends.xks.door import Door
from strongroomd.frontends.xks.tls import Tls
from strongroomd.telemetry import logs

CAUSES: Final = ("certificate", "full", "handshake", "malformed", "slow")
"""Why connections are ended from here; labels of a metric."""
_BACKLOG: Final = 1_024
_SWEEP_SECONDS: Final = 0.5
_HANDSHAKE_SECONDS: Final = 5.0
_SEND_BUFFER: Final = 65_536  # bytes; the kernel would let a peer that takes nothing have megabytes
_SHUTDOWN_SECONDS: Final = 1.0  # for the peer's part of closing TLS
_LAST_REQUESTS_SECONDS: Final = 1.0  # a draining worker's peers may still send so long, and learn of the end
_PACE_SECONDS: Final = (
    0.004  # between two newcomers while there is somebody to serve: each costs several calls
)
_LATE_PACE_SECONDS: Final = 0.01  # the same while the loop is late
_PAUSE_SECONDS: Final = 0.1  # when there are no descriptors left
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_log = logs.get("xks")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server listens.

    Attributes:
        host, port: shared with other workers; port 0 takes a free one.
        max_connections: of this worker, those in their handshake counted.
        idle_seconds: that a peer which has proved itself may be silent between requests.
        first_seconds: the same for one that has not.
        read_seconds: for a request to arrive.
        stall_seconds: for an answer to be taken.
        linger_seconds: for a peer to hang up after the last answer.
    """

    host: str
    port: int
    max_connections: int
    idle_seconds: int = 300
    first_seconds: int = 10
    read_seconds: float = 5.0
    stall_seconds: float = 5.0
    linger_seconds: float = 1.0


class Server:
    """One worker's server.

    Args:
        settings: how it listens.
        tls: what connections are accepted with; None for plain HTTP.
        door: answers calls.
        ready: whether this worker can be used, for `GET /ready`.

    Attributes:
        door: as given.
        is_draining: whether every answer is a connection's last.
        probes: for load balancers, path -> status and text; without credentials.
    """

    def __init__(
        self, settings: ServerSettings, tls: Tls | None, door: Door, ready: Callable[[], bool]
    ) -> None:
        self.door = door
        self.is_draining = False
        self.probes: dict[str, Callable[[], tuple[int, bytes]]] = {
            "/ping": lambda: (200, b"alive\n"),
            "/ready": lambda: (
                (200, b"ready\n") if ready() and not self.is_draining else (503, b"not ready\n")
            ),
        }
        self.state = ServerState()
        self.config = Config(
            Application(self),
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self.config.load()
        self._settings = settings
        self._tls = tls
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._arriving: dict[Connection, asyncio.Task[None]] = {}
        self._strangers: OrderedDict[Connection, None] = OrderedDict()
        self._known: OrderedDict[Connection, None] = OrderedDict()
        self._allowed = {
            Phase.FIRST: settings.first_seconds,
            Phase.IDLE: settings.idle_seconds,
            Phase.READING: settings.read_seconds,
            Phase.LINGERING: settings.linger_seconds,
        }

    def patience(self, *, known: bool) -> int:
        """Say how many seconds a peer may be silent between requests."""
        return self._settings.idle_seconds if known else self._settings.first_seconds

    @property
    def connections(self) -> int:
        """How many there are, those in their handshake counted."""
        return len(self._arriving) + len(self._strangers) + len(self._known)

    def use(self, tls: Tls | None) -> None:
        """Accept new connections with this; live ones keep what they have."""
        self._tls = tls

    async def start(self) -> int:
        """Listen; returns the port. Raises OSError when the address cannot be bound."""
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.setblocking(False)  # noqa: FBT003 - its only argument
            listener.bind((settings.host, settings.port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))
        self._sweeping = asyncio.create_task(self._sweep())
        return int(listener.getsockname()[1])

    async def drain(self, grace: float) -> None:
        """Take no new connections, answer what is under way or comes within a second, and close all."""
        self.is_draining = True
        ends = time.monotonic() + grace
        await self._stop_accepting()
        await self._until(lambda: not self.connections, min(ends, time.monotonic() + _LAST_REQUESTS_SECONDS))
        for connection in (*self._known, *self._strangers):
            connection.shutdown()
        await self._until(lambda: not self.connections, ends)
        for connection in (*self._known, *self._strangers):
            connection.abort()
        for task in tuple(self._arriving.values()):
            task.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self.door.settle()

    # --- what connections tell

    def admits(self, certificate: Any) -> bool:  # noqa: ANN401 - see `Tls.admits`
        """Say whether a peer's certificate is good enough."""
        return self._tls is None or self._tls.admits(certificate)

    def joined(self, connection: Connection) -> None:
        """Count a peer whose handshake is done."""
        self._arriving.pop(connection, None)
        self._strangers[connection] = None

    def proved(self, connection: Connection) -> None:
        """Hear of a good signature."""
        if connection in self._known:
            self._known.move_to_end(connection)
        elif connection in self._strangers:
            del self._strangers[connection]
            self._known[connection] = None

    def left(self, connection: Connection) -> None:
        """Forget a peer."""
        self._strangers.pop(connection, None)
        self._known.pop(connection, None)

    def dropped(self, cause: str) -> None:
        """Count a connection that is ended."""
        self.door.meter.dropped(cause)

    def drop(self, connection: Connection, cause: str) -> None:
        """End a connection."""
        self.dropped(cause)
        connection.abort()

    # --- arrivals

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._pace())
            try:
                peer, _ = await loop.sock_accept(listener)
            except OSError as error:
                _log.warning("cannot accept", errno=error.errno)
                if error.errno in _NO_DESCRIPTORS:  # the next one comes in its place
                    self._made_room()
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._welcome(peer)

    def _pace(self) -> float:
        """Say how many seconds to leave to those who are here before a newcomer's handshake.

        At 0, too, the loop goes round once: a full backlog shall not be taken in at one go.
        """
        if self.door.crowd.is_late:
            return _LATE_PACE_SECONDS
        return _PACE_SECONDS if self._known else 0.0

    def _welcome(self, peer: socket.socket) -> None:
        if self.connections >= self._settings.max_connections and not self._made_room():
            self.dropped("full")
            peer.close()
            return
        connection = Connection(self)
        task = self._arriving[connection] = asyncio.create_task(self._shake_hands(peer, connection))
        task.add_done_callback(lambda _: self._arriving.pop(connection, None))

    async def _shake_hands(self, peer: socket.socket, connection: Connection) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        tls = self._tls
        bounds = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS, "ssl_shutdown_timeout": _SHUTDOWN_SECONDS}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, peer, ssl=tls.context if tls else None, **(bounds if tls else {})
            )
        except OSError:  # TLS errors and time-outs are such, too
            self.dropped("handshake")
        finally:
            if not connection.made:
                connection.release()

    def _made_room(self) -> bool:
        """Let go whoever came first of those that have proved nothing; one that has only if all have.

        Whether the handshake is done counts for nothing: an honest newcomer is the last of either kind. A
        stranger that is being answered stays, one that is still sending goes: to be slow saves nobody.
        """
        idle = next((each for each in self._strangers if each.phase is not Phase.ANSWERING), None)
        shaking = next(iter(self._arriving), None)
        if shaking is not None and (idle is None or shaking.accepted < idle.accepted):
            self._arriving.pop(shaking).cancel()
            self.dropped("full")
            return True
        if idle is None and not self._strangers:
            idle = next((each for each in self._known if not each.busy), None)
        if idle is None:
            return False
        self.left(idle)
        self.drop(idle, "full")
        return True

    async def _stop_accepting(self) -> None:
        """Serve who is in the backlog, then give the port back."""
        if self._accepting is None or self._listener is None:
            return
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        try:
            while True:
                self._welcome(self._listener.accept()[0])
        except OSError:
            self._listener.close()

    # --- time

    async def _sweep(self) -> None:
        """End what takes too long, twice a second; calls are served between one end and the next."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for connection in (*self._strangers, *self._known):
                if self._is_here(connection) and self._ended_late(connection):
                    await asyncio.sleep(0)

    def _ended_late(self, connection: Connection) -> bool:
        """End a connection that takes too long; says whether it did."""
        now = time.monotonic()
        if now - connection.since > self._allowed.get(connection.phase, math.inf):
            self._overdue(connection)
        elif connection.stalled_since and now - connection.stalled_since > self._settings.stall_seconds:
            connection.abort()
        else:
            return False
        return True

    def _is_here(self, connection: Connection) -> bool:
        return connection in self._strangers or connection in self._known

    def _overdue(self, connection: Connection) -> None:
        if connection.phase is Phase.READING:
            connection.fail(HTTPStatus.REQUEST_TIMEOUT, "slow")
        elif connection.phase is Phase.LINGERING:
            connection.abort()
        else:
            connection.shutdown()

    @staticmethod
    async def _until(condition: Callable[[], bool], ends: float) -> None:
        while not condition() and time.monotonic() < ends:  # noqa: ASYNC110 - connections come and go
            await asyncio.sleep(0.02)
