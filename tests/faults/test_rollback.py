"""Older copies put in place of the daemon's files: it refuses to start and says why; auditors find what was cut."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.core import Core
from tests.harness import Daemon, make_folder, running, wait_until

from strongroom.errors import NotFound
from strongroomd.config import ExitCode
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
START_SECONDS = 40


class History:
    """A stopped daemon's folder with an older copy of its store and audit log beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder, 1)
        self.state = folder / "state"
        self.older = folder / "older"
        with running(self.folder) as daemon, daemon.client() as client:
            self.key = client.create_key().key_id
            self.held = _checkpoint(daemon, 2)
            daemon.stop()
            shutil.copytree(self.state, self.older)
            daemon.start()
            with daemon.client() as again:
                again.disable_key(self.key)
            _checkpoint(daemon, self.held + 2)
            daemon.stop()
            self.config = daemon.config
        self.newest = folder / "newest"
        shutil.copytree(self.state, self.newest)

    def restore(self, *names: str) -> None:
        """Put older copies of some files in place; the rest is as the daemon left it. The token stays."""
        for name in ("audit", "strongroom.sqlite"):
            source = (self.older if name in names else self.newest) / name
            target = self.state / name
            if source.is_dir():
                shutil.rmtree(target)
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)

    def serve(self) -> tuple[int, str]:
        """Start the daemon, expecting it to end by itself."""
        command = [sys.executable, "-m", "strongroomd", "serve", "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_SECONDS)
        return done.returncode, done.stdout + done.stderr


def _checkpoint(daemon: Daemon, number: int) -> int:
    """Wait until the daemon has signed so many checkpoints and moved the anchor; gives the newest number."""
    with daemon.client() as client:

        def reached() -> bool:
            client.generate_random(8)
            return _newest(daemon) >= number

        wait_until(reached, 20)
    time.sleep(1.5)  # the anchor follows the checkpoint that has the change
    return _newest(daemon)


def _newest(daemon: Daemon) -> int:
    with daemon.client() as client:
        try:
            return client.get_audit_checkpoint().number
        except NotFound:
            return 0


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(tmp_path_factory.mktemp("history"))


@pytest.mark.parametrize(
    ("restored", "why"),
    [
        (("strongroom.sqlite",), "older than the token's anchor"),
        (("strongroom.sqlite", "audit"), "older than the token's anchor"),
        (("audit",), "audit log is older than the token's anchor"),
    ],
    ids=["database", "database and audit files", "audit files"],
)
def test_restored_copy_refuses_the_start(history: History, restored: tuple[str, ...], why: str) -> None:
    history.restore(*restored)

    code, log = history.serve()

    assert code == ExitCode.REFUSED, log
    assert "INTEGRITY_FAILURE" in log
    assert why in log


def test_edited_checkpoint_refuses_the_start(history: History) -> None:
    history.restore()
    checkpoints = next((history.state / "audit").glob("*checkpoint*"))
    lines = checkpoints.read_bytes().splitlines(keepends=True)
    checkpoints.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"number":', b'"number":1', 1)]))

    code, log = history.serve()

    assert code == ExitCode.REFUSED, log


def test_newest_files_are_accepted(history: History) -> None:
    history.restore()

    with running(history.folder) as daemon, daemon.client() as client:
        assert client.describe_key(history.key).state == "DISABLED"
        assert daemon.stop() == 0
    history.newest = history.folder / "newest2"
    shutil.copytree(history.state, history.newest)


def _chain(history: History) -> Path:
    """The audit file with the most records."""
    chains = [path for path in (history.state / "audit").rglob("*") if path.is_file()]
    chains = [path for path in chains if "checkpoint" not in path.name and path.stat().st_size]
    return max(chains, key=lambda path: path.stat().st_size)


def _edit(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"outcome":"OK"', b'"outcome":"NO"') for line in lines]


def _truncate_all(lines: list[bytes]) -> list[bytes]:
    return lines[: len(lines) // 2]


TAMPERINGS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "edit": _edit,
    "deletion": lambda lines: lines[:3] + lines[4:],
    "reordering": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "truncation": _truncate_all,
    "duplication": lambda lines: [*lines[:3], lines[2], *lines[3:]],
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_audit_verify_finds_tampering(
    history: History, tampering: Callable[[list[bytes]], list[bytes]]
) -> None:
    history.restore()
    held = history.folder / "held.checkpoint"
    held.write_text(_audit(history, "checkpoint").stdout)
    assert _audit(history, "verify", "--checkpoint", str(held)).returncode == 0
    chain = _chain(history)

    chain.write_bytes(b"".join(tampering(chain.read_bytes().splitlines(keepends=True))))

    done = _audit(history, "verify", "--checkpoint", str(held))
    assert done.returncode == 1, done.stdout
    assert "WRONG" in done.stdout


def test_audit_and_checkpoints_cut_together_are_found_by_the_held_checkpoint(history: History) -> None:
    history.restore()
    held = history.folder / "held.checkpoint"
    held.write_text(_audit(history, "checkpoint").stdout)

    history.restore("audit")

    assert _audit(history, "verify").returncode == 0, "the older log is whole in itself"
    done = _audit(history, "verify", "--checkpoint", str(held))
    assert done.returncode == 1, done.stdout


def _audit(history: History, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "strongroomd", "audit", *arguments, "--config", str(history.config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def test_a_token_without_its_anchor_is_refused(core: Core) -> None:
    await core.create()

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(core.vault, name)

        async def read_anchor(self) -> None:
            return None

    with pytest.raises(StrongroomError) as refusal:
        await Ledger(core.store, Forgetful()).start()

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


async def test_nothing_is_decided_from_memory_once_following_has_failed_for_long(core: Core) -> None:
    key = await core.create()
    core.ledger.bound_staleness(0.5)
    await core.ledger.follow()
    await core.catalog.entry(key.key_id)
    await asyncio.sleep(0.6)

    with pytest.raises(StrongroomError) as refusal:
        await core.catalog.entry(key.key_id)
    await core.ledger.follow()

    assert refusal.value.reason is Reason.STORE_UNAVAILABLE
    assert (await core.catalog.entry(key.key_id)).key.key_id == key.key_id
