"""EventService."""

import json
from collections.abc import Iterable
from typing import Any, Final

from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.v1 import events_pb2 as pb

_EVENTS: Final = "EventService"
_WATCH: Final = Rpc(_EVENTS, "WatchEvents", pb.WatchEventsRequest, pb.WatchEventsResponse)
_SINKS: Final = Rpc(_EVENTS, "ListSinks", pb.ListSinksRequest, pb.ListSinksResponse)
_LETTERS: Final = Rpc(_EVENTS, "ListDeadLetters", pb.ListDeadLettersRequest, pb.ListDeadLettersResponse)
_REDRIVE: Final = Rpc(_EVENTS, "RedriveDeadLetter", pb.RedriveDeadLetterRequest, pb.RedriveDeadLetterResponse)
_REPORT: Final = Rpc(
    _EVENTS, "GetComplianceReport", pb.GetComplianceReportRequest, pb.GetComplianceReportResponse
)


def watch_events(
    *, types: Iterable[str] = (), subjects: Iterable[str] = (), cursor: str = ""
) -> Call[results.WatchedEvent]:
    """Follow events from now on, or from behind a cursor; patterns may end in `*`. Each reply is an event."""
    request = _WATCH.make(types=list(types), subjects=list(subjects), cursor=cursor)
    return _WATCH.call(request, lambda reply: results.WatchedEvent(_event(reply.event), reply.cursor))


def list_sinks() -> Call[tuple[results.Sink, ...]]:
    """Say how each sink of events is doing."""
    return _SINKS.call(_SINKS.make(), lambda reply: tuple(_sink(each) for each in reply.sinks))


def list_dead_letters(
    *, sink: str = "", page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.DeadLetter]]:
    """List events that were given up; an empty sink means all."""
    request = _LETTERS.make(sink=sink, page_size=page_size, page_token=page_token)
    return _LETTERS.call(request, _letters)


def redrive_dead_letter(*, sink: str = "", event_id: str = "") -> Call[int]:
    """Have dead letters sent again: all, those of a sink, or one event's; says how many."""
    return _REDRIVE.call(_REDRIVE.make(sink=sink, event_id=event_id), lambda reply: reply.redriven)


def get_compliance_report(*, page_size: int = 0, page_token: str = "") -> Call[results.ComplianceReport]:
    """Read what the newest compliance run found."""
    request = _REPORT.make(page_size=page_size, page_token=page_token)
    return _REPORT.call(request, _report)


def _event(event: pb.Event) -> results.Event:
    return results.Event(
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=_read.time_of(event, "time"),
        sequence=event.sequence,
        principal=event.principal,
        request_id=event.request_id,
        data=_data(event.data_json),
    )


def _data(text: str) -> dict[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _sink(sink: pb.SinkStatus) -> results.Sink:
    return results.Sink(
        name=sink.name,
        configured=sink.configured,
        backlog=sink.backlog,
        waiting=sink.waiting,
        dead_letters=sink.dead_letters,
        last_success_time=_read.time_of(sink, "last_success_time"),
        last_error_time=_read.time_of(sink, "last_error_time"),
        last_error=sink.last_error,
        next_try_time=_read.time_of(sink, "next_try_time"),
    )


def _letters(reply: pb.ListDeadLettersResponse) -> results.Page[results.DeadLetter]:
    letters = (
        results.DeadLetter(
            sink=each.sink,
            event=_event(each.event),
            tries=each.tries,
            error=each.error,
            time=_read.time_of(each, "time"),
        )
        for each in reply.dead_letters
    )
    return results.Page(tuple(letters), reply.next_page_token)


def _report(reply: pb.GetComplianceReportResponse) -> results.ComplianceReport:
    findings = (
        results.Finding(each.key_arn, each.check, _read.time_of(each, "since")) for each in reply.findings
    )
    return results.ComplianceReport(
        time=_read.time_of(reply, "time"),
        keys=reply.keys,
        items=tuple(findings),
        checks_not_offered=tuple(reply.checks_not_offered),
        next_page_token=reply.next_page_token,
    )
