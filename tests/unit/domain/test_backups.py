"""What a set's statement and manifest say: read in the one form that is signed, or refused."""

import dataclasses
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.backups import (
    KIND,
    BackupClaims,
    Manifest,
    Member,
    SavedToken,
    claims_of,
    is_member,
    is_name,
    parse_manifest,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.statements import Statement, parse_statement

HASH = "0123456789abcdef" * 4
CLAIMS = BackupClaims(
    name="20261126T000000Z-0123abcd", node="node-1", version="0.1.0", schema="0011", journal_sequence=17,
    journal_head=HASH, checkpoint=2, checkpoint_digest=HASH, keys=3, recipients=("age1x",),
    manifest_sha256=HASH, payload_sha256=HASH, payload_bytes=1000,
)  # fmt: skip
MANIFEST = Manifest(
    (SavedToken("", "0123", "SoftHSM", "tokens/0/", ""), SavedToken("berlin", "", "", "", "by its vendor")),
    (Member("store.sqlite", 3, HASH), Member("tokens/0/a-b/token.object", 0, HASH)),
)


def stated(claims: dict[str, Any], kind: str = KIND) -> Statement:
    """As it is read back from the bytes that were signed."""
    return parse_statement(Statement(kind, "/strongroom/local-1/111122223333", 1, claims).payload())


def test_claims_are_read_as_they_were_made() -> None:
    assert claims_of(stated(CLAIMS.claims())) == CLAIMS


def test_a_manifest_is_read_as_it_was_made() -> None:
    assert parse_manifest(orjson.loads(MANIFEST.encoded())) == MANIFEST


def test_a_statement_of_another_kind_is_about_no_set() -> None:
    with pytest.raises(StrongroomError) as refusal:
        claims_of(stated(CLAIMS.claims(), "key-attestation"))

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BackupClaims)])
@pytest.mark.parametrize("value", [None, True, [], [1], {}, 1 << 40, "é", "X" * 64])
def test_a_claim_of_another_kind_of_value_is_refused(name: str, value: object) -> None:
    claims = CLAIMS.claims() | {name: value}
    before = type(CLAIMS.claims()[name])
    if type(value) is before and name not in {
        *("name", "journal_head", "checkpoint_digest", "manifest_sha256", "payload_sha256"),
    }:
        value_is_possible = not isinstance(value, list) or all(isinstance(item, str) for item in value)
        if value_is_possible:
            return

    with pytest.raises(StrongroomError) as refusal:
        claims_of(stated(claims))

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BackupClaims)])
def test_a_claim_that_is_missing_is_refused(name: str) -> None:
    claims = CLAIMS.claims()
    del claims[name]

    with pytest.raises(StrongroomError):
        claims_of(stated(claims))


def test_a_claim_too_many_is_refused() -> None:
    with pytest.raises(StrongroomError):
        claims_of(stated(CLAIMS.claims() | {"more": 1}))


Json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(Json)
def test_whatever_is_no_manifest_is_an_integrity_failure_and_nothing_else(value: object) -> None:
    with pytest.raises(StrongroomError) as refusal:
        parse_manifest(value)

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


@given(st.sampled_from(["path", "size", "sha256"]), Json)
def test_a_member_is_what_it_must_be_or_refused(field: str, value: object) -> None:
    fields = orjson.loads(MANIFEST.encoded())
    fields["members"][0][field] = value

    try:
        found = parse_manifest(fields).members[0]
    except StrongroomError as error:
        if error.reason is not Reason.INTEGRITY_FAILURE:
            raise
    else:
        assert is_member(found.path)
        assert type(found.size) is int
        assert found.size >= 0
        assert len(bytes.fromhex(found.sha256)) == 32


@given(st.text(alphabet="abc./-_\n\0", max_size=12))
def test_no_member_leads_out_of_its_folder(path: str) -> None:
    if is_member(path):
        parts = path.split("/")
        assert all(part and not part.startswith(".") for part in parts)
        assert "\n" not in path
        assert "\0" not in path


@pytest.mark.parametrize(
    "name", ["", "a", "../20261126T000000Z-0123abcd", "20261126T000000Z-0123ABCD\n", ".partial"]
)
def test_only_a_time_and_eight_digits_name_a_set(name: str) -> None:
    assert not is_name(name)
