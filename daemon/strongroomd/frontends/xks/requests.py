"""From a body's bytes to checked requests: strict about what is known, deaf to what is new.

JSON must be UTF-8, with each name once in an object. Members that the specification does not know are
passed over: KMS may add some. Base64 must be the one canonical spelling of its bytes (RFC 4648, sections
3.5 and 4). Lengths that the specification fixes are INVALID_FIELD, those that only this daemon bounds
FIELD_TOO_LARGE.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.xks.layout import MAX_AAD, MAX_METADATA, MAX_PLAINTEXT, TAG_BYTES, SealedParts
from strongroomd.domain.xks.metadata import RequestMetadata
from strongroomd.frontends.xks.routes import Operation

MAX_TEXT: Final = 2_048  # characters of any member of requestMetadata: ARNs must be accepted up to here
IV_LENGTHS: Final = frozenset({12, 16})
ALGORITHM: Final = "AES_GCM"
INTEGRITY_ALGORITHM: Final = "SHA_256"

_METADATA: Final = {
    "kmsRequestId": "kms_request_id",
    "kmsOperation": "kms_operation",
    "awsPrincipalArn": "principal_arn",
    "kmsKeyArn": "kms_key_arn",
    "awsSourceVpc": "source_vpc",
    "awsSourceVpce": "source_vpce",
    "kmsViaService": "via_service",
}
_ALWAYS: Final = frozenset({"kmsRequestId", "kmsOperation"})
_REQUIRED: Final = {
    Operation.HEALTH: _ALWAYS,
    Operation.METADATA: _ALWAYS | {"awsPrincipalArn"},
    Operation.ENCRYPT: _ALWAYS | {"awsPrincipalArn", "kmsKeyArn"},
    Operation.DECRYPT: _ALWAYS | {"awsPrincipalArn", "kmsKeyArn"},
}
_MAY_BE_EMPTY: Final = "kmsRequestId"


@dataclass(frozen=True, slots=True)
class EncryptRequest:
    """What Encrypt is asked.

    Attributes:
        aad: None where the request has none, which is not the same as an empty one.
        integrity: whether a ciphertextDataIntegrityValue is wanted.
    """

    plaintext: "Private"
    aad: bytes | None
    integrity: bool


@dataclass(frozen=True, slots=True)
class DecryptRequest:
    """What Decrypt is asked."""

    parts: SealedParts
    aad: bytes | None


@dataclass(frozen=True, slots=True, repr=False)
class Private:
    """Bytes without a repr."""

    value: bytes


def parse(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        StrongroomError: INVALID_FIELD.
    """
    try:
        document = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise invalid("body", "must be a JSON object in UTF-8, with each name once") from None
    if type(document) is not dict:
        raise invalid("body", "must be a JSON object")
    return document


def metadata(document: dict[str, Any], operation: Operation) -> RequestMetadata:
    """Take requestMetadata.

    Raises:
        StrongroomError: INVALID_FIELD naming the member.
    """
    given = document.get("requestMetadata")
    if type(given) is not dict:
        raise invalid("requestMetadata", "is required and must be an object")
    required = _REQUIRED[operation]
    return RequestMetadata(
        **{field: _text(given, name, required=name in required) for name, field in _METADATA.items()}
    )


def encrypt(document: dict[str, Any]) -> EncryptRequest:
    """Take what Encrypt wants.

    Raises:
        StrongroomError: INVALID_FIELD, UNKNOWN_ENUM, FIELD_TOO_LARGE.
    """
    _one_of(document, "encryptionAlgorithm", ALGORITHM)
    integrity = "ciphertextDataIntegrityValueAlgorithm"
    wanted = integrity in document
    if wanted:
        _one_of(document, integrity, INTEGRITY_ALGORITHM)
    plaintext = _bytes(document, "plaintext", MAX_PLAINTEXT)
    return EncryptRequest(Private(plaintext), _aad(document), wanted)


def decrypt(document: dict[str, Any]) -> DecryptRequest:
    """Take what Decrypt wants.

    Raises:
        StrongroomError: INVALID_FIELD, UNKNOWN_ENUM, FIELD_TOO_LARGE.
    """
    _one_of(document, "encryptionAlgorithm", ALGORITHM)
    iv = _bytes(document, "initializationVector", MAX_PLAINTEXT)
    if len(iv) not in IV_LENGTHS:
        raise invalid("initializationVector", "must have 12 or 16 bytes")
    tag = _bytes(document, "authenticationTag", MAX_PLAINTEXT)
    if len(tag) != TAG_BYTES:
        raise invalid("authenticationTag", f"must have {TAG_BYTES} bytes")
    own = _bytes(document, "ciphertextMetadata", MAX_PLAINTEXT) if "ciphertextMetadata" in document else b""
    if len(own) > MAX_METADATA:
        raise invalid("ciphertextMetadata", f"must have at most {MAX_METADATA} bytes")
    ciphertext = _bytes(document, "ciphertext", MAX_PLAINTEXT)
    return DecryptRequest(SealedParts(ciphertext, iv, tag, own), _aad(document))


def _aad(document: dict[str, Any]) -> bytes | None:
    name = "additionalAuthenticatedData"
    return _bytes(document, name, MAX_AAD) if name in document else None


def _text(given: dict[str, Any], name: str, *, required: bool) -> str:
    field = f"requestMetadata.{name}"
    if name not in given:
        if required:
            raise invalid(field, "is required")
        return ""
    text = given[name]
    if type(text) is not str:
        raise invalid(field, "must be a string")
    if len(text) > MAX_TEXT:
        raise invalid(field, f"must have at most {MAX_TEXT} characters")
    if required and not text and name != _MAY_BE_EMPTY:
        raise invalid(field, "must not be empty")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise invalid(field, "must be valid Unicode text")
    return text


def _one_of(document: dict[str, Any], name: str, known: str) -> None:
    if document.get(name) != known:
        raise StrongroomError(Reason.UNKNOWN_ENUM, f"must be {known}", field=name)


def _bytes(document: dict[str, Any], name: str, most: int) -> bytes:
    """Decode a member; over `most` bytes it is too large, whatever else it is."""
    text = document.get(name)
    if type(text) is not str:
        raise invalid(name, "is required and must be a string" if text is None else "must be a string")
    if len(text) > (most + 2) // 3 * 4:
        raise too_large(name, most)
    try:
        value = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise _not_base64(name) from None
    if base64.b64encode(value).decode() != text:  # the last character may hide bits
        raise _not_base64(name)
    if len(value) > most:
        raise too_large(name, most)
    return value


def _not_base64(name: str) -> StrongroomError:
    return invalid(name, "must be canonical base64 of the standard alphabet, padded")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
