"""`Client`, for threads and scripts; `strongroom.aio_client` has the one for asyncio.

Both have every operation of the API with the same arguments and answers, each call carried out under one
deadline that includes all attempts. Share one client among threads (or tasks): it keeps one connection.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from strongroom import _link, _streams, bulk, results
from strongroom._faults import from_rpc
from strongroom._identity import Metadata
from strongroom._operation import Blocking
from strongroom._operations import Operations
from strongroom._rpc import Call, serialise
from strongroom._views import Views
from strongroom.calls import admin, events
from strongroom.calls.batches import WithContext
from strongroom.calls.crypto import Context
from strongroom.errors import StrongroomError
from strongroom.retry import Attempts, RetryPolicy
from strongroom.settings import Settings
from strongroom.stream import Stream
from strongroom.v1 import crypto_pb2

Answer = TypeVar("Answer")
Item = TypeVar("Item")
AnyItem = TypeVar("AnyItem", bound=bytes | WithContext)


class Client(Views, Operations, Blocking):
    """A client that waits for its answers. Safe for threads; use it as a context manager or close it.

    Args:
        settings: where the daemon is and who the caller is.
        retry: when to try again.

    Raises:
        ConfigurationError: a certificate or key file is not usable. Nothing is sent yet.
    """

    def __init__(self, settings: Settings, *, retry: RetryPolicy | None = None) -> None:
        super().__init__(settings, retry=retry)
        self._channel = grpc.secure_channel(
            settings.endpoint, _link.credentials(settings), options=_link.options(settings)
        )
        self._methods: dict[str, Any] = {}

    def run(self, call: Call[Answer]) -> Answer:
        """Carry out one call of `strongroom.calls`.

        Raises:
            StrongroomError: it failed for good.
        """
        return self._carry_out(call, self._metadata())

    def _metadata(self) -> Metadata:
        """Say who calls: the role of the settings, assumed when it is needed, and what this view adds."""
        if self._role is None:
            return self._fixed
        with self._role.lock:
            found = self._role.metadata()
            if found is None:
                found = self._role.keep(self._carry_out(self._role.call(), ()))
        return (*found, *self._fixed)

    def _carry_out(self, call: Call[Answer], metadata: Metadata) -> Answer:
        attempts = self._manner.attempts(call.repeatable)
        while True:
            try:
                answer = call.read(self._send(call, attempts, metadata))
            except StrongroomError as failure:
                time.sleep(attempts.wait_after(failure))
            else:
                attempts.succeeded()
                return answer

    def encrypt_many(
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
        return self._bulk(bulk.encrypting(key, items, context, algorithm, grant_tokens))

    def decrypt_many(
        self,
        items: Sequence[bytes | WithContext],
        *,
        key: str = "",
        context: Context | None = None,
        grant_tokens: Sequence[str] = (),
    ) -> list[results.DecryptResult]:
        """Open any number of symmetric ciphertexts; results as of encrypt_many."""
        return self._bulk(bulk.decrypting(items, key, context, grant_tokens))

    def sign_many(
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
        return self._bulk(bulk.signing(key, messages, algorithm, message_type, key_version, grant_tokens))

    def stream(self) -> Stream:
        """Open a stream for pipelined operations; use it as a context manager."""
        operate: grpc.StreamStreamMultiCallable[crypto_pb2.OperateRequest, crypto_pb2.OperateResponse]
        operate = self._channel.stream_stream(_streams.PATH, serialise, crypto_pb2.OperateResponse.FromString)
        return Stream(operate, self._manner.attempts, self._metadata)

    def tail_audit_records(self, *, key: str = "", principal: str = "") -> Iterator[results.AuditRecord]:
        """Follow the audit log until the daemon ends it: records as they are written. No deadline."""
        return self._follow(admin.tail_audit_records(key=key, principal=principal))

    def watch_events(
        self, *, types: Iterable[str] = (), subjects: Iterable[str] = (), cursor: str = ""
    ) -> Iterator[results.WatchedEvent]:
        """Follow events from now on, or from behind a cursor, until the daemon ends it. No deadline.

        Args:
            types: patterns of types, such as `strongroom.key.*`; none for all.
            subjects: patterns of subjects, such as a key's ARN; none for all.
            cursor: of the last event that was seen, to miss none.
        """
        return self._follow(events.watch_events(types=types, subjects=subjects, cursor=cursor))

    def _follow(self, call: Call[Answer]) -> Iterator[Answer]:
        method = self._channel.unary_stream(call.path, serialise, call.parse)
        answers = method(call.request, metadata=self._metadata())
        try:
            yield from (call.read(reply) for reply in answers)
        except grpc.RpcError as failure:
            raise from_rpc(failure) from None
        finally:
            answers.cancel()

    @staticmethod
    def pages(method: Callable[..., results.Page[Item]], *args: object, **filters: object) -> Iterator[Item]:
        """Go through all pages of a list: `client.pages(client.list_keys, state="ENABLED")`."""
        token = ""
        while True:
            page = method(*args, **filters, page_token=token)
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    def close(self) -> None:
        """Close the connection, for all views of this client. Calls under way fail."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bulk(self, work: bulk.Bulk[AnyItem, Answer]) -> list[Answer | StrongroomError]:
        return bulk.run(work, self.run, self._manner.retry, self._manner.budget)

    def _send(self, call: Call[Answer], attempts: Attempts, metadata: Metadata) -> Message:
        method = self._methods.get(call.path)
        if method is None:
            method = self._channel.unary_unary(call.path, serialise, call.parse)
            self._methods[call.path] = method
        try:
            reply: Message = method(
                call.request,
                timeout=attempts.remaining,
                metadata=metadata,
                wait_for_ready=attempts.wait_for_connection,
            )
        except grpc.RpcError as failure:
            raise from_rpc(failure) from None
        except ValueError:
            # The channel says so when it is closed.
            raise _streams.closed() from None
        return reply
