"""scripts/demo-share: the story of two accounts, as anybody may run it, and that it tells no fairy tale."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strongroom.errors import AccessDenied, Throttled

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "demo-share"
STEPS = 14


@pytest.fixture(scope="module")
def script() -> Any:
    loader = SourceFileLoader("demo_share", str(SCRIPT))
    spec = spec_from_loader("demo_share", loader)
    assert spec is not None
    module = module_from_spec(spec)
    patch = pytest.MonkeyPatch()
    patch.setitem(sys.modules, "demo_share", module)  # dataclasses look there
    loader.exec_module(module)
    patch.undo()
    return module


@pytest.mark.daemon
@pytest.mark.softhsm
@pytest.mark.slow
def test_the_story_comes_true_and_leaves_nothing_behind(tmp_path: Path) -> None:
    elsewhere, temporary = tmp_path / "elsewhere", tmp_path / "tmp"
    elsewhere.mkdir()
    temporary.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}

    done = subprocess.run(
        [str(SCRIPT)],
        check=False,
        cwd=elsewhere,
        env=clean | {"TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^\[ ?(\d+)\] \S", done.stdout, re.MULTILINE) == [str(n + 1) for n in range(STEPS)]
    measured = re.search(r"refused on all 16 connections (\d\.\d+) s after", done.stdout)
    assert measured is not None
    assert 0 < float(measured[1]) <= 1
    assert done.stdout.count("refused: ") == 6
    assert done.stdout.endswith("as told\n")
    assert list(temporary.iterdir()) == []


class Fake:
    """A client whose every call ends the same way."""

    def __init__(self, ends: Callable[[], object]) -> None:
        self._ends = ends

    def __getattr__(self, _name: str) -> Callable[..., object]:
        return lambda *_values, **_named: self._ends()


def denies() -> object:
    raise AccessDenied("ACCESS_DENIED", "no")


def knows_nobody() -> object:
    raise AccessDenied("UNAUTHENTICATED_PEER", "who")


def throttles() -> object:
    raise Throttled("QUOTA_EXCEEDED", "slower")


@pytest.mark.parametrize("ends", [str, knows_nobody, throttles])
def test_a_refusal_that_does_not_come_or_has_another_ground_ends_the_story(
    script: Any, ends: Callable[[], object]
) -> None:
    script.Actor("bob", Fake(denies)).is_refused("encrypt", "key", b"x")
    with pytest.raises(script.OtherwiseError):
        script.Actor("bob", Fake(ends)).is_refused("encrypt", "key", b"x")


@pytest.mark.parametrize("ends", [denies, throttles])
def test_a_call_that_fails_ends_the_story(script: Any, ends: Callable[[], object]) -> None:
    assert script.Actor("ada", Fake(lambda: 7)).does("encrypt", "key", b"x") == 7
    with pytest.raises(script.OtherwiseError):
        script.Actor("ada", Fake(ends)).does("encrypt", "key", b"x")


class Clock:
    """Time that passes only where a fake says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("let_in", "told"), [(0.5, ""), (1.2, "0 connections still"), (99.0, "1 connections still")]
)
def test_a_worker_that_lets_in_for_longer_than_a_second_ends_the_story(
    script: Any, monkeypatch: pytest.MonkeyPatch, let_in: float, told: str
) -> None:
    clock, revoked = Clock(), list[float]()

    def revoke() -> object:
        revoked.append(clock.now)
        return SimpleNamespace(plaintext=b"p")

    def late() -> object:
        clock.now += 0.1
        return denies() if revoked and clock.now - revoked[0] > let_in else None

    def prompt() -> object:
        return denies() if revoked else None

    monkeypatch.setattr(script, "time", clock)
    ada, bob = (
        script.Actor("ada", Fake(revoke)),
        script.Actor("bob", Fake(lambda: SimpleNamespace(plaintext=b"p"))),
    )
    cast = script.Cast(ada, ada, ada, ada, bob, (Fake(prompt), Fake(late)))
    lent = script.Lent("ours", "theirs", b"sealed", b"copied", b"p", "grant", "token")

    if told:
        with pytest.raises(script.OtherwiseError, match=told):
            script.revoke(script.Narrator(), cast, lent)
    else:
        script.revoke(script.Narrator(), cast, lent)
