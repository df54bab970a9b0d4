"""From which addresses access keys are used: a use from a new one is an event, written with the record of it.

A use from a known address is a look-up in memory. A new one waits, at most a second, for `flush`, which
writes one transaction for each key however many addresses it was used from: whoever has a key and many
addresses cannot make a transaction of each call. What a kill takes away is told at the next use from there.
"""

from typing import Final

from strongroomd.custody.clock import Clock
from strongroomd.custody.directory import Directory
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.domain.accounts import AccessKeyRecord
from strongroomd.domain.addresses import AddressesRecord, network_of, with_new
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Cause
from strongroomd.domain.limits import MAX_ADDRESSES
from strongroomd.ports import JournalEntry
from strongroomd.telemetry import logs

_log = logs.get("custody")
FLUSH_SECONDS: Final = 1.0


class AddressBook:
    """Knows from where each access key was used; this worker's memory holds keys that it saw used.

    Args:
        ledger: the records, and word of what other workers wrote.
        directory: whose key it is.
        clock: when an address was new.
    """

    def __init__(self, ledger: Ledger, directory: Directory, clock: Clock) -> None:
        self._ledger = ledger
        self._directory = directory
        self._clock = clock
        self._known: dict[str, frozenset[str]] = {}
        self._waiting: dict[str, dict[str, None]] = {}
        ledger.watch(self._changed)

    def used(self, key_id: str, address: str) -> None:
        """Note that a key, which is known, was used from an address; what is no address is not noted.

        Of one key at most 32 new addresses wait; a further one is noted at its next use.
        """
        network = network_of(address)
        if not network or network in self._known.get(key_id, ()):
            return
        waiting = self._waiting.setdefault(key_id, {})
        if len(waiting) < MAX_ADDRESSES:
            waiting[network] = None

    async def flush(self) -> None:
        """Write down what is new. What cannot be written now waits for the next time."""
        waiting, self._waiting = self._waiting, {}
        try:
            while waiting:
                key_id = next(iter(waiting))
                await self._guarded(key_id, tuple(waiting[key_id]))
                del waiting[key_id]
        finally:
            for key_id, networks in waiting.items():
                self._waiting[key_id] = networks | self._waiting.get(key_id, {})

    async def _guarded(self, key_id: str, networks: tuple[str, ...]) -> None:
        """Write down what is new of one key; a damaged record keeps no other key waiting."""
        try:
            await self._tell(key_id, networks)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            _log.error("addresses of an access key not verified", key=key_id, detail=error.detail)

    async def _tell(self, key_id: str, networks: tuple[str, ...]) -> None:
        record = await self._ledger.read(AddressesRecord, key_id)
        if not self._is_news(record, networks):
            self._remember(record)
            return
        owner = self._directory.access_key(key_id)
        if owner is None:
            return
        async with self._ledger.change(Cause(owner.arn)) as change:
            record = await self._write(change, owner, networks)
        self._remember(record)

    def _is_news(self, record: AddressesRecord | None, networks: tuple[str, ...]) -> bool:
        before = record.addresses if record else ()
        return with_new(before, networks, self._clock.wall_ms()) != before

    async def _write(
        self, change: Change, owner: AccessKeyRecord, networks: tuple[str, ...]
    ) -> AddressesRecord | None:
        """Add networks to a key's record, unless the key is gone or another worker was first."""
        key_id = owner.access_key_id
        if await change.get(AccessKeyRecord, key_id) is None:
            return None
        before = await change.get(AddressesRecord, key_id)
        if not self._is_news(before, networks):
            return before
        addresses = with_new(before.addresses if before else (), networks, self._clock.wall_ms())
        version = before.row_version + 1 if before else 1
        after = AddressesRecord(key_id, owner.arn, owner.account, addresses, version)
        await change.put(after)
        return after

    def _remember(self, record: AddressesRecord | None) -> None:
        if record is not None:
            self._known[record.access_key_id] = frozenset(network for network, _ in record.addresses)

    def _changed(self, entry: JournalEntry) -> None:
        if entry.kind == AddressesRecord.KIND:
            self._known.pop(entry.record_id, None)


async def delete_key(change: Change, key: AccessKeyRecord) -> None:
    """Remove an access key, and from where it was used."""
    addresses = await change.get(AddressesRecord, key.access_key_id)
    if addresses is not None:
        await change.delete(addresses)
    await change.delete(key)
