"""Many policies and grants against few: the start of a daemon, and decisions by its own judge, in turns.

Half of the policies are key policies, each of a key of its own; half are identity policies, each of a principal
of its own. Of the grants a fifth are of one key and one grantee, each under an encryption context of its own;
the others lend each key to principals of its own. Each decision is about another key and caller than the one
before: of the same few keys in both stores, so that what grows with the store shows, and then of all keys, where
the larger store does not fit into the processor's caches.
"""

import asyncio
import gc
import random
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import rig
from tests.bench.callers import CASES, FEW_GRANTS, FEW_POLICIES, Case, fill, key_id

if TYPE_CHECKING:
    from strongroomd.custody.catalog import Catalog
    from strongroomd.custody.judging import Judge

SAMPLES = 20_000


def run(folder: Path, *, rounds: int, policies: int, grants: int) -> None:
    """Print the ratios of the medians of single decisions, and how long daemons take to be ready."""
    configs = rig.found_two(folder)
    numbers = [(FEW_POLICIES, FEW_GRANTS), (policies, grants)]
    with (
        rig.helper("access", configs[0], *numbers[0]) as few,
        rig.helper("access", configs[1], *numbers[1]) as many,
    ):
        print(f"{policies} policies and {grants} grants against {FEW_POLICIES} and {FEW_GRANTS}")
        for case in CASES:
            for keys in (FEW_POLICIES // 2, policies // 2):
                asked = f"{keys} {case.title}"
                times = [(few.ask(asked), many.ask(asked)) for _ in range(rounds)]
                medians, ratios = rig.spread([b for _, b in times]), rig.spread([b / a for a, b in times])
                print(f"{case.title:30} {keys:5} keys  p50, us: {medians}  ratio: {ratios}", flush=True)
    print("aim of the ratios: 1.2 where both ask about the same few keys")
    starts: list[list[float]] = [[], []]
    for _ in range(rounds):
        for config, seconds in zip(configs, starts, strict=True):
            begun = time.perf_counter()
            with rig.daemon(config):
                seconds.append(time.perf_counter() - begun)
    for (some, lent), seconds in zip(numbers, starts, strict=True):
        print(f"daemon ready with {some} policies and {lent} grants, s: {rig.spread(seconds)}  aim 5")


@dataclass(frozen=True)
class Bench:
    """What decides, and about how many keys."""

    catalog: "Catalog"
    judge: "Judge"
    keys: int

    async def decide(self, case: Case, number: int) -> bool:
        """Make one decision as the gate does: find the key, recall, else decide."""
        from strongroomd.custody import bringing

        caller, context = case.caller(number), case.context(number)
        entry = await self.catalog.find(caller.principal.account, key_id(case, number))
        decision = self.judge.recall(entry, caller, case.action)
        if decision is None:
            bring = partial(bringing.encryption, None, context)
            decision = await self.judge.decide(entry, caller, case.action, bring)
        return decision.allowed

    async def median(self, case: Case, keys: int) -> float:
        """The median of single decisions, in seconds; each was made once before it is timed."""
        numbers = range(min(keys, self.keys))
        for number in numbers:
            if await self.decide(case, number) is not case.allowed:
                raise RuntimeError(f"{case.title}: not as told")
        picked, times = random.Random(1).choices(numbers, k=SAMPLES), list[int]()
        for number in picked:
            begun = time.perf_counter_ns()
            await self.decide(case, number)
            times.append(time.perf_counter_ns() - begun)
        return rig.median(times) / 1e9


async def _serve(config: Path, policies: int, grants: int) -> None:
    from tests.bench.inside import inside

    from strongroomd.custody.catalog import Catalog
    from strongroomd.custody.clock import Clock
    from strongroomd.custody.directory import Directory
    from strongroomd.custody.judging import Judge
    from strongroomd.custody.ledger import Ledger
    from strongroomd.custody.lending import Lending
    from strongroomd.wiring import rooms

    async with inside(config) as it:
        await fill(it.ledger, it.vault, policies, grants)
        reborn = Ledger(it.store, it.vault)  # as a new worker reads it
        await reborn.follow()
        directory = Directory(reborn, it.store)
        await directory.start()
        catalog = Catalog(reborn, it.vault, rooms.realm(it.settings))
        judge = Judge(Clock(), catalog, directory, Lending(reborn))
        await _answer(Bench(catalog, judge, policies // 2))


async def _answer(bench: Bench) -> None:
    cases: dict[str, Any] = {case.title: case for case in CASES}
    gc.collect()
    gc.freeze()  # as a worker does
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        keys, _, title = line.strip().partition(" ")
        print(1, await bench.median(cases[title], int(keys)), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
