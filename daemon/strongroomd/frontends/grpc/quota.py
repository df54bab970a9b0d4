"""QuotaService on the wire."""

from strongroom.v1 import quota_pb2 as pb
from strongroomd.custody.limits import Limit, Limits
from strongroomd.domain import names
from strongroomd.domain.records import LimitScope
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class QuotaServicer:
    """Turns QuotaService messages into use cases and back."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def GetLimit(self, request: pb.GetLimitRequest, call: Call) -> pb.GetLimitResponse:
        """Read a limit."""
        limit = await self._limits.get(call.caller, _scope(request.scope), request.subject)
        return pb.GetLimitResponse(limit=_limit(limit))

    async def PutLimit(self, request: pb.PutLimitRequest, call: Call) -> pb.PutLimitResponse:
        """Set a limit."""
        limit = await self._limits.put(
            call.caller,
            _scope(request.scope),
            request.subject,
            request.per_second,
            request.burst,
            request.etag,
            names.request_id(request.request_id),
        )
        return pb.PutLimitResponse(limit=_limit(limit))

    async def DeleteLimit(self, request: pb.DeleteLimitRequest, call: Call) -> pb.DeleteLimitResponse:
        """Remove a limit."""
        request_id = names.request_id(request.request_id)
        await self._limits.delete(
            call.caller, _scope(request.scope), request.subject, request.etag, request_id
        )
        return pb.DeleteLimitResponse()

    async def ListLimits(self, request: pb.ListLimitsRequest, call: Call) -> pb.ListLimitsResponse:
        """List limits."""
        scope = convert.from_wire(LimitScope, request.scope, "scope")
        page = await self._limits.list_limits(call.caller, scope, request.page_size, request.page_token)
        return pb.ListLimitsResponse(
            limits=[_limit(limit) for limit in page.limits], next_page_token=page.next_token
        )

    async def GetQuotaUsage(self, request: pb.GetQuotaUsageRequest, call: Call) -> pb.GetQuotaUsageResponse:
        """Say what is left."""
        limit, available = await self._limits.usage(call.caller, _scope(request.scope), request.subject)
        return pb.GetQuotaUsageResponse(limit=_limit(limit), available=available)


def _scope(number: int) -> LimitScope:
    return convert.required(LimitScope, number, "scope")


def _limit(limit: Limit) -> pb.Limit:
    return pb.Limit(
        scope=convert.to_wire(limit.scope),
        subject=limit.subject,
        per_second=limit.per_second,
        burst=limit.burst,
        is_default=limit.record is None,
        etag=str(limit.record.row_version) if limit.record else "",
    )
