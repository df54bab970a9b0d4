"""All key stores with their external keys and credentials, in memory, as the journal has them."""

from dataclasses import dataclass, field
from typing import Final

from strongroomd.custody.ledger import Ledger
from strongroomd.custody.mirror import Mirror
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Principal
from strongroomd.domain.protection import Record
from strongroomd.domain.xks import policy
from strongroomd.domain.xks.names import store_arn
from strongroomd.domain.xks.policy import StorePolicy
from strongroomd.domain.xks.records import CredentialRecord, ExternalKeyRecord, StoreRecord
from strongroomd.ports import Charge, Store
from strongroomd.telemetry import logs

_log = logs.get("xks")
_KINDS: Final[tuple[type[Record], ...]] = (StoreRecord, ExternalKeyRecord, CredentialRecord)


@dataclass(frozen=True, slots=True)
class Signer:
    """What a store's requests are signed with.

    Attributes:
        revision: another one for every other secret.
    """

    access_key_id: str
    secret: bytes = field(repr=False)
    revision: int


@dataclass(slots=True, eq=False)
class KeyStore:
    """One key store, ready for use.

    Attributes:
        record: as it was put; the last that could be believed.
        principal: under which it uses keys.
        policy: compiled.
        charges: what every request costs the store itself; nothing where it has no limit.
        keys: external keys by their id.
        credentials: by access key id.
        signers: credentials whose secret was opened.
        tokens: names of the tokens that its keys live in, once somebody asked.
    """

    record: StoreRecord
    principal: Principal
    policy: StorePolicy
    charges: tuple[Charge, ...]
    keys: dict[str, ExternalKeyRecord]
    credentials: dict[str, CredentialRecord]
    signers: dict[str, Signer] = field(default_factory=dict, repr=False)
    tokens: tuple[str, ...] | None = None

    @property
    def store_id(self) -> str:
        """The store's id."""
        return self.record.store_id

    def tokens_used(self) -> tuple[str, ...]:
        """Name the tokens that its keys live in."""
        if self.tokens is None:
            self.tokens = tuple(sorted({key.token for key in self.keys.values()}))
        return self.tokens


class Shelf:
    """Finds key stores.

    Args:
        ledger: verified reads, and word of every change.
        store: read as a whole at the start.
    """

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._stores: dict[str, KeyStore] = {}
        self._by_prefix: dict[str, KeyStore] = {}
        self._keys: dict[str, dict[str, ExternalKeyRecord]] = {}
        self._credentials: dict[str, dict[str, CredentialRecord]] = {}
        self._mirror = Mirror(ledger, store, _KINDS, self._changed)

    async def start(self) -> None:
        """Read everything, once the ledger has the whole journal."""
        await self._mirror.start()

    async def refresh(self) -> None:
        """Read what the journal says has changed."""
        await self._mirror.refresh()

    # --- answers

    def by_prefix(self, prefix: str) -> KeyStore | None:
        """Find the store of a URI path prefix."""
        return self._by_prefix.get(prefix)

    def stores(self) -> tuple[KeyStore, ...]:
        """Give all stores."""
        return tuple(self._stores.values())

    def require_whole(self, store: KeyStore) -> None:
        """Refuse while what others changed is not known, or the store's record cannot be believed.

        Raises:
            StrongroomError: STORE_UNAVAILABLE, INTEGRITY_FAILURE.
        """
        self._mirror.require_fresh()
        self._require_undamaged(StoreRecord, store.store_id)

    def key(self, store: KeyStore, external_key_id: str) -> ExternalKeyRecord:
        """Find an external key. Raises KEY_NOT_FOUND; INTEGRITY_FAILURE for one that cannot be believed."""
        key = store.keys.get(external_key_id)
        if key is None:
            self._require_undamaged(ExternalKeyRecord, f"{store.store_id}/{external_key_id}")
            raise StrongroomError(Reason.KEY_NOT_FOUND, field="externalKeyId")
        return key

    def credential(self, store: KeyStore, access_key_id: str) -> CredentialRecord | None:
        """Find a credential. Raises INTEGRITY_FAILURE for one that cannot be believed."""
        credential = store.credentials.get(access_key_id)
        if credential is None:
            self._require_undamaged(CredentialRecord, f"{store.store_id}/{access_key_id}")
        return credential

    def _require_undamaged(self, kind: type[Record], record_id: str) -> None:
        if (kind, record_id) in self._mirror.damaged:
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="a key store's record is damaged")

    # --- following

    def _changed(self, kind: type[Record], record_id: str, record: Record | None) -> None:
        store_id, _, name = record_id.partition("/")
        match record:
            case StoreRecord():
                self._put(record)
            case ExternalKeyRecord():
                self._keys.setdefault(store_id, {})[name] = record
            case CredentialRecord():
                self._credentials.setdefault(store_id, {})[name] = record
            case _:
                self._drop(kind, store_id, name)
        self._touch(store_id, name)

    def _put(self, record: StoreRecord) -> None:
        before = self._stores.get(record.store_id)
        store = KeyStore(
            record,
            Principal(store_arn(record.account, record.store_id), record.account),
            _compiled(record),
            _charges(record),
            self._keys.setdefault(record.store_id, {}),
            self._credentials.setdefault(record.store_id, {}),
            before.signers if before else {},
        )
        self._stores[record.store_id] = self._by_prefix[record.uri_prefix] = store

    def _drop(self, kind: type[Record], store_id: str, name: str) -> None:
        """Forget a record; a store that is damaged and not gone keeps its place, and refuses."""
        if kind is ExternalKeyRecord:
            self._keys.get(store_id, {}).pop(name, None)
        elif kind is CredentialRecord:
            self._credentials.get(store_id, {}).pop(name, None)
        elif self._ledger.was_removed(StoreRecord, store_id) and store_id in self._stores:
            gone = self._stores.pop(store_id)
            if self._by_prefix.get(gone.record.uri_prefix) is gone:  # else a new store has its prefix by now
                del self._by_prefix[gone.record.uri_prefix]
            for held in (self._keys, self._credentials):
                held.pop(store_id, None)

    def _touch(self, store_id: str, name: str) -> None:
        store = self._stores.get(store_id)
        if store is not None:
            store.signers.pop(name, None)
            store.tokens = None


def _compiled(record: StoreRecord) -> StorePolicy:
    """Compile a store's policy; one that another version of the daemon put must not stop all other stores."""
    try:
        return policy.compiled(record.policy)
    except StrongroomError as error:
        _log.error("a key store's policy cannot be read", key_store=record.store_id, cause=str(error))
        return policy.UNREADABLE


def _charges(record: StoreRecord) -> tuple[Charge, ...]:
    if not record.per_second:
        return ()
    return (Charge(f"XKS/{record.store_id}", 1, record.per_second, record.burst),)
