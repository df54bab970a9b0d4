"""A real daemon whose wall clock is moved by libfaketime, running and at restarts: nothing ends early.

The monotonic clock is not faked. Certificates are valid from 100 days ago for two years. A deletion of seven days and
a rotation schedule are made at the true time T. Then:

1. running, +40 days: the deletion would be due. Nothing is destroyed or rotated; the jump is in the log.
2. running, back to T, then -40 days, then back to T: the key is there and can be cancelled and scheduled again.
3. restart at T + 6 days (more than a day after the last checkpoint: a day of rest), restart at T + 7 days - 6
   minutes, when the rest is over and nothing is due yet.
4. running, +1 hour: past the due date, but jumped there: nothing is destroyed.
5. restart in the day of rest, and at T + 8 days and 2 hours, when it is over: the key is destroyed and its
   certificate verifies.
6. restart at T + 90 days: a day of rest; then the key with the schedule is rotated, once.
"""

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from tests.harness import AUTHORITIES, Daemon, await_ready, make_folder
from tests.soak.promises import WrongResult

from strongroom.errors import StrongroomError
from strongroom.statements import verify
from strongroomd.frontends.grpc import pki

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOUR, DAY = 3_600, 86_400
LOOK = 25.0  # seconds in which the leader has looked for what is due, even on a slow machine
_BACKDATE = dt.timedelta(days=100)


@dataclass
class Figures:
    """What was seen at each step."""

    steps: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The steps, one a line."""
        return self.steps


_SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"


class Wall:
    """The daemon's wall clock, set by a file that libfaketime reads each second."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        (folder / "sitecustomize.py").write_text(_SLEEP)
        self.set(0)

    def set(self, seconds: int) -> None:
        """Move the clock so far from the true time."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}s\n")
        beside.replace(self._file)

    def environment(self) -> dict[str, str]:
        """What makes a process live by this clock.

        Under libfaketime 0.9.10 with a true monotonic clock time.sleep fails (clock_nanosleep: EINVAL): it sleeps by
        select here.
        """
        return os.environ | {
            "PYTHONPATH": str(self._file.parent),
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def run(folder: Path) -> Figures:
    """Go through all steps; raises WrongResult at the first that ends differently."""
    if not LIBRARY.exists():
        raise WrongResult("libfaketime is not installed: scripts/setup dev")
    figures, wall = Figures(), Wall(folder)
    home = _prepared(folder / "daemon")
    with _serving(home, wall) as daemon, daemon.client() as client:
        doomed, kept = client.create_key().key_id, client.create_key().key_id
        client.enable_key_rotation(kept, rotation_period_days=90)
        client.schedule_key_deletion(doomed, pending_window_days=7)
        wall.set(40 * DAY)
        time.sleep(LOOK)
        _demand(daemon, doomed, "PENDING_DELETION", kept, 1, "running, +40 days")
        if "the clock jumped forward" not in daemon.log:
            raise WrongResult("the jump of 40 days is not in the log")
        for offset in (0, -40 * DAY, 0):
            wall.set(offset)
            time.sleep(3)
            _demand(daemon, doomed, "PENDING_DELETION", kept, 1, f"running, clock at {offset // DAY:+d} days")
        client.cancel_key_deletion(doomed)
        client.schedule_key_deletion(doomed, pending_window_days=7)
        figures.steps.append("running: +40 days, -40 days and back: nothing destroyed, nothing rotated")
    wall.set(6 * DAY)
    with _serving(home, wall) as daemon:
        time.sleep(LOOK)
        _demand(daemon, doomed, "PENDING_DELETION", kept, 1, "restart at +6 days")
        figures.steps.append("restart at +6 days: nothing destroyed, a day of rest")
    wall.set(7 * DAY - 360)
    with _serving(home, wall) as daemon:
        time.sleep(LOOK)
        _demand(daemon, doomed, "PENDING_DELETION", kept, 1, "restart six minutes before the date")
        wall.set(7 * DAY - 360 + HOUR)
        time.sleep(LOOK)
        _demand(daemon, doomed, "PENDING_DELETION", kept, 1, "running, +1 hour past the date")
        figures.steps.append("running, +1 hour past the date: nothing destroyed")
    _rest(home, wall, 7 * DAY + 20 * HOUR, doomed, kept)
    wall.set(8 * DAY + 2 * HOUR)
    with _serving(home, wall) as daemon, daemon.client() as client:
        _until_destroyed(daemon, doomed)
        certificate = client.get_destruction_certificate(doomed)
        pem = (home / "state" / "statement-public-key.pem").read_bytes()
        verify(certificate.payload, certificate.signature, pem, kind="destruction-certificate")
        figures.steps.append("restart at +8 days and 2 hours: destroyed, certificate verified")
    _rest(home, wall, 90 * DAY + HOUR, "", kept)
    _rest(home, wall, 90 * DAY + 20 * HOUR, "", kept)
    wall.set(91 * DAY + 2 * HOUR)
    with _serving(home, wall) as daemon:
        time.sleep(LOOK)
        _demand(daemon, "", "", kept, 2, "restart at +91 days")
    figures.steps.append("restart at +90 days: not rotated in the day of rest; at +91 days: rotated once")
    return figures


def _rest(folder: Path, wall: Wall, offset: int, doomed: str, kept: str) -> None:
    """Serve for a while within a day of rest, so that the next start is within a day of a checkpoint."""
    wall.set(offset)
    with _serving(folder, wall) as daemon:
        time.sleep(LOOK)
        _demand(daemon, doomed, "PENDING_DELETION", kept, 1, f"resting, at +{offset // HOUR} hours")


def _prepared(folder: Path) -> Path:
    folder.mkdir()
    with mock.patch.object(pki, "_BACKDATE", _BACKDATE):
        made = make_folder(folder, workers=1)
        authority, tls = pki.Authority.make(days=730), folder / "tls"
        for path in tls.iterdir():
            path.unlink()
        (tls / "ca.pem").write_bytes(authority.certificate)
        authority.server(["localhost", "127.0.0.1"], 730).write(tls / "server.pem", tls / "server.key")
        for name in ("admin", "service", "other"):
            credential = authority.client(name, f"spiffe://strongroom.dev/{name}", 730)
            credential.write(tls / f"{name}.pem", tls / f"{name}.key")
    AUTHORITIES[folder] = authority
    return made


@contextmanager
def _serving(folder: Path, wall: Wall) -> Iterator[Daemon]:
    command = [sys.executable, "-m", "strongroomd", "serve", "--config", str(folder / "strongroomd.toml")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=wall.environment()
        )
    daemon = Daemon(folder, process, AUTHORITIES[folder])
    try:
        await_ready(daemon)
        yield daemon
        daemon.stop()
    finally:
        if process.poll() is None:
            daemon.kill()


def _demand(daemon: Daemon, doomed: str, state: str, kept: str, version: int, when: str) -> None:
    with daemon.client() as client:
        if doomed and client.describe_key(doomed).state != state:
            raise WrongResult(f"{when}: the key that waits is not {state}")
        if client.describe_key(kept).current_version != version:
            raise WrongResult(f"{when}: the key with a schedule is not at version {version}")
        client.encrypt(kept, b"it serves")


def _until_destroyed(daemon: Daemon, key: str) -> None:
    deadline = time.monotonic() + 2 * LOOK
    while time.monotonic() < deadline:
        try:
            with daemon.client() as client:
                client.get_destruction_certificate(key)
                return
        except StrongroomError as error:
            if error.reason not in {"NOT_FOUND", "INVALID_KEY_STATE"}:
                raise
        time.sleep(0.5)
    raise WrongResult("the key was not destroyed although its time has come")
