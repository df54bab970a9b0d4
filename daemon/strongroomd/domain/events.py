"""Events: what can happen, its CloudEvents 1.0 form, and patterns that pick events out.

An event says that something has happened; the audit log proves it. Events carry names, states and counts and
never key material, policies' text or other secrets.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from strongroomd.domain.errors import invalid

DAEMON: Final = "strongroom"
"""The principal of what the daemon does by itself."""


class EventType(StrEnum):
    """Every type of event; names are never reused. Those marked reserved no use case brings about yet."""

    KEY_CREATED = "strongroom.key.created"
    KEY_ENABLED = "strongroom.key.enabled"
    KEY_DISABLED = "strongroom.key.disabled"
    KEY_POLICY_CHANGED = "strongroom.key.policy_changed"
    KEY_DESCRIPTION_CHANGED = "strongroom.key.description_changed"
    KEY_TAGS_CHANGED = "strongroom.key.tags_changed"
    KEY_ROTATED = "strongroom.key.rotated"
    KEY_DELETION_SCHEDULED = "strongroom.key.deletion_scheduled"
    KEY_DELETION_CANCELLED = "strongroom.key.deletion_cancelled"
    KEY_WANTED_WHILE_PENDING_DELETION = "strongroom.key.wanted_while_pending_deletion"
    KEY_DESTROYED = "strongroom.key.destroyed"
    KEY_DESTRUCTION_CERTIFIED = "strongroom.key.destruction_certified"
    KEY_ROTATION_ENABLED = "strongroom.key.rotation_enabled"
    KEY_ROTATION_DISABLED = "strongroom.key.rotation_disabled"
    KEY_PENDING_IMPORT = "strongroom.key.pending_import"
    KEY_MATERIAL_IMPORTED = "strongroom.key.material_imported"
    KEY_MATERIAL_DELETED = "strongroom.key.material_deleted"
    KEY_MATERIAL_EXPIRED = "strongroom.key.material_expired"
    KEY_MATERIAL_MISSING = "strongroom.key.material_missing"
    KEY_MATERIAL_FOUND = "strongroom.key.material_found"
    ALIAS_CREATED = "strongroom.alias.created"
    ALIAS_UPDATED = "strongroom.alias.updated"
    ALIAS_DELETED = "strongroom.alias.deleted"
    LIMIT_CHANGED = "strongroom.limit.changed"
    LIMIT_DELETED = "strongroom.limit.deleted"
    QUOTA_EXCEEDED = "strongroom.quota.exceeded"
    QUOTA_REQUESTED = "strongroom.quota.requested"
    QUOTA_ANSWERED = "strongroom.quota.answered"
    QUOTA_REQUEST_CANCELLED = "strongroom.quota.request_cancelled"
    AUDIT_FAILURE = "strongroom.audit.failure"
    RECORD_MAC_FAILURE = "strongroom.record.mac_failure"
    COMPLIANCE_FINDING = "strongroom.compliance.finding"
    COMPLIANCE_RESOLVED = "strongroom.compliance.resolved"
    RULE_SUPPRESSED = "strongroom.rule.suppressed"
    RULE_FAILED = "strongroom.rule.failed"
    GRANT_CREATED = "strongroom.grant.created"
    GRANT_RETIRED = "strongroom.grant.retired"
    GRANT_REVOKED = "strongroom.grant.revoked"
    ACCOUNT_CREATED = "strongroom.account.created"
    ACCOUNT_DESCRIPTION_CHANGED = "strongroom.account.description_changed"  # reserved
    ACCOUNT_GUARD_RAILS_CHANGED = "strongroom.account.guard_rails_changed"
    ACCOUNT_CLOSED = "strongroom.account.closed"  # reserved
    PRINCIPAL_CREATED = "strongroom.principal.created"
    PRINCIPAL_ENABLED = "strongroom.principal.enabled"
    PRINCIPAL_DISABLED = "strongroom.principal.disabled"
    PRINCIPAL_DELETED = "strongroom.principal.deleted"
    PRINCIPAL_DESCRIPTION_CHANGED = "strongroom.principal.description_changed"  # reserved
    PRINCIPAL_TAGS_CHANGED = "strongroom.principal.tags_changed"
    PRINCIPAL_POLICIES_CHANGED = "strongroom.principal.policies_changed"
    PRINCIPAL_TRUST_POLICY_CHANGED = "strongroom.principal.trust_policy_changed"
    PRINCIPAL_TRUSTED_CHANGED = "strongroom.principal.trusted_changed"  # reserved
    PRINCIPAL_SESSIONS_REVOKED = "strongroom.principal.sessions_revoked"
    IDENTITY_ADDED = "strongroom.identity.added"
    IDENTITY_REMOVED = "strongroom.identity.removed"
    ACCESS_KEY_CREATED = "strongroom.access_key.created"
    ACCESS_KEY_ENABLED = "strongroom.access_key.enabled"
    ACCESS_KEY_DISABLED = "strongroom.access_key.disabled"
    ACCESS_KEY_DELETED = "strongroom.access_key.deleted"
    ACCESS_KEY_USED_FROM_NEW_ADDRESS = "strongroom.access_key.used_from_new_address"
    KEY_STORE_CREATED = "strongroom.key_store.created"
    KEY_STORE_CHANGED = "strongroom.key_store.changed"
    KEY_STORE_BLOCKED = "strongroom.key_store.blocked"
    KEY_STORE_UNBLOCKED = "strongroom.key_store.unblocked"
    KEY_STORE_DELETED = "strongroom.key_store.deleted"
    KEY_STORE_CREDENTIAL_CREATED = "strongroom.key_store.credential_created"
    KEY_STORE_CREDENTIAL_DELETED = "strongroom.key_store.credential_deleted"
    EXTERNAL_KEY_ADDED = "strongroom.external_key.added"
    EXTERNAL_KEY_CHANGED = "strongroom.external_key.changed"
    EXTERNAL_KEY_PINNED = "strongroom.external_key.pinned"
    EXTERNAL_KEY_BLOCKED = "strongroom.external_key.blocked"
    EXTERNAL_KEY_UNBLOCKED = "strongroom.external_key.unblocked"
    EXTERNAL_KEY_REMOVED = "strongroom.external_key.removed"
    HOUSE_KEY_ROTATED = "strongroom.house_key.rotated"
    HOUSE_KEY_GIVEN_UP = "strongroom.house_key.given_up"
    REWRAP_STARTED = "strongroom.rewrap.started"
    REWRAP_ENDED = "strongroom.rewrap.ended"
    KEY_EXPORTED = "strongroom.key.exported"
    APPROVAL_REQUESTED = "strongroom.approval.requested"
    APPROVAL_GIVEN = "strongroom.approval.given"
    APPROVAL_COMPLETED = "strongroom.approval.completed"
    APPROVAL_EXECUTED = "strongroom.approval.executed"
    APPROVAL_REJECTED = "strongroom.approval.rejected"
    APPROVAL_CANCELLED = "strongroom.approval.cancelled"
    APPROVAL_EXPIRED = "strongroom.approval.expired"
    APPROVER_ENROLLED = "strongroom.approver.enrolled"
    APPROVER_REVOKED = "strongroom.approver.revoked"
    QUORUM_CHANGED = "strongroom.quorum.changed"
    WRAPPING_KEY_REGISTERED = "strongroom.wrapping_key.registered"
    WRAPPING_KEY_REMOVED = "strongroom.wrapping_key.removed"
    PEER_REGISTERED = "strongroom.peer.registered"
    PEER_REMOVED = "strongroom.peer.removed"
    KEY_REPLICATED = "strongroom.key.replicated"
    KEY_REPLICA_REMOVED = "strongroom.key.replica_removed"
    KEY_PRIMARY_MOVED = "strongroom.key.primary_moved"


PREFIX: Final = "strongroom."


@dataclass(frozen=True, slots=True)
class Draft:
    """What happened, before it is numbered.

    Attributes:
        type: the kind of event.
        subject: ARN of the key or principal, or the name of what else it is about.
        data: JSON-able facts, no secrets.
    """

    type: EventType
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the outbox keeps it.

    Attributes:
        position: its place among all events, from 1, without gaps.
        id: unique; a repeated delivery has the same.
        type: an `EventType`, or one that a later release knows.
        subject: ARN of the key or principal, or the name of what else it is about.
        sequence: its place among the events of its subject, from 1, without gaps.
        time: milliseconds since the Unix epoch.
        principal: ARN of who caused it, or `strongroom`.
        request_id: the call that caused it, as in the audit log; empty if none did.
        data: canonical JSON.
    """

    position: int
    id: str
    type: str
    subject: str
    sequence: int
    time: int
    principal: str
    request_id: str
    data: str

    def signed_form(self) -> bytes:
        """Give the one byte form under the event's MAC."""
        fields = [self.position, self.id, self.type, self.subject, self.sequence, self.time]
        return (
            b"strongroom.event.v1"
            + json.dumps(
                [*fields, self.principal, self.request_id, self.data], separators=(",", ":")
            ).encode()
        )

    def facts(self) -> dict[str, Any]:
        """Give the data as a value; nothing for data that is no JSON object."""
        try:
            found = json.loads(self.data)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def cloud_event(event: Event, source: str, time: str) -> dict[str, Any]:
    """Give an event's CloudEvents 1.0 attributes and data, for the JSON event format.

    Args:
        event: the event.
        source: a URI reference that names this installation.
        time: the event's time, RFC 3339.
    """
    made: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
        "subject": event.subject,
        "time": time,
        "datacontenttype": "application/json",
        "sequence": f"{event.sequence:020d}",  # the extension wants text that sorts as the numbers do
        "principal": event.principal,
        "data": event.facts(),
    }
    if event.request_id:
        made["requestid"] = event.request_id
    return made


def matches(pattern: str, text: str) -> bool:
    """Say whether a text is the pattern, or begins with it where it ends in `*`."""
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def check_pattern(pattern: str, field_name: str) -> str:
    """Check a pattern: not empty, and a `*` only at its end.

    Raises:
        StrongroomError: INVALID_FIELD.
    """
    if not pattern or "*" in pattern[:-1] or len(pattern) > MAX_PATTERN:
        raise invalid(field_name, f"must be 1 to {MAX_PATTERN} characters with a * at its end only")
    return pattern


def check_type_pattern(pattern: str, field_name: str) -> str:
    """Check a pattern of event types: it must be able to match one that exists."""
    if not any(matches(check_pattern(pattern, field_name), kind) for kind in EventType):
        raise invalid(field_name, "matches no type of event")
    return pattern


MAX_PATTERN: Final = 512


@dataclass(frozen=True, slots=True)
class Pattern:
    """What picks events out: every part that is there must match.

    Attributes:
        types: patterns of types, of which one must match; none means all.
        subjects: the same of subjects.
        data: (dotted name, pattern) pairs; each must match the text of that member of the data.
    """

    types: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    data: tuple[tuple[str, str], ...] = ()

    def picks(self, event: Event) -> bool:
        """Say whether an event is wanted."""
        return (
            _any(self.types, event.type)
            and _any(self.subjects, event.subject)
            and (not self.data or self._data_matches(event.facts()))
        )

    def _data_matches(self, facts: Mapping[str, Any]) -> bool:
        return all(
            (text := _member(facts, name)) is not None and matches(pattern, text)
            for name, pattern in self.data
        )


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return not patterns or any(matches(pattern, text) for pattern in patterns)


def _member(facts: Mapping[str, Any], name: str) -> str | None:
    """Give the text of a member by its dotted name: text as it is, numbers and truth as JSON."""
    found: Any = facts
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    if isinstance(found, str):
        return found
    return json.dumps(found) if isinstance(found, bool | int | float) else None


@dataclass(frozen=True, slots=True)
class Cause:
    """Who caused an event, by which call, and what that was to do: an action's name, empty for the daemon."""

    principal: str = DAEMON
    request_id: str = ""
    action: str = ""


BY_DAEMON: Final = Cause()
