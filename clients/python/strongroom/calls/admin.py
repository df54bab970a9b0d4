"""QuotaService, AuditService and AccessService."""

from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.errors import invalid
from strongroom.v1 import access_pb2, audit_pb2, quota_pb2

_QUOTA: Final = "QuotaService"
_GET: Final = Rpc(_QUOTA, "GetLimit", quota_pb2.GetLimitRequest, quota_pb2.GetLimitResponse)
_PUT: Final = Rpc(_QUOTA, "PutLimit", quota_pb2.PutLimitRequest, quota_pb2.PutLimitResponse)
_DELETE: Final = Rpc(_QUOTA, "DeleteLimit", quota_pb2.DeleteLimitRequest, quota_pb2.DeleteLimitResponse)
_LIST: Final = Rpc(_QUOTA, "ListLimits", quota_pb2.ListLimitsRequest, quota_pb2.ListLimitsResponse)
_USAGE: Final = Rpc(_QUOTA, "GetQuotaUsage", quota_pb2.GetQuotaUsageRequest, quota_pb2.GetQuotaUsageResponse)
_AUDIT: Final = "AuditService"
_RECORDS: Final = Rpc(
    _AUDIT, "ListAuditRecords", audit_pb2.ListAuditRecordsRequest, audit_pb2.ListAuditRecordsResponse
)
_TAIL: Final = Rpc(
    _AUDIT, "TailAuditRecords", audit_pb2.TailAuditRecordsRequest, audit_pb2.TailAuditRecordsResponse
)
_CHECKPOINT: Final = Rpc(
    _AUDIT, "GetAuditCheckpoint", audit_pb2.GetAuditCheckpointRequest, audit_pb2.GetAuditCheckpointResponse
)
_IDENTITY: Final = Rpc(
    "AccessService",
    "GetCallerIdentity",
    access_pb2.GetCallerIdentityRequest,
    access_pb2.GetCallerIdentityResponse,
)


def get_limit(scope: str, subject: str) -> Call[results.Limit]:
    """Read the limit in force for one subject; `scope` is a LimitScope."""
    return _GET.call(_GET.make(scope=_scope(scope), subject=subject), _limit)


def put_limit(
    scope: str,
    subject: str,
    per_second: int,
    *,
    burst: int = 0,
    etag: str = "",
    request_id: str | None = None,
) -> Call[results.Limit]:
    """Set the limit of one subject; burst 0 means the same as per_second."""
    request = _PUT.make(
        scope=_scope(scope),
        subject=subject,
        per_second=per_second,
        burst=burst,
        etag=etag,
        request_id=request_id,
    )
    return _PUT.call(request, _limit)


def delete_limit(scope: str, subject: str, *, etag: str = "", request_id: str | None = None) -> Call[None]:
    """Take the limit of one subject away; a class falls back to its configured default."""
    request = _DELETE.make(scope=_scope(scope), subject=subject, etag=etag, request_id=request_id)
    return _DELETE.call(request, _nothing)


def list_limits(
    *, scope: str = "", page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.Limit]]:
    """List the limits that were set, and the classes' defaults; an empty scope means all."""
    request = _LIST.make(scope=_scope(scope), page_size=page_size, page_token=page_token)
    return _LIST.call(request, _limits)


def get_quota_usage(scope: str, subject: str) -> Call[results.QuotaUsage]:
    """Read how much of a limit is available at this moment."""
    return _USAGE.call(_USAGE.make(scope=_scope(scope), subject=subject), _usage)


def list_audit_records(  # noqa: PLR0913 - the filters
    *,
    key: str = "",
    principal: str = "",
    action: str = "",
    outcome: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    page_size: int = 0,
    page_token: str = "",
) -> Call[results.Page[results.AuditRecord]]:
    """Look for audit records, oldest first; a page may be empty although more follow.

    `action` and `outcome` are as records have them ("kms:Decrypt", "OK", "ACCESS_DENIED"); `since` and
    `until` are aware datetimes: at or after the first, before the second.
    """
    request = _RECORDS.make(
        key=key,
        principal=principal,
        action=action,
        outcome=outcome,
        since=_stamp(since, "since"),
        until=_stamp(until, "until"),
        page_size=page_size,
        page_token=page_token,
    )
    return _RECORDS.call(request, _records)


def tail_audit_records(*, key: str = "", principal: str = "") -> Call[results.AuditRecord]:
    """Follow the audit log: each record that is written from now on. Every reply is one record."""
    return _TAIL.call(_TAIL.make(key=key, principal=principal), lambda reply: _record(reply.record))


def get_audit_checkpoint() -> Call[results.Checkpoint]:
    """Read the newest signed checkpoint; keep it elsewhere, to find a log that was cut."""
    return _CHECKPOINT.call(_CHECKPOINT.make(), _checkpoint)


def get_caller_identity() -> Call[results.Identity]:
    """Ask who the daemon takes this connection for."""
    return _IDENTITY.call(_IDENTITY.make(), _identity)


def _scope(name: str) -> int:
    return enums.LIMIT_SCOPE.number(name, "scope")


def _stamp(time: datetime | None, field: str) -> Timestamp | None:
    if time is None:
        return None
    given: object = time
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise invalid(field, "must be a time with its zone")
    stamp = Timestamp()
    try:
        stamp.FromDatetime(time)
    except (ValueError, OverflowError):
        raise invalid(field, "must be a time of the years 1 to 9999") from None
    return stamp


def _read_limit(limit: quota_pb2.Limit) -> results.Limit:
    return results.Limit(
        scope=enums.LIMIT_SCOPE.name(limit.scope),
        subject=limit.subject,
        per_second=limit.per_second,
        burst=limit.burst,
        is_default=limit.is_default,
        etag=limit.etag,
    )


def _limit(reply: quota_pb2.GetLimitResponse | quota_pb2.PutLimitResponse) -> results.Limit:
    return _read_limit(reply.limit)


def _nothing(_: quota_pb2.DeleteLimitResponse) -> None:
    return None


def _limits(reply: quota_pb2.ListLimitsResponse) -> results.Page[results.Limit]:
    return results.Page(tuple(_read_limit(limit) for limit in reply.limits), reply.next_page_token)


def _usage(reply: quota_pb2.GetQuotaUsageResponse) -> results.QuotaUsage:
    return results.QuotaUsage(_read_limit(reply.limit), reply.available)


def _record(record: audit_pb2.AuditRecord) -> results.AuditRecord:
    return results.AuditRecord(
        origin=record.origin,
        sequence=record.sequence,
        time=_read.time_of(record, "time"),
        kind=record.kind,
        action=record.action,
        principal=record.principal,
        key_arn=record.key_arn,
        outcome=record.outcome,
        request_id=record.request_id,
        hash=record.hash,
        canonical_json=record.canonical_json,
        identity=record.identity,
        session=record.session,
        session_source=record.session_source,
        via_service=record.via_service,
        caller_account=record.caller_account,
        source_principal=record.source_principal,
        source_arn=record.source_arn,
        source_account=record.source_account,
        source_address=record.source_address,
        door=record.door,
        decision=_decision(record.decision) if record.HasField("decision") else None,
        other_key_arns=tuple(record.other_key_arns),
    )


def _decision(decision: audit_pb2.AuditDecision) -> results.AuditDecision:
    return results.AuditDecision(decision.basis, decision.ground, decision.policy)


def _records(reply: audit_pb2.ListAuditRecordsResponse) -> results.Page[results.AuditRecord]:
    return results.Page(tuple(_record(record) for record in reply.records), reply.next_page_token)


def _checkpoint(reply: audit_pb2.GetAuditCheckpointResponse) -> results.Checkpoint:
    heads = (results.ChainHead(head.origin, head.sequence, head.hash) for head in reply.chain_heads)
    return results.Checkpoint(
        canonical_json=reply.canonical_json,
        signature=reply.signature,
        public_key=reply.public_key,
        signing_algorithm=reply.signing_algorithm,
        number=reply.number,
        time=_read.time_of(reply, "time"),
        chain_heads=tuple(heads),
    )


def _identity(reply: access_pb2.GetCallerIdentityResponse) -> results.Identity:
    return results.Identity(
        principal_arn=reply.principal_arn,
        account=reply.account,
        certificate_sha256=reply.certificate_sha256,
        administrator=reply.administrator,
        daemon_version=reply.daemon_version,
        region=reply.region,
        identity=reply.identity,
        operator=reply.operator,
        trusted=reply.trusted,
        session_arn=reply.session_arn,
        session_source_arn=reply.session_source_arn,
        session_expire_time=_read.time_of(reply, "session_expire_time"),
        via_service=reply.via_service,
        caller_account=reply.caller_account,
        source_principal=reply.source_principal,
        source_arn=reply.source_arn,
        source_account=reply.source_account,
    )
