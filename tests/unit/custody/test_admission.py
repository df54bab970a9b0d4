"""Admission: what cannot be done in time is refused before it costs anything, and lanes are bounded."""

import pytest

from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.clock import Clock
from strongroomd.domain.errors import Reason, StrongroomError


class Turned(Clock):
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def admission(clock: Turned) -> Admission:
    return Admission(clock, dict.fromkeys(Lane, 8))


def _learn(admission: Admission, clock: Turned, seconds: float, times: int = 100) -> None:
    for _ in range(times):
        admission.enter(Lane.RSA, clock.now + 1_000)
        clock.now += seconds
        admission.leave(Lane.RSA)


def refusal(admission: Admission, deadline: float, lane: Lane = Lane.RSA) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        admission.enter(lane, deadline)
    return caught.value


def test_a_deadline_that_has_passed_is_refused(admission: Admission, clock: Turned) -> None:
    assert refusal(admission, clock.now).reason is Reason.DEADLINE_EXCEEDED
    assert admission.inside(Lane.RSA) == 0


def test_what_cannot_finish_behind_those_inside_is_refused_with_the_wait(
    admission: Admission, clock: Turned
) -> None:
    _learn(admission, clock, 0.1)
    for _ in range(4):
        admission.enter(Lane.RSA, clock.now + 10.0)

    error = refusal(admission, clock.now + 0.3)

    assert error.reason is Reason.OVERLOADED
    assert error.retry_after == pytest.approx(0.4, rel=0.01)
    admission.enter(Lane.RSA, clock.now + 0.5)


def test_a_lane_is_bounded_however_patient_its_callers_are(admission: Admission, clock: Turned) -> None:
    for _ in range(8):
        admission.enter(Lane.RSA, clock.now + 1e9)

    assert refusal(admission, clock.now + 1e9).reason is Reason.OVERLOADED
    admission.leave(Lane.RSA)
    admission.enter(Lane.RSA, clock.now + 1e9)


def test_lanes_do_not_wait_for_each_other(admission: Admission, clock: Turned) -> None:
    _learn(admission, clock, 1.0)
    for _ in range(8):
        admission.enter(Lane.RSA, clock.now + 1e9)

    admission.enter(Lane.QUICK, clock.now + 0.01)

    assert (admission.inside(Lane.RSA), admission.inside(Lane.QUICK)) == (8, 1)


def test_an_idle_lane_forgets_that_it_was_slow(admission: Admission, clock: Turned) -> None:
    _learn(admission, clock, 1.0)
    clock.now += 1_000

    admission.enter(Lane.RSA, clock.now + 0.01)

    assert admission.inside(Lane.RSA) == 1


def test_a_refusal_always_says_when_to_come_back(admission: Admission, clock: Turned) -> None:
    for _ in range(8):
        admission.enter(Lane.QUICK, clock.now + 1.0)

    wait = refusal(admission, clock.now + 1.0, Lane.QUICK).retry_after

    assert wait is not None
    assert wait >= 0.05


def test_a_slow_token_holds_up_its_own_keys_alone(admission: Admission, clock: Turned) -> None:
    for _ in range(8):
        admission.enter(Lane.RSA, clock.now + 1_000, "slow")

    with pytest.raises(StrongroomError) as caught:
        admission.enter(Lane.RSA, clock.now + 1_000, "slow")
    assert caught.value.reason is Reason.OVERLOADED
    admission.enter(Lane.RSA, clock.now + 0.001)
    assert admission.inside(Lane.RSA) == 9

    clock.now += 5
    admission.leave(Lane.RSA, "slow")
    admission.leave(Lane.RSA)
    assert admission.inside(Lane.RSA) == 7
