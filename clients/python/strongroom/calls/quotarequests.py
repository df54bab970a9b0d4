"""QuotaService: asking for a limit, and answering who asked."""

from typing import Final, Protocol

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.v1 import quota_pb2 as pb

_QUOTA: Final = "QuotaService"
_ASK: Final = Rpc(_QUOTA, "RequestQuota", pb.RequestQuotaRequest, pb.RequestQuotaResponse)
_GET: Final = Rpc(_QUOTA, "GetQuotaRequest", pb.GetQuotaRequestRequest, pb.GetQuotaRequestResponse)
_LIST: Final = Rpc(_QUOTA, "ListQuotaRequests", pb.ListQuotaRequestsRequest, pb.ListQuotaRequestsResponse)
_ANSWER: Final = Rpc(
    _QUOTA, "AnswerQuotaRequest", pb.AnswerQuotaRequestRequest, pb.AnswerQuotaRequestResponse
)
_CANCEL: Final = Rpc(
    _QUOTA, "CancelQuotaRequest", pb.CancelQuotaRequestRequest, pb.CancelQuotaRequestResponse
)


class _Reply(Protocol):
    """Any answer that carries one request."""

    @property
    def quota_request(self) -> pb.QuotaRequest: ...


def request_quota(
    scope: str,
    subject: str,
    per_second: int,
    *,
    burst: int = 0,
    justification: str = "",
    request_id: str | None = None,
) -> Call[results.QuotaRequest]:
    """Ask the administrators for a limit; burst 0 means the same as per_second.

    Args:
        scope: a LimitScope.
        subject: the caller's own principal, a class of its account, or a key that it may describe.
        per_second: cost to be admitted per second.
        burst: cost to be admitted at once.
        justification: why; at most 512 characters that administrators read.
        request_id: idempotency key; a fresh one by default.
    """
    request = _ASK.make(
        scope=_scope(scope),
        subject=subject,
        per_second=per_second,
        burst=burst,
        justification=justification,
        request_id=request_id,
    )
    return _ASK.call(request, _request)


def get_quota_request(quota_request_id: str) -> Call[results.QuotaRequest]:
    """Read a request: one's own, or one that the account's administrators answer."""
    return _GET.call(_GET.make(quota_request_id=quota_request_id), _request)


def list_quota_requests(
    *, state: str = "", scope: str = "", own: bool = False, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.QuotaRequest]]:
    """List requests, oldest first: administrators see their account's, others their own.

    Args:
        state: a QuotaRequestState; empty for all.
        scope: a LimitScope; empty for all.
        own: only what the caller itself asked.
        page_size: requests a page.
        page_token: next_page_token of the page before.
    """
    request = _LIST.make(
        state=enums.QUOTA_REQUEST_STATE.number(state, "state"),
        scope=_scope(scope),
        own=own,
        page_size=page_size,
        page_token=page_token,
    )
    return _LIST.call(request, _requests)


def answer_quota_request(
    quota_request_id: str,
    decision: str,
    *,
    per_second: int = 0,
    burst: int = 0,
    note: str = "",
    etag: str = "",
    request_id: str | None = None,
) -> Call[results.QuotaRequest]:
    """Approve a request, which sets the limit, or deny it.

    Args:
        quota_request_id: which.
        decision: a QuotaDecision.
        per_second: with APPROVE, the limit to set instead of what was asked for.
        burst: with per_second, its burst; 0 means the same.
        note: for who asked; at most 512 characters.
        etag: refuse if it was answered or cancelled since this etag was read.
        request_id: idempotency key; a fresh one by default.
    """
    request = _ANSWER.make(
        quota_request_id=quota_request_id,
        decision=enums.QUOTA_DECISION.number(decision, "decision"),
        per_second=per_second,
        burst=burst,
        note=note,
        etag=etag,
        request_id=request_id,
    )
    return _ANSWER.call(request, _request)


def cancel_quota_request(
    quota_request_id: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.QuotaRequest]:
    """Take one's own request back."""
    request = _CANCEL.make(quota_request_id=quota_request_id, etag=etag, request_id=request_id)
    return _CANCEL.call(request, _request)


def _scope(name: str) -> int:
    return enums.LIMIT_SCOPE.number(name, "scope")


def _request(reply: _Reply) -> results.QuotaRequest:
    return _read_request(reply.quota_request)


def _read_request(request: pb.QuotaRequest) -> results.QuotaRequest:
    return results.QuotaRequest(
        id=request.id,
        scope=enums.LIMIT_SCOPE.name(request.scope),
        subject=request.subject,
        account=request.account,
        per_second=request.per_second,
        burst=request.burst,
        justification=request.justification,
        principal=request.principal,
        state=enums.QUOTA_REQUEST_STATE.name(request.state),
        created_time=_read.time_of(request, "created_time"),
        answered_time=_read.time_of(request, "answered_time"),
        answered_by=request.answered_by,
        note=request.note,
        in_force_per_second=request.in_force_per_second,
        in_force_burst=request.in_force_burst,
        granted_per_second=request.granted_per_second,
        granted_burst=request.granted_burst,
        etag=request.etag,
    )


def _requests(reply: pb.ListQuotaRequestsResponse) -> results.Page[results.QuotaRequest]:
    found = tuple(_read_request(request) for request in reply.quota_requests)
    return results.Page(found, reply.next_page_token)
