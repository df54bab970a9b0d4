"""What answers are written to, so that nothing depends on whether the connection still is."""

import asyncio
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from strongroomd.frontends.xks.connection import Connection


class Answer:
    """A transport as one answer needs it.

    It sends head and body together, one TLS record instead of two; it takes what is for nobody any more,
    where uvloop would raise; and it may linger at its end. Once the head is here it lets go of the cycle,
    which refers to it: nothing is left to the garbage collector.
    """

    def __init__(self, connection: "Connection", cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._holds: RequestResponseCycle | None = cycle if cycle.scope["method"] != "HEAD" else None
        self._head = b""

    def is_closing(self) -> bool:
        """Say whether the connection has ended."""
        return bool(self._connection.transport.is_closing())

    def write(self, data: bytes) -> None:
        """Send, unless the connection has ended; the head waits for the body."""
        if self.is_closing():
            self._holds = None
            return
        if self._holds and self._holds.response_started:
            self._holds, self._head = None, data
        else:
            self._connection.transport.write(self._head + data)
            self._head = b""

    def close(self) -> None:
        """End the connection after its last answer."""
        self._connection.finish()


class Gone(asyncio.Transport):
    """The transport of a connection that was."""

    def is_closing(self) -> bool:
        """Say so."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Throw it away."""

    def close(self) -> None:
        """Nothing to do."""

    abort = resume_reading = pause_reading = close


GONE: Final = Gone()
