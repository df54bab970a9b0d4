"""How events reach sinks: what is kept of each sink and delivery, and when the next try is due.

Every sink has a position in the outbox: what lies before it was delivered, waits in a queue of its own, or is
a dead letter. A failure of the sink stops the whole sink; a failure of one event stops only the events of the
same subject, which wait behind it in order.
"""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.events import Event, Pattern

BASE_SECONDS: Final = 1.0
CAP_SECONDS: Final = 300.0
MOST_RETRY_AFTER: Final = 3_600.0  # a sink cannot ask for more patience than this
MOST_WAITING: Final = 1_000  # deliveries that wait in one sink's queue; beyond it no new events are taken up
MAX_ERROR: Final = 200  # characters of an error that are kept
RULES: Final = "@rules"
COMPLIANCE: Final = "@compliance"
"""Names under which the rules' position and the last compliance run are kept; no sink can be called so."""


class Blame(StrEnum):
    """Whose failure an undelivered event is."""

    SINK = "sink"  # away, overloaded, refusing us: nothing would be delivered now
    EVENT = "event"  # this event is not accepted; others may be


class Undelivered(Exception):  # noqa: N818 - it says what became of the event
    """A sink did not take an event.

    Args:
        blame: whose failure it is.
        error: a short text for operators, without secrets.
        retry_after: seconds that the sink asks us to wait, if it does.
    """

    def __init__(self, blame: Blame, error: str, retry_after: float | None = None) -> None:
        self.blame = blame
        self.error = error[:MAX_ERROR]
        self.retry_after = retry_after
        super().__init__(error)


@dataclass(frozen=True, slots=True)
class SinkState:
    """What the store keeps of a sink.

    Attributes:
        name: as configured.
        position: of the last event that was taken up.
        tries: failures of the sink since its last success.
        next_try: ms since the Unix epoch; nothing is tried before.
        last_success, last_error_at: ms since the Unix epoch; 0 for never.
        last_error: the text of the last failure.
    """

    name: str
    position: int
    tries: int = 0
    next_try: int = 0
    last_success: int = 0
    last_error_at: int = 0
    last_error: str = ""

    def succeeded(self, now: int) -> "SinkState":
        """Note a delivery."""
        return dataclasses.replace(self, tries=0, next_try=0, last_success=now)

    def failed(self, now: int, error: str) -> "SinkState":
        """Note a failure that is not the sink's."""
        return dataclasses.replace(self, last_error_at=now, last_error=error)

    def pausing(self, now: int, error: str, seconds: float) -> "SinkState":
        """Note a failure of the sink, and for how long it is left alone."""
        paused = dataclasses.replace(self, tries=self.tries + 1, next_try=now + int(seconds * 1000))
        return paused.failed(now, error)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event that waits in a sink's queue, or is a dead letter.

    Attributes:
        sink, position: which event to which sink.
        subject: of the event; deliveries of one subject wait for each other.
        tries: failures so far.
        next_try: ms since the Unix epoch.
        dead_at: when it became a dead letter, ms; 0 while it waits.
        error: the text of the last failure.
    """

    sink: str
    position: int
    subject: str
    tries: int = 0
    next_try: int = 0
    dead_at: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Patience:
    """When an undelivered event becomes a dead letter.

    Attributes:
        tries: failures of the event itself.
        age_ms: age of the event, whoever fails.
    """

    tries: int
    age_ms: int

    def is_over(self, tries: int, event_time: int, now: int) -> bool:
        """Say whether it is time to give up."""
        return tries >= self.tries or now - event_time >= self.age_ms


@dataclass(frozen=True, slots=True)
class Route:
    """Which events a sink gets, and for how long they are tried.

    Attributes:
        name: the sink's.
        pattern: what it gets by itself; None if only rules send to it.
        patience: when events become dead letters.
    """

    name: str
    pattern: Pattern | None
    patience: Patience

    def picks(self, event: Event) -> bool:
        """Say whether the sink gets an event by itself."""
        return self.pattern is not None and self.pattern.picks(event)


def backoff(tries: int, chance: float, retry_after: float | None = None) -> float:
    """Give the seconds until the next try: full jitter over a doubling ceiling, never before `retry_after`.

    Args:
        tries: failures so far, at least 1.
        chance: random, from 0 to 1.
        retry_after: what the sink asked for.
    """
    ceiling = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(tries - 1, 32))
    asked = 0.0 if retry_after is None else min(max(retry_after, 0.0), MOST_RETRY_AFTER)
    return asked + ceiling * chance


def is_due(next_try: int, now: int) -> bool:
    """Say whether a try is due; one that is absurdly far away was set before the clock was put back."""
    return next_try <= now or next_try > now + int((MOST_RETRY_AFTER + CAP_SECONDS) * 1000)
