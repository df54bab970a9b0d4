"""The end of a key on record: who asked for it, and the certificate that is signed once nothing is left.

The certificate waits until every object of the key was seen to be gone: for a token that is away it waits.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from strongroomd.custody.auditfacts import note_key
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.checkvalues import public_check
from strongroomd.custody.diary import UNCHANGED, Diary
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SigningAlgorithm
from strongroomd.domain.destruction import CERTIFICATE, ENDS, DeletionRecord, certificate_claims
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.names import Realm
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import KeyRecord, VersionRecord, VersionState
from strongroomd.domain.statements import spell_time
from strongroomd.ports import AuditTrail, StatementSignature, Store, Vault
from strongroomd.telemetry import failpoints, logs

_log = logs.get("custody")
_AT_ONCE: Final = 1_000  # certificates of one look; some may fail again and again
_GONE: Final = frozenset({VersionState.DESTROYED, VersionState.FAILED})


async def note_deletion(caller: Caller, now: int, change: Change, key: KeyRecord) -> None:
    """Write down who has a key destroyed."""
    before = await change.get(DeletionRecord, key.key_id)
    record = DeletionRecord(
        key_id=key.key_id,
        account=key.account,
        scheduled_by=caller.principal.arn,
        request_id=caller.request_id,
        scheduled_at=now,
        due_at=key.deletion_at,
        row_version=before.row_version + 1 if before else 1,
    )
    await change.put(record)


async def forget_deletion(change: Change, key: KeyRecord) -> None:
    """Forget a deletion that was called off."""
    before = await change.get(DeletionRecord, key.key_id)
    if before is not None:
        await change.delete(before)


async def note_destruction(change: Change, key: KeyRecord, now: int) -> None:
    """Write down that a key ended; of one that an earlier release scheduled nobody knows who asked for it."""
    before = await change.get(DeletionRecord, key.key_id)
    record = before or DeletionRecord(key.key_id, key.account, "", "", 0, key.deletion_at, row_version=0)
    await change.put(dataclasses.replace(record, destroyed_at=now, row_version=record.row_version + 1))


class Certifier:
    """Signs certificates; a task of the elected worker, safe to repeat and to run twice.

    Args:
        ledger: protected records.
        catalog: names keys.
        store: lists what has no certificate.
        vault: makes check values.
        trail: where the audit log stands.
        notary: signs.
        diary: writes down what is done.
    """

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        store: Store,
        vault: Vault,
        trail: AuditTrail,
        notary: Notary,
        diary: Diary,
    ) -> None:
        self._ledger = ledger
        self._realm = catalog.realm
        self._store = store
        self._vault = vault
        self._trail = trail
        self._notary = notary
        self._diary = diary

    async def certify(self) -> None:
        """Certify what is gone; one key that cannot be certified now keeps no other waiting."""
        for stored in await self._store.uncertified(_AT_ONCE):
            try:
                await self._certify_one(await self._ledger.verify(stored))
            except StrongroomError as error:
                facts = {"key": stored.record.key_id, "reason": error.reason.value, "detail": error.detail}
                _log.warning("destruction not certified yet", **facts)

    async def _certify_one(self, record: DeletionRecord) -> None:
        key = await self._ledger.read(KeyRecord, record.key_id)
        found = [await self._ledger.verify(s) for s in await self._store.versions(record.key_id)]
        if key is None or any(version.state not in _GONE for version in found):
            return
        ended = [version for version in found if version.state is VersionState.DESTROYED]
        async with self._diary.told("strongroom:CertifyDestruction", key.key_id) as told:
            failpoints.reach("delete.4")
            signed = await self._notary.state(CERTIFICATE, await self._claims(key, record, ended))
            failpoints.reach("delete.5")
            if not await self._keep(record, signed):
                told["outcome"] = UNCHANGED

    async def _keep(self, record: DeletionRecord, signed: SignedStatement) -> bool:
        """Store the certificate, unless somebody else did."""
        async with self._ledger.change() as change:
            if await change.get(DeletionRecord, record.key_id) != record:
                return False
            kept = dataclasses.replace(
                record,
                certificate=signed.payload,
                signature=signed.signature.signature,
                signer=signed.signature.key_id,
                row_version=record.row_version + 1,
            )
            await change.put(kept)
        return True

    async def _claims(
        self, key: KeyRecord, record: DeletionRecord, ended: Sequence[VersionRecord]
    ) -> dict[str, Any]:
        newest = await self._trail.newest()
        position: dict[str, Any] = {"journal_sequence": self._ledger.sequence}
        if newest is not None:
            position |= {
                "audit_checkpoint": newest[0].number,
                "audit_checkpoint_sha256": newest[0].digest().hex(),
            }
        versions = [await self._version(key, version) for version in ended]
        return certificate_claims(_key(key, self._realm), _deletion(record), versions, position)

    async def _version(self, key: KeyRecord, version: VersionRecord) -> dict[str, Any]:
        return {
            "version": version.version,
            "created": spell_time(version.created_at),
            "check_value": await public_check(self._vault, version),
            "public_key_sha256": hashlib.sha256(version.public_key).hexdigest() if version.public_key else "",
            "kek": version.kek_id,
            "end": ENDS[key.mode.value],
        }


def _key(key: KeyRecord, realm: Realm) -> dict[str, Any]:
    return {
        "arn": realm.key_arn(key.key_id, key.account),
        "account": key.account,
        "spec": key.spec.value,
        "usage": key.usage.value,
        "custody_mode": key.mode.value,
        "origin": key.origin.value,
        "exportable": key.exportable,
        "created": spell_time(key.created_at),
    }


def _deletion(record: DeletionRecord) -> dict[str, Any]:
    scheduled = record.scheduled_at > 0
    return {
        "scheduled_by": record.scheduled_by if scheduled else None,
        "request_id": record.request_id if scheduled else None,
        "scheduled": spell_time(record.scheduled_at) if scheduled else None,
        "due": spell_time(record.due_at),
        "destroyed": spell_time(record.destroyed_at),
    }


class Certificates(UseCases):
    """Certificates of destruction, for those who administered the key's account.

    Args:
        gate: the one way in.
        catalog: reads names.
        ledger: verified reads.
    """

    def __init__(self, gate: Gate, catalog: Catalog, ledger: Ledger) -> None:
        super().__init__(gate)
        self._realm = catalog.realm
        self._ledger = ledger

    @gated(Action.GET_DESTRUCTION_CERTIFICATE)
    async def certificate(self, passage: Passage, key: str) -> SignedStatement:
        """Give the certificate of a key that was destroyed, named by id or ARN.

        Raises:
            StrongroomError: NOT_FOUND for a key that was not destroyed, never was, or is another account's;
                INVALID_KEY_STATE while a token that is away may still hold an object of it.
        """
        passage.claim_keyless()
        caller = passage.caller.principal
        name = self._realm.parse_key(key, caller.account)
        record = await self._ledger.read(DeletionRecord, name.key_id) if name.key_id else None
        if record is None or not record.destroyed_at or not _may_see(caller, name.account, record):
            raise StrongroomError(
                Reason.NOT_FOUND, "no key of the account was destroyed under this name", field="key"
            )
        note_key(passage.facts, self._realm.key_arn(record.key_id, record.account))
        if not record.signer:
            raise StrongroomError(
                Reason.INVALID_KEY_STATE,
                "the key has ended, but an object of it is not seen to be gone yet",
                retry_after=10.0,
            )
        made = StatementSignature(record.signer, SigningAlgorithm.ECDSA_SHA_256, record.signature)
        return SignedStatement(record.certificate, made)


def _may_see(caller: Principal, named: str, record: DeletionRecord) -> bool:
    """Say whether a name means the record's key, and the caller administers its account or the daemon."""
    return named == record.account and (caller.operator or caller.account == record.account)
