"""The life of a quota request: what happens first is final, and nobody answers what they wished for."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain import quotarequests as asking
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_BURST, MAX_PER_SECOND, MAX_QUOTA_REQUEST_TEXT
from strongroomd.domain.principals import Behalf, Caller, Principal, RoleSession
from strongroomd.domain.quota import LimitScope
from strongroomd.domain.quotarequests import Answer, Decision, QuotaRequestRecord, RequestState

ACCOUNT = "111122223333"
NAMES = [f"arn:aws:iam::{ACCOUNT}:{name}" for name in ("user/a", "user/b", "user/c", "role/r", "service/s")]
PENDING = QuotaRequestRecord(
    "0" * 32, ACCOUNT, LimitScope.CLASS, f"{ACCOUNT}/RSA", 50, 60, "why", NAMES[0], ACCOUNT, "",
    RequestState.PENDING, 5, 6, 0, 0, 1, 0, "", "",
)  # fmt: skip


def refusal(call: Any) -> tuple[Reason, str | None]:
    with pytest.raises(StrongroomError) as caught:
        call()
    return caught.value.reason, caught.value.field


def named(arn: str) -> Principal:
    return Principal(arn, ACCOUNT)


def caller(arn: str, behind: str = "") -> Caller:
    """Somebody; a role is assumed by who is behind it, a service calls for them."""
    made = Caller(named(arn), "id", 0.0)
    if behind and ":role/" in arn:
        made.session = RoleSession(arn, "night", behind, "", 0, "", 0)
    elif behind:
        made.behalf = Behalf(source_principal=behind)
    return made


def test_a_service_in_a_role_asks_for_both_who_are_behind_it() -> None:
    asker = caller(NAMES[3], NAMES[4])
    asker.behalf = Behalf(source_principal=NAMES[0])
    request = dataclasses.replace(PENDING, principal=NAMES[3], source=asking.who_is_behind(asker))

    for own in (NAMES[0], NAMES[3], NAMES[4]):
        assert asking.is_own(request, caller(own))
    assert not asking.is_own(request, caller(NAMES[1]))


_RATES = st.tuples(st.integers(1, MAX_PER_SECOND), st.integers(0, MAX_BURST)) | st.just((0, 0))


def an_answer(yes: bool, rate: tuple[int, int], note: str) -> Answer:
    if not yes:
        return asking.check_answer(Decision.DENY, 0, 0, note)
    return asking.check_answer(Decision.APPROVE, *rate, note)


_ANSWERS = st.builds(
    an_answer,
    st.booleans(),
    _RATES,
    st.text("abc\n", max_size=9),
)
_STEPS = st.lists(st.none() | _ANSWERS, min_size=1, max_size=5)


def step(request: QuotaRequestRecord, what: Answer | None, now: int) -> QuotaRequestRecord:
    return (
        asking.cancelled(request, "who", now) if what is None else asking.answered(request, what, "who", now)
    )


@given(_STEPS)
def test_the_first_answer_or_cancellation_is_final(steps: list[Answer | None]) -> None:
    closed = step(PENDING, steps[0], 7)

    for number, later in enumerate(steps[1:]):
        assert refusal(lambda s=later, n=number: step(closed, s, n)) == (Reason.REQUEST_ANSWERED, None)
    assert (closed.closed_at, closed.closed_by, closed.row_version) == (7, "who", 2)
    assert closed.state is not RequestState.PENDING


@given(st.none() | _ANSWERS)
def test_a_limit_is_granted_by_an_approval_and_by_nothing_else(what: Answer | None) -> None:
    closed = step(PENDING, what, 7)
    granted = closed.granted_per_second, closed.granted_burst

    if what is None or what.decision is Decision.DENY:
        assert granted == (0, 0)
        assert closed.state is (RequestState.CANCELLED if what is None else RequestState.DENIED)
    else:
        assert granted == ((what.rate.per_second, what.rate.burst) if what.rate else (50, 60))
        assert closed.state is RequestState.APPROVED
        assert all(granted)


@given(st.none() | _ANSWERS)
def test_closing_changes_nothing_of_what_was_asked(what: Answer | None) -> None:
    closed = step(PENDING, what, 7)
    changed = {
        f.name for f in dataclasses.fields(PENDING) if getattr(closed, f.name) != getattr(PENDING, f.name)
    }

    assert changed <= {
        "state", "granted_per_second", "granted_burst", "closed_at", "closed_by", "note", "row_version",
    }  # fmt: skip


_WHO = st.tuples(st.sampled_from(NAMES), st.sampled_from(["", *NAMES]))


@given(_WHO, _WHO)
def test_a_request_is_ones_own_exactly_when_asker_and_answerer_have_somebody_in_common(
    asked: tuple[str, str], answers: tuple[str, str]
) -> None:
    asker, answerer = caller(*asked), caller(*answers)
    request = dataclasses.replace(PENDING, principal=asker.principal.arn, source=asking.who_is_behind(asker))

    assert asking.is_own(request, answerer) is bool({*asked} & {*answers} - {""})


@given(st.lists(st.tuples(st.integers(0, 2**47), st.binary(min_size=10, max_size=10)), min_size=2))
def test_ids_are_in_the_order_of_asking(made: list[tuple[int, bytes]]) -> None:
    ids = [asking.request_id_at(*each) for each in made]

    assert [asking.check_id(each) for each in ids] == ids
    assert sorted(ids) == [asking.request_id_at(*each) for each in sorted(made)]


@given(st.text(max_size=40) | st.from_regex(r"[0-9a-fA-F]{30,34}", fullmatch=True))
def test_any_other_text_is_no_id(text: str) -> None:
    if len(text) == 32 and set(text) <= set("0123456789abcdef"):
        assert asking.check_id(text) == text
    else:
        assert refusal(lambda: asking.check_id(text)) == (Reason.INVALID_FIELD, "quota_request_id")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((Decision.APPROVE, 0, 1, ""), (Reason.INVALID_FIELD, "burst")),
        ((Decision.DENY, 1, 0, ""), (Reason.INVALID_FIELD, "per_second")),
        ((Decision.DENY, 0, 1, ""), (Reason.INVALID_FIELD, "burst")),
        ((Decision.APPROVE, MAX_PER_SECOND + 1, 0, ""), (Reason.INVALID_FIELD, "per_second")),
        ((Decision.APPROVE, 1, MAX_BURST + 1, ""), (Reason.INVALID_FIELD, "burst")),
        ((Decision.DENY, 0, 0, "x" * (MAX_QUOTA_REQUEST_TEXT + 1)), (Reason.FIELD_TOO_LARGE, "note")),
        ((Decision.DENY, 0, 0, "\x1b[31m"), (Reason.INVALID_FIELD, "note")),
    ],
)
def test_answers_that_are_none(answer: Any, expected: tuple[Reason, str]) -> None:
    assert refusal(lambda: asking.check_answer(*answer)) == expected


def test_bounds_of_an_answer_are_exact() -> None:
    text = "é" * MAX_QUOTA_REQUEST_TEXT

    most = asking.check_answer(Decision.APPROVE, MAX_PER_SECOND, MAX_BURST, text)

    assert most.rate is not None
    assert (most.rate.per_second, most.rate.burst, most.note) == (MAX_PER_SECOND, MAX_BURST, text)
