"""`strongroomd restore --recovery-token`: a set's wrapped keys brought into a fresh token.

The token that made the set is lost, and with it the MACs of every record: what is in the set is believed by
the house's signature over it, which was given only after every record was verified. The fresh token gets
house keys of its own; every record is written anew, from a new journal's first entry on; the material of
each wrapped key comes from its recovery blob (hsm/recovery.py). Resident keys do not come back: they were
in the lost token only.
"""

import asyncio
import base64
import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar

from strongroomd.config import Settings, token_plans
from strongroomd.custody.clock import Clock
from strongroomd.custody.inventory import verify_records
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.offlineapprovals import Wanted
from strongroomd.domain.accounts import AccessKeyRecord
from strongroomd.domain.addresses import AddressesRecord
from strongroomd.domain.approvals import GuardedAction
from strongroomd.domain.backups import damaged
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import WrappingKeyKind, WrappingKeyRecord
from strongroomd.domain.keys import Anchor, BoundVersion
from strongroomd.domain.materials import MaterialRecord
from strongroomd.domain.records import (
    RECORD_KINDS,
    WITH_MATERIAL,
    CustodyMode,
    HouseRecord,
    KeyRecord,
    Record,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.restores import RestorePath, RestoreReport
from strongroomd.domain.statements import spell_time
from strongroomd.domain.tokens import MAIN
from strongroomd.domain.xks.records import CredentialRecord
from strongroomd.hsm import ceremony
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.recovery import head_bytes
from strongroomd.hsm.transport import Landing
from strongroomd.storage.audit_log import FileAuditLog
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.migration import migrate
from strongroomd.storage.placing import Move, Placement, prepared
from strongroomd.storage.snapshot import settle
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.telemetry import failpoints
from strongroomd.wiring import rooms
from strongroomd.wiring.afterrestore import closed
from strongroomd.wiring.approvers import approvers_in, configured_in
from strongroomd.wiring.backing import command_audit
from strongroomd.wiring.publishing import public_keys
from strongroomd.wiring.remembering import Retargeter, remembered
from strongroomd.wiring.restoring import (
    Order,
    ahead,
    check_audit,
    demand_no_remains,
    note_counted,
    staged_hsm,
    take_proofs,
)
from strongroomd.wiring.setfiles import Layout, Opened, directory_of, open_set

R = TypeVar("R", bound=Record)
_FAREWELL: Final = 10.0  # seconds
_BATCH: Final = 200  # records written in one transaction
_SEALED: Final = (AccessKeyRecord, AddressesRecord, CredentialRecord)
"""Kinds whose secrets are sealed under the lost token's MAC key, and what belongs to them."""
_REMADE: Final = frozenset({HouseRecord, *_SEALED})


async def recover(settings: Settings, order: Order, recovery_token: Path) -> RestoreReport:
    """Restore a set onto a fresh token.

    Args:
        settings: the target's; its main token has a user PIN and holds no object; its recovery public
            key is the one that new recovery blobs are made for.
        order: what to restore.
        recovery_token: file that describes the attached recovery token (config/attached.py).

    Raises:
        StrongroomError: as `restore_set`. A fresh SoftHSM token is as it was then; any other must be
        initialised
            anew if house keys were made in it.
    """
    started = time.monotonic()
    layout = Layout(settings)
    opened = open_set(order.folder, rooms.event_source(settings), order.signature_ok)
    placement = _placement(settings, layout, opened)
    demand_no_remains(settings)
    placement.demand_empty()
    layout.begin()
    placement.clean()
    try:
        await asyncio.to_thread(layout.unpack, opened, order.identity, with_tokens=False)
        _prepare_token(settings)
        failpoints.reach("recovery.1")
        report, house = await _bring(layout, opened, order, recovery_token)
        report.seconds = time.monotonic() - started
        failpoints.reach("recovery.2")
    except BaseException:
        placement.clean()
        raise
    finally:
        layout.end()
    placement.commit(report.facts(), public_keys(settings, house))
    return report


def _placement(settings: Settings, layout: Layout, opened: Opened) -> Placement:
    """Settle where the old store and audit log are looked at, and what goes where in the end."""
    layout.store = layout.staging / "old.sqlite"
    old_audit = settings.audit_directory.with_name(f"{settings.audit_directory.name}.of-{opened.claims.name}")
    layout.audit = prepared(old_audit)
    moves = [
        Move(layout.audit, old_audit),
        Move(prepared(settings.audit_directory), settings.audit_directory),
        Move(prepared(settings.store_path), settings.store_path),
    ]
    directory = directory_of(settings, MAIN)
    if directory is not None:
        fresh = Move(directory, directory.with_name(f"{directory.name}.fresh"), aside=True)
        moves = [fresh, Move(prepared(directory), directory), *moves]
    return Placement(settings.daemon.state_dir, moves)


def _prepare_token(settings: Settings) -> None:
    """Copy a fresh SoftHSM token beside its place, so that a restore that fails leaves it fresh."""
    directory = directory_of(settings, MAIN)
    if directory is not None and directory.is_dir():
        shutil.copytree(directory, prepared(directory))


async def _bring(
    layout: Layout, opened: Opened, order: Order, recovery_token: Path
) -> tuple[RestoreReport, list[HouseRecord]]:
    """Found a new house in the fresh token, and bring everything into it."""
    settings = layout.settings
    report = RestoreReport(opened.claims.name, spell_time(opened.statement.time), RestorePath.RECOVERY)
    hsm = staged_hsm(layout, token_plans(settings)[0])
    if not hsm.recovery_public_key:
        raise StrongroomError(
            Reason.CONFIGURATION, "is needed to restore onto another token", field="hsm.recovery_public_key"
        )
    old = await _open_old(layout, opened)
    try:
        old_house = [stored.record for stored in await old.all(HouseRecord)]
        await check_audit(layout, old_house, None, order.held, report)
        report.rolled_back = ahead(None, order.held, opened)
        report.approved_by = await _approved(layout, opened, order, old, hsm.recovery_public_key, report)
        pin = rooms.pin_source(settings).read()
        house = ceremony.initialise(hsm, pin)
        vault = open_vault(hsm, pin, house)
        try:
            new = _open_new(settings)
            try:
                ledger = Ledger(new, vault)
                with (
                    Attached(recovery_token, hsm.recovery_public_key) as attached,
                    vault.landing() as landing,
                ):
                    attached.begin(landing.public_key)
                    await _Mover(old, ledger, vault, report, landing, attached).move(house)
                await vault.write_anchor(Anchor(ledger.sequence, ledger.head, 0, bytes(32)))
                report.tokens["main"] = "fresh: its house keys were made now"
                report.records = await verify_records(ledger, new)
                await take_proofs(report, ledger, new, lambda bound: _home(vault, house, bound))
                report.away = [name for name in report.away if name not in report.lost]
                await note_counted(ledger, report)
                await _write_down(settings, opened, report)
            finally:
                await new.close()
            settle(prepared(settings.store_path))
        finally:
            vault.close()
    finally:
        await old.close()
    return report, house


async def _open_old(layout: Layout, opened: Opened) -> SqlStore:
    """Open the set's store, whose bytes the house signed, and see that its journal ends where that says."""
    url = f"sqlite:///{layout.store}"
    migrate(url)
    store = open_store(StoreSettings(url))
    newest = await store.journal(opened.claims.journal_sequence - 1, 2)
    if [entry.head.hex() for entry in newest] != [opened.claims.journal_head]:
        await store.close()
        raise damaged("its store is not the one that was signed")
    return store


def _open_new(settings: Settings) -> SqlStore:
    url = f"sqlite:///{prepared(settings.store_path)}"
    migrate(url)
    return open_store(StoreSettings(url))


async def _approved(
    layout: Layout, opened: Opened, order: Order, old: SqlStore, recovery_key: bytes, report: RestoreReport
) -> list[str]:
    """Demand approvals for attaching the recovery token, where approvers were enrolled.

    A set that is older than the checkpoint that somebody held always needs them, for just that step back.
    """
    account = layout.settings.daemon.account
    approvers, quorum = await approvers_in(old, account, configured_in(layout.settings))
    enrolled = any(not one.revoked and one.account == account for one in approvers.values())
    if not enrolled and not report.rolled_back:
        report.notes.append("no approver was enrolled, so nobody had to approve: enrol some")
        return []
    parameters = {
        "set": opened.claims.name,
        "payload_sha256": opened.claims.payload_sha256,
        "recovery_key_sha256": hashlib.sha256(recovery_key).hexdigest(),
    }
    if report.rolled_back:
        parameters["newer_sequence"] = str(report.rolled_back)
    wanted = Wanted(GuardedAction.ATTACH_RECOVERY_TOKEN, account, parameters)
    return order.approvals.demand(wanted, approvers, quorum)


def _home(vault: TokenVault, house: Sequence[HouseRecord], bound: BoundVersion) -> TokenVault | None:
    """Give the fresh token for what is its own; further tokens are not opened here."""
    record = bound.record
    ours = {key.hsm_id for key in house}
    return vault if (record.kek_id in ours if record.kek_id else record.token == MAIN) else None


async def _write_down(settings: Settings, opened: Opened, report: RestoreReport) -> None:
    """Begin the new house's audit log with where it came from."""
    claims = opened.claims
    audit = FileAuditLog(command_audit(settings, prepared(settings.audit_directory)))
    try:
        await audit.write(
            {
                "action": "strongroom:RestoreOntoFreshToken",
                "kind": "outcome",
                "outcome": "OK",
                "principal": "operator",
                "uid": os.getuid(),
                "set": claims.name,
                "payload_sha256": claims.payload_sha256,
                "previous_checkpoint": claims.checkpoint_digest,
                "keys": dict(report.keys),
                "approved_by": report.approved_by,
            }
        )
    finally:
        await audit.close()


class Attached:
    """The attached recovery token, served by a process of its own (cli/attached.py); a context manager.

    Args:
        description: file that describes it.
        recovery_key: the public half that recovery blobs were made for (DER SubjectPublicKeyInfo).
    """

    def __init__(self, description: Path, recovery_key: bytes) -> None:
        self._command = [sys.executable, "-P", "-m", "strongroomd.cli.attached", str(description)]
        self._recovery_key = recovery_key
        self._size = head_bytes(recovery_key)
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it log out by itself: a process that is killed while it logs in may take the token with it."""
        try:
            self._process.communicate(timeout=_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def begin(self, transport: bytes) -> None:
        """Tell it the two public keys."""
        self._send(base64.b64encode(self._recovery_key) + b" " + base64.b64encode(transport))

    def retarget(self, blob: bytes) -> bytes:
        """Have a recovery blob's first part wrapped to the transport key; empty if it does not open.

        Raises:
            StrongroomError: HSM_UNAVAILABLE, saying what the recovery token's process said.
        """
        head, tail = blob[: self._size], blob[self._size :]
        self._send(base64.b64encode(head))
        answer = self._stdout.readline()
        if not answer.endswith(b"\n"):
            raise self._failed()
        new = base64.b64decode(answer)
        return new + tail if new else b""

    def _send(self, line: bytes) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise self._failed()
        try:
            stdin.write(line + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None

    @property
    def _stdout(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise self._failed()
        return self._process.stdout

    def _failed(self) -> StrongroomError:
        self._process.kill()
        said = self._process.communicate()[1].decode("ascii", "replace").strip()
        return StrongroomError(
            Reason.HSM_UNAVAILABLE, "the recovery token cannot be used", field="recovery_token", detail=said
        )


def _first(record: R) -> R:
    """Let a record begin again: it is the first of its name in the new journal."""
    return dataclasses.replace(record, row_version=1)  # type: ignore[call-arg]  # every kind has it, the base only says so


def _bound(key: KeyRecord, version: VersionRecord) -> BoundVersion:
    return BoundVersion(key.key_id, key.spec, key.usage, key.mode, key.exportable, version)


class _Mover:
    """Writes every record of the old store into the new one, with the material of wrapped keys remade."""

    def __init__(
        self,
        old: SqlStore,
        ledger: Ledger,
        vault: TokenVault,
        report: RestoreReport,
        landing: Landing,
        attached: Retargeter,
    ) -> None:
        self._old = old
        self._ledger = ledger
        self._vault = vault
        self._report = report
        self._landing = landing
        self._attached = attached
        self._lost_keks: frozenset[str] = frozenset()
        self._now = Clock().wall_ms()

    async def move(self, house: Sequence[HouseRecord]) -> None:
        """Write the new house's records, then all others but those that must be made anew by people."""
        old_house = [stored.record for stored in await self._old.all(HouseRecord)]
        self._lost_keks = frozenset(record.hsm_id for record in old_house if record.token == MAIN)
        await self._write([*house, *(record for record in old_house if record.token != MAIN)])
        for kind in RECORD_KINDS.values():
            if kind not in _REMADE:
                await self._move(kind)
        for kind in _SEALED:
            if left := await self._old.how_many(kind, {}):
                self._report.notes.append(
                    f"{left} {kind.KIND} records were sealed by the lost token: make them anew"
                )
        if shared := await self._old.how_many(WrappingKeyRecord, {"kind": WrappingKeyKind.AES.value}):
            self._report.notes.append(
                f"{shared} AES wrapping keys were the lost token's: remove them, and register others"
            )

    async def _move(self, kind: type[Record]) -> None:
        after = ""
        while page := await self._old.page(kind, after=after, limit=_BATCH, where={}):
            after = page[-1].record.record_id
            left = [closed(stored.record, self._now) for stored in page]
            await self._write([await self._remade(record) for record in left if record is not None])

    async def _write(self, records: Sequence[Record]) -> None:
        async with self._ledger.change() as change:
            for record in records:
                await change.put(_first(record))

    async def _remade(self, record: Record) -> Record:
        if isinstance(record, MaterialRecord):
            return await self._remembered(record)
        if not isinstance(record, VersionRecord) or record.state not in WITH_MATERIAL:
            return record
        key = await self._key_of(record)
        if key.mode is CustodyMode.RESIDENT and record.token == MAIN:
            return dataclasses.replace(record, state=VersionState.MISSING)
        if record.kek_id not in self._lost_keks:
            return record
        return self._landed(_bound(key, record))

    async def _key_of(self, record: VersionRecord | MaterialRecord) -> KeyRecord:
        stored = await self._old.get(KeyRecord, record.key_id)
        if stored is None:
            raise damaged("a key version has no key")
        return stored.record

    async def _remembered(self, record: MaterialRecord) -> MaterialRecord:
        """Have imported material told again; its version was written before, as it is now."""
        version = await self._ledger.read(VersionRecord, record.record_id)
        if version is None:
            raise damaged("imported material has no version")
        bound = _bound(await self._key_of(record), version)
        told = await remembered(record, bound, self._vault, self._landing, self._attached)
        if record.fingerprint and not told.fingerprint:
            self._report.untold.append(record.record_id)
        return told

    def _landed(self, bound: BoundVersion) -> VersionRecord:
        """Bring a wrapped version's material in; one that no recovery blob brings stays as it was."""
        record = bound.record
        blob = self._attached.retarget(record.recovery_blob) if record.recovery_blob else b""
        if not blob:
            self._report.lost.append(record.record_id)
            return record
        try:
            made = self._landing.receive(blob, bound)
        except StrongroomError as error:
            if error.reason is not Reason.KEY_UNAVAILABLE:
                raise  # the token fails; it says nothing of this key
            self._report.lost.append(record.record_id)
            return record
        return dataclasses.replace(
            record,
            kek_id=made.kek_id,
            blob=made.blob,
            check_value=made.check_value,
            recovery_blob=made.recovery_blob,
        )
