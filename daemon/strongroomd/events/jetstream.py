"""NATS JetStream: each event published under its type, acknowledged by the stream before it counts.

The message id is the event's id, so that the stream itself drops what it got twice within its window. The
stream is the operator's to make: a subject that no stream takes is an error, not a message lost.
"""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from strongroomd.domain.delivery import Blame, Undelivered
from strongroomd.domain.events import PREFIX, Event
from strongroomd.events import formats
from strongroomd.ports import Sink

ID_HEADER: Final = "Nats-Msg-Id"


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """Where and how to publish.

    Attributes:
        servers: `nats://host:port` or `tls://host:port`.
        subject: what an event's type follows: `<subject>.key.disabled`.
        token: the server's authentication token; empty for none.
        seconds: for connecting, and for each acknowledgement.
        ca_file: authorities instead of the system's (PEM), for `tls://`.
        source: CloudEvents source.
    """

    servers: tuple[str, ...]
    subject: str
    token: str = field(repr=False)
    seconds: float
    ca_file: Path | None
    source: str


class _Client(Client):
    """A client that keeps its token where `tls://` was promised and the server did not ask for TLS.

    The library begins TLS only if the server's INFO, which comes in clear, requires it.
    """

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise _PlainServerError
        return super()._connect_command()


class _PlainServerError(nats.errors.Error):
    """The server's URL says TLS, the server does not."""


class JetStream(Sink):
    """One stream; connects when it first has something to send, and again after any failure."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._client: Client | None = None

    async def send(self, event: Event) -> None:
        """Publish one event and wait for the stream's acknowledgement."""
        settings = self._settings
        subject = f"{settings.subject}.{event.type.removeprefix(PREFIX)}"
        headers = {ID_HEADER: event.id, "Content-Type": formats.CONTENT_TYPE}
        try:
            async with asyncio.timeout(settings.seconds):
                client = await self._connected()
                body = formats.structured(event, settings.source)
                await client.jetstream().publish(subject, body, timeout=settings.seconds, headers=headers)
        except (nats.errors.Error, OSError, ssl.SSLError, ValueError, EOFError) as error:
            await self._drop()
            raise _undelivered(error) from None
        except BaseException:
            await self._drop()
            raise

    async def close(self) -> None:
        """Close the connection."""
        await self._drop()

    async def _connected(self) -> Client:
        client = self._client
        if client is None or not client.is_connected:
            await self._drop()
            client = self._client = _Client()  # kept first, so that a failed attempt is closed as well
            await client.connect(**self._options())
        return client

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "servers": list(settings.servers),
            "name": "strongroom",
            "connect_timeout": max(1, int(settings.seconds)),
            "allow_reconnect": False,  # what comes next connects again, with what is then configured
            "max_reconnect_attempts": 0,
            "error_cb": _ignore,  # every error reaches the publisher as well
        }
        if settings.token:
            options["token"] = settings.token
        if any(server.startswith("tls://") for server in settings.servers):
            options["tls"] = ssl.create_default_context(cafile=settings.ca_file)
        return options

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.close()


async def _ignore(_error: Exception) -> None:
    pass


def _undelivered(error: Exception) -> Undelivered:
    match error:
        case nats.errors.MaxPayloadError():
            return Undelivered(Blame.EVENT, "the event is larger than the server takes")
        case nats.js.errors.NoStreamResponseError():
            return Undelivered(Blame.SINK, "no stream takes this subject")
        case _PlainServerError():
            return Undelivered(Blame.SINK, "the server does not offer the TLS that its URL asks for")
        case TimeoutError():
            return Undelivered(Blame.SINK, "no acknowledgement in time")
    return Undelivered(Blame.SINK, type(error).__name__)
