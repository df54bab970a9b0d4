"""Whom a certificate speaks for: the configuration first, then the directory, and as long as it says so."""

import time
from collections.abc import Iterable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from strongroomd.domain.accounts import dns_fact, subject_fact, uri_fact
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Principal
from strongroomd.frontends.grpc.identity import Identities, IdentityRule
from strongroomd.frontends.grpc.pki import Authority, issuer_spki_sha256

ACCOUNT = "111122223333"
ALICE = Principal(f"arn:aws:iam::{ACCOUNT}:user/alice", ACCOUNT)
BOB = Principal(f"arn:aws:iam::{ACCOUNT}:user/bob", ACCOUNT)
URI = "spiffe://example.org/alice"


class Directory:
    """Identities and principals, as a test says."""

    def __init__(self) -> None:
        self.generation = 1
        self.bound: dict[str, str] = {}
        self.principals: dict[str, Principal | None] = {ALICE.arn: ALICE, BOB.arn: BOB}
        self.stale = False

    def holder(self, identities: Iterable[str]) -> str:
        return next((self.bound[each] for each in identities if each in self.bound), "")

    def admit(self, arn: str) -> Principal | None:
        return self.principals.get(arn)

    def require_fresh(self) -> None:
        if self.stale:
            raise StrongroomError(Reason.STORE_UNAVAILABLE)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture
def directory() -> Directory:
    return Directory()


def identities(authority: Authority, directory: Any, *rules: IdentityRule) -> Identities:
    return Identities(rules, authority.certificate, time.time, directory)


def certificate(authority: Authority, *names: x509.GeneralName, common_name: str = "x") -> bytes:
    """A client certificate with some alternative names."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = x509.load_pem_x509_certificate(authority.client(common_name).certificate)
    builder = x509.CertificateBuilder(
        issued.issuer,
        issued.subject,
        key.public_key(),
        7,
        issued.not_valid_before_utc,
        issued.not_valid_after_utc,
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(authority._key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def refused(known: Identities, pem: bytes) -> Reason:
    with pytest.raises(StrongroomError) as caught:
        known.peer(pem)
    return caught.value.reason


def test_a_uri_of_the_directory(authority: Authority, directory: Directory) -> None:
    known = identities(authority, directory)
    pem = certificate(authority, x509.UniformResourceIdentifier(URI))
    before = refused(known, pem)
    directory.bound[uri_fact(URI).record_id] = ALICE.arn
    directory.generation += 1

    assert before is Reason.UNAUTHENTICATED_PEER
    assert known.peer(pem).principal is ALICE


def test_the_configuration_comes_first(authority: Authority, directory: Directory) -> None:
    directory.bound[uri_fact(URI).record_id] = ALICE.arn
    known = identities(authority, directory, IdentityRule(BOB, uri=URI))

    assert known.peer(certificate(authority, x509.UniformResourceIdentifier(URI))).principal is BOB


def test_one_dns_name_without_a_uri(authority: Authority, directory: Directory) -> None:
    directory.bound[dns_fact("pay.example.org").record_id] = ALICE.arn
    known, name = identities(authority, directory), x509.DNSName("pay.example.org")

    assert known.peer(certificate(authority, name)).principal is ALICE
    assert refused(known, certificate(authority, name, x509.DNSName("b.example.org"))) is _NOBODY
    assert refused(known, certificate(authority, name, x509.UniformResourceIdentifier(URI))) is _NOBODY
    assert refused(known, certificate(authority, x509.DNSName("PAY.example.org"))) is _NOBODY
    assert refused(known, certificate(authority, common_name="pay.example.org")) is _NOBODY


_NOBODY = Reason.UNAUTHENTICATED_PEER


def test_a_subject_counts_with_its_issuer_only(authority: Authority, directory: Directory) -> None:
    spki = issuer_spki_sha256(authority.certificate)
    directory.bound[subject_fact("CN=pay", spki).record_id] = ALICE.arn
    directory.bound[subject_fact("CN=other", "0" * 64).record_id] = ALICE.arn
    known = identities(authority, directory)

    assert known.peer(certificate(authority, common_name="pay")).principal is ALICE
    assert refused(known, certificate(authority, common_name="other")) is _NOBODY
    stranger = Authority.make()
    assert refused(known, certificate(stranger, common_name="pay")) is _NOBODY


def test_a_removed_or_disabled_principal_is_nobody_at_the_next_call(
    authority: Authority, directory: Directory
) -> None:
    directory.bound[uri_fact(URI).record_id] = ALICE.arn
    known = identities(authority, directory, IdentityRule(BOB, uri="spiffe://example.org/bob"))
    alice = certificate(authority, x509.UniformResourceIdentifier(URI))
    bob = certificate(authority, x509.UniformResourceIdentifier("spiffe://example.org/bob"))
    assert (known.peer(alice).principal, known.peer(bob).principal) == (ALICE, BOB)

    directory.principals = {BOB.arn: None}
    directory.generation += 1

    assert refused(known, alice) is _NOBODY
    assert refused(known, bob) is _NOBODY  # disabled is disabled, whoever configured it


def test_nobody_is_known_while_changes_of_the_directory_are_not(
    authority: Authority, directory: Directory
) -> None:
    directory.bound[uri_fact(URI).record_id] = ALICE.arn
    carol = Principal(f"arn:aws:iam::{ACCOUNT}:user/carol", ACCOUNT)
    rule = IdentityRule(carol, uri="spiffe://example.org/carol")
    known = identities(authority, directory, rule)
    alice = certificate(authority, x509.UniformResourceIdentifier(URI))
    configured = certificate(authority, x509.UniformResourceIdentifier("spiffe://example.org/carol"))
    directory.principals[carol.arn] = carol
    known.peer(alice)
    known.peer(configured)
    directory.stale = True

    assert refused(known, alice) is Reason.STORE_UNAVAILABLE
    assert refused(known, configured) is Reason.STORE_UNAVAILABLE  # a guard rail may be new
