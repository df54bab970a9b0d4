"""Which event a change of a record is: one table for each kind of record, total over states and fields.

The ledger asks this for every record that it writes, so that no use case can change anything silently. Those
of callers are in `callerevents`; a test lists the fields whose change alone is no event.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from strongroomd.domain import approvalevents, callerevents, houseevents, replicaevents, requestevents
from strongroomd.domain.actions import Action
from strongroomd.domain.destruction import DeletionRecord
from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
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
from strongroomd.domain.replication import CopyRecord, ReplicaRecord
from strongroomd.domain.rotations import ScheduleRecord
from strongroomd.domain.xks import happenings as keystoreevents

Name = Callable[[str], str]
"""Spells the ARN of a key id."""

_S = KeyState
STATE_CHANGES: Final[dict[tuple[KeyState | None, KeyState], EventType]] = {
    (None, _S.ENABLED): EventType.KEY_CREATED,
    (_S.CREATING, _S.ENABLED): EventType.KEY_CREATED,
    (None, _S.PENDING_IMPORT): EventType.KEY_CREATED,
    (_S.PENDING_IMPORT, _S.ENABLED): EventType.KEY_ENABLED,
    (_S.ENABLED, _S.PENDING_IMPORT): EventType.KEY_PENDING_IMPORT,
    (_S.DISABLED, _S.PENDING_IMPORT): EventType.KEY_PENDING_IMPORT,
    (_S.ENABLED, _S.DISABLED): EventType.KEY_DISABLED,
    (_S.DISABLED, _S.ENABLED): EventType.KEY_ENABLED,
    (_S.ENABLED, _S.PENDING_DELETION): EventType.KEY_DELETION_SCHEDULED,
    (_S.DISABLED, _S.PENDING_DELETION): EventType.KEY_DELETION_SCHEDULED,
    (_S.UNAVAILABLE, _S.PENDING_DELETION): EventType.KEY_DELETION_SCHEDULED,
    (_S.PENDING_IMPORT, _S.PENDING_DELETION): EventType.KEY_DELETION_SCHEDULED,
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
    "primary_region": EventType.KEY_PRIMARY_MOVED,
}

VERSION_CHANGES: Final[dict[tuple[VersionState, VersionState], EventType]] = {
    (VersionState.ACTIVE, VersionState.MISSING): EventType.KEY_MATERIAL_MISSING,
    (VersionState.MISSING, VersionState.ACTIVE): EventType.KEY_MATERIAL_FOUND,
}

_MATERIAL_ENDS: Final[dict[str, EventType]] = {Action.DELETE_KEY_MATERIAL: EventType.KEY_MATERIAL_DELETED}
"""How imported material went, by what took it; what nobody asked for is its expiry."""

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
    record = before or after
    of_kind = _OF_KIND.get(type(record))
    if of_kind is not None:
        return list(of_kind(before, after, name))
    if isinstance(record, GrantRecord | MaterialRecord):
        told = _of_grant if isinstance(record, GrantRecord) else _of_material
        return list(told(before, after, name, action))
    return (
        callerevents.happenings(before, after)
        or keystoreevents.happenings(before, after)
        or houseevents.happenings(before, after)
        or approvalevents.happenings(before, after)
        or replicaevents.happenings(before, after, name)
    )


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
        case EventType.KEY_PRIMARY_MOVED:
            facts |= {"primary_region": after.primary_region, "term": after.term}
        case EventType.KEY_TAGS_CHANGED:
            facts["tag_keys"] = [key for key, _ in after.tags]
    return facts


def _of_version(before: Any, after: Any, name: Name) -> Iterator[Draft]:  # noqa: ANN401 - a version or None
    kind = VERSION_CHANGES.get((before.state, after.state)) if before and after else None
    if kind is not None:
        yield Draft(kind, name(after.key_id), {"version": after.version})


def _of_schedule(before: Any, after: Any, name: Name) -> Iterator[Draft]:  # noqa: ANN401 - a schedule or None
    """Tell of what was set; that a rotation moved the next date is told by the rotation itself."""
    if after is None or (before and before.period_days == after.period_days):
        return
    kind = EventType.KEY_ROTATION_ENABLED if after.enabled else EventType.KEY_ROTATION_DISABLED
    facts = {"period_days": after.period_days, "next_rotation_at": after.next_at} if after.enabled else {}
    yield Draft(kind, name(after.key_id), facts)


def _of_deletion(before: Any, after: Any, name: Name) -> Iterator[Draft]:  # noqa: ANN401 - a deletion or None
    """Tell that the certificate is there; the rest is told by the key's own changes."""
    if after and after.signer and not (before and before.signer):
        facts = {"account": after.account, "signer": after.signer}
        yield Draft(EventType.KEY_DESTRUCTION_CERTIFIED, name(after.key_id), facts)


def _of_material(before: Any, after: Any, name: Name, action: str) -> Iterator[Draft]:  # noqa: ANN401 - material or None
    """Tell of material that came in, or in again, and that went, by whose wish."""
    if after is None:
        return
    if before is None or before.imported_at != after.imported_at:
        yield Draft(EventType.KEY_MATERIAL_IMPORTED, name(after.key_id), _material_facts(after))
    elif before.removed_at != after.removed_at:
        kind = _MATERIAL_ENDS.get(action, EventType.KEY_MATERIAL_EXPIRED)
        yield Draft(kind, name(after.key_id), _material_facts(after))


def _material_facts(after: MaterialRecord) -> dict[str, Any]:
    return {
        "account": after.account,
        "version": after.version,
        "level": after.level.value,
        "wrapping_algorithm": after.algorithm.value,
        "expires_at": after.expires_at,
    }


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


_OF_KIND: Final[dict[type[Any], Callable[[Any, Any, Name], Iterable[Draft]]]] = {
    KeyRecord: _of_key,
    VersionRecord: _of_version,
    AliasRecord: _of_alias,
    ScheduleRecord: _of_schedule,
    DeletionRecord: _of_deletion,
    LimitRecord: _of_quota,
    QuotaRequestRecord: _of_quota,
}


def key_of(record: Record) -> str:
    """Give the id of the key that a record is about; empty if it is about none."""
    match record:
        case (
            KeyRecord()
            | VersionRecord()
            | AliasRecord()
            | GrantRecord()
            | ScheduleRecord()
            | DeletionRecord()
            | MaterialRecord()
            | WrappingPairRecord()
            | CopyRecord()
            | ReplicaRecord()
        ):
            return record.key_id
        case LimitRecord(scope=LimitScope.KEY) | QuotaRequestRecord(scope=LimitScope.KEY):
            return record.subject
    return ""
