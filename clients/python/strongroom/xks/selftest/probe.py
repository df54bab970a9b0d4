"""How the selftest asks: good calls by the client, and calls that a proxy must refuse."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from strongroom.xks import sigv4, wire
from strongroom.xks.client import ProxyClient
from strongroom.xks.credential import Credential
from strongroom.xks.link import Link, Opening, Reply

AAD = b"strongroom xks selftest, additional authenticated data"
PLAINTEXT = b"strongroom xks selftest, a plaintext of sixty-four bytes or so.."


@dataclass
class Probe:
    """A proxy under examination.

    Attributes:
        client: that speaks to it.
        key: the external key to use.
        rounds: of the timings.
        opening: how the connection came about.
    """

    client: ProxyClient
    key: str
    rounds: int
    opening: Opening | None = field(default=None)

    @cached_property
    def sealed(self) -> wire.Sealed:
        """A genuine ciphertext of PLAINTEXT under AAD."""
        return self.client.encrypt(self.key, PLAINTEXT, aad=AAD, cdiv=False)

    def path(self, call: str, key: str = "") -> str:
        """Give the path of a key's call."""
        return f"/keys/{key or self.key}/{call}"

    def origin(self, operation: str = "Encrypt", **more: str) -> wire.Json:
        """Give a requestMetadata with further fields."""
        return {**self.client.origin.metadata(operation), **more}

    def encryption(self, **changed: object) -> wire.Json:
        """Give a good body of Encrypt but for what is changed; None takes a field out."""
        body = wire.encryption(self.origin(), PLAINTEXT, AAD, cdiv=False)
        return _changed(body, changed)

    def decryption(self, **changed: object) -> wire.Json:
        """Give a good body of Decrypt, likewise."""
        return _changed(wire.decryption(self.origin("Decrypt"), self.sealed, AAD), changed)

    def post(
        self,
        path: str,
        body: wire.Json | bytes,
        *,
        base: str = "",
        method: str = "POST",
        credential: Credential | None = None,
        shift: float = 0.0,
    ) -> Reply:
        """Send a signed request, and give the answer as it comes.

        Args:
            path: below `/kms/xks/v1`.
            body: JSON, or bytes as they are.
            base: another prefix and API than the proxy's.
            method: of HTTP.
            credential: another one.
            shift: seconds by which our clock is wrong.
        """
        request = self.request(path, body, base=base, method=method)
        moment = self.moment(shift)
        signer = credential or self.client.credential
        return self.client.send(request, sigv4.headers(request, signer, self.client.region, moment))

    def request(
        self, path: str, body: wire.Json | bytes, *, base: str = "", method: str = "POST"
    ) -> sigv4.Request:
        """Make a request that is not signed yet."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        address = self.client.address
        return sigv4.Request(method, address.authority, (base or address.path) + path, data)

    def moment(self, shift: float = 0.0) -> datetime:
        """Tell the time, wrongly by `shift` seconds."""
        return datetime.fromtimestamp(self.client.wall() + shift, UTC)

    def fresh_link(self) -> Link:
        """Make a further connection, to be closed by the caller."""
        context = self.client.trust.context() if self.client.address.scheme == "https" else None
        return Link(self.client.address, context, self.client.link.timeout)


def _changed(body: wire.Json, changed: dict[str, object]) -> wire.Json:
    return {name: value for name, value in {**body, **changed}.items() if value is not None}
