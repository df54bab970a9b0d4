"""Many operations over one stream, pipelined: `Client.stream()`.

Every operation returns a future at once. Up to 64 are under way; the next one waits for room. If the stream
breaks, what was unanswered is sent again on a new one, by the client's retry policy and each operation's
deadline.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from strongroom import _streams
from strongroom._faults import from_rpc
from strongroom._identity import Metadata
from strongroom._operation import Promising
from strongroom._operations import StreamOperations
from strongroom._rpc import Call
from strongroom.errors import DeadlineExceeded, StrongroomError
from strongroom.retry import Attempts
from strongroom.v1 import crypto_pb2 as pb

Answer = TypeVar("Answer")
# A string, for gRPC's classes are generic to the type checker only.
Operate: TypeAlias = "grpc.StreamStreamMultiCallable[pb.OperateRequest, pb.OperateResponse]"


class Stream(StreamOperations, Promising):
    """Pipelined operations; use it as a context manager, which waits for all answers at its end.

    Args:
        operate: the stream's method on the client's channel.
        attempts: makes the attempts of one call.
        metadata: says who calls, when a stream begins.
    """

    def __init__(
        self,
        operate: Operate,
        attempts: Callable[[bool], Attempts],
        metadata: Callable[[], Metadata] = tuple,
    ) -> None:
        self._pipe = _Pipe(operate, metadata)
        self._attempts = attempts
        self._room = threading.BoundedSemaphore(_streams.WINDOW)
        # A thread for each operation under way: they only wait, for an answer or to try again.
        self._threads = ThreadPoolExecutor(_streams.WINDOW, thread_name_prefix="strongroom-stream")

    def run(self, call: Call[Answer]) -> Future[Answer]:
        """Start one call, as soon as there is room for it."""
        self._room.acquire()
        try:
            future = self._threads.submit(self._carry_out, call)
        except RuntimeError:
            self._room.release()
            raise _streams.closed() from None
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Wait for the answers that are still to come, each until its deadline, and end the stream."""
        self._threads.shutdown(wait=True)
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # What has not begun will not be waited for.
            self._threads.shutdown(wait=False, cancel_futures=True)
        self.close()

    def _carry_out(self, call: Call[Answer]) -> Answer:
        attempts = self._attempts(call.repeatable)
        while True:
            try:
                answer = call.read(self._pipe.ask(call, attempts.remaining))
            except StrongroomError as failure:
                time.sleep(attempts.wait_after(failure))
            else:
                attempts.succeeded()
                return answer


class _Pipe:
    """The gRPC stream beneath, opened when it is needed and again when it broke. Safe for threads."""

    def __init__(self, operate: Operate, metadata: Callable[[], Metadata]) -> None:
        self._operate = operate
        self._metadata = metadata
        self._numbers = _streams.Numbers()
        self._lock = threading.Lock()
        self._session: _Session | None = None

    def ask(self, call: Call[Answer], timeout: float | None) -> Message:
        """Send a request and wait for the reply to it."""
        request = self._numbers.wrap(call.request)
        with self._lock:
            if self._session is None or self._session.over:
                self._session = _Session(self._operate, self._metadata())
            session = self._session
            waiting = session.send(request)
        try:
            return _streams.unwrap(request, waiting.result(timeout))
        except FutureTimeoutError:
            session.forget(request.id)
            raise DeadlineExceeded(
                "DEADLINE_EXCEEDED", "the deadline passed before the answer came"
            ) from None

    def close(self) -> None:
        """End the stream."""
        with self._lock:
            if self._session is not None:
                self._session.end()


class _Session:
    """One opened stream, with a thread that reads its answers."""

    def __init__(self, operate: Operate, metadata: Metadata) -> None:
        self._outbox: queue.SimpleQueue[pb.OperateRequest | None] = queue.SimpleQueue()
        self._waiting: dict[int, Future[pb.OperateResponse]] = {}
        self._lock = threading.Lock()
        self.over = False
        self._answers = operate(self._requests(), metadata=metadata, wait_for_ready=True)
        self._reader = threading.Thread(target=self._read, name="strongroom-stream-reader", daemon=True)
        self._reader.start()

    def send(self, request: pb.OperateRequest) -> Future[pb.OperateResponse]:
        """Send a request; the future is that of its answer."""
        waiting: Future[pb.OperateResponse] = Future()
        with self._lock:
            if self.over:
                waiting.set_exception(_streams.lost())
                return waiting
            self._waiting[request.id] = waiting
        self._outbox.put(request)
        return waiting

    def forget(self, number: int) -> None:
        """Wait for an answer no longer."""
        with self._lock:
            self._waiting.pop(number, None)

    def end(self) -> None:
        """Say that no more requests will come, and wait until the daemon has ended the stream too."""
        self._outbox.put(None)
        self._reader.join(timeout=2.0)
        self._answers.cancel()
        self._reader.join(timeout=2.0)

    def _requests(self) -> Iterator[pb.OperateRequest]:
        while (request := self._outbox.get()) is not None:
            yield request

    def _read(self) -> None:
        failure = _streams.lost()
        try:
            for response in self._answers:
                with self._lock:
                    waiting = self._waiting.pop(response.id, None)
                if waiting is not None:
                    waiting.set_result(response)
        except grpc.RpcError as broken:
            failure = from_rpc(broken)
        finally:
            self._fail_all(failure)
            # gRPC's sending thread still waits for the next request.
            self._outbox.put(None)

    def _fail_all(self, failure: StrongroomError) -> None:
        with self._lock:
            self.over = True
            left = list(self._waiting.values())
            self._waiting.clear()
        for waiting in left:
            waiting.set_exception(_streams.again(failure))
