"""Paths, bodies and errors of the XKS API: what is taken, what is refused, and under which name."""

import base64
import json
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.xksdoor import DECRYPT, DESCRIBE, ENCRYPT, FLEET, HEALTH, METADATA

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.xks.layout import SealedParts
from strongroomd.frontends.xks import errors, replies, requests, routes
from strongroomd.frontends.xks.errors import NAMES, ErrorName
from strongroomd.frontends.xks.routes import Operation, Route

# --- paths


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/kms/xks/v1/health", Route(Operation.HEALTH, "")),
        ("/p/kms/xks/v1/health", Route(Operation.HEALTH, "/p")),
        ("/a/b-c_d/E9/kms/xks/v1/keys/k/metadata", Route(Operation.METADATA, "/a/b-c_d/E9", "k")),
        ("/p/kms/xks/v1/keys/A.b_c-1/encrypt", Route(Operation.ENCRYPT, "/p", "A.b_c-1")),
        ("/p/kms/xks/v1/keys/" + "k" * 128 + "/decrypt", Route(Operation.DECRYPT, "/p", "k" * 128)),
        ("/kms/xks/v1/kms/xks/v1/health", Route(Operation.HEALTH, "/kms/xks/v1")),
        ("/" + "p" * 116 + "/kms/xks/v1/health", Route(Operation.HEALTH, "/" + "p" * 116)),
        ("/p/kms/xks/v1/keys/.../encrypt", Route(Operation.ENCRYPT, "/p", "...")),
    ],
)
def test_path_leads_to_an_operation(path: str, route: Route) -> None:
    assert routes.find(path) == route


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/health",
        "/kms/xks/v1",
        "/kms/xks/v2/health",
        "/kms/xks/v1/health/",
        "/kms/xks/v1/Health",
        "/kms/xks/v1/keys/k",
        "/kms/xks/v1/keys//encrypt",
        "/kms/xks/v1/keys/k/sign",
        "/kms/xks/v1/keys/k/encrypt/",
        "/kms/xks/v1/keys/../encrypt",
        "/kms/xks/v1/keys/./encrypt",
        "/kms/xks/v1/keys/a%2Fb/encrypt",
        "/kms/xks/v1/keys/a b/encrypt",
        "/kms/xks/v1/keys/k\n/encrypt",
        "/kms/xks/v1/keys/ä/encrypt",
        "/kms/xks/v1/keys/" + "k" * 129 + "/encrypt",
        "//kms/xks/v1/health",
        "/p//kms/xks/v1/health",
        "/p.q/kms/xks/v1/health",
        "/../kms/xks/v1/health",
        "p/kms/xks/v1/health",
        "/" + "p" * 117 + "/kms/xks/v1/health",
        "/kms/xks/v1/health?",
        "https://xks.example.com/kms/xks/v1/health",
        "*",
    ],
)
def test_path_leads_nowhere(path: str) -> None:
    assert routes.find(path) is None


# --- bodies


def refusal(work: Any, *args: Any) -> StrongroomError:
    with pytest.raises(StrongroomError) as refused:
        work(*args)
    return refused.value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"{}{}",
        b"{} x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\x01"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"a":' + b"9" * 5_000 + b"}",
        b"\x00" * 100,
    ],
)
def test_what_is_no_json_object_with_unique_names_is_refused(body: bytes) -> None:
    error = refusal(requests.parse, body)

    assert (error.reason, error.field) == (Reason.INVALID_FIELD, "body")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_are_an_object_or_refused(body: bytes) -> None:
    outcome: object
    try:
        outcome = type(requests.parse(body))
    except StrongroomError as error:
        outcome = error.reason

    assert outcome in {dict, Reason.INVALID_FIELD}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KNOWN = [*ENCRYPT, *DECRYPT, "additionalAuthenticatedData", "ciphertextMetadata"]
WORK: list[Any] = [
    *(
        lambda document, operation=operation: requests.metadata(document, operation)
        for operation in Operation
    ),
    requests.encrypt,
    requests.decrypt,
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(WORK),
    st.sampled_from([HEALTH, ENCRYPT, DECRYPT]),
    st.dictionaries(st.sampled_from(KNOWN), JSON),
    JSON,
)
def test_whatever_a_member_holds_it_is_taken_or_refused(
    work: Any, document: dict, changes: dict[str, Any], member: Any
) -> None:
    changed = document | changes
    changed["requestMetadata"] = changed["requestMetadata"] if member is None else member

    status = 200
    try:
        work(changed)
    except StrongroomError as error:
        status = NAMES[error.reason].status

    assert status in {200, 400, 501}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def telling(document: dict[str, Any], **members: Any) -> dict[str, Any]:
    """The document with members of its metadata changed, or left out where None."""
    given = {**document["requestMetadata"], **members}
    return {
        **document,
        "requestMetadata": {name: value for name, value in given.items() if value is not None},
    }


def test_metadata_is_taken_whole() -> None:
    more = {"awsSourceVpc": "vpc-1", "awsSourceVpce": "vpce-1", "kmsViaService": "ebs"}

    told = requests.metadata(telling(ENCRYPT, **more), Operation.ENCRYPT)

    assert (told.kms_request_id, told.kms_operation) == (METADATA["kmsRequestId"], "Encrypt")
    assert (told.principal_arn, told.kms_key_arn) == (METADATA["awsPrincipalArn"], METADATA["kmsKeyArn"])
    assert (told.source_vpc, told.source_vpce, told.via_service) == ("vpc-1", "vpce-1", "ebs")


@pytest.mark.parametrize(
    ("document", "operation"),
    [
        (HEALTH, Operation.HEALTH),
        (telling(HEALTH, kmsRequestId=""), Operation.HEALTH),
        (telling(HEALTH, kmsOperation="SomethingNew"), Operation.HEALTH),
        (telling(HEALTH, sourceIdentity={"new": [1, 2]}), Operation.HEALTH),
        ({**HEALTH, "somethingNew": None}, Operation.HEALTH),
        (telling(DESCRIBE, kmsKeyArn=None), Operation.METADATA),
        (telling(DESCRIBE, kmsKeyArn="arn:aws:kms:us-east-2:123456789012:/key/1"), Operation.METADATA),
        (telling(ENCRYPT, awsPrincipalArn="AWS Internal"), Operation.ENCRYPT),
        (telling(ENCRYPT, awsPrincipalArn="a" * 2_048), Operation.ENCRYPT),
        (telling(ENCRYPT, kmsViaService="dienst-ä"), Operation.ENCRYPT),
    ],
)
def test_metadata_of_any_form_is_taken(document: dict, operation: Operation) -> None:
    requests.metadata(document, operation)


@pytest.mark.parametrize(
    ("document", "operation", "field"),
    [
        ({}, Operation.HEALTH, "requestMetadata"),
        ({"requestMetadata": None}, Operation.HEALTH, "requestMetadata"),
        ({"requestMetadata": []}, Operation.HEALTH, "requestMetadata"),
        ({"requestMetadata": {}}, Operation.HEALTH, "requestMetadata.kmsRequestId"),
        ({"requestMetadata": {}}, Operation.METADATA, "requestMetadata.kmsRequestId"),
        (telling(HEALTH, kmsOperation=None), Operation.HEALTH, "requestMetadata.kmsOperation"),
        (telling(HEALTH, kmsOperation=""), Operation.HEALTH, "requestMetadata.kmsOperation"),
        (telling(HEALTH, kmsOperation=7), Operation.HEALTH, "requestMetadata.kmsOperation"),
        (telling(HEALTH, kmsOperation="\ud800"), Operation.HEALTH, "requestMetadata.kmsOperation"),
        (telling(DESCRIBE, awsPrincipalArn=None), Operation.METADATA, "requestMetadata.awsPrincipalArn"),
        (telling(ENCRYPT, awsPrincipalArn=""), Operation.ENCRYPT, "requestMetadata.awsPrincipalArn"),
        (telling(ENCRYPT, awsPrincipalArn="a" * 2_049), Operation.ENCRYPT, "requestMetadata.awsPrincipalArn"),
        (telling(ENCRYPT, kmsKeyArn=None), Operation.ENCRYPT, "requestMetadata.kmsKeyArn"),
        (telling(DECRYPT, kmsKeyArn=None), Operation.DECRYPT, "requestMetadata.kmsKeyArn"),
        (telling(DECRYPT, kmsViaService=["ebs"]), Operation.DECRYPT, "requestMetadata.kmsViaService"),
    ],
)
def test_metadata_that_lacks_something_is_refused(document: dict, operation: Operation, field: str) -> None:
    error = refusal(requests.metadata, document, operation)

    assert (error.reason, error.field) == (Reason.INVALID_FIELD, field)


def b64(length: int) -> str:
    return base64.b64encode(bytes(length)).decode()


AAD = "additionalAuthenticatedData"
CDIV = "ciphertextDataIntegrityValueAlgorithm"
IV = "initializationVector"
TAG = "authenticationTag"


def test_encrypt_is_taken() -> None:
    plain = requests.encrypt(ENCRYPT)
    whole = requests.encrypt({**ENCRYPT, AAD: b64(3), CDIV: "SHA_256"})

    assert (plain.plaintext.value, plain.aad, plain.integrity) == (b"Hello", None, False)
    assert (whole.aad, whole.integrity) == (bytes(3), True)


def test_an_empty_field_is_not_an_absent_one() -> None:
    assert requests.encrypt({**ENCRYPT, AAD: ""}).aad == b""


@pytest.mark.parametrize(("field", "length"), [("plaintext", 8_192), (AAD, 16_384), ("plaintext", 0)])
def test_what_is_as_long_as_may_be_is_taken(field: str, length: int) -> None:
    requests.encrypt({**ENCRYPT, field: b64(length)})


def test_decrypt_is_taken() -> None:
    asked = requests.decrypt({**DECRYPT, "ciphertextMetadata": b64(20), IV: b64(16)})

    assert asked.parts == SealedParts(b"Hello", bytes(16), bytes(16), bytes(20))


REFUSED_ENCRYPTS: list[tuple[dict, Reason, str]] = [
    (without(ENCRYPT, "plaintext"), Reason.INVALID_FIELD, "plaintext"),
    ({**ENCRYPT, "plaintext": None}, Reason.INVALID_FIELD, "plaintext"),
    ({**ENCRYPT, "plaintext": 5}, Reason.INVALID_FIELD, "plaintext"),
    ({**ENCRYPT, "plaintext": b64(8_193)}, Reason.FIELD_TOO_LARGE, "plaintext"),
    ({**ENCRYPT, "plaintext": "!" * 20_000}, Reason.FIELD_TOO_LARGE, "plaintext"),
    ({**ENCRYPT, AAD: b64(16_385)}, Reason.FIELD_TOO_LARGE, AAD),
    ({**ENCRYPT, AAD: None}, Reason.INVALID_FIELD, AAD),
    (without(ENCRYPT, "encryptionAlgorithm"), Reason.UNKNOWN_ENUM, "encryptionAlgorithm"),
    ({**ENCRYPT, "encryptionAlgorithm": "AES_CBC"}, Reason.UNKNOWN_ENUM, "encryptionAlgorithm"),
    ({**ENCRYPT, "encryptionAlgorithm": "aes_gcm"}, Reason.UNKNOWN_ENUM, "encryptionAlgorithm"),
    ({**ENCRYPT, CDIV: "SHA_512"}, Reason.UNKNOWN_ENUM, CDIV),
    ({**ENCRYPT, CDIV: None}, Reason.UNKNOWN_ENUM, CDIV),
]
REFUSED_DECRYPTS: list[tuple[dict, Reason, str]] = [
    (without(DECRYPT, "ciphertext"), Reason.INVALID_FIELD, "ciphertext"),
    ({**DECRYPT, "ciphertext": b64(8_193)}, Reason.FIELD_TOO_LARGE, "ciphertext"),
    (without(DECRYPT, IV), Reason.INVALID_FIELD, IV),
    *(({**DECRYPT, IV: b64(length)}, Reason.INVALID_FIELD, IV) for length in (0, 8, 11, 13, 15, 17, 64)),
    (without(DECRYPT, TAG), Reason.INVALID_FIELD, TAG),
    *(({**DECRYPT, TAG: b64(length)}, Reason.INVALID_FIELD, TAG) for length in (0, 12, 15, 17)),
    ({**DECRYPT, "ciphertextMetadata": b64(21)}, Reason.INVALID_FIELD, "ciphertextMetadata"),
    ({**DECRYPT, "ciphertextMetadata": None}, Reason.INVALID_FIELD, "ciphertextMetadata"),
    ({**DECRYPT, AAD: b64(16_385)}, Reason.FIELD_TOO_LARGE, AAD),
    ({**DECRYPT, "encryptionAlgorithm": ""}, Reason.UNKNOWN_ENUM, "encryptionAlgorithm"),
]


@pytest.mark.parametrize(("document", "reason", "field"), REFUSED_ENCRYPTS)
def test_encrypt_is_refused(document: dict, reason: Reason, field: str) -> None:
    error = refusal(requests.encrypt, document)

    assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize(("document", "reason", "field"), REFUSED_DECRYPTS)
def test_decrypt_is_refused(document: dict, reason: Reason, field: str) -> None:
    error = refusal(requests.decrypt, document)

    assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize(
    "text",
    [
        "SGVsbG8",
        "SGVsbG8==",
        "SGVsbG9=",
        "SGVs\nbG8=",
        " SGVsbG8=",
        "SGVsbG8= ",
        "SGVsbG8=\n",
        "SGVs-G8=",
        "SGVs_G8=",
        "SGVs!G8=",
        "=SGVsbG8",
        "SG=VsbG8",
        "=",
        "====",
        "A",
        "QR==",
        "\uff33GVsbG8=",
    ],
)
def test_base64_that_is_not_canonical_is_refused(text: str) -> None:
    error = refusal(requests.encrypt, {**ENCRYPT, "plaintext": text})

    assert (error.reason, error.field) == (Reason.INVALID_FIELD, "plaintext")


@settings(max_examples=300, deadline=None)
@given(st.text("ABCQRgw019+/=-_ \n", max_size=12))
def test_two_texts_never_mean_the_same_bytes(text: str) -> None:
    try:
        value = requests.encrypt({**ENCRYPT, "plaintext": text}).plaintext.value
    except StrongroomError:
        return
    assert base64.b64encode(value).decode() == text


def test_plaintext_shows_in_no_repr() -> None:
    assert "Hello" not in repr(requests.encrypt(ENCRYPT))


# --- errors


def test_every_reason_has_a_name() -> None:
    assert set(NAMES) == set(Reason)


def test_names_and_statuses_are_the_specifications() -> None:
    table = {name.wire: (name.status, name.retryable) for name in ErrorName}

    assert table == {
        "ValidationException": (400, False),
        "InvalidStateException": (400, False),
        "InvalidCiphertextException": (400, False),
        "InvalidKeyUsageException": (400, False),
        "AuthenticationFailedException": (401, False),
        "AccessDeniedException": (403, False),
        "KeyNotFoundException": (404, False),
        "InvalidUriPathException": (404, False),
        "ThrottlingException": (429, True),
        "InternalException": (500, True),
        "UnsupportedOperationException": (501, False),
        "DependencyTimeoutException": (503, True),
    }


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (Reason.INVALID_CIPHERTEXT, "InvalidCiphertextException"),
        (Reason.INVALID_KEY_USAGE, "InvalidKeyUsageException"),
        (Reason.KEY_DISABLED, "InvalidStateException"),
        (Reason.BLOCKED, "InvalidStateException"),
        (Reason.KEY_EXHAUSTED, "InvalidStateException"),
        (Reason.UNAUTHENTICATED_PEER, "AuthenticationFailedException"),
        (Reason.ACCESS_DENIED, "AccessDeniedException"),
        (Reason.KEY_NOT_FOUND, "KeyNotFoundException"),
        (Reason.NOT_FOUND, "InvalidUriPathException"),
        (Reason.QUOTA_EXCEEDED, "ThrottlingException"),
        (Reason.OVERLOADED, "ThrottlingException"),
        (Reason.DEADLINE_EXCEEDED, "DependencyTimeoutException"),
        (Reason.AUDIT_UNAVAILABLE, "DependencyTimeoutException"),
        (Reason.HSM_UNAVAILABLE, "InternalException"),
        (Reason.FIELD_TOO_LARGE, "UnsupportedOperationException"),
    ],
)
def test_reason_has_its_name(reason: Reason, name: str) -> None:
    assert NAMES[reason].wire == name


def test_waiting_helps_exactly_where_kms_tries_again() -> None:
    """KMS counts retryable errors against the proxy: what the caller did wrong is none of them."""
    callers = {
        Reason.INVALID_CIPHERTEXT,
        Reason.ACCESS_DENIED,
        Reason.UNAUTHENTICATED_PEER,
        Reason.INVALID_FIELD,
    }

    assert not any(NAMES[reason].retryable for reason in callers)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_message_is_short_printable_ascii(reason: Reason) -> None:
    body = orjson.loads(errors.body_of(StrongroomError(reason, field="a.b"), "f" * 24))

    assert set(body) == {"errorName", "errorMessage"}
    assert body["errorMessage"].isascii()
    assert body["errorMessage"].isprintable()
    assert len(body["errorMessage"]) < 512
    assert "f" * 24 in body["errorMessage"]


@settings(deadline=None)
@given(st.text(max_size=700))
def test_no_message_leaves_that_the_specification_forbids(message: str) -> None:
    body = json.loads(errors.body_of(StrongroomError(Reason.INTERNAL, message), "f" * 24))["errorMessage"]

    assert len(body) < 512
    assert all(" " <= character <= "~" for character in body)
    assert body.endswith(f"[{'f' * 24}]")


def test_private_detail_stays_private() -> None:
    error = StrongroomError(Reason.UNAUTHENTICATED_PEER, detail="the clock is wrong")

    assert b"clock" not in errors.body_of(error)


# --- replies


def test_health_is_told() -> None:
    told = json.loads(replies.health(cast("Any", FLEET)))

    assert told == {
        "xksProxyFleetSize": 1,
        "xksProxyVendor": "Strongroom",
        "xksProxyModel": "Strongroom 1",
        "ekmVendor": "SoftHSM",
        "ekmFleetDetails": [{"id": "main", "model": "SoftHSM 2.6.1", "healthStatus": "ACTIVE"}],
    }


def test_optional_members_are_there_when_they_have_a_value() -> None:
    bare = json.loads(replies.encrypted(SealedParts(b"c", bytes(12), bytes(16))))
    whole = json.loads(replies.encrypted(SealedParts(b"c", bytes(12), bytes(16), b"m", bytes(32))))

    assert set(bare) == {"ciphertext", "initializationVector", "authenticationTag"}
    assert set(whole) - set(bare) == {"ciphertextMetadata", "ciphertextDataIntegrityValue"}
    assert base64.b64decode(whole["ciphertextDataIntegrityValue"]) == bytes(32)
