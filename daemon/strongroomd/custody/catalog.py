"""Keys in memory: what a call needs to know of a key, verified once, kept until the journal differs."""

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from strongroomd.custody.ledger import Ledger
from strongroomd.domain import policy
from strongroomd.domain.errors import Reason, StrongroomError, denied
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.limits import MAX_ALIASES_PER_KEY
from strongroomd.domain.names import KeyName, Realm
from strongroomd.domain.policy import Resource
from strongroomd.domain.policy.evaluation import Authority
from strongroomd.domain.records import AliasRecord, KeyRecord, VersionRecord, VersionState
from strongroomd.ports import JournalEntry, Vault

V = TypeVar("V")
_ASKS_FOR_ALIASES = "kms:resourcealiases"
_MOST_ENTRIES = 50_000
_MOST_ALIASES = 100_000


@dataclass(slots=True)
class Entry:
    """One key, ready for use.

    Attributes:
        key: its verified record.
        arn: its ARN.
        authority: decides about it.
        versions: the versions that were asked for so far, verified.
        aliases: names of its aliases once a policy asked for them, else None.
    """

    key: KeyRecord
    arn: str
    authority: Authority
    versions: dict[int, BoundVersion] = field(default_factory=dict)
    aliases: tuple[str, ...] | None = None


class Catalog:
    """Read-through memory of keys and aliases; the ledger's journal keeps it fresh.

    Args:
        ledger: verified reads, and word of every change.
        vault: told to forget keys that changed state.
        realm: region and default account, for names.
    """

    def __init__(self, ledger: Ledger, vault: Vault, realm: Realm) -> None:
        self.realm = realm
        self._ledger = ledger
        self._vault = vault
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._aliases: OrderedDict[str, str] = OrderedDict()
        self._named: set[str] = set()
        self._generation = 0
        self._parse = lru_cache(maxsize=16_384)(realm.parse_key)
        ledger.watch(self._changed)

    def _changed(self, change: JournalEntry) -> None:
        self._generation += 1
        if change.kind in (KeyRecord.KIND, VersionRecord.KIND):
            self._entries.pop(change.record_id.partition("/")[0], None)
        if change.kind == KeyRecord.KIND:
            self._vault.forget(change.record_id)  # it may be disabled or destroyed now
        elif change.kind == AliasRecord.KIND:
            self._aliases.pop(change.record_id, None)
            for key_id in self._named:  # an alias moved, and its entry does not say from where
                self._entries.pop(key_id, None)
            self._named.clear()

    async def find(self, account: str, text: str, field_name: str = "key") -> Entry:
        """Find a key by any of its names.

        Args:
            account: whose keys are meant where the name does not say.
            text: the name.
            field_name: the request field, for errors.

        Raises:
            StrongroomError: INVALID_FIELD for what is no name; ACCESS_DENIED for what names nothing.
        """
        name = self._parse(text, account, field_name)
        self._ledger.require_fresh()
        entry = self._entries.get(name.key_id) if name.key_id else None
        if entry is None:
            entry = await self.entry(name.key_id or await self.alias_target(name))
        if name.account != entry.key.account:
            raise denied("the name means another account's key")
        return entry

    async def entry(self, key_id: str) -> Entry:
        """Find a key by its id alone. Raises ACCESS_DENIED for what names nothing."""
        self._ledger.require_fresh()
        entry = self._entries.get(key_id)
        if entry is None:
            entry = await self._load(key_id)
        return entry

    async def _load(self, key_id: str) -> Entry:
        generation = self._generation
        key = await self._ledger.read(KeyRecord, key_id)
        if key is None:
            raise denied("there is no such key")
        arn = self.realm.key_arn(key_id, key.account)
        entry = Entry(key, arn, Authority(policy.compiled(key.policy), Resource(arn, key.account)))
        if _ASKS_FOR_ALIASES in key.policy.lower():
            entry.aliases = await self._names_of(key_id)
        if generation == self._generation:
            _remember(self._entries, key_id, entry, _MOST_ENTRIES)
            if entry.aliases is not None:
                self._named.add(key_id)
        return entry

    async def learn_aliases(self, entry: Entry) -> None:
        """See to it that a key's aliases are known, for a policy of the caller's that asks for them."""
        if entry.aliases is None:
            self._named.add(entry.key.key_id)  # before the look: a change meanwhile drops the entry
            entry.aliases = await self._names_of(entry.key.key_id)

    async def _names_of(self, key_id: str) -> tuple[str, ...]:
        found, _ = await self._ledger.page(
            AliasRecord, {"key_id": key_id}, after="", limit=MAX_ALIASES_PER_KEY
        )
        return tuple(alias.name for alias in found)

    async def alias_target(self, name: KeyName) -> str:
        """Give the key id behind an alias. Raises ACCESS_DENIED when there is none."""
        record_id = f"{name.account}/{name.alias}"
        key_id = self._aliases.get(record_id)
        if key_id is None:
            key_id = await self._load_alias(record_id)
        return key_id

    async def _load_alias(self, record_id: str) -> str:
        generation = self._generation
        alias = await self._ledger.read(AliasRecord, record_id)
        if alias is None:
            raise denied("there is no such alias")
        if generation == self._generation:
            _remember(self._aliases, record_id, alias.key_id, _MOST_ALIASES)
        return alias.key_id

    async def version(self, entry: Entry, number: int = 0, field_name: str = "key_version") -> BoundVersion:
        """Give one version of a key, 0 meaning the current one.

        Raises:
            StrongroomError: INVALID_FIELD for a version that never was; KEY_UNAVAILABLE when its material is.
        """
        bound = entry.versions.get(number or entry.key.current_version)
        if bound is None:
            bound = await self._load_version(entry, number or entry.key.current_version, field_name)
        return bound

    async def _load_version(self, entry: Entry, number: int, field_name: str) -> BoundVersion:
        record = await self._ledger.read(VersionRecord, f"{entry.key.key_id}/{number}")
        if record is None or record.state in _NEVER_WAS:
            raise StrongroomError(Reason.INVALID_FIELD, "the key has no such version", field=field_name)
        if record.state is not VersionState.ACTIVE:
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail=f"version is {record.state}")
        key = entry.key
        bound = BoundVersion(key.key_id, key.spec, key.usage, key.mode, key.exportable, record)
        entry.versions[number] = bound
        return bound


_NEVER_WAS = frozenset({VersionState.INTENT, VersionState.FAILED, VersionState.PENDING_ROTATION})


def _remember(memory: OrderedDict[str, V], key: str, value: V, most: int) -> None:
    memory[key] = value
    if len(memory) > most:
        memory.popitem(last=False)
