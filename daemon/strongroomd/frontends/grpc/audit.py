"""AuditService on the wire."""

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from strongroom.v1 import audit_pb2 as pb
from strongroomd.custody.trail import Question, Trail
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.principals import Principal
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class AuditServicer:
    """Turns AuditService messages into use cases and back."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    async def ListAuditRecords(
        self, request: pb.ListAuditRecordsRequest, call: Call
    ) -> pb.ListAuditRecordsResponse:
        """List records."""
        question = Question(
            key=request.key,
            principal=request.principal,
            action=request.action,
            outcome=request.outcome,
            since=_time_text(request.since, "since") if request.HasField("since") else "",
            until=_time_text(request.until, "until") if request.HasField("until") else "",
        )
        page = await self._trail.list_records(call.caller, question, request.page_size, request.page_token)
        records = [_record(record) for record in page.records]
        return pb.ListAuditRecordsResponse(records=records, next_page_token=page.next_token)

    async def TailAuditRecords(
        self, request: pb.TailAuditRecordsRequest, call: Call
    ) -> AsyncIterator[pb.TailAuditRecordsResponse]:
        """Follow the log, as long as the certificate speaks for who began, and they may."""
        async for record in self._trail.tail(call.caller, request.key, request.principal):
            now = call.renew()
            if not _same_rights(now.principal, call.caller.principal):
                raise StrongroomError(Reason.ACCESS_DENIED, "the caller's rights have changed")
            self._trail.require_right(dataclasses.replace(call.caller, principal=now.principal))
            yield pb.TailAuditRecordsResponse(record=_record(record))

    async def GetAuditCheckpoint(
        self, _request: pb.GetAuditCheckpointRequest, call: Call
    ) -> pb.GetAuditCheckpointResponse:
        """Give the newest checkpoint."""
        signed = await self._trail.checkpoint(call.caller)
        checkpoint = signed.checkpoint
        heads = [
            pb.AuditChainHead(origin=h.origin, sequence=h.count, hash=h.digest) for h in checkpoint.heads
        ]
        return pb.GetAuditCheckpointResponse(
            canonical_json=checkpoint.message(),
            signature=signed.signature,
            public_key=signed.public_key,
            signing_algorithm="ECDSA_SHA_256",
            number=checkpoint.number,
            time=convert.timestamp(checkpoint.time),
            chain_heads=heads,
        )


def _same_rights(now: Principal, then: Principal) -> bool:
    """Say whether a principal may still see what it began to follow; its tags do not matter."""
    return (now.arn, now.administrator, now.operator) == (then.arn, then.administrator, then.operator)


def _time_text(time: Timestamp, field: str) -> str:
    """Spell a time as the log does: RFC 3339, UTC, milliseconds."""
    try:
        moment = time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise invalid(field, "must be a time between the years 1 and 9999") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _record(record: dict[str, Any]) -> pb.AuditRecord:
    time = Timestamp()
    time.FromJsonString(record["time"])
    return pb.AuditRecord(
        origin=record["chain"],
        sequence=record["seq"],
        time=time,
        kind=str(record.get("kind", record.get("event", ""))),
        key_arn=record.get("key", ""),
        other_key_arns=record.get("other_keys", ()),
        source_address=record.get("source", ""),
        decision=_decision(record["decision"]) if "decision" in record else None,
        hash=record["hash"],
        canonical_json=record["body"],
        **{name: record.get(name, "") for name in _SAME_NAME},
    )


def _decision(made: dict[str, str]) -> pb.AuditDecision:
    return pb.AuditDecision(
        basis=made.get("basis", ""), ground=made.get("ground", ""), policy=made.get("policy", "")
    )


_SAME_NAME: Final = (
    "action",
    "principal",
    "outcome",
    "request_id",
    "identity",
    "session",
    "session_source",
    "via_service",
    "caller_account",
    "source_principal",
    "source_arn",
    "source_account",
    "door",
)
"""Fields that the message and the record call alike."""
