"""SIGKILLs aimed at workers while they log in: the token must outlive them all, and every key with it."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon, make_folder, running, wait_until
from tests.soak import folders
from tests.soak.promises import new_key

STARTUP_SECONDS = 1.5
PATIENCE = 60.0


@dataclass
class Figures:
    """What a run of kills at login showed."""

    kills: int = 0
    inside_lock: int = 0
    repaired: int = 0
    seconds: float = 0.0
    left_over: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.kills} workers killed while they started, {self.inside_lock} of them inside the login lock"
        yield f"token.object repaired {self.repaired} times; {self.seconds:.0f} s; afterwards {self.left_over}"


def run(folder: Path, kills: int, seconds: float = float("inf")) -> Figures:
    """Kill starting workers: every other one while it holds the login lock, the rest 0 to 1.5 s after its start."""
    make_folder(folder, 2)
    figures, begun = Figures(), time.monotonic()
    with running(folder) as daemon:
        with daemon.client() as client:
            keys = [
                new_key(client, spec, mode, "")
                for mode in ("WRAPPED", "RESIDENT")
                for spec in ("SYMMETRIC_DEFAULT", "ECC_NIST_P256")
            ]
            for key in keys:
                key.prove(client)
        while figures.kills < kills and time.monotonic() - begun < seconds:
            _kill_ready(daemon)
            # Two early deaths in a row cost no pause; then one worker may become ready.
            for _ in range(2):
                inside = _kill_starting(daemon, aim_at_lock=figures.kills % 2 == 0)
                figures.kills += 1
                figures.inside_lock += inside
            wait_until(lambda: daemon.state["state"] == "ready", PATIENCE)
            with daemon.client(timeout=20.0) as client:
                for key in keys:
                    key.check_all(client)
        daemon.kill()
        daemon.start()
        with daemon.client() as client:
            for key in keys:
                key.check_all(client)
                key.prove(client)
        daemon.stop()
        figures.repaired = daemon.log.count("token_object_repaired")
    figures.left_over = folders.inspect(folder)
    figures.seconds = time.monotonic() - begun
    return figures


def _kill_ready(daemon: Daemon) -> None:
    ready = [worker["pid"] for worker in daemon.state["workers"] if worker["state"] == "ready"]
    os.kill(random.choice(ready), signal.SIGKILL)


def _kill_starting(daemon: Daemon, *, aim_at_lock: bool) -> bool:
    """Kill the next worker that starts; returns whether it held the login lock at that moment."""
    wait_until(lambda: _starting(daemon) is not None, PATIENCE)
    pid = _starting(daemon)
    assert pid is not None
    if aim_at_lock:
        lock = daemon.folder / "state" / "token" / "hsm.lock"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not _holds(pid, lock) and _starting(daemon) == pid:
            time.sleep(0.0005)
        time.sleep(random.uniform(0, 0.01))
        inside = _holds(pid, lock)
    else:
        time.sleep(random.uniform(0, STARTUP_SECONDS))
        inside = _holds(pid, daemon.folder / "state" / "token" / "hsm.lock")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in daemon.workers(), PATIENCE)
    return inside


def _starting(daemon: Daemon) -> int | None:
    for worker in daemon.state["workers"]:
        if worker["state"] == "starting":
            return int(worker["pid"])
    return None


def _holds(pid: int, lock: Path) -> bool:
    """Look for an flock on the file in the kernel's table (proc(5), /proc/locks)."""
    inode = lock.stat().st_ino
    fields = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any(
        f[1] == "FLOCK" and f[4] == str(pid) and f[5].endswith(f":{inode}") for f in fields if f[1] != "->"
    )
