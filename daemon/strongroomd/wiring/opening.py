"""Opening a worker's rim, in the order of trust.

The token proves itself, the token's MACs prove the store, the anchor proves that neither store nor audit log
is an older copy; then come further tokens, which the main one vouches for.
"""

import time
from dataclasses import dataclass
from functools import partial

from strongroomd.config import Settings, WorkerPlace
from strongroomd.custody import contextnotes, pages
from strongroomd.custody.history import verify_history
from strongroomd.custody.housekeys import house_records
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.housekeys import checkpoint_key
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.statements import HouseSigner
from strongroomd.hsm.vaults import Vaults
from strongroomd.storage.audit_log import FileAuditLog
from strongroomd.storage.audit_trail import FileAuditTrail
from strongroomd.storage.migration import require_current
from strongroomd.storage.quota_table import SharedQuotaTable
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.telemetry import logs
from strongroomd.telemetry.metrics import Metrics
from strongroomd.wiring import rooms
from strongroomd.wiring.eventing import scribe
from strongroomd.wiring.ground import Rim
from strongroomd.wiring.meters import HsmMetrics, LedgerMetrics, MeteredAuditLog
from strongroomd.wiring.tokens import house_names, join_tokens, records_in

STALE_SECONDS = 10.0  # after this long without news of the store nothing is decided from memory
_log = logs.get("wiring")


@dataclass(frozen=True, slots=True)
class OpenRim:
    """What was opened and proved, to be closed in the end.

    Attributes:
        found: hears of records that do not verify.
        metered: the audit log as the core writes to it.
    """

    store: SqlStore
    vault: TokenVault | Vaults
    ledger: Ledger
    found: LedgerMetrics
    audit: FileAuditLog
    metered: MeteredAuditLog
    trail: FileAuditTrail
    table: SharedQuotaTable
    checkpoint_key: bytes

    async def offered(self) -> Rim:
        """Give what the core gets of it."""
        context_key, page_key = [
            await self.vault.row_mac(label) for label in (contextnotes.LABEL, pages.LABEL)
        ]
        return Rim(
            self.store,
            self.vault,
            self.metered,
            self.trail,
            self.table,
            self.checkpoint_key,
            self.store.outbox,
            HouseSigner(self.vault),
            context_key,
            page_key,
        )

    async def close(self) -> None:
        """Close what is left once the audit log is closed."""
        self.vault.close()
        self.table.close()
        await self.store.close()


async def open_rim(
    settings: Settings, place: WorkerPlace, metrics: Metrics, observers: dict[str, HsmMetrics]
) -> OpenRim:
    """Open and verify everything that the core stands on; `observers` hear of the configured tokens.

    Raises:
        StrongroomError: CONFIGURATION or INTEGRITY_FAILURE if no worker may serve, others to be replaced.
    """
    require_current(rooms.store_url(settings))
    store = open_store(rooms.store_settings(settings))
    house = records_in(MAIN, [stored.record for stored in await store.all(HouseRecord)])
    pin = rooms.pin_source(settings, place.pin_fd).read()
    main = open_vault(rooms.hsm_settings(settings, wary=place.wary), pin, house, observers[MAIN])
    found = LedgerMetrics(metrics)
    ledger = Ledger(store, main, found, scribe(settings, main, metrics))
    await _prove_store(ledger, house)
    audit, trail = _open_audit(settings, place), FileAuditTrail(settings.audit_directory, time.time)
    await verify_history(await main.read_anchor(), trail, main.checkpoint_keys)
    vault = await join_tokens(settings, place, main, house, store, ledger, observers)
    main.housekeeping.source = partial(house_records, ledger, store)
    table = SharedQuotaTable(settings.daemon.run_dir / "quota.table")
    metered = MeteredAuditLog(audit, metrics)
    return OpenRim(store, vault, ledger, found, audit, metered, trail, table, checkpoint_key(house))


async def _prove_store(ledger: Ledger, house: list[HouseRecord]) -> None:
    """Verify the journal, and each house record of the main token."""
    await ledger.start()
    ledger.bound_staleness(STALE_SECONDS)
    for name in house_names(house, ledger):
        await ledger.read(HouseRecord, name)


def _open_audit(settings: Settings, place: WorkerPlace) -> FileAuditLog:
    audit = FileAuditLog(rooms.audit_settings(settings, place.index))
    for problem in audit.unclosed:
        _log.error("a dead worker's audit chain cannot be closed", detail=problem.detail)
    return audit
