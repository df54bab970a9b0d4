"""Records of some kinds as a whole, in memory: no call waits for the database.

The ledger's journal tells what changed, `refresh` reads it, so that every worker follows within a second and
the one that took a change at once. What is gone is forgotten before that. A record that cannot be believed is
known to be damaged, which is another thing than gone.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.protection import Record
from strongroomd.ports import JournalEntry, Store, Stored
from strongroomd.telemetry import logs

R = TypeVar("R", bound=Record)
Kind = type[Record]
_log = logs.get("custody")


class Mirror:
    """Follows every record of some kinds.

    Args:
        ledger: verified reads, and word of every change.
        store: read as a whole at the start.
        kinds: which; small sets, since all are held.
        changed: told of each record that is read anew or forgotten, with what is held now (None for nothing).

    Attributes:
        held: records by kind and id.
        damaged: those that cannot be believed.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        kinds: Sequence[Kind],
        changed: Callable[[Kind, str, Record | None], None],
    ) -> None:
        self.held: dict[Kind, dict[str, Any]] = {kind: {} for kind in kinds}
        self.damaged: set[tuple[Kind, str]] = set()
        self._ledger = ledger
        self._store = store
        self._by_name = {kind.KIND: kind for kind in kinds}
        self._tell = changed
        self._unread: dict[tuple[Kind, str], int] = {}
        self._reading = asyncio.Lock()
        self._behind_since = 0.0
        ledger.watch(self._changed)

    def require_fresh(self) -> None:
        """Refuse while what others changed cannot be known, or not be read. Raises STORE_UNAVAILABLE."""
        self._ledger.require_fresh()
        if self._unread and time.monotonic() - self._behind_since > self._ledger.stale_after:
            detail = "what is known to have changed cannot be read for too long"
            raise StrongroomError(Reason.STORE_UNAVAILABLE, retry_after=1.0, detail=detail)

    async def start(self) -> None:
        """Read everything, once the ledger has the whole journal."""
        for kind, held in self.held.items():
            for stored in await self._all(kind):
                await self._keep(stored)
            for record_id in self._ledger.known(kind):
                if record_id not in held:
                    self._unread[kind, record_id] = 0
        await self.refresh()

    async def _all(self, kind: type[R]) -> list[Stored[R]]:
        """Read a whole kind; where one row is damaged none, so that `refresh` reads them one by one."""
        try:
            return await self._store.all(kind)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            return []

    async def _keep(self, stored: Stored[Any]) -> None:
        try:
            record = await self._ledger.verify(stored)
        except StrongroomError as error:
            if error.reason not in {Reason.INTEGRITY_FAILURE, Reason.NOT_FOUND}:
                raise
            return  # damaged: read again, alone, and told of, by `refresh`; or deleted meanwhile
        self._hold(type(record), record.record_id, record)

    def _changed(self, entry: JournalEntry) -> None:
        kind = self._by_name.get(entry.kind)
        if kind is None:
            return
        if not self._unread:
            self._behind_since = time.monotonic()
        self._unread[kind, entry.record_id] = entry.sequence
        if entry.row_version == 0:
            self._hold(kind, entry.record_id, None)

    async def refresh(self) -> None:
        """Read what the journal says has changed; what cannot be read now is tried again."""
        async with self._reading:
            while self._unread:
                (kind, record_id), change = next(iter(self._unread.items()))
                try:
                    await self._read(kind, record_id)
                except BaseException:
                    self._unread[kind, record_id] = self._unread.pop((kind, record_id))  # others first
                    raise
                if self._unread[kind, record_id] == change:  # else it changed again meanwhile
                    del self._unread[kind, record_id]

    async def catch_up(self) -> None:
        """Learn at once what other workers have changed; for what happens seldom and must not be late."""
        await self._ledger.follow()
        await self.refresh()

    async def _read(self, kind: Kind, record_id: str) -> None:
        try:
            record = await self._ledger.read(kind, record_id)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            _log.error("a record is damaged; whom or what it is about is shut out", kind=kind.KIND)
            self._hold(kind, record_id, None)
            self.damaged.add((kind, record_id))
            return
        self._hold(kind, record_id, record)

    def _hold(self, kind: Kind, record_id: str, record: Record | None) -> None:
        self.held[kind].pop(record_id, None)
        self.damaged.discard((kind, record_id))
        if record is not None:
            self.held[kind][record_id] = record
        self._tell(kind, record_id, record)
