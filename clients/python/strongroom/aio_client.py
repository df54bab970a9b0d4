"""`AsyncClient`, for asyncio: what `strongroom.client` has, as coroutines and asynchronous iterators."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from strongroom import _link, _streams, bulk, results
from strongroom._faults import from_rpc
from strongroom._identity import Metadata
from strongroom._operation import Awaiting
from strongroom._operations import Operations
from strongroom._rpc import Call, serialise
from strongroom._views import Views
from strongroom.aio_stream import AsyncStream
from strongroom.calls import admin, events
from strongroom.calls.batches import WithContext
from strongroom.calls.crypto import Context
from strongroom.errors import StrongroomError
from strongroom.retry import Attempts, RetryPolicy
from strongroom.settings import Settings
from strongroom.v1 import crypto_pb2

Answer = TypeVar("Answer")
Item = TypeVar("Item")
AnyItem = TypeVar("AnyItem", bound=bytes | WithContext)


class AsyncClient(Views, Operations, Awaiting):
    """The client for asyncio; use it as an asynchronous context manager or close it. One loop only.

    Args:
        settings: where the daemon is and who the caller is.
        retry: when to try again.

    Raises:
        ConfigurationError: a certificate or key file is not usable. Nothing is sent yet.
    """

    def __init__(self, settings: Settings, *, retry: RetryPolicy | None = None) -> None:
        credentials, options = _link.credentials(settings), _link.options(settings)
        # Made by the first call, for a channel belongs to the loop that runs when it is made.
        self._link = _AsyncLink(lambda: aio.secure_channel(settings.endpoint, credentials, options=options))
        super().__init__(settings, retry=retry)
        self._assuming = asyncio.Lock()

    async def run(self, call: Call[Answer]) -> Answer:
        """Carry out one call of `strongroom.calls`.

        Raises:
            StrongroomError: it failed for good.
        """
        return await self._carry_out(call, await self._metadata())

    async def _metadata(self) -> Metadata:
        """Say who calls: the role of the settings, assumed when it is needed, and what this view adds."""
        if self._role is None:
            return self._fixed
        async with self._assuming:
            found = self._role.metadata()
            if found is None:
                found = self._role.keep(await self._carry_out(self._role.call(), ()))
        return (*found, *self._fixed)

    async def _carry_out(self, call: Call[Answer], metadata: Metadata) -> Answer:
        attempts = self._manner.attempts(call.repeatable)
        while True:
            try:
                answer = call.read(await self._send(call, attempts, metadata))
            except StrongroomError as failure:
                await asyncio.sleep(attempts.wait_after(failure))
            else:
                attempts.succeeded()
                return answer

    async def encrypt_many(
        self,
        key: str,
        items: Sequence[bytes | WithContext],
        *,
        context: Context | None = None,
        algorithm: str = "",
        grant_tokens: Sequence[str] = (),
    ) -> list[results.EncryptResult]:
        """Encrypt any number of plaintexts; each ends as an answer or an error (not raised), in its place.

        The deadline of the client is that of each call underneath, not of the whole.
        """
        return await self._bulk(bulk.encrypting(key, items, context, algorithm, grant_tokens))

    async def decrypt_many(
        self,
        items: Sequence[bytes | WithContext],
        *,
        key: str = "",
        context: Context | None = None,
        grant_tokens: Sequence[str] = (),
    ) -> list[results.DecryptResult]:
        """Open any number of symmetric ciphertexts; results as of encrypt_many."""
        return await self._bulk(bulk.decrypting(items, key, context, grant_tokens))

    async def sign_many(
        self,
        key: str,
        messages: Sequence[bytes],
        *,
        algorithm: str = "",
        message_type: str = "",
        key_version: int = 0,
        grant_tokens: Sequence[str] = (),
    ) -> list[results.SignResult]:
        """Sign any number of messages or digests; results as of encrypt_many."""
        return await self._bulk(
            bulk.signing(key, messages, algorithm, message_type, key_version, grant_tokens)
        )

    def stream(self) -> AsyncStream:
        """Open a stream for pipelined operations; use it as an asynchronous context manager."""
        return AsyncStream(self._link.operate, self._manner.attempts, self._metadata)

    def tail_audit_records(self, *, key: str = "", principal: str = "") -> AsyncIterator[results.AuditRecord]:
        """Follow the audit log until the daemon ends it: records as they are written. No deadline."""
        return self._follow(admin.tail_audit_records(key=key, principal=principal))

    def watch_events(
        self, *, types: Iterable[str] = (), subjects: Iterable[str] = (), cursor: str = ""
    ) -> AsyncIterator[results.WatchedEvent]:
        """Follow events from now on, or from behind a cursor, until the daemon ends it. No deadline."""
        return self._follow(events.watch_events(types=types, subjects=subjects, cursor=cursor))

    async def _follow(self, call: Call[Answer]) -> AsyncIterator[Answer]:
        method = self._link.channel.unary_stream(call.path, serialise, call.parse)
        answers = method(call.request, metadata=await self._metadata())
        try:
            async for reply in answers:
                yield call.read(reply)
        except grpc.RpcError as failure:
            raise from_rpc(failure) from None
        finally:
            answers.cancel()

    @staticmethod
    async def pages(
        method: Callable[..., Coroutine[Any, Any, results.Page[Item]]], *args: object, **filters: object
    ) -> AsyncIterator[Item]:
        """Go through all pages of a list: `client.pages(client.list_keys, state="ENABLED")`."""
        token = ""
        while True:
            page = await method(*args, **filters, page_token=token)
            for item in page.items:
                yield item
            token = page.next_page_token
            if not token:
                return

    async def close(self) -> None:
        """Close the connection, for all views of this client. Calls under way fail."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _bulk(self, work: bulk.Bulk[AnyItem, Answer]) -> list[Answer | StrongroomError]:
        return await bulk.run_async(work, self.run, self._manner.retry, self._manner.budget)

    async def _send(self, call: Call[Answer], attempts: Attempts, metadata: Metadata) -> Message:
        try:
            reply: Message = await self._link.method(call)(
                call.request,
                timeout=attempts.remaining,
                metadata=metadata,
                wait_for_ready=attempts.wait_for_connection,
            )
        except grpc.RpcError as failure:
            raise from_rpc(failure) from None
        except aio.UsageError:
            # The channel says so when it is closed.
            raise _streams.closed() from None
        return reply


class _AsyncLink:
    """An asyncio channel, made when it is first needed, and its methods."""

    def __init__(self, make: Callable[[], aio.Channel]) -> None:
        self._make = make
        self._channel: aio.Channel | None = None
        self._methods: dict[str, Any] = {}

    @property
    def channel(self) -> aio.Channel:
        if self._channel is None:
            self._channel = self._make()
        return self._channel

    def method(self, call: Call[Any]) -> Any:  # noqa: ANN401 - gRPC's callables have no useful common type
        found = self._methods.get(call.path)
        if found is None:
            found = self.channel.unary_unary(call.path, serialise, call.parse)
            self._methods[call.path] = found
        return found

    def operate(
        self,
    ) -> "aio.StreamStreamMultiCallable[crypto_pb2.OperateRequest, crypto_pb2.OperateResponse]":
        return self.channel.stream_stream(_streams.PATH, serialise, crypto_pb2.OperateResponse.FromString)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
