"""Access decisions: the hand-written answers and the reference's agree, and both with the daemon's."""

import pytest
from tests import policy_corpus, policy_reference
from tests.policy_cases import HOME, ROWS, Row, answer


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.sentence}")
def test_the_daemon_decides_as_written(row: Row) -> None:
    assert answer(row.case) is row.allowed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.sentence}")
def test_the_reference_decides_as_written(row: Row) -> None:
    assert policy_reference.decide(row.case) is row.allowed


def test_at_least_150_answers_are_written_by_hand() -> None:
    assert len({f"{row.rule}: {row.sentence}" for row in ROWS}) >= 150


@pytest.mark.parametrize(("line", "allowed"), list(policy_corpus.stored()))
def test_daemon_and_reference_decide_a_generated_case_alike(line: str, allowed: bool) -> None:
    case = policy_corpus.build(line)

    assert (answer(case), policy_reference.decide(case)) == (allowed, allowed)


def test_a_key_policy_alone_decides_as_if_there_were_nothing_else() -> None:
    generated = [policy_corpus.build(line) for line, _ in policy_corpus.stored()]

    for whole in (*generated, *(row.case for row in ROWS)):
        case = whole | {"identity": [], "guard_rails": [], "grants": []}
        if "key" in case and f":{HOME}:" in case["who"]:
            assert answer(case) is policy_reference.decide(case), case


def test_generated_cases_are_many_and_of_both_answers() -> None:
    answers = [allowed for _, allowed in policy_corpus.stored()]

    assert len(answers) >= 500
    assert 0.4 < sum(answers) / len(answers) < 0.6
