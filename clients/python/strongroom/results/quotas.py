"""QuotaService: limits, what they would admit now, and wishes for others."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit: cost admitted per second in the long run, and at once after a rest."""

    scope: str
    subject: str
    per_second: int
    burst: int
    is_default: bool
    etag: str


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """A limit and the cost that would be admitted now."""

    limit: Limit
    available: int


@dataclass(frozen=True, slots=True)
class QuotaRequest:
    """A wish for a limit and what became of it.

    `answered_time`, `answered_by`: also of who cancelled it. The limit in force when it was asked and the one
    that an approval set are 0 where there was none.
    """

    id: str
    scope: str
    subject: str
    account: str
    per_second: int
    burst: int
    justification: str
    principal: str
    state: str
    created_time: datetime | None
    answered_time: datetime | None
    answered_by: str
    note: str
    in_force_per_second: int
    in_force_burst: int
    granted_per_second: int
    granted_burst: int
    etag: str
