"""Requests for quota: what was asked, and the one way from pending to answered or cancelled.

Nobody answers their own request, whoever they are. Who may put limits needs to ask nobody, so a request that
is approved always says that two have agreed.
"""

import dataclasses
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.limits import MAX_QUOTA_REQUEST_TEXT
from strongroomd.domain.names import plain_text
from strongroomd.domain.principals import Caller
from strongroomd.domain.protection import Record
from strongroomd.domain.quota import LimitScope, Rate, settle_rate

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TIME_DIGITS: Final = 12  # of milliseconds since the Unix epoch: enough for 8,900 years


class RequestState(StrEnum):
    """What became of a request; all but the first are final."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    DENIED = "DENIED"
    CANCELLED = "CANCELLED"


class Decision(StrEnum):
    """An administrator's answer."""

    APPROVE = "APPROVE"
    DENY = "DENY"


@dataclass(frozen=True, slots=True)
class QuotaRequestRecord(Record):
    """A wish for a limit, and what became of it.

    Attributes:
        id: 32 hex digits, of which the first 12 are the time, so that ids are in the order of asking.
        account: the subject's: its administrators answer.
        subject: key id, principal ARN, or `<account>/<class>`.
        per_second, burst: what was asked for.
        principal: ARN of who asked; asker_account: its account.
        source: ARNs of who is behind the principal, with a space between: who assumed the role, and for whom
            a trusted service says that it calls; or empty.
        in_force_per_second, in_force_burst: the limit when it was asked; 0 for none.
        granted_per_second, granted_burst: the limit that an approval set; else 0.
        created_at, closed_at: milliseconds since the Unix epoch; 0 while nobody answered or cancelled it.
        closed_by: ARN of who did; note: what an administrator wrote.
    """

    KIND: ClassVar[str] = "quota_request"
    id: str
    account: str
    scope: LimitScope
    subject: str
    per_second: int
    burst: int
    justification: str
    principal: str
    asker_account: str
    source: str
    state: RequestState
    in_force_per_second: int
    in_force_burst: int
    granted_per_second: int
    granted_burst: int
    created_at: int
    closed_at: int
    closed_by: str
    note: str
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The id."""
        return self.id


@dataclass(frozen=True, slots=True)
class Answer:
    """What an administrator answers, checked.

    Attributes:
        rate: the limit to set instead of what was asked; None for exactly that.
        note: for who asked.
    """

    decision: Decision
    rate: Rate | None = None
    note: str = ""


def request_id_at(now: int, random: bytes) -> str:
    """Make the id of a request that is asked now (ms since the Unix epoch), with 10 random bytes."""
    return f"{now:0{_TIME_DIGITS}x}{random.hex()}"


def check_id(text: str, field: str = "quota_request_id") -> str:
    """Check a request's id: 32 hexadecimal digits in lower case."""
    if not _ID.fullmatch(text):
        raise invalid(field, "must be 32 hexadecimal digits")
    return text


def check_text(text: str, field: str) -> str:
    """Check a justification or note: printable text of at most 512 characters."""
    if len(text) > MAX_QUOTA_REQUEST_TEXT:
        raise too_large(field, MAX_QUOTA_REQUEST_TEXT, "characters")
    return plain_text(text, field)


def check_answer(decision: Decision, per_second: int, burst: int, note: str) -> Answer:
    """Check an answer; only an approval has a limit, and without one it approves what was asked.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE.
    """
    checked = check_text(note, "note")
    if not per_second and burst:
        raise invalid("burst", "is of no use without per_second")
    if not per_second:
        return Answer(decision, None, checked)
    if decision is Decision.DENY:
        raise invalid("per_second", "must be 0 where the request is denied")
    return Answer(decision, settle_rate(per_second, burst), checked)


def who_is_behind(caller: Caller) -> str:
    """Give the ARNs of who is behind a caller's principal, with a space between; empty where nobody is.

    They are who assumed its role, and for whom a trusted service says that it calls; a service in a role
    session may have both.
    """
    session = caller.session.source if caller.session is not None else ""
    return " ".join(arn for arn in (session, caller.behalf.source_principal) if arn)


def is_own(request: QuotaRequestRecord, caller: Caller) -> bool:
    """Say whether a caller asked it, or is behind who did, or the other way round."""
    asked = {request.principal, *request.source.split()}
    return not asked.isdisjoint({caller.principal.arn, *who_is_behind(caller).split()})


def answered(request: QuotaRequestRecord, answer: Answer, by: str, now: int) -> QuotaRequestRecord:
    """Answer a pending request. Raises REQUEST_ANSWERED for any other."""
    _require_pending(request)
    approved = answer.decision is Decision.APPROVE
    granted = answer.rate or Rate(request.per_second, request.burst)
    return dataclasses.replace(
        request,
        state=RequestState.APPROVED if approved else RequestState.DENIED,
        granted_per_second=granted.per_second if approved else 0,
        granted_burst=granted.burst if approved else 0,
        closed_at=now,
        closed_by=by,
        note=answer.note,
        row_version=request.row_version + 1,
    )


def cancelled(request: QuotaRequestRecord, by: str, now: int) -> QuotaRequestRecord:
    """Take a pending request back. Raises REQUEST_ANSWERED for any other."""
    _require_pending(request)
    return dataclasses.replace(
        request,
        state=RequestState.CANCELLED,
        closed_at=now,
        closed_by=by,
        row_version=request.row_version + 1,
    )


def _require_pending(request: QuotaRequestRecord) -> None:
    if request.state is not RequestState.PENDING:
        raise StrongroomError(Reason.REQUEST_ANSWERED)
