"""When a key is rotated: bounds, dates, and what is too near."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.rotations import (
    MAX_ON_DEMAND,
    NEAR_MS,
    RotationType,
    ScheduleRecord,
    advanced,
    begun,
    ended,
    is_due,
    require_distance,
    require_room,
    settled_period,
)

DAY = 86_400_000
NOW = 1_800_000_000_000


def test_the_period_is_365_days_if_nothing_is_said() -> None:
    assert settled_period(0) == 365


@pytest.mark.parametrize("days", [90, 91, 2_559, 2_560])
def test_allowed_periods(days: int) -> None:
    assert settled_period(days) == days


@pytest.mark.parametrize("days", [-1, 1, 89, 2_561, 2**31])
def test_other_periods_are_refused(days: int) -> None:
    with pytest.raises(StrongroomError) as refusal:
        settled_period(days)

    assert (refusal.value.reason, refusal.value.field) == (Reason.INVALID_FIELD, "rotation_period_days")


def test_the_first_rotation_comes_one_period_from_now() -> None:
    assert begun(None, "k", 90, NOW) == ScheduleRecord("k", 90, NOW + 90 * DAY, 1)


def test_the_same_period_again_does_not_put_the_rotation_off() -> None:
    before = ScheduleRecord("k", 90, NOW + 5, 3)

    assert begun(before, "k", 90, NOW) is before


def test_another_period_counts_from_now() -> None:
    assert begun(ScheduleRecord("k", 90, NOW + 5, 3), "k", 100, NOW) == ScheduleRecord(
        "k", 100, NOW + 100 * DAY, 4
    )


def test_rotation_that_was_ended_begins_anew() -> None:
    over = ended(ScheduleRecord("k", 90, NOW + 5, 3), "k")

    assert over == ScheduleRecord("k", 0, 0, 4)
    assert not over.enabled
    assert ended(over, "k") is over
    assert begun(over, "k", 90, NOW) == ScheduleRecord("k", 90, NOW + 90 * DAY, 5)


def test_a_rotation_is_due_at_its_date_and_not_before() -> None:
    schedule = ScheduleRecord("k", 90, NOW)

    assert not is_due(schedule, NOW - 1)
    assert is_due(schedule, NOW)
    assert not is_due(ScheduleRecord("k", 0, 0), NOW)


@given(late=st.integers(0, 10_000 * DAY), days=st.integers(90, 2_560))
def test_however_late_a_rotation_is_the_next_is_a_whole_period_away(late: int, days: int) -> None:
    after = advanced(ScheduleRecord("k", days, NOW, 7), NOW + late)

    assert after == ScheduleRecord("k", days, NOW + late + days * DAY, 8)
    assert not is_due(after, NOW + late + days * DAY - 1)


def test_the_last_rotation_on_demand_is_the_25th() -> None:
    require_room(MAX_ON_DEMAND - 1)
    with pytest.raises(StrongroomError) as refusal:
        require_room(MAX_ON_DEMAND)

    assert refusal.value.reason is Reason.LIMIT_EXCEEDED
    assert MAX_ON_DEMAND == 25


@pytest.mark.parametrize("until", [NEAR_MS, 1, 0, -1, -NEAR_MS])
def test_near_an_automatic_rotation_to_come_none_is_made_on_demand(until: int) -> None:
    with pytest.raises(StrongroomError) as refusal:
        require_distance(ScheduleRecord("k", 90, NOW + until), RotationType.FIRST, 0, NOW)

    assert refusal.value.reason is Reason.ROTATION_CONFLICT
    assert refusal.value.retry_after == max(until + NEAR_MS, 1000) / 1000


@pytest.mark.parametrize("until", [NEAR_MS + 1, 90 * DAY, -NEAR_MS - 1, -40 * DAY])
def test_far_from_it_and_long_overdue_one_may_be_made(until: int) -> None:
    require_distance(ScheduleRecord("k", 90, NOW + until), RotationType.FIRST, 0, NOW)


def test_soon_after_an_automatic_rotation_none_is_made_on_demand() -> None:
    with pytest.raises(StrongroomError) as refusal:
        require_distance(None, RotationType.AUTOMATIC, NOW - NEAR_MS + 1, NOW)
    assert refusal.value.reason is Reason.ROTATION_CONFLICT

    require_distance(None, RotationType.AUTOMATIC, NOW - NEAR_MS, NOW)
    require_distance(None, RotationType.ON_DEMAND, NOW - 1, NOW)
    require_distance(None, RotationType.AUTOMATIC, NOW + 40 * DAY, NOW)  # made before the clock was set back
    require_distance(ScheduleRecord("k", 0, 0), RotationType.FIRST, 0, NOW)
