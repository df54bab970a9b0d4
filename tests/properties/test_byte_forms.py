"""Byte forms that are authenticated say one thing only: AAD, envelope, records, page tokens."""

import dataclasses
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from strongroomd.custody import pages
from strongroomd.domain import context, envelope, records
from strongroomd.domain.algorithms import KeySpec, KeyUsage, Scheme
from strongroomd.domain.envelope import HEADER_BYTES, NONCE_BYTES, TAG_BYTES, Format
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_CONTEXT, MAX_CONTEXT_PAIRS
from strongroomd.domain.protection import since
from strongroomd.domain.quotarequests import QuotaRequestRecord, RequestState
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    HouseRecord,
    InvocationsRecord,
    KeyManager,
    KeyRecord,
    KeyState,
    LimitRecord,
    LimitScope,
    Origin,
    Record,
    VersionRecord,
    VersionState,
)

_PAIRS = st.dictionaries(st.text(min_size=1, max_size=6), st.text(max_size=6), max_size=4)
_ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=10)
_HEADERS = st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES)


@given(_PAIRS, _PAIRS, _HEADERS, _HEADERS)
def test_two_contexts_or_headers_never_share_authenticated_data(
    one: dict[str, str], other: dict[str, str], head: bytes, head_2: bytes
) -> None:
    same = one == other and head == head_2
    made = context.aad(head, context.parse_context(one)), context.aad(head_2, context.parse_context(other))

    assert (made[0] == made[1]) is same


@given(_PAIRS)
def test_the_order_of_pairs_does_not_matter(pairs: dict[str, str]) -> None:
    turned = dict(reversed(list(pairs.items())))

    assert context.parse_context(pairs) == context.parse_context(turned)


@given(st.dictionaries(_ANY_TEXT, _ANY_TEXT, max_size=3))
def test_any_context_is_encoded_or_refused(pairs: dict[str, str]) -> None:
    try:
        parsed = context.parse_context(pairs, "place")
    except StrongroomError as error:
        refused_at = error.field
    else:
        refused_at = "place"
        assert {k.decode(): v.decode() for k, v in parsed} == pairs
    assert refused_at == "place"


def test_context_limits_are_exact() -> None:
    assert context.parse_context({"k": "v" * (MAX_CONTEXT - 9)})
    assert context.parse_context({str(n): "" for n in range(MAX_CONTEXT_PAIRS)})
    for pairs in ({"k": "v" * (MAX_CONTEXT - 8)}, {str(n): "" for n in range(MAX_CONTEXT_PAIRS + 1)}):
        with pytest.raises(StrongroomError) as caught:
            context.parse_context(pairs)
        assert caught.value.reason is Reason.FIELD_TOO_LARGE


def test_the_documented_example_of_authenticated_data() -> None:
    head = envelope.header(Format.XAES_256_GCM, "1234abcd-12ab-34cd-56ef-1234567890ab", 3)
    pairs = context.parse_context({"tenant": "blue", "app": "pay"})

    assert head.hex() == "535201001234abcd12ab34cd56ef1234567890ab00000003"
    assert context.aad(head, pairs).hex() == (
        "7374726f6e67726f6f6d2e6161642e7631"
        "535201001234abcd12ab34cd56ef1234567890ab00000003"
        "00000002"
        "0000000361707000000003706179"
        "0000000674656e616e7400000004626c7565"
    )


_KEY_IDS = st.uuids().map(str) | st.binary(min_size=16, max_size=16).map(lambda raw: "mrk-" + raw.hex())


@given(st.sampled_from(Format), _KEY_IDS, st.integers(1, 2**32 - 1), st.binary(max_size=40))
def test_an_envelope_comes_back_as_it_was(form: Format, key_id: str, version: int, rest: bytes) -> None:
    sealed = bytes(NONCE_BYTES[form] + TAG_BYTES) + rest
    head = envelope.header(form, key_id, version)

    parsed = envelope.parse(head + sealed)

    assert parsed == envelope.Envelope(form, key_id, version, head, sealed)


@given(st.binary(max_size=120) | st.binary(max_size=120).map(lambda tail: b"SR\x01\x00" + tail))
def test_any_bytes_are_an_envelope_or_one_and_the_same_refusal(data: bytes) -> None:
    refusal = (Reason.INVALID_CIPHERTEXT, None, StrongroomError(Reason.INVALID_CIPHERTEXT).message)
    try:
        parsed = envelope.parse(data)
    except StrongroomError as error:
        seen = (error.reason, error.field, error.message)
    else:
        seen = refusal
        assert parsed.header + parsed.sealed == data
        assert envelope.header(parsed.format, parsed.key_id, parsed.version) == parsed.header
    assert seen == refusal


@pytest.mark.parametrize("form", list(Format))
def test_the_shortest_envelope_is_exact(form: Format) -> None:
    head = envelope.header(form, "1234abcd-12ab-34cd-56ef-1234567890ab", 1)
    shortest = head + bytes(NONCE_BYTES[form] + TAG_BYTES)

    assert envelope.parse(shortest).sealed
    for bad in (
        shortest[:-1],
        head,
        head[:-1],
        b"",
        b"sr" + shortest[2:],
        shortest[:20] + bytes(4) + shortest[24:],
    ):
        with pytest.raises(StrongroomError):
            envelope.parse(bad)


_T = st.text(max_size=5)
_B = st.binary(max_size=5)
_N = st.integers(0, 2**53)
_RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        KeyRecord,
        key_id=_T, account=_T, spec=st.sampled_from(KeySpec), usage=st.sampled_from(KeyUsage),
        mode=st.sampled_from(CustodyMode), custody_note=_T, origin=st.just(Origin.HSM), exportable=st.booleans(),
        state=st.sampled_from(KeyState), description=_T, created_at=_N, deletion_at=_N, current_version=_N,
        policy=_T, tags=st.lists(st.tuples(_T, _T), max_size=3).map(tuple),
        manager=st.sampled_from(KeyManager), row_version=_N,
    ),
    st.builds(
        VersionRecord,
        key_id=_T, version=_N, state=st.sampled_from(VersionState), created_at=_N, kek_id=_T, hsm_id=_T, blob=_B,
        length=_N, public_key=_B, check_value=_B, recovery_blob=_B, scheme=st.sampled_from(Scheme),
        row_version=_N,
    ),
    st.builds(AliasRecord, account=_T, name=_T, key_id=_T, created_at=_N, updated_at=_N, row_version=_N),
    st.builds(LimitRecord, scope=st.sampled_from(LimitScope), subject=_T, per_second=_N, burst=_N, row_version=_N),
    st.builds(
        QuotaRequestRecord,
        id=_T, account=_T, scope=st.sampled_from(LimitScope), subject=_T, per_second=_N, burst=_N, justification=_T,
        principal=_T, asker_account=_T, source=_T, state=st.sampled_from(RequestState), in_force_per_second=_N,
        in_force_burst=_N, granted_per_second=_N, granted_burst=_N, created_at=_N, closed_at=_N, closed_by=_T,
        note=_T, row_version=_N,
    ),
    st.builds(InvocationsRecord, key_id=_T, version=_N, reserved=_N, row_version=_N),
    st.builds(HouseRecord, role=_T, hsm_id=_T, public_key=_B, check_value=_B, row_version=_N),
)  # fmt: skip


@given(_RECORDS, _RECORDS)
def test_two_records_never_share_a_canonical_form(one: Record, other: Record) -> None:
    assert (records.canonical(one) == records.canonical(other)) is (one == other)


def _another(value: Any) -> Any:  # noqa: PLR0911 - one for each type
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case bytes():
            return value + b"\0"
        case tuple():
            return (*value, ("", ""))
        case Origin():
            return None
        case StrEnum():
            return next(m for m in type(value) if m is not value)
        case str():
            return value + "\0"
    raise AssertionError(type(value))


@given(_RECORDS)
def test_any_change_of_any_field_changes_the_canonical_form(record: Record) -> None:
    form = records.canonical(record)

    for field in dataclasses.fields(record):
        changed = _another(getattr(record, field.name))
        if changed is not None:
            assert records.canonical(dataclasses.replace(record, **{field.name: changed})) != form


@given(_RECORDS)
def test_a_deletion_is_never_taken_for_the_record(record: Record) -> None:
    assert records.canonical(record, deleted=True) != records.canonical(record)


VERSION = VersionRecord(
    "k", 1, VersionState.ACTIVE, 2, "kek", "hsm", b"blob", 32, b"public", b"check", b"recovery", row_version=3
)


def test_a_record_from_before_a_field_keeps_the_byte_form_that_its_mac_was_made_over() -> None:
    """The forms of 0.1.0's first day: a change here makes every store unreadable."""
    before = (
        "7374726f6e67726f6f6d2e7265636f72642e7631"  # strongroom.record.v1
        "0000000776657273696f6e" "0000000130"  # version, no deletion
        "000000016b" "0000000131" "00000006414354495645" "0000000132" "000000036b656b" "0000000368736d"
        "00000004626c6f62" "000000023332" "000000067075626c6963" "00000005636865636b"
        "000000087265636f76657279" "0000000133"
    )  # fmt: skip

    assert records.canonical(VERSION).hex() == before
    later = dataclasses.replace(VERSION, scheme=Scheme.AES_GCM)
    assert records.canonical(later).hex() == before + "00000006736368656d65" + "000000074145535f47434d"


_FIRST = {
    "key": 16, "version": 12, "alias": 6, "limit": 5, "house": 5, "grant": 15, "invocations": 4,
    "account": 5, "principal": 14, "identity": 7, "access_key": 7, "access_key_addresses": 5, "quota_request": 20,
    "xks_store": 14, "xks_key": 13, "xks_credential": 6,
    "schedule": 4, "deletion": 11, "rewrap": 11, "approver": 9, "approval_request": 22, "approval": 9, "quorum": 5,
    "wrapping_key": 11, "wrapping_pair": 12, "material": 10,
    "peer": 8, "replica_copy": 6, "replica": 5,
}  # fmt: skip


@pytest.mark.parametrize("kind", records.RECORD_KINDS.values(), ids=records.RECORD_KINDS)
def test_fields_that_came_later_say_so_and_have_a_default(kind: type[Record]) -> None:
    """A kind's first fields stay as many as they were; `row_version` stays the last of all."""
    fields = dataclasses.fields(kind)
    later = [f for f in fields if "since" in f.metadata]

    assert len(fields) - len(later) == _FIRST[kind.KIND]
    assert all(f.default is not dataclasses.MISSING for f in later)
    assert fields[-1].name == "row_version"


@dataclasses.dataclass(frozen=True, slots=True)
class Grown(Record):
    """A kind that grew three times."""

    KIND = "grown"
    first: str
    one: str = dataclasses.field(default="", metadata=since("2"))
    two: int = dataclasses.field(default=7, metadata=since("3"))
    three: bytes = dataclasses.field(default=b"-", metadata=since("3"))
    row_version: int = 1


_GROWN = st.builds(
    Grown,
    _T | st.sampled_from(["one", "two", "three"]),
    st.just("") | _T | st.sampled_from(["two", "three"]),
    st.just(7) | st.integers(0, 9),
    st.just(b"-") | _B | st.sampled_from([b"one", b"two"]),
    st.integers(0, 3),
)


@given(_GROWN, _GROWN)
def test_two_records_of_a_kind_that_grew_never_share_a_canonical_form(one: Grown, other: Grown) -> None:
    assert (records.canonical(one) == records.canonical(other)) is (one == other)


_PARTS = st.lists(st.text(max_size=4), max_size=4)


@given(st.text(min_size=1, max_size=20), _PARTS)
def test_a_page_token_brings_back_its_place(after: str, request: list[str]) -> None:
    assert pages.decode(pages.encode(after, *request), *request) == after


@given(st.text(min_size=1, max_size=9), _PARTS, _PARTS)
def test_a_page_token_is_bound_to_its_request(after: str, request: list[str], other: list[str]) -> None:
    assume(request != other)

    with pytest.raises(StrongroomError) as caught:
        pages.decode(pages.encode(after, *request), *other)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_PAGE_TOKEN, "page_token")


@given(_ANY_TEXT.filter(bool))
def test_any_other_text_is_no_page_token(text: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        pages.decode(text, "ListKeys")
    assert caught.value.reason is Reason.INVALID_PAGE_TOKEN


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "\uff19", "9" * 5_000, " 1"])
def test_a_made_up_place_is_no_number(after: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        pages.decode_number(pages.encode(after, "method"), "method")
    assert caught.value.reason is Reason.INVALID_PAGE_TOKEN
