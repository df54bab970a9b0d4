"""Putting a restored state in place: prepared beside where it belongs, then moved by renames, all or none.

What is prepared bears the suffix `.restoring`, on the file system that it belongs on. Once everything is
verified and durable, a plan of the moves is written; from then on the restore is done, and whoever finds the
plan only finishes the moves. Before, whoever finds prepared files removes them.
"""

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from strongroomd.domain.audit import canonical
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage import durable
from strongroomd.storage.snapshot import BESIDE
from strongroomd.telemetry import failpoints

SUFFIX: Final = ".restoring"
_PLAN: Final = "restore.plan"


def prepared(path: Path) -> Path:
    """Where something is prepared that belongs at `path`."""
    return path.with_name(path.name + SUFFIX)


@dataclass(frozen=True, slots=True)
class Move:
    """A file or folder that goes from one place to another on the same file system.

    Attributes:
        aside: it makes room for what was prepared, and is done once its target is there.
    """

    source: Path
    target: Path
    aside: bool = False


class Placement:
    """The moves of one restore.

    Args:
        state: the daemon's state folder, where the plan is written.
        moves: in order, each from what was prepared; the store comes last, without which no daemon starts.
    """

    def __init__(self, state: Path, moves: Sequence[Move]) -> None:
        self._plan = state / _PLAN
        self._prepared = tuple(move for move in moves if not move.aside)
        self._moves = tuple(moves)
        self._making_room = {move.source for move in moves if move.aside}

    def demand_empty(self) -> None:
        """Refuse to put anything where something is.

        Raises:
            StrongroomError: CONFIGURATION naming what is there.
        """
        for move in self._moves:
            if move.target not in self._making_room and _exists(move.target):
                raise StrongroomError(
                    Reason.CONFIGURATION,
                    "a restore never overwrites what is there: move it away, or restore to an empty place",
                    field="restore",
                    detail=f"{move.target} is there",
                )
            if os.path.ismount(move.target):
                raise StrongroomError(
                    Reason.CONFIGURATION,
                    "what is restored is moved into place by renames: nothing can replace a mount point",
                    field="restore",
                    detail=f"{move.target} is a mount point",
                )

    def clean(self) -> None:
        """Remove what an earlier restore prepared before it was cut off."""
        for move in self._prepared:
            _remove(move.source)
            for suffix in BESIDE:
                _beside(move.source, suffix).unlink(missing_ok=True)

    def commit(self, report: Mapping[str, Any], texts: Mapping[Path, bytes] | None = None) -> None:
        """Make everything prepared durable, and write the plan; then carry it out.

        Args:
            report: what whoever finishes the moves later has to say of the restore.
            texts: small public files to be written, too, in place of what is there.
        """
        for move in self._prepared:
            if move.source.is_dir():
                durable.sync_tree(move.source)
            elif move.source.exists():
                durable.sync(move.source)
        failpoints.reach("restore.3")
        moves = [[str(move.source), str(move.target), move.aside] for move in self._moves]
        spelled = {str(path): text.decode() for path, text in (texts or {}).items()}
        durable.replace(self._plan, canonical({"moves": moves, "texts": spelled, "report": dict(report)}))
        failpoints.reach("restore.4")
        finish(self._plan.parent)


def finish(state: Path) -> dict[str, Any] | None:
    """Carry out the plan of a restore that was committed and cut off; gives its report, if there is one.

    Raises:
        StrongroomError: INTEGRITY_FAILURE for a plan that is none, STORE_UNAVAILABLE when a move fails.
    """
    path = state / _PLAN
    try:
        plan = orjson.loads(path.read_bytes())
        moves = [Move(Path(source), Path(target), bool(aside)) for source, target, aside in plan["moves"]]
        texts = {Path(path): text.encode() for path, text in plan["texts"].items()}
        report = dict(plan["report"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StrongroomError(
            Reason.INTEGRITY_FAILURE, detail="the plan of an unfinished restore is damaged"
        ) from error
    try:
        for number, move in enumerate(moves):
            if number == len(moves) - 1:
                failpoints.reach("restore.5")
            _carry_out(move)
        for text_path, text in texts.items():
            durable.replace(text_path, text, 0o644)
        failpoints.reach("restore.6")
        path.unlink()
        durable.sync(state)
    except OSError as error:
        detail = f"a restored file cannot be moved: {error.strerror}"
        raise StrongroomError(Reason.STORE_UNAVAILABLE, detail=detail) from error
    return report


def is_unfinished(state: Path) -> bool:
    """Say whether a restore was committed and its moves are not done."""
    return (state / _PLAN).exists()


def _carry_out(move: Move) -> None:
    """Move once: nothing is left to do where the source is gone, or room was made already.

    Raises:
        OSError: something came to be where the move leads to.
    """
    if not move.source.exists() or (move.aside and _exists(move.target)):
        return
    if _exists(move.target):
        raise FileExistsError(errno.EEXIST, f"{move.target} is in the way")
    if move.target.is_dir():
        move.target.rmdir()
    move.target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    move.source.rename(move.target)
    durable.sync(move.target.parent)


def _exists(path: Path) -> bool:
    """Say whether something is there; an empty folder is nothing."""
    if path.is_dir():
        return bool(os.listdir(path))  # noqa: PTH208 - pathlib would leave the listing open
    return path.exists() or path.is_symlink()


def _beside(path: Path, suffix: str) -> Path:
    """Where SQLite keeps what is not in a prepared store yet."""
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    if not path.name.endswith(SUFFIX):
        raise StrongroomError(Reason.INTERNAL, detail=f"{path.name} was not prepared by a restore")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
