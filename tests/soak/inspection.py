"""Looks at a stopped daemon's folder from inside: after upkeep, store and token must agree to the last object.

Run as `python -m tests.soak.inspection CONFIG`, since a process can hold one SoftHSM configuration only.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

from strongroomd.config import Settings, load
from strongroomd.custody.births import INTENT_GRACE_MS
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.upkeep import Upkeep
from strongroomd.domain.housekeys import checkpoint_key
from strongroomd.domain.records import HouseRecord, KeyRecord, VersionRecord, VersionState
from strongroomd.frontends.ops.signatures import checkpoint_verifier
from strongroomd.hsm.opening import open_vault
from strongroomd.storage.audit_log import FileAuditLog
from strongroomd.storage.audit_reader import verify
from strongroomd.storage.audit_trail import FileAuditTrail
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.wiring import rooms


class LaterClock(Clock):
    """A clock that runs ahead by the grace of half-made keys and a second."""

    def wall_ms(self) -> int:
        """Give a moment at which nothing half made is young any more."""
        return super().wall_ms() + INTENT_GRACE_MS + 1_000


class CountingMeter:
    """Counts what upkeep finds."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def reconciled(self, kind: str) -> None:
        """Count one difference."""
        self.found[kind] += 1

    def checkpointed(self, time_ms: int) -> None:
        """Nothing to count."""

    def chain_ok(self, *, ok: bool) -> None:
        """Nothing to count."""


async def inspect(settings: Settings) -> dict[str, int]:
    """Settle what the last kill left half done, then compare everything."""
    store = open_store(rooms.store_settings(settings))
    house = [stored.record for stored in await store.all(HouseRecord)]
    vault = open_vault(rooms.hsm_settings(settings), rooms.pin_source(settings).read(), house)
    ledger = Ledger(store, vault)
    await ledger.start()
    meter = CountingMeter()
    audit = FileAuditLog(rooms.audit_settings(settings, 99))
    trail = FileAuditTrail(settings.audit_directory, time.time)
    catalog = Catalog(ledger, vault, rooms.realm(settings))
    key = checkpoint_key(house)
    upkeep = Upkeep(ledger, catalog, store, vault, audit, trail, LaterClock(), meter, "inspection", key)
    await upkeep.settle()
    await upkeep.reconcile()
    figures = await _compared(ledger, store)
    objects = {found.hsm_id: found.count for found in await vault.list_resident()}
    versions = [await ledger.verify(stored) for stored in await store.resident()]
    alive = {version.hsm_id: 1 for version in versions if version.state is VersionState.ACTIVE}
    if objects != alive:
        raise SystemExit(f"{len(alive)} resident versions are active, the token has {len(objects)} objects")
    unsettled = [version.state for version in versions if version.state in _PASSING]
    if unsettled:
        raise SystemExit(f"upkeep left {unsettled}")
    await audit.close()
    vault.close()
    await store.close()
    problems = verify(
        settings.audit_directory, checkpoint_verifier(settings.checkpoint_public_key.read_bytes())
    )
    if not problems.ok:
        raise SystemExit(f"the audit log: {problems.problems[:5]}")
    found = {f"upkeep {kind}": count for kind, count in meter.found.items()}
    return figures | found | {"token objects": len(objects), "audit records": problems.records}


_PASSING = (VersionState.INTENT, VersionState.DESTROYING, VersionState.MISSING)


async def _compared(ledger: Ledger, store: SqlStore) -> dict[str, int]:
    """Every record that the journal knows is there and verifies; every key with a current version has it."""
    keys = ledger.known(KeyRecord)
    for key_id in keys:
        key = await ledger.read(KeyRecord, key_id)
        if key is None or key.state.value == "Creating":
            raise SystemExit(f"key {key_id} is half there")
        current = await ledger.read(VersionRecord, f"{key_id}/{key.current_version}")
        if key.state.value == "Enabled" and (current is None or current.state is not VersionState.ACTIVE):
            raise SystemExit(f"key {key_id} has no active current version")
    versions = ledger.known(VersionRecord)
    for record_id in versions:
        await ledger.read(VersionRecord, record_id)
    return {"keys": len(keys), "versions": len(versions), "journal": ledger.sequence}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(inspect(load(Path(sys.argv[1]))))) + "\n")
