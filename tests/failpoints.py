"""Numbered steps (`strongroomd.telemetry.failpoints`): which there are, and daemons whose workers die at one.

A daemon's own code cannot be told where to die. So the supervisor here starts another program as its workers,
`tests/faults/run_stopping_worker.py`: the daemon's worker, told to look for a file `failpoint` beside the
configuration. It names a step; the first worker that reaches it removes the file and is gone by SIGKILL.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import AUTHORITIES, Daemon, await_ready, wait_until

ROOT = Path(__file__).parent.parent
_REACHED = re.compile(r'failpoints\.reach\("([a-z-]+\.[0-9]+)"\)')
_PROGRAM = Path(__file__).parent / "faults" / "run_stopping_supervisor.py"


def steps(action: str) -> list[str]:
    """The steps of an action, in order, as the daemon's sources have them."""
    sources = (ROOT / "daemon" / "strongroomd").rglob("*.py")
    found = [step for path in sources for step in _REACHED.findall(path.read_text())]
    assert len(found) == len(set(found)), "a step is reached in one place only"
    mine = [step for step in found if step.partition(".")[0] == action]
    return sorted(mine, key=lambda step: int(step.partition(".")[2]))


def place(daemon: Daemon) -> Path:
    """The file that names the step at which the next worker dies."""
    return daemon.folder / "failpoint"


@contextmanager
def dying_at(daemon: Daemon, step: str) -> Iterator[None]:
    """Have the first worker killed that reaches a step within the block; fails if none was by then.

    Its successor may not be ready yet when this returns: who goes on needs patience.
    """
    place(daemon).write_text(step)
    try:
        yield
        wait_until(lambda: not place(daemon).exists(), 30)
    finally:
        place(daemon).unlink(missing_ok=True)


@contextmanager
def stopping(folder: Path) -> Iterator[Daemon]:
    """Serve from a folder made by `make_folder`, with workers that can be told where to die."""
    command = [sys.executable, str(_PROGRAM), str(folder / "strongroomd.toml")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
    daemon = Daemon(folder, process, AUTHORITIES.get(folder))
    try:
        await_ready(daemon)
        yield daemon
    finally:
        if process.poll() is None:
            daemon.kill()
