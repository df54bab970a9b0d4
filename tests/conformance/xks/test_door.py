"""What AWS's test client does not look at: statuses, names and words of errors, sizes, base64, clock, methods."""

import os
import re
import time
import uuid
from typing import Any

import pytest
from tests.harness import Daemon
from tests.kms import AAD, OK, Kms, audited, b64, credential, decryption, encryption, request
from tests.xksdoor import DECRYPT, DESCRIBE, ENCRYPT, HEALTH, METADATA, Answer

from strongroom import Client

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]
ACTS: dict[str, dict[str, Any]] = {
    "health": HEALTH,
    "metadata": DESCRIBE,
    "encrypt": ENCRYPT,
    "decrypt": DECRYPT,
}
UNAUTHENTICATED = (401, "AuthenticationFailedException")
INVALID = (400, "ValidationException")
TOO_LARGE = (501, "UnsupportedOperationException")
LONG = "a" * 2049
REQUESTS_REFUSED: dict[str, tuple[str, Any, tuple[int, str]]] = {
    "no JSON": ("encrypt", b"plaintext=secret", INVALID),
    "no UTF-8": ("encrypt", b'{"requestMetadata": "\xff"}', INVALID),
    "not an object": ("encrypt", [ENCRYPT], INVALID),
    "a name twice": ("encrypt", b'{"plaintext": "", "plaintext": ""}', INVALID),
    "no plaintext": ("encrypt", {**ENCRYPT, "plaintext": None}, INVALID),
    "plaintext is a number": ("encrypt", {**ENCRYPT, "plaintext": 1}, INVALID),
    "another algorithm": ("encrypt", {**ENCRYPT, "encryptionAlgorithm": "AES_CBC"}, INVALID),
    "another integrity": ("encrypt", {**ENCRYPT, "ciphertextDataIntegrityValueAlgorithm": "MD5"}, INVALID),
    "no KMS key": ("encrypt", request(ENCRYPT, kmsKeyArn=None), INVALID),
    "no principal": ("metadata", request(DESCRIBE, awsPrincipalArn=None), INVALID),
    "no request id": ("health", request(HEALTH, kmsRequestId=None), INVALID),
    "no operation": ("health", request(HEALTH, kmsOperation=None), INVALID),
    "ARN too long": ("encrypt", request(ENCRYPT, awsPrincipalArn=LONG), INVALID),
    "plaintext too large": ("encrypt", encryption(bytes(8193)), TOO_LARGE),
    "AAD too large": ("encrypt", encryption(b"", bytes(16_385)), TOO_LARGE),
    "ciphertext too large": ("decrypt", {**DECRYPT, "ciphertext": b64(bytes(8193))}, TOO_LARGE),
    "AAD too large to decrypt": (
        "decrypt",
        {**DECRYPT, "additionalAuthenticatedData": b64(bytes(16_385))},
        TOO_LARGE,
    ),
    "no ciphertext": ("decrypt", {**DECRYPT, "ciphertext": None}, INVALID),
    "no IV": ("decrypt", {**DECRYPT, "initializationVector": None}, INVALID),
    "IV of 13": ("decrypt", {**DECRYPT, "initializationVector": b64(bytes(13))}, INVALID),
    "no tag": ("decrypt", {**DECRYPT, "authenticationTag": None}, INVALID),
    "tag of 12": ("decrypt", {**DECRYPT, "authenticationTag": b64(bytes(12))}, INVALID),
    "own metadata of 21": ("decrypt", {**DECRYPT, "ciphertextMetadata": b64(bytes(21))}, INVALID),
    **{
        f"base64 {text!r}": ("encrypt", {**ENCRYPT, "plaintext": text}, INVALID)
        for text in ("SGVsbG8", "SGVsbG9=", "SGVs\nbG8=", "SGVs-G8_", "SGVsbG8=x", " SGVsbG8=", "Привет==")
    },
}
PRINTABLE = re.compile(r"[ -~]{1,511}")


def told_well(answer: Answer, *never: str) -> None:
    """An error is JSON of two members, and its message short, printable and in nobody's words but ours."""
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"errorName", "errorMessage"}
    assert PRINTABLE.fullmatch(answer.json["errorMessage"])
    for text in never:
        assert text not in answer.body.decode()


@pytest.mark.parametrize("name", REQUESTS_REFUSED)
def test_request_is_refused(kms: Kms, name: str) -> None:
    act, document, refusal = REQUESTS_REFUSED[name]

    answer = kms.ask(act, document)

    assert (answer.status, answer.error) == refusal
    told_well(answer, "secret", "plaintext=", LONG, "SGVs", "MD5", "CBC")


def test_input_comes_back_in_no_message(kms: Kms) -> None:
    canary = f"canary{uuid.uuid4().hex}"
    answers = [
        kms.ask("encrypt", {**ENCRYPT, "plaintext": canary + "!"}),
        kms.ask("encrypt", {**ENCRYPT, "encryptionAlgorithm": canary}),
        kms.ask("encrypt", f'{{"{canary}'.encode()),
        kms.ask("encrypt", ENCRYPT, key=canary),
        kms.ask("encrypt", ENCRYPT, prefix=f"/{canary}"),
        kms.ask("encrypt", ENCRYPT, access_key_id=canary),
        kms.ask("decrypt", {**DECRYPT, "ciphertextMetadata": b64(canary.encode())[:28]}),
    ]

    assert all(answer.status >= 400 for answer in answers)
    for answer in answers:
        told_well(answer, canary)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_only_post_is_served(kms: Kms, act: str, method: str) -> None:
    answer = kms.ask(act, ACTS[act], method=method)

    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    told_well(answer)


@pytest.mark.parametrize("signed", [True, False])
def test_body_over_64_kib_is_unsupported_whoever_sends_it(kms: Kms, *, signed: bool) -> None:
    body = b'{"plaintext":"' + b"A" * (64 << 10) + b'"}'

    assert kms.outcome("encrypt", body, **({} if signed else {"secret": "x" * 43})) == TOO_LARGE
    assert kms.outcome("encrypt", ENCRYPT) == OK


def test_largest_legal_request_is_served(kms: Kms) -> None:
    long = "arn:aws:iam::123456789012:role/" + "r" * (2048 - 31)
    asked = request(encryption(os.urandom(4300), os.urandom(8192)), awsPrincipalArn=long, kmsKeyArn=long)

    sealed = kms.ask("encrypt", asked)

    assert sealed.status == 200
    same = {"additionalAuthenticatedData": asked["additionalAuthenticatedData"]}
    opened = kms.ask("decrypt", request(decryption(sealed.json, **same), awsPrincipalArn=long))
    assert opened.json == {"plaintext": asked["plaintext"]}


@pytest.mark.parametrize("act", ACTS)
def test_members_that_are_not_known_yet_are_passed_over(kms: Kms, act: str) -> None:
    document = ACTS[act]
    if act == "decrypt":
        document = decryption(kms.ask("encrypt", ENCRYPT).json)
    newer = request({**document, "newMember": [1]}, awsSourceVpc="vpc-1", nitroEnclave={"pcr": [0]})

    answer = kms.ask(act, newer, content_type="application/x-amz-json-1.1")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("seconds", "outcome"), [(-290, OK), (290, OK), (-310, UNAUTHENTICATED), (310, UNAUTHENTICATED)]
)
def test_clocks_may_differ_by_five_minutes(kms: Kms, seconds: float, outcome: tuple[int, str]) -> None:
    assert kms.outcome("health", HEALTH, at=time.time() + seconds) == outcome


def test_credential_signs_for_its_own_store_and_for_any_region(kms: Kms, own: Kms) -> None:
    for region in ("us-east-1", "eu-central-1", "cn-north-1"):
        sealed = kms.ask("encrypt", ENCRYPT, region=region).json
        assert kms.outcome("decrypt", decryption(sealed), region="ap-southeast-2") == OK
    assert kms.outcome("encrypt", ENCRYPT, prefix=own.prefix) == UNAUTHENTICATED
    assert own.outcome("decrypt", decryption(sealed)) == (400, "InvalidCiphertextException")


def test_iv_of_the_caller_is_not_used(kms: Kms) -> None:
    given = "AAAAAAAAAAAAAAAA"

    sealed = kms.ask("encrypt", {**ENCRYPT, "initializationVector": given}).json

    assert sealed["initializationVector"] != given


# --- what is written down


def test_each_call_is_a_record_with_the_id_by_which_cloudtrail_has_it(kms: Kms, daemon: Daemon) -> None:
    name = f"request-{uuid.uuid4()}"

    def ask(act: str, **options: Any) -> None:
        kms.ask(act, request(ACTS[act], kmsRequestId=name), **options)

    ask("health")
    ask("metadata")
    ask("encrypt")
    ask("decrypt")
    ask("encrypt", key="nothing")

    records = audited(daemon, name)
    assert sorted(record["outcome"] for record in records) == [
        "INVALID_CIPHERTEXT", "KEY_NOT_FOUND", "OK", "OK", "OK",
    ]  # fmt: skip
    assert {record["door"] for record in records} == {"xks"}
    assert {record["kms_request_id"] for record in records} == {name}
    assert {record["signing_region"] for record in records} == {"eu-central-1"}
    for record in records:
        asked = record["kms_operation"]
        if asked != "KmsHealthCheck":
            assert record["aws_principal"] == METADATA["awsPrincipalArn"]
            assert record["kms_key"] == METADATA["kmsKeyArn"]
            assert record["external_key"] in {"key-1", "nothing"}


def test_no_secret_and_no_plaintext_is_in_anything_that_the_daemon_writes(
    kms: Kms, daemon: Daemon, admin: Client
) -> None:
    plaintext, aad = (f"canary-{uuid.uuid4().hex}".encode() for _ in range(2))
    store = next(s for s in admin.list_key_stores(page_size=1000).items if s.uri_prefix == kms.prefix)
    other = credential(daemon, admin, store)
    sealed = other.ask("encrypt", encryption(plaintext, aad)).json
    same = {"additionalAuthenticatedData": b64(aad)}
    assert other.ask("decrypt", decryption(sealed, **same)).json["plaintext"] == b64(plaintext)
    other.ask("decrypt", decryption(sealed))
    other.ask("encrypt", {**encryption(plaintext), "encryptionAlgorithm": "none"})
    other.ask("encrypt", b64(plaintext).encode())
    other.connection.close()
    admin.delete_key_store_credential(store.key_store_id, other.access_key_id)

    secrets = {other.secret.encode(), plaintext, aad}
    forms = {
        form for secret in secrets for form in (secret, b64(secret)[:-4].encode(), secret.hex().encode())
    }
    written = {"metrics": daemon.metrics().encode(), "log": (daemon.folder / "log").read_bytes()}
    written |= {str(p): p.read_bytes() for p in (daemon.folder / "state").rglob("*") if p.is_file()}
    assert len(written) > 3
    assert [name for name, text in written.items() if any(form in text for form in forms)] == []


def test_calls_are_in_the_metrics_by_what_kms_does_and_by_error(kms: Kms, daemon: Daemon) -> None:
    kms.ask("encrypt", ENCRYPT | AAD)
    kms.ask("encrypt", ENCRYPT, key="nothing")
    time.sleep(0.6)  # metrics are handed over twice a second

    scraped = daemon.metrics()

    assert 'strongroom_xks_request_seconds_count{kms_operation="Encrypt",xks_operation="Encrypt"}' in scraped
    assert 'error="KeyNotFoundException",kms_operation="Encrypt",type="Non-retryable"' in scraped
    assert 'strongroom_cert_expiry_seconds{certificate="xks"}' in scraped
