"""Which addresses a sink may be at: the public internet's, and what the configuration allows beside it.

A sink's URL is the operator's, but what its name resolves to is decided elsewhere: a name server must not be
able to point the daemon at itself, at the machine's metadata service or into a private network. The address
that was checked is the one that is connected to.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from strongroomd.domain.delivery import Blame, Undelivered

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER_PUBLIC: Final[tuple[Network, ...]] = (
    ipaddress.IPv6Network("fec0::/10"),  # site-local: deprecated, so that the library takes it for global
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments: some of it is global, none of it a sink's
)
_MOST: Final = 32  # addresses of a name that are looked at


def plain(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Say whether an address may be connected to.

    Args:
        address: where a name leads.
        networks: ranges that the configuration allows although they are not public.
    """
    meant = plain(address)
    if _within(meant, networks):
        return True
    if _within(meant, _NEVER_PUBLIC):
        return False
    return meant.is_global and not meant.is_multicast and not meant.is_reserved and not meant.is_unspecified


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


async def resolve(host: str, port: int, networks: Sequence[Network]) -> list[str]:
    """Give the addresses of a host, all of them allowed.

    Raises:
        Undelivered: the name does not resolve, or to an address that is not allowed.
    """
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Undelivered(Blame.SINK, "the name does not resolve") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found[:_MOST]]
    if not addresses:
        raise Undelivered(Blame.SINK, "the name does not resolve")
    if not all(is_allowed(address, networks) for address in addresses):
        raise Undelivered(Blame.SINK, "the name resolves to an address that is not allowed")
    return [str(address) for address in addresses]
