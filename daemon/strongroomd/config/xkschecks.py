"""Rules between the settings of [xks], and between them and other doors'."""

import ipaddress
from collections.abc import Iterator, Mapping

from strongroomd.config.mistakes import Mistake
from strongroomd.config.sections import GrpcSection, OpsSection, Section, XksSection


def xks_conflicts(xks: XksSection, sections: Mapping[str, Section]) -> Iterator[Mistake]:
    """Find settings that are each valid but not together."""
    if xks.address is None:
        if xks.model_fields_set:
            yield Mistake("[xks] address", "is required where [xks] has other settings")
        return
    yield from _plain_conflicts(xks) if xks.plain_http else _tls_conflicts(xks)
    for name in ("grpc", "ops"):
        match sections.get(name):
            case GrpcSection() | OpsSection() as other if other.address == xks.address and xks.address.port:
                yield Mistake("[xks] address", f"must differ from [{name}] address")


def _tls_conflicts(xks: XksSection) -> Iterator[Mistake]:
    for name in ("certificate_file", "key_file"):
        if getattr(xks, name) is None:
            yield Mistake(f"[xks] {name}", "is required, unless plain_http is true")
    if xks.client_names and xks.client_ca_file is None:
        yield Mistake("[xks] client_names", "needs client_ca_file")


def _plain_conflicts(xks: XksSection) -> Iterator[Mistake]:
    """Without TLS whoever is on the way reads what is decrypted: only where nobody is."""
    for name in ("certificate_file", "key_file", "client_ca_file", "client_names"):
        if getattr(xks, name):
            yield Mistake(f"[xks] {name}", "has no meaning where plain_http is true")
    address = ipaddress.ip_address(xks.address.host) if xks.address else None
    if address is not None and (not address.is_private or address.is_unspecified):
        yield Mistake("[xks] plain_http", "is for loopback and private addresses only")
