"""The one taxonomy of errors, sorted by who must act.

Every error has a reason from a closed list (stable, public, never reused), a public message that never quotes
input, optionally the field at fault, and optionally the time after which a retry makes sense. Each door maps
reasons to its own statuses by one total table; nothing else in the daemon knows a gRPC or HTTP status.
"""

from enum import StrEnum


class Fault(StrEnum):
    """Who must act on an error."""

    CALLER = "caller"
    OPERATOR = "operator"
    DAEMON = "daemon"


class Reason(StrEnum):
    """Stable public names of everything that can go wrong; retired names stay reserved here."""

    ACCESS_DENIED = "ACCESS_DENIED"
    UNAUTHENTICATED_PEER = "UNAUTHENTICATED_PEER"
    INVALID_FIELD = "INVALID_FIELD"
    FIELD_TOO_LARGE = "FIELD_TOO_LARGE"
    UNKNOWN_ENUM = "UNKNOWN_ENUM"
    INVALID_CIPHERTEXT = "INVALID_CIPHERTEXT"
    INVALID_SIGNATURE = "INVALID_SIGNATURE"
    INVALID_MAC = "INVALID_MAC"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    KEY_MISMATCH = "KEY_MISMATCH"
    INVALID_KEY_USAGE = "INVALID_KEY_USAGE"
    UNSUPPORTED_ALGORITHM = "UNSUPPORTED_ALGORITHM"
    UNSUPPORTED_BY_TOKEN = "UNSUPPORTED_BY_TOKEN"  # noqa: S105 - a reason's name
    KEY_DISABLED = "KEY_DISABLED"
    KEY_PENDING_DELETION = "KEY_PENDING_DELETION"
    KEY_PENDING_IMPORT = "KEY_PENDING_IMPORT"
    INVALID_KEY_STATE = "INVALID_KEY_STATE"
    KEY_UNAVAILABLE = "KEY_UNAVAILABLE"
    KEY_EXHAUSTED = "KEY_EXHAUSTED"
    SERVICE_MANAGED_KEY = "SERVICE_MANAGED_KEY"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    NOT_FOUND = "NOT_FOUND"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    BLOCKED = "BLOCKED"
    MALFORMED_POLICY = "MALFORMED_POLICY"
    POLICY_LOCKOUT = "POLICY_LOCKOUT"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    REQUEST_ANSWERED = "REQUEST_ANSWERED"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    APPROVAL_MISMATCH = "APPROVAL_MISMATCH"
    APPROVAL_CLOSED = "APPROVAL_CLOSED"
    NOT_EXPORTABLE = "NOT_EXPORTABLE"
    ROTATION_CONFLICT = "ROTATION_CONFLICT"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"  # noqa: S105 - a reason's name, not a password
    INVALID_GRANT_TOKEN = "INVALID_GRANT_TOKEN"  # noqa: S105 - a reason's name
    INVALID_IMPORT_TOKEN = "INVALID_IMPORT_TOKEN"  # noqa: S105 - a reason's name
    EXPIRED_IMPORT_TOKEN = "EXPIRED_IMPORT_TOKEN"  # noqa: S105 - a reason's name
    INCORRECT_KEY_MATERIAL = "INCORRECT_KEY_MATERIAL"
    DRY_RUN_SUCCEEDED = "DRY_RUN_SUCCEEDED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    OVERLOADED = "OVERLOADED"
    HSM_UNAVAILABLE = "HSM_UNAVAILABLE"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"
    INTEGRITY_FAILURE = "INTEGRITY_FAILURE"
    CONFIGURATION = "CONFIGURATION"
    INTERNAL = "INTERNAL"


_OPERATOR = {
    Reason.HSM_UNAVAILABLE,
    Reason.STORE_UNAVAILABLE,
    Reason.AUDIT_UNAVAILABLE,
    Reason.INTEGRITY_FAILURE,
    Reason.CONFIGURATION,
    Reason.OVERLOADED,
    Reason.KEY_UNAVAILABLE,
}

MESSAGES: dict[Reason, str] = {
    Reason.ACCESS_DENIED: "the key does not exist, or the caller may not do this with it",
    Reason.UNAUTHENTICATED_PEER: "the client certificate names no known principal",
    Reason.INVALID_FIELD: "the field's value is not allowed",
    Reason.FIELD_TOO_LARGE: "the field is longer than its limit",
    Reason.UNKNOWN_ENUM: "the field must be one of the documented values",
    Reason.INVALID_CIPHERTEXT: "the ciphertext, the encryption context and the key do not belong together",
    Reason.INVALID_SIGNATURE: "the signature does not verify",
    Reason.INVALID_MAC: "the MAC does not verify",
    Reason.CHECKSUM_MISMATCH: "the field does not match its CRC32C: it was damaged on the way",
    Reason.KEY_MISMATCH: "the ciphertext was not made by the key that the request names",
    Reason.INVALID_KEY_USAGE: "the key's usage does not include this operation",
    Reason.UNSUPPORTED_ALGORITHM: "the key does not support this algorithm",
    Reason.UNSUPPORTED_BY_TOKEN: "the token lacks a mechanism that this needs",
    Reason.KEY_DISABLED: "the key is disabled",
    Reason.KEY_PENDING_DELETION: "the key is pending deletion",
    Reason.KEY_PENDING_IMPORT: "the key waits for its material to be imported",
    Reason.INVALID_KEY_STATE: "the key's state does not allow this",
    Reason.KEY_UNAVAILABLE: "the key's material cannot be used now",
    Reason.KEY_EXHAUSTED: "the key's version has encrypted as often as it may; the key must be rotated",
    Reason.SERVICE_MANAGED_KEY: "the key is a service's own: nobody changes it, and it rotates by itself",
    Reason.ALREADY_EXISTS: "something with this name exists already",
    Reason.NOT_FOUND: "there is nothing with this name",
    Reason.KEY_NOT_FOUND: "the key store has no such external key",
    Reason.BLOCKED: "the key store or the external key is blocked",
    Reason.MALFORMED_POLICY: "the policy document is not valid",
    Reason.POLICY_LOCKOUT: "the caller could not change the policy again after this change",
    Reason.ETAG_MISMATCH: "the key changed since the etag was read",
    Reason.REQUEST_ID_REUSED: "the request_id was used before with other arguments",
    Reason.REQUEST_ANSWERED: "the quota request was answered or cancelled already",
    Reason.APPROVAL_REQUIRED: "this needs the approvals of others, and there are not enough of them",
    Reason.APPROVAL_MISMATCH: "the approvals are for something else",
    Reason.APPROVAL_CLOSED: "the approval request was executed, cancelled or rejected, or it has expired",
    Reason.NOT_EXPORTABLE: "the key was not created exportable",
    Reason.ROTATION_CONFLICT: "the key is about to be rotated automatically, or just was; try again later",
    Reason.LIMIT_EXCEEDED: "a resource limit is reached",
    Reason.QUOTA_EXCEEDED: "the request quota is used up; wait and try again",
    Reason.INVALID_PAGE_TOKEN: "the page token does not belong to this request",
    Reason.INVALID_GRANT_TOKEN: "a grant token is not one that this daemon made",
    Reason.INVALID_IMPORT_TOKEN: "the import token is not one of this key, or was used already",
    Reason.EXPIRED_IMPORT_TOKEN: "the import token is older than 24 hours",
    Reason.INCORRECT_KEY_MATERIAL: "the material is not the one that was imported before",
    Reason.DRY_RUN_SUCCEEDED: "the request would have succeeded, but dry_run is set",
    Reason.DEADLINE_EXCEEDED: "the deadline passed before the work could be done",
    Reason.OVERLOADED: "the work cannot be done within the deadline; wait and try again",
    Reason.HSM_UNAVAILABLE: "the HSM cannot be used now",
    Reason.STORE_UNAVAILABLE: "the store cannot be used now",
    Reason.AUDIT_UNAVAILABLE: "the audit log cannot be written, so nothing is done",
    Reason.INTEGRITY_FAILURE: "a stored record failed its integrity check and is not used",
    Reason.CONFIGURATION: "the configuration is not valid",
    Reason.INTERNAL: "the daemon failed; the request id finds the details in its log",
}


class StrongroomError(Exception):
    """A refusal or failure with a stable reason.

    Args:
        reason: the closed-list name.
        message: public text, safe to show to the caller; defaults to the reason's own. Never quotes input.
        field: dotted name of the request field or setting at fault, if there is one.
        retry_after: seconds after which the same request may succeed, if waiting helps.
        detail: private text for the daemon's log; never leaves the daemon.
        violations: (subject, description) pairs for quota refusals.
    """

    def __init__(
        self,
        reason: Reason,
        message: str | None = None,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        detail: str | None = None,
        violations: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.reason = reason
        self.message = MESSAGES[reason] if message is None else message
        self.field = field
        self.retry_after = retry_after
        self.detail = detail
        self.violations = violations
        super().__init__(f"{reason.value}: {field + ': ' if field else ''}{self.message}")

    @property
    def fault(self) -> Fault:
        """Who must act: the caller, the operator, or the daemon's authors."""
        return fault_of(self.reason)


def fault_of(reason: Reason) -> Fault:
    """Say who must act on errors of this reason."""
    if reason is Reason.INTERNAL:
        return Fault.DAEMON
    return Fault.OPERATOR if reason in _OPERATOR else Fault.CALLER


def denied(detail: str | None = None) -> StrongroomError:
    """Make the one answer for unknown and forbidden keys alike."""
    return StrongroomError(Reason.ACCESS_DENIED, detail=detail)


def invalid(field: str, message: str) -> StrongroomError:
    """Refuse a field's value; the message must state the rule, not the value."""
    return StrongroomError(Reason.INVALID_FIELD, message, field=field)


def too_large(field: str, limit: int, unit: str = "bytes") -> StrongroomError:
    """Refuse a field over its limit, naming field and limit."""
    return StrongroomError(Reason.FIELD_TOO_LARGE, f"at most {limit} {unit} are allowed", field=field)
