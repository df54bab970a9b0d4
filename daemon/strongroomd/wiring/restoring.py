"""`strongroomd restore`: a set is verified, proved in the token, and put in place at once or not at all.

Everything is done on copies beside their places, the token's too, where the set brings it. Nothing that lives
is ever overwritten. A token that is there is used as it is, and remembers how new the state must be: an older
set is refused unless enrolled approvers have signed for it.
"""

import asyncio
import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from strongroomd.config import Settings, TokenPlan, token_plans
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.history import signer_of, verify_history
from strongroomd.custody.inventory import Prover, all_records, prove_keys, verify_records
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.offlineapprovals import Approvals, Wanted
from strongroomd.custody.upkeep import Upkeep
from strongroomd.domain import journal
from strongroomd.domain.approvals import GuardedAction
from strongroomd.domain.audit import Checkpoint
from strongroomd.domain.backups import BackupClaims, damaged
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import checkpoint_key, checkpoint_keys
from strongroomd.domain.keys import Anchor, BoundVersion
from strongroomd.domain.records import HouseRecord, InvocationsRecord
from strongroomd.domain.restores import RestorePath, RestoreReport
from strongroomd.domain.statements import spell_time
from strongroomd.domain.tokens import MAIN, spelled
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.settings import HsmSettings
from strongroomd.storage.audit_log import FileAuditLog
from strongroomd.storage.audit_reader import SignatureCheck
from strongroomd.storage.audit_reader import verify as verify_audit
from strongroomd.storage.audit_trail import FileAuditTrail
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.migration import migrate
from strongroomd.storage.placing import Move, Placement, prepared
from strongroomd.storage.snapshot import BESIDE, settle
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.telemetry import failpoints
from strongroomd.wiring import rooms
from strongroomd.wiring.afterrestore import close_rights
from strongroomd.wiring.approvers import approvers_of, configured_in
from strongroomd.wiring.backing import command_audit
from strongroomd.wiring.publishing import public_keys
from strongroomd.wiring.setfiles import Layout, Opened, directory_of, open_set
from strongroomd.wiring.tokens import records_in

_UNKNOWN: Final = Anchor(0, journal.GENESIS, 0, bytes(32))


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants restored.

    Attributes:
        folder: the set.
        signature_ok: tells whether a signature (second) over bytes (first) is the house's, by a public
            key that the operator brought.
        identity: file with the recipients' private key.
        held: a checkpoint that was kept elsewhere, its signature verified: a set that does not reach it is
            older than something that was.
        approvals: what approvers signed, for what needs that.
    """

    folder: Path
    signature_ok: SignatureCheck
    identity: Path
    held: Checkpoint | None = None
    approvals: Approvals = field(default_factory=Approvals)


async def restore_set(settings: Settings, order: Order) -> RestoreReport:
    """Restore a set with its own token: the copy in the set, or the one that is there.

    Args:
        settings: the target's: where there is neither store nor audit log. No daemon may run on it.
        order: what to restore.

    Raises:
        StrongroomError: CONFIGURATION for a target that is in use or a token that is another's;
            INTEGRITY_FAILURE for a set that is not whole; APPROVAL_REQUIRED for one that is older than it
            must be. Nothing is in place then.
    """
    started = time.monotonic()
    layout = Layout(settings)
    opened = open_set(order.folder, rooms.event_source(settings), order.signature_ok)
    moves = [Move(layout.audit, settings.audit_directory), Move(layout.store, settings.store_path)]
    demand_no_remains(settings)
    Placement(settings.daemon.state_dir, moves).demand_empty()
    layout.begin()
    placement = Placement(settings.daemon.state_dir, [*_token_moves(settings), *moves])
    placement.clean()
    failpoints.reach("restore.1")
    try:
        await asyncio.to_thread(layout.unpack, opened, order.identity, with_tokens=True)
        copies = [Move(prepared(directory), directory) for directory in layout.copies.values()]
        placement = Placement(settings.daemon.state_dir, [*copies, *moves])
        placement.demand_empty()
        failpoints.reach("restore.2")
        report, house = await _prove(layout, opened, order)
        report.seconds = time.monotonic() - started
    except BaseException:
        placement.clean()
        raise
    finally:
        layout.end()
    placement.commit(report.facts(), public_keys(settings, house))
    return report


def demand_no_remains(settings: Settings) -> None:
    """Refuse what SQLite left of another store of this name: it would apply it to the restored one."""
    for suffix in BESIDE:
        path = settings.store_path.with_name(settings.store_path.name + suffix)
        if path.exists():
            raise StrongroomError(
                Reason.CONFIGURATION,
                "a restore never overwrites what is there: move it away, or restore to an empty place",
                field="restore",
                detail=f"{path} is there",
            )


def _token_moves(settings: Settings) -> list[Move]:
    """Name every token directory's prepared copy, for what an earlier restore may have left."""
    found = {directory_of(settings, plan.name) for plan in token_plans(settings)}
    return [Move(prepared(directory), directory) for directory in found if directory is not None]


async def _prove(layout: Layout, opened: Opened, order: Order) -> tuple[RestoreReport, list[HouseRecord]]:
    """Verify everything that was unpacked, and every key in its token."""
    claims = opened.claims
    report = RestoreReport(claims.name, spell_time(opened.statement.time))
    if not layout.copies:
        report.path = RestorePath.TOKEN_IN_PLACE
    url = f"sqlite:///{layout.store}"
    migrate(url)
    store = open_store(StoreSettings(url))
    try:
        house = [stored.record for stored in await store.all(HouseRecord)]
        tokens = open_tokens(layout, house, report)
        try:
            main = tokens[MAIN]
            anchor = await main.read_anchor()
            newer = ahead(anchor, order.held, opened)
            ledger = Ledger(store, main)
            await ledger.start_from(_UNKNOWN if newer else anchor)
            if (ledger.sequence, ledger.head.hex()) != (claims.journal_sequence, claims.journal_head):
                raise damaged("its store is not the one that was signed")
            report.records = await verify_records(ledger, store)
            await check_audit(layout, house, None if newer else anchor, order.held, report)
            if newer:
                wanted = _older(layout, opened, main, newer)
                report.approved_by = order.approvals.demand(
                    wanted,
                    *await approvers_of(ledger, wanted.account, configured_in(layout.settings)),
                )
                report.rolled_back = newer
            await take_proofs(report, ledger, store, _finder(tokens, house))
            await note_counted(ledger, report)
            await note_closed(ledger, report)
            await _settle(layout, ledger, store, main, house, report)
            if newer:  # last: until everything else is done the token remembers
                await main.reset_anchor(_anchor_of(claims))
        finally:
            for vault in tokens.values():
                vault.close()
    finally:
        await store.close()
    settle(layout.store)
    return report, house


def open_tokens(layout: Layout, house: Sequence[HouseRecord], report: RestoreReport) -> dict[str, TokenVault]:
    """Open the main token, and every further one that answers.

    Raises:
        StrongroomError: what opening the main token raises: it is not there, its PIN is another, or the store
            is not its own.
    """
    opened: dict[str, TokenVault] = {}
    for plan in token_plans(layout.settings):
        try:
            pin = rooms.pin_source(layout.settings, None, plan).read()
            opened[plan.name] = open_vault(staged_hsm(layout, plan), pin, records_in(plan.name, house))
        except StrongroomError as error:
            if plan.name == MAIN:
                for vault in opened.values():
                    vault.close()
                raise
            report.tokens[spelled(plan.name)] = f"not opened: {error.detail or error.message}"
        else:
            copied = directory_of(layout.settings, plan.name) in layout.copies.values()
            report.tokens[spelled(plan.name)] = "the set's copy" if copied else "the one that is there"
    return opened


def staged_hsm(layout: Layout, plan: TokenPlan) -> HsmSettings:
    """Say how to open a token: where its directory is prepared, or as it is there."""
    hsm = rooms.hsm_settings(layout.settings, plan)
    directory = directory_of(layout.settings, plan.name)
    if directory is None or hsm.softhsm_conf is None or not prepared(directory).is_dir():
        return hsm
    state = layout.staging / "hsm"
    conf = layout.staging / f"softhsm-{spelled(plan.name)}.conf"
    lines = hsm.softhsm_conf.read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0].strip() != "directories.tokendir"]
    conf.write_text("\n".join([f"directories.tokendir = {prepared(directory)}", *kept]) + "\n")
    return dataclasses.replace(hsm, softhsm_conf=conf, state=state)


def ahead(anchor: Anchor | None, held: Checkpoint | None, opened: Opened) -> int:
    """Say which newer state of the journal the token or a held checkpoint knows of; 0 for none."""
    claims = opened.claims
    newer = 0
    if anchor is not None and (
        anchor.sequence > claims.journal_sequence or anchor.checkpoint > claims.checkpoint
    ):
        newer = max(anchor.sequence, 1)
    if held is not None and held.number > claims.checkpoint:
        newer = max(newer, held.journal_sequence, 1)
    return newer


def _anchor_of(claims: BackupClaims) -> Anchor:
    """Give what a token must remember of a set's state."""
    head, digest = bytes.fromhex(claims.journal_head), bytes.fromhex(claims.checkpoint_digest)
    return Anchor(claims.journal_sequence, head, claims.checkpoint, digest)


async def check_audit(
    layout: Layout,
    house: Sequence[HouseRecord],
    anchor: Anchor | None,
    held: Checkpoint | None,
    report: RestoreReport,
) -> None:
    """Verify the restored audit log by itself, against the token, and against what somebody kept."""
    keys = checkpoint_keys(records_in(MAIN, house))
    trail = FileAuditTrail(layout.audit, time.time)
    await verify_history(anchor, trail, keys)
    newest = await trail.newest()
    reached = held if held is not None and newest is not None and newest[0].number >= held.number else None
    found = await asyncio.to_thread(
        verify_audit, layout.audit, _check_by(keys[:1]), reached, lambda key: _check_by(keys, only=key)
    )
    if not found.ok:
        raise damaged(f"its audit log is not whole: {found.problems[0].where}: {found.problems[0].text}")
    report.audit_records, report.checkpoints = found.records, found.checkpoints


def _check_by(keys: Sequence[bytes], only: bytes | None = None) -> SignatureCheck:
    """Check signatures by checkpoint keys of the house (DER), or by one alone if it is among them."""
    believed = [key for key in keys if only is None or key == only]
    return lambda message, signature: signer_of(believed, message, signature) is not None


def _finder(
    tokens: Mapping[str, TokenVault], house: Sequence[HouseRecord]
) -> Callable[[BoundVersion], Prover | None]:
    """Find the open token that a version lives in: with its KEK, or by its name."""
    holders = {record.hsm_id: record.token for record in house}

    def find(bound: BoundVersion) -> Prover | None:
        record = bound.record
        return tokens.get(holders.get(record.kek_id, MAIN) if record.kek_id else record.token)

    return find


async def note_closed(ledger: Ledger, report: RestoreReport) -> None:
    """Close rights that may have been used since the set was made, and say so."""
    if count := await close_rights(ledger, Clock().wall_ms()):
        report.notes.append(f"{count} open requests and import tokens were closed: ask again")


async def take_proofs(
    report: RestoreReport, ledger: Ledger, store: SqlStore, find: Callable[[BoundVersion], Prover | None]
) -> None:
    """Hold every key against its check value. Raises INTEGRITY_FAILURE where a wrapped one fails."""
    proofs = await prove_keys(ledger, store, find)
    report.keys, report.wrong, report.missing = proofs.right, proofs.wrong, proofs.missing
    report.elsewhere, report.away = proofs.elsewhere, proofs.away
    if report.wrong:
        raise StrongroomError(
            Reason.INTEGRITY_FAILURE,
            "keys of the set do not fit their check values; nothing was put in place",
            detail=", ".join(report.wrong[:10]),
        )


async def note_counted(ledger: Ledger, report: RestoreReport) -> None:
    """Name the versions whose encryptions are counted: the count of a restored store may be behind."""
    async for record in all_records(ledger, InvocationsRecord):
        report.rotate.append(record.record_id)


async def _settle(
    layout: Layout,
    ledger: Ledger,
    store: SqlStore,
    main: TokenVault,
    house: Sequence[HouseRecord],
    report: RestoreReport,
) -> None:
    """Hold the store against the main token's objects; write down what differs, and the restore."""
    settings = layout.settings
    audit = FileAuditLog(command_audit(settings, layout.audit))
    try:
        told = {"action": "strongroom:Restore", "principal": "operator", "uid": os.getuid()}
        await audit.write({**told, "kind": "intent", "outcome": "PENDING"})
        catalog = Catalog(ledger, main, rooms.realm(settings))
        trail, key = FileAuditTrail(layout.audit, time.time), checkpoint_key(records_in(MAIN, house))
        found = _Found()
        upkeep = Upkeep(ledger, catalog, store, main, audit, trail, Clock(), found, "restore", key)
        await upkeep.reconcile()
        report.notes += [f"{count} token objects: {kind}" for kind, count in sorted(found.kinds.items())]
        await audit.write({**told, "kind": "outcome", "outcome": "OK"})
    finally:
        await audit.close()


class _Found:
    """Counts what differs between store and token, but for the missing objects, which the report names."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    def reconciled(self, kind: str) -> None:
        """Hear of a difference."""
        if kind != "missing":
            self.kinds[kind] += 1

    def checkpointed(self, time_ms: int) -> None:
        """Hear of a checkpoint."""

    def chain_ok(self, *, ok: bool) -> None:
        """Hear of the chains."""


def _older(layout: Layout, opened: Opened, main: TokenVault, newer: int) -> Wanted:
    """Describe what approvers must have signed for, to the last bit."""
    parameters = {
        "set": opened.claims.name,
        "payload_sha256": opened.claims.payload_sha256,
        "journal_sequence": str(opened.claims.journal_sequence),
        "newer_sequence": str(newer),
        "token_serial": main.serial,
    }
    return Wanted(GuardedAction.RESTORE_OLDER_STATE, layout.settings.daemon.account, parameters)
