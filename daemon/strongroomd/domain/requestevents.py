"""Which event a change of a quota request is. What people wrote to each other is not told."""

from typing import Any, Final

from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.quotarequests import QuotaRequestRecord, RequestState

BECAME: Final[dict[RequestState, EventType]] = {
    RequestState.PENDING: EventType.QUOTA_REQUESTED,
    RequestState.APPROVED: EventType.QUOTA_ANSWERED,
    RequestState.DENIED: EventType.QUOTA_ANSWERED,
    RequestState.CANCELLED: EventType.QUOTA_REQUEST_CANCELLED,
}


def happenings(before: Any, after: Any, subject: str) -> list[Draft]:  # noqa: ANN401 - a request or None
    """Say what the change of one request means; that an old one is forgotten is nobody's business.

    Args:
        before: the request before, None for a new one.
        after: the request after, None for one that was removed.
        subject: what the limit is of, as events of limits name it.
    """
    if after is None or (before is not None and before.state is after.state):
        return []
    return [Draft(BECAME[after.state], subject, _facts(after))]


def _facts(request: QuotaRequestRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "quota_request": request.id,
        "account": request.account,
        "scope": request.scope.value,
        "subject": request.subject,
        "per_second": request.per_second,
        "burst": request.burst,
        "state": request.state.value,
        "asked_by": request.principal,
    }
    if request.state is RequestState.APPROVED:
        facts |= {"granted_per_second": request.granted_per_second, "granted_burst": request.granted_burst}
    return facts
