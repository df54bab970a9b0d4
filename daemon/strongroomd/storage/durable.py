"""Making files and folders durable, and putting them in place at once or not at all."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 20  # bytes


def sync(path: Path) -> None:
    """Push a file's or a folder's own content to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Push a folder and everything below it to the disk."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            sync(path)
    sync(folder)


def write_new(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a new file durably. Raises FileExistsError if there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file durably, in place of the one that is there or for the first time."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    write_new(temporary, content, mode)
    temporary.replace(path)
    sync(path.parent)


def digest_of(path: Path, size: int | None = None) -> str:
    """Hash a file, or its first `size` bytes: SHA-256, hexadecimal. Raises EOFError if it is shorter."""
    digest = hashlib.sha256()
    for chunk in chunks(path, path.stat().st_size if size is None else size):
        digest.update(chunk)
    return digest.hexdigest()


def chunks(path: Path, size: int) -> Iterator[bytes]:
    """Read the first `size` bytes of a file piece by piece. Raises EOFError if it is shorter."""
    with path.open("rb") as file:
        while size:
            chunk = file.read(min(size, _CHUNK))
            if not chunk:
                raise EOFError(path.name)
            size -= len(chunk)
            yield chunk
