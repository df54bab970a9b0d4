"""`scripts/mutate`: changes the evaluator, one branch at a time, and names the changes that no case notices."""

import argparse
import os
import random
import sys
import time

from tests.mutation.equivalents import EQUIVALENTS
from tests.mutation.mutants import mutants
from tests.mutation.report import Report
from tests.mutation.targets import targets
from tests.mutation.trials import Trial, failing, run


def main() -> int:
    """Try mutants; 0 if every one is killed, or listed as equivalent and alive."""
    if sys.flags.hash_randomization:  # the order of sets must not decide what survives
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.mutation", *sys.argv[1:]])  # noqa: S606 - itself
    arguments = _arguments()
    trials = [Trial(target, mutant) for target in targets() for mutant in mutants(target.path, target.file)]
    report = Report(EQUIVALENTS)
    report.look_for_stale(trial.mutant for trial in trials if trial.mutant)
    started = time.monotonic()
    for trial, killer in run(_chosen(trials, arguments), arguments.jobs):
        if trial.mutant:
            report.add(trial.mutant, killer)
    # Where a stage fails anyway, what it killed means nothing.
    report.problems += [f"fails without a mutant: {stage}" for stage in failing(targets(), report.killed)]
    for problem in report.problems:
        _say(problem)
    for stage, count in report.killed.most_common():
        _say(f"{count:6} killed by {stage}")
    _say(f"{report.summary()}; seed {arguments.seed}, {time.monotonic() - started:.0f} s")
    return 1 if report.problems else 0


def _chosen(trials: list[Trial], arguments: argparse.Namespace) -> list[Trial]:
    """Choose what is asked for; a sample leaves out what is known to live, as that takes longest."""
    chosen = [trial for trial in trials if trial.target.file.endswith(arguments.only)]
    if not arguments.sample:
        return chosen
    mortal = [trial for trial in chosen if trial.mutant and trial.mutant.key not in EQUIVALENTS]
    return random.Random(arguments.seed).sample(mortal, min(arguments.sample, len(mortal)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("--only", default="", help="modules whose path ends so, such as evaluation.py")
    parser.add_argument("--sample", type=int, default=0, help="so many mutants, taken at random")
    parser.add_argument("--seed", type=int, default=0, help="repeats a sample")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a program that talks to people


if __name__ == "__main__":
    sys.exit(main())
