"""One mutant after the other, each in a process of its own: does a case notice?

A mutant is tried by forking this process, which has everything loaded but the daemon, and importing the daemon there
with one module's tree changed: that costs a tenth of a second, where a fresh pytest takes seconds. It first meets the
tables of cases, and then, while nothing has failed, the files of tests one by one. Whatever differs from the run
without it kills it: a failed test, an import that fails, a process that breaks or does not end.
"""

import ast
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

import hypothesis
import pytest
from tests.mutation.mutants import Mutant

ROOT: Final = Path(__file__).resolve().parents[2]
CASES: Final = "cases"
"""The stage that puts the tables of `tests/policy_cases.py` and `tests/policy_corpus.py` to the evaluator."""
BROKEN: Final = "broke"
"""What killed a mutant whose process broke or did not end."""
_CPU_SECONDS: Final = 20  # without a mutant a trial takes a quarter of it
_MEMORY: Final = 4 << 30
_OPTIONS: Final = (
    *("-q", "-x", "--noconftest", "--assert=plain", "--timeout=0", "-W", "ignore"),
    *("-p", "no:cacheprovider", "-p", "no:xdist"),
)
_FIRST_STAGE: Final = 10  # the status of a process whose mutant was killed there

hypothesis.settings.register_profile("mutation", derandomize=True, database=None, deadline=None)


@dataclass(frozen=True)
class Target:
    """A module to be changed.

    Attributes:
        file: how mutants call it.
        module: its name.
        stages: `CASES`, or what pytest calls a file or a test, in the order in which they are tried.
    """

    file: str
    path: Path
    module: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What is to be tried: a target, with one mutant or as it is."""

    target: Target
    mutant: Mutant | None = None

    def tree(self) -> ast.Module:
        """Give the module as it is tried."""
        return ast.parse(self.target.path.read_text()) if self.mutant is None else self.mutant.apply()


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from code that is in no file."""

    def __init__(self, target: Target, code: CodeType) -> None:
        self._target = target
        self._code = code

    def find_spec(self, name: str, _path: object, _module: object = None) -> ModuleSpec | None:
        if name != self._target.module:
            return None
        return importlib.util.spec_from_file_location(name, self._target.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - a changed module is what this is for


def run(trials: Iterable[Trial], jobs: int, cpu_seconds: float = _CPU_SECONDS) -> Iterator[tuple[Trial, str]]:
    """Try each, several at once, and give what killed it, in the order in which they end; empty for survivors.

    Args:
        trials: what to try.
        jobs: how many at once.
        cpu_seconds: what each may take before it is taken for endless.
    """
    running: dict[int, Trial] = {}
    waiting = iter(trials)
    while True:
        while len(running) < jobs and (trial := next(waiting, None)) is not None:
            running[_start(trial, cpu_seconds)] = trial
        if not running:
            return
        pid, status = os.wait()
        trial = running.pop(pid)
        yield trial, _killer(trial.target, os.waitstatus_to_exitcode(status))


def failing(targets: Iterable[Target], stages: Iterable[str]) -> list[str]:
    """List which of these stages fail without any mutant."""
    among = {stage: target for target in targets for stage in target.stages}
    alone = [Trial(replace(among[stage], stages=(stage,))) for stage in stages if stage in among]
    return sorted(trial.target.stages[0] for trial, killer in run(alone, 1) if killer)


def _killer(target: Target, status: int) -> str:
    if status == 0:
        return ""
    number = status - _FIRST_STAGE
    return target.stages[number] if 0 <= number < len(target.stages) else BROKEN


def _start(trial: Trial, cpu_seconds: float) -> int:
    if any(name.partition(".")[0] == "strongroomd" for name in sys.modules):
        raise RuntimeError("the daemon is loaded already: a change would not be seen")
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _bound(cpu_seconds)
            status = _try(trial)
        finally:
            os._exit(status)
    return pid


def _bound(cpu_seconds: float) -> None:
    """Give the process no voice, and limits that do not depend on what else the machine does."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _try(trial: Trial) -> int:
    os.chdir(ROOT)
    code = compile(trial.tree(), trial.target.path, "exec")
    sys.meta_path.insert(0, _Changed(trial.target, code))
    hypothesis.settings.load_profile("mutation")
    for number, stage in enumerate(trial.target.stages):
        if not _passes(stage):
            return _FIRST_STAGE + number
    return 0


def _passes(stage: str) -> bool:
    if stage != CASES:
        return pytest.main([*_OPTIONS, stage]) is pytest.ExitCode.OK
    try:
        return _cases_pass()
    except Exception:  # noqa: BLE001 - whatever a changed evaluator does
        return False


def _cases_pass() -> bool:
    from tests import policy_cases, policy_corpus  # noqa: PLC0415 - they load what is changed

    return all(policy_cases.answer(row.case) is row.allowed for row in policy_cases.ROWS) and all(
        policy_cases.answer(policy_corpus.build(line)) is allowed for line, allowed in policy_corpus.stored()
    )
