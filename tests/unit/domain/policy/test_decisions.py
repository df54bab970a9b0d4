"""Access decisions: the hand-written answers and the reference's agree, and both with the daemon's."""

import pytest
from tests import policy_reference
from tests.policy_cases import ROWS, Row, answer


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.sentence}")
def test_the_daemon_decides_as_written(row: Row) -> None:
    assert answer(row.case) is row.allowed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.sentence}")
def test_the_reference_decides_as_written(row: Row) -> None:
    assert policy_reference.decide(row.case) is row.allowed


def test_at_least_150_answers_are_written_by_hand() -> None:
    assert len({f"{row.rule}: {row.sentence}" for row in ROWS}) >= 150
