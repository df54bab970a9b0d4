"""External key stores of a core, and what AWS KMS asks of them."""

import dataclasses
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

from tests.faults.core import ACCOUNT, ADMIN, Core

from strongroomd.custody.invocations import Invocations
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.secrets import SecretBox
from strongroomd.custody.xks.credentials import Credentials
from strongroomd.custody.xks.externalkeys import ExternalKeys, KeyForm
from strongroomd.custody.xks.health import Fleet, HealthBoard
from strongroomd.custody.xks.pins import Pins
from strongroomd.custody.xks.proxy import Proxy, XksCall
from strongroomd.custody.xks.sealing import PartsSealer
from strongroomd.custody.xks.shelf import KeyStore, Shelf
from strongroomd.custody.xks.stores import StoreDesk, StoreForm, Stores
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import KeyRecord
from strongroomd.domain.xks.metadata import RequestMetadata
from strongroomd.domain.xks.records import ExternalKeyRecord, StoreRecord
from strongroomd.ports import Vault

ROLE = "arn:aws:iam::444455556666:role/app"
KMS_KEY = "arn:aws:kms:eu-west-1:777788889999:key/0d990263-018e-4e65-a703-eff731de951e"
OTHER_KMS_KEY = KMS_KEY.replace("0d990263", "11111111")
NEIGHBOUR = Principal("arn:aws:iam::999988887777:user/admin", "999988887777", administrator=True)
STRANGER = Principal(f"arn:aws:iam::{ACCOUNT}:user/stranger", ACCOUNT)
PREFIX = "/blue"
REQUEST = RequestMetadata("kms-1", "Encrypt", ROLE, KMS_KEY)


@dataclass
class Shop:
    """One worker's part of key stores."""

    core: Core
    shelf: Shelf
    board: HealthBoard
    proxy: Proxy
    stores: Stores
    credentials: Credentials
    external_keys: ExternalKeys

    def caller(self, principal: Principal = ADMIN) -> Caller:
        return Caller(principal, "req", self.core.clock.monotonic() + 60.0)

    async def store(self, prefix: str = PREFIX, **form: Any) -> StoreRecord:
        return await self.stores.create(self.caller(), "", prefix, StoreForm(**form))

    async def add(
        self, store: StoreRecord, key: KeyRecord, name: str = "key", **form: Any
    ) -> ExternalKeyRecord:
        added = await self.external_keys.add(self.caller(), store.store_id, name, key.key_id, KeyForm(**form))
        return added.record

    async def open(self, **form: Any) -> StoreRecord:
        """Make a store with one key, `key`."""
        store = await self.store()
        await self.add(store, await self.core.create(), **form)
        return store

    def shelved(self, prefix: str = PREFIX) -> KeyStore:
        found = self.shelf.by_prefix(prefix)
        assert found is not None
        return found

    # --- as the door does

    def kms(self, prefix: str = PREFIX) -> Caller:
        """The store, as the door makes a caller of it."""
        principal, deadline = self.shelved(prefix).principal, self.core.clock.monotonic() + 60.0
        identity = "xks-credential:" + "A" * 24
        return Caller(principal, "xks", deadline, source="192.0.2.1", door="xks", identity=identity)

    def call(self, name: str = "key", prefix: str = PREFIX, **said: str) -> XksCall:
        metadata = dataclasses.replace(REQUEST, **said)
        return XksCall(self.shelved(prefix), name, metadata, "us-east-1")

    async def encrypt(self, plaintext: bytes = b"plaintext", aad: bytes | None = b"aad", **call: str) -> Any:
        integrity = bool(call.pop("integrity", ""))
        made = self.call(**call)
        caller = self.kms(call.get("prefix", PREFIX))
        return await self.proxy.encrypt(caller, made, plaintext, aad, integrity=integrity)

    async def decrypt(self, parts: Any, aad: bytes | None = b"aad", **call: str) -> bytes:
        made = self.call(**{"kms_operation": "Decrypt", **call})
        return await self.proxy.decrypt(self.kms(call.get("prefix", PREFIX)), made, parts, aad)

    async def metadata(self, **call: str) -> Any:
        return await self.proxy.metadata(self.kms(call.get("prefix", PREFIX)), self.call(**call))

    def written(self) -> list[dict[str, Any]]:
        """What the audit log has of the store's own calls, in order."""
        return self.core.audited(self.shelved().principal.arn)


class Lookout:
    """A vault that also says how its tokens are: what the board asks is not these tests' subject."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def describe(self, token: str) -> str:
        return f"model of {token}"

    async def exercise(self, token: str) -> float:
        return 0.001


def make_shop(core: Core, ledger: Ledger | None = None, vault: Vault | None = None) -> Shop:
    """Build the use cases on a core; with a ledger of its own, as another worker has them."""
    ledger, vault = ledger or core.ledger, vault or core.vault
    mutations = Mutations(ledger, core.store, vault, core.clock)
    shelf, box = Shelf(ledger, core.store), SecretBox(vault)
    lookout = cast("Vault", Lookout(vault))
    board = HealthBoard(lookout, core.clock, Fleet(1, "node", "strongroomd test"))
    desk, pins = StoreDesk(mutations, shelf), Pins(mutations, shelf)
    sealer = PartsSealer(vault, core.catalog, Invocations(ledger))
    return Shop(
        core,
        shelf,
        board,
        Proxy(core.gate, shelf, box, core.catalog, sealer, pins, board),
        Stores(core.gate, desk, vault),
        Credentials(core.gate, desk, vault, box),
        ExternalKeys(core.gate, desk),
    )


async def refusal(work: Awaitable[Any]) -> StrongroomError:
    """Give the error that some work ends with."""
    try:
        await work
    except StrongroomError as error:
        return error
    raise AssertionError("nothing was refused")


async def reason(work: Awaitable[Any]) -> str:
    """Say why some work was refused; OK if it was not."""
    try:
        await work
    except StrongroomError as error:
        return error.reason.value
    return "OK"
