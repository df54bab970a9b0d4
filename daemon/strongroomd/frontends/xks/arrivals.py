"""Newcomers of one worker, from their first packet to the end of their handshake.

A TLS handshake costs several calls, and takes memory for as long as the connection stays. So nothing is done
for a newcomer before he has begun to speak; what does not begin as TLS goes no further; and handshakes begin
one after the other, with time between them for those who are here.
"""

import asyncio
import errno
import itertools
import random
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from strongroomd.frontends.xks.connection import Connection
from strongroomd.telemetry import logs

if TYPE_CHECKING:
    from strongroomd.frontends.xks.server import Server

BACKLOG: Final = 1_024
AT_ONCE: Final = 128
"""Handshakes that may come as quickly as they can: KMS opens more connections when it has more to do."""
EVERY_SECONDS: Final = 0.008
"""Time between two handshakes in the long run, while there is somebody to serve: a tenth of the loop."""
_APART_SECONDS: Final = 0.002  # between any two of them, then
_LATE_SECONDS: Final = 0.01  # the same while the loop is late
_ACCEPT_SECONDS: Final = 0.002  # between two newcomers, likewise: to take one in costs far less
_MOST_WAITING: Final = (
    32  # for their handshakes; beyond, newcomers are accepted no faster than they have turns
)
_HANDSHAKE_SECONDS: Final = 5.0  # to say something, then to wait for a turn, then to end it
_SPEAKS_SECONDS: Final = 0.25  # in which an honest newcomer has said something
_ESTABLISHED: Final = 1  # the state of a connection that neither side has closed (Linux, TCP_INFO)
_SHUTDOWN_SECONDS: Final = 1.0  # for the peer's part of closing TLS
_BUFFER: Final = 65_536
"""Bytes of a peer that the kernel keeps, sent and received (it takes twice as many for itself). Left alone it
keeps megabytes of who takes nothing, and of who goes on sending while he is read."""
_TLS_HANDSHAKE: Final = b"\x16"  # the type of the first record (RFC 8446, 5.1)
_PAUSE_SECONDS: Final = 0.1  # when there are no descriptors left
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_log = logs.get("xks")


class Newcomer:
    """One of them.

    Attributes:
        peer: its socket, which does not block.
        accepted: `time.monotonic()` seconds of its first packet.
        task: its handshake, and the wait for it, once it has begun to speak.
    """

    __slots__ = ("accepted", "peer", "task")

    def __init__(self, peer: socket.socket) -> None:
        peer.setblocking(False)  # noqa: FBT003 - its only argument
        self.peer = peer
        self.accepted = time.monotonic()
        self.task: asyncio.Task[None] | None = None


class Arrivals:
    """Accepts newcomers. Belongs to the worker's loop.

    Args:
        server: whose newcomers they are.

    Attributes:
        under_way: those whose handshakes are not done, the oldest first.
    """

    def __init__(self, server: "Server") -> None:
        self.under_way: dict[Newcomer, None] = {}
        self._server = server
        self._shaking: dict[Connection, Newcomer] = {}
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._due = 0.0
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def start(self, listener: socket.socket) -> None:
        """Accept from a listening socket that does not block."""
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    async def stop(self) -> None:
        """Take in who is in the backlog, then give the port back."""
        if self._accepting is None or self._listener is None:
            return
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        try:
            while True:
                self._welcome(self._listener.accept()[0])
        except OSError:  # mostly that nobody else is there
            self._listener.close()

    def joined(self, connection: Connection) -> None:
        """Hear that a handshake is done."""
        newcomer = self._shaking.pop(connection, None)
        if newcomer is not None:
            self.under_way.pop(newcomer, None)

    def let_go(self, newcomer: Newcomer) -> None:
        """End a handshake, or the wait for it."""
        self.under_way.pop(newcomer, None)
        task, newcomer.task = newcomer.task, None
        if task is not None:
            task.cancel()
        else:
            asyncio.get_running_loop().remove_reader(newcomer.peer)
            newcomer.peer.close()

    def end(self) -> None:
        """End them all."""
        for newcomer in tuple(self.under_way):
            self.let_go(newcomer)

    def overdue(self) -> list[Newcomer]:
        """Give those who have said nothing for too long, the oldest first."""
        return [each for each in self._before(time.monotonic() - _HANDSHAKE_SECONDS) if each.task is None]

    def first(self, before: float) -> Newcomer | None:
        """Give who of those accepted before then is to go first: a silent one if he had time to speak."""
        had_time = self._before(min(before, time.monotonic() - _SPEAKS_SECONDS))
        silent = next((each for each in had_time if each.task is None), None)
        return silent or next(self._before(before), None)

    def _before(self, instant: float) -> Iterator[Newcomer]:
        """Give those accepted before then, the oldest first."""
        return itertools.takewhile(lambda newcomer: newcomer.accepted < instant, self.under_way)

    # --- the backlog

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await asyncio.sleep(self._accept_pace())
            try:
                await _somebody(listener)  # accept(2) says EMFILE also where there is nobody
                peer = listener.accept()[0]
            except BlockingIOError:  # he is gone again
                continue
            except OSError as error:
                _log.warning("cannot accept", errno=error.errno)
                if error.errno in _NO_DESCRIPTORS:  # the next one comes in its place
                    self._server.made_room()
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._welcome(peer)

    def _accept_pace(self) -> float:
        """Say how many seconds to wait for the next newcomer.

        At 0, too, the loop goes round once: a full backlog shall not be taken in at one go.
        """
        if self._waiting > _MOST_WAITING:
            return EVERY_SECONDS
        return _ACCEPT_SECONDS if self._server.has_known or self._server.door.crowd.is_late else 0.0

    def _welcome(self, peer: socket.socket) -> None:
        if self._server.is_full and not self._server.made_room():
            self._server.dropped("full")
            peer.close()
            return
        newcomer = Newcomer(peer)
        self.under_way[newcomer] = None
        if self._server.tls is None:
            self._begin(newcomer)
            return
        try:
            asyncio.get_running_loop().add_reader(peer, self._heard, newcomer)
        except OSError as error:
            _log.warning("cannot listen to a newcomer", errno=error.errno)
            self._server.dropped("handshake")
            del self.under_way[newcomer]
            peer.close()

    # --- the handshake

    def _heard(self, newcomer: Newcomer) -> None:
        """Hear somebody's first byte, or that he is gone."""
        asyncio.get_running_loop().remove_reader(newcomer.peer)
        if _speaks_tls(newcomer.peer):
            self._begin(newcomer)
        else:
            self._server.dropped("handshake")
            self.let_go(newcomer)

    def _begin(self, newcomer: Newcomer) -> None:
        connection = Connection(self._server, newcomer.accepted)
        self._shaking[connection] = newcomer
        newcomer.task = asyncio.create_task(self._let_in(newcomer.peer, connection))
        newcomer.task.add_done_callback(lambda _: self._ended(connection))

    def _ended(self, connection: Connection) -> None:
        """Let go of who did not come to be a peer, also where his handshake never began."""
        newcomer = self._shaking.pop(connection, None)
        if newcomer is not None:
            self.under_way.pop(newcomer, None)
            newcomer.task = None
            newcomer.peer.close()
            connection.release()

    async def _let_in(self, peer: socket.socket, connection: Connection) -> None:
        try:
            await self._wait_for_turn(peer)
            await self._shake_hands(peer, connection)
        except OSError:  # TLS errors and time-outs are such, too
            self._server.dropped("handshake")

    async def _wait_for_turn(self, peer: socket.socket) -> None:
        """Wait until the handshake may begin.

        Raises OSError for who is gone by then, or had to wait for too long: he has no turn.
        """
        self._waiting += 1
        try:
            spread = random.uniform(0.8, 1.0)  # noqa: S311 - those who spoke together shall not end together
            async with asyncio.timeout(_HANDSHAKE_SECONDS * spread), self._turn:
                if not _is_connected(peer):
                    raise ConnectionAbortedError
                await asyncio.sleep(self._pace())
        finally:
            self._waiting -= 1

    def _pace(self) -> float:
        """Say how many seconds to leave to those who are here before the next handshake."""
        late = self._server.door.crowd.is_late
        if self._server.is_draining or not (late or self._server.has_known):
            return 0.0
        now = time.monotonic()
        due = max(self._due, now - AT_ONCE * EVERY_SECONDS)
        self._due = due + EVERY_SECONDS
        return max(due - now, _LATE_SECONDS if late else _APART_SECONDS)

    async def _shake_hands(self, peer: socket.socket, connection: Connection) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        tls = self._server.tls
        bounds = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS, "ssl_shutdown_timeout": _SHUTDOWN_SECONDS}
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection, peer, ssl=tls.context if tls else None, **(bounds if tls else {})
        )


async def _somebody(listener: socket.socket) -> None:
    """Wait until somebody can be accepted; nobody is lost where the wait is given up."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()
    loop.add_reader(listener, _tell, came)
    try:
        await came
    finally:
        loop.remove_reader(listener)


def _tell(came: "asyncio.Future[None]") -> None:
    if not came.done():
        came.set_result(None)


def _is_connected(peer: socket.socket) -> bool:
    """Whether nobody has hung up: what was sent before can still be read, and tells nothing."""
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED


def _speaks_tls(peer: socket.socket) -> bool:
    """Whether what a newcomer has sent begins as TLS does; not if he is gone."""
    try:
        return peer.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE
    except OSError:
        return False
