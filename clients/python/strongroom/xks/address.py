"""Where an XKS proxy is: `https://host[:port]/prefix/kms/xks/v1`."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from strongroom.errors import invalid

API: Final = "/kms/xks/v1"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PATH: Final = re.compile(rf"(?:/[A-Za-z0-9/_-]+)?{API}")
_KMS_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Address:
    """A proxy's place.

    Attributes:
        scheme: "https" or "http".
        host: name or address, without brackets.
        port: TCP port.
        path: prefix and API, such as `/blue/kms/xks/v1`.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header: the port stands in it where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str, *, path: str = "", insecure_http: bool = False) -> Address:
    """Read a proxy's URL.

    Args:
        url: as in the heading.
        path: the path where the URL itself has none, such as that of a credentials file.
        insecure_http: take `http://` as well.

    Raises:
        InvalidRequest: INVALID_FIELD; the message states the rule.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise invalid("url", "must be https://host[:port]/prefix/kms/xks/v1") from None
    _check(parts, insecure_http=insecure_http)
    where = parts.path.rstrip("/") or path
    if not _PATH.fullmatch(where):
        raise invalid("url", "its path must be letters, digits, /, - and _, and end in /kms/xks/v1")
    return Address(parts.scheme, parts.hostname or "", port or _DEFAULT_PORTS[parts.scheme], where)


def unfit_for_kms(address: Address) -> list[str]:
    """Say why AWS KMS would not take this address; empty where it would (CreateCustomKeyStore's patterns)."""
    rules = (
        (address.scheme == "https", "KMS speaks https only"),
        (address.port == _DEFAULT_PORTS["https"], "KMS reaches port 443 only"),
        (_KMS_HOST.fullmatch(address.host), "KMS wants a fully qualified name, no address"),
        (10 <= len(f"https://{address.host}") <= 128, "KMS takes endpoints of 10 to 128 characters"),
        (10 <= len(address.path) <= 128, "KMS takes paths of 10 to 128 characters"),
    )
    return [text for holds, text in rules if not holds]


def _check(parts: SplitResult, *, insecure_http: bool) -> None:
    if parts.scheme == "http" and not insecure_http:
        raise invalid("url", "is not https; --insecure-http allows that")
    extras = parts.query or parts.fragment or parts.username is not None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or extras:
        raise invalid("url", "must be https://host[:port]/prefix/kms/xks/v1")
    if not (parts.hostname.isascii() and parts.hostname.isprintable()) or " " in parts.hostname:
        raise invalid("url", "must name an ASCII host")
