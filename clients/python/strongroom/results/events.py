"""EventService: events, their sinks, and what compliance runs found."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from strongroom.results.pages import Page


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with the attributes of CloudEvents 1.0; `sequence` counts the events of its subject."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime | None
    sequence: int
    principal: str
    request_id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WatchedEvent:
    """An event of a stream, and the cursor behind which a later stream may begin."""

    event: Event
    cursor: str


@dataclass(frozen=True, slots=True)
class Sink:
    """How a sink of events is doing."""

    name: str
    configured: bool
    backlog: int
    waiting: int
    dead_letters: int
    last_success_time: datetime | None
    last_error_time: datetime | None
    last_error: str
    next_try_time: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up at a sink."""

    sink: str
    event: Event
    tries: int
    error: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a compliance run found about a key."""

    key_arn: str
    check: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class ComplianceReport(Page[Finding]):
    """One page of what the newest compliance run found; `time` is None before the first."""

    time: datetime | None
    keys: int
    checks_not_offered: tuple[str, ...]
