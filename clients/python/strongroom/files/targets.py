"""Output files that appear whole or not at all.

Where the file system can, the bytes go to a file without a name (O_TMPFILE, mode 0600), which the kernel
removes with the process, however it ends; it gets its name only when everything is written, verified and
synced. Elsewhere it is a file with a temporary name and the same mode beside the target, removed on any
failure but a kill -9.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from strongroom.errors import CallerError


@contextlib.contextmanager
def whole_file(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file to write that becomes `target` at the end of the block, or leaves nothing if it fails.

    Raises:
        CallerError: FILE_PROBLEM: the target exists and shall not be overwritten, or cannot be made.
    """
    # Behind a symbolic link, the file that it names; a device or pipe is never replaced by a file.
    try:
        target = target.resolve()
    except RuntimeError:
        raise CallerError("FILE_PROBLEM", "the target is a symbolic link that leads to itself") from None
    folder = target.parent
    if target.exists() and not target.is_file():
        raise CallerError("FILE_PROBLEM", "the target is not a regular file; - is standard output")
    if not overwrite and target.exists():
        raise _exists()
    with _unfinished(folder) as (file, name):
        yield file
        file.flush()
        os.fsync(file.fileno())
        _give_name(file, name, target, overwrite=overwrite)
    _sync_folder(folder)


@contextlib.contextmanager
def after_success(output: BinaryIO) -> Iterator[BinaryIO]:
    """Collect bytes in a nameless temporary file and copy them to `output` only if the block succeeds."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, output, 1 << 20)
        output.flush()


def problem(error: OSError | ValueError) -> CallerError:
    """Say what the operating system says, without the path."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
    return CallerError("FILE_PROBLEM", f"the file cannot be used: {why}")


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[tuple[BinaryIO, Path | None]]:
    """Open a nameless file in a folder, or one with a temporary name, which does not survive this block."""
    try:
        descriptor, name = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), None
    except OSError:
        descriptor, path = tempfile.mkstemp(dir=folder, prefix=".strongroom-")
        name = Path(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, name
    finally:
        if name is not None:
            name.unlink(missing_ok=True)


def _give_name(file: BinaryIO, name: Path | None, target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        _link(file, target) if name is None else _link_or_rename(name, target)
        return
    if name is not None:
        name.replace(target)
        return
    # A link never replaces, a rename does: so it takes a passing name. What bears it is whole.
    name = target.parent / f".strongroom-{secrets.token_hex(8)}"
    _link(file, name)
    try:
        name.replace(target)
    except OSError:
        name.unlink(missing_ok=True)
        raise


def _link_or_rename(name: Path, target: Path) -> None:
    """Give a file a second name, which never replaces; rename it where the file system has no links."""
    try:
        os.link(name, target)
    except FileExistsError:
        raise _exists() from None
    except OSError:
        if target.exists():
            raise _exists() from None
        name.replace(target)


def _link(file: BinaryIO, target: Path) -> None:
    # With a folder's descriptor Python calls linkat(2) and follows the link; without one it would not.
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", target.name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        raise _exists() from None
    finally:
        os.close(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exists() -> CallerError:
    return CallerError("FILE_PROBLEM", "the target exists already, and overwriting was not asked for")
