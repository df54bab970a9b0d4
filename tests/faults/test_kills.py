"""Kill -9 at every step of rotations, imports, re-wraps, destructions and the like: nothing is lost, doubled or half done."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.failpoints import steps

pytestmark = pytest.mark.softhsm
ROOT = Path(__file__).parent.parent.parent
KILLS = [
    *(("rotation, wrapped", step) for step in ("birth.1", *steps("rotate"))),
    *(("rotation, resident", step) for step in (*steps("birth")[1:], *steps("rotate"))),
    *(("parameters", step) for step in steps("import-parameters")),
    *(("import", step) for step in steps("import")),
    *(("import, given up", step) for step in steps("import")[:3]),
    *(("deletion of material", step) for step in steps("delete-material")),
    *(("expiry of material", step) for step in steps("expire-material")),
    *(("rotation, imported", step) for step in steps("rotate-imported")),
    *(("succession", step) for step in steps("rotate-kek")),
    *(("re-wrap", step) for step in steps("rewrap")),
    *(("reseal", step) for step in steps("reseal")),
    *(("destruction", step) for step in steps("delete")),
]
ACTIONS: tuple[str, ...] = (
    *("birth", "rotate", "import-parameters", "import", "delete-material", "expire-material"),
    *("rotate-imported", "rotate-kek", "rewrap", "reseal", "delete"),
)

Kill = Callable[[Path, str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def kill() -> Iterator[Kill]:
    """Have a scenario killed at a step by the process that has loaded everything (mortals.py)."""
    program = [sys.executable, "-m", "tests.faults.mortals"]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin
        assert process.stdout
        requests, answers = process.stdin, process.stdout

        def one(folder: Path, scenario: str, step: str) -> dict[str, Any]:
            requests.write(json.dumps({"folder": str(folder), "scenario": scenario, "step": step}) + "\n")
            requests.flush()
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer

        yield one
        requests.close()


def test_every_step_of_every_action_is_tried() -> None:
    assert {step for _, step in KILLS} == {step for action in ACTIONS for step in steps(action)}
    assert len({step for _, step in KILLS}) == 35


@pytest.mark.parametrize(("scenario", "step"), KILLS, ids=[f"{scenario}-{step}" for scenario, step in KILLS])
def test_whoever_dies_leaves_what_can_be_finished_or_repeated(
    kill: Kill, tmp_path: Path, scenario: str, step: str
) -> None:
    found = kill(tmp_path, scenario, step)

    assert found["died"] == -signal.SIGKILL, found["said"][-4_000:]
    assert found["checked"] == 0, found["said"][-4_000:]
