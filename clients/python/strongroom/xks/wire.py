"""Requests and answers of the XKS proxy API, version 1.0.3: what is sent, and what an answer must hold."""

import base64
import binascii
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from strongroom.errors import StrongroomError, damaged, error
from strongroom.xks.link import Reply

Json = dict[str, Any]

ERRORS: Final[dict[str, tuple[int, str]]] = {
    "ValidationException": (400, "INVALID_FIELD"),
    "InvalidStateException": (400, "INVALID_KEY_STATE"),
    "InvalidCiphertextException": (400, "INVALID_CIPHERTEXT"),
    "InvalidKeyUsageException": (400, "INVALID_KEY_USAGE"),
    "AuthenticationFailedException": (401, "UNAUTHENTICATED_PEER"),
    "AccessDeniedException": (403, "ACCESS_DENIED"),
    "KeyNotFoundException": (404, "KEY_NOT_FOUND"),
    "InvalidUriPathException": (404, "NOT_FOUND"),
    "ThrottlingException": (429, "QUOTA_EXCEEDED"),
    "InternalException": (500, "INTERNAL"),
    "UnsupportedOperationException": (501, "FIELD_TOO_LARGE"),
    "DependencyTimeoutException": (503, "HSM_UNAVAILABLE"),
}
"""HTTP status and reason of `strongroom.errors` of each errorName."""
STATES: Final = ("ACTIVE", "DEGRADED", "UNAVAILABLE")
TAG_BYTES: Final = 16
IV_BYTES: Final = (12, 16)
MAX_METADATA_BYTES: Final = 20
MAX_MANAGERS: Final = 10
MAX_USAGES: Final = 10
_MAX_MESSAGE: Final = 511  # characters


@dataclass(frozen=True, slots=True)
class Origin:
    """What KMS says of its own caller in requestMetadata; a store's policy may ask for it.

    Attributes:
        principal_arn: who called KMS.
        kms_key_arn: the KMS key that the external key backs; a key may be pinned to the first it sees.
        more: further fields, such as kmsViaService or awsSourceVpce.
    """

    principal_arn: str = "arn:aws:iam::111122223333:user/strongroom-xks"
    kms_key_arn: str = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000000"
    more: Mapping[str, str] = field(default_factory=dict)

    def metadata(self, operation: str, *, of_key: bool = True) -> Json:
        """Give the requestMetadata of one call, with a fresh kmsRequestId."""
        made: Json = {"kmsRequestId": str(uuid.uuid4()), "kmsOperation": operation}
        if of_key:
            made |= {"awsPrincipalArn": self.principal_arn, "kmsKeyArn": self.kms_key_arn}
        return {**made, **self.more}


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of ekmFleetDetails."""

    id: str
    model: str
    health_status: str


@dataclass(frozen=True, slots=True)
class Health:
    """The answer of GetHealthStatus."""

    fleet_size: int
    proxy_vendor: str
    proxy_model: str
    ekm_vendor: str
    managers: tuple[Manager, ...]


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """The answer of GetKeyMetadata."""

    spec: str
    usage: tuple[str, ...]
    status: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """The answer of Encrypt: the parts of a ciphertext.

    Attributes:
        ciphertext: as long as the plaintext.
        iv: 12 or 16 bytes.
        tag: 16 bytes.
        metadata: the proxy's own note of at most 20 bytes.
        cdiv: the ciphertextDataIntegrityValue, if it was asked for.
    """

    ciphertext: bytes
    iv: bytes
    tag: bytes
    metadata: bytes = b""
    cdiv: bytes | None = None

    def integrity_value(self, aad: bytes | None) -> bytes:
        """Compute the CDIV that these parts must have."""
        return hashlib.sha256((aad or b"") + self.metadata + self.iv + self.ciphertext + self.tag).digest()


def encryption(metadata: Json, plaintext: bytes, aad: bytes | None, *, cdiv: bool) -> Json:
    """Make the body of Encrypt."""
    made: Json = {"requestMetadata": metadata, "plaintext": b64(plaintext), "encryptionAlgorithm": "AES_GCM"}
    if aad is not None:
        made["additionalAuthenticatedData"] = b64(aad)
    if cdiv:
        made["ciphertextDataIntegrityValueAlgorithm"] = "SHA_256"
    return made


def decryption(metadata: Json, sealed: Sealed, aad: bytes | None) -> Json:
    """Make the body of Decrypt."""
    made: Json = {
        "requestMetadata": metadata,
        "ciphertext": b64(sealed.ciphertext),
        "encryptionAlgorithm": "AES_GCM",
        "initializationVector": b64(sealed.iv),
        "authenticationTag": b64(sealed.tag),
    }
    if sealed.metadata:
        made["ciphertextMetadata"] = b64(sealed.metadata)
    if aad is not None:
        made["additionalAuthenticatedData"] = b64(aad)
    return made


def read_sealed(answer: Json, plaintext: bytes, aad: bytes | None, *, cdiv: bool) -> Sealed:
    """Read the answer of Encrypt: lengths, and the CDIV recomputed.

    Raises:
        IntegrityError: REPLY_DAMAGED; the field names what is not as the API says.
    """
    sealed = Sealed(
        binary(answer, "ciphertext"),
        binary(answer, "initializationVector"),
        binary(answer, "authenticationTag"),
        binary(answer, "ciphertextMetadata") if "ciphertextMetadata" in answer else b"",
        binary(answer, "ciphertextDataIntegrityValue") if cdiv else None,
    )
    rules = (
        ("ciphertext", len(sealed.ciphertext) == len(plaintext), "must be as long as the plaintext"),
        ("initializationVector", len(sealed.iv) in IV_BYTES, "must have 12 or 16 bytes"),
        ("authenticationTag", len(sealed.tag) == TAG_BYTES, "must have 16 bytes"),
        ("ciphertextMetadata", len(sealed.metadata) <= MAX_METADATA_BYTES, "may have 20 bytes at most"),
        (
            "ciphertextDataIntegrityValue",
            sealed.cdiv in {None, sealed.integrity_value(aad)},
            "is not the SHA-256 of AAD, metadata, IV, ciphertext and tag",
        ),
    )
    _enforce(rules)
    return sealed


def read_health(answer: Json) -> Health:
    """Read the answer of GetHealthStatus.

    Raises:
        IntegrityError: REPLY_DAMAGED.
    """
    size, fleet = answer.get("xksProxyFleetSize"), answer.get("ekmFleetDetails")
    if type(size) is not int or size < 1:
        raise damaged("must be a whole number above 0", "xksProxyFleetSize")
    if not isinstance(fleet, list) or not 1 <= len(fleet) <= MAX_MANAGERS:
        raise damaged("must be a list of 1 to 10 entries", "ekmFleetDetails")
    managers = tuple(_manager(each) for each in fleet)
    if len({each.id for each in managers}) < len(managers):
        raise damaged("must have different ids", "ekmFleetDetails.id")
    vendor, model, behind = (text(answer, name) for name in ("xksProxyVendor", "xksProxyModel", "ekmVendor"))
    return Health(size, vendor, model, behind, managers)


def read_key_metadata(answer: Json) -> KeyMetadata:
    """Read the answer of GetKeyMetadata.

    Raises:
        IntegrityError: REPLY_DAMAGED.
    """
    usage, status = answer.get("keyUsage"), text(answer, "keyStatus")
    if not isinstance(usage, list) or len(usage) > MAX_USAGES or not all(isinstance(u, str) for u in usage):
        raise damaged("must be a list of at most 10 names", "keyUsage")
    if status not in {"ENABLED", "DISABLED"}:
        raise damaged("must be ENABLED or DISABLED", "keyStatus")
    return KeyMetadata(text(answer, "keySpec"), tuple(usage), status)


def answer_of(reply: Reply) -> Json:
    """Read a good answer's JSON.

    Raises:
        IntegrityError: REPLY_DAMAGED.
        StrongroomError: the refusal that it is.
    """
    if reply.status != 200:
        _refuse(reply)
    return _object(reply)


def error_name(reply: Reply) -> str:
    """Read the errorName of a refusal, after checking its shape.

    Raises:
        IntegrityError: REPLY_DAMAGED: KMS could not interpret it.
    """
    found = _object(reply)
    name, message = found.get("errorName"), found.get("errorMessage")
    if name not in ERRORS:
        raise damaged("is no name of the API", "errorName")
    if ERRORS[name][0] != reply.status:
        raise damaged(f"{name} goes with status {ERRORS[name][0]}, not {reply.status}", "errorName")
    if message is not None and not _is_message(message):
        raise damaged("must be printable ASCII of less than 512 characters", "errorMessage")
    return str(name)


def b64(data: bytes) -> str:
    """Encode as the API wants it: the standard alphabet, padded."""
    return base64.b64encode(data).decode("ascii")


def binary(answer: Json, name: str) -> bytes:
    """Read a field of canonical base64."""
    given = text(answer, name)
    try:
        found = base64.b64decode(given, validate=True)
    except (ValueError, binascii.Error):
        raise damaged("must be standard base64", name) from None
    if b64(found) != given:
        raise damaged("must be canonical base64", name)
    return found


def text(answer: Json, name: str) -> str:
    """Read a field of text."""
    given = answer.get(name)
    if not isinstance(given, str):
        raise damaged("must be there, and be a string", name)
    return given


def _manager(entry: object) -> Manager:
    if not isinstance(entry, dict):
        raise damaged("must hold objects", "ekmFleetDetails")
    made = Manager(text(entry, "id"), text(entry, "model"), text(entry, "healthStatus"))
    if made.health_status not in STATES:
        raise damaged(f"must be one of {', '.join(STATES)}", "ekmFleetDetails.healthStatus")
    return made


def _object(reply: Reply) -> Json:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise damaged(f"must be application/json, with status {reply.status}", "content-type")
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        raise damaged(f"an answer of status {reply.status} is not well-formed JSON") from None
    if not isinstance(found, dict):
        raise damaged(f"an answer of status {reply.status} is no JSON object")
    return found


def _refuse(reply: Reply) -> NoReturn:
    name = error_name(reply)
    said = json.loads(reply.body).get("errorMessage")
    raise refusal(name, said or "the proxy refuses, without a text")


def refusal(name: str, message: str) -> StrongroomError:
    """Make the error of an errorName, which stands in `code`."""
    return error(ERRORS[name][1], message, code=name)


def _is_message(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_MESSAGE and all(" " <= c <= "~" for c in value)


def _enforce(rules: tuple[tuple[str, bool, str], ...]) -> None:
    for name, holds, rule in rules:
        if not holds:
            raise damaged(rule, name)
