"""Exportable keys move to another KEK while they are used and workers are killed: no call fails, nothing is lost."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from tests.harness import Daemon, make_folder, running, wait_until
from tests.soak.promises import USAGES, Promise, WrongResult

from strongroom import Client
from strongroom.errors import StrongroomError

SPECS = ("SYMMETRIC_DEFAULT", "SYMMETRIC_DEFAULT", "HMAC_256", "HMAC_256", "ECC_NIST_P256")
PATIENCE = 900.0  # seconds for the whole re-wrap


@dataclass
class Figures:
    """What a run showed; latencies in milliseconds, before and while keys moved."""

    keys: int = 0
    total: int = 0
    rewrapped: int = 0
    seconds: float = 0.0
    kills: int = 0
    progress: list[int] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    moving: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.rewrapped} of {self.total} key versions moved in {self.seconds:.0f} s, workers killed: {self.kills}"
        yield f"calls meanwhile: {len(self.moving)}, failed: {len(self.failed)}"
        for name, latencies in (("before", self.quiet), ("meanwhile", self.moving)):
            if len(latencies) > 1:
                cuts = quantiles(latencies, n=100)
                yield f"latency ms {name}: p50 {cuts[49]:.1f}, p99 {cuts[98]:.1f}, max {max(latencies):.0f}"
        yield f"progress seen: {len(set(self.progress))} steps, never backwards"
        yield from self.failed[:10]


class Load(threading.Thread):
    """One client that uses keys and checks what they made before."""

    def __init__(self, daemon: Daemon, keys: list[Promise], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client = daemon.client(timeout=30.0)
        self._keys = keys
        self._stop_asked = stop
        self.latencies: list[tuple[float, float]] = []
        self.failed: list[str] = []

    def run(self) -> None:
        """Do one call after the other until told to stop, and check everything at the end."""
        while not self._stop_asked.is_set():
            key = random.choice(self._keys)
            self._timed(lambda key=key: key.prove(self._client))  # type: ignore[misc]
            self._timed(lambda key=key: key.check_one(self._client))  # type: ignore[misc]
        for key in self._keys:
            self._timed(lambda key=key: key.check_all(self._client))  # type: ignore[misc]
        self._client.close()

    def _timed(self, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        try:
            work()
        except (StrongroomError, WrongResult) as error:
            self.failed.append(f"{error!r} {getattr(error, 'code', '')}")
        self.latencies.append((begun, (time.perf_counter() - begun) * 1000))


def run(
    folder: Path,
    keys: int = 10_000,
    *,
    threads: int = 4,
    per_second: int = 200,
    quiet: float = 10.0,
    kills: int = 2,
) -> Figures:
    """Make exportable keys, use some of them all the time, give them a new KEK, and kill workers meanwhile."""
    figures = Figures(keys=keys)
    with running(make_folder(folder)) as daemon, daemon.client(timeout=30.0) as client:
        made = _make(client, keys)
        stop = threading.Event()
        used = random.sample(made, min(len(made), 50 * threads))
        loads = [Load(daemon, used[each::threads], stop) for each in range(threads)]
        for load in loads:
            load.start()
        time.sleep(quiet)
        begun = time.perf_counter()
        try:
            _rewrap(daemon, client, figures, per_second, kills)
        finally:
            figures.seconds = time.perf_counter() - begun
            stop.set()
            for load in loads:
                load.join(120)
        figures.failed += [line for load in loads for line in load.failed]
        _judge(figures, [pair for load in loads for pair in load.latencies], begun)
        _inspect(client, figures)
        _sample(client, random.sample(made, min(len(made), 200)))
    return figures


def _make(client: Client, count: int) -> list[Promise]:
    def one(number: int) -> Promise:
        spec = SPECS[number % len(SPECS)]
        return Promise(client.create_key(spec=spec, usage=USAGES[spec], exportable=True).key_id, spec)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(count)))


def _rewrap(daemon: Daemon, client: Client, figures: Figures, per_second: int, kills: int) -> None:
    client.rotate_house_key("kek-exportable")
    job = client.start_rewrap(per_second=per_second)
    figures.total = job.total
    deadline = time.monotonic() + PATIENCE
    while job.state == "RUNNING" and time.monotonic() < deadline:
        if figures.kills < kills and job.rewrapped >= job.total * (figures.kills + 1) // (kills + 2):
            _kill(daemon, figures.kills)
            figures.kills += 1
        job = client.get_rewrap()
        figures.progress.append(job.rewrapped)
        time.sleep(0.1)
    figures.rewrapped = job.rewrapped
    if job.state != "DONE" or job.failed:
        raise WrongResult(f"the re-wrap is {job.state}, failed: {job.failed}")


def _kill(daemon: Daemon, which: int) -> None:
    """Kill a worker, each in its turn, and wait for its successor: one of them leads the re-wrap."""
    before = daemon.workers()
    os.kill(before[which % len(before)], signal.SIGKILL)
    wait_until(lambda: set(daemon.workers()) != set(before) and daemon.state["state"] == "ready", 60)


def _judge(figures: Figures, latencies: list[tuple[float, float]], begun: float) -> None:
    end = begun + figures.seconds
    figures.quiet = [spent for at, spent in latencies if at < begun]
    figures.moving = [spent for at, spent in latencies if begun <= at < end]
    if figures.progress != sorted(figures.progress):
        raise WrongResult("the progress went backwards")


def _inspect(client: Client, figures: Figures) -> None:
    keks = [key for key in client.list_house_keys() if key.role == "kek-exportable"]
    left = {key.generation: key.versions for key in keks}
    if left != {0: 0, 1: figures.keys} or figures.rewrapped != figures.total:
        raise WrongResult(f"{figures.rewrapped} of {figures.total} moved; under the KEKs are {left}")


def _sample(client: Client, keys: list[Promise]) -> None:
    for key in keys:
        key.prove(client)
        key.check_all(client)
