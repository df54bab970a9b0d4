"""Statements: one byte form, and nothing else is taken for one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.statements import (
    MAX_NUMBER,
    MAX_STATEMENT,
    Statement,
    parse_statement,
    spell_time,
)

HOUSE = "/strongroom/eu-test-1/111122223333"
STATED = Statement("key-attestation", HOUSE, 1_764_181_234_567, {"key": "k", "versions": [{"version": 1}]})
PAYLOAD = (
    b'{"claims":{"key":"k","versions":[{"version":1}]},"format":"strongroom.statement.v1",'
    b'"house":"/strongroom/eu-test-1/111122223333","kind":"key-attestation","time":"2025-11-26T18:20:34.567Z"}'
)


def test_a_statement_has_this_byte_form() -> None:
    assert STATED.payload() == PAYLOAD


def test_text_beyond_ascii_is_escaped() -> None:
    stated = Statement("k", "/h", 0, {"name": "☃"})

    assert b'"name":"\\u2603"' in stated.payload()
    assert parse_statement(stated.payload()) == stated


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_NUMBER, MAX_NUMBER) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CLAIMS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)


@given(claims=CLAIMS, time=st.integers(0, 253_402_300_799_999))
def test_what_was_stated_is_read_back(claims: dict[str, Any], time: int) -> None:
    stated = Statement("some-kind", HOUSE, time, claims)

    assert parse_statement(stated.payload()) == stated


@given(claims=CLAIMS, where=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_an_altered_payload_is_refused_or_another_statement(
    claims: dict[str, Any], where: int, byte: int
) -> None:
    payload = bytearray(Statement("some-kind", HOUSE, 0, claims).payload())
    payload[where % len(payload)] = byte
    try:
        read = parse_statement(bytes(payload))
    except StrongroomError:
        return
    assert read.payload() == bytes(payload)


@given(st.binary(max_size=200))
def test_bytes_from_outside_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(StrongroomError):
        parse_statement(data)


def _edited(**members: Any) -> bytes:
    found = json.loads(PAYLOAD) | members
    found = {name: value for name, value in found.items() if value is not ...}
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


NOT_STATEMENTS = {
    "nothing": b"",
    "spaces": PAYLOAD.replace(b":", b": ", 1),
    "a line feed behind": PAYLOAD + b"\n",
    "another order": PAYLOAD.replace(b'"kind":"key-attestation",', b"")[:-1] + b',"kind":"key-attestation"}',
    "a member twice": PAYLOAD.replace(b'"kind"', b'"kind":"other","kind"'),
    "a member more": _edited(extra=1),
    "a member less": _edited(house=...),
    "another format": _edited(format="strongroom.statement.v2"),
    "a fraction": _edited(claims={"n": 1.5}),
    "a number over 53 bits": _edited(claims={"n": 2**53}),
    "not a number": PAYLOAD.replace(b'"k"', b"NaN"),
    "an escape that is not needed": PAYLOAD.replace(b'"k"', b'"\\u006b"'),
    "a character beyond ASCII": PAYLOAD.replace(b'"k"', '"☃"'.encode()),
    "half of a surrogate pair": PAYLOAD.replace(b'"k"', b'"\\ud800"'),
    "claims that are a list": _edited(claims=[]),
    "claims that nest too deep": _edited(claims={"a": json.loads("[" * 20 + "]" * 20)}),
    "a kind of capitals": _edited(kind="KEY"),
    "a kind that is no text": _edited(kind=1),
    "a kind with a line feed": _edited(kind="key-attestation\n"),
    "a house with a space": _edited(house="a b"),
    "a time without milliseconds": _edited(time="2025-11-26T18:20:34Z"),
    "a time of another zone": _edited(time="2025-11-26T18:20:34.567+00:00"),
    "a day that does not exist": _edited(time="2025-02-30T18:20:34.567Z"),
    "a time before 1970": _edited(time="1969-12-31T23:59:59.999Z"),
    "a time that is a number": _edited(time=1),
    "a list": b"[]",
    "brackets without end": b"[" * 100_000,
    "a number of a million digits": b'{"claims":{"n":' + b"1" * 1_000_000 + b"}}",
}


@pytest.mark.parametrize("payload", NOT_STATEMENTS.values(), ids=NOT_STATEMENTS)
def test_what_is_not_the_byte_form_is_refused(payload: bytes) -> None:
    with pytest.raises(StrongroomError) as refusal:
        parse_statement(payload)

    assert refusal.value.reason is Reason.INVALID_FIELD
    assert refusal.value.field == "statement"


def test_a_statement_has_a_size() -> None:
    with pytest.raises(StrongroomError) as made:
        Statement("k", "/h", 0, {"a": "x" * MAX_STATEMENT}).payload()
    with pytest.raises(StrongroomError) as read:
        parse_statement(b"x" * (MAX_STATEMENT + 1))

    assert made.value.reason is read.value.reason is Reason.FIELD_TOO_LARGE


@pytest.mark.parametrize(
    "claim", [1.5, b"bytes", {1: 2}, {"a": {1: 2}}, "\ud800", {"\ud800": 1}, {1, 2}, 2**60]
)
def test_what_no_reader_would_understand_cannot_be_stated(claim: object) -> None:
    with pytest.raises(StrongroomError) as refusal:
        Statement("k", "/h", 0, {"claim": claim}).payload()

    assert refusal.value.reason is Reason.INVALID_FIELD


def test_times_are_spelled_to_the_millisecond() -> None:
    assert spell_time(0) == "1970-01-01T00:00:00.000Z"
    assert spell_time(1_764_181_234_007) == "2025-11-26T18:20:34.007Z"
    with pytest.raises(StrongroomError):
        spell_time(-1)
