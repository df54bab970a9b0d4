"""TLS as KMS asks for it: 1.2 or later, and its four suites only (specification, "TLS").

Python's ssl module cannot choose TLS 1.3's suites before 3.15, and OpenSSL offers a third one by itself; so
OpenSSL is asked directly, and the result is then held to the table: a context that offers anything else is
never served with.
"""

import _ssl
import ctypes
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from strongroomd.domain.errors import Reason, StrongroomError

SUITES_13: Final = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
SUITES_12: Final = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Which files the door serves with.

    Attributes:
        certificate, key: the chain and its first certificate's key, PEM.
        client_ca: CAs of client certificates, PEM; None where clients need none.
        client_names: common names or DNS names one of which a client's certificate must have; empty for any.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tls:
    """What connections are accepted with.

    Attributes:
        context: for new connections.
        client_names: as in `TlsFiles`.
        expires_at: seconds since the Unix epoch at which the first certificate ends.
    """

    context: ssl.SSLContext
    client_names: frozenset[str]
    expires_at: float

    def admits(self, certificate: Any) -> bool:  # noqa: ANN401 - the ssl module's dict of dicts and tuples
        """Say whether a client whose certificate verified (`SSLSocket.getpeercert`) is one of the named."""
        if self.context.verify_mode is not ssl.CERT_REQUIRED:
            return True
        return certificate is not None and (
            not self.client_names or bool(self.client_names & _names(certificate))
        )


def load(files: TlsFiles) -> Tls:
    """Read the files and make a context of them.

    Raises:
        StrongroomError: CONFIGURATION naming the setting.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    # Tickets make a seventh of a handshake's cost, and the next worker does not know them.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _choose_suites(context)
    try:
        # A passphrase is nowhere to be asked for: without this OpenSSL would ask at the terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
        expires_at = _end_of(files.certificate)
    except (OSError, ValueError):
        message = (
            "certificate and key must be readable PEM that belong together, the key without a passphrase"
        )
        raise StrongroomError(Reason.CONFIGURATION, message, field="xks.certificate_file") from None
    if files.client_ca is not None:
        _require_clients(context, files.client_ca)
    return Tls(context, files.client_names, expires_at)


def _end_of(chain: Path) -> float:
    return x509.load_pem_x509_certificates(chain.read_bytes())[0].not_valid_after_utc.timestamp()


def _require_clients(context: ssl.SSLContext, client_ca: Path) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ValueError):
        raise StrongroomError(
            Reason.CONFIGURATION, "must be readable PEM certificates", field="xks.client_ca_file"
        ) from None


def _choose_suites(context: ssl.SSLContext) -> None:
    context.set_ciphers(":".join(SUITES_12))
    if hasattr(context, "set_ciphersuites"):
        context.set_ciphersuites(":".join(SUITES_13))
    else:
        _set_ciphersuites(context)
    offered = {suite["name"] for suite in context.get_ciphers()}
    if offered != {*SUITES_12, *SUITES_13}:
        raise StrongroomError(
            Reason.CONFIGURATION, "OpenSSL does not offer exactly the suites of AWS KMS", field="xks"
        )


def _set_ciphersuites(context: ssl.SSLContext) -> None:
    """Call SSL_CTX_set_ciphersuites(3) on CPython's context, whose first member is OpenSSL's."""
    library = ctypes.CDLL(_ssl.__file__)  # finds the very libssl that the module is linked with
    choose = library.SSL_CTX_set_ciphersuites
    choose.argtypes, choose.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_int
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    choose(pointer, ":".join(SUITES_13).encode())


def _names(certificate: Any) -> set[str]:  # noqa: ANN401 - see `admits`
    subject = {
        value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"
    }
    return subject | {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
