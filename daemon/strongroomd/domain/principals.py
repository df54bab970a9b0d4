"""Who calls: principals under AWS's ARNs, and the caller that every use case requires."""

import re
from dataclasses import dataclass
from typing import Final

from strongroomd.domain.errors import invalid
from strongroomd.domain.names import RESERVED_ALIAS

_PRINCIPAL = re.compile(
    r"arn:aws:iam::([0-9]{12}):(root|(?:user|role|service)/[A-Za-z0-9+=,.@_/-]{1,128})", re.ASCII
)
SESSION_NAME: Final = r"[A-Za-z0-9+=,.@_-]{2,64}"
_SESSION = re.compile(
    rf"arn:aws:sts::[0-9]{{12}}:assumed-role/[A-Za-z0-9+=,.@_/-]{{1,128}}/{SESSION_NAME}", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Principal:
    """A known identity.

    Attributes:
        arn: `arn:aws:iam::<account>:root|user/…|role/…|service/…`.
        account: 12 digits, taken from the ARN.
        administrator: may make keyless calls (create, list, quotas, audit) as the configuration says.
        operator: an administrator whom the configuration lets into every account.
        trusted: a service that may say for which service and account it calls.
        tags: sorted (key, value) pairs.
    """

    arn: str
    account: str
    administrator: bool = False
    operator: bool = False
    trusted: bool = False
    tags: tuple[tuple[str, str], ...] = ()


def parse_principal(
    arn: str, field: str, *, administrator: bool = False, operator: bool = False
) -> Principal:
    """Parse a principal's ARN.

    Raises:
        StrongroomError: INVALID_FIELD.
    """
    match = _PRINCIPAL.fullmatch(arn)
    if match is None:
        raise invalid(field, "must be arn:aws:iam::<account>:root, user/NAME, role/NAME or service/NAME")
    return Principal(arn, match[1], administrator, operator)


def is_principal(arn: str) -> bool:
    """Say whether a text is the ARN of a principal."""
    return _PRINCIPAL.fullmatch(arn) is not None


def is_session(arn: str) -> bool:
    """Say whether a text is the ARN of a role session."""
    return _SESSION.fullmatch(arn) is not None


@dataclass(frozen=True, slots=True)
class RoleSession:
    """A role that a principal has assumed for a while.

    Attributes:
        role: the role's ARN.
        name: what whoever assumed it called the session.
        source: ARN of the principal that assumed it.
        certificate: SHA-256 (hex) of the certificate that it was assumed with, the only one that may use it.
        expires_at: milliseconds since the Unix epoch.
        unique_id, epoch: those of the role when it was assumed.
    """

    role: str
    name: str
    source: str
    certificate: str
    expires_at: int
    unique_id: str
    epoch: int

    @property
    def arn(self) -> str:
        """The session's ARN, `arn:aws:sts::<account>:assumed-role/NAME/SESSION`."""
        _, _, _, _, account, resource = self.role.split(":", 5)
        return f"arn:aws:sts::{account}:assumed-role/{resource.partition('/')[2]}/{self.name}"


@dataclass(frozen=True, slots=True)
class Behalf:
    """For whom a trusted service says that it calls; empty where it does not say.

    Attributes:
        via_service: the service's name, for kms:ViaService.
        caller_account: the account that it calls for, for kms:CallerAccount.
        source_principal: ARN of the principal that it calls for.
        source_arn: ARN of the resource that it calls for, for aws:SourceArn and grants that ask for it.
        source_account: the account of that resource, for aws:SourceAccount likewise.
    """

    via_service: str = ""
    caller_account: str = ""
    source_principal: str = ""
    source_arn: str = ""
    source_account: str = ""


NO_BEHALF: Final = Behalf()


@dataclass(slots=True)
class Caller:
    """One call's identity and budget; made by a door, required by every use case.

    Attributes:
        principal: from the peer's certificate or signature, or the role that it has assumed; never from the
            request.
        request_id: correlates replies, logs and audit records of this call.
        deadline: `time.monotonic()` seconds after which the answer is worthless.
        source: the peer's address, for the audit log.
        door: which door it came through, e.g. `grpc`.
        passed: whether the call reached the gate, which writes down how it ends.
        identity: what the caller proved itself by, e.g. `certificate:<SHA-256>`.
        session: the role session that the call is made in, if it is.
        behalf: for whom a trusted service calls.
        grant_tokens: what the request brings to make sure that its grants are known here.
    """

    principal: Principal
    request_id: str
    deadline: float
    source: str = ""
    door: str = "grpc"
    passed: bool = False
    identity: str = ""
    session: RoleSession | None = None
    behalf: Behalf = NO_BEHALF
    grant_tokens: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What policies call the caller: its role session, or its principal."""
        return self.principal.arn if self.session is None else self.session.arn

    def account_of(self, key_name: str) -> str:
        """Say in whose account a key's name is looked up that does not say it itself: the caller's own.

        A service has keys of its own, under `alias/aws/`, in every account that it calls for: those are
        looked up there.
        """
        asserted = self.behalf.caller_account
        return asserted if asserted and key_name.startswith(RESERVED_ALIAS) else self.principal.account

    def told(self) -> dict[str, str]:
        """Give what audit records say of the caller besides its principal."""
        facts = {"identity": self.identity} if self.identity else {}
        if self.session is not None:
            facts |= {"session": self.session.arn, "session_source": self.session.source}
        if self.behalf is not NO_BEHALF:
            facts |= {name: value for name in _BEHALF if (value := getattr(self.behalf, name))}
        return facts


_BEHALF: Final = ("via_service", "caller_account", "source_principal", "source_arn", "source_account")
