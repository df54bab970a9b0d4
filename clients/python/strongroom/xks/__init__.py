"""The caller's side of an XKS proxy (AWS KMS external key store proxy API, version 1).

    from strongroom.xks import Credential, ProxyClient

    with ProxyClient("https://xks.example.org/blue/kms/xks/v1", Credential(access_key_id, secret)) as proxy:
        sealed = proxy.encrypt("payroll", b"4000 EUR", aad=b"employee=17")
        opened = proxy.decrypt("payroll", sealed, aad=b"employee=17")

In production AWS KMS is the caller; this client is for tests, drills and monitoring. It speaks to any
conforming proxy. `strongroom.xks.selftest` examines one; `strongroom xks selftest URL` is its command line.
"""

from strongroom.xks.address import Address as Address
from strongroom.xks.client import ProxyClient as ProxyClient
from strongroom.xks.credential import Credential as Credential
from strongroom.xks.link import Trust as Trust
from strongroom.xks.wire import Health as Health
from strongroom.xks.wire import KeyMetadata as KeyMetadata
from strongroom.xks.wire import Manager as Manager
from strongroom.xks.wire import Origin as Origin
from strongroom.xks.wire import Sealed as Sealed
