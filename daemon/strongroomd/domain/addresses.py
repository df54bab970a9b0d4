"""From which addresses an access key was used: a record beside the key's own, bounded, oldest forgotten.

Beside, so that a use changes neither the key's etag nor what workers remember of callers. IPv4 addresses
count whole; of IPv6 the first 64 bits, since hosts change the rest by themselves (RFC 8981).
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from strongroomd.domain.limits import MAX_ADDRESSES
from strongroomd.domain.protection import Record

KEPT_MS: Final = 3_600_000
"""No address is forgotten sooner: a key that is used from more than 32 would else be news without end."""


@dataclass(frozen=True, slots=True)
class AddressesRecord(Record):
    """Where an access key was used from.

    Attributes:
        access_key_id: the key; arn: its principal; account: that one's account.
        addresses: (network, when it was new in ms since the Unix epoch, as text), oldest first, at most 32.
    """

    KIND: ClassVar[str] = "access_key_addresses"
    access_key_id: str
    arn: str
    account: str
    addresses: tuple[tuple[str, str], ...]
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The access key id."""
        return self.access_key_id


@lru_cache(maxsize=4_096)
def network_of(address: str) -> str:
    """Give what an address counts as: itself for IPv4, its /64 for IPv6; empty for what is no address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def with_new(
    addresses: tuple[tuple[str, str], ...], networks: Iterable[str], now: int
) -> tuple[tuple[str, str], ...]:
    """Add networks that are not there, in order, as far as there is room or an old one to forget.

    Args:
        addresses: those that are kept.
        networks: those that a key was used from.
        now: milliseconds since the Unix epoch.
    """
    kept = dict(addresses)
    for network in networks:
        if network in kept:
            continue
        if len(kept) >= MAX_ADDRESSES:
            oldest, since = next(iter(kept.items()))
            if now - int(since) < KEPT_MS:
                break
            del kept[oldest]
        kept[network] = str(now)
    return tuple(kept.items())
