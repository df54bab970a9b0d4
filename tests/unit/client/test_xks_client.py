"""The client of XKS proxies: addresses, signatures, the four calls, and answers that cannot be trusted."""

import base64
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.client.mock_proxy import ACCESS_KEY_ID, BASE, SECRET, MockProxy

from strongroom import errors
from strongroom.xks import Credential, Origin, ProxyClient, Sealed, Trust, address, sigv4, wire
from strongroom.xks.link import Reply


@pytest.fixture
def proxy() -> Iterator[MockProxy]:
    made = MockProxy()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(proxy: MockProxy) -> Iterator[ProxyClient]:
    url = f"http://localhost:{proxy.server.server_address[1]}{BASE}"
    with ProxyClient(url, Credential(ACCESS_KEY_ID, SECRET), insecure_http=True, timeout=2.0) as made:
        yield made


def test_a_signature_is_that_of_the_published_scheme() -> None:
    # Made with botocore's signer.
    body = b'{"requestMetadata":{"kmsRequestId":"r","kmsOperation":"KmsHealthCheck"}}'
    request = sigv4.Request("POST", "xks.example.com", "/p1/kms/xks/v1/health", body)

    made = sigv4.headers(
        request, Credential(ACCESS_KEY_ID, SECRET), "us-east-1", datetime(2026, 11, 22, tzinfo=UTC)
    )

    assert made["X-Amz-Date"] == "20261122T000000Z"
    assert made["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/20261122/us-east-1/kms-xks-proxy/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=cd6c1d5ca8c33fbaa6c97d3f3ea63a9c982ba98417fef851a70e43d795dc5c3b"
    )


def test_what_is_sealed_comes_back(client: ProxyClient) -> None:
    sealed = client.encrypt("foo", b"4000 EUR", aad=b"employee=17")

    assert client.decrypt("foo", sealed, aad=b"employee=17") == b"4000 EUR"
    assert sealed.cdiv == sealed.integrity_value(b"employee=17")
    assert client.metadata("foo") == wire.KeyMetadata("AES_256", ("ENCRYPT", "DECRYPT"), "ENABLED")
    assert [each.health_status for each in client.health().managers] == ["ACTIVE"]
    assert client.link.opened == 1


def test_who_calls_kms_stands_in_the_request(proxy: MockProxy, client: ProxyClient) -> None:
    client.origin = Origin("arn:aws:iam::1:user/a", "arn:aws:kms:r:1:key/k", {"kmsViaService": "ebs"})
    client.encrypt("foo", b"x", operation="GenerateDataKey")

    sent = proxy.seen[-1][2].decode()
    for part in ("arn:aws:iam::1:user/a", "arn:aws:kms:r:1:key/k", "ebs", "GenerateDataKey"):
        assert part in sent


@pytest.mark.parametrize("part", ["ciphertext", "iv", "tag", "metadata"])
def test_a_changed_part_is_not_genuine(client: ProxyClient, part: str) -> None:
    sealed = client.encrypt("foo", b"x")
    changed: Any = {part: bytes([getattr(sealed, part)[0] ^ 1]) + getattr(sealed, part)[1:]}

    with pytest.raises(errors.NotGenuine) as refused:
        client.decrypt("foo", dataclasses.replace(sealed, **changed))
    assert refused.value.code == "InvalidCiphertextException"


def test_refusals_have_the_classes_that_the_daemons_own_have(client: ProxyClient) -> None:
    with pytest.raises(errors.NotFound) as unknown:
        client.metadata("bar")
    client.credential = Credential(ACCESS_KEY_ID, "W" * 43)
    with pytest.raises(errors.AccessDenied) as unauthenticated:
        client.health()

    assert unknown.value.code == "KeyNotFoundException"
    assert unauthenticated.value.code == "AuthenticationFailedException"


@pytest.mark.parametrize(
    ("path", "answer", "field"),
    [
        ("/health", {}, "xksProxyFleetSize"),
        ("/health", [], ""),
        ("/health", {"xksProxyFleetSize": True}, "xksProxyFleetSize"),
        ("/health", {"xksProxyFleetSize": 1, "ekmFleetDetails": []}, "ekmFleetDetails"),
        ("/health", {"xksProxyFleetSize": 1, "ekmFleetDetails": [{}] * 11}, "ekmFleetDetails"),
        ("/health", {"xksProxyFleetSize": 1, "ekmFleetDetails": [5]}, "ekmFleetDetails"),
        (
            "/health",
            {"xksProxyFleetSize": 1, "ekmFleetDetails": [{"id": "a", "model": "m", "healthStatus": "FINE"}]},
            "ekmFleetDetails.healthStatus",
        ),
        ("/keys/foo/metadata", {"keySpec": "AES_256", "keyUsage": [], "keyStatus": "FINE"}, "keyStatus"),
        (
            "/keys/foo/metadata",
            {"keySpec": "AES_256", "keyUsage": "ENCRYPT", "keyStatus": "ENABLED"},
            "keyUsage",
        ),
        ("/keys/foo/metadata", {"keyUsage": [], "keyStatus": "ENABLED"}, "keySpec"),
        ("/keys/foo/decrypt", {"plaintext": "eHg="}, "plaintext"),
        ("/keys/foo/decrypt", {"plaintext": "eB=="}, "plaintext"),
        ("/keys/foo/decrypt", {"plaintext": None}, "plaintext"),
        ("/keys/foo/encrypt", {"ciphertext": "eA=="}, "initializationVector"),
    ],
)
def test_an_answer_that_is_not_as_the_api_says_is_damaged(
    proxy: MockProxy, client: ProxyClient, path: str, answer: Any, field: str
) -> None:
    proxy.answers[path] = answer
    calls: dict[str, Callable[[], object]] = {
        "health": client.health,
        "metadata": lambda: client.metadata("foo"),
        "encrypt": lambda: client.encrypt("foo", b"x"),
        "decrypt": lambda: client.decrypt("foo", Sealed(b"x", bytes(12), bytes(16))),
    }

    with pytest.raises(errors.IntegrityError) as damaged:
        calls[path.rpartition("/")[2]]()
    assert (damaged.value.reason, damaged.value.field) == ("REPLY_DAMAGED", field)


def test_the_integrity_value_is_over_all_parts_in_the_apis_order() -> None:
    sealed = Sealed(b"ct", b"iv", b"tag", b"meta")

    assert sealed.integrity_value(b"aad") == hashlib.sha256(b"aadmetaivcttag").digest()
    assert sealed.integrity_value(None) == hashlib.sha256(b"metaivcttag").digest()


@pytest.mark.parametrize("name", sorted(wire.ERRORS))
def test_every_error_name_has_its_status_and_a_reason_that_the_client_knows(name: str) -> None:
    status, reason = wire.ERRORS[name]
    good = Reply(status, {"content-type": "application/json"}, b'{"errorName": "%b"}' % name.encode(), 0.0)
    wrong = dataclasses.replace(good, status=418)

    assert wire.error_name(good) == name
    assert reason in errors.KNOWN_REASONS
    with pytest.raises(errors.IntegrityError):
        wire.error_name(wrong)


def test_a_connection_that_was_closed_meanwhile_is_renewed(proxy: MockProxy, client: ProxyClient) -> None:
    client.health()
    proxy.defects.add("vanishes")

    client.health()

    assert client.link.opened == 2


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        (f"https://xks.example.org{BASE}", "xks.example.org"),
        (f"https://xks.example.org:443{BASE}/", "xks.example.org"),
        (f"https://xks.example.org:8443{BASE}", "xks.example.org:8443"),
        (f"https://[::1]:8443{BASE}", "[::1]:8443"),
        ("https://xks.example.org/kms/xks/v1", "xks.example.org"),
    ],
)
def test_the_host_header_has_the_port_where_it_is_not_the_schemes_own(url: str, authority: str) -> None:
    assert address.parse(url).authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "", "xks.example.org", f"http://xks.example.org{BASE}", f"ftp://xks.example.org{BASE}", "https://x.org",
        "https://x.org/kms/xks/v2", f"https://x.org{BASE}?a=b", f"https://x.org{BASE}#a", f"https://u:p@x.org{BASE}",
        f"https://x.org:70000{BASE}", f"https://x.org:x{BASE}", "https://x.org/a%20b/kms/xks/v1",
        f"https://x y.org{BASE}", f"https://[::1{BASE}", f"https://ä.org{BASE}", "https:///kms/xks/v1",
    ],
)  # fmt: skip
def test_what_is_no_proxys_url_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        address.parse(url)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for candidate in (text, f"https://{text}", f"https://x.org/{text}/kms/xks/v1"):
        with contextlib.suppress(errors.InvalidRequest):
            assert address.parse(candidate).path.endswith("/kms/xks/v1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"https://xks.example.org{BASE}", []),
        (f"https://xks.example.org:8443{BASE}", ["443"]),
        (f"https://192.0.2.1{BASE}", ["fully qualified"]),
        (f"https://xks{BASE}", ["fully qualified"]),
        (f"https://xks.example.org/{'p' * 118}/kms/xks/v1", ["128"]),
    ],
)
def test_what_kms_would_not_take_is_said(url: str, words: list[str]) -> None:
    reasons = address.unfit_for_kms(address.parse(url))

    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


@pytest.mark.parametrize("key", ["", "a/b", "a b", "ä", "k" * 129, "..", "."])
def test_a_key_id_that_would_be_another_path_is_never_sent(
    client: ProxyClient, proxy: MockProxy, key: str
) -> None:
    with pytest.raises(errors.InvalidRequest):
        client.metadata(key)
    assert proxy.seen == []


def test_what_a_proxy_sends_is_canonical_base64_or_damaged() -> None:
    for text in ("QQ", "QR==", "QQ==\n", "Q===", "-_8=", " QQ=="):
        with pytest.raises(errors.IntegrityError):
            wire.binary({"x": text}, "x")
    assert wire.binary({"x": base64.b64encode(b"A").decode()}, "x") == b"A"


def test_pem_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    bad = tmp_path / "bad.pem"

    for trust, field in (
        (Trust(ca=bad), "ca"),
        (Trust(cert=bad), "client_cert"),
        (Trust(ca=tmp_path / "x"), "ca"),
    ):
        with pytest.raises(errors.ConfigurationError) as refused:
            trust.context()
        assert refused.value.field == field
