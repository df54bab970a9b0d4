"""Statements verified without the daemon: genuine ones are read, everything else is refused."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from strongroom import errors
from strongroom.statements import FORMAT, verify
from strongroomd.domain.statements import FORMAT as DAEMONS_FORMAT
from strongroomd.domain.statements import Statement

KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
HOUSE = "/strongroom/eu-test-1/111122223333"
CLAIMS: dict[str, Any] = {"key": {"arn": "arn:…", "exportable": False}, "nonce": "n-1", "versions": []}
PAYLOAD = Statement("key-attestation", HOUSE, 1_764_181_234_567, CLAIMS).payload()


def spki(key: Any, encoding: Encoding = Encoding.PEM) -> bytes:
    data: bytes = key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    return data


def signed(payload: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return key.sign(payload, ec.ECDSA(hashes.SHA256()))


SIGNATURE = signed(PAYLOAD)
PEM = spki(KEY)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_genuine_statement_is_read(encoding: Encoding) -> None:
    found = verify(PAYLOAD, SIGNATURE, spki(KEY, encoding), kind="key-attestation", house=HOUSE, nonce="n-1")

    assert (found.kind, found.house, found.claims) == ("key-attestation", HOUSE, CLAIMS)
    assert found.time.isoformat() == "2025-11-26T18:20:34.567000+00:00"


def test_the_client_reads_the_format_that_the_daemon_writes() -> None:
    assert FORMAT == DAEMONS_FORMAT


def edited(**members: Any) -> bytes:
    found = {k: v for k, v in (json.loads(PAYLOAD) | members).items() if v is not ...}
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


def claimed(**members: Any) -> bytes:
    return edited(claims=CLAIMS | members)


FORGED: dict[str, tuple[bytes, bytes]] = {
    "a claim is turned": (claimed(key={"arn": "arn:…", "exportable": True}), SIGNATURE),
    "a claim is added": (claimed(more=1), SIGNATURE),
    "a claim is taken away": (edited(claims={}), SIGNATURE),
    "the house is another": (edited(house="/strongroom/x/1"), SIGNATURE),
    "the time is another": (edited(time="2026-11-26T18:20:34.567Z"), SIGNATURE),
    "the kind is another": (edited(kind="destruction-certificate"), SIGNATURE),
    "spaces are added": (PAYLOAD.replace(b":", b": ", 1), SIGNATURE),
    "a line feed is added": (PAYLOAD + b"\n", SIGNATURE),
    "the payload is cut": (PAYLOAD[:-1], SIGNATURE),
    "the payload is empty": (b"", SIGNATURE),
    "the signature is empty": (PAYLOAD, b""),
    "the signature is cut": (PAYLOAD, SIGNATURE[:-1]),
    "the signature is longer": (PAYLOAD, SIGNATURE + b"\0"),
    "a bit of the signature is turned": (PAYLOAD, SIGNATURE[:-1] + bytes([SIGNATURE[-1] ^ 1])),
    "another house signed": (PAYLOAD, signed(PAYLOAD, OTHER)),
    "r and s are zero": (PAYLOAD, bytes.fromhex("3006020100020100")),
    "the signature is of another statement": (PAYLOAD, signed(claimed(more=1))),
    "the signature is over a digest's hex": (PAYLOAD, signed(PAYLOAD.hex().encode())),
}


@pytest.mark.parametrize(("payload", "signature"), FORGED.values(), ids=FORGED)
def test_a_forged_statement_is_refused(payload: bytes, signature: bytes) -> None:
    with pytest.raises(errors.NotGenuine) as refusal:
        verify(payload, signature, PEM)

    assert refusal.value.reason == "INVALID_SIGNATURE"


MALFORMED = {
    "spaces": PAYLOAD.replace(b":", b": ", 1),
    "another order": b'{"format":"strongroom.statement.v1",'
    + PAYLOAD[1:].replace(b'"format":"strongroom.statement.v1",', b""),
    "a member twice": PAYLOAD.replace(b'"kind"', b'"kind":"x","kind"'),
    "a member more": edited(more=1),
    "a member less": edited(house=...),
    "another format": edited(format="strongroom.statement.v2"),
    "a fraction": claimed(n=1.5),
    "claims that are no object": edited(claims=[1]),
    "a kind in capitals": edited(kind="KEY"),
    "a kind that is a number": edited(kind=1),
    "a house that is empty": edited(house=""),
    "a time without milliseconds": edited(time="2025-11-26T18:20:34Z"),
    "a day that does not exist": edited(time="2025-02-30T18:20:34.567Z"),
    "no object": b"[]",
    "a checkpoint of the log": b'strongroom.checkpoint.v1\n{"number":1}',
    "too much": b'{"claims":"' + b"x" * (1 << 20) + b'"}',
    "brackets without end": b"[" * 50_000,
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED)
def test_what_the_key_signed_and_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(errors.NotGenuine):
        verify(payload, signed(payload), PEM)


@pytest.mark.parametrize(
    "wanted", [{"kind": "destruction-certificate"}, {"house": "/strongroom/x/1"}, {"nonce": "n-2"}]
)
def test_a_statement_of_other_kind_house_or_nonce_is_refused(wanted: dict[str, str]) -> None:
    with pytest.raises(errors.NotGenuine):
        verify(PAYLOAD, SIGNATURE, PEM, **wanted)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\n",
        spki(ec.generate_private_key(ec.SECP384R1())),
        spki(rsa.generate_private_key(65_537, 2_048)),
        spki(ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_a_pinned_key_of_another_kind_is_the_readers_mistake(key: bytes) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        verify(PAYLOAD, SIGNATURE, key)

    assert refusal.value.field == "public_key"


@given(payload=st.binary(max_size=100), signature=st.binary(max_size=80))
def test_bytes_from_outside_are_refused_and_never_crash(payload: bytes, signature: bytes) -> None:
    with pytest.raises(errors.NotGenuine):
        verify(payload, signature, PEM)


@given(where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_payload_can_be_turned(where: int, bit: int) -> None:
    turned = bytearray(PAYLOAD)
    turned[where % len(turned)] ^= 1 << bit

    with pytest.raises(errors.NotGenuine):
        verify(bytes(turned), SIGNATURE, PEM)
