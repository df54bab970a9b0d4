"""Many operations over one stream for asyncio: `AsyncClient.stream()`.

Every operation is a coroutine; run as many as you like at once, up to 64 are under way. If the stream
breaks, what was unanswered is sent again on a new one, by the client's retry policy and each operation's
deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from strongroom import _streams
from strongroom._faults import from_rpc
from strongroom._identity import Metadata
from strongroom._operation import Awaiting
from strongroom._operations import StreamOperations
from strongroom._rpc import Call
from strongroom.errors import DeadlineExceeded, StrongroomError
from strongroom.retry import Attempts
from strongroom.v1 import crypto_pb2 as pb

Answer = TypeVar("Answer")
# A string, for gRPC's classes are generic to the type checker only.
Operate: TypeAlias = "aio.StreamStreamMultiCallable[pb.OperateRequest, pb.OperateResponse]"


class AsyncStream(StreamOperations, Awaiting):
    """Pipelined operations; use it as an asynchronous context manager.

    Args:
        operate: makes the stream's method on the client's channel.
        attempts: makes the attempts of one call.
        metadata: says who calls, when a stream begins.
    """

    def __init__(
        self,
        operate: Callable[[], Operate],
        attempts: Callable[[bool], Attempts],
        metadata: Callable[[], Awaitable[Metadata]],
    ) -> None:
        self._operate = operate
        self._metadata = metadata
        self._attempts = attempts
        self._numbers = _streams.Numbers()
        self._room = asyncio.Semaphore(_streams.WINDOW)
        self._session: _Session | None = None
        self._closed = False

    async def run(self, call: Call[Answer]) -> Answer:
        """Carry out one call, as soon as there is room for it."""
        async with self._room:
            attempts = self._attempts(call.repeatable)
            while True:
                try:
                    answer = call.read(await self._ask(call.request, attempts.remaining))
                except StrongroomError as failure:
                    await asyncio.sleep(attempts.wait_after(failure))
                else:
                    attempts.succeeded()
                    return answer

    async def close(self) -> None:
        """End the stream; operations that are under way fail."""
        self._closed = True
        if self._session is not None:
            await self._session.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, message: Message, timeout: float | None) -> Message:  # noqa: ASYNC109 - a budget, not a scope
        request = self._numbers.wrap(message)
        if self._closed:
            raise _streams.closed()
        session = await self._opened()
        try:
            response = await asyncio.wait_for(session.send(request), timeout)
        except TimeoutError:
            raise DeadlineExceeded(
                "DEADLINE_EXCEEDED", "the deadline passed before the answer came"
            ) from None
        finally:
            session.forget(request.id)
        return _streams.unwrap(request, response)

    async def _opened(self) -> "_Session":
        if self._session is None or self._session.over:
            metadata = await self._metadata()
            if self._session is None or self._session.over:  # nobody else opened it meanwhile
                self._session = _Session(self._operate(), metadata)
        return self._session


class _Session:
    """One opened stream, with a task that reads its answers and one that sends."""

    def __init__(self, operate: Operate, metadata: Metadata) -> None:
        self._call = operate(metadata=metadata, wait_for_ready=True)
        self._outbox: asyncio.Queue[pb.OperateRequest | None] = asyncio.Queue()
        self._waiting: dict[int, asyncio.Future[pb.OperateResponse]] = {}
        self.over = False
        self._tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._write()))

    def send(self, request: pb.OperateRequest) -> asyncio.Future[pb.OperateResponse]:
        """Send a request; the future is that of its answer."""
        waiting: asyncio.Future[pb.OperateResponse] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiting
        self._outbox.put_nowait(request)
        return waiting

    def forget(self, number: int) -> None:
        """Wait for an answer no longer."""
        self._waiting.pop(number, None)

    async def end(self) -> None:
        """Say that no more requests will come, and end both tasks."""
        self._outbox.put_nowait(None)
        await asyncio.wait(self._tasks, timeout=2.0)
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while (request := await self._outbox.get()) is not None:
                await self._call.write(request)
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            # The reader sees the same end, and tells everyone.
            return

    async def _read(self) -> None:
        failure = _streams.lost()
        try:
            async for response in self._call:
                waiting = self._waiting.pop(response.id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(response)
        except grpc.RpcError as broken:
            failure = from_rpc(broken)
        finally:
            self.over = True
            self._outbox.put_nowait(None)
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(_streams.again(failure))
