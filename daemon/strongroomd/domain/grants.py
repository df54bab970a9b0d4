"""Grants: what a key lends to one principal, under constraints. A grant allows and never denies.

What may be granted follows the key's usage (`GRANTABLE`). Constraints on the encryption context bind the
operations that have one; a constraint on the source binds every operation. Whoever was granted CreateGrant
may pass on at most what it holds: a child grant is equal to its parent or stricter (KMS developer guide,
grants).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage
from strongroomd.domain.errors import invalid, too_large
from strongroomd.domain.limits import MAX_GRANT_NAME, MAX_GRANT_PAIRS, MAX_GRANT_VALUE
from strongroomd.domain.policy.request import Request, Value
from strongroomd.domain.principals import is_principal

_DATA_KEYS: Final = (
    Action.GENERATE_DATA_KEY,
    Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
    Action.GENERATE_DATA_KEY_PAIR,
    Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
)
_ENCRYPTION: Final = (Action.ENCRYPT, Action.DECRYPT, Action.RE_ENCRYPT_FROM, Action.RE_ENCRYPT_TO)
_ANY_KEY: Final = (Action.DESCRIBE_KEY, Action.CREATE_GRANT, Action.RETIRE_GRANT)

WITH_CONTEXT: Final = frozenset({*_ENCRYPTION, *_DATA_KEYS})
"""Operations that have an encryption context, which constraints on it bind."""

GRANTABLE: Final[dict[KeyUsage, frozenset[Action]]] = {
    KeyUsage.ENCRYPT_DECRYPT: frozenset({*_ENCRYPTION, *_ANY_KEY}),
    KeyUsage.SIGN_VERIFY: frozenset({Action.SIGN, Action.VERIFY, *_ANY_KEY}),
    KeyUsage.GENERATE_VERIFY_MAC: frozenset({Action.GENERATE_MAC, Action.VERIFY_MAC, *_ANY_KEY}),
    KeyUsage.KEY_AGREEMENT: frozenset({Action.DERIVE_SHARED_SECRET, *_ANY_KEY}),
}
"""What may be granted by the key's usage; `grantable` adds what follows from its spec."""

OPERATIONS: Final[dict[str, Action]] = {
    action.removeprefix("kms:"): action
    for action in frozenset[Action]().union(*GRANTABLE.values(), _DATA_KEYS, {Action.GET_PUBLIC_KEY})
}
"""Grant operations by the names that AWS gives them, case and all."""


class ConstraintType(StrEnum):
    """How a grant constrains the encryption context; the values of kms:GrantConstraintType."""

    EQUALS = "EncryptionContextEquals"
    SUBSET = "EncryptionContextSubset"


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a request must be like for a grant to permit it.

    Attributes:
        equals: the whole encryption context, as sorted pairs; None if it is not constrained so.
        subset: pairs that the encryption context must have among others; None likewise.
        source_arn: what aws:SourceArn must be; empty for anything.
        source_account: what aws:SourceAccount must be; empty for anything.
    """

    equals: tuple[tuple[str, str], ...] | None = None
    subset: tuple[tuple[str, str], ...] | None = None
    source_arn: str = ""
    source_account: str = ""

    @property
    def type(self) -> ConstraintType | None:
        """How the encryption context is constrained, if it is."""
        if self.equals is not None:
            return ConstraintType.EQUALS
        return ConstraintType.SUBSET if self.subset is not None else None


UNCONSTRAINED: Final = Constraints()


@dataclass(frozen=True, slots=True)
class NewGrant:
    """What a grant lends to whom; what CreateGrant is asked to make.

    Attributes:
        grantee: the ARN of a principal; naming a role lends to its sessions.
        retiring: the ARN of a principal that may retire the grant, or empty.
        name: makes CreateGrant idempotent, or empty.
    """

    grantee: str
    operations: frozenset[Action]
    constraints: Constraints = UNCONSTRAINED
    retiring: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant of a key.

    Attributes:
        grant_id: unique, and what decisions name as their ground.
        issuer: the ARN of who made it.
        parent: the id of the grant that allowed to make it, or empty.
    """

    grant_id: str
    key_id: str
    issuer: str
    lent: NewGrant
    parent: str = ""


def grantable(spec: KeySpec, usage: KeyUsage) -> frozenset[Action]:
    """List what may be granted of a key."""
    more: tuple[Action, ...] = (Action.GET_PUBLIC_KEY,)
    if SPECS[spec].family in {KeyFamily.AES, KeyFamily.HMAC}:
        more = _DATA_KEYS if usage is KeyUsage.ENCRYPT_DECRYPT else ()
    return GRANTABLE[usage] | frozenset(more)


def parse_operations(names: tuple[str, ...], field: str = "operations") -> frozenset[Action]:
    """Read grant operations, which AWS compares with regard to case.

    Raises:
        StrongroomError: INVALID_FIELD.
    """
    if any(name not in OPERATIONS for name in names):
        raise invalid(field, "must name grant operations, such as Decrypt")
    return frozenset(OPERATIONS[name] for name in names)


def parse_constraints(
    equals: Mapping[str, str] | None = None,
    subset: Mapping[str, str] | None = None,
    *,
    source_arn: str = "",
    source_account: str = "",
    field: str = "constraints",
) -> Constraints:
    """Read constraints.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE naming the constraint.
    """
    if equals and subset:
        raise invalid(field, "must not have both encryption_context_equals and encryption_context_subset")
    return Constraints(
        _pairs(equals, f"{field}.encryption_context_equals"),
        _pairs(subset, f"{field}.encryption_context_subset"),
        source_arn,
        source_account,
    )


def _pairs(pairs: Mapping[str, str] | None, field: str) -> tuple[tuple[str, str], ...] | None:
    if not pairs:
        return None  # as AWS: a constraint without pairs is none
    if len(pairs) > MAX_GRANT_PAIRS:
        raise too_large(field, MAX_GRANT_PAIRS, "pairs")
    if any(len(text) > MAX_GRANT_VALUE for pair in pairs.items() for text in pair):
        raise too_large(field, MAX_GRANT_VALUE, "characters a key or value")
    if "" in pairs:
        raise invalid(field, "keys must not be empty")
    return tuple(sorted(pairs.items()))


def check(wanted: NewGrant, spec: KeySpec, usage: KeyUsage) -> NewGrant:
    """Check what a grant is to lend of a key.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE naming the field.
    """
    _check_principal(wanted.grantee, "grantee_principal")
    if wanted.retiring:
        _check_principal(wanted.retiring, "retiring_principal")
    if len(wanted.name) > MAX_GRANT_NAME:
        raise too_large("name", MAX_GRANT_NAME, "characters")
    _check_operations(wanted.operations, spec, usage)
    if wanted.constraints.type and SPECS[spec].family is not KeyFamily.AES:
        raise invalid("constraints", "must not constrain the encryption context: this key has none")
    return wanted


def _check_principal(arn: str, field: str) -> None:
    if not is_principal(arn):
        raise invalid(field, "must be arn:aws:iam::<account>:root, user/NAME, role/NAME or service/NAME")


def _check_operations(operations: frozenset[Action], spec: KeySpec, usage: KeyUsage) -> None:
    if not operations:
        raise invalid("operations", "must name at least one operation")
    if not operations <= grantable(spec, usage):
        raise invalid("operations", "must fit the key's spec and usage")
    if operations == {Action.CREATE_GRANT}:
        raise invalid("operations", "must name something to pass on besides CreateGrant")


def permits(grant: Grant, request: Request) -> bool:
    """Say whether a grant permits a request; a request to make a grant must carry it."""
    return next(failures(grant, request), None) is None


def failures(grant: Grant, request: Request) -> Iterator[str]:
    """Name what keeps a grant from permitting a request, for explanations."""
    lent = grant.lent
    if request.action not in lent.operations:
        yield "Operations"
    if lent.grantee not in request.subject.names:
        yield "Grantee"
    if request.action is Action.CREATE_GRANT and not _passes_on(lent, request.new_grant):
        yield "ChildGrant"
    if not _source_fits(lent.constraints, request):
        yield "Constraints.Source"
    if not _context_fits(lent.constraints, request):
        yield "Constraints.EncryptionContext"


def _passes_on(parent: NewGrant, child: NewGrant | None) -> bool:
    return child is not None and is_equal_or_stricter(child, parent)


def _source_fits(constraints: Constraints, request: Request) -> bool:
    arn, account = constraints.source_arn, constraints.source_account
    if arn and request.context.get("aws:sourcearn") != arn:
        return False
    return not account or request.context.get("aws:sourceaccount") == account


def _context_fits(constraints: Constraints, request: Request) -> bool:
    if request.action not in WITH_CONTEXT:
        return True
    if constraints.equals is not None:
        return dict(constraints.equals) == request.encryption_context
    return request.encryption_context.items() >= set(constraints.subset or ())


def is_equal_or_stricter(child: NewGrant, parent: NewGrant) -> bool:
    """Say whether a child grant lends at most what its parent does."""
    return (
        child.operations <= parent.operations
        and _context_is_as_strict(child.constraints, parent.constraints)
        and _same_if_set(child.constraints.source_arn, parent.constraints.source_arn)
        and _same_if_set(child.constraints.source_account, parent.constraints.source_account)
    )


def _same_if_set(child: str, parent: str) -> bool:
    return not parent or child == parent


def _context_is_as_strict(child: Constraints, parent: Constraints) -> bool:
    if parent.equals is not None:
        return child.equals == parent.equals
    named = set(child.equals or child.subset or ())
    return named >= set(parent.subset or ())


def condition_facts(wanted: NewGrant, *, for_service: bool) -> dict[str, Value | None]:
    """Give what policies may ask of a request to make a grant, by condition key in lower case.

    Args:
        wanted: the grant.
        for_service: whether a service makes it for its own resource.
    """
    kind = wanted.constraints.type
    return {
        "kms:grantoperations": tuple(sorted(a.removeprefix("kms:") for a in wanted.operations)),
        "kms:granteeprincipal": wanted.grantee,
        "kms:retiringprincipal": wanted.retiring or None,
        "kms:grantconstrainttype": kind.value if kind else None,
        "kms:grantisforawsresource": for_service,
    }


def may_retire(grant: Grant, request: Request) -> bool:
    """Say whether a caller may retire a grant: its retiring principal, its maker, its grantee if so granted.

    The root of the maker's account stands for the account; a constraint on the source binds the grantee.
    """
    lent, subject = grant.lent, request.subject
    if not subject.names.isdisjoint({lent.retiring, grant.issuer}):
        return True
    if subject.is_root and subject.account == grant.issuer.split(":")[4]:
        return True
    granted = Action.RETIRE_GRANT in lent.operations and lent.grantee in subject.names
    return granted and _source_fits(lent.constraints, request)
