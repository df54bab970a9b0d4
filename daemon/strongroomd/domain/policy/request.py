"""What is asked of policies, and what they answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from strongroomd.domain.actions import Action

if TYPE_CHECKING:
    from strongroomd.domain.grants import NewGrant

Value = str | int | float | bool | tuple[str, ...]
"""A condition key's value: dates are seconds since the epoch, several values are a tuple of texts."""


class Context(Protocol):
    """The circumstances of a request, by condition key."""

    def get(self, name: str, /) -> Value | None:
        """Give a key's value, or None where the request has none. Names are in lower case (keys.py)."""
        ...


NO_CONTEXT: Final[Mapping[str, Value]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """Who asks.

    Attributes:
        arn: of the user, service or root; of a session, that of its role.
        account: 12 digits.
        session: `arn:aws:sts::<account>:assumed-role/NAME/SESSION` when a role is assumed, else empty.
    """

    arn: str
    account: str
    session: str = ""

    @property
    def name(self) -> str:
        """What tells this subject from every other."""
        return self.session or self.arn

    @property
    def names(self) -> frozenset[str]:
        """The ARNs by which a policy may name the subject itself: a session is its role, too."""
        return frozenset((self.arn, self.session)) if self.session else frozenset((self.arn,))

    @property
    def root(self) -> str:
        """The ARN of the subject's account."""
        return f"arn:aws:iam::{self.account}:root"

    @property
    def is_root(self) -> bool:
        """Whether the subject is its account's root."""
        return self.arn == self.root


@dataclass(frozen=True, slots=True)
class Resource:
    """What the action is done to: a key, an alias, or a role that is to be assumed."""

    arn: str
    account: str


@dataclass(slots=True)
class Request:
    """One request, as evaluation sees it.

    Attributes:
        resource: None for actions without one, such as CreateKey.
        context: the circumstances, asked only where a condition or a policy variable needs them.
        encryption_context: the caller's pairs, for the constraints of grants.
        new_grant: what CreateGrant is to make; a parent grant allows only what is as strict as itself.
    """

    action: Action
    subject: Subject
    resource: Resource | None = None
    context: Context = field(default_factory=lambda: NO_CONTEXT)
    encryption_context: Mapping[str, str] = field(default_factory=dict)
    new_grant: "NewGrant | None" = None


class Basis(StrEnum):
    """Why a request was allowed or denied; stable, for machines."""

    KEY_POLICY_ALLOW = "key-policy-allow"
    IDENTITY_POLICY_ALLOW = "identity-policy-allow"
    BOTH_POLICIES_ALLOW = "both-policies-allow"
    ROOT_ALLOW = "root-allow"
    GRANT_ALLOW = "grant-allow"
    CONFIGURATION_ALLOW = "configuration-allow"
    KEY_POLICY_DENY = "key-policy-deny"
    IDENTITY_POLICY_DENY = "identity-policy-deny"
    GUARD_RAIL_DENY = "guard-rail-deny"
    GUARD_RAIL_SILENT = "guard-rail-silent"
    NOT_DELEGATED = "not-delegated"
    NO_IDENTITY_POLICY = "no-identity-policy"
    DEFAULT_DENY = "default-deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision and its ground.

    Attributes:
        allowed: whether the caller may.
        ground: the Sid or position of the deciding statement, a grant's id, or why there is none.
        basis: the rule that decided.
        policy: the name of the policy that the statement is in, or empty for the key policy.
    """

    allowed: bool
    ground: str
    basis: Basis
    policy: str = ""
