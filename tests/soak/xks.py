"""The XKS door under attack, and changed live, while KMS goes on calling.

A generator in a process of its own calls at a steady rate. Strangers do one bad thing after the other: quiet
and attack in turns, medians. Then everything that may change while the door is open does. No call may fail.
Calls that a slow machine makes late (503, 429, not sent in time) are told apart: the door answers so by design.
"""

import json
import re
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import apart, rig, xks, xksrig
from tests.bench.xkscalls import Target
from tests.harness import reissue
from tests.soak import xksattacks, xkslive
from tests.soak.promises import WrongResult
from tests.soak.xksattacks import ATTACKS, Order
from tests.soak.xksstage import CONNECTIONS, Figures, Stage, Turn, Workers

if TYPE_CHECKING:
    import subprocess

KEYS = 4
MOST = 2_600  # connections of all workers: for 2,000 strangers there is room, for 3,500 there is not
_BUGS = re.compile(r'strongroom_xks_errors_total\{error="InternalException".*\} ([1-9]\S*)')
_BREAKER = re.compile(r"strongroom_hsm_breaker_state\S* ([1-9]\S*)")
_FLUSH = 0.7  # seconds in which workers hand their counts over
_SETTLE = 15.0  # seconds after which connections of attackers must be gone


@dataclass
class Attackers:
    """The process of `xksattacks`."""

    process: "subprocess.Popen[str]"

    def begin(self, name: str, target: Target, share: float) -> None:
        """Begin an attack; returns once all attackers have tried to connect; WrongResult if they are too slow."""
        if self._ask(json.dumps(asdict(Order(name, asdict(target), share)))).strip() != "ready":
            raise WrongResult(f"{name}: not all attackers came")

    def end(self) -> int:
        """End it; says how often they did what they do."""
        return int(self._ask(""))

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise WrongResult("the attackers' process ended")
        return answer


def run(
    folder: Path,
    seconds: float,
    *,
    rounds: int = 3,
    rate: float = 300.0,
    share: float = 1.0,
    attacks: tuple[str, ...] = tuple(ATTACKS),
    changes: tuple[str, ...] = tuple(xkslive.CHANGES),
    separate: bool = False,
) -> Figures:
    """Run it all.

    Args:
        folder: an empty folder.
        seconds: of each round, quiet or attacked.
        rounds: of each attack.
        rate: calls a second of healthy clients.
        share: of the attackers that each attack has.
        attacks: which.
        changes: which.
        separate: attackers and healthy clients have a processor of their own, so that an attack costs the healthy
            what it costs the daemon, and not what it costs those who make it.

    Raises:
        WrongResult: a worker died, a bug showed, the breaker tripped, connections stayed, or a change had no effect.
    """
    with ExitStack() as stack:
        stack.enter_context(apart.keep(apart=separate))
        config = _configured(folder, apart.workers())
        figures, authority = Figures(), reissue(folder)
        stores = stack.enter_context(xksrig.serving(config))
        load = stack.enter_context(xks.generator())
        healthy, loud = stores.make("blue", KEYS), stores.make("loud", 1)
        store = next(s.key_store_id for s in stores.client.list_key_stores().items if s.uri_prefix == "/blue")
        stage = Stage(stores, Workers(stores.daemon), load, healthy, store, rate, figures, authority)
        stage.ask(1.0)  # everything is warm
        with apart.callers():
            helper = stack.enter_context(
                rig.helper("xksattacks", *apart.trouble(), wait=False, package="tests.soak")
            )
        _attacks(stage, Attackers(helper.process), loud, (attacks, seconds, rounds, share))
        xkslive.run(stage, changes)
    return figures


def _configured(folder: Path, workers: int) -> Path:
    """Found a daemon for this; gives its configuration."""
    config = xksrig.found(folder, workers)
    most = f"max_connections = {MOST // workers}"
    config.write_text(config.read_text().replace("max_connections = 4000", most))
    return config


def _attacks(
    stage: Stage, attackers: Attackers, loud: Target, plan: tuple[tuple[str, ...], float, int, float]
) -> None:
    names, seconds, rounds, share = plan
    workers, figures, pids = stage.workers, stage.figures, stage.workers.pids()
    before = workers.rss(), workers.descriptors()
    for name in names:
        target = loud if name in xksattacks.SIGNED else stage.healthy
        turn = figures.turns[name] = Turn()
        dropped = workers.dropped()
        for _ in range(rounds):
            _round(stage, turn.quiet, f"before {name}", seconds)
            attackers.begin(name, target, share)
            _round(stage, turn.attacked, name, seconds)
            turn.rss = max(turn.rss, workers.rss())
            turn.descriptors = max(turn.descriptors, workers.descriptors())
            turn.acts += attackers.end()
        time.sleep(_FLUSH)
        turn.dropped = workers.dropped() - dropped
    after = _settled(workers, before[1])
    figures.rss, figures.descriptors = (before[0], after[0]), (before[1], after[1])
    _judge(workers, pids)


def _round(stage: Stage, times: dict[str, list[float]], when: str, seconds: float) -> None:
    used = stage.workers.cpu()
    found = stage.ask(seconds)
    found["cores"] = (stage.workers.cpu() - used) / seconds
    stage.figures.take(when, found)
    for name, values in times.items():
        values.append(found[name])


def _settled(workers: Workers, descriptors: int) -> tuple[int, int]:
    """Wait until the connections of attackers are gone: those of healthy clients are opened for each round."""
    ends = time.monotonic() + _SETTLE
    while workers.descriptors() > descriptors + CONNECTIONS:
        if time.monotonic() > ends:
            raise WrongResult(f"{workers.descriptors()} descriptors stay open, {descriptors} were before")
        time.sleep(0.2)
    return workers.rss(), workers.descriptors()


def _judge(workers: Workers, pids: list[int]) -> None:
    scraped = workers.scrape()
    if workers.pids() != pids:
        raise WrongResult("a worker died")
    if bugs := _BUGS.search(scraped):
        raise WrongResult(f"{bugs[1]} calls ended as bugs")
    if _BREAKER.search(scraped):
        raise WrongResult("the breaker of the HSM tripped")
