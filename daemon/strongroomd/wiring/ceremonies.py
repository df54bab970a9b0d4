"""What a ceremony does with a house just founded: a key to prove backups by, the signed transcript."""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from strongroomd.config import Settings
from strongroomd.custody.accounts import root_arn
from strongroomd.custody.clock import Clock
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.keys import Anchor, Material
from strongroomd.domain.policy.defaults import default_policy
from strongroomd.domain.records import (
    CustodyMode,
    HouseRecord,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.statements import HouseSigner
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.wiring import rooms
from strongroomd.wiring.tokens import records_in

PROOF_NOTE: Final = "made by the ceremony to prove backup and recovery; disabled, and never used"
_SPEC: Final = KeySpec.SYMMETRIC_DEFAULT
_BIRTH_SECONDS: Final = 60.0


async def make_proof_key(settings: Settings) -> str:
    """Make a wrapped key that nobody uses, so that a test restore has a key to restore; gives its id."""
    async with _house(settings) as (store, vault):
        ledger = Ledger(store, vault)
        await ledger.start()
        material = await vault.generate(
            _SPEC,
            KeyUsage.ENCRYPT_DECRYPT,
            CustodyMode.WRAPPED,
            exportable=False,
            hsm_id="",
            deadline=time.monotonic() + _BIRTH_SECONDS,
        )
        key, version = _records(settings, material)
        async with ledger.change() as change:
            await change.put(key)
            await change.put(version)
        await vault.write_anchor(Anchor(ledger.sequence, ledger.head, 0, bytes(32)))
        return key.key_id


async def sign_transcript(settings: Settings, transcript: Mapping[str, Any]) -> SignedStatement:
    """Have the new house sign what was done."""
    async with _house(settings) as (_, vault):
        notary = Notary(HouseSigner(vault), rooms.event_source(settings), Clock())
        return await notary.state("ceremony-transcript", transcript)


@asynccontextmanager
async def _house(settings: Settings) -> AsyncIterator[tuple[SqlStore, TokenVault]]:
    store = open_store(rooms.store_settings(settings))
    try:
        house = records_in(MAIN, [stored.record for stored in await store.all(HouseRecord)])
        vault = open_vault(rooms.hsm_settings(settings), rooms.pin_source(settings).read(), house)
        try:
            yield store, vault
        finally:
            vault.close()
    finally:
        await store.close()


def _records(settings: Settings, material: Material) -> tuple[KeyRecord, VersionRecord]:
    now, key_id, account = Clock().wall_ms(), str(uuid.uuid4()), settings.daemon.account
    key = KeyRecord(
        key_id=key_id,
        account=account,
        spec=_SPEC,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        mode=CustodyMode.WRAPPED,
        custody_note="",
        origin=Origin.HSM,
        exportable=False,
        state=KeyState.DISABLED,
        description=PROOF_NOTE,
        created_at=now,
        deletion_at=0,
        current_version=1,
        policy=default_policy(root_arn(account)),
        tags=(),
    )
    version = VersionRecord(
        key_id=key_id,
        version=1,
        state=VersionState.ACTIVE,
        created_at=now,
        kek_id=material.kek_id,
        hsm_id="",
        blob=material.blob,
        length=material.length,
        public_key=b"",
        check_value=material.check_value,
        recovery_blob=material.recovery_blob,
        scheme=material.scheme,
    )
    return key, version
