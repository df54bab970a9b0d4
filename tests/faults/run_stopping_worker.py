"""The daemon's own worker, killed where the file `failpoint` beside its configuration says (tests/failpoints.py)."""

import os
import signal
import sys
from pathlib import Path

from strongroomd.cli.app import main
from strongroomd.telemetry import failpoints


def _config() -> Path:
    for number, argument in enumerate(sys.argv):
        name, _, value = argument.partition("=")
        if name == "--config":
            return Path(value or sys.argv[number + 1])
    raise SystemExit("no --config")


_PLACE = _config().parent / "failpoint"


def _die_there(step: str) -> None:
    try:
        if _PLACE.read_text() != step:
            return
        _PLACE.unlink()  # whoever removes it dies; the successor goes on
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


failpoints.arm(_die_there)
main()
