"""`scripts/fuzz`: garbage at a real daemon and at every parser, within a time, from a seed; prints figures."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.kit import make_kit
from tests.conformance.test_bad_input import problems
from tests.conformance.wire import FOLLOWING, METHODS, Wire
from tests.fuzz import targets as parsers
from tests.fuzz import xkstargets
from tests.fuzz.xkscalls import XksCalls
from tests.garbage import Garbage
from tests.harness import make_folder, running

TARGETS = parsers.TARGETS | xkstargets.TARGETS
_DAEMONS = ("rpc", "xks")  # each with a daemon of its own
_WEIGHTS = {"rpc": 2.0, "xks": 1.0}  # all others together have 1
_KIT_LIFE = 200
_SLOW = FOLLOWING


class Rpcs:
    """Random requests to a daemon of its own; counts how they ended."""

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-fuzz-")))
        self.daemon = stack.enter_context(running(make_folder(folder)))
        self.admin = stack.enter_context(self.daemon.client(timeout=30.0))
        self.kit = make_kit(self.admin)
        self.wires = [stack.enter_context(Wire.connect(self.daemon, who)) for who in ("admin", "service")]
        self.workers = self.daemon.workers()
        self.ends: Counter[str] = Counter()

    def __call__(self, source: random.Random) -> None:
        name = source.choice([n for n in METHODS if n not in _SLOW])
        if self.ends.total() % _KIT_LIFE == 0:  # what was found out by chance may have disabled it
            self.kit = make_kit(self.admin)
        kit = self.kit
        garbage = Garbage(source, (*kit.key_ids(), kit.alias), (kit.ciphertext, kit.signature, kit.tag))
        wire = self.wires[source.random() < 0.1]
        outcome = wire.call(name, garbage.body(METHODS[name].input_type))
        self.ends[outcome.reason or outcome.code.name] += 1
        wrong = problems(outcome, name)
        if self.daemon.workers() != self.workers:
            wrong.append("a worker died")
        if wrong:
            raise AssertionError("; ".join(wrong))


def main() -> int:
    """Fuzz until the time is over; 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--only", default="", help="targets, separated by commas: rpc, xks, " + ", ".join(TARGETS)
    )
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [*_DAEMONS, *TARGETS]
    with ExitStack() as stack:
        rpcs = Rpcs(stack) if "rpc" in wanted else None
        calls = XksCalls(stack) if "xks" in wanted else None
        targets: dict[str, Callable[[random.Random], None]] = {
            name: target for name, target in (("rpc", rpcs), ("xks", calls)) if target is not None
        }
        targets |= {name: TARGETS[name] for name in wanted if name not in _DAEMONS}
        counts, failures = run(targets, arguments.seconds, arguments.seed)
        _say(f"seed {arguments.seed}: " + ", ".join(f"{n} {c}" for n, c in counts.items()))
        if rpcs is not None:
            _say("ends of RPCs: " + ", ".join(f"{reason} {n}" for reason, n in rpcs.ends.most_common()))
        if calls is not None:
            _say("ends of XKS calls: " + ", ".join(f"{name} {n}" for name, n in calls.ends.most_common()))
    for failure in failures:
        _say(f"FAILED {failure}")
    return 1 if failures else 0


def run(
    targets: dict[str, Callable[[random.Random], None]], seconds: float, seed: int
) -> tuple[Counter[str], list[str]]:
    """Give each target its share of the time; returns counts and failures."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    weights = {name: _WEIGHTS.get(name, 1.0 / len(TARGETS)) for name in targets}
    for name, target in targets.items():
        share = weights[name] / sum(weights.values())
        ends, number, most = time.monotonic() + seconds * share, 0, len(failures) + 5
        while time.monotonic() < ends and len(failures) < most:
            try:
                target(random.Random(f"{seed}/{name}/{number}"))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
                failures.append(f"{name} (seed {seed}, number {number}): {type(error).__name__}: {error}")
            number += 1
        counts[name] = number
    return counts, failures


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
