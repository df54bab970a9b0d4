"""Making a SoftHSM token for development, without its PINs ever being an argument or a variable."""

import os
import pty
import secrets
import select
import subprocess
from pathlib import Path
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError

_SECONDS: Final = 30.0
_PLACES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


def find_module() -> Path:
    """Find SoftHSM's module.

    Raises:
        StrongroomError: CONFIGURATION if it is not installed.
    """
    for place in map(Path, _PLACES):
        if place.is_file():
            return place
    raise StrongroomError(
        Reason.CONFIGURATION, "SoftHSM is not installed: apt-get install softhsm2", field="hsm.module"
    )


def make_token(folder: Path, label: str) -> tuple[Path, Path]:
    """Make a token with random PINs in a folder of its own.

    Args:
        folder: existing; gets `softhsm2.conf`, `tokens/`, `pin` and `so-pin` (mode 0400).
        label: the token's label.

    Returns:
        SoftHSM's configuration file and the file with the user PIN.

    Raises:
        StrongroomError: HSM_UNAVAILABLE if softhsm2-util fails.
    """
    (folder / "tokens").mkdir(mode=0o700)
    conf = folder / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    so_pin, pin = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    initialise_token(conf, label, so_pin, pin)
    for name, value in (("so-pin", so_pin), ("pin", pin)):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with os.fdopen(descriptor, "w") as file:
            file.write(value)
    return conf, folder / "pin"


def initialise_token(conf: Path, label: str, so_pin: str, pin: str) -> None:
    """Answer softhsm2-util's questions on a terminal of its own: it takes PINs only there or in argv.

    Raises:
        StrongroomError: HSM_UNAVAILABLE if softhsm2-util fails.
    """
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed arguments
            ["softhsm2-util", "--init-token", "--free", "--label", label],  # noqa: S607 - wherever it is installed
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"SOFTHSM2_CONF": str(conf)},
            start_new_session=True,
        )
    except OSError as error:
        os.close(ours)
        raise StrongroomError(Reason.HSM_UNAVAILABLE, detail="softhsm2-util cannot be run") from error
    finally:
        os.close(theirs)
    try:
        for answer in (so_pin, so_pin, pin, pin):
            _await_prompt(ours)
            os.write(ours, answer.encode() + b"\n")
        code = process.wait(_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        process.kill()
        process.wait()
        raise StrongroomError(Reason.HSM_UNAVAILABLE, detail="softhsm2-util did not answer") from error
    finally:
        os.close(ours)
    if code != 0:
        raise StrongroomError(Reason.HSM_UNAVAILABLE, detail="softhsm2-util failed")


def _await_prompt(terminal: int) -> None:
    """Read until `...PIN: `: what is written earlier is flushed away when echo is switched off."""
    seen = b""
    while not seen.endswith(b"PIN: "):
        if not select.select([terminal], [], [], _SECONDS)[0]:
            raise TimeoutError
        seen += os.read(terminal, 1)
