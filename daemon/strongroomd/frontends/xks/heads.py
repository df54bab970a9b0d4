"""Which heads of requests can be read in one way only; all others end their connection.

llhttp is strict about lines, lengths and codings. What it leaves open is closed here: between this door and
its callers there may be a load balancer that reads the same bytes in another way.
"""

from collections.abc import Iterable
from typing import Final

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_CODED_VERSION: Final = "1.1"  # before, nobody knew of codings (RFC 9112, section 6.1)


def is_plain(target: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether a head has one reading.

    Args:
        target: as sent; only the origin form without a fragment is good (RFC 9112, section 3.2).
        version: of HTTP.
        headers: lower-case names and values. There must be one Host, and no coding but `chunked`.
    """
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version != _CODED_VERSION):
            return False
    return hosts == 1 and version in _VERSIONS and target[:1] == b"/" and b"#" not in target
