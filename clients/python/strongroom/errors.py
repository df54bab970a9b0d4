"""What can go wrong, sorted by who must act.

Every error has a stable `reason` from the daemon's closed list (or one of the client's own,
`CLIENT_REASONS`), a text that never quotes input, the field at fault if there is one, and the wait that the
daemon asks for. Catch a class to react to a kind of trouble; compare `reason` to react to one cause.
`strongroom explain REASON` tells more. Nothing here needs gRPC.
"""

from typing import Final

CLIENT_REASONS: Final = (
    "CONNECTION_FAILED",
    "UNSUPPORTED_BY_DAEMON",
    "REPLY_DAMAGED",
    "CLIENT_CONFIGURATION",
    "FILE_DAMAGED",
    "FILE_PROBLEM",
    "CLOSED",
)
"""Reasons that the client itself gives; the daemon never sends them."""


class StrongroomError(Exception):
    """A refusal or failure with a stable reason.

    Attributes:
        reason: a name of the closed list, such as `KEY_DISABLED`.
        message: what went wrong, for people; never quotes input.
        field: dotted name of the request field at fault, or empty.
        retry_after: seconds after which the same call may succeed, or None where waiting does not help.
        request_id: the daemon's id of the call, for its logs and audit; empty if it never got there.
        code: the gRPC status name, such as `FAILED_PRECONDITION`; empty for errors found by the client.
        violations: (subject, description) pairs of a quota or precondition that refused the call.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str = "",
        retry_after: float | None = None,
        request_id: str = "",
        code: str = "",
        violations: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.reason = reason
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.request_id = request_id
        self.code = code
        self.violations = violations
        super().__init__(f"{reason}: {field + ': ' if field else ''}{message}")


class CallerError(StrongroomError):
    """The caller must change something: the call, its arguments, or the key it names."""


class AccessDenied(CallerError):  # noqa: N818 - the name of a refusal
    """The key does not exist, or the caller may not do this with it; the daemon does not say which."""


class InvalidRequest(CallerError):  # noqa: N818
    """An argument is not allowed, too large, or asks for what the key or token cannot do."""


class NotGenuine(CallerError):  # noqa: N818
    """A ciphertext, signature or MAC is not what it should be. Trust nothing about it."""


class KeyNotUsable(CallerError):  # noqa: N818
    """The key's state forbids this: disabled, pending deletion, or still being made."""


class NotFound(CallerError):  # noqa: N818
    """Nothing has this name (only for what the caller may know of)."""


class Conflict(CallerError):  # noqa: N818
    """Someone else came first: the name is taken, the etag is old, or the request_id was used before."""


class Throttled(CallerError):  # noqa: N818
    """The request quota is used up; `retry_after` is the exact wait, if the daemon named one."""


class DryRunSucceeded(CallerError):  # noqa: N818
    """Every check passed and nothing was done, because `dry_run` was set."""


class DeadlineExceeded(StrongroomError):  # noqa: N818
    """The deadline passed. A change may have been made: repeat it with its request_id to learn."""


class OperatorError(StrongroomError):
    """The people who run the daemon (or this client's configuration) must act; the call was in order."""


class Unavailable(OperatorError):  # noqa: N818
    """The daemon, its HSM, store or audit log cannot serve now; waiting helps."""


class IntegrityError(OperatorError):
    """Bytes were damaged: on the way, in the daemon's store, or in an encrypted file."""


class ConfigurationError(OperatorError):
    """The client's settings, profile or certificate files are not usable."""


class InternalError(StrongroomError):
    """The daemon failed; `request_id` finds the details in its log."""


_BY_REASON: Final[dict[str, type[StrongroomError]]] = {
    "ACCESS_DENIED": AccessDenied,
    "UNAUTHENTICATED_PEER": AccessDenied,
    "INVALID_FIELD": InvalidRequest,
    "FIELD_TOO_LARGE": InvalidRequest,
    "UNKNOWN_ENUM": InvalidRequest,
    "INVALID_CIPHERTEXT": NotGenuine,
    "INVALID_SIGNATURE": NotGenuine,
    "INVALID_MAC": NotGenuine,
    "CHECKSUM_MISMATCH": IntegrityError,
    "KEY_MISMATCH": InvalidRequest,
    "INVALID_KEY_USAGE": InvalidRequest,
    "UNSUPPORTED_ALGORITHM": InvalidRequest,
    "UNSUPPORTED_BY_TOKEN": InvalidRequest,
    "KEY_DISABLED": KeyNotUsable,
    "KEY_EXHAUSTED": KeyNotUsable,
    "KEY_PENDING_DELETION": KeyNotUsable,
    "KEY_PENDING_IMPORT": KeyNotUsable,
    "INVALID_IMPORT_TOKEN": InvalidRequest,
    "EXPIRED_IMPORT_TOKEN": InvalidRequest,
    "INCORRECT_KEY_MATERIAL": InvalidRequest,
    "INVALID_KEY_STATE": KeyNotUsable,
    "KEY_UNAVAILABLE": Unavailable,
    "SERVICE_MANAGED_KEY": InvalidRequest,
    "ALREADY_EXISTS": Conflict,
    "NOT_FOUND": NotFound,
    "KEY_NOT_FOUND": NotFound,
    "BLOCKED": InvalidRequest,
    "MALFORMED_POLICY": InvalidRequest,
    "POLICY_LOCKOUT": InvalidRequest,
    "ETAG_MISMATCH": Conflict,
    "REQUEST_ID_REUSED": Conflict,
    "REQUEST_ANSWERED": Conflict,
    "APPROVAL_REQUIRED": InvalidRequest,
    "APPROVAL_MISMATCH": InvalidRequest,
    "APPROVAL_CLOSED": Conflict,
    "NOT_EXPORTABLE": InvalidRequest,
    "ROTATION_CONFLICT": Conflict,
    "LIMIT_EXCEEDED": InvalidRequest,
    "QUOTA_EXCEEDED": Throttled,
    "INVALID_PAGE_TOKEN": InvalidRequest,
    "INVALID_GRANT_TOKEN": InvalidRequest,
    "DRY_RUN_SUCCEEDED": DryRunSucceeded,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "OVERLOADED": Unavailable,
    "HSM_UNAVAILABLE": Unavailable,
    "STORE_UNAVAILABLE": Unavailable,
    "AUDIT_UNAVAILABLE": Unavailable,
    "INTEGRITY_FAILURE": IntegrityError,
    "CONFIGURATION": InternalError,
    "INTERNAL": InternalError,
    "CONNECTION_FAILED": Unavailable,
    "UNSUPPORTED_BY_DAEMON": OperatorError,
    "REPLY_DAMAGED": IntegrityError,
    "CLIENT_CONFIGURATION": ConfigurationError,
    "FILE_DAMAGED": IntegrityError,
    "FILE_PROBLEM": CallerError,
    "CLOSED": CallerError,
}

KNOWN_REASONS: Final = tuple(_BY_REASON)
"""Every reason that this client knows, the daemon's first, then its own."""


def class_of(reason: str) -> type[StrongroomError]:
    """Say which class an error of this reason has; one from a newer daemon is a plain StrongroomError."""
    return _BY_REASON.get(reason, StrongroomError)


def error(
    reason: str,
    message: str,
    *,
    field: str = "",
    retry_after: float | None = None,
    request_id: str = "",
    code: str = "",
    violations: tuple[tuple[str, str], ...] = (),
) -> StrongroomError:
    """Make the error of the reason's own class."""
    return class_of(reason)(
        reason,
        message,
        field=field,
        retry_after=retry_after,
        request_id=request_id,
        code=code,
        violations=violations,
    )


def damaged(message: str, field: str = "") -> IntegrityError:
    """Say that an answer was damaged on its way, or is not the answer to the question."""
    return IntegrityError("REPLY_DAMAGED", message, field=field)


def invalid(field: str, message: str) -> InvalidRequest:
    """Refuse an argument before it is sent; the message states the rule, not the value."""
    return InvalidRequest("INVALID_FIELD", message, field=field)


def misconfigured(message: str, field: str = "") -> ConfigurationError:
    """Refuse a setting of the client."""
    return ConfigurationError("CLIENT_CONFIGURATION", message, field=field)
