"""Address, TLS, certificate and kept connections."""

import ssl
from collections.abc import Mapping
from typing import Any, Final

from strongroom.errors import StrongroomError
from strongroom.xks import address
from strongroom.xks.link import SUITES, Link
from strongroom.xks.selftest.findings import Check, Doubt, Failure, Moot
from strongroom.xks.selftest.probe import Probe

_DAY: Final = 86_400.0  # seconds
_SOON: Final = 10.0  # days; CloudWatch's suggested alarm on XksProxyCertificateDaysToExpire


def _fit(probe: Probe) -> str:
    reasons = address.unfit_for_kms(probe.client.address)
    if reasons:
        raise Doubt("; ".join(reasons))
    return "KMS would take it"


def _credential(probe: Probe) -> str:
    if not probe.client.credential.is_legal:
        raise Failure("KMS takes ids of 20 to 30 A-Z, 2-7 and secrets of 43 to 64 base64 characters")
    return "KMS would take it"


def _connects(probe: Probe) -> str:
    probe.opening = probe.client.link.open()
    return f"TCP in {probe.opening.tcp * 1e3:.1f} ms, TLS in {probe.opening.tls * 1e3:.1f} ms more"


def _suite(probe: Probe) -> str:
    opening = probe.opening
    if opening is None or not opening.version:
        raise Doubt("no TLS: whoever is on the way can read and change everything")
    if opening.suite not in SUITES.get(opening.version, ()):
        raise Doubt(f"{opening.version} {opening.suite}: KMS does not offer it, and would agree on another")
    return f"{opening.version} {opening.suite}"


def _older_suite(probe: Probe) -> str:
    if probe.client.address.scheme != "https":
        raise Moot("no TLS")
    context = probe.client.trust.context(newest=ssl.TLSVersion.TLSv1_2)
    link = Link(probe.client.address, context, probe.client.link.timeout)
    try:
        return link.open().suite
    except StrongroomError:
        if probe.opening is not None and probe.opening.version == "TLSv1.3":
            return "not offered, which is allowed beside TLS 1.3"
        raise Failure("none of the suites that KMS may use") from None
    finally:
        link.close()


def _certificate(probe: Probe) -> str:
    certificate = probe.opening.certificate if probe.opening else {}
    if not certificate:
        raise Moot("no TLS")
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - probe.client.wall()) / _DAY
    detail = f"{_names(certificate)}, {days:.0f} days left"
    if days < _SOON:
        raise Doubt(detail)
    return detail


def _trusted_by_kms(probe: Probe) -> str:
    if probe.client.trust.ca is not None:
        raise Doubt("checked with an authority of your own: KMS trusts public ones only")
    if probe.client.address.scheme != "https":
        raise Moot("no TLS")
    return "by an authority of this system"


def _keeps(probe: Probe) -> str:
    before = probe.client.link.opened
    for _ in range(3):
        probe.client.health()
    if probe.client.link.opened != before:
        raise Doubt("it closes connections after an answer: each call pays for TCP and TLS anew")
    return "kept between calls"


def _names(certificate: Mapping[str, Any]) -> str:
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}]
    return ", ".join(names) or "no names"


OPENING: Final = (
    Check("address", "fit for KMS", _fit),
    Check("address", "credential legal", _credential),
    Check("connection", "opens", _connects, gate=True),
    Check("connection", "TLS suite", _suite),
    Check("connection", "TLS 1.2 suite", _older_suite),
    Check("connection", "certificate", _certificate),
    Check("connection", "authority", _trusted_by_kms),
)
KEEPING: Final = (Check("connection", "keep-alive", _keeps),)
