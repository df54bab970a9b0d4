"""Names of callers and facts of certificates: one spelling each, and everything else refused."""

import dataclasses
from typing import Any

import pytest

from strongroomd.domain.accounts import (
    AccountRecord,
    Fact,
    IdentityKind,
    IdentityRecord,
    PrincipalKind,
    access_key_id,
    dns_fact,
    identity_id,
    kind_of,
    policy_name,
    role_seconds,
    session_name,
    session_seconds,
    subject_fact,
    uri_fact,
)
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.principals import Behalf, Caller, Principal, RoleSession, parse_principal
from strongroomd.domain.records import canonical

SPKI = "0123456789abcdef" * 4


@pytest.mark.parametrize("uri", ["spiffe://example.org/a", "spiffe://a.b/c/d", "https://example.org/x?y=1#z"])
def test_uris_that_a_certificate_may_hold(uri: str) -> None:
    assert uri_fact(uri) == Fact(IdentityKind.URI, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "example.org",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org/a/",
        "spiffe://Example.org/a",
        "SPIFFE://example.org/a",
        "spiffe://example.org/a?b",
        "spiffe://example.org/../a",
        "spiffe://example.org/%61",
        "spiffe://example.org:1/a",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://example.org/é",
        "x" * 3_000,
    ],
)
def test_uris_that_it_may_not(uri: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        uri_fact(uri)

    assert caught.value.field == "uri"


@pytest.mark.parametrize("name", ["a.b", "pay.example.org", "x-1.example.org"])
def test_dns_names(name: str) -> None:
    assert dns_fact(name).value == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "*.example.org",
        "A.b",
        "a..b",
        "a.b.",
        ".a.b",
        "-a.b",
        "a-.b",
        "a_b.c",
        "a.b\n",
        "a." * 200 + "b",
    ],
)
def test_what_is_no_dns_name(name: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        dns_fact(name)

    assert caught.value.field == "dns"


@pytest.mark.parametrize(
    ("subject", "issuer", "field"),
    [
        ("", SPKI, "subject"),
        ("CN=a", "", "issuer_spki_sha256"),
        ("CN=a", SPKI.upper(), "issuer_spki_sha256"),
        ("CN=a", SPKI + "00", "issuer_spki_sha256"),
        ("CN=\0", SPKI, "subject"),
        ("CN=\n", SPKI, "subject"),
        ("x" * 1_025, SPKI, "subject"),
    ],
)
def test_a_subject_needs_its_issuer(subject: str, issuer: str, field: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        subject_fact(subject, issuer)

    assert caught.value.field == field


def test_identities_of_different_kinds_never_share_an_id() -> None:
    ids = {
        uri_fact("https://a.b/c").record_id,
        dns_fact("a.b").record_id,
        subject_fact("CN=a", SPKI).record_id,
        identity_id(IdentityKind.DNS, "https://a.b/c"),
        identity_id(IdentityKind.SUBJECT, "a.b"),
    }

    assert len(ids) == 5
    record = IdentityRecord(IdentityKind.DNS, "a.b", "", "arn", "1", 0)
    assert record.record_id == dns_fact("a.b").record_id


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\n", "é", "x" * 129])
def test_policy_names_that_are_refused(name: str) -> None:
    with pytest.raises(StrongroomError):
        policy_name(name)


@pytest.mark.parametrize("name", ["", "a", "a/b", "a b", "x" * 65, "a\n"])
def test_session_names_that_are_refused(name: str) -> None:
    with pytest.raises(StrongroomError):
        session_name(name)


@pytest.mark.parametrize("text", ["", "AKIA", "AKIA" + "a" * 16, "AKIA" + "0" * 16, "ASIA" + "A" * 16])
def test_what_is_no_access_key_id(text: str) -> None:
    with pytest.raises(StrongroomError):
        access_key_id(text)


@pytest.mark.parametrize(("asked", "most", "seconds"), [(0, 43_200, 3_600), (0, 900, 900), (900, 900, 900)])
def test_how_long_a_session_lasts(asked: int, most: int, seconds: int) -> None:
    assert session_seconds(asked, most) == seconds


@pytest.mark.parametrize("asked", [1, 899, 43_201, 2**31])
def test_sessions_that_are_too_short_or_too_long(asked: int) -> None:
    with pytest.raises(StrongroomError):
        session_seconds(asked, 43_200)
    with pytest.raises(StrongroomError):
        role_seconds(asked)


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        ("root", PrincipalKind.ROOT),
        ("user/a", PrincipalKind.USER),
        ("role/a/b", PrincipalKind.ROLE),
        ("service/s", PrincipalKind.SERVICE),
    ],
)
def test_the_arn_says_what_a_principal_is(resource: str, kind: PrincipalKind) -> None:
    assert kind_of(parse_principal(f"arn:aws:iam::111122223333:{resource}", "arn")) is kind


def test_every_field_of_an_account_is_under_its_mac() -> None:
    record = AccountRecord("111122223333", "words", 1, (("a", "{}"),))
    values: tuple[Any, ...] = ("1", "w", 2, (("a", "{ }"),), 2)
    fields = [field.name for field in dataclasses.fields(record)]
    changed = [dataclasses.replace(record, **{n: v}) for n, v in zip(fields, values, strict=True)]

    assert len({canonical(each) for each in (record, *changed)}) == 6


def test_what_audit_records_say_of_a_caller() -> None:
    session = RoleSession("arn:aws:iam::1:role/ops", "s", "arn:aws:iam::1:user/a", "ab", 1, "", 0)
    caller = Caller(
        Principal(session.role, "1"), "id", 0.0, identity="certificate:ab", session=session,
        behalf=Behalf("s3.local-1", "444455556666", source_arn="arn:aws:s3:::b", source_account="444455556666"),
    )  # fmt: skip

    assert caller.told() == {
        "identity": "certificate:ab",
        "session": "arn:aws:sts::1:assumed-role/ops/s",
        "session_source": "arn:aws:iam::1:user/a",
        "via_service": "s3.local-1",
        "caller_account": "444455556666",
        "source_arn": "arn:aws:s3:::b",
        "source_account": "444455556666",
    }
    assert caller.name == "arn:aws:sts::1:assumed-role/ops/s"
    assert Caller(Principal("arn", "1"), "id", 0.0).told() == {}
