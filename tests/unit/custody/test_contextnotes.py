"""Contexts in audit records: equal values look equal, no value can be read, and a batch tells some names."""

import hmac
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from strongroomd.custody.contextnotes import ContextNotes, noting_names
from strongroomd.domain.context import Context

KEY = bytes(range(32))
PAIR = st.tuples(st.binary(min_size=1, max_size=8), st.binary(max_size=8))


def noted(context: Context, key: bytes = KEY, field: str = "context", plain: Any = ()) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    note = ContextNotes(key, plain).noting(context, field)
    if note:
        note(facts)
    return facts


def test_a_value_is_a_mac_over_the_length_prefixed_pair() -> None:
    message = b"\0\0\0\6tenant\0\0\0\4blue"

    assert noted(((b"tenant", b"blue"),), field="source_context") == {
        "source_context_hmac": {"tenant": hmac.new(KEY, message, "sha256").digest()[:16].hex()}
    }


@given(PAIR, PAIR)
def test_equal_pairs_look_equal_and_others_do_not(one: tuple[bytes, bytes], two: tuple[bytes, bytes]) -> None:
    notes = ContextNotes(KEY)

    assert (notes._mac(*one) == notes._mac(*two)) == (one == two)
    assume(len(one[1]) > 1)
    name, value = one
    assert notes._mac(name + value[:1], value[1:]) != notes._mac(name, value)


def test_without_the_key_no_value_can_be_tried_out() -> None:
    context = ((b"tenant", b"blue"),)

    assert noted(context) != noted(context, key=bytes(32))
    assert str(KEY) not in repr(ContextNotes(KEY))


def test_values_are_in_clear_only_for_exactly_the_names_that_are_configured() -> None:
    context = ((b"Tenant", b"red"), (b"tenant", b"blue"), (b"tenant2", b"green"))
    facts = noted(context, plain=["tenant"])

    assert facts["context"] == {"tenant": "blue"}
    assert facts["context_hmac"].keys() == {"Tenant", "tenant2"}


def test_no_context_makes_no_note() -> None:
    assert ContextNotes(KEY).noting(()) is None


def test_a_batch_tells_its_first_ten_names_and_no_value() -> None:
    contexts = [((f"name-{n // 2}".encode(), b"secret"),) for n in range(100)]
    facts: dict[str, Any] = {}
    noting_names(contexts[:6])(facts)
    noting_names(contexts)(facts)

    assert facts == {"context_keys": [f"name-{n}" for n in range(10)]}
    empty: dict[str, Any] = {}
    noting_names([(), ()])(empty)
    assert empty == {}
