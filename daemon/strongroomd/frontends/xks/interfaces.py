"""What the door needs of the core, and tells its meter."""

from dataclasses import dataclass
from typing import Protocol

from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.xks.layout import SealedParts
from strongroomd.domain.xks.metadata import RequestMetadata
from strongroomd.frontends.sigv4 import Signer


class Store(Protocol):
    """A key store, as far as the door looks at it."""

    @property
    def store_id(self) -> str:
        """`xks-` and 16 hexadecimal digits."""
        ...

    @property
    def principal(self) -> Principal:
        """As whom the store uses keys."""
        ...


@dataclass(frozen=True, slots=True)
class XksCall:
    """What every call has besides its caller.

    Attributes:
        store: whose URI prefix it came by.
        external_key_id: of the path; empty for health.
        metadata: what KMS says of the call behind it.
        region: that the request was signed for.
    """

    store: Store
    external_key_id: str
    metadata: RequestMetadata
    region: str


class KeyMetadata(Protocol):
    """What GetKeyMetadata tells."""

    @property
    def spec(self) -> str:
        """E.g. `AES_256`."""
        ...

    @property
    def usages(self) -> tuple[str, ...]:
        """E.g. `ENCRYPT` and `DECRYPT`."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether the key may be used now."""
        ...


class HsmHealth(Protocol):
    """One HSM's health."""

    @property
    def id(self) -> str:
        """Unique among the fleet."""
        ...

    @property
    def model(self) -> str:
        """Product and version."""
        ...

    @property
    def status(self) -> str:
        """`ACTIVE`, `DEGRADED` or `UNAVAILABLE`."""
        ...


class Health(Protocol):
    """What GetHealthStatus tells."""

    @property
    def fleet_size(self) -> int:
        """How many proxies serve."""
        ...

    @property
    def vendor(self) -> str:
        """Of the proxy."""
        ...

    @property
    def model(self) -> str:
        """The proxy's product and version."""
        ...

    @property
    def ekm_vendor(self) -> str:
        """Of the key manager behind it."""
        ...

    @property
    def fleet(self) -> tuple[HsmHealth, ...]:
        """One to ten HSMs."""
        ...


class Proxy(Protocol):
    """The use cases of the door. All that are awaited raise StrongroomError."""

    def store(self, prefix: str) -> Store | None:
        """Find a store by its URI prefix."""
        ...

    async def secrets(self, store: Store, access_key_id: str) -> Signer | None:
        """Give one of a store's credentials."""
        ...

    def used(self, store: Store, access_key_id: str, address: str) -> None:
        """Hear that a credential signed a request from an address."""
        ...

    async def health(self, caller: Caller, call: XksCall) -> Health:
        """Say how the fleet is."""
        ...

    async def metadata(self, caller: Caller, call: XksCall) -> KeyMetadata:
        """Describe an external key."""
        ...

    async def encrypt(
        self, caller: Caller, call: XksCall, plaintext: bytes, aad: bytes | None, *, integrity: bool
    ) -> SealedParts:
        """Encrypt, with an integrity value if it is asked for; `aad` is None where the field is absent."""
        ...

    async def decrypt(self, caller: Caller, call: XksCall, parts: SealedParts, aad: bytes | None) -> bytes:
        """Decrypt."""
        ...


class Meter(Protocol):
    """Hears how calls end."""

    def finished(self, operation: str, kms_operation: str, error: str, seconds: float) -> None:
        """Count a call.

        Args:
            operation: the API's name for it, e.g. `GetHealthStatus`; `Unknown` for a path that is none.
            kms_operation: as the request says, any text; empty where it was not read.
            error: the errorName; empty for success.
            seconds: from its first byte to its answer.
        """
        ...

    def dropped(self, cause: str) -> None:
        """Count a connection that was ended for a cause of a closed list (`server.CAUSES`)."""
        ...
