"""QuotaService on the wire."""

from strongroom.v1 import quota_pb2 as pb
from strongroomd.custody.limits import Limit, Limits
from strongroomd.custody.quotarequests import QuotaRequests, RequestFilter, Wanted
from strongroomd.domain import names
from strongroomd.domain.names import Realm
from strongroomd.domain.quota import settle_rate
from strongroomd.domain.quotarequests import (
    Decision,
    QuotaRequestRecord,
    RequestState,
    check_answer,
    check_text,
)
from strongroomd.domain.records import LimitScope
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class QuotaServicer:
    """Turns QuotaService messages into use cases and back."""

    def __init__(self, limits: Limits, requests: QuotaRequests, realm: Realm) -> None:
        self._limits = limits
        self._requests = requests
        self._realm = realm

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

    async def RequestQuota(self, request: pb.RequestQuotaRequest, call: Call) -> pb.RequestQuotaResponse:
        """Ask for a limit."""
        wanted = Wanted(
            _scope(request.scope),
            request.subject,
            settle_rate(request.per_second, request.burst),
            check_text(request.justification, "justification"),
        )
        record = await self._requests.request(call.caller, wanted, names.request_id(request.request_id))
        return pb.RequestQuotaResponse(quota_request=self._request(record))

    async def GetQuotaRequest(
        self, request: pb.GetQuotaRequestRequest, call: Call
    ) -> pb.GetQuotaRequestResponse:
        """Read a request."""
        record = await self._requests.get(call.caller, request.quota_request_id)
        return pb.GetQuotaRequestResponse(quota_request=self._request(record))

    async def ListQuotaRequests(
        self, request: pb.ListQuotaRequestsRequest, call: Call
    ) -> pb.ListQuotaRequestsResponse:
        """List requests."""
        state = convert.from_wire(RequestState, request.state, "state")
        scope = convert.from_wire(LimitScope, request.scope, "scope")
        wanted = RequestFilter(state, scope, request.own)
        page = await self._requests.list_requests(call.caller, wanted, request.page_size, request.page_token)
        return pb.ListQuotaRequestsResponse(
            quota_requests=[self._request(record) for record in page.requests],
            next_page_token=page.next_token,
        )

    async def AnswerQuotaRequest(
        self, request: pb.AnswerQuotaRequestRequest, call: Call
    ) -> pb.AnswerQuotaRequestResponse:
        """Approve or deny a request."""
        decision = convert.required(Decision, request.decision, "decision")
        answer = check_answer(decision, request.per_second, request.burst, request.note)
        request_id = names.request_id(request.request_id)
        record = await self._requests.answer(
            call.caller, request.quota_request_id, answer, request.etag, request_id
        )
        return pb.AnswerQuotaRequestResponse(quota_request=self._request(record))

    async def CancelQuotaRequest(
        self, request: pb.CancelQuotaRequestRequest, call: Call
    ) -> pb.CancelQuotaRequestResponse:
        """Take a request back."""
        request_id = names.request_id(request.request_id)
        record = await self._requests.cancel(call.caller, request.quota_request_id, request.etag, request_id)
        return pb.CancelQuotaRequestResponse(quota_request=self._request(record))

    def _request(self, record: QuotaRequestRecord) -> pb.QuotaRequest:
        of_key = record.scope is LimitScope.KEY
        return pb.QuotaRequest(
            id=record.id,
            scope=convert.to_wire(record.scope),
            subject=self._realm.key_arn(record.subject, record.account) if of_key else record.subject,
            account=record.account,
            per_second=record.per_second,
            burst=record.burst,
            justification=record.justification,
            principal=record.principal,
            state=convert.to_wire(record.state),
            created_time=convert.timestamp(record.created_at),
            answered_time=convert.timestamp(record.closed_at),
            answered_by=record.closed_by,
            note=record.note,
            in_force_per_second=record.in_force_per_second,
            in_force_burst=record.in_force_burst,
            granted_per_second=record.granted_per_second,
            granted_burst=record.granted_burst,
            etag=str(record.row_version),
        )


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
