"""What a soak of the XKS door is played with: a daemon, its callers' generator, figures."""

import json
import os
import re
import statistics
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import rig, xks, xksrig
from tests.bench.xkscalls import Target

from strongroomd.frontends.grpc.pki import Authority

CONNECTIONS = 16  # of those who are healthy
TIMES = {"p50": 1, "p99": 1, "cores": 2}
"""What is told of each round, and to how many digits."""
LATE = frozenset({"503 DependencyTimeoutException", "429 ThrottlingException"})
_DROPPED = re.compile(r'strongroom_xks_connections_dropped_total\{cause="(\w+)"\} (\S+)')


@dataclass
class Turn:
    """One attack: medians of quiet and of attacked rounds; what was seen of the workers in it.

    Times are in ms. The cores that the workers used tell what an attack costs also where others use the machine.
    """

    acts: int = 0
    quiet: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TIMES})
    attacked: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TIMES})
    rss: int = 0
    descriptors: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> str:
        """Say it for people."""
        shown = []
        for which, digits in TIMES.items():
            before, during = (statistics.median(each[which]) for each in (self.quiet, self.attacked))
            shown.append(f"{which} {before:.{digits}f} -> {during:.{digits}f}")
        return (
            f"{name:15} {'  '.join(shown)}  {self.acts} acts  workers {self.rss >> 20} MiB, "
            f"{self.descriptors} descriptors  dropped {dict(self.dropped)}"
        )


@dataclass
class Figures:
    """What a run showed."""

    calls: int = 0
    late: int = 0
    failed: list[str] = field(default_factory=list)
    turns: dict[str, Turn] = field(default_factory=dict)
    changes: dict[str, float] = field(default_factory=dict)
    rss: tuple[int, int] = (0, 0)
    descriptors: tuple[int, int] = (0, 0)

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield from (turn.line(name) for name, turn in self.turns.items())
        yield (
            f"workers before and after all attacks: {self.rss[0] >> 20} and {self.rss[1] >> 20} MiB, "
            f"{self.descriptors[0]} and {self.descriptors[1]} descriptors"
        )
        yield from (f"{name}: in {seconds:.1f} s, under load" for name, seconds in self.changes.items())
        yield f"{self.calls} calls of healthy clients, {self.late} late for the machine, {len(self.failed)} kinds of failure"
        yield from self.failed

    def take(self, when: str, found: dict[str, Any], *, ending: bool = False) -> None:
        """Take in a round of the healthy; at the daemon's end some calls find nobody, which is no failure."""
        self.calls += found["sent"]
        for name, count in found["names"].items():
            if name in LATE:
                self.late += count
            elif not (ending and name == "no connection"):
                self.failed.append(f"{when}: {count} times {name}")
        self.late += 0 if ending else found["unsent"]  # no connection was free before the round's end
        for name in ("lost", "wrong"):
            if found[name]:
                self.failed.append(f"{when}: {found[name]} {name}")


@dataclass(frozen=True)
class Workers:
    """The workers of a daemon, from outside."""

    daemon: rig.Daemon

    @property
    def state(self) -> dict[str, Any]:
        """What the supervisor publishes."""
        state: dict[str, Any] = json.loads((self.daemon.folder / "run" / "daemon.json").read_bytes())
        return state

    def pids(self) -> list[int]:
        """Those that live."""
        return [int(worker["pid"]) for worker in self.state["workers"] if worker["pid"]]

    def rss(self) -> int:
        """Resident bytes of all."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()) * 4_096

    def cpu(self) -> float:
        """Seconds of a core that all have used."""
        stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids())
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """How many all have open; 0 where the kernel does not tell."""
        with suppress(PermissionError):
            return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids())
        return 0

    def scrape(self) -> str:
        """Read the metrics."""
        with urllib.request.urlopen(f"http://{self.state['ops']}/metrics", timeout=10) as reply:
            return str(reply.read().decode())

    def dropped(self) -> Counter[str]:
        """How many connections the door has ended, by cause."""
        return Counter({cause: int(float(count)) for cause, count in _DROPPED.findall(self.scrape())})


@dataclass
class Stage:
    """All that a run needs."""

    stores: xksrig.Stores
    workers: Workers
    load: xks.Generator
    healthy: Target
    store: str
    rate: float
    figures: Figures
    authority: Authority = field(repr=False)
    asked: int = 0

    def ask(self, seconds: float) -> dict[str, Any]:
        """Let the healthy call, on new connections."""
        self.asked += 1
        return self.load.ask(self.healthy, seconds, rate=self.rate, connections=CONNECTIONS)
