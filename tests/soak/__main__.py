"""`scripts/soak`: long runs whose figures can be quoted."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.soak import (
    clock,
    counters,
    events,
    forgeries,
    grantkills,
    kills,
    load,
    logins,
    policykills,
    rewrap,
    xksstage,
)
from tests.soak import xks as hostile
from tests.soak.promises import WrongResult


def main() -> int:
    """Run one of them, in a folder that goes away if all went well."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="for what the clients choose")
    kinds = parser.add_subparsers(dest="kind", required=True)
    mixed = kinds.add_parser(
        "load", help="mixed operations by 8 clients on 4 workers, some of which are killed"
    )
    mixed.add_argument("--seconds", type=float, default=600.0)
    mixed.add_argument("--threads", type=int, default=8)
    mixed.add_argument("--workers", type=int, default=4)
    mixed.add_argument("--kill-every", type=float, default=5.0, help="mean seconds between kills; 0 for none")
    killing = kinds.add_parser("kills", help="kill -9 of the daemon during create, rotate, schedule deletion")
    killing.add_argument("--rounds", type=int, default=100)
    killing.add_argument("--seconds", type=float, default=float("inf"))
    killing.add_argument("--workers", type=int, default=2)
    granting = kinds.add_parser("grants", help="kill -9 of the daemon while grants are made and ended")
    granting.add_argument("--rounds", type=int, default=50)
    granting.add_argument("--seconds", type=float, default=float("inf"))
    ruling = kinds.add_parser("policies", help="kill -9 of the daemon while policies change")
    ruling.add_argument("--rounds", type=int, default=50)
    ruling.add_argument("--seconds", type=float, default=float("inf"))
    counting = kinds.add_parser("counters", help="kill -9 of workers that count invocations")
    counting.add_argument("--rounds", type=int, default=1_000)
    counting.add_argument("--seconds", type=float, default=float("inf"))
    login = kinds.add_parser("logins", help="kill -9 of workers that log in")
    login.add_argument("--rounds", type=int, default=60)
    login.add_argument("--seconds", type=float, default=float("inf"))
    event = kinds.add_parser("events", help="webhook, NATS, workers and daemon taken away while keys change")
    event.add_argument("--seconds", type=float, default=300.0)
    event.add_argument("--away", type=float, default=5.0, help="how long each blow lasts")
    _add_xks(kinds)
    forging = kinds.add_parser(
        "forgeries", help="forged ciphertexts at the XKS door, honest calls between them"
    )
    forging.add_argument("--count", type=int, default=50_000)
    moving = kinds.add_parser("rewrap", help="exportable keys move to a new KEK under load, workers killed")
    moving.add_argument("--keys", type=int, default=10_000)
    moving.add_argument("--per-second", type=int, default=200)
    kinds.add_parser("clock", help="the wall clock is moved by libfaketime while keys wait for their dates")
    arguments = parser.parse_args(sys.argv[1:] or ["load"])
    random.seed(arguments.seed)
    _say(f"seed {arguments.seed}")
    place = Path(tempfile.mkdtemp(prefix="strongroom-soak-"))
    try:
        good = _run(arguments, place)
    except WrongResult as wrong:
        _say(f"WRONG: {wrong}")
        good = False
    if not good:
        _say(f"FAILED; the daemon's folder is kept for a look: {place}")
        return 1
    shutil.rmtree(place)
    return 0


_ROUNDS: dict[str, Callable[[Path, int, float], Any]] = {
    "grants": grantkills.run,
    "policies": policykills.run,
    "counters": counters.run,
    "logins": logins.run,
}
"""Kinds that are so many rounds, or so long."""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _run(arguments: argparse.Namespace, folder: Path) -> bool:
    """Print the figures line by line; says whether all is well."""
    figures: (
        load.Figures
        | kills.Figures
        | grantkills.Figures
        | policykills.Figures
        | counters.Figures
        | logins.Figures
        | events.Figures
        | xksstage.Figures
        | forgeries.Figures
        | rewrap.Figures
        | clock.Figures
    )
    match arguments.kind:
        case "load":
            figures = load.run(
                folder,
                arguments.seconds,
                threads=arguments.threads,
                workers=arguments.workers,
                kill_every=arguments.kill_every,
            )
        case "kills":
            figures = kills.run(folder, arguments.rounds, arguments.seconds, arguments.workers)
        case "events":
            figures = events.run(folder, arguments.seconds, away=arguments.away)
        case "xks":
            figures = hostile.run(
                folder,
                arguments.seconds,
                rounds=arguments.rounds,
                rate=arguments.rate,
                separate=arguments.apart,
            )
        case "clock":
            figures = clock.run(folder)
        case "forgeries":
            figures = forgeries.run(folder, arguments.count)
        case "rewrap":
            figures = rewrap.run(folder, arguments.keys, per_second=arguments.per_second)
        case _:
            figures = _ROUNDS[arguments.kind](folder, arguments.rounds, arguments.seconds)
    for line in figures.lines():
        _say(line)
    return not getattr(figures, "failed", [])


def _add_xks(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    attacked = kinds.add_parser(
        "xks", help="strangers attack the XKS door, then all that may change there does"
    )
    attacked.add_argument("--seconds", type=float, default=5.0, help="of each round")
    attacked.add_argument("--rounds", type=int, default=5, help="of each attack, quiet and attacked in turns")
    attacked.add_argument("--rate", type=float, default=300.0, help="healthy calls a second")
    attacked.add_argument("--apart", action="store_true", help="callers have a processor of their own")


if __name__ == "__main__":
    sys.exit(main())
