"""When a token's short calls leave the event loop, and when they come back to it."""

import threading
import time
from types import SimpleNamespace

import pytest

from strongroomd.hsm import pace as module
from strongroomd.hsm.observer import Silent
from strongroomd.hsm.pace import LONG, MANY, SETTLED, VERY_LONG, Mark, Pace

SLEPT = Mark(0.0, -1)
"""Of a thread that has slept since."""


class Watcher(Silent):
    def __init__(self) -> None:
        self.heard: list[bool] = []

    def paced(self, *, inline: bool) -> None:
        self.heard.append(inline)


class Turned:
    """A pace whose clock the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(
            module, "time", SimpleNamespace(monotonic=lambda: self.now, thread_time=time.thread_time)
        )
        self.watcher = Watcher()
        self.pace = Pace(self.watcher)

    def on_the_lane(self, *seconds: float, times: int = 1, longest: float = 0.0) -> None:
        """A second on the lane, with calls of these durations, so many times each."""
        for each in seconds * times:
            self.pace.ran(each)
        self.now += 1.0
        self.pace.review(longest)

    def leave(self) -> None:
        self.pace.took(VERY_LONG, SLEPT)
        assert not self.pace.inline

    def seconds_until_back(self) -> int:
        for count in range(1, 200):
            self.on_the_lane(LONG / 2)
            if self.pace.inline:
                return count
        raise AssertionError("never")


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Turned:
    return Turned(monkeypatch)


def test_who_follows_one_that_hung_begins_on_threads_and_stays_for_a_minute(turned: Turned) -> None:
    turned.pace = Pace(turned.watcher, wary=True)

    assert not turned.pace.inline
    assert turned.watcher.heard == [True, False]
    assert turned.seconds_until_back() == module.MOST_SETTLED


def test_one_very_long_call_is_enough(turned: Turned) -> None:
    turned.pace.took(VERY_LONG, SLEPT)

    assert not turned.pace.inline
    assert turned.watcher.heard == [True, False]


def test_a_few_long_calls_within_a_second_are_enough_and_one_less_is_not(turned: Turned) -> None:
    for _ in range(MANY - 1):
        turned.pace.took(LONG, SLEPT)
    assert turned.pace.inline

    turned.pace.took(LONG, SLEPT)

    assert not turned.pace.inline


def test_long_calls_far_apart_change_nothing(turned: Turned) -> None:
    for _ in range(5 * MANY):
        turned.pace.took(LONG, SLEPT)
        turned.now += 1.01

    assert turned.pace.inline


def test_work_of_several_calls_counts_only_when_very_long(turned: Turned) -> None:
    for _ in range(5 * MANY):
        turned.pace.took(10 * LONG, SLEPT, alone=False)
    assert turned.pace.inline

    turned.pace.took(VERY_LONG, SLEPT, alone=False)

    assert not turned.pace.inline


def test_what_another_thread_measures_counts_for_nothing(turned: Turned) -> None:
    thread = threading.Thread(target=lambda: turned.pace.took(10.0, SLEPT))
    thread.start()
    thread.join()

    assert turned.pace.inline


@pytest.mark.parametrize(
    ("now", "inline"),
    [
        (Mark(LONG / 2, 0), True),  # others had its processor, of this machine or of another one
        (Mark(LONG, 0), False),  # it computed
        (Mark(0.0, 1), False),  # it slept
    ],
)
@pytest.mark.parametrize(("seconds", "calls"), [(LONG, MANY), (VERY_LONG, 1)])
def test_what_the_scheduler_did_is_not_the_tokens_fault(
    turned: Turned, monkeypatch: pytest.MonkeyPatch, now: Mark, inline: bool, seconds: float, calls: int
) -> None:
    monkeypatch.setattr(module, "mark", lambda: now)

    for _ in range(calls):
        turned.pace.took(seconds, Mark(0.0, 0))

    assert turned.pace.inline is inline


def test_a_thread_that_sleeps_is_seen_to_sleep() -> None:
    before = module.mark()
    time.sleep(0.001)

    assert module.mark().waited > before.waited
    assert not module._was_kept_waiting(before)


def test_a_thread_that_computes_is_seen_to_be_busy() -> None:
    before, used = module.mark(), time.thread_time()
    while time.thread_time() < used + 1.5 * LONG:
        pass

    assert not module._was_kept_waiting(before)


def test_calls_come_back_after_some_good_seconds(turned: Turned) -> None:
    turned.leave()

    assert turned.seconds_until_back() == SETTLED
    assert turned.watcher.heard == [True, False, True]


def test_the_gil_may_disturb_one_call_in_twenty(turned: Turned) -> None:
    turned.leave()
    for _ in range(int(SETTLED)):
        turned.on_the_lane(6 * LONG, *[LONG / 2] * 19)

    assert turned.pace.inline


@pytest.mark.parametrize(
    "seconds",
    [
        [LONG, LONG, LONG / 2],
        [6 * LONG, *[LONG / 2] * 18],
        [VERY_LONG, *[LONG / 2] * 999],
    ],
    ids=["most are long", "many are longer", "one is very long"],
)
def test_calls_stay_away_while_they_are_long(turned: Turned, seconds: list[float]) -> None:
    turned.leave()

    for _ in range(100):
        turned.on_the_lane(*seconds)

    assert not turned.pace.inline


def test_a_call_that_hangs_on_the_lane_keeps_the_others_there(turned: Turned) -> None:
    turned.leave()
    for _ in range(100):
        turned.on_the_lane(LONG / 2, longest=VERY_LONG)

    assert not turned.pace.inline


def test_seconds_without_a_call_prove_nothing(turned: Turned) -> None:
    turned.leave()
    turned.now += 1_000
    turned.pace.review(0.0)
    assert not turned.pace.inline

    assert turned.seconds_until_back() == SETTLED


def test_who_relapses_stays_away_for_twice_as_long_up_to_a_minute(turned: Turned) -> None:
    stays = []
    for _ in range(7):
        turned.leave()
        stays.append(turned.seconds_until_back())
    turned.now += 61
    turned.leave()

    assert stays == [3, 6, 12, 24, 48, 60, 60]
    assert turned.seconds_until_back() == SETTLED
