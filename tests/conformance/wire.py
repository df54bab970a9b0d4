"""Bare gRPC: any bytes to any method, and what comes back; all methods read from the descriptors."""

import importlib
import pkgutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.harness import Daemon

import strongroom.v1
from strongroom.v1 import crypto_pb2


def _services() -> Iterator[ServiceDescriptor]:
    """Every service that the package of stubs has: one that is added later is among them by itself."""
    for module in pkgutil.iter_modules(strongroom.v1.__path__, "strongroom.v1."):
        if module.name.endswith("_pb2"):
            yield from importlib.import_module(module.name).DESCRIPTOR.services_by_name.values()


METHODS: dict[str, MethodDescriptor] = {
    method.name: method for service in _services() for method in service.methods
}
"""Every RPC of the API by its name, which is unique."""

FOLLOWING = frozenset(
    name for name, method in METHODS.items() if method.server_streaming and not method.client_streaming
)
"""RPCs whose first answer may never come."""

SECONDS = 20.0
PATIENCE = 20
"""Attempts of a caller who makes more mistakes than refusals are paid for, on a fast machine."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended: `code` is the gRPC status; `reason` and `field` are those of its details."""

    code: grpc.StatusCode
    reason: str = ""
    field: str = ""
    message: str = ""
    reply: Message | None = None
    details: tuple[Message, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.code is grpc.StatusCode.OK


class Wire:
    """One channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.patience = 1
        self.metadata: tuple[tuple[str, str], ...] = ()

    @classmethod
    def connect(cls, daemon: Daemon, name: str | None) -> Self:
        """Connect with the certificate of an identity, or with none."""
        ca = (daemon.folder / "tls" / "ca.pem").read_bytes()
        if name is None:
            return cls.with_credentials(daemon, ca)
        files = daemon.tls(name)
        return cls.with_credentials(daemon, ca, files["cert"].read_bytes(), files["key"].read_bytes())

    @classmethod
    def with_credentials(
        cls, daemon: Daemon, ca: bytes, certificate: bytes | None = None, key: bytes | None = None
    ) -> Self:
        """Connect with PEM bytes."""
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        return cls(grpc.secure_channel(daemon.endpoint, credentials, options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def saying(self, **said: str) -> Self:
        """Make a view whose calls say more of their caller: `session`, `via_service` and the like."""
        view = type(self)(self.channel)
        view.patience = self.patience
        view.metadata = tuple((f"strongroom-{name.replace('_', '-')}", text) for name, text in said.items())
        return view

    def call(self, name: str, request: Message | bytes, seconds: float = SECONDS) -> Outcome:
        """Call a method with a message or any bytes; a streaming one is given one request and read once.

        With patience, a caller who is refused faster than refusals are paid for waits and asks again.
        """
        for _ in range(self.patience):
            outcome = self.once(name, request, seconds)
            if "QUOTA_EXCEEDED" not in (outcome.reason, *_of_items(outcome.reply)):
                break
            time.sleep(0.1)
        return outcome

    def once(self, name: str, request: Message | bytes, seconds: float = SECONDS) -> Outcome:
        """Call a method without patience."""
        method = METHODS[name]
        body = request if isinstance(request, bytes) else request.SerializeToString()
        path = f"/{method.containing_service.full_name}/{method.name}"
        parse = message_factory.GetMessageClass(method.output_type).FromString
        try:
            return Outcome(grpc.StatusCode.OK, reply=self._send(method, path, parse, body, seconds))
        except grpc.RpcError as failure:
            return _failed(failure)

    def reflected(self) -> set[str]:
        """The services that the daemon says it has, or the status of its refusal."""
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        try:
            reply = next(iter(stub.ServerReflectionInfo(iter([ask]), timeout=5.0)))
        except grpc.RpcError as failure:
            return {_failed(failure).code.name}
        return {service.name for service in reply.list_services_response.service}

    def _send(
        self, method: MethodDescriptor, path: str, parse: Any, body: bytes, seconds: float
    ) -> Message | None:
        options: dict[str, Any] = {"timeout": seconds, "metadata": self.metadata}
        if method.client_streaming:
            answers = self.channel.stream_stream(path, bytes, parse)(iter([body]), **options)
            return next(iter(answers), None)
        if method.server_streaming:
            answers = self.channel.unary_stream(path, bytes, parse)(body, **options)
            try:
                return next(iter(answers), None)
            finally:
                answers.cancel()
        reply: Message = self.channel.unary_unary(path, bytes, parse)(body, **options)
        return reply


def _of_items(reply: Message | None) -> list[str]:
    if isinstance(reply, crypto_pb2.OperateResponse):
        return [reply.error.reason]
    return [result.error.reason for result in getattr(reply, "results", ())]


def _failed(failure: grpc.RpcError) -> Outcome:
    call: Any = failure
    details = tuple(_details(dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")))
    info = next((d for d in details if isinstance(d, error_details_pb2.ErrorInfo)), None)
    if info is None:
        return Outcome(call.code(), message=call.details() or "")
    return Outcome(call.code(), info.reason, info.metadata.get("field", ""), call.details(), None, details)


def _details(raw: bytes) -> Iterator[Message]:
    for box in status_pb2.Status.FromString(raw).details:
        made = getattr(error_details_pb2, box.type_url.rpartition(".")[2])()
        box.Unpack(made)
        yield made


def request(name: str, /, **fields: object) -> Message:
    """Make the request of a method, leaving out the fields that it does not have."""
    kind = METHODS[name].input_type
    known = {n: v for n, v in fields.items() if n in kind.fields_by_name}
    made: Message = message_factory.GetMessageClass(kind)(**known)
    return made


def repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list or map."""
    return bool(field.is_repeated)
