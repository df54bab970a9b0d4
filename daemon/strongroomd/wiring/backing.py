"""`strongroomd backup`: one consistent, encrypted, signed set, made beside the serving daemon.

The order is that of dependence: what the token remembers is never newer than the store, nor the checkpoints
than the audit chains. So the token is copied first, then the store, then the audit log, and the daemon need
not stand still. A house key that is replaced meanwhile would be in one of them and not in another: then all
is copied again. Before the house signs, every record of the copied store is verified: whoever restores the
set onto another token has nothing but that signature to believe it by.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from strongroomd import __version__
from strongroomd.config import Settings, TokenPlan, token_plans
from strongroomd.custody.clock import Clock
from strongroomd.custody.inventory import holdings, verify_records
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.notary import Notary
from strongroomd.domain.audit import Checkpoint, canonical
from strongroomd.domain.backups import (
    CONFIG,
    KEYS,
    KIND,
    SOFTHSM_COPIED,
    STORE,
    TLS,
    TOKENS,
    VENDOR,
    BackupClaims,
    Manifest,
    SavedToken,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import active
from strongroomd.domain.keys import Anchor
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN, spelled
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.statements import HouseSigner
from strongroomd.hsm.tokencopy import copy_tokens
from strongroomd.hsm.tokenfile import token_directory
from strongroomd.storage import durable
from strongroomd.storage.audit_copy import describe_audit
from strongroomd.storage.audit_log import AuditSettings, FileAuditLog
from strongroomd.storage.backup_sets import (
    SetWriter,
    Source,
    parse_recipients,
    remove_unfinished,
    source,
)
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.schema import REVISIONS
from strongroomd.storage.snapshot import snapshot
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.telemetry import failpoints
from strongroomd.wiring import rooms
from strongroomd.wiring.tokens import records_in

COMMANDS_WORKER: Final = 9_999
"""Slot of the audit chains that commands write, far above every worker's."""
_STAGING: Final = "backup.staging"
_ATTEMPTS: Final = 3
"""House keys are replaced by people, one at a time: who meets two of them should look what is going on."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished set.

    Attributes:
        place: its folder.
        claims: what the house signed of it.
        created_at: milliseconds since the Unix epoch.
        tokens: how each token is saved.
    """

    place: Path
    claims: BackupClaims
    created_at: int
    tokens: tuple[SavedToken, ...]

    @property
    def procedures(self) -> list[str]:
        """Say what is still to be done to save every token."""
        return [f"token {spelled(t.name)}: {t.procedure}" for t in self.tokens if not t.folder]

    def facts(self) -> dict[str, Any]:
        """Tell of the set as plain JSON."""
        claims = self.claims
        return {
            "set": claims.name,
            "created_at": self.created_at,
            "payload_bytes": claims.payload_bytes,
            "payload_sha256": claims.payload_sha256,
            "keys": claims.keys,
            "journal_sequence": claims.journal_sequence,
            "checkpoint": claims.checkpoint,
        }


async def back_up(settings: Settings, folder: Path | None = None, *, with_tls: bool = False) -> Finished:
    """Make one set.

    Args:
        settings: the daemon's; it may serve meanwhile.
        folder: where the set goes; [backup] directory if not given.
        with_tls: also save the certificates and private keys that the doors serve with.

    Raises:
        StrongroomError: CONFIGURATION for settings, INTEGRITY_FAILURE if anything of the house does not
        verify,
            AUDIT_UNAVAILABLE, HSM_UNAVAILABLE, STORE_UNAVAILABLE. There is no set then.
    """
    folder = folder or settings.backup.directory
    if folder is None:
        raise _unset("backup.directory", "name a folder for backup sets, here or with --to")
    recipients = read_recipients(settings)
    with _alone(settings.daemon.state_dir), _alone(folder), _staging(settings) as staging:
        remove_unfinished(folder)
        store = open_store(rooms.store_settings(settings))
        try:
            vault = await _open_house(settings, store)
            try:
                work = _Work(settings, folder, staging, recipients, store, vault, with_tls)
                return await _audited(settings, work)
            finally:
                vault.close()
        finally:
            await store.close()


def read_recipients(settings: Settings) -> list[str]:
    """Read the public keys that sets are encrypted to.

    Raises:
        StrongroomError: CONFIGURATION, field `backup.recipients_file`.
    """
    path = settings.backup.recipients_file
    if path is None:
        raise _unset(
            "backup.recipients_file", "name a file with age public keys: sets are never written in clear"
        )
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        raise _unset("backup.recipients_file", "the file cannot be read") from None
    found = [line for line in lines if line and not line.startswith("#")]
    parse_recipients(found)
    return found


async def _open_house(settings: Settings, store: SqlStore) -> TokenVault:
    """Log in beside the daemon, with what the store says of the house; that is verified with the copy."""
    house = records_in(MAIN, [stored.record for stored in await store.all(HouseRecord)])
    return open_vault(rooms.hsm_settings(settings), rooms.pin_source(settings).read(), house)


@dataclass(frozen=True, slots=True)
class _Work:
    settings: Settings
    folder: Path
    staging: Path
    recipients: list[str]
    store: SqlStore
    vault: TokenVault
    with_tls: bool


async def _audited(settings: Settings, work: _Work) -> Finished:
    """Make the set, its intent and its outcome in the audit log as those of every privileged act."""
    audit = FileAuditLog(command_audit(settings))
    told: dict[str, Any] = {"action": "strongroom:Backup", "principal": "operator", "uid": os.getuid()}
    outcome = Reason.INTERNAL.value
    try:
        await audit.write({**told, "kind": "intent", "outcome": "PENDING"})
        finished = await _make(work)
        told, outcome = told | {"backup": finished.facts()}, "OK"
        return finished
    except StrongroomError as error:
        outcome = error.reason.value
        raise
    finally:
        try:
            await audit.write({**told, "kind": "outcome", "outcome": outcome})
        finally:
            await audit.close()


def command_audit(settings: Settings, directory: Path | None = None) -> AuditSettings:
    """Where a command's own audit chain goes."""
    return AuditSettings(
        directory=directory or settings.audit_directory,
        node=settings.daemon.node,
        worker=COMMANDS_WORKER,
        version=__version__,
    )


@dataclass(frozen=True, slots=True)
class _Copied:
    """Token, store and audit log as they were together.

    Attributes:
        tokens: how each token is saved.
        sources: what goes into the set.
        ledger: the copied store, verified.
        keys: key versions whose check values are listed.
        newest: the audit log's newest checkpoint; None if there is none.
    """

    tokens: list[SavedToken]
    sources: list[Source]
    ledger: Ledger
    keys: int
    newest: Checkpoint | None


async def _copied_together(work: _Work) -> _Copied:
    """Copy until no house key was replaced meanwhile. Raises STORE_UNAVAILABLE when there is no end of it."""
    for _ in range(_ATTEMPTS):
        before = await _house_keys(work.store)
        copied = await _copy_once(work)
        if await _house_keys(work.store) == before:
            return copied
        shutil.rmtree(work.staging)
        work.staging.mkdir(mode=0o700)
    detail = "house keys are replaced faster than they can be copied"
    raise StrongroomError(Reason.STORE_UNAVAILABLE, detail=detail)


async def _house_keys(store: SqlStore) -> frozenset[str]:
    """Name the house keys that are in use or were; one that is half made comes when its record says so."""
    return frozenset(record.record_id for record in active([s.record for s in await store.all(HouseRecord)]))


async def _copy_once(work: _Work) -> _Copied:
    settings, staging = work.settings, work.staging
    anchor = await work.vault.read_anchor()
    tokens, sources = await asyncio.to_thread(_save_tokens, settings, staging, work.vault)
    failpoints.reach("backup.2")
    store_copy = staging / STORE
    await asyncio.to_thread(snapshot, settings.store_url, store_copy)
    ledger, keys = await _verify_copy(store_copy, staging / KEYS, work.vault, anchor)
    failpoints.reach("backup.3")
    audit = await asyncio.to_thread(describe_audit, settings.audit_directory)
    sources += [source(STORE, store_copy), source(KEYS, staging / KEYS), *audit.sources]
    return _Copied(tokens, sources, ledger, keys, audit.newest)


async def _make(work: _Work) -> Finished:
    settings = work.settings
    created_at = Clock().wall_ms()
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(created_at / 1000))}-{os.urandom(4).hex()}"
    failpoints.reach("backup.1")
    copied = await _copied_together(work)
    sources = copied.sources + _configuration(settings, work.staging, with_tls=work.with_tls)
    manifest = Manifest(tuple(copied.tokens), tuple(each.member for each in sources)).encoded()
    writer = SetWriter(work.folder, name)
    writer.begin()
    try:
        failpoints.reach("backup.4")
        sealed = await asyncio.to_thread(writer.seal, manifest, sources, work.recipients)
        claims = BackupClaims(
            name=name,
            node=settings.daemon.node,
            version=__version__,
            schema=REVISIONS[-1],
            journal_sequence=copied.ledger.sequence,
            journal_head=copied.ledger.head.hex(),
            checkpoint=copied.newest.number if copied.newest else 0,
            checkpoint_digest=copied.newest.digest().hex() if copied.newest else "0" * 64,
            keys=copied.keys,
            recipients=tuple(work.recipients),
            manifest_sha256=hashlib.sha256(manifest).hexdigest(),
            payload_sha256=sealed.sha256,
            payload_bytes=sealed.size,
        )
        notary = Notary(HouseSigner(work.vault), rooms.event_source(settings), Clock())
        signed = await notary.state(KIND, claims.claims())
        place = writer.finish(signed.payload, signed.signature.signature)
    except BaseException:
        writer.abandon()
        raise
    failpoints.reach("backup.6")
    finished = Finished(place, claims, created_at, tuple(copied.tokens))
    durable.replace(settings.last_backup, canonical(finished.facts()) + b"\n")
    return finished


def _save_tokens(
    settings: Settings, staging: Path, vault: TokenVault
) -> tuple[list[SavedToken], list[Source]]:
    """Copy each SoftHSM token directory once; say of every other token how it is to be saved."""
    tokens: list[SavedToken] = []
    sources: list[Source] = []
    copied: dict[Path, str] = {}
    for plan in token_plans(settings):
        directory = None if plan.softhsm_conf is None else token_directory(plan.softhsm_conf)
        folder = "" if directory is None else copied.get(directory, "")
        if directory is not None and not folder:
            folder = copied[directory] = f"{TOKENS}{len(copied)}/"
            copy_tokens(rooms.hsm_settings(settings, plan), staging / folder)
            sources += [source(_member(staging, path), path) for path in _files(staging / folder)]
        tokens.append(_saved(plan, folder, vault))
    return tokens, sources


def _saved(plan: TokenPlan, folder: str, vault: TokenVault) -> SavedToken:
    main = plan.name == MAIN
    return SavedToken(
        name=plan.name,
        serial=vault.serial if main else plan.token_serial,
        description=vault.describe() if main else "",
        folder=folder,
        procedure=SOFTHSM_COPIED if folder else VENDOR,
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _member(staging: Path, path: Path) -> str:
    return path.relative_to(staging).as_posix()


async def _verify_copy(
    copy: Path, keys: Path, vault: TokenVault, anchor: Anchor | None
) -> tuple[Ledger, int]:
    """Verify everything in the copied store, and list what there is to check of its keys."""
    store = open_store(StoreSettings(f"sqlite:///{copy}"))
    try:
        ledger = Ledger(store, vault)
        await ledger.start_from(anchor)
        await verify_records(ledger, store)
        count = 0
        with keys.open("xb") as file:
            async for holding in holdings(ledger, store):
                file.write(canonical(holding.line()) + b"\n")
                count += 1
        return ledger, count
    finally:
        await store.close()


def _configuration(settings: Settings, staging: Path, *, with_tls: bool) -> list[Source]:
    """Save the configuration, which holds no secret, and what it names of TLS where that is wanted."""
    found = [_copied(CONFIG, settings.source, staging)]
    if with_tls:
        grpc, xks = settings.grpc, settings.xks
        for place, section in (("grpc", grpc), ("xks", xks)):
            for name in ("certificate_file", "key_file", "client_ca_file"):
                path = getattr(section, name)
                if path is not None:
                    found.append(_copied(f"{TLS}{place}-{name}", path, staging))
    return found


def _copied(member: str, path: Path, staging: Path) -> Source:
    """Copy a small file that may be replaced at any moment."""
    copy = staging / member
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        durable.write_new(copy, path.read_bytes())
    except OSError as error:
        raise StrongroomError(Reason.CONFIGURATION, detail=f"{member}: {error.strerror}") from error
    return source(member, copy)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one backup at a time work in a folder; the kernel ends the claim of one that was killed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            folder / ".backup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise _unset("backup.directory", f"cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise _unset("backup.directory", "another backup is under way there") from None
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _staging(settings: Settings) -> Iterator[Path]:
    """Give a folder beside the store for copies of what lies there in clear anyway; nothing of it stays."""
    staging = settings.daemon.state_dir / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unset(field: str, message: str) -> StrongroomError:
    return StrongroomError(Reason.CONFIGURATION, message, field=field)
