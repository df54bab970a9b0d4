"""The XKS proxy door at AWS's load: `scripts/bench xks`.

Encrypt with CDIV and Decrypt in turns, TLS on, each request signed. The generator shares the machine's cores
with the daemon, or has one of its own (`--apart`); its own share of a core is told with every figure, and how late it
was itself.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import apart, rig
from tests.bench.xkscalls import Target

if TYPE_CHECKING:
    import subprocess

P99, P999, WORST = 50.0, 150.0, 250.0  # ms; the aims
MOST_CONNECTIONS = 2_000
TRIES = 2  # of a rate in a search: a neighbour on the machine spoils some
_BUSY = 64  # connections at which nothing waits but for a processor
LOADING = 8
HASTE = 0.05  # seconds that a request of a flood waits for a connection
PEAK = 5.0  # seconds of a peak between two floods
AFTERMATH = 12.0  # seconds after which no connection rests, and no cut is remembered
LEAD = 2.0  # seconds of a flood before it counts
FEW_REFUSED = 0.01  # of the calls of a saturated worker: it refuses some when its loop is late


@dataclass
class Generator:
    """A load generator in a process of its own."""

    process: "subprocess.Popen[str]"

    def start(self, target: Target, seconds: float, **how: Any) -> None:
        """Give an order; `finish` waits for what comes of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"target": asdict(target), "seconds": seconds, **how}) + "\n")
        self.process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """Wait for the end of the order."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        result: dict[str, Any] = json.loads(line)
        return result

    def ask(self, target: Target, seconds: float, **how: Any) -> dict[str, Any]:
        """Carry out an order."""
        self.start(target, seconds, **how)
        return self.finish()


@contextmanager
def generator(*, troubles: bool = False) -> Iterator[Generator]:
    """Run one, where callers do.

    Args:
        troubles: whether it makes trouble for another one, whose times are taken.
    """
    with ExitStack() as stack:
        arguments = apart.trouble() if troubles else []
        with apart.callers():
            helper = stack.enter_context(rig.helper("xksload", *arguments, wait=False))
        yield Generator(helper.process)


def search(target: Target, *, seconds: float, connections: int) -> float:
    """Print and return the highest rate that holds the aims, within 3 %; what fails once is tried again."""
    with generator() as load:
        peak = load.ask(target, min(seconds, 5.0), connections=connections)
        tell("closed loop", peak)
        low, high = 0.0, peak["goodput"] * 1.1
        while high - low > max(0.03 * high, 10.0):
            middle = (low + high) / 2
            good = False
            for _ in range(TRIES):
                found = load.ask(target, seconds, rate=middle, connections=connections)
                tell(f"{middle:.0f}/s", found)
                if good := holds(found, middle):
                    break
            low, high = (middle, high) if good else (low, middle)
    print(f"highest rate that holds p99 < 50, p99.9 < 150, max < 250 ms: {low:.0f}/s")
    return low


def overload(target: Target, *, rounds: int, seconds: float, times: float, memory: "Memory | None") -> None:
    """Print what becomes of goodput when far more is asked than can be done.

    As KMS would, the flood opens connections where those that it has are busy: as many as hold half a second's
    work. A server that queues all of it answers everything too late. Floods and peaks take turns, and each flood is
    held against the two peaks around it: a machine that changes its speed changes both. What a flood leaves behind,
    connections that rest above all, does not count against the peak after it.
    """
    with generator() as load:
        load.ask(target, 2.0)
        held = [memory.now() / 1e6] if memory else []
        peaks, floods = [load.ask(target, PEAK)], []
        tell("peak, closed loop", peaks[0])
        first = peaks[0]["goodput"]
        connections = int(min(MOST_CONNECTIONS, max(256, first / 2)))
        for _ in range(rounds):
            floods.append(
                load.ask(target, seconds, connections=connections, rate=first * times, patience=HASTE)
            )
            tell(f"{times:g} times the peak", floods[-1])
            load.ask(target, AFTERMATH)
            peaks.append(load.ask(target, PEAK))
            tell("peak, afterwards", peaks[-1])
            held += [memory.now() / 1e6] if memory else []
    around = [max(a["goodput"] + b["goodput"], 1e-9) / 2 for a, b in pairwise(peaks)]
    shares = [flood["goodput"] / peak for flood, peak in zip(floods, around, strict=True)]
    names = sum((Counter(flood["names"]) for flood in floods), Counter[str]())
    print(f"goodput within 250 ms over the peak: {rig.spread(shares)}  aim 0.80")
    print(
        f"accepted p99: {rig.spread([flood['p99'] for flood in floods])} ms  aim 250; refusals: {dict(names)}"
    )
    print(f"the last peak over the first: {peaks[-1]['goodput'] / peaks[0]['goodput']:.2f}")
    if held:
        after = " ".join(f"{each:.0f}" for each in held[1:])
        print(f"memory of the daemon: {held[0]:.0f} MB before, {after} MB after each flood")


def noisy(
    quiet: Target, loud: Target, *, rounds: int, seconds: float, quiet_rate: float, quota: float, times: float
) -> None:
    """Print how another store's flood moves a store's p99, once the flood has spent what it may have at one go.

    In turns: alone, beside a store that asks for nearly its quota, and beside one that asks for `times` as much.
    """
    rates = {"alone": 0.0, "within quota": 0.95 * quota, "flood": times * quota}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in rates}
    others = []
    with generator() as load, generator(troubles=True) as noise:
        for target, made in ((quiet, load), (loud, noise)):
            made.ask(target, 1.0, rate=20.0)
        for _ in range(rounds):
            for name, rate in rates.items():
                if rate:
                    noise.start(loud, LEAD + seconds + 0.5, rate=rate, connections=64, patience=HASTE)
                load.ask(quiet, LEAD, rate=quiet_rate)
                found[name].append(load.ask(quiet, seconds, rate=quiet_rate))
                if rate:
                    others.append(noise.finish())
    for name, turns in found.items():
        tell(f"beside: {name}", turns[-1])
    tell("the last flood", others[-1])
    lateness = max(other["lateness"] for other in others)
    print(f"the other store's generator was late by {lateness:.1f} ms at p99 in its worst turn")
    for name in ("p50", "p99"):
        alone, within, flood = ([turn[name] for turn in turns] for turns in found.values())
        for title, base in (("alone", alone), ("within quota", within)):
            ratios = [b / a for a, b in zip(base, flood, strict=True)]
            aim = "  aim 1.20" if name == "p99" else ""
            print(f"{name} beside the flood over {title}: {rig.spread(ratios)}{aim}")


def load_all(target: Target) -> None:
    """Have nearly every key of a target used once."""
    with generator() as load:
        for _ in range(LOADING):
            load.ask(target, 5.0, connections=16, decrypting=0.0)


def keys(few: Target, many: Target, *, rounds: int, seconds: float) -> None:
    """Print the ratio of medians with many keys over few; the two are asked in turns."""
    with generator() as load:
        for target in (few, many):
            load.ask(target, seconds, connections=1)
        turns = [[load.ask(t, seconds, connections=1)["p50"] for t in (few, many)] for _ in range(rounds)]
    print(f"p50 with {len(few.keys)} keys: {rig.spread([t[0] for t in turns])} ms")
    print(f"p50 with {len(many.keys)} keys: {rig.spread([t[1] for t in turns])} ms")
    print(f"ratio: {rig.spread([t[1] / t[0] for t in turns])}  aim 1.10")


def efficiency(target: Target, echo: Target, raw: rig.Rounds, *, rounds: int, seconds: float) -> None:
    """Print E: (bare HTTPS echo + raw PKCS#11) over what a call costs us, all in turns.

    Both servers get the same signed requests from the same generator, which shares the cores with them, over as
    many connections as keep all of them busy.
    """
    for title, decrypting, work in (
        ("Encrypt with CDIV", 0.0, "xks_encrypt"),
        ("Decrypt", 1.0, "xks_decrypt"),
    ):
        turns = []
        with generator() as load:
            for _ in range(rounds):
                ours = _cost(load.ask(target, seconds, connections=_BUSY, decrypting=decrypting))
                bare = _cost(load.ask(echo, seconds, connections=_BUSY, decrypting=decrypting, echo=True))
                turns.append((bare, raw.ask(work, min(seconds, 1.0)), ours))
        bare, alone, ours = (rig.median([turn[n] for turn in turns]) for n in range(3))
        spread = rig.spread([(a + b) / c for a, b, c in turns])
        print(f"{title:20}E {spread}  echo {bare:.0f} + raw {alone:.0f} over {ours:.0f} us  aim 0.70")


def holds(found: dict[str, Any], per_second: float) -> bool:
    """Say whether the aims hold, and everything that was due was answered and right."""
    amiss = found["unsent"] or found["lost"] or found["wrong"] or found["names"]
    late = found["p99"] >= P99 or found["p999"] >= P999 or found["worst"] >= WORST
    return not amiss and not late and found["good"] >= 0.99 * per_second * found["seconds"]


def tell(title: str, found: dict[str, Any]) -> None:
    """Print one line of figures."""
    times = "  ".join(f"{name} {found[name]:.1f}" for name in ("p50", "p99", "p999", "max"))
    amiss = {name: found[name] for name in ("late", "unsent", "lost", "wrong", "names") if found[name]} or ""
    print(
        f"{title:20} {found['goodput']:6.0f}/s good  {times} ms  generator: {found['cpu']:.2f} core, "
        f"late by {found['lateness']:.1f} ms at p99  {amiss}",
        flush=True,
    )


def _cost(found: dict[str, Any]) -> float:
    """Give the microseconds of a served call, those few counted in which went into refusing others."""
    refused = sum(found["names"].values())
    if refused > FEW_REFUSED * found["sent"] or found["wrong"] or found["lost"]:
        raise RuntimeError(f"refused: {found['names']}, wrong {found['wrong']}, lost {found['lost']}")
    return float(found["seconds"]) / int(found["good"]) * 1e6


@dataclass(frozen=True)
class Memory:
    """Resident memory of a supervisor and its workers."""

    pid: int

    def now(self) -> int:
        """In bytes."""
        workers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        statms = (Path(f"/proc/{pid}/statm").read_text() for pid in (str(self.pid), *workers))
        return sum(int(each.split()[1]) for each in statms) * 4_096
