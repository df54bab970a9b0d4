"""SoftHSM's token.object: the one file whose loss is the loss of the token, guarded.

SoftHSM rewrites it at every login, in place; a process killed at that moment leaves it empty (measured: 24
of 150). So it is made unwritable, a copy is kept beside the login lock, and a damaged file is put back from
the copy, under that lock, before the module is loaded.
"""

import ctypes
import hashlib
import os
import stat
import struct
from pathlib import Path
from typing import Final

from strongroomd.hsm.observer import Observer
from strongroomd.hsm.settings import HsmSettings

_NAME: Final = "token.object"
_READ_ONLY: Final = 0o400
_GENERATION: Final = struct.Struct(">Q")  # first field: SoftHSM reads the rest again when it changed
_MAX_GENERATION: Final = 1 << 62
_MAX_BYTES: Final = 1 << 20
_FIXED: Final = {1: 1, 2: 8}  # SoftHSM's attribute kinds: boolean of one byte, number of eight
_COUNTED: Final = {3, 4, 5}  # byte string, attribute map, mechanism set: an eight-byte length first
_MIN_ATTRIBUTES: Final = 5  # label, serial, flags and both PINs: `init` comes after the user PIN is set


class TokenFileGuard:
    """Keeps, checks and restores the token.object of every token that `init` prepared.

    Args:
        tokens: SoftHSM's token folder.
        copies: folder of the copies, one file for each token, named by its UUID.
        observer: hears of repairs.
    """

    def __init__(self, tokens: Path, copies: Path, observer: Observer) -> None:
        self._tokens = tokens
        self._copies = copies
        self._observer = observer

    def repair(self) -> list[str]:
        """Restore each damaged file that has a copy.

        Returns the tokens' UUIDs. Call it under the login lock.
        """
        repaired = []
        for copy in sorted(self._copies.glob("*.object")):
            target = self._tokens / copy.stem / _NAME
            kept = _read(copy)
            if target.parent.is_dir() and is_whole(kept) and not is_whole(_read(target)):
                _write(target, kept)
                repaired.append(copy.stem)
                self._observer.alert("token_object_repaired", f"token.object of {copy.stem} was damaged")
        return repaired

    def protect(self, serial: str) -> None:
        """Make the token's file unwritable and keep a verified copy; call it after a login that worked."""
        for folder in self._tokens.iterdir():
            if serial_of(folder.name) == serial:
                content = _read(folder / _NAME)
                copy = self._copies / f"{folder.name}.object"
                if is_whole(content) and _read(copy)[_GENERATION.size :] != content[_GENERATION.size :]:
                    self._copies.mkdir(mode=0o700, parents=True, exist_ok=True)
                    _write(copy, content)
                _make_read_only(folder / _NAME)

    def touch(self, serial: str) -> None:
        """Raise the file's generation number, so that SoftHSM reads it again when next asked about the token.

        A login that could not write the file has marked it invalid in memory, and the next change by another
        process would then freeze this process's view of the token for good: new objects unseen, none made
        (SoftHSM 2.6.1, OSToken::index, "Token integrity check failed"). Reading it again clears the mark.
        """
        for folder in self._tokens.iterdir():
            if serial_of(folder.name) == serial:
                content = _read(folder / _NAME)
                (generation,) = _GENERATION.unpack_from(content)
                _write(
                    folder / _NAME,
                    _GENERATION.pack(generation % _MAX_GENERATION + 1) + content[_GENERATION.size :],
                )

    def sync(self) -> None:
        """Push the token's files to the disk; SoftHSM itself never does."""
        descriptor = os.open(self._tokens, os.O_RDONLY | os.O_DIRECTORY)
        try:
            ctypes.CDLL(None).syncfs(descriptor)
        finally:
            os.close(descriptor)


def guard_of(settings: HsmSettings, observer: Observer) -> TokenFileGuard | None:
    """Make the guard when the settings name SoftHSM's configuration file, None otherwise."""
    tokens = None if settings.softhsm_conf is None else token_directory(settings.softhsm_conf)
    return None if tokens is None else TokenFileGuard(tokens, settings.state / "token-objects", observer)


def token_directory(conf: Path) -> Path | None:
    """Read from SoftHSM's configuration where its tokens are; None if it does not say."""
    for line in conf.read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "directories.tokendir":
            return Path(value.strip())
    return None


def serial_of(uuid: str) -> str:
    """Give the serial number that SoftHSM makes from a token's UUID: its last sixteen hex digits."""
    return uuid.replace("-", "")[-16:]


def is_whole(content: bytes) -> bool:
    """Tell whether the bytes are a complete token.object.

    A generation number, then attributes to the very end.
    """
    offset, count = 8, 0
    while offset < len(content):
        size = _attribute_size(content, offset)
        if size == 0:
            return False
        offset += size
        count += 1
    return offset == len(content) and count >= _MIN_ATTRIBUTES


def _attribute_size(content: bytes, offset: int) -> int:
    """Give the size of the attribute (type, kind, value) at an offset; 0 when it is no attribute."""
    if offset + 17 > len(content):
        return 0
    kind = struct.unpack_from(">Q", content, offset + 8)[0]
    if kind in _FIXED:
        return 16 + int(_FIXED[kind])
    if kind not in _COUNTED or offset + 24 > len(content):
        return 0
    return 24 + int(struct.unpack_from(">Q", content, offset + 16)[0])


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_BYTES)
    except OSError:
        return b""


def _write(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably, and prove it by reading it back."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _READ_ONLY)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    if hashlib.sha256(_read(temporary)).digest() != hashlib.sha256(content).digest():
        raise OSError(f"{path.name} could not be written whole")
    temporary.replace(path)
    _sync_folder(path.parent)


def _make_read_only(path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) != _READ_ONLY:
        path.chmod(_READ_ONLY)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
