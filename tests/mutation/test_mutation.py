"""Each branch of the evaluator matters to some case: a sample a day of `scripts/mutate`, and the proof that it bites."""

import ast
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.report import Report
from tests.mutation.targets import targets
from tests.mutation.trials import ROOT, Trial, run

_SAMPLE = 10


def python(*arguments: str) -> str:
    """Run Python without the daemon loaded; what it prints, once it succeeded."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_sample_of_mutants_is_killed_and_no_entry_of_the_table_is_stale() -> None:
    """Another sample each day; the output has the seed that repeats it."""
    today = datetime.now(UTC).date().toordinal()

    said = python("-m", "tests.mutation", "--sample", str(_SAMPLE), "--seed", str(today), "--jobs", "1")

    assert f"{_SAMPLE} mutants: {_SAMPLE} killed, 0 equivalent as listed, 0 survived" in said


_TRIALS = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.mutation.mutants import mutants
from tests.mutation.targets import targets
from tests.mutation.trials import CASES, Target, Trial, failing, run

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
own = Target("sample.py", folder / "sample.py", "sample", (str(folder / "test_sample.py"),))
for trial, killer in run([Trial(own, m) for m in mutants(own.path, own.file)], 2, 1.5):
    print(trial.mutant, "|", Path(killer).name)
real = next(replace(t, stages=(CASES,)) for t in targets() if t.file.endswith("evaluation.py"))
deadly = [m for m in mutants(real.path, real.file) if str(m).endswith("_NOT_DELEGATED: allowed=False -> allowed=True")]
for trial, killer in run([Trial(real, m) for m in (None, *deadly)], 2):
    print(trial.mutant, "|", killer)
broken = Target("sample.py", own.path, "sample", (str(folder / "test_broken.py"),))
print("failing", [Path(stage).name for stage in failing([own, broken], (*own.stages, *broken.stages))])
"""


def test_a_deadly_mutant_is_killed_and_one_that_no_test_meets_survives(tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(
        "def covered(n: int) -> bool:\n    return n > 1\n\n\n"
        "def uncovered(n: int) -> bool:\n    return n > 1\n\n\n"
        "def endless(n: object) -> None:\n    for _ in iter(lambda: n, None):\n        break\n"
    )
    (tmp_path / "test_sample.py").write_text(
        "from sample import covered, endless\n\n\n"
        "def test_covered() -> None:\n    assert [covered(n) for n in (0, 1, 2)] == [False, False, True]\n"
        "    endless(1)\n"
    )
    (tmp_path / "test_broken.py").write_text("def test_broken() -> None:\n    raise ValueError\n")

    said = python("-c", _TRIALS, str(tmp_path)).splitlines()

    assert "sample.py: covered: n > 1 -> n >= 1 | test_sample.py" in said
    assert "sample.py: covered: return n > 1 -> return True | test_sample.py" in said
    assert "sample.py: uncovered: n > 1 -> n >= 1 | " in said
    assert "sample.py: uncovered: return n > 1 -> return True | " in said
    assert "sample.py: endless: break -> pass | broke" in said
    assert "domain/policy/evaluation.py: _NOT_DELEGATED: allowed=False -> allowed=True | cases" in said
    assert "None | " in said
    assert said[-1] == "failing ['test_broken.py']"


def test_nothing_is_tried_where_the_daemon_is_loaded_already() -> None:
    import strongroomd  # noqa: F401, PLC0415 - as whoever forgets

    with pytest.raises(RuntimeError, match="loaded already"):
        next(run([Trial(targets()[0])], 1))


CHANGES: dict[str, tuple[str, set[str]]] = {
    "a condition": ("if f(x):\n    y()", {"f(x) -> True", "f(x) -> False", "y() -> pass"}),
    "a condition of a choice": ("z = a if c else b", {"c -> True", "c -> False"}),
    "a filter": ("z = [a for a in b if c]", {"c -> True", "c -> False"}),
    "a loop": ("for a in b:\n    continue", {"b -> ()", "continue -> pass"}),
    "an endless loop": ("while True:\n    break", {"True -> False", "break -> pass"}),
    "alternatives": ("z = a or b", {"a or b -> a and b", "a in a or b -> nothing", "b in a or b -> nothing"}),
    "a negation": ("z = not a", {"not a -> a"}),
    "an order": ("z = a <= b", {"a <= b -> a < b", "a <= b -> a > b"}),
    "a range": ("z = 0 < a", {"0 < a -> 0 <= a", "0 < a -> 0 >= a", "0 -> 1", "0 -> -1"}),
    "a membership": ("z = a in b", {"a in b -> a not in b"}),
    "an identity": ("z = a is not b", {"a is not b -> a is b"}),
    "a text that is compared": ("z = a == 'x'", {"a == 'x' -> a != 'x'", "'x' -> '§x'"}),
    "a text that is said": ("raise E('x')", {"raise E('x') -> pass"}),
    "a parameter": ("z = f(a=True)", {"a=True -> a=False"}),
    "a return": ("def f():\n    return a", {"return a -> return None"}),
    "a return of nothing": ("def f():\n    return", {"return -> pass"}),
    "an answer": ("def f() -> bool:\n    return a()", {"return a() -> return True", "return a() -> return False"}),
    "a rule of a table": ("z = {'x': lambda y: y}", {"'x': lambda y: y -> nothing", "y -> None"}),
    "an element": ("z = {a}", {"a -> nothing"}),
    "an element of a call": ("z = f((a, b))", {"a -> nothing", "b -> nothing"}),
    "a union": ("z = a | b", {"a | b -> a", "a | b -> b"}),
    "a difference": ("z = a - b", {"a - b -> a", "a - b -> a + b"}),
    "all": ("z = all(a)", {"all(a) -> any(a)"}),
    "an order of answers": ("z = sorted(a)", {"sorted(a) -> a"}),
    "a beginning": ("z = a.startswith('x')", {"a.startswith('x') -> a.endswith('x')", "'x' -> '§x'"}),
    "a folding": ("z = a.lower()", {"a.lower() -> a"}),
    "a memory": ("a[b] = c", {"a[b] = c -> pass"}),
    "a case": ("match a:\n    case 1 | 2:\n        b\n    case _:\n        c", {
        *("case 1 | 2 -> nothing", "case _ -> nothing", "1 -> nothing", "2 -> nothing", "1 -> 2", "1 -> 0"),
        *("2 -> 3", "2 -> 1", "b -> pass", "c -> pass"),
    }),
    "a handler": ("try:\n    a()\nexcept E:\n    z = b", {"a() -> pass", "except E: -> raise"}),
    "what does not decide": ("import a\nz: int\nT = list[int]\n'doc'\nz = f'{a}'", set()),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_place_that_decides_is_changed(tmp_path: Path, name: str) -> None:
    source, expected = CHANGES[name]
    (tmp_path / "m.py").write_text(source)

    assert {mutant.key[2] for mutant in mutants(tmp_path / "m.py", "m.py")} == expected


def test_a_mutant_is_named_by_its_place_and_not_by_its_line(tmp_path: Path) -> None:
    def keys(source: str) -> list[tuple[str, str, str]]:
        (tmp_path / "m.py").write_text(textwrap.dedent(source))
        return [mutant.key for mutant in mutants(tmp_path / "m.py", "m.py")]

    source = """
        class A:
            def b(self):
                c(True)
                d(True)
    """

    assert ("m.py", "A.b", "True -> False (2)") in keys(source)
    assert keys(source) == keys("# A comment.\n" + textwrap.dedent(source))


def test_every_mutant_is_other_code_than_the_module(tmp_path: Path) -> None:
    for name, (source, expected) in CHANGES.items():
        (tmp_path / "m.py").write_text(source)
        for number in range(len(expected)):
            mutant = mutants(tmp_path / "m.py", "m.py")[number]
            assert ast.unparse(mutant.apply()) != ast.unparse(ast.parse(source)), (name, mutant.key)


def _mutant(tmp_path: Path) -> Mutant:
    (tmp_path / "m.py").write_text("z = True")
    return mutants(tmp_path / "m.py", "m.py")[0]


def test_a_survivor_and_a_killed_equivalent_are_problems(tmp_path: Path) -> None:
    mutant = _mutant(tmp_path)
    for listed, killer, problems in ((True, "", 0), (False, "cases", 0), (True, "cases", 1), (False, "", 1)):
        report = Report([mutant.key] if listed else [])
        report.add(mutant, killer)
        assert len(report.problems) == problems, report


def test_an_entry_that_names_no_mutant_is_a_problem(tmp_path: Path) -> None:
    mutant = _mutant(tmp_path)
    report = Report([mutant.key, ("m.py", "z", "True -> None")])

    report.look_for_stale([mutant])

    assert report.problems == ["names no mutant: m.py: z: True -> None"]


def test_every_module_of_the_evaluator_is_changed() -> None:
    files = {target.file for target in targets()}

    assert {"domain/policy/evaluation.py", "domain/grants.py", "custody/judging.py"} <= files
    assert len(files) >= 19
    assert all(mutants(target.path, target.file) for target in targets())
