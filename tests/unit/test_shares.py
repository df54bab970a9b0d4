"""Shares of the ceremony's secrets: enough of them give the secret back, fewer nothing, and mistakes are told."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.shares import Share, combine, parse_share, split

SECRET = "correct horse battery staple"


def shares(threshold: int = 3, total: int = 5, purpose: str = "main token, user PIN") -> list[Share]:
    return split(Pin(SECRET), purpose, threshold, total)


TEXT = shares()[0].text()


def told(error: pytest.ExceptionInfo[StrongroomError]) -> str:
    assert error.value.reason is Reason.INVALID_FIELD
    assert SECRET not in error.value.message
    return error.value.message


def test_any_three_of_five_give_the_secret_back() -> None:
    for some in itertools.combinations(shares(), 3):
        assert combine(some).reveal() == SECRET


def test_more_than_enough_do_too_in_any_order() -> None:
    assert combine(list(reversed(shares()))).reveal() == SECRET


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_give_nothing(count: int) -> None:
    with pytest.raises(StrongroomError) as refusal:
        combine(shares()[:count])

    told(refusal)


def test_one_brought_twice_counts_once() -> None:
    made = shares()

    with pytest.raises(StrongroomError) as refusal:
        combine([made[0], made[1], made[1]])

    assert "twice" in told(refusal)


@pytest.mark.parametrize(
    "other", [shares(purpose="another"), shares(threshold=2), shares()], ids=["p", "t", "s"]
)
def test_shares_of_different_secrets_do_not_mix(other: list[Share]) -> None:
    with pytest.raises(StrongroomError) as refusal:
        combine([*shares()[:2], other[2]])

    assert "one secret" in told(refusal)


def test_a_share_whose_digits_were_changed_gives_no_wrong_secret() -> None:
    made = shares()
    forged = Share(made[0].purpose, made[0].number, 5, 3, bytes(16), made[0].sealed)

    with pytest.raises(StrongroomError) as refusal:
        combine([forged, *made[1:3]])

    told(refusal)


@pytest.mark.parametrize(("threshold", "total"), [(1, 3), (0, 3), (4, 3), (2, 1), (2, 17), (-1, -1)])
def test_a_threshold_that_protects_nothing_is_refused(threshold: int, total: int) -> None:
    with pytest.raises(StrongroomError) as refusal:
        shares(threshold, total)

    assert refusal.value.field == "threshold"


def test_a_shares_text_is_read_as_it_was_printed() -> None:
    for share in shares():
        assert parse_share(share.text()) == share
        assert parse_share("\n" + share.text().replace("\n", "  \r\n\n")) == share


def test_one_mistyped_digit_is_found() -> None:
    text = shares()[0].text()
    place = text.index("share: ") + 10
    wrong = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]

    with pytest.raises(StrongroomError) as refusal:
        parse_share(wrong)

    assert "mistyped" in told(refusal)


@given(st.text(max_size=300) | st.integers(0, len(TEXT) - 3).map(lambda cut: TEXT[:cut]))
@settings(max_examples=60)
def test_whatever_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(StrongroomError) as refusal:
        parse_share(text)

    assert refusal.value.field == "share"


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=4, max_size=60), st.data())
@settings(max_examples=30)
def test_every_secret_comes_back_from_any_of_its_shares(secret: str, data: st.DataObject) -> None:
    total = data.draw(st.integers(2, 16))
    threshold = data.draw(st.integers(2, total))
    made = split(Pin(secret), "p", threshold, total)
    some = data.draw(st.permutations(made))[:threshold]

    assert combine(some).reveal() == secret


def test_no_share_shows_itself_in_a_log() -> None:
    share = shares()[0]

    assert share.share.hex() not in repr(share)
