"""The connection of a client: TLS both ways, keepalive, quick reconnects, no retries by gRPC itself."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from strongroom.errors import misconfigured
from strongroom.settings import Settings

MAX_REQUEST: Final = 262_144  # bytes of one message, as the daemon takes it (protos/README.md)
MAX_ANSWER: Final = 4 << 20  # bytes of an answer; a page of 1,000 keys or records fits, a flood does not
_MAX_PEM: Final = 1 << 20

Options = tuple[tuple[str, str | int], ...]


def credentials(settings: Settings) -> grpc.ChannelCredentials:
    """Read the PEM files of the settings.

    Raises:
        ConfigurationError: a file cannot be read or holds no PEM, or certificate and key do not belong
            together. gRPC would say none of it, and fail to connect until the deadline.
    """
    key, cert = _pem(settings.key, "key", b"PRIVATE KEY"), _pem(settings.cert, "cert", b"CERTIFICATE")
    _check_pair(cert, key)
    return grpc.ssl_channel_credentials(
        root_certificates=_pem(settings.ca, "ca", b"CERTIFICATE"), private_key=key, certificate_chain=cert
    )


def options(settings: Settings) -> Options:
    """Channel options; reconnecting is quick: a sibling of a worker that died answers on the same port."""
    always: Options = (
        ("grpc.primary_user_agent", f"strongroom-python/{client_version()}"),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # The daemon allows a ping every 10 s, and none while no call is under way.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.max_receive_message_length", MAX_ANSWER),
        ("grpc.max_send_message_length", MAX_REQUEST),
        # Mutual TLS is end to end, and a proxy of the environment is meant for the web.
        ("grpc.enable_http_proxy", 0),
        # Clients of one process do not share a connection by accident: each is balanced on its own.
        ("grpc.use_local_subchannel_pool", 1),
    )
    if settings.server_name:
        return (*always, ("grpc.ssl_target_name_override", settings.server_name))
    return always


def client_version() -> str:
    """The version of this package, or 0 where it runs from a bare source tree."""
    try:
        return version("strongroom")
    except PackageNotFoundError:
        return "0"


def _check_pair(cert: bytes, key: bytes) -> None:
    """Check that the first certificate is that of the private key."""
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        raise misconfigured("the private key is encrypted, which is not supported", "key") from None
    except (ValueError, UnsupportedAlgorithm):
        raise misconfigured("the file holds no usable private key", "key") from None
    try:
        public = x509.load_pem_x509_certificate(cert).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise misconfigured("the file holds no usable certificate", "cert") from None
    if _spki(public) != _spki(private.public_key()):
        raise misconfigured("the private key is not that of the certificate", "key")


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(path: Path, name: str, label: bytes) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_PEM)
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "not a valid path"
        raise misconfigured(f"the file cannot be read: {why}", name) from None
    if b"-----BEGIN " not in text or label not in text:
        raise misconfigured(f"the file holds no {label.decode()} in PEM", name)
    return text
