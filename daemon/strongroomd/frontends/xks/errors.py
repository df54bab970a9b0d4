"""Errors on the wire: one total table from reasons to the API's error names (specification, "Errors").

KMS tells retryable from non-retryable errors by the name, and its customers watch both: a bad tag must not
look like a broken HSM, nor one tenant's overload like a failure of the proxy.
"""

import re
from enum import Enum
from typing import Final

import orjson

from strongroomd.domain.errors import Reason, StrongroomError

MAX_MESSAGE: Final = 511  # characters, each printable ASCII
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")


class ErrorName(Enum):
    """The API's errors: name, HTTP status, and whether KMS counts it as retryable."""

    VALIDATION = ("ValidationException", 400, False)
    INVALID_STATE = ("InvalidStateException", 400, False)
    INVALID_CIPHERTEXT = ("InvalidCiphertextException", 400, False)
    INVALID_KEY_USAGE = ("InvalidKeyUsageException", 400, False)
    AUTHENTICATION_FAILED = ("AuthenticationFailedException", 401, False)
    ACCESS_DENIED = ("AccessDeniedException", 403, False)
    KEY_NOT_FOUND = ("KeyNotFoundException", 404, False)
    INVALID_URI_PATH = ("InvalidUriPathException", 404, False)
    THROTTLING = ("ThrottlingException", 429, True)
    INTERNAL = ("InternalException", 500, True)
    UNSUPPORTED_OPERATION = ("UnsupportedOperationException", 501, False)
    DEPENDENCY_TIMEOUT = ("DependencyTimeoutException", 503, True)

    def __init__(self, wire: str, status: int, retryable: bool) -> None:  # noqa: FBT001 - a row of the table
        self.wire = wire
        self.status = status
        self.retryable = retryable


_E = ErrorName
NAMES: Final[dict[Reason, ErrorName]] = {
    Reason.ACCESS_DENIED: _E.ACCESS_DENIED,
    Reason.UNAUTHENTICATED_PEER: _E.AUTHENTICATION_FAILED,
    Reason.INVALID_FIELD: _E.VALIDATION,
    Reason.FIELD_TOO_LARGE: _E.UNSUPPORTED_OPERATION,
    Reason.UNKNOWN_ENUM: _E.VALIDATION,
    Reason.INVALID_CIPHERTEXT: _E.INVALID_CIPHERTEXT,
    Reason.INVALID_SIGNATURE: _E.VALIDATION,
    Reason.INVALID_MAC: _E.VALIDATION,
    Reason.CHECKSUM_MISMATCH: _E.VALIDATION,
    Reason.KEY_MISMATCH: _E.INVALID_CIPHERTEXT,
    Reason.INVALID_KEY_USAGE: _E.INVALID_KEY_USAGE,
    Reason.UNSUPPORTED_ALGORITHM: _E.INVALID_KEY_USAGE,
    Reason.UNSUPPORTED_BY_TOKEN: _E.UNSUPPORTED_OPERATION,
    Reason.KEY_DISABLED: _E.INVALID_STATE,
    Reason.KEY_PENDING_DELETION: _E.INVALID_STATE,
    Reason.KEY_PENDING_IMPORT: _E.INVALID_STATE,
    Reason.INVALID_KEY_STATE: _E.INVALID_STATE,
    Reason.KEY_UNAVAILABLE: _E.INTERNAL,
    Reason.KEY_EXHAUSTED: _E.INVALID_STATE,
    Reason.SERVICE_MANAGED_KEY: _E.INVALID_STATE,
    Reason.ALREADY_EXISTS: _E.INVALID_STATE,
    Reason.NOT_FOUND: _E.INVALID_URI_PATH,
    Reason.KEY_NOT_FOUND: _E.KEY_NOT_FOUND,
    Reason.BLOCKED: _E.INVALID_STATE,
    Reason.MALFORMED_POLICY: _E.VALIDATION,
    Reason.POLICY_LOCKOUT: _E.INVALID_STATE,
    Reason.ETAG_MISMATCH: _E.INVALID_STATE,
    Reason.REQUEST_ID_REUSED: _E.VALIDATION,
    Reason.REQUEST_ANSWERED: _E.INVALID_STATE,
    Reason.APPROVAL_REQUIRED: _E.INVALID_STATE,
    Reason.APPROVAL_MISMATCH: _E.INVALID_STATE,
    Reason.APPROVAL_CLOSED: _E.INVALID_STATE,
    Reason.NOT_EXPORTABLE: _E.INVALID_STATE,
    Reason.ROTATION_CONFLICT: _E.INVALID_STATE,
    Reason.LIMIT_EXCEEDED: _E.INVALID_STATE,
    Reason.QUOTA_EXCEEDED: _E.THROTTLING,
    Reason.INVALID_PAGE_TOKEN: _E.VALIDATION,
    Reason.INVALID_GRANT_TOKEN: _E.VALIDATION,
    Reason.INVALID_IMPORT_TOKEN: _E.VALIDATION,
    Reason.EXPIRED_IMPORT_TOKEN: _E.INVALID_STATE,
    Reason.INCORRECT_KEY_MATERIAL: _E.VALIDATION,
    Reason.DRY_RUN_SUCCEEDED: _E.INVALID_STATE,
    Reason.DEADLINE_EXCEEDED: _E.DEPENDENCY_TIMEOUT,
    Reason.OVERLOADED: _E.THROTTLING,
    Reason.HSM_UNAVAILABLE: _E.INTERNAL,
    Reason.STORE_UNAVAILABLE: _E.INTERNAL,
    Reason.AUDIT_UNAVAILABLE: _E.DEPENDENCY_TIMEOUT,
    Reason.INTEGRITY_FAILURE: _E.INTERNAL,
    Reason.CONFIGURATION: _E.INTERNAL,
    Reason.INTERNAL: _E.INTERNAL,
}


def body_of(error: StrongroomError, request_id: str = "") -> bytes:
    """Spell an error; only public text goes on the wire.

    KMS shows errorMessage to nobody but the log of the calling account. The request id finds the call in our
    audit log.
    """
    message = f"{error.field}: {error.message}" if error.field else error.message
    return spelt(NAMES[error.reason], message, request_id)


def spelt(name: ErrorName, message: str, request_id: str = "") -> bytes:
    """Spell an error by its name; the message is cut and cleaned to what the API allows."""
    told = f" [{request_id}]" if request_id else ""
    text = _NOT_PRINTABLE.sub("?", message)[: MAX_MESSAGE - len(told)] + told
    return orjson.dumps({"errorName": name.wire, "errorMessage": text})
