"""GCRA grants exactly what a bucket that leaks drop by drop would grant."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroomd.domain.quota import available, charge, interval

UNHURRIED = settings(deadline=None)
LIMITS = st.tuples(st.integers(1, 1_000_000), st.integers(1, 10_000))
STEPS = st.lists(st.tuples(st.integers(0, 2_000_000_000), st.integers(0, 12_000)), max_size=40)


class Bucket:
    """A naive oracle: units in a bucket, refilled one per interval, in exact fractions."""

    def __init__(self, per_second: int, burst: int) -> None:
        self.step = interval(per_second)
        self.burst = burst
        self.units = Fraction(burst)

    def pass_time(self, nanoseconds: int) -> None:
        self.units = min(Fraction(self.burst), self.units + Fraction(nanoseconds, self.step))

    def take(self, cost: int) -> bool:
        if cost > self.units:
            return False
        self.units -= cost
        return True

    def wait(self, cost: int) -> Fraction:
        return max(Fraction(0), (cost - self.units) * self.step)


@UNHURRIED
@given(LIMITS, STEPS)
def test_decisions_waits_and_balances_are_those_of_a_leaky_bucket(
    limit: tuple[int, int], steps: list[tuple[int, int]]
) -> None:
    per_second, burst = limit
    bucket, tat, now = Bucket(per_second, burst), 0, 10**15
    for pause, cost in steps:
        now += pause
        bucket.pass_time(pause)
        after, wait = charge(tat, now, cost, per_second, burst)

        assert wait == bucket.wait(cost)
        assert (wait == 0) == bucket.take(cost)
        tat = tat if wait else after
        assert available(tat, now, per_second, burst) == bucket.units // 1


@UNHURRIED
@given(LIMITS, STEPS)
def test_no_window_grants_more_than_rate_and_burst(
    limit: tuple[int, int], steps: list[tuple[int, int]]
) -> None:
    per_second, burst = limit
    tat, now, granted = 0, 10**15, 0
    start = now
    for pause, cost in steps:
        now += pause
        after, wait = charge(tat, now, cost, per_second, burst)
        if not wait:
            tat, granted = after, granted + cost

    assert granted <= Fraction(per_second * (now - start), 10**9) + burst


@UNHURRIED
@given(LIMITS, st.integers(0, 12_000), st.integers(0, 10**18))
def test_waiting_as_told_is_enough_and_a_nanosecond_less_is_not(
    limit: tuple[int, int], cost: int, tat: int
) -> None:
    per_second, burst = limit
    cost = min(cost, burst)
    now = 10**15
    spent, _ = charge(tat, now, burst, per_second, burst)
    full_debt = min(spent, now + burst * interval(per_second))
    wait = charge(full_debt, now, cost, per_second, burst)[1]

    assert charge(full_debt, now + wait, cost, per_second, burst)[1] == 0
    assert not wait or charge(full_debt, now + wait - 1, cost, per_second, burst)[1] == 1


@UNHURRIED
@given(LIMITS, st.integers(-(2**63), 2**63 - 1))
def test_whatever_the_table_holds_nobody_waits_longer_than_a_full_refill(
    limit: tuple[int, int], tat: int
) -> None:
    per_second, burst = limit

    assert charge(tat, 10**15, 1, per_second, burst)[1] <= interval(per_second)


@pytest.mark.parametrize("per_second", [0, -1])
def test_a_rate_that_is_not_positive_is_refused(per_second: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        interval(per_second)
