"""Which event a change of a record is: one table for each kind of record, total over states and fields.

The ledger asks this for every record that it writes, so that no use case can change anything silently. Those
of callers are in `callerevents`; a test lists the fields whose change alone is no event.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from strongroomd.domain import callerevents, requestevents
from strongroomd.domain.actions import Action
from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.quotarequests import QuotaRequestRecord
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    GrantRecord,
    KeyRecord,
    KeyState,
    LimitRecord,
    LimitScope,
    Record,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.xks import happenings as keystoreevents

Name = Callable[[str], str]
"""Spells the ARN of a key id."""

_S = KeyState
STATE_CHANGES: Final[dict[tuple[KeyState | None, KeyState], EventType]] = {
    (None, _S.ENABLED): EventType.KEY_CREATED,
    (_S.CREATING, _S.ENABLED): EventType.KEY_CREATED,
    (_S.ENABLED, _S.DISABLED): EventType.KEY_DISABLED,
    (_S.DISABLED, _S.ENABLED): EventType.KEY_ENABLED,
    (_S.ENABLED, _S.PENDING_DELETION): EventType.KEY_DELETION_SCHEDULED,
    (_S.DISABLED, _S.PENDING_DELETION): EventType.KEY_DELETION_SCHEDULED,
    (_S.UNAVAILABLE, _S.PENDING_DELETION): EventType.KEY_DELETION_SCHEDULED,
    (_S.PENDING_DELETION, _S.DISABLED): EventType.KEY_DELETION_CANCELLED,
    (_S.PENDING_DELETION, _S.DESTROYED): EventType.KEY_DESTROYED,
}
"""States before and after. What is not here happens to keys of which nobody was told yet."""

_ENDING: Final = frozenset({_S.PENDING_DELETION, _S.DESTROYED})
_FIELD_CHANGES: Final[dict[str, EventType]] = {
    "policy": EventType.KEY_POLICY_CHANGED,
    "description": EventType.KEY_DESCRIPTION_CHANGED,
    "tags": EventType.KEY_TAGS_CHANGED,
    "current_version": EventType.KEY_ROTATED,
}

VERSION_CHANGES: Final[dict[tuple[VersionState, VersionState], EventType]] = {
    (VersionState.ACTIVE, VersionState.MISSING): EventType.KEY_MATERIAL_MISSING,
    (VersionState.MISSING, VersionState.ACTIVE): EventType.KEY_MATERIAL_FOUND,
}

_GRANT_ENDS: Final[dict[str, EventType]] = {
    Action.RETIRE_GRANT: EventType.GRANT_RETIRED,
    Action.REVOKE_GRANT: EventType.GRANT_REVOKED,
}
"""How a grant ended, by what ended it. Grants of a destroyed key go later and in silence: its end says it."""


def happenings(before: Record | None, after: Record | None, name: Name, action: str = "") -> list[Draft]:
    """Say what the change of one record means.

    Args:
        before: the record before, None for a new one.
        after: the record after, None for one that was removed.
        name: spells ARNs of keys.
        action: what the change was made for, empty where the daemon made it by itself.
    """
    match before or after:
        case KeyRecord():
            return list(_of_key(before, after, name))
        case VersionRecord():
            return list(_of_version(before, after, name))
        case AliasRecord():
            return list(_of_alias(before, after, name))
        case LimitRecord() | QuotaRequestRecord():
            return _of_quota(before, after, name)
        case GrantRecord():
            return list(_of_grant(before, after, name, action))
    return callerevents.happenings(before, after) or keystoreevents.happenings(before, after)


def _of_key(before: Any, after: Any, name: Name) -> Iterator[Draft]:  # noqa: ANN401 - a key or None
    subject = name(after.key_id)
    kind = STATE_CHANGES.get((before.state if before else None, after.state))
    if kind is not None:
        yield Draft(kind, subject, _state_facts(kind, before, after))
    if before is None or before.state is KeyState.CREATING:
        return
    for field, event_type in _FIELD_CHANGES.items():
        if getattr(before, field) != getattr(after, field):
            yield Draft(event_type, subject, _field_facts(event_type, after))


def _state_facts(kind: EventType, before: KeyRecord | None, after: KeyRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": after.state.value, "account": after.account}
    if kind is EventType.KEY_CREATED:
        return facts | {
            "spec": after.spec.value,
            "usage": after.usage.value,
            "custody": after.mode.value,
            "exportable": after.exportable,
            "manager": after.manager.value,
        }
    if kind is EventType.KEY_DELETION_SCHEDULED:
        facts["deletion_at"] = after.deletion_at
    if after.mode is CustodyMode.ADOPTED and after.state in _ENDING:
        facts["object_stays_in_token"] = True
    return facts | {"previous_state": before.state.value if before else ""}


def _field_facts(kind: EventType, after: KeyRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": after.state.value, "account": after.account}
    match kind:
        case EventType.KEY_ROTATED:
            facts["version"] = after.current_version
        case EventType.KEY_TAGS_CHANGED:
            facts["tag_keys"] = [key for key, _ in after.tags]
    return facts


def _of_version(before: Any, after: Any, name: Name) -> Iterator[Draft]:  # noqa: ANN401 - a version or None
    kind = VERSION_CHANGES.get((before.state, after.state)) if before and after else None
    if kind is not None:
        yield Draft(kind, name(after.key_id), {"version": after.version})


def _of_alias(before: Any, after: Any, name: Name) -> Iterator[Draft]:  # noqa: ANN401 - an alias or None
    alias = before or after
    facts = {"alias": alias.name, "account": alias.account}
    if after is None:
        yield Draft(EventType.ALIAS_DELETED, name(before.key_id), facts)
    elif before is None:
        yield Draft(EventType.ALIAS_CREATED, name(after.key_id), facts)
    elif before.key_id != after.key_id:
        facts["previous_key"] = name(before.key_id)
        yield Draft(EventType.ALIAS_UPDATED, name(after.key_id), facts)


def _of_quota(before: Any, after: Any, name: Name) -> list[Draft]:  # noqa: ANN401 - a limit, a request, or None
    of = before or after
    subject = name(of.subject) if of.scope is LimitScope.KEY else f"limit/{of.scope}/{of.subject}"
    if isinstance(of, QuotaRequestRecord):
        return requestevents.happenings(before, after, subject)
    return [_of_limit(before, after, subject)]


def _of_limit(before: Any, after: Any, subject: str) -> Draft:  # noqa: ANN401 - a limit or None
    limit = before or after
    facts = {"scope": limit.scope.value, "subject": limit.subject}
    if after is None:
        return Draft(EventType.LIMIT_DELETED, subject, facts)
    return Draft(
        EventType.LIMIT_CHANGED, subject, facts | {"per_second": after.per_second, "burst": after.burst}
    )


def _of_grant(before: Any, after: Any, name: Name, action: str) -> Iterator[Draft]:  # noqa: ANN401 - a grant or None
    grant = before or after
    kind = EventType.GRANT_CREATED if before is None else _GRANT_ENDS.get(action)
    if kind is not None and (before is None or after is None):
        yield Draft(kind, name(grant.key_id), _grant_facts(grant))


def _grant_facts(grant: GrantRecord) -> dict[str, Any]:
    """Tell of a grant: of the encryption context that it asks for only the keys, of its name nothing."""
    return {
        "account": grant.account,
        "grant_id": grant.grant_id,
        "grantee": grant.grantee,
        "retiring": grant.retiring,
        "issuer": grant.issuer,
        "operations": grant.operations.split(","),
        "constraint": grant.constraint_type,
        "context_keys": [key for key, _ in grant.context],
        "source_constrained": bool(grant.source_arn or grant.source_account),
        "parent": grant.parent,
    }


def key_of(record: Record) -> str:
    """Give the id of the key that a record is about; empty if it is about none."""
    match record:
        case KeyRecord() | VersionRecord() | AliasRecord() | GrantRecord():
            return record.key_id
        case LimitRecord(scope=LimitScope.KEY) | QuotaRequestRecord(scope=LimitScope.KEY):
            return record.subject
    return ""
