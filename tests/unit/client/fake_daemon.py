"""A daemon that is none: it answers over real mTLS gRPC from memory, and fails as it is told."""

import datetime as dt
import ipaddress
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf.message import Message

from strongroom import RetryPolicy, Settings
from strongroom.v1 import (
    access_pb2,
    approvals_pb2,
    attestation_pb2,
    audit_pb2,
    crypto_pb2,
    events_pb2,
    export_pb2,
    grants_pb2,
    keks_pb2,
    key_stores_pb2,
    keys_pb2,
    material_pb2,
    policies_pb2,
    quota_pb2,
    replicas_pb2,
)
from strongroomd.domain.errors import Reason
from strongroomd.domain.errors import StrongroomError as DomainError
from strongroomd.frontends.grpc.status import wire_status

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:eu-central-1:111122223333:key/{KEY_ID}"
FILES = (
    *(keys_pb2, crypto_pb2, grants_pb2, quota_pb2, audit_pb2, access_pb2, events_pb2, policies_pb2),
    *(key_stores_pb2, keks_pb2, attestation_pb2, material_pb2, approvals_pb2, export_pb2, replicas_pb2),
)
SECRET_KEY = b"\x07" * 32


def crc(data: bytes) -> int:
    return google_crc32c.value(data)


@dataclass(frozen=True)
class Pems:
    """PEM files of one authority, a server on loopback, and a client."""

    ca: Path
    server: tuple[bytes, bytes]
    cert: Path
    key: Path


def issue(
    name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def pem_of(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def refusal(reason: str, **details: Any) -> DomainError:
    return DomainError(Reason(reason), **details)


@dataclass
class FakeDaemon:
    """What it was asked, and what it shall do next.

    Attributes:
        calls: (method, request) of every call, in order.
        faults: taken one a call: an error to answer with, a gRPC code without details, or None for a good answer.
        answers: method -> function of the request, instead of the answer that it has itself.
        damage: changes an answer before it is sent.
    """

    pems: Pems
    port: int = 0
    calls: list[tuple[str, Message]] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    faults: deque[Any] = field(default_factory=deque)
    item_faults: deque[Any] = field(default_factory=deque)
    answers: dict[str, Callable[[Any], Message]] = field(default_factory=dict)
    damage: Callable[[Message], None] | None = None
    server: grpc.Server | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def settings(self) -> Settings:
        return Settings(self.endpoint, self.pems.ca, self.pems.cert, self.pems.key, timeout=5.0)

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def start(self) -> None:
        certificate, key = self.pems.server
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], self.pems.ca.read_bytes(), require_client_auth=True
        )
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((Handler(self),))
        self.port = self.server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        self.server.start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop(None).wait(5)

    def answer(self, method: str, request: Message, context: grpc.ServicerContext) -> Message:
        with self.lock:
            self.calls.append((method, request))
            self.metadata.append(dict(context.invocation_metadata()))
            fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, DomainError):
            context.abort_with_status(wire_status(fault, "req-1"))
        if isinstance(fault, grpc.StatusCode):
            context.abort(fault, "")
        reply = self.reply(method, request)
        if self.damage is not None:
            damage, self.damage = self.damage, None
            damage(reply)
        return reply

    def reply(self, method: str, request: Message) -> Message:
        found = self.answers.get(method)
        return found(request) if found is not None else reply_of(method, request)

    def operate(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Message]:
        with self.lock:
            self.calls.append(("Operate", crypto_pb2.OperateRequest()))
        for request in requests:
            with self.lock:
                fault = self.item_faults.popleft() if self.item_faults else None
            if isinstance(fault, grpc.StatusCode):
                context.abort(fault, "")
            kind = request.WhichOneof("operation")
            response = crypto_pb2.OperateResponse(id=request.id)
            if isinstance(fault, DomainError):
                response.error.reason = fault.reason.value
                response.error.message = fault.message
                if fault.retry_after is not None:
                    response.error.retry_after.FromTimedelta(dt.timedelta(seconds=fault.retry_after))
            else:
                method = "".join(part.capitalize() for part in kind.split("_"))
                with self.lock:
                    self.calls.append((method, getattr(request, kind)))
                getattr(response, kind).CopyFrom(self.reply(method, getattr(request, kind)))
            yield response


class Handler(grpc.GenericRpcHandler):
    """Serves every method of the API, as its descriptor says."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.methods = {
            f"/{service.full_name}/{method.name}": method
            for file in FILES
            for service in file.DESCRIPTOR.services_by_name.values()
            for method in service.methods
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = self.methods.get(details.method)
        if method is None:
            return None
        request = message_class(method.input_type)
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self.daemon.operate, request.FromString, lambda reply: reply.SerializeToString()
            )

        def unary(message: Message, context: grpc.ServicerContext) -> Message:
            return self.daemon.answer(method.name, message, context)

        def stream(message: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            yield self.daemon.answer(method.name, message, context)
            yield self.daemon.reply(method.name, message)

        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return make(
            stream if method.server_streaming else unary,
            request.FromString,
            lambda reply: reply.SerializeToString(),
        )


def message_class(descriptor: Any) -> Any:
    from google.protobuf import message_factory  # noqa: PLC0415 - used here only

    return message_factory.GetMessageClass(descriptor)


def method_descriptor(name: str) -> Any:
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            if name in service.methods_by_name:
                return service.methods_by_name[name]
    raise KeyError(name)


def slowly(method: str, seconds: float) -> Callable[[Any], Message]:
    """An answer that takes its time."""

    def answer(request: Any) -> Message:
        time.sleep(seconds)
        return reply_of(method, request)

    return answer


PAYLOADS: dict[str, Callable[[Any], bytes]] = {
    "Encrypt": lambda request: b"SR:" + request.plaintext,
    "Decrypt": lambda request: request.ciphertext.removeprefix(b"SR:"),
    "ReEncrypt": lambda request: request.ciphertext + b"'",
    "Sign": lambda request: b"signature of " + request.message,
    "GenerateMac": lambda request: b"mac of " + request.message,
}


def reply_of(method: str, request: Any) -> Message:
    """Fill the reply of a method with something of each field's type, and its checksums."""
    reply = message_class(method_descriptor(method).output_type)()
    if method.startswith("Batch"):
        for item in request.items:
            fill(reply.results.add().success, method.removeprefix("Batch"), item)
    fill(reply, method, request)
    return reply


def fill(reply: Any, method: str, request: Any) -> None:
    names = [each.name for each in reply.DESCRIPTOR.fields]
    for name in names:
        if name + "_crc32c" in names:
            payload = PAYLOADS.get(method, lambda _: SECRET_KEY)(request)
            if method == "GenerateDataKey" and name == "ciphertext":
                payload = b"SR:" + SECRET_KEY
            setattr(reply, name, payload)
            setattr(reply, name + "_crc32c", crc(payload))
        if name.startswith("verified_"):
            field_name = name.removeprefix("verified_")
            sent = request.HasField(field_name)
            matches = getattr(request, field_name) == crc(
                getattr(request, field_name.removesuffix("_crc32c"))
            )
            setattr(reply, name, sent and matches)
        if name in {"key_arn", "destination_key_arn", "source_key_arn"}:
            setattr(reply, name, ARN)
        if name in {"key_version", "destination_key_version", "source_key_version"}:
            setattr(reply, name, getattr(request, "key_version", 0) or 3)
        if name == "metadata":
            reply.metadata.key_id, reply.metadata.arn = KEY_ID, ARN
            reply.metadata.state, reply.metadata.enabled = 2, True
            reply.metadata.created_time.FromSeconds(1_700_000_000)


QUICK = RetryPolicy(base=0.001, throttled_base=0.001)
