"""A request is believed if whoever sent it holds the secret, signed all of it, for us, and just now."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.frontends import sigv4
from strongroomd.frontends.sigv4 import Claim, HttpParts, Verifier, canonical_request, signature, signing_key

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "sigv4.json").read_text())
NOW = 1_795_305_600.0  # 2026-11-22T00:00:00Z
SERVICE = "kms-xks-proxy"
ID = "BETWEEN2TENAND3TENCHARACTERS"
SECRET = b"PleaseReplaceThisWithSomeSecretOfLength43To64"
STAMP = "20261122T000000Z"
GOOD = "cd6c1d5ca8c33fbaa6c97d3f3ea63a9c982ba98417fef851a70e43d795dc5c3b"
BODY = b'{"requestMetadata":{"kmsRequestId":"r","kmsOperation":"KmsHealthCheck"}}'
SCOPE = "20261122/us-east-1/kms-xks-proxy/aws4_request"
AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={ID}/{SCOPE}, SignedHeaders=host;x-amz-date, Signature={GOOD}"
REQUEST = HttpParts(
    "POST",
    "/p1/kms/xks/v1/health",
    "",
    (("host", "xks.example.com"), ("x-amz-date", STAMP), ("authorization", AUTHORIZATION)),
    BODY,
)


@dataclass(frozen=True)
class Key:
    access_key_id: str = ID
    secret: bytes = SECRET
    revision: int = 1


def verify(parts: HttpParts, signer: Key | None, now: float = NOW, verifier: Verifier | None = None) -> Claim:
    verifier = verifier or Verifier(lambda: now, SERVICE)
    claim = verifier.read(parts)
    verifier.verify(parts, claim, signer)
    return claim


def refused(parts: HttpParts, signer: Key | None = Key(), now: float = NOW) -> StrongroomError:
    with pytest.raises(StrongroomError) as refusal:
        verify(parts, signer, now)
    assert refusal.value.reason is Reason.UNAUTHENTICATED_PEER
    return refusal.value


def with_header(name: str, value: str, *, first: bool = True) -> HttpParts:
    """The request with a header changed, or one more."""
    kept = tuple(pair for pair in REQUEST.headers if not first or pair[0] != name)
    return replace(REQUEST, headers=(*kept, (name, value)))


def authorized(old: str, new: str) -> HttpParts:
    assert old in AUTHORIZATION
    return with_header("authorization", AUTHORIZATION.replace(old, new))


def signed_by(
    key: Key, parts: HttpParts = REQUEST, *, region: str = "us-east-1", names: str = "host;x-amz-date"
) -> HttpParts:
    """The request, signed anew: with the module's own parts, which the vectors prove."""
    headers = tuple(pair for pair in parts.headers if pair[0] != "authorization")
    stamp = dict(headers)["x-amz-date"]
    claim = Claim(key.access_key_id, stamp, region, SERVICE, tuple(names.split(";")), "")
    derived = signing_key(key.secret, claim.day, region, SERVICE)
    fresh = replace(parts, headers=headers)
    value = signature(derived, claim, canonical_request(fresh, claim.signed))
    text = f"AWS4-HMAC-SHA256 Credential={key.access_key_id}/{claim.scope}, SignedHeaders={names}, Signature={value}"
    return replace(fresh, headers=(*headers, ("authorization", text)))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_published_signature(vector: dict) -> None:
    headers = tuple((name, value) for name, value in vector["headers"])
    parts = HttpParts(vector["method"], vector["path"], vector["query"], headers, vector["body"].encode())
    claim = Claim(
        "AKIDEXAMPLE", "20150830T123600Z", "us-east-1", "service", tuple(vector["signed"].split(";")), ""
    )

    key = signing_key(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", claim.day, claim.region, claim.service)

    assert signature(key, claim, canonical_request(parts, claim.signed)) == vector["signature"]


def test_signature_of_another_implementation_is_believed() -> None:
    claim = verify(REQUEST, Key())

    assert (claim.access_key_id, claim.region) == (ID, "us-east-1")


@pytest.mark.parametrize("seconds", [-300.0, 0.0, 300.0])
def test_five_minutes_either_way_are_allowed(seconds: float) -> None:
    verify(REQUEST, Key(), NOW + seconds)


@pytest.mark.parametrize("length", [43, 64])
def test_secrets_of_every_legal_length_are_taken(length: int) -> None:
    key = Key(secret=b"s" * length)

    verify(signed_by(key), key)


@pytest.mark.parametrize(
    "names",
    ["host;x-amz-date", "content-type;host;x-amz-date", "content-type;host;x-amz-date;x-forwarded-for"],
)
def test_further_headers_may_be_signed(names: str) -> None:
    more = (*REQUEST.headers, ("content-type", "application/json"), ("x-forwarded-for", "192.0.2.1"))

    verify(signed_by(Key(), replace(REQUEST, headers=more), names=names), Key())


def test_any_region_is_served_and_told() -> None:
    verifier = Verifier(lambda: NOW, SERVICE)

    regions = [
        verify(signed_by(Key(), region=region), Key(), verifier=verifier).region
        for region in ("us-east-1", "eu-central-1", "us-east-1")
    ]

    assert regions == ["us-east-1", "eu-central-1", "us-east-1"]


LOWER = GOOD.replace("c", "d", 1)
REFUSALS: dict[str, HttpParts] = {
    "another method": replace(REQUEST, method="GET"),
    "another path": replace(REQUEST, path="/p2/kms/xks/v1/health"),
    "a longer path": replace(REQUEST, path="/p1/kms/xks/v1/health/"),
    "a doubly encoded path": replace(REQUEST, path="/p1/kms/xks/v1/h%65alth"),
    "another case of the path": replace(REQUEST, path="/P1/kms/xks/v1/health"),
    "a query": replace(REQUEST, query="a=b"),
    "another body": replace(REQUEST, body=BODY.replace(b"r", b"s", 1)),
    "a longer body": replace(REQUEST, body=BODY + b" "),
    "no body": replace(REQUEST, body=b""),
    "another host": with_header("host", "xks.example.org"),
    "a port more in the host": with_header("host", "xks.example.com:443"),
    "two hosts": with_header("host", "xks.example.com", first=False),
    "no host": replace(REQUEST, headers=REQUEST.headers[1:]),
    "no date": replace(REQUEST, headers=(REQUEST.headers[0], REQUEST.headers[2])),
    "two dates": with_header("x-amz-date", STAMP, first=False),
    "a date a second later": with_header("x-amz-date", "20261122T000001Z"),
    "a date of the day before": with_header("x-amz-date", "20261121T235959Z"),
    "a date without zone": with_header("x-amz-date", "20261122T000000"),
    "a date with dashes": with_header("x-amz-date", "2026-11-22T00:00:00Z"),
    "a date that is none": with_header("x-amz-date", "20261122T250000Z"),
    "a month that is none": with_header("x-amz-date", "20261322T000000Z"),
    "a date before all dates": with_header("x-amz-date", "00000000T000000Z"),
    "a date in other digits": with_header("x-amz-date", "\u0662\u0660\u0662\u06661122T000000Z"),
    "an empty date": with_header("x-amz-date", ""),
    "no authorization": replace(REQUEST, headers=REQUEST.headers[:2]),
    "two authorizations": with_header("authorization", AUTHORIZATION, first=False),
    "an empty authorization": with_header("authorization", ""),
    "another scheme": authorized("AWS4-HMAC-SHA256", "Bearer"),
    "the older algorithm": authorized("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
    "the asymmetric algorithm": authorized("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
    "one digit changed": authorized(GOOD, LOWER),
    "a signature in capitals": authorized(GOOD, GOOD.upper()),
    "a short signature": authorized(GOOD, GOOD[:-1]),
    "a long signature": authorized(GOOD, GOOD + "0"),
    "an empty signature": authorized(GOOD, ""),
    "a signature of zeros": authorized(GOOD, "0" * 64),
    "another service": authorized("kms-xks-proxy", "kms"),
    "another region": authorized("us-east-1", "us-west-2"),
    "no region": authorized("us-east-1", ""),
    "another day": authorized("/20261122/", "/20261121/"),
    "another terminator": authorized("aws4_request", "aws5_request"),
    "another id": authorized(ID, ID[:-1] + "A"),
    "an id in lower case": authorized(ID, ID.lower()),
    "an id with a slash": authorized(ID, f"{ID}/x"),
    "an empty id": authorized(ID, ""),
    "an id of 129 characters": authorized(ID, "A" * 129),
    "the host not signed": authorized("host;x-amz-date", "x-amz-date"),
    "the date not signed": authorized("host;x-amz-date", "host"),
    "nothing signed": authorized("host;x-amz-date", ""),
    "a signed header that is not there": authorized("host;x-amz-date", "host;x-amz-date;x-other"),
    "signed headers out of order": authorized("host;x-amz-date", "x-amz-date;host"),
    "a signed header twice": authorized("host;x-amz-date", "host;host;x-amz-date"),
    "signed headers in capitals": authorized("host;x-amz-date", "Host;x-amz-date"),
    "signed headers with a hole": authorized("host;x-amz-date", "host;;x-amz-date"),
    "no signed headers": authorized(" SignedHeaders=host;x-amz-date,", ""),
    "no signature": authorized(f", Signature={GOOD}", ""),
    "no credential": authorized(f" Credential={ID}/{SCOPE},", ""),
    "something behind": authorized(GOOD, f"{GOOD}, More=1"),
    "a new line behind": authorized(GOOD, f"{GOOD}\n"),
    "far too much": authorized("host;x-amz-date", "a;" * 5_000 + "host;x-amz-date"),
    "bytes that are no text": with_header("host", "xks.example.com\udcff"),
}


@pytest.mark.parametrize("parts", REFUSALS.values(), ids=REFUSALS)
def test_refused(parts: HttpParts) -> None:
    refused(parts)


@pytest.mark.parametrize(
    "signer",
    [
        None,
        Key(secret=SECRET[:-1] + b"5"),
        Key(secret=b""),
        Key(access_key_id="A" * 20),
    ],
    ids=["unknown", "another secret", "an empty secret", "another credential"],
)
def test_whoever_does_not_hold_the_secret_is_refused_in_the_same_words(signer: Key | None) -> None:
    assert refused(REQUEST, signer).message == refused(authorized(GOOD, LOWER)).message


@pytest.mark.parametrize("length", [0, 42, 65])
def test_a_secret_of_another_length_opens_nothing(length: int) -> None:
    key = Key(secret=b"s" * length)

    refused(signed_by(key), key)


@pytest.mark.parametrize("seconds", [-301.0, 301.0, 86_400.0, -86_400.0])
def test_a_request_of_another_time_is_refused(seconds: float) -> None:
    assert "5 minutes" in refused(REQUEST, Key(), NOW + seconds).message


def test_a_day_that_the_calendar_does_not_have_is_not_the_one_after_it() -> None:
    third_of_march = 1_772_496_000.0

    for stamp, counts in (("20260303T000000Z", True), ("20260231T000000Z", False)):
        parts = signed_by(Key(), with_header("x-amz-date", stamp))
        if counts:
            verify(parts, Key(), third_of_march)
        else:
            refused(parts, Key(), third_of_march)


def test_a_request_shows_neither_body_nor_headers() -> None:
    assert not any(secret in repr(REQUEST) for secret in (BODY.decode(), GOOD, "kms-xks"))


def test_payload_may_not_be_left_unsigned() -> None:
    parts = with_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    signed = signed_by(Key(), parts, names="host;x-amz-content-sha256;x-amz-date")

    refused(replace(signed, body=b"{}"))


def test_a_changed_secret_ends_the_old_one_at_once() -> None:
    verifier, new = Verifier(lambda: NOW, SERVICE), Key(secret=b"n" * 43, revision=2)
    verify(REQUEST, Key(), verifier=verifier)

    with pytest.raises(StrongroomError):
        verify(REQUEST, new, verifier=verifier)

    verify(signed_by(new), new, verifier=verifier)


def test_a_credential_made_anew_with_its_old_name_and_revision_does_not_find_the_old_key() -> None:
    verifier, remade = Verifier(lambda: NOW, SERVICE), Key(secret=b"n" * 43)
    verify(REQUEST, Key(), verifier=verifier)

    with pytest.raises(StrongroomError):
        verify(REQUEST, remade, verifier=verifier)


def test_derived_keys_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigv4, "_MOST_KEYS", 4)
    derived: list[str] = []
    original = signing_key

    def counted(secret: bytes, day: str, region: str, service: str) -> bytes:
        derived.append(region)
        return original(secret, day, region, service)

    monkeypatch.setattr(sigv4, "signing_key", counted)
    verifier = Verifier(lambda: NOW, SERVICE)
    for region in ("r-1", "r-1", "r-2", "r-3", "r-4", "r-5", "r-5", "r-1"):
        verify(signed_by(Key(), region=region), Key(), verifier=verifier)

    assert derived == ["r-1", "r-2", "r-3", "r-4", "r-5", "r-1"]


def test_an_unknown_id_costs_a_derivation_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[bytes] = []
    original = signing_key

    def counted(secret: bytes, day: str, region: str, service: str) -> bytes:
        derived.append(secret)
        return original(secret, day, region, service)

    monkeypatch.setattr(sigv4, "signing_key", counted)
    verifier, wrong = Verifier(lambda: NOW, SERVICE), authorized(GOOD, LOWER)
    counts = []
    for signer in (Key(), None):
        derived.clear()
        for _ in range(3):
            with pytest.raises(StrongroomError):
                verify(wrong, signer, verifier=verifier)
        counts.append(len(derived))

    assert counts == [1, 1]


def test_secrets_show_in_no_repr() -> None:
    verifier = Verifier(lambda: NOW, SERVICE)
    verify(REQUEST, Key(), verifier=verifier)

    assert SECRET.decode() not in repr(verifier.__dict__)


TEXT = st.text(st.characters(codec="utf-8"), max_size=200)


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT)
def test_no_header_gives_anything_but_a_refusal(authorization: str, stamp: str) -> None:
    headers = (("host", "h"), ("x-amz-date", stamp), ("authorization", authorization))

    refused(replace(REQUEST, headers=headers))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["method", "path", "query", "body", "host", "authorization"]),
    st.integers(0, 10**6),
    st.integers(1, 255),
)
def test_whatever_byte_is_changed_the_request_is_refused(what: str, where: int, by: int) -> None:
    """The spaces after commas are the only bytes that mean nothing."""
    if what in {"host", "authorization"}:
        old = dict(REQUEST.headers)[what]
    else:
        old = REQUEST.body.decode() if what == "body" else getattr(REQUEST, what)
    place = where % len(old) if old else 0
    new = old[:place] + chr((ord(old[place]) + by) % 128 if old else by % 128) + old[place + 1 :]
    if new == old or new.split() == old.split() or "".join(new.split()) == "".join(old.split()):
        return
    if what == "query" and not sigv4.canonical_query(new):
        return  # an & alone says nothing
    if what in {"host", "authorization"}:
        changed = with_header(what, new)
    else:
        changes: dict[str, Any] = {what: new.encode() if what == "body" else new}
        changed = replace(REQUEST, **changes)

    refused(changed)
