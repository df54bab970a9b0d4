"""The HTTPS server of the XKS door: connections, how many and for how long; certificates; the end.

HTTP is uvicorn's (`connection`); it is not run by uvicorn's own server, which takes signals, counts no
connection before TLS is done, and serves with one certificate for good. Each worker listens by itself
(SO_REUSEPORT). It accepts by hand (`arrivals`), so that a connection counts from its first packet, before
TLS; so that every one is accepted with the newest certificates; and so that the backlog is served before the
port is given back. At the cap the longest idle stranger has to go for a newcomer, and a peer that has proved
itself only where there are no strangers: idle connections of nobody keep nobody out.
"""

import asyncio
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
from strongroomd.frontends.xks.arrivals import BACKLOG, Arrivals
from strongroomd.frontends.xks.connection import Connection, Phase
from strongroomd.frontends.xks.door import Door
from strongroomd.frontends.xks.rests import Rests
from strongroomd.frontends.xks.tls import Tls

CAUSES: Final = ("certificate", "full", "handshake", "malformed", "slow")
"""Why connections are ended from here; labels of a metric."""
_SWEEP_SECONDS: Final = 0.5
_LOOKS: Final = 32  # at connections, between which calls are served
_APART_SECONDS: Final = 0.004  # between two ends: to close TLS costs half of a call
_LAST_REQUESTS_SECONDS: Final = 1.0  # a draining worker's peers may still send so long, and learn of the end


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
        rests: connections that are not read because the processor is short.
        probes: for load balancers, path -> status and text; without credentials.
        tls: what newcomers are accepted with.
    """

    def __init__(
        self, settings: ServerSettings, tls: Tls | None, door: Door, ready: Callable[[], bool]
    ) -> None:
        self.door = door
        self.is_draining = False
        self.rests = Rests(door.crowd)
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
        self.tls = tls
        self._settings = settings
        self._arrivals = Arrivals(self)
        self._sweeping: asyncio.Task[None] | None = None
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
        return len(self._arrivals.under_way) + len(self._strangers) + len(self._known)

    @property
    def is_full(self) -> bool:
        """Whether there are as many as there may be."""
        return self.connections >= self._settings.max_connections

    @property
    def has_known(self) -> bool:
        """Whether anybody is here who has proved himself."""
        return bool(self._known)

    def use(self, tls: Tls | None) -> None:
        """Accept new connections with this; live ones keep what they have."""
        self.tls = tls

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
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        self._arrivals.start(listener)
        self._sweeping = asyncio.create_task(self._sweep())
        return int(listener.getsockname()[1])

    async def drain(self, grace: float) -> None:
        """Take no new connections, answer what is under way or comes within a second, and close all."""
        self.is_draining = True
        ends = time.monotonic() + grace
        await self._arrivals.stop()
        await self._until(lambda: not self.connections, min(ends, time.monotonic() + _LAST_REQUESTS_SECONDS))
        self._arrivals.end()
        for connection in (*self._known, *self._strangers):
            connection.shutdown()
        await self._until(lambda: not self.connections, ends)
        for connection in (*self._known, *self._strangers):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self.door.settle()

    # --- what connections tell

    def admits(self, certificate: Any) -> bool:  # noqa: ANN401 - see `Tls.admits`
        """Say whether a peer's certificate is good enough."""
        return self.tls is None or self.tls.admits(certificate)

    def joined(self, connection: Connection) -> None:
        """Count a peer whose handshake is done."""
        self._arrivals.joined(connection)
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
        self.rests.end(connection)

    def dropped(self, cause: str) -> None:
        """Count a connection that is ended."""
        self.door.meter.dropped(cause)

    def drop(self, connection: Connection, cause: str) -> None:
        """End a connection."""
        self.dropped(cause)
        connection.abort()

    # --- room

    def made_room(self) -> bool:
        """Let go whoever came first of those that have proved nothing; one that has only if all have.

        Whether the handshake is done counts for nothing: an honest newcomer is the last of either kind. Who
        is silent though he had time to speak goes before newcomers who have spoken. A stranger that is being
        answered stays, one that is still sending goes: to be slow saves nobody.
        """
        idle = next((each for each in self._strangers if each.phase is not Phase.ANSWERING), None)
        shaking = self._arrivals.first(math.inf if idle is None else idle.accepted)
        if shaking is not None:
            self._arrivals.let_go(shaking)
            self.dropped("full")
            return True
        if idle is None and not self._strangers:
            idle = next((each for each in self._known if not each.busy), None)
        if idle is None:
            return False
        self.left(idle)
        self.drop(idle, "full")
        return True

    # --- time

    async def _sweep(self) -> None:
        """End what takes too long, looked for twice a second, or when the last ones are ended."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self._end_silent()
            for number, connection in enumerate((*self._strangers, *self._known)):
                if self._is_here(connection) and self._ended_late(connection):
                    await asyncio.sleep(_APART_SECONDS)
                elif number % _LOOKS == 0:
                    await asyncio.sleep(0)

    async def _end_silent(self) -> None:
        """End newcomers who have said nothing for too long: each costs a socket, and no TLS to be closed."""
        for number, newcomer in enumerate(self._arrivals.overdue()):
            if newcomer in self._arrivals.under_way and newcomer.task is None:
                self.dropped("handshake")
                self._arrivals.let_go(newcomer)
            if number % _LOOKS == 0:
                await asyncio.sleep(0)

    def _ended_late(self, connection: Connection) -> bool:
        """End a connection that takes too long; says whether it did. One that is not read is not silent."""
        now = time.monotonic()
        allowed = self._allowed.get(connection.phase, math.inf)
        if now - connection.since > allowed and connection not in self.rests:
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
