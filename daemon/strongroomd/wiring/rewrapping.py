"""`strongroomd rewrap`: keys leave older KEKs by the attached recovery token, in a ceremony.

The store is the living one, so the command that moves keys holds the daemon's lock (cli/rewrap.py), and the
lease of upkeep against a daemon with another run folder. Before
the recovery token is attached every record is verified, and enrolled approvers have signed for exactly these
KEKs; afterwards the house signs what was done. What has moved is moved for good, key by key
(custody/recoveryrewrap.py).
"""

import asyncio
import dataclasses
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from strongroomd import __version__
from strongroomd.config import Settings, token_names, token_plans
from strongroomd.custody.clock import Clock
from strongroomd.custody.inventory import verify_records
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.notary import Notary
from strongroomd.custody.offlineapprovals import Approvals, Wanted
from strongroomd.custody.recoveryrewrap import RecoveryRewrap, left_under, plan_rewrap
from strongroomd.custody.upkeep import LEASE_SECONDS
from strongroomd.domain.approvals import FrozenRequest, GuardedAction, read_request
from strongroomd.domain.audit import canonical
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.rewraps import LEVEL, RewrapPlan, RewrapReport
from strongroomd.domain.statements import spell_time
from strongroomd.domain.tokens import MAIN, spelled
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.statements import HouseSigner
from strongroomd.hsm.transport import Landing
from strongroomd.storage import durable
from strongroomd.storage.audit_log import FileAuditLog
from strongroomd.storage.migration import require_current
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.telemetry import failpoints
from strongroomd.wiring import rooms
from strongroomd.wiring.approvers import approvers_of, configured_in
from strongroomd.wiring.backing import command_audit
from strongroomd.wiring.recovering import Attached
from strongroomd.wiring.tokens import records_in

KIND: Final = "rewrap-transcript"
ACTION: Final = "strongroom:RewrapCeremony"
_OPERATOR: Final[dict[str, Any]] = {"principal": "operator"}
_PATIENCE: Final = LEASE_SECONDS + 2.0  # seconds: a daemon that was stopped just now lets the lease run out


@dataclass(frozen=True, slots=True)
class RewrapOrder:
    """What an operator wants done.

    Attributes:
        token: whose keys; empty for the main one.
        approvals: what approvers signed, or where they are to be asked.
        recovery_token: file that describes the attached recovery token; None where approvals are only asked
            for.
        output: folder for transcript and report, absent or empty; None likewise.
        told: hears how many keys are done, of how many.
    """

    token: str = ""
    approvals: Approvals = field(default_factory=Approvals)
    recovery_token: Path | None = None
    output: Path | None = None
    told: Callable[[int, int], None] = lambda _done, _of: None


@dataclass(frozen=True, slots=True)
class _House:
    """What is open: `main` makes the records' MACs and signs, `vault` is the token whose keys move."""

    settings: Settings
    token: str
    hsm: HsmSettings
    store: SqlStore
    ledger: Ledger
    main: TokenVault
    vault: TokenVault


async def preview(settings: Settings, token: str = "") -> RewrapReport:
    """Say what a re-wrap would move, and what not; changes nothing, and may run beside the daemon.

    Args:
        settings: the daemon's.
        token: whose keys; empty for the main one.

    Raises:
        StrongroomError: as `rewrap`, but for what is about approvals and the recovery token.
    """
    async with _opened(settings, token) as house:
        plan = await plan_rewrap(house.ledger, house.store, house.token)
        report = RewrapReport(plan)
        report.left_under = await left_under(house.store, house.ledger, plan)
        return report


async def rewrap(settings: Settings, order: RewrapOrder) -> RewrapReport:
    """Move every key that is under an older KEK of a token to the newest; or ask for the approvals.

    Args:
        settings: the daemon's. No daemon may run on them unless approvals are only asked for.
        order: what is wanted.

    Raises:
        StrongroomError: APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED, INVALID_SIGNATURE;
            CONFIGURATION for settings that do not do; INTEGRITY_FAILURE for a store that somebody edited or
            put back; HSM_UNAVAILABLE for a recovery token that is another or refuses its PIN. With these or
            STORE_UNAVAILABLE, AUDIT_UNAVAILABLE in the middle of it what has moved is moved, and the same
            command goes on.
    """
    started = time.monotonic()
    if order.recovery_token is None:
        async with _opened(settings, order.token) as house:
            return await _asked(house, order)
    require_current(rooms.store_url(settings))  # there is a house, and so an audit log
    async with (
        _written_down(settings, order.token) as (audit, outcome),
        _opened(settings, order.token) as house,
    ):
        await _claim(house)
        await verify_records(house.ledger, house.store)
        plan = await plan_rewrap(house.ledger, house.store, house.token)
        report = RewrapReport(plan)
        if plan.older:
            await _hold(house, order, report, audit, outcome)
        report.seconds = time.monotonic() - started
        return report


async def _asked(house: _House, order: RewrapOrder) -> RewrapReport:
    """Ask for the approvals; gives a report only where there is nothing to ask for."""
    plan = await plan_rewrap(house.ledger, house.store, house.token)
    if plan.older:
        await _approved(house, plan, order.approvals)
    return RewrapReport(plan)


@asynccontextmanager
async def _opened(settings: Settings, token: str) -> AsyncIterator[_House]:
    """Log in to the main token and to the one whose keys move; verify the journal."""
    require_current(rooms.store_url(settings))
    name = _settled(settings, token)
    async with AsyncExitStack() as stack:
        store = open_store(rooms.store_settings(settings))
        stack.push_async_callback(store.close)
        records = [stored.record for stored in await store.all(HouseRecord)]
        main, hsm = _log_in(settings, MAIN, records)
        stack.callback(main.close)
        vault = main
        if name != MAIN:
            vault, hsm = _log_in(settings, name, records)
            stack.callback(vault.close)
        ledger = Ledger(store, main)
        await ledger.start()
        yield _House(settings, name, hsm, store, ledger, main, vault)


def _settled(settings: Settings, token: str) -> str:
    """Give a token's name as records have it. Raises INVALID_FIELD (`token`) for one that is not there."""
    return token_names(settings).settle(token) if token else MAIN


def _log_in(settings: Settings, token: str, records: list[HouseRecord]) -> tuple[TokenVault, HsmSettings]:
    plan = next(each for each in token_plans(settings) if each.name == token)
    hsm = rooms.hsm_settings(settings, plan)
    return open_vault(hsm, rooms.pin_source(settings, None, plan).read(), records_in(token, records)), hsm


async def _claim(house: _House) -> None:
    """Take the lease of upkeep, or renew it: no daemon does upkeep on this store then, whatever its folder.

    Nor does another ceremony, whose run folder is another; with the same one the daemon's lock keeps it out.

    Raises:
        StrongroomError: CONFIGURATION while somebody else renews it.
    """
    daemon, deadline = house.settings.daemon, time.monotonic() + _PATIENCE
    holder = f"{daemon.node}-rewrap-{hashlib.sha256(str(daemon.run_dir).encode()).hexdigest()[:16]}"
    while not await house.store.lease("upkeep", holder, Clock().wall_ms(), LEASE_SECONDS):
        if time.monotonic() >= deadline:
            message = "a daemon works on this store: stop it"
            raise StrongroomError(Reason.CONFIGURATION, message, field="store")
        await asyncio.sleep(_PATIENCE / 16)


async def _approved(house: _House, plan: RewrapPlan, approvals: Approvals) -> tuple[FrozenRequest, list[str]]:
    """Demand approvals for these KEKs by this recovery key; gives the request, and who approved."""
    settings = house.settings
    enrolled = await approvers_of(house.ledger, settings.daemon.account, configured_in(settings))
    people = approvals.demand(_wanted(house, plan), *enrolled)
    return read_request(approvals.request or b""), people


def _wanted(house: _House, plan: RewrapPlan) -> Wanted:
    """Describe what approvers must have signed for: between which KEKs, and by which recovery key."""
    parameters = {
        "token": spelled(plan.token),
        "token_serial": house.vault.serial,
        "from": " ".join(plan.older),
        "to": f"{plan.sealed.hsm_id} {plan.exportable.hsm_id}",
        "recovery_key_sha256": hashlib.sha256(_recovery_key(house)).hexdigest(),
        "level": LEVEL,
    }
    return Wanted(GuardedAction.REWRAP_KEYS, house.settings.daemon.account, parameters)


def _recovery_key(house: _House) -> bytes:
    if not house.hsm.recovery_public_key:
        message = "is needed: without it no key has a recovery blob"
        raise StrongroomError(Reason.CONFIGURATION, message, field="hsm.recovery_public_key")
    return house.hsm.recovery_public_key


async def _hold(
    house: _House, order: RewrapOrder, report: RewrapReport, audit: FileAuditLog, outcome: dict[str, Any]
) -> None:
    """Attach the recovery token, move the keys, have the token remember, and sign what was done."""
    began = Clock().wall_ms()
    request, report.approved_by = await _approved(house, report.plan, order.approvals)
    output = _fresh_folder(order.output)
    told = {"approval": request.id, "approval_digest": request.digest, "approved_by": report.approved_by}
    outcome |= told
    await _move(house, order, audit, report, _OPERATOR | {"uid": os.getuid()} | told)
    failpoints.reach("rewrap-ceremony.7")
    await _remember(house)
    failpoints.reach("rewrap-ceremony.8")
    transcript = {"began": spell_time(began), "approval": _approval_facts(request, report)}
    outcome["transcript_sha256"] = await _sign(house, report, transcript, output)
    outcome["count"] = len(report.moved)
    outcome["stay"] = sum(len(names) for names in report.stays.values())
    failpoints.reach("rewrap-ceremony.9")


@asynccontextmanager
async def _written_down(settings: Settings, token: str) -> AsyncIterator[tuple[FileAuditLog, dict[str, Any]]]:
    """Write down that a ceremony is tried, and how it ended, refused or not; gives log and outcome.

    Before the house is opened: that its store is an older one, or edited, is what opening it finds.
    """
    facts = _OPERATOR | {"action": ACTION, "uid": os.getuid(), "token": spelled(_settled(settings, token))}
    outcome: dict[str, Any] = {**facts, "kind": "outcome", "outcome": "OK"}
    audit = FileAuditLog(command_audit(settings))
    try:
        await audit.write({**facts, "kind": "intent", "outcome": "PENDING"})
        try:
            yield audit, outcome
        except StrongroomError as error:
            outcome["outcome"] = error.reason.value
            raise
        except BaseException:
            outcome["outcome"] = Reason.INTERNAL.value
            raise
        finally:
            await audit.write(outcome)
    finally:
        await audit.close()


async def _move(
    house: _House,
    order: RewrapOrder,
    audit: FileAuditLog,
    report: RewrapReport,
    told: dict[str, Any],
) -> None:
    """Attach the recovery token and move key after key; nothing is attached for none."""
    keys = report.plan.keys
    if not keys or order.recovery_token is None:
        return
    attached_token = Attached(order.recovery_token, _recovery_key(house))
    with attached_token as attached, house.vault.landing() as landing:
        attached.begin(landing.public_key)
        failpoints.reach("rewrap-ceremony.1")
        carrier, realm = _Carrier(attached, landing), rooms.realm(house.settings)
        work = RecoveryRewrap(house.ledger, house.vault, carrier, audit, realm, report, told)
        for done, key_id in enumerate(keys, 1):
            await _claim(house)
            await work.move(key_id)
            order.told(done, len(keys))


class _Carrier:
    """See `custody.recoveryrewrap.Carrier`: from the recovery blob through both tokens."""

    def __init__(self, attached: Attached, landing: Landing) -> None:
        self._attached = attached
        self._landing = landing

    def carry(self, bound: BoundVersion) -> Material:
        blob = self._attached.retarget(bound.record.recovery_blob)
        if not blob:
            detail = "the recovery blob is not for this recovery token"
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail=detail)
        return self._landing.receive(blob, bound)


async def _remember(house: _House) -> None:
    """Have the token remember the store as it is now; until then a daemon's start would do as well."""
    anchor = await house.main.read_anchor()
    if anchor is None:
        raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="the token has lost its anchor")
    sequence, head = house.ledger.sequence, house.ledger.head
    await house.main.write_anchor(dataclasses.replace(anchor, sequence=sequence, head=head))


def _approval_facts(request: FrozenRequest, report: RewrapReport) -> dict[str, Any]:
    return {
        "id": request.id,
        "sha256": request.digest,
        "requester": request.requester,
        "purpose": request.purpose,
        "approved_by": report.approved_by,
    }


async def _sign(house: _House, report: RewrapReport, transcript: dict[str, Any], output: Path) -> str:
    """Write the report, and a transcript that names it, signed by the house; gives that one's SHA-256."""
    plan = report.plan
    report.left_under = await left_under(house.store, house.ledger, plan)
    text = canonical(report.facts()) + b"\n"
    claims = {
        **transcript,
        "ended": spell_time(Clock().wall_ms()),
        "version": __version__,
        "token": spelled(plan.token),
        "token_serial": house.vault.serial,
        "from": list(plan.older),
        "sealed": plan.sealed.hsm_id,
        "exportable": plan.exportable.hsm_id,
        "level": LEVEL,
        "moved": len(report.moved),
        "stay": {why.value: len(names) for why, names in report.stays.items()},
        "left_under": report.left_under,
        "wrapping_keys": len(plan.wrapping_keys),
        "journal_sequence": house.ledger.sequence,
        "report_sha256": hashlib.sha256(text).hexdigest(),
    }
    notary = Notary(HouseSigner(house.main), rooms.event_source(house.settings), Clock())
    signed = await notary.state(KIND, claims)
    durable.write_new(output / "report.json", text, 0o644)
    durable.write_new(output / "transcript.json", signed.payload, 0o644)
    durable.write_new(output / "transcript.sig", signed.signature.signature, 0o644)
    return hashlib.sha256(signed.payload).hexdigest()


def _fresh_folder(folder: Path | None) -> Path:
    """Make the output folder. Raises CONFIGURATION for none, one that holds anything, or cannot be made."""
    if folder is None:
        raise StrongroomError(Reason.CONFIGURATION, "is needed, for the transcript", field="output")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            return folder
    except OSError as error:
        message = f"cannot be made: {error.strerror}"
        raise StrongroomError(Reason.CONFIGURATION, message, field="output") from None
    raise StrongroomError(Reason.CONFIGURATION, "must be empty or absent", field="output")
