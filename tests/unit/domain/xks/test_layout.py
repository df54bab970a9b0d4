"""The bytes of an external key store's ciphertexts, against the specification's own vector and by hand."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.algorithms import Scheme
from strongroomd.domain.xks import layout
from strongroomd.domain.xks.layout import Layout, Made, SealedParts

PARTS = SealedParts(b"c" * 12, b"i" * 12, b"t" * 16, b"key_version=1")


def test_metadata_are_these_bytes() -> None:
    prefix = bytes(range(12))

    assert layout.encode_metadata(Layout.XAES_256_GCM, 258, prefix).hex() == "0100000102" + prefix.hex()
    assert layout.encode_metadata(Layout.AES_256_GCM, 1, b"").hex() == "0200000001"
    assert layout.parse_metadata(bytes.fromhex("0200000001")) == Made(Layout.AES_256_GCM, 1, b"")


def test_every_scheme_writes_a_layout_of_its_own() -> None:
    assert set(layout.LAYOUTS) == set(Scheme)
    assert sorted(layout.LAYOUTS.values()) == sorted(Layout)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "01",
        "0200000000",
        "0000000001",
        "0300000001",
        "ff00000001",
        "0100000001",
        "0100000001" + "00" * 11,
        "0100000001" + "00" * 13,
        "020000000100",
        b"key_version=1".hex(),
    ],
)
def test_metadata_that_this_daemon_cannot_have_written_are_none(raw: str) -> None:
    assert layout.parse_metadata(bytes.fromhex(raw)) is None


@given(st.binary(max_size=40))
def test_any_bytes_are_metadata_that_are_written_again_or_none(raw: bytes) -> None:
    made = layout.parse_metadata(raw)

    assert made is None or layout.encode_metadata(made.layout, made.version, made.prefix) == raw


@given(
    st.sampled_from(Layout),
    st.integers(min_value=1, max_value=2**32 - 1),
    st.binary(min_size=12, max_size=12),
)
def test_what_is_written_is_read_and_fits(form: Layout, version: int, prefix: bytes) -> None:
    prefix = prefix if form is Layout.XAES_256_GCM else b""
    raw = layout.encode_metadata(form, version, prefix)

    assert layout.parse_metadata(raw) == Made(form, version, prefix)
    assert len(raw) <= layout.MAX_METADATA


def test_authenticated_data_are_both_parts_behind_their_lengths() -> None:
    assert layout.framed(b"aad", b"meta").hex() == "0003" + b"aad".hex() + "04" + b"meta".hex()
    assert layout.framed(b"", b"").hex() == "000000"


@given(st.binary(max_size=40), st.binary(max_size=20), st.binary(max_size=40), st.binary(max_size=20))
def test_no_two_requests_have_the_same_authenticated_data(
    aad: bytes, metadata: bytes, other: bytes, more: bytes
) -> None:
    same = (aad, metadata) == (other, more)

    assert (layout.framed(aad, metadata) == layout.framed(other, more)) == same


def test_the_sample_proxys_form_tells_an_empty_aad_from_none() -> None:
    digest = hashlib.sha256(b"aad").hexdigest()

    assert layout.digested(b"aad", b"m").hex() == "0003" + digest + "01" + b"m".hex()
    assert layout.digested(b"", b"m").hex() == "0000" + hashlib.sha256(b"").hexdigest() + "01" + b"m".hex()
    assert layout.digested(None, b"m").hex() == "0000" + "01" + b"m".hex()


def test_the_integrity_value_is_over_all_parts_without_lengths() -> None:
    joined = b"aad" + PARTS.metadata + PARTS.iv + PARTS.ciphertext + PARTS.tag

    assert layout.integrity_value(b"aad", PARTS) == hashlib.sha256(joined).digest()
    assert layout.integrity_value(b"", PARTS) == hashlib.sha256(joined[3:]).digest()


def test_the_integrity_value_is_that_of_the_specifications_example() -> None:
    parts = SealedParts(
        base64.b64decode("ghxkK1txeDNn3q8Y"),
        base64.b64decode("HMrlRw85cAJUd5Ax"),
        base64.b64decode("vBxN2ncH1oEkR8WVXpmyYQ=="),
        b"key_version=1",
    )

    value = layout.integrity_value(b"project=nile,department=marketing", parts)

    assert base64.b64encode(value) == b"qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc="
