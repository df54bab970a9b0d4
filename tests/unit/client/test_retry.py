"""When the client tries again, told without a network or a clock."""

import pytest

from strongroom import errors
from strongroom.retry import Attempts, Budget, RetryPolicy

QUOTA = errors.error("QUOTA_EXCEEDED", "used up", retry_after=2.0)
QUOTA_WITHOUT_WAIT = errors.error("QUOTA_EXCEEDED", "used up")
DOWN = errors.error("HSM_UNAVAILABLE", "down")
OVERLOADED = errors.error("OVERLOADED", "busy", retry_after=0.5)
DENIED = errors.error("ACCESS_DENIED", "no")
DAMAGED = errors.damaged("crc")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def attempts(
    policy: RetryPolicy | None = None,
    *,
    deadline: float | None = None,
    repeatable: bool = True,
    budget: Budget | None = None,
    clock: Clock | None = None,
    jitter: float = 1.0,
) -> Attempts:
    """Attempts whose jitter is always the given part of its range."""
    policy = policy or RetryPolicy()
    return Attempts(
        policy,
        budget or Budget(policy),
        deadline,
        repeatable=repeatable,
        clock=clock or Clock(),
        uniform=lambda low, high: low + (high - low) * jitter,
    )


@pytest.mark.parametrize(
    "failure",
    [
        DENIED,
        errors.error("INVALID_CIPHERTEXT", ""),
        errors.error("KEY_DISABLED", ""),
        errors.error("DEADLINE_EXCEEDED", ""),
        errors.error("INTERNAL", ""),
        errors.error("INTEGRITY_FAILURE", ""),
        errors.error("LIMIT_EXCEEDED", ""),
        errors.error("A_REASON_OF_TOMORROW", ""),
    ],
    ids=lambda failure: failure.reason,
)
def test_failures_that_waiting_does_not_help_are_raised_at_once(failure: errors.StrongroomError) -> None:
    with pytest.raises(type(failure)) as raised:
        attempts().wait_after(failure)

    assert raised.value is failure


@pytest.mark.parametrize("failure", [DOWN, QUOTA, DAMAGED], ids=lambda failure: failure.reason)
def test_calls_that_may_not_be_repeated_are_not(failure: errors.StrongroomError) -> None:
    with pytest.raises(type(failure)):
        attempts(repeatable=False).wait_after(failure)


def test_backoff_doubles_with_full_jitter_up_to_the_cap() -> None:
    trying = attempts(RetryPolicy(max_attempts=6, base=1.0, cap=5.0))

    assert [trying.wait_after(DOWN) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert attempts(jitter=0.0).wait_after(DOWN) == 0.0


def test_unavailable_is_given_up_after_the_last_attempt() -> None:
    trying = attempts()
    for _ in range(4):
        trying.wait_after(DOWN)

    with pytest.raises(errors.Unavailable):
        trying.wait_after(DOWN)


def test_throttling_without_a_named_wait_backs_off_from_a_second() -> None:
    trying = attempts()

    assert [trying.wait_after(QUOTA_WITHOUT_WAIT) for _ in range(3)] == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_the_wait_that_the_daemon_names_is_kept_with_a_small_jitter(jitter: float) -> None:
    assert 2.0 <= attempts(jitter=jitter).wait_after(QUOTA) <= 2.11
    assert 0.5 <= attempts(jitter=jitter).wait_after(OVERLOADED) <= 0.51


def test_quota_waits_go_on_as_long_as_the_deadline_allows_and_cost_no_budget() -> None:
    clock = Clock()
    budget = Budget(RetryPolicy(budget=0))
    trying = attempts(deadline=200.0, clock=clock, budget=budget, jitter=0.0)

    for _ in range(49):
        clock.now += trying.wait_after(QUOTA)

    with pytest.raises(errors.Throttled):
        trying.wait_after(QUOTA)


def test_no_wait_goes_past_the_deadline() -> None:
    with pytest.raises(errors.Throttled):
        attempts(deadline=102.0).wait_after(QUOTA)


def test_a_deadline_that_passes_while_trying_again_keeps_what_went_wrong_before() -> None:
    trying = attempts()
    trying.wait_after(DOWN)

    with pytest.raises(errors.DeadlineExceeded) as raised:
        trying.wait_after(errors.error("DEADLINE_EXCEEDED", "late"))

    assert raised.value.__cause__ is DOWN


def test_a_damaged_answer_is_asked_for_again_once() -> None:
    trying = attempts()

    assert trying.wait_after(DAMAGED) == 0.0
    with pytest.raises(errors.IntegrityError):
        trying.wait_after(DAMAGED)


def test_one_attempt_means_no_retries_at_all() -> None:
    with pytest.raises(errors.Throttled):
        attempts(RetryPolicy(max_attempts=1)).wait_after(QUOTA)


def test_an_empty_budget_stops_retries_of_every_call() -> None:
    policy = RetryPolicy(budget=10, cost=5)
    budget = Budget(policy)
    for _ in range(2):
        attempts(policy, budget=budget).wait_after(DOWN)

    with pytest.raises(errors.Unavailable):
        attempts(policy, budget=budget).wait_after(DOWN)


def test_a_retry_that_the_deadline_forbids_costs_nothing() -> None:
    policy = RetryPolicy(budget=5, cost=5)
    budget = Budget(policy)

    with pytest.raises(errors.Unavailable):
        attempts(policy, budget=budget, deadline=100.2).wait_after(OVERLOADED)

    assert budget.take()


def test_successes_fill_the_budget_up_again_and_never_over_it() -> None:
    policy = RetryPolicy(budget=5, cost=5)
    budget = Budget(policy)
    retried = attempts(policy, budget=budget)
    retried.wait_after(DOWN)
    assert not budget.take()

    retried.succeeded()
    attempts(policy, budget=budget).succeeded()

    assert budget.take()
    assert not budget.take()


def test_only_a_retry_waits_for_a_connection() -> None:
    trying = attempts()
    assert not trying.wait_for_connection

    trying.wait_after(DOWN)

    assert trying.wait_for_connection


def test_remaining_time_is_never_negative() -> None:
    clock = Clock()
    trying = attempts(deadline=101.0, clock=clock)
    assert trying.remaining == 1.0

    clock.now = 105.0

    assert trying.remaining == 0.0
    assert attempts().remaining is None


def test_the_first_retry_after_a_lost_connection_costs_no_budget() -> None:
    policy = RetryPolicy(budget=0)
    trying = attempts(policy)
    lost = errors.error("CONNECTION_FAILED", "lost")

    trying.wait_after(lost)

    with pytest.raises(errors.Unavailable):
        trying.wait_after(lost)
