"""From a set's folder to files beside the places that they belong in, each verified on the way."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroomd.config import Settings, TokenPlan, token_plans
from strongroomd.domain.backups import AUDIT, STORE, TOKENS, BackupClaims, Manifest, claims_of, damaged
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.statements import Statement, parse_statement
from strongroomd.hsm.tokenfile import token_directory
from strongroomd.storage.audit_reader import SignatureCheck
from strongroomd.storage.backup_sets import check_payload, decrypt_payload, read_set, unpack
from strongroomd.storage.placing import prepared

_STAGING: Final = "restore.staging"
_ARCHIVE: Final = "payload.tar"


@dataclass(frozen=True, slots=True)
class Opened:
    """A set whose signature and payload are verified.

    Attributes:
        folder: its folder.
        statement: what the house said.
        claims: of the set.
    """

    folder: Path
    statement: Statement
    claims: BackupClaims


def open_set(folder: Path, house: str, signature_ok: SignatureCheck) -> Opened:
    """Verify a set's signature, whose it is, and that its payload is the one that was signed.

    Args:
        folder: the set.
        house: the installation that it must be of.
        signature_ok: tells whether a signature (second) over bytes (first) is the house's.

    Raises:
        StrongroomError: INTEGRITY_FAILURE; CONFIGURATION for another installation's.
    """
    files = read_set(folder)
    if not signature_ok(files.statement, files.signature):
        raise damaged("its statement was not signed by the house key that was given")
    try:
        statement = parse_statement(files.statement)
    except StrongroomError as error:
        raise damaged("its statement is none") from error
    claims = claims_of(statement)
    if statement.house != house:
        raise StrongroomError(
            Reason.CONFIGURATION, "the set is of another region or account", field="daemon.account"
        )
    check_payload(files.payload, claims.payload_sha256, claims.payload_bytes)
    return Opened(folder, statement, claims)


class Layout:
    """Where everything of a set goes in a target, and where it is prepared.

    Args:
        settings: the target's.

    Attributes:
        staging: scratch folder, removed in the end.
        copies: SoftHSM's token directories that the set fills, by their member folder.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.staging = settings.daemon.state_dir / _STAGING
        self.store = prepared(settings.store_path)
        self.audit = prepared(settings.audit_directory)
        self.copies: dict[str, Path] = {}

    def begin(self) -> None:
        """Make the scratch folder anew."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(mode=0o700, parents=True)

    def end(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def unpack(self, opened: Opened, identity: Path, *, with_tokens: bool) -> Manifest:
        """Decrypt and take apart, verifying everything.

        Args:
            opened: the set.
            identity: the recipients' private key.
            with_tokens: whether empty SoftHSM directories get their copies.
        """
        archive = self.staging / _ARCHIVE
        decrypt_payload(opened.folder / "payload.age", identity, archive)

        def places(manifest: Manifest) -> Callable[[str], Path]:
            if with_tokens:
                self._choose(manifest)
            return self._place

        manifest = unpack(archive, opened.claims.manifest_sha256, places)
        archive.unlink()
        if not self.store.exists():
            raise damaged("the set holds no store")
        self.audit.mkdir(mode=0o700, exist_ok=True)
        return manifest

    def _choose(self, manifest: Manifest) -> None:
        for saved in manifest.tokens:
            directory = directory_of(self.settings, saved.name)
            if saved.folder and directory is not None and not is_used(directory):
                self.copies.setdefault(saved.folder, directory)

    def _place(self, member: str) -> Path:
        if member == STORE:
            return self.store
        if member.startswith(AUDIT):
            return self.audit / member.removeprefix(AUDIT)
        if member.startswith(TOKENS):
            for folder, directory in self.copies.items():
                if member.startswith(folder):
                    return prepared(directory) / member.removeprefix(folder)
        return self.staging / "rest" / member


def directory_of(settings: Settings, token: str) -> Path | None:
    """Find the SoftHSM token directory of one of the target's tokens; None where it has none."""
    plan = plan_of(settings, token)
    if plan is None or plan.softhsm_conf is None:
        return None
    return token_directory(plan.softhsm_conf)


def plan_of(settings: Settings, token: str) -> TokenPlan | None:
    """Find the target's token of a name."""
    return next((plan for plan in token_plans(settings) if plan.name == token), None)


def is_used(directory: Path) -> bool:
    """Say whether a SoftHSM token directory has a token."""
    return directory.is_dir() and any(path.is_dir() for path in directory.iterdir())
