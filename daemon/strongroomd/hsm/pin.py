"""The token's PIN.

Read from a file, a file descriptor or a systemd credential; never from argv or environment.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from strongroomd.domain.errors import Reason, StrongroomError

_MAX_BYTES: Final = 255  # longest PIN that SoftHSM takes (CK_TOKEN_INFO.ulMaxPinLen)
_MIN_BYTES: Final = 4
_LOOSE: Final = 0o177  # every permission bit but the owner's read and write


class Pin:
    """A PIN that shows itself nowhere: no repr, no str, no pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise _refused("the PIN is not valid text") from error
        if not _MIN_BYTES <= size <= _MAX_BYTES:
            raise _refused(f"a PIN has {_MIN_BYTES} to {_MAX_BYTES} bytes")
        self._value = value

    def reveal(self) -> str:
        """Give the PIN to the one caller that logs in with it."""
        return self._value

    def __repr__(self) -> str:
        return "<pin>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PIN is not pickled")


@dataclass(frozen=True, slots=True)
class PinSource:
    """Where the PIN comes from; exactly one is set.

    Attributes:
        file: a file with mode 0400 or 0600, owned by the daemon's user, no symbolic link.
        descriptor: an inherited file descriptor; read to its end and closed, so once per process.
        credential: name of a systemd credential (a file in $CREDENTIALS_DIRECTORY).
    """

    file: Path | None = None
    descriptor: int | None = None
    credential: str = ""

    def __post_init__(self) -> None:
        """Refuse none and several."""
        given = (self.file is not None) + (self.descriptor is not None) + bool(self.credential)
        if given != 1:
            raise _refused("name exactly one of file, descriptor and credential")

    def read(self) -> Pin:
        """Read the PIN; a line end after it is dropped.

        Raises:
            StrongroomError: CONFIGURATION when it cannot be read or is not protected.
        """
        if self.descriptor is not None:
            return _pin_of(self.descriptor)
        return _read_file(self.file or _credential(self.credential))


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder or "/" in name:
        raise _refused("systemd passed no such credential")
    return Path(folder) / name


def _read_file(path: Path) -> Pin:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _refused("the PIN file cannot be opened") from error
    try:
        _check_protection(os.fstat(descriptor))
    except StrongroomError:
        os.close(descriptor)
        raise
    return _pin_of(descriptor)


def _check_protection(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused("the PIN file is no regular file")
    if status.st_uid != os.geteuid():
        raise _refused("the PIN file belongs to another user")
    if stat.S_IMODE(status.st_mode) & _LOOSE:
        raise _refused("the PIN file's mode must be 0400 or 0600")


def _pin_of(descriptor: int) -> Pin:
    try:
        with os.fdopen(descriptor, "rb") as stream:
            raw = stream.read(_MAX_BYTES + 3)
        return Pin(raw.decode().removesuffix("\n").removesuffix("\r"))
    except (OSError, UnicodeDecodeError) as error:
        raise _refused("the PIN cannot be read as text") from error


def _refused(message: str) -> StrongroomError:
    return StrongroomError(Reason.CONFIGURATION, message, field="hsm.pin")
