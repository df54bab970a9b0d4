"""Use cases of exports: ask for one, and carry it out once it is approved.

An export is carried out once. First everything is checked, then the intent is durable in the audit log, then
the HSM wraps, then the receipt is signed; then one transaction marks the request EXECUTED and keeps the
receipt, and only when that and the audit record of the outcome are durable does the blob leave. A daemon that
dies before the mark has done nothing and may be asked again; one that dies behind it has spent the request,
and the blob is lost with it: nothing leaves twice (ADR 0032).
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from strongroomd.custody import bringing, guarded
from strongroomd.custody.admission import Lane
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.dualcontrol import (
    DualControl,
    Receipt,
    Wanted,
    Wish,
    as_of_requests,
    unknown,
)
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change
from strongroomd.custody.notary import Notary
from strongroomd.custody.passage import Passage
from strongroomd.custody.standings import Standing, approvers_of
from strongroomd.domain import exporting
from strongroomd.domain.actions import Action
from strongroomd.domain.approvalrecords import ApprovalRecord, ApprovalRequestRecord
from strongroomd.domain.approvals import GuardedAction
from strongroomd.domain.audit import Head
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import ExportAlgorithm, ExportLevel, Recipient, WrappingKeyRecord
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.records import KeyRecord
from strongroomd.ports import Vault
from strongroomd.telemetry import failpoints

RECEIPT = "key-export"


class ExportMeter(Protocol):
    """Counts exports, for metrics and alerts."""

    def exported(self, level: ExportLevel) -> None:
        """Count one key that left."""
        ...


@dataclass(frozen=True, slots=True)
class WantedExport:
    """What is to leave, and for whom; one of the last two is set, and the public key is checked.

    Attributes:
        key: any of its names; version: 0 for the current one.
        public_key: DER SubjectPublicKeyInfo of the recipient's RSA key.
        wrapping_key_id: a registered wrapping key.
    """

    key: str
    version: int
    level: ExportLevel
    public_key: bytes = b""
    wrapping_key_id: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """A key on its way out: the wrapped material, and the house's receipt for it.

    Attributes:
        length: true length of a secret in bytes; 0 for a key pair, whose PKCS#8 says it itself.
    """

    record: ApprovalRequestRecord
    version: int
    level: ExportLevel
    algorithm: ExportAlgorithm
    length: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class _Leaving:
    """One version on its way to one recipient."""

    entry: Entry
    bound: BoundVersion
    level: ExportLevel
    algorithm: ExportAlgorithm
    recipient: Recipient
    wrapping_key_id: str

    @property
    def wanted(self) -> Wanted:
        """The same in the words of dual control."""
        return guarded.export(
            self.entry,
            self.bound.version,
            self.level,
            self.algorithm,
            self.recipient.public_key,
            self.wrapping_key_id,
        )


class Exports(UseCases):
    """Ask for exports and carry them out.

    Args:
        gate: the one way in.
        catalog: key versions.
        control: dual control.
        vault: wraps.
        notary: signs receipts.
        meter: counts.
        least: the least strict level that the configuration allows.
    """

    def __init__(
        self,
        gate: Gate,
        catalog: Catalog,
        control: DualControl,
        vault: Vault,
        notary: Notary,
        meter: ExportMeter,
        least: ExportLevel,
    ) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._control = control
        self._mutations = control.mutations
        self._vault = vault
        self._notary = notary
        self._meter = meter
        self._least = least

    @gated(Action.REQUEST_EXPORT)
    async def request(
        self, passage: Passage, wanted: WantedExport, wish: Wish, request_id: str = ""
    ) -> Standing:
        """Ask for an export.

        Raises:
            StrongroomError: NOT_EXPORTABLE; INVALID_FIELD (`level`); NOT_FOUND or UNSUPPORTED_BY_TOKEN
                (`wrapping_key_id`); LIMIT_EXCEEDED.
        """
        bring = partial(bringing.export, wanted.level)
        entry = await passage.claim(wanted.key, Act.USE, bring=bring)
        leaving = await self._leaving(entry, wanted)
        passage.facts |= _facts(leaving)
        draft = await self._control.freeze(passage, leaving.wanted, wish)

        async def work(change: Change) -> ApprovalRequestRecord:
            await self._control.store(change, draft)
            failpoints.reach("export.1")
            return draft

        act = leaving.wanted
        arguments = [act.key_id, act.version, act.parameters, wish.purpose, wish.lifetime]
        made = await self._mutations.once(passage, ApprovalRequestRecord, request_id, arguments, work)
        passage.facts["approval"] = made.approval_id
        failpoints.reach("export.2")
        return await self._control.standings.look_again(made)

    @gated(Action.EXECUTE_EXPORT)
    async def execute(self, passage: Passage, approval_id: str) -> Exported:
        """Carry out an approved export, once; only who asked may.

        Raises:
            StrongroomError: APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED; NOT_EXPORTABLE; the
                refusal of the key's state; INVALID_FIELD (`level`); NOT_FOUND for a wrapping key that is
                gone.
        """
        await self.gate.judge.catch_up()  # what others changed in the last second counts here
        record = await self._control.read(passage, approval_id)
        leaving = await self._claim(passage, record)
        await self._control.examine(passage, record, leaving.wanted)
        failpoints.reach("export.3")
        position = await passage.note()
        failpoints.reach("export.4")
        blob = await self._wrap(passage, leaving)
        failpoints.reach("export.5")

        async def receive(standing: Standing) -> Receipt:
            receipt = await self._receipt(passage, standing, leaving, blob, position)
            failpoints.reach("export.6")
            return receipt

        async def work(change: Change) -> ApprovalRequestRecord:
            await _require_still(change, leaving)
            spent = await self._control.spend(passage, change, approval_id, leaving.wanted, receive)
            failpoints.reach("export.7")
            return spent.record

        done = await self._mutations.once(passage, ApprovalRequestRecord, "", None, work, audited=True)
        failpoints.reach("export.8")
        self._meter.exported(leaving.level)
        passage.facts["blob_sha256"] = hashlib.sha256(blob).hexdigest()
        version, length = leaving.bound.version, leaving.bound.record.length
        return Exported(done, version, leaving.level, leaving.algorithm, length, blob)

    async def _claim(self, passage: Passage, record: ApprovalRequestRecord) -> _Leaving:
        """Claim the key of a request for its execution, and work out anew what is to leave."""
        if record.action is not GuardedAction.EXPORT_KEY or not record.key_id:
            raise unknown()
        level = ExportLevel(record.request.parameter("level"))
        bring = partial(bringing.export, level)
        with as_of_requests():
            entry = await passage.claim_id(record.key_id, Act.USE, bring=bring)
        wrapping_key_id = record.request.parameter("wrapping_key")
        public_key = b"" if wrapping_key_id else base64.b64decode(record.request.parameter("public_key"))
        wanted = WantedExport(record.key_id, record.version, level, public_key, wrapping_key_id)
        leaving = await self._leaving(entry, wanted)
        passage.facts |= _facts(leaving)
        return leaving

    async def _leaving(self, entry: Entry, wanted: WantedExport) -> _Leaving:
        """Work out how a version leaves; everything that does not depend on approvals is refused here."""
        if not entry.key.exportable:
            raise exporting.not_exportable()
        exporting.require_level(wanted.level, self._least)
        recipient = await self._recipient(entry, wanted)
        exporting.require_token(recipient.kind, entry.key.token)
        algorithm = exporting.algorithm_of(wanted.level, recipient.kind, entry.key.spec)
        bound = await self._catalog.version(entry, wanted.version)
        return _Leaving(entry, bound, wanted.level, algorithm, recipient, wanted.wrapping_key_id)

    async def _recipient(self, entry: Entry, wanted: WantedExport) -> Recipient:
        if not wanted.wrapping_key_id:
            return Recipient(wanted.public_key)
        name = exporting.wrapping_key_id(wanted.wrapping_key_id)
        record = await self._mutations.ledger.read(WrappingKeyRecord, name)
        if record is None or record.account != entry.key.account:
            text = "no such wrapping key is registered in the key's account"
            raise StrongroomError(Reason.NOT_FOUND, text, field="wrapping_key_id")
        return Recipient(record.public_key, record.kek_id, record.blob)

    async def _wrap(self, passage: Passage, leaving: _Leaving) -> bytes:
        job = self._vault.export(
            leaving.bound, leaving.recipient, leaving.algorithm, deadline=passage.deadline
        )
        return await passage.work(Lane.RSA, job, leaving.entry.key.token)

    async def _receipt(
        self, passage: Passage, standing: Standing, leaving: _Leaving, blob: bytes, position: Head
    ) -> Receipt:
        """Have the house sign what leaves, and which approvals were counted for it."""
        record = standing.record
        claims = {
            **_facts(leaving),
            "account": record.account,
            "key": leaving.entry.arn,
            "spec": leaving.entry.key.spec.value,
            "length": leaving.bound.record.length,
            "public_key_sha256": record.request.parameter("public_key_sha256"),
            "blob_sha256": hashlib.sha256(blob).hexdigest(),
            "blob_length": len(blob),
            "approval": record.approval_id,
            "request_sha256": record.request.digest,
            "requester": record.requester,
            "purpose": record.purpose,
            "quorum": record.quorum,
            "approved_by": approvers_of(standing),
            "signatures": [_signed(each) for each in standing.counted],
            "executed_by": passage.caller.principal.arn,
            "audit": {"chain": position.origin, "seq": position.count - 1, "hash": position.digest.hex()},
        }
        signed = await self._notary.state(RECEIPT, claims)
        return Receipt(signed.payload, signed.signature.signature, signed.signature.key_id)


async def _require_still(change: Change, leaving: _Leaving) -> None:
    """Refuse, inside the change that spends the request, what has ended since it was claimed.

    Raises:
        StrongroomError: the refusal of the key's state; NOT_FOUND for a wrapping key that is gone.
    """
    key = await change.get(KeyRecord, leaving.entry.key.key_id)
    if key is None or not key.exportable:
        raise exporting.not_exportable()
    require(key.state, Act.USE)
    name = leaving.wrapping_key_id
    if name and await change.get(WrappingKeyRecord, name) is None:
        raise StrongroomError(Reason.NOT_FOUND, field="wrapping_key_id")


def _signed(given: ApprovalRecord) -> dict[str, str]:
    return {
        "approver": given.approver_id,
        "principal": given.principal,
        "signature": base64.b64encode(given.signature).decode(),
    }


def _facts(leaving: _Leaving) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "version": leaving.bound.version,
        "level": leaving.level.value,
        "algorithm": leaving.algorithm.value,
        "recipient_sha256": hashlib.sha256(leaving.recipient.public_key).hexdigest(),
    }
    if leaving.wrapping_key_id:
        facts["wrapping_key"] = leaving.wrapping_key_id
    return facts
