"""Who calls: principals under AWS's ARNs, and the caller that every use case requires."""

import re
from dataclasses import dataclass

from strongroomd.domain.errors import invalid

_PRINCIPAL = re.compile(
    r"arn:aws:iam::([0-9]{12}):(root|(?:user|role|service)/[A-Za-z0-9+=,.@_/-]{1,128})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Principal:
    """A known identity.

    Attributes:
        arn: `arn:aws:iam::<account>:root|user/…|role/…|service/…`.
        account: 12 digits, taken from the ARN.
        administrator: may make keyless calls (create, list, quotas, audit) as the configuration says.
    """

    arn: str
    account: str
    administrator: bool = False


def parse_principal(arn: str, field: str, *, administrator: bool = False) -> Principal:
    """Parse a principal's ARN.

    Raises:
        StrongroomError: INVALID_FIELD.
    """
    match = _PRINCIPAL.fullmatch(arn)
    if match is None:
        raise invalid(field, "must be arn:aws:iam::<account>:root, user/NAME, role/NAME or service/NAME")
    return Principal(arn, match[1], administrator)


def is_principal(arn: str) -> bool:
    """Say whether a text is the ARN of a principal."""
    return _PRINCIPAL.fullmatch(arn) is not None


@dataclass(slots=True)
class Caller:
    """One call's identity and budget; made by a door, required by every use case.

    Attributes:
        principal: from the peer's certificate or signature, never from the request.
        request_id: correlates replies, logs and audit records of this call.
        deadline: `time.monotonic()` seconds after which the answer is worthless.
        source: the peer's address, for the audit log.
        door: which door it came through, e.g. `grpc`.
        passed: whether the call reached the gate, which writes down how it ends.
        grant_tokens: what the request brings to make sure that its grants are known here.
    """

    principal: Principal
    request_id: str
    deadline: float
    source: str = ""
    door: str = "grpc"
    passed: bool = False
    grant_tokens: tuple[str, ...] = ()
