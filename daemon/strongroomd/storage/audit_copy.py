"""What of a living audit log goes into a backup: checkpoints first, then chains, each up to a whole line.

Files of the log only grow, so the first bytes of each are what they were. Chains are read after the
checkpoints: they hold at least what those cover.
"""

from dataclasses import dataclass
from pathlib import Path

from strongroomd.domain.audit import Checkpoint
from strongroomd.domain.backups import AUDIT
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.audit_chain import ARCHIVE, CHECKPOINTS, all_chains, chain_path
from strongroomd.storage.backup_sets import Source, source
from strongroomd.storage.checkpoints import CheckpointFile

_TAIL = 8 << 20  # bytes looked through for the last line feed: more than the longest line


@dataclass(frozen=True, slots=True)
class AuditCopy:
    """What is to be saved of an audit log.

    Attributes:
        sources: its files.
        newest: its newest checkpoint; None if there is none.
    """

    sources: tuple[Source, ...]
    newest: Checkpoint | None


def describe_audit(directory: Path) -> AuditCopy:
    """Describe an audit log as it is now; blocks for as long as it takes to read it.

    Raises:
        StrongroomError: AUDIT_UNAVAILABLE if it cannot be read.
    """
    try:
        newest = CheckpointFile(directory).newest()  # the copy may hold later ones, and holds this one
        found = _checkpoints(directory)
        found += [_chain(directory, path.stem) for path in all_chains(directory)]
    except OSError as error:
        raise StrongroomError(Reason.AUDIT_UNAVAILABLE, detail=f"audit: {error.strerror}") from error
    return AuditCopy(tuple(found), newest.checkpoint if newest else None)


def _checkpoints(directory: Path) -> list[Source]:
    path = directory / CHECKPOINTS
    return [source(AUDIT + CHECKPOINTS, path, _whole_lines(path))] if path.exists() else []


def _chain(directory: Path, origin: str) -> Source:
    """Describe a chain where it is now; its copy lies where it belongs, archived or not."""
    path = chain_path(directory, origin)
    folder = f"{AUDIT}{ARCHIVE}/" if path.parent.name == ARCHIVE else AUDIT
    try:
        return source(f"{folder}{path.name}", path, _whole_lines(path))
    except FileNotFoundError:  # archived just now
        path = chain_path(directory, origin)
        return source(f"{AUDIT}{ARCHIVE}/{path.name}", path, _whole_lines(path))


def _whole_lines(path: Path) -> int:
    """Say how many bytes of a file are whole lines."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - _TAIL)
        file.seek(start)
        return start + file.read(size - start).rfind(b"\n") + 1
