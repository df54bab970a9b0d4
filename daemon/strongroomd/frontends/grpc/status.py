"""Errors on the wire: one total table from reasons to gRPC statuses, and the details that go with them.

Details follow google.rpc (error_details.proto): ErrorInfo always, BadRequest for a field, RetryInfo where
waiting helps, QuotaFailure, PreconditionFailure, RequestInfo. `grpc-retry-pushback-ms` tells gRPC's own
retries the same wait.
"""

import math
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from strongroomd.domain.errors import Reason, StrongroomError

DOMAIN: Final = "strongroom"
_C = grpc.StatusCode

CODES: Final[dict[Reason, grpc.StatusCode]] = {
    Reason.ACCESS_DENIED: _C.PERMISSION_DENIED,
    Reason.UNAUTHENTICATED_PEER: _C.UNAUTHENTICATED,
    Reason.INVALID_FIELD: _C.INVALID_ARGUMENT,
    Reason.FIELD_TOO_LARGE: _C.INVALID_ARGUMENT,
    Reason.UNKNOWN_ENUM: _C.INVALID_ARGUMENT,
    Reason.INVALID_CIPHERTEXT: _C.INVALID_ARGUMENT,
    Reason.INVALID_SIGNATURE: _C.INVALID_ARGUMENT,
    Reason.INVALID_MAC: _C.INVALID_ARGUMENT,
    Reason.CHECKSUM_MISMATCH: _C.INVALID_ARGUMENT,
    Reason.KEY_MISMATCH: _C.INVALID_ARGUMENT,
    Reason.INVALID_KEY_USAGE: _C.FAILED_PRECONDITION,
    Reason.UNSUPPORTED_ALGORITHM: _C.INVALID_ARGUMENT,
    Reason.UNSUPPORTED_BY_TOKEN: _C.FAILED_PRECONDITION,
    Reason.KEY_DISABLED: _C.FAILED_PRECONDITION,
    Reason.KEY_PENDING_DELETION: _C.FAILED_PRECONDITION,
    Reason.KEY_PENDING_IMPORT: _C.FAILED_PRECONDITION,
    Reason.INVALID_KEY_STATE: _C.FAILED_PRECONDITION,
    Reason.KEY_UNAVAILABLE: _C.UNAVAILABLE,
    Reason.KEY_EXHAUSTED: _C.FAILED_PRECONDITION,
    Reason.SERVICE_MANAGED_KEY: _C.FAILED_PRECONDITION,
    Reason.ALREADY_EXISTS: _C.ALREADY_EXISTS,
    Reason.KEY_NOT_FOUND: _C.NOT_FOUND,
    Reason.BLOCKED: _C.FAILED_PRECONDITION,
    Reason.NOT_FOUND: _C.NOT_FOUND,
    Reason.MALFORMED_POLICY: _C.INVALID_ARGUMENT,
    Reason.POLICY_LOCKOUT: _C.FAILED_PRECONDITION,
    Reason.ETAG_MISMATCH: _C.ABORTED,
    Reason.REQUEST_ID_REUSED: _C.INVALID_ARGUMENT,
    Reason.REQUEST_ANSWERED: _C.FAILED_PRECONDITION,
    Reason.APPROVAL_REQUIRED: _C.FAILED_PRECONDITION,
    Reason.APPROVAL_MISMATCH: _C.FAILED_PRECONDITION,
    Reason.APPROVAL_CLOSED: _C.FAILED_PRECONDITION,
    Reason.NOT_EXPORTABLE: _C.FAILED_PRECONDITION,
    Reason.ROTATION_CONFLICT: _C.FAILED_PRECONDITION,
    Reason.LIMIT_EXCEEDED: _C.FAILED_PRECONDITION,
    Reason.QUOTA_EXCEEDED: _C.RESOURCE_EXHAUSTED,
    Reason.INVALID_PAGE_TOKEN: _C.INVALID_ARGUMENT,
    Reason.INVALID_GRANT_TOKEN: _C.INVALID_ARGUMENT,
    Reason.INVALID_IMPORT_TOKEN: _C.INVALID_ARGUMENT,
    Reason.EXPIRED_IMPORT_TOKEN: _C.FAILED_PRECONDITION,
    Reason.INCORRECT_KEY_MATERIAL: _C.INVALID_ARGUMENT,
    Reason.DRY_RUN_SUCCEEDED: _C.FAILED_PRECONDITION,
    Reason.DEADLINE_EXCEEDED: _C.DEADLINE_EXCEEDED,
    Reason.OVERLOADED: _C.UNAVAILABLE,
    Reason.HSM_UNAVAILABLE: _C.UNAVAILABLE,
    Reason.STORE_UNAVAILABLE: _C.UNAVAILABLE,
    Reason.AUDIT_UNAVAILABLE: _C.UNAVAILABLE,
    Reason.INTEGRITY_FAILURE: _C.DATA_LOSS,
    Reason.CONFIGURATION: _C.INTERNAL,
    Reason.INTERNAL: _C.INTERNAL,
}


class WireStatus(grpc.Status):
    """A status with details and trailing metadata, as `abort_with_status` takes it."""

    def __init__(
        self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, str | bytes], ...]
    ) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


def wire_status(error: StrongroomError, request_id: str) -> WireStatus:
    """Spell an error as a gRPC status; only public text goes on the wire."""
    code = CODES[error.reason]
    details = [_info(error), error_details_pb2.RequestInfo(request_id=request_id), *_specific(error, code)]
    body = status_pb2.Status(
        code=code_pb2.Code.Value(code.name), message=error.message, details=[_packed(d) for d in details]
    )
    metadata: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", body.SerializeToString())]
    if error.retry_after is not None:
        metadata.append(("grpc-retry-pushback-ms", str(math.ceil(error.retry_after * 1000))))
    return WireStatus(code, error.message, tuple(metadata))


def _packed(detail: Message) -> any_pb2.Any:
    box = any_pb2.Any()
    box.Pack(detail)
    return box


def _info(error: StrongroomError) -> Message:
    metadata = {"fault": error.fault.value}
    if error.field:
        metadata["field"] = error.field
    info: Message = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata)
    return info


def _specific(error: StrongroomError, code: grpc.StatusCode) -> list[Message]:
    found: list[Message] = []
    if error.field and code is _C.INVALID_ARGUMENT:
        found.append(_bad_request(error.field, error.message))
    if error.retry_after is not None:
        found.append(error_details_pb2.RetryInfo(retry_delay=retry_delay(error.retry_after)))
    if error.violations:
        found.append(_quota_failure(error.violations))
    if code is _C.FAILED_PRECONDITION:
        violation = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason.value, subject=error.field or "key", description=error.message
        )
        found.append(error_details_pb2.PreconditionFailure(violations=[violation]))
    return found


def retry_delay(seconds: float) -> duration_pb2.Duration:
    """Spell a wait, rounded up to the nanosecond."""
    nanos = math.ceil(seconds * 1e9)
    return duration_pb2.Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)


def _bad_request(field: str, text: str) -> Message:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
    request: Message = error_details_pb2.BadRequest(field_violations=[violation])
    return request


def _quota_failure(violations: tuple[tuple[str, str], ...]) -> Message:
    entries = [error_details_pb2.QuotaFailure.Violation(subject=s, description=d) for s, d in violations]
    failure: Message = error_details_pb2.QuotaFailure(violations=entries)
    return failure
