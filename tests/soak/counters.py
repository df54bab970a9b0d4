"""SIGKILLs of workers that take invocations from one counter: none is handed out twice, none beyond the limit.

What is killed is the counting alone, without daemon or token: the real ledger on the real store, with MACs made in
software. So a hundred kills take seconds, and hit a reservation more often than any daemon's traffic would.
"""

import asyncio
import hashlib
import hmac
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.databases import make_database
from tests.soak.promises import WrongResult

from strongroomd.custody.invocations import Invocations
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.invocations import AT_BIRTH, Bounds
from strongroomd.domain.journal import GENESIS
from strongroomd.domain.keys import Anchor, BoundVersion
from strongroomd.domain.records import (
    CustodyMode,
    InvocationsRecord,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import SqlStore, open_store

BOUNDS = Bounds(limit=40_000, block=16, warn=32_000, rotate=36_000)
WORKERS = 3
LIFE = (0.02, 0.15)  # seconds from a worker's birth to its death
_AWAY = frozenset({Reason.STORE_UNAVAILABLE})
_KEY = KeyRecord(
    "k", "111122223333", KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, CustodyMode.WRAPPED, "", Origin.HSM,
    False, KeyState.ENABLED, "", 0, 0, 1, "{}", (),
)  # fmt: skip
_VERSION = VersionRecord("k", 1, VersionState.ACTIVE, 0, "", "", b"", 32, b"", b"", b"")
_BOUND = BoundVersion("k", _KEY.spec, _KEY.usage, _KEY.mode, exportable=False, record=_VERSION)


class SoftVault:
    """What a ledger asks of a vault, in software."""

    async def record_mac(self, data: bytes) -> bytes:
        """HMAC under a key that everybody knows."""
        return hmac.digest(b"soak", data, hashlib.sha256)

    async def record_mac_matches(self, data: bytes, mac: bytes) -> bool:
        """Make it again and compare."""
        return hmac.compare_digest(await self.record_mac(data), mac)

    def knows_mac_key(self, mac: bytes) -> bool:
        """There is but one."""
        return len(mac) == hashlib.sha256().digest_size

    async def read_anchor(self) -> Anchor:
        """An anchor that knows of an empty store."""
        return Anchor(0, GENESIS, 0, bytes(32))


@dataclass
class Figures:
    """What a run showed."""

    kills: int = 0
    taken: int = 0
    reserved: int = 0
    blocks: int = 0
    seconds: float = 0.0

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.kills} kills in {self.seconds:.1f} s; {self.taken} invocations handed out, each once"
        yield f"{self.reserved} of {BOUNDS.limit} reserved in {self.blocks} blocks of {BOUNDS.block}"


def run(folder: Path, kills: int, seconds: float = float("inf")) -> Figures:
    """Run the kills in a process of their own, which has no threads and may fork.

    Raises:
        WrongResult: an invocation was handed out twice, without a reservation, or beyond the limit.
    """
    command = [sys.executable, "-m", "tests.soak.counters", str(folder), str(kills), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongResult(done.stderr[-2_000:])
    return Figures(**json.loads(done.stdout))


def _main(folder: Path, kills: int, seconds: float) -> Figures:
    url, book, begun, figures = (
        f"sqlite:///{folder}/counters.db",
        folder / "taken",
        time.monotonic(),
        Figures(),
    )
    make_database(url)
    asyncio.run(_found(url))
    book.touch()
    living: list[tuple[float, int]] = []
    while figures.kills < kills and time.monotonic() - begun < seconds:
        while len(living) < WORKERS:
            living.append((time.monotonic() + random.uniform(*LIFE), _born(url, book)))
        due, pid = min(living)
        time.sleep(max(0.0, due - time.monotonic()))
        _kill(pid)
        living.remove((due, pid))
        figures.kills += 1
    for _, pid in living:
        _kill(pid)
    figures.seconds = time.monotonic() - begun
    asyncio.run(_judge(url, [int(line) for line in book.read_text().split()], figures))
    return figures


def _born(url: str, book: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(_work(url, book))
        finally:
            os._exit(1)
    return pid


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


async def _work(url: str, book: Path) -> None:
    """Take invocations as fast as possible, writing down each in one piece, until the end."""
    ledger = await _ledger(open_store(StoreSettings(url)))
    counters, out = Invocations(ledger, bounds=BOUNDS), os.open(book, os.O_WRONLY | os.O_APPEND)
    while True:
        try:
            number = await counters.take(_BOUND)
        except StrongroomError as error:
            if error.reason in _AWAY:
                continue
            await asyncio.sleep(0.01)  # all are used up: wait for the end
        else:
            os.write(out, b"%d\n" % number)


async def _ledger(store: SqlStore) -> Ledger:
    vault: Any = SoftVault()
    ledger = Ledger(store, vault)
    await ledger.start()
    return ledger


async def _found(url: str) -> None:
    store = open_store(StoreSettings(url))
    async with (await _ledger(store)).change() as change:
        await change.put(_KEY)
        await change.put(_VERSION)
    await store.close()


async def _judge(url: str, taken: list[int], figures: Figures) -> None:
    """Hold what was handed out against the counter, which must verify."""
    store = open_store(StoreSettings(url))
    counter = await (await _ledger(store)).read(InvocationsRecord, "k/1")
    await store.close()
    figures.taken, figures.reserved = len(taken), counter.reserved if counter else AT_BIRTH
    figures.blocks = counter.row_version if counter else 0
    if len(set(taken)) != len(taken):
        raise WrongResult(f"{len(taken) - len(set(taken))} invocations were handed out twice")
    if taken and not AT_BIRTH < min(taken) <= max(taken) <= figures.reserved <= BOUNDS.limit:
        raise WrongResult(f"handed out {min(taken)} to {max(taken)}, reserved {figures.reserved}")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
