"""Bundles, receipts and peers' cards: read back as they were written, and nothing else is read."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroomd.domain.algorithms import KeySpec, KeyUsage, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.replicastatements import (
    BUNDLE,
    PEER,
    RECEIPT,
    Bundle,
    PeerCard,
    Receipt,
    Shipped,
    read_bundle,
    read_peer,
    read_receipt,
)
from strongroomd.domain.rotations import RotationType
from strongroomd.domain.statements import Statement, parse_statement

KEY = "mrk-" + "0a" * 16
SHIPPED = Shipped(1, 5, RotationType.FIRST, Scheme.DEFAULT, 32, b"", b"check", "ab" * 32, b"blob")
SECOND = dataclasses.replace(SHIPPED, version=3, rotation=RotationType.ON_DEMAND, public_key=b"p")
GOOD = Bundle(
    key_id=KEY,
    account="111122223333",
    spec=KeySpec.SYMMETRIC_DEFAULT,
    usage=KeyUsage.ENCRYPT_DECRYPT,
    exportable=False,
    quorum=0,
    created_at=5,
    source="local-1",
    target="local-2",
    primary="local-1",
    term=1,
    period_days=365,
    current_version=1,
    after=0,
    replicas=(("local-3", 1),),
    versions=(SHIPPED, SECOND),
)


def read(claims: dict[str, Any]) -> Bundle | None:
    """Read a bundle; None where it is refused as what is none."""
    try:
        return read_bundle(stated(BUNDLE, claims))
    except StrongroomError as error:
        if (error.reason, error.field) not in {
            (Reason.INVALID_FIELD, "bundle"),
            (Reason.INVALID_FIELD, "statement"),
        }:
            raise
        return None


def stated(kind: str, claims: dict[str, Any]) -> Statement:
    """What a reader gets: through the one byte form and back."""
    return parse_statement(Statement(kind, "/strongroom/local-1/1", 1_000, claims).payload())


def test_what_is_written_is_read() -> None:
    card, receipt = PeerCard("local-1", b"key"), Receipt(KEY, "111122223333", "local-2", 3, b"check")

    assert read_bundle(stated(BUNDLE, GOOD.claims())) == GOOD
    assert read_peer(stated(PEER, card.claims())) == card
    assert read_receipt(stated(RECEIPT, receipt.claims())) == receipt
    assert GOOD.newest == 3
    assert dataclasses.replace(GOOD, versions=(), after=2).newest == 2


@pytest.mark.parametrize("name", sorted(GOOD.claims()))
@pytest.mark.parametrize(
    "value", [None, -1, 1.5, "", "*", True, [], {}, ["x"], {"x": 1}, 2**53 - 1, "x" * 300]
)
def test_no_claim_is_read_as_anything_else(name: str, value: Any) -> None:
    before = GOOD.claims()
    claims = before | {name: value}
    if type(value) is float:  # no statement holds one
        return
    found = read(claims)

    assert found is None or found.claims() == claims  # another bundle, and truly that one


@pytest.mark.parametrize("name", sorted(SHIPPED.claims()))
@pytest.mark.parametrize("value", [None, 0, "", "*", "AA", True, [], {}, 2**53 - 1, "AAA=", "AAB="])
def test_no_part_of_a_version_is_read_as_anything_else(name: str, value: Any) -> None:
    claims = GOOD.claims()
    claims["versions"] = [SHIPPED.claims() | {name: value}]
    found = read(claims)

    assert found is None or found.claims() == claims  # another bundle, and truly that one


@pytest.mark.parametrize("missing", sorted(GOOD.claims()))
def test_every_claim_is_needed_and_no_other_is_taken(missing: str) -> None:
    claims = GOOD.claims()
    del claims[missing]
    for wrong in (claims, GOOD.claims() | {"more": 1}):
        with pytest.raises(StrongroomError):
            read_bundle(stated(BUNDLE, wrong))


@pytest.mark.parametrize("kind", [PEER, RECEIPT, "key-attestation"])
def test_another_kind_of_statement_is_no_bundle(kind: str) -> None:
    with pytest.raises(StrongroomError):
        read_bundle(stated(kind, GOOD.claims()))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_whatever_stands_for_versions_is_refused_or_read_whole(value: Any) -> None:
    claims = GOOD.claims() | {"versions": value}
    found = read(claims)

    assert found is None or found.claims() == claims  # another bundle, and truly that one
