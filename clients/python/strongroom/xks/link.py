"""One kept HTTP/1.1 connection to a proxy, with TLS as AWS KMS does it."""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from strongroom.errors import StrongroomError, error, misconfigured
from strongroom.xks.address import Address

SUITES: Final = {
    "TLSv1.3": ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"),
    "TLSv1.2": ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
}
"""The suites of which a proxy must have one (XKS API, transport), by protocol version."""
MAX_ANSWER: Final = 1 << 20  # bytes
_CLOSED: Final = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


@dataclass(frozen=True, slots=True)
class Trust:
    """PEM files of a TLS client.

    Attributes:
        ca: authorities to trust; None for those of the system, which are about those that KMS trusts.
        cert: the client's certificate chain, where the proxy asks for one.
        key: its private key.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Make a context that offers what KMS offers, as far as Python lets us: TLS 1.3 has its own list.

        Raises:
            ConfigurationError: a file is not usable.
        """
        try:
            made = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except (OSError, ValueError):
            raise misconfigured("is no PEM file of authorities", "ca") from None
        try:
            if self.cert is not None:
                made.load_cert_chain(self.cert, self.key)
        except (OSError, ValueError):
            raise misconfigured("is no PEM file of a certificate with its key", "client_cert") from None
        made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1_2, newest
        made.set_ciphers(":".join(SUITES["TLSv1.2"]))
        made.set_alpn_protocols(["http/1.1"])
        return made


@dataclass(frozen=True, slots=True)
class Opening:
    """How a connection came about.

    Attributes:
        tcp: seconds until TCP stood.
        tls: seconds more until TLS stood; 0 without.
        version: such as "TLSv1.3"; empty without TLS.
        suite: of the connection.
        certificate: the proxy's, as `SSLSocket.getpeercert` gives it.
    """

    tcp: float
    tls: float
    version: str
    suite: str
    certificate: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came; `seconds` from before the request was sent until it was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Link:
    """A connection that is opened when it is first needed, and again when the proxy has closed it.

    Not for several threads at once.
    """

    def __init__(self, address: Address, context: ssl.SSLContext | None, timeout: float) -> None:
        self.opened = 0
        self._address = address
        self._context = context
        self.timeout = timeout
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout)

    def open(self) -> Opening:
        """Connect anew.

        Raises:
            Unavailable: CONNECTION_FAILED; the message says how far it got.
        """
        self.close()
        started = time.perf_counter()
        try:
            raw = socket.create_connection((self._address.host, self._address.port), self.timeout)
        except OSError as problem:
            raise lost("no TCP connection", problem) from None
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected = time.perf_counter()
        secured = self._secure(raw)
        self.opened += 1
        self._connection.sock = secured
        done = time.perf_counter()
        return _opening(secured, connected - started, done - connected)

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a request and read its answer. A kept connection that the proxy closed meanwhile is renewed.

        Raises:
            Unavailable: CONNECTION_FAILED.
        """
        request = (method, path, headers, body)
        if self._connection.sock is not None:
            with contextlib.suppress(*_CLOSED):
                return self._exchange(*request)
        self.open()
        try:
            return self._exchange(*request)
        except _CLOSED as problem:
            raise lost("the proxy closed the connection", problem) from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _secure(self, raw: socket.socket) -> socket.socket:
        if self._context is None:
            return raw
        try:
            return self._context.wrap_socket(raw, server_hostname=self._address.host)
        except (OSError, ValueError) as problem:
            raw.close()
            raise lost("no TLS", problem) from None

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        started = time.perf_counter()
        try:
            # A proxy that refuses a body may answer before it has read it, and close.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request(method, path, body, dict(headers))
            response = self._connection.getresponse()
            data = response.read(MAX_ANSWER)
        except _CLOSED:
            self.close()
            raise
        except (http.client.HTTPException, OSError) as problem:
            self.close()
            raise lost("no HTTP answer", problem) from None
        if not response.isclosed():
            self.close()  # more came than an answer may hold
        names = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, names, data, time.perf_counter() - started)


def lost(what: str, problem: BaseException) -> StrongroomError:
    """Make the error of a connection that failed."""
    reason = getattr(problem, "verify_message", "") or getattr(problem, "reason", "")
    why = reason or getattr(problem, "strerror", None) or type(problem).__name__
    return error("CONNECTION_FAILED", f"{what}: {why}")


def _opening(made: socket.socket, tcp: float, tls: float) -> Opening:
    if not isinstance(made, ssl.SSLSocket):
        return Opening(tcp, 0.0, "", "", {})
    cipher = made.cipher()
    return Opening(tcp, tls, made.version() or "", cipher[0] if cipher else "", made.getpeercert() or {})
