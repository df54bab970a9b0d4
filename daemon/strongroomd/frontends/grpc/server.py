"""The gRPC server: mutual TLS, bounds, health, and the services."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

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
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_REQUEST_NATIVE
from strongroomd.frontends.grpc.door import Door, generic_handler

T = TypeVar("T")
SERVICES: Final[dict[str, ServiceDescriptor]] = {
    "keys": keys_pb2.DESCRIPTOR.services_by_name["KeyService"],
    "material": material_pb2.DESCRIPTOR.services_by_name["MaterialService"],
    "crypto": crypto_pb2.DESCRIPTOR.services_by_name["CryptoService"],
    "quota": quota_pb2.DESCRIPTOR.services_by_name["QuotaService"],
    "attestation": attestation_pb2.DESCRIPTOR.services_by_name["AttestationService"],
    "audit": audit_pb2.DESCRIPTOR.services_by_name["AuditService"],
    "grants": grants_pb2.DESCRIPTOR.services_by_name["GrantService"],
    "access": access_pb2.DESCRIPTOR.services_by_name["AccessService"],
    "policies": policies_pb2.DESCRIPTOR.services_by_name["PolicyService"],
    "key_stores": key_stores_pb2.DESCRIPTOR.services_by_name["KeyStoreService"],
    "keks": keks_pb2.DESCRIPTOR.services_by_name["KekService"],
    "approvals": approvals_pb2.DESCRIPTOR.services_by_name["ApprovalService"],
    "export": export_pb2.DESCRIPTOR.services_by_name["ExportService"],
    "replicas": replicas_pb2.DESCRIPTOR.services_by_name["ReplicaService"],
    "events": events_pb2.DESCRIPTOR.services_by_name["EventService"],
}
_HANDOVER_SECONDS: Final = 0.02
_TRANSPORT_SLACK: Final = 2  # times the limit: a little too much gets our own error, far too much gRPC's


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server listens.

    Attributes:
        address: `host:port`; shared with other workers by SO_REUSEPORT.
        max_streams: concurrent calls of one connection.
        handshake_seconds, idle_seconds, max_age_seconds, age_grace_seconds: bounds of a connection's life.
        reflection: whether the services describe themselves to anyone with a certificate.
    """

    address: str
    max_streams: int
    handshake_seconds: int
    idle_seconds: int
    max_age_seconds: int
    age_grace_seconds: int
    reflection: bool


@dataclass(frozen=True, slots=True)
class Certificates:
    """The server's certificate chain, its key and the CAs of clients, all PEM."""

    chain: bytes
    key: bytes
    client_ca: bytes

    def __repr__(self) -> str:
        return "Certificates(...)"

    def check(self) -> None:
        """Refuse what gRPC would take and then silently not serve with.

        Raises:
            StrongroomError: CONFIGURATION naming the setting whose file is no PEM, or no key of the chain's
                first certificate.
        """
        chain = _loaded(x509.load_pem_x509_certificates, self.chain, "grpc.certificate_file")
        _loaded(x509.load_pem_x509_certificates, self.client_ca, "grpc.client_ca_file")
        key = _loaded(lambda pem: load_pem_private_key(pem, None), self.key, "grpc.key_file")
        if key.public_key() != chain[0].public_key():
            message = "must be the private key of the first certificate in grpc.certificate_file"
            raise StrongroomError(Reason.CONFIGURATION, message, field="grpc.key_file")


class Credentials:
    """What gRPC asks for at every handshake: new certificates once, and nothing while there are none.

    gRPC's core makes a new TLS context for whatever it is given, and frees the old one although another
    thread may be about to begin a handshake with it: given the same certificates at every handshake, six
    clients that connected at once killed the process within a second (grpcio 1.85.1,
    ssl_security_connector.cc). It asks under a lock, so the pause before new certificates lets every
    handshake that passed the lock before get on.

    Attributes:
        first: for the server's start.
    """

    def __init__(self, certificates: Certificates) -> None:
        self.first = _configuration(certificates)
        self._next: Any = None

    def replace(self, certificates: Certificates) -> None:
        """Hand these over at the next handshake."""
        self._next = _configuration(certificates)

    def fetch(self) -> Any:  # noqa: ANN401 - grpc has no public name for it
        """Give what is new, or None; on gRPC's threads, one at a time."""
        if self._next is None:
            return None
        fresh, self._next = self._next, None
        time.sleep(_HANDOVER_SECONDS)
        return fresh


class Server:
    """One worker's gRPC server.

    Args:
        settings: how it listens.
        certificates: the first ones; `use` replaces them for new connections.
        door: shared by all handlers.
        servicers: one for each name in `SERVICES`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        certificates: Certificates,
        door: Door,
        servicers: Mapping[str, object],
    ) -> None:
        self._settings = settings
        self._door = door
        self._credentials = Credentials(certificates)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(settings))
        handlers = [generic_handler(SERVICES[name], servicers[name], door) for name in SERVICES]
        self._server.add_generic_rpc_handlers(tuple(handlers))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.reflection:
            names = [service.full_name for service in SERVICES.values()]
            reflection.enable_server_reflection([*names, health.SERVICE_NAME], self._server)

    def use(self, certificates: Certificates) -> None:
        """Serve new connections with these certificates; live ones keep theirs until they age out."""
        self._credentials.replace(certificates)

    async def start(self) -> int:
        """Listen; returns the port. Raises OSError when the address cannot be bound."""
        credentials = grpc.dynamic_ssl_server_credentials(
            self._credentials.first, self._credentials.fetch, require_client_authentication=True
        )
        try:
            port = self._server.add_secure_port(self._settings.address, credentials)
        except RuntimeError as error:
            raise OSError("the gRPC address cannot be bound") from error
        await self._server.start()
        await self.set_serving(serving=True)
        return int(port)

    async def set_serving(self, *, serving: bool) -> None:
        """Say through grpc.health.v1 whether this worker can be used."""
        state = health_pb2.HealthCheckResponse
        status = state.SERVING if serving else state.NOT_SERVING
        for name in ("", *(service.full_name for service in SERVICES.values())):
            await self._health.set(name, status)

    async def drain(self, grace: float) -> None:
        """Take no new calls, give those in flight `grace` seconds, and stop."""
        await self.set_serving(serving=False)
        await self._server.stop(grace)


def _loaded(load: Callable[[bytes], T], pem: bytes, field: str) -> T:
    try:
        return load(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = "must be PEM of the right kind, a key without a passphrase"
        raise StrongroomError(Reason.CONFIGURATION, message, field=field) from None


def _configuration(certificates: Certificates) -> Any:  # noqa: ANN401 - grpc has no public name for it
    pair = (certificates.key, certificates.chain)
    return grpc.ssl_server_certificate_configuration([pair], certificates.client_ca)


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", MAX_REQUEST_NATIVE * _TRANSPORT_SLACK),
        ("grpc.max_metadata_size", 8_192),
        ("grpc.max_concurrent_streams", settings.max_streams),
        ("grpc.server_handshake_timeout_ms", settings.handshake_seconds * 1_000),
        ("grpc.max_connection_idle_ms", settings.idle_seconds * 1_000),
        ("grpc.max_connection_age_ms", settings.max_age_seconds * 1_000),
        ("grpc.max_connection_age_grace_ms", settings.age_grace_seconds * 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.default_compression_algorithm", 0),
    ]
