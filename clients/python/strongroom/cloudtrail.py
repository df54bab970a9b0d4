"""Audit records in the shape of CloudTrail's events, for tools that read those.

What CloudTrail has a place for stands there; everything else that a record says is in `additionalEventData`,
so that nothing is lost. The shape only grows.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from strongroom.reasons import EXPLANATIONS
from strongroom.results import AuditRecord

EVENT_VERSION: Final = "1.0"
EVENT_SOURCE: Final = "strongroom"

Json = dict[str, Any]

_SUCCESSES: Final = frozenset({"", "OK", "PENDING", "UNCHANGED"})
_IDENTITY_TYPES: Final = {"user": "IAMUser", "role": "Role", "service": "Service", "root": "Root"}
_RESOURCE_TYPES: Final = {"key": "AWS::KMS::Key", "user": "AWS::IAM::User", "role": "AWS::IAM::Role"}
_PARAMETERS: Final = {
    "named": "keyId",
    "context": "encryptionContext",
    "context_hmac": "encryptionContextHmac",
    "context_keys": "encryptionContextKeys",
    "source_context": "sourceEncryptionContext",
    "source_context_hmac": "sourceEncryptionContextHmac",
    "destination_context": "destinationEncryptionContext",
    "destination_context_hmac": "destinationEncryptionContextHmac",
    "grant_id": "grantId",
    "grantee": "granteePrincipal",
    "operations": "operations",
    "session_name": "roleSessionName",
    "limit": "limit",
    "access_key": "accessKeyId",
    "sink": "sink",
    "dry_run": "dryRun",
}
"""Fields of a record that repeat what the request said."""
_PLACED: Final = frozenset({
    "time", "action", "event", "request_id", "source", "outcome", "seq", "principal", "session",
    "session_source", "via_service", "key", "other_keys", "resource", *_PARAMETERS,
})  # fmt: skip
"""Fields that are not additional."""


def event(record: AuditRecord) -> Json:
    """Give a record in CloudTrail's shape, made of JSON's own types; what does not apply is left out."""
    fields = _fields(record.canonical_json)
    shaped: Json = {
        "eventVersion": EVENT_VERSION,
        "eventTime": _time(record.time),
        "eventSource": EVENT_SOURCE,
        "eventName": _name(fields),
        "eventID": f"{record.origin}/{record.sequence}",
        "eventType": "StrongroomApiCall" if fields.get("door") == "grpc" else "StrongroomServiceEvent",
        "requestID": _text(fields, "request_id"),
        "sourceIPAddress": _address(_text(fields, "source")),
        "userIdentity": _identity(fields),
        "resources": _resources(fields),
        "requestParameters": {shown: fields[name] for name, shown in _PARAMETERS.items() if name in fields},
        **_error(_text(fields, "outcome")),
        "additionalEventData": _additional(record, fields),
    }
    return {name: value for name, value in shaped.items() if value not in ("", [], {})}


def _fields(canonical: bytes) -> Mapping[str, Any]:
    fields = json.loads(canonical or b"{}")
    return fields if isinstance(fields, dict) else {}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    return value if isinstance(value, str) else ""


def _time(time: datetime | None) -> str:
    return (
        "" if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _name(fields: Mapping[str, Any]) -> str:
    """Give the action without its prefix; a record of the log itself has its event's name."""
    return _text(fields, "action").partition(":")[2] or _text(fields, "event")


def _address(source: str) -> str:
    """Take the address out of what gRPC calls a peer; what is no IP address stays."""
    kind, _, rest = source.replace("%5B", "[").replace("%5D", "]").partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return source
    return rest.rpartition(":")[0].strip("[]") or rest


def _identity(fields: Mapping[str, Any]) -> Json:
    principal, session, service = (_text(fields, name) for name in ("principal", "session", "via_service"))
    if not principal:
        return {}
    shown = _principal(principal)
    if session:
        source = _text(fields, "session_source")
        context = {"sessionIssuer": shown} | ({"sourceIdentity": source} if source else {})
        shown = {
            "type": "AssumedRole",
            "arn": session,
            "accountId": _account(session),
            "sessionContext": context,
        }
    return shown | ({"invokedBy": service} if service else {})


def _principal(arn: str) -> Json:
    account = _account(arn)
    if not account:  # "upkeep" is the daemon, "unknown" nobody that it knows
        return {"type": "Unknown" if arn == "unknown" else "Strongroom", "principalId": arn}
    kind, _, name = _resource(arn).partition("/")
    shown = {"type": _IDENTITY_TYPES.get(kind, "Unknown"), "arn": arn, "accountId": account}
    return shown | ({"userName": name} if name else {})


def _resources(fields: Mapping[str, Any]) -> list[Json]:
    others = fields.get("other_keys", [])
    named = [_text(fields, "key"), *(others if isinstance(others, list) else []), _text(fields, "resource")]
    return [_shown(arn) for arn in named if isinstance(arn, str) and arn]


def _shown(arn: str) -> Json:
    kind = _RESOURCE_TYPES.get(_resource(arn).partition("/")[0], "")
    shown = {"ARN": arn, "accountId": _account(arn), "type": kind}
    return {name: value for name, value in shown.items() if value}


def _account(arn: str) -> str:
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 and parts[0] == "arn" else ""


def _resource(arn: str) -> str:
    return arn.split(":", 5)[-1]


def _error(outcome: str) -> Json:
    if outcome in _SUCCESSES:
        return {}
    known = EXPLANATIONS.get(outcome)
    return {"errorCode": outcome} | ({"errorMessage": known.meaning} if known else {})


def _additional(record: AuditRecord, fields: Mapping[str, Any]) -> Json:
    """Give what CloudTrail has no place for, under the record's own names, and where the record stands."""
    rest = {name: value for name, value in fields.items() if name not in _PLACED}
    told = {name: fields[name] for name in ("action", "outcome") if name in fields}
    return {**rest, **told, "chain": record.origin, "sequence": record.sequence, "hash": record.hash.hex()}
