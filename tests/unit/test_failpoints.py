"""Failpoints do nothing in a daemon, and nothing in a daemon can arm them."""

import re
from collections.abc import Iterator

import pytest
from tests.failpoints import ROOT, steps

from strongroomd.telemetry import failpoints

SOURCES = sorted((ROOT / "daemon" / "strongroomd").rglob("*.py"))


def test_reaching_a_step_does_nothing_until_a_test_arms_it() -> None:
    failpoints.reach("nothing.1")


def test_an_armed_test_hears_of_every_step_and_then_of_none() -> None:
    heard: list[str] = []

    failpoints.arm(heard.append)
    failpoints.reach("nothing.1")
    failpoints.arm(None)
    failpoints.reach("nothing.2")

    assert heard == ["nothing.1"]


def test_nothing_in_the_daemon_arms_them() -> None:
    guilty = [path for path in SOURCES if re.search(r"failpoints\.arm|import .*\barm\b", path.read_text())]

    assert guilty == []


def test_steps_of_every_action_are_counted_from_one_without_gaps() -> None:
    text = "".join(path.read_text() for path in SOURCES)

    for action in set(re.findall(r'failpoints\.reach\("([a-z-]+)\.', text)):
        assert steps(action) == [f"{action}.{number + 1}" for number in range(len(steps(action)))]


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm(None)
