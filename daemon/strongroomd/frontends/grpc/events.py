"""EventService on the wire."""

from collections.abc import AsyncIterator

from strongroom.v1 import events_pb2 as pb
from strongroomd.custody.bulletin import Bulletin, DeadLetter, SinkStatus
from strongroomd.domain.compliance import NOT_OFFERED
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Event
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class EventServicer:
    """Turns EventService messages into use cases and back.

    Args:
        bulletin: the use cases.
        source: the CloudEvents source of this installation.
    """

    def __init__(self, bulletin: Bulletin, source: str) -> None:
        self._bulletin = bulletin
        self._source = source

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, call: Call
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """Follow events, as long as the certificate speaks for the operator who began."""
        types, subjects = tuple(request.types), tuple(request.subjects)
        async for event, cursor in self._bulletin.watch(call.caller, types, subjects, request.cursor):
            if call.renew().principal != call.caller.principal:
                raise StrongroomError(Reason.ACCESS_DENIED, "only an operator may do this")
            yield pb.WatchEventsResponse(event=self._event(event), cursor=cursor)

    async def ListSinks(self, _request: pb.ListSinksRequest, call: Call) -> pb.ListSinksResponse:
        """Say how sinks are doing."""
        return pb.ListSinksResponse(sinks=[_sink(each) for each in await self._bulletin.sinks(call.caller)])

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, call: Call
    ) -> pb.ListDeadLettersResponse:
        """List dead letters."""
        page = await self._bulletin.dead_letters(
            call.caller, request.sink, request.page_size, request.page_token
        )
        letters = [self._letter(each) for each in page.letters]
        return pb.ListDeadLettersResponse(dead_letters=letters, next_page_token=page.next_token)

    async def RedriveDeadLetter(
        self, request: pb.RedriveDeadLetterRequest, call: Call
    ) -> pb.RedriveDeadLetterResponse:
        """Send dead letters again."""
        count = await self._bulletin.redrive(call.caller, request.sink, request.event_id)
        return pb.RedriveDeadLetterResponse(redriven=count)

    async def GetComplianceReport(
        self, request: pb.GetComplianceReportRequest, call: Call
    ) -> pb.GetComplianceReportResponse:
        """Read the compliance report."""
        report = await self._bulletin.report(call.caller, request.page_size, request.page_token)
        findings = [
            pb.ComplianceFinding(key_arn=f.subject, check=f.check, since=convert.timestamp(f.since))
            for f in report.findings
        ]
        return pb.GetComplianceReportResponse(
            time=convert.timestamp(report.time),
            keys=report.keys,
            findings=findings,
            checks_not_offered=NOT_OFFERED,
            next_page_token=report.next_token,
        )

    def _event(self, event: Event) -> pb.Event:
        return pb.Event(
            id=event.id,
            source=self._source,
            type=event.type,
            subject=event.subject,
            time=convert.timestamp(event.time),
            sequence=event.sequence,
            principal=event.principal,
            request_id=event.request_id,
            data_json=event.data,
        )

    def _letter(self, letter: DeadLetter) -> pb.DeadLetter:
        delivery = letter.delivery
        return pb.DeadLetter(
            sink=delivery.sink,
            event=self._event(letter.event),
            tries=delivery.tries,
            error=delivery.error,
            time=convert.timestamp(delivery.dead_at),
        )


def _sink(status: SinkStatus) -> pb.SinkStatus:
    state = status.state
    return pb.SinkStatus(
        name=state.name,
        configured=status.configured,
        backlog=status.backlog,
        waiting=status.waiting,
        dead_letters=status.dead_letters,
        last_success_time=convert.timestamp(state.last_success),
        last_error_time=convert.timestamp(state.last_error_at),
        last_error=state.last_error,
        next_try_time=convert.timestamp(state.next_try),
    )
