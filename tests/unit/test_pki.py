"""Development certificates pass OpenSSL's own judgement, and issuers are known by their key."""

import hashlib
import stat
import subprocess
import time
from pathlib import Path

import pytest

from strongroomd.domain.errors import StrongroomError
from strongroomd.frontends.grpc.pki import Authority, expires_at, issuer_spki_sha256


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, check=True, timeout=30
    ).stdout


def verify(folder: Path, purpose: str, certificate: bytes, authority: Authority) -> bool:
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "leaf.pem").write_bytes(certificate)
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", "leaf.pem"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=30).returncode == 0


def test_certificates_are_good_for_their_purpose_only(tmp_path: Path) -> None:
    authority = Authority.make()
    server = authority.server(["localhost", "127.0.0.1"]).certificate
    client = authority.client("admin", "spiffe://strongroom.dev/admin").certificate

    assert verify(tmp_path, "sslserver", server, authority)
    assert verify(tmp_path, "sslclient", client, authority)
    assert not verify(tmp_path, "sslclient", server, authority)
    assert not verify(tmp_path, "sslserver", client, authority)
    assert not verify(tmp_path, "sslserver", server, Authority.make())


def test_names_are_subject_alternative_names() -> None:
    authority = Authority.make()

    server = openssl(
        "x509", "-noout", "-ext", "subjectAltName", data=authority.server(["localhost", "::1"]).certificate
    )
    client = openssl(
        "x509", "-noout", "-ext", "subjectAltName", data=authority.client("a", "spiffe://x/a").certificate
    )

    assert b"DNS:localhost, IP Address:0:0:0:0:0:0:0:1" in server
    assert b"URI:spiffe://x/a" in client


def test_an_issuer_is_known_by_its_key() -> None:
    authority = Authority.make()
    pem = openssl("x509", "-noout", "-pubkey", data=authority.certificate)
    der = openssl("pkey", "-pubin", "-outform", "DER", data=pem)

    assert issuer_spki_sha256(authority.certificate) == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(StrongroomError):
        issuer_spki_sha256(pem)
    with pytest.raises(StrongroomError):
        expires_at(pem)


def test_expiry_is_told_in_unix_seconds() -> None:
    assert abs(expires_at(Authority.make(days=3).certificate) - time.time() - 3 * 86_400) < 60


def test_keys_are_written_for_their_owner_only_and_never_over_a_file(tmp_path: Path) -> None:
    credential = Authority.make().client("a", "spiffe://x/a")
    credential.write(tmp_path / "a.pem", tmp_path / "a.key")

    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        credential.write(tmp_path / "b.pem", tmp_path / "a.key")
    assert "PRIVATE" not in repr(credential)
