"""Which event a change of an account, a principal, or what a principal proves itself by is.

The subject of all of them is the principal's ARN, of an account that of its root: so who may call, and by
what, is told in order. Facts are names and states; never a policy's text, a tag's value, a description or a
secret, not even a sealed one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from strongroomd.domain.accounts import (
    AccessKeyRecord,
    AccountRecord,
    IdentityRecord,
    PrincipalRecord,
    PrincipalState,
)
from strongroomd.domain.addresses import AddressesRecord
from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.protection import Record

_P = PrincipalState
PRINCIPAL_STATES: Final[dict[tuple[PrincipalState, PrincipalState], EventType]] = {
    (_P.ENABLED, _P.DISABLED): EventType.PRINCIPAL_DISABLED,
    (_P.DISABLED, _P.ENABLED): EventType.PRINCIPAL_ENABLED,
}
"""States before and after."""

_PRINCIPAL_FIELDS: Final[dict[str, EventType]] = {
    "trusted": EventType.PRINCIPAL_TRUSTED_CHANGED,
    "description": EventType.PRINCIPAL_DESCRIPTION_CHANGED,
    "tags": EventType.PRINCIPAL_TAGS_CHANGED,
    "policies": EventType.PRINCIPAL_POLICIES_CHANGED,
    "trust_policy": EventType.PRINCIPAL_TRUST_POLICY_CHANGED,
    "max_session_seconds": EventType.PRINCIPAL_TRUST_POLICY_CHANGED,
    "session_epoch": EventType.PRINCIPAL_SESSIONS_REVOKED,
}

_ACCOUNT_FIELDS: Final[dict[str, EventType]] = {
    "description": EventType.ACCOUNT_DESCRIPTION_CHANGED,
    "guard_rails": EventType.ACCOUNT_GUARD_RAILS_CHANGED,
}

ACCESS_KEY_SWITCHES: Final[dict[bool, EventType]] = {
    True: EventType.ACCESS_KEY_ENABLED,
    False: EventType.ACCESS_KEY_DISABLED,
}
"""What an access key became, by whether it works now."""


def happenings(before: Record | None, after: Record | None) -> list[Draft]:
    """Say what the change of one record about callers means; nothing for a record about anything else."""
    match before or after:
        case AccountRecord():
            return list(_of_account(before, after))
        case PrincipalRecord():
            return list(_of_principal(before, after))
        case IdentityRecord():
            return list(_of_identity(before, after))
        case AccessKeyRecord():
            return list(_of_access_key(before, after))
        case AddressesRecord():
            return list(_of_addresses(before, after))
    return []


def _changed(before: object, after: object, table: Mapping[str, EventType]) -> list[EventType]:
    """List what the fields that differ mean, each meaning once."""
    return list(
        dict.fromkeys(
            kind for field, kind in table.items() if getattr(before, field) != getattr(after, field)
        )
    )


def _of_account(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - an account or None
    account = (before or after).account
    subject, facts = f"arn:aws:iam::{account}:root", {"account": account}
    if before is None:
        yield Draft(EventType.ACCOUNT_CREATED, subject, facts)
    elif after is None:
        yield Draft(EventType.ACCOUNT_CLOSED, subject, facts)
    else:
        for kind in _changed(before, after, _ACCOUNT_FIELDS):
            yield Draft(kind, subject, facts | _account_facts(kind, after))


def _account_facts(kind: EventType, after: AccountRecord) -> dict[str, Any]:
    if kind is EventType.ACCOUNT_GUARD_RAILS_CHANGED:
        return {"guard_rails": _names(after.guard_rails)}
    return {}


def _names(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [name for name, _ in pairs]


def _of_principal(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a principal or None
    subject, facts = (before or after).arn, _principal_facts(after or before)
    if before is None:
        yield Draft(EventType.PRINCIPAL_CREATED, subject, facts | {"trusted": after.trusted})
        return
    if after is None:
        yield Draft(EventType.PRINCIPAL_DELETED, subject, facts)
        return
    kind = PRINCIPAL_STATES.get((before.state, after.state))
    if kind is not None:
        yield Draft(kind, subject, facts)
    for kind in _changed(before, after, _PRINCIPAL_FIELDS):
        yield Draft(kind, subject, facts | _field_facts(kind, after))


def _principal_facts(principal: PrincipalRecord) -> dict[str, Any]:
    return {
        "account": principal.account,
        "kind": principal.kind.value,
        "state": principal.state.value,
    }


def _field_facts(kind: EventType, after: PrincipalRecord) -> dict[str, Any]:
    match kind:
        case EventType.PRINCIPAL_TRUSTED_CHANGED:
            return {"trusted": after.trusted}
        case EventType.PRINCIPAL_TAGS_CHANGED:
            return {"tag_keys": _names(after.tags)}
        case EventType.PRINCIPAL_POLICIES_CHANGED:
            return {"policies": _names(after.policies)}
        case EventType.PRINCIPAL_TRUST_POLICY_CHANGED:
            return {"max_session_seconds": after.max_session_seconds}
        case EventType.PRINCIPAL_SESSIONS_REVOKED:
            return {"session_epoch": after.session_epoch}
    return {}


def _of_identity(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - an identity or None
    identity: IdentityRecord = before or after
    facts = {
        "account": identity.account,
        "identity_kind": identity.identity_kind.value,
        "value": identity.value,
        "issuer": identity.issuer,
    }
    if before is None:
        yield Draft(EventType.IDENTITY_ADDED, identity.arn, facts)
    elif after is None:
        yield Draft(EventType.IDENTITY_REMOVED, identity.arn, facts)


def _of_access_key(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - an access key or None
    key: AccessKeyRecord = after or before
    facts = {"account": key.account, "access_key": key.access_key_id, "active": key.active}
    if before is None:
        yield Draft(EventType.ACCESS_KEY_CREATED, key.arn, facts)
    elif after is None:
        yield Draft(EventType.ACCESS_KEY_DELETED, key.arn, facts)
    elif before.active != after.active:
        yield Draft(ACCESS_KEY_SWITCHES[after.active], key.arn, facts)


def _of_addresses(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a key's addresses or None
    """Tell of each address that is new; that a key's addresses go with it, the key's own end says."""
    known = {} if before is None else dict(before.addresses)
    new = [] if after is None else [each for each, _ in after.addresses if each not in known]
    for number, address in enumerate(new):
        facts = {
            "account": after.account,
            "access_key": after.access_key_id,
            "address": address,
            "first": before is None and number == 0,
        }
        yield Draft(EventType.ACCESS_KEY_USED_FROM_NEW_ADDRESS, after.arn, facts)
