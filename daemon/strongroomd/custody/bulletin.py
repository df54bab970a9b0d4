"""Use cases of events, for operators: watch them, look at sinks and dead letters, send those again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Final

from strongroomd.custody import pages
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.passage import Passage
from strongroomd.custody.scribe import Scribe
from strongroomd.domain.actions import Action
from strongroomd.domain.compliance import Finding
from strongroomd.domain.delivery import COMPLIANCE, Delivery, SinkState
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.events import MAX_PATTERN, Event, Pattern, check_pattern, check_type_pattern
from strongroomd.domain.principals import Caller
from strongroomd.ports import Outbox

POLL_SECONDS: Final = 0.25
MAX_PATTERNS: Final = 50
_BATCH: Final = 100
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """How a sink is doing.

    Attributes:
        state: what is kept of it.
        configured: whether the configuration names it now.
        backlog: events that it has not got: not taken up yet, or waiting.
        waiting: of those, deliveries that wait for another try.
        dead_letters: events that were given up.
    """

    state: SinkState
    configured: bool
    backlog: int
    waiting: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up at a sink."""

    delivery: Delivery
    event: Event


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Dead letters of one page, and the token of the next (empty at the end)."""

    letters: list[DeadLetter]
    next_token: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the newest compliance run found.

    Attributes:
        time: when it ran, ms; 0 if there was none yet.
        keys: how many keys it judged.
        findings: those of one page.
        next_token: token of the next page, empty at the end.
    """

    time: int
    keys: int
    findings: list[Finding]
    next_token: str


class Bulletin(UseCases):
    """Reading events and looking after their delivery.

    Args:
        gate: the one way in.
        outbox: events and what became of them.
        scribe: verifies their MACs.
        configured: gives the names of the sinks in the configuration.
    """

    def __init__(
        self, gate: Gate, outbox: Outbox, scribe: Scribe, configured: Callable[[], Collection[str]]
    ) -> None:
        super().__init__(gate)
        self._outbox = outbox
        self._scribe = scribe
        self._configured = configured

    async def watch(
        self, caller: Caller, types: tuple[str, ...], subjects: tuple[str, ...], cursor: str = ""
    ) -> AsyncIterator[tuple[Event, str]]:
        """Follow events; the right to is decided and audited before the first. Gives each with its cursor.

        Raises:
            StrongroomError: NOT_FOUND where the next event was purged, but for cursor 0, which takes what
                is kept; INTEGRITY_FAILURE for an event that the daemon did not write.
        """
        wanted, position, gapless = await self._begin_watch(caller, types, subjects, cursor)
        while True:
            batch = await self._outbox.events(position, _BATCH)
            for event, mac in batch:
                if gapless and event.position != position + 1:
                    raise _gone()
                position = event.position
                if not await self._scribe.is_ours(event, mac):
                    raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="an event's MAC is wrong")
                if wanted.picks(event):
                    yield event, _cursor(position)
            if len(batch) < _BATCH:
                await asyncio.sleep(POLL_SECONDS)

    @gated(Action.WATCH_EVENTS)
    async def _begin_watch(
        self, passage: Passage, types: tuple[str, ...], subjects: tuple[str, ...], cursor: str
    ) -> tuple[Pattern, int, bool]:
        """Give what is wanted, behind which position, and whether no event may be missing there."""
        passage.claim_keyless()
        for field, patterns in (("types", types), ("subjects", subjects)):
            if len(patterns) > MAX_PATTERNS:
                raise too_large(field, MAX_PATTERNS, "patterns")
        for number, pattern in enumerate(types):
            check_type_pattern(pattern, f"types[{number}]")
        for number, pattern in enumerate(subjects):
            check_pattern(pattern, f"subjects[{number}]")
        oldest, newest = await self._outbox.span()
        position = _position(cursor) if cursor else newest
        if position > newest:
            raise invalid("cursor", "must be the cursor of an event")
        if position == 0:  # whatever is kept, from its beginning
            return Pattern(types, subjects), max(oldest - 1, 0), False
        # Dead letters outlive their neighbours, so the oldest event says nothing of those behind it.
        if position < newest and await self._outbox.event(position + 1) is None:
            raise _gone()
        return Pattern(types, subjects), position, True

    @gated(Action.LIST_SINKS)
    async def sinks(self, passage: Passage) -> list[SinkStatus]:
        """Say how every sink is doing, those of earlier configurations included."""
        passage.claim_keyless()
        configured, counts = self._configured(), await self._outbox.counts()
        newest = (await self._outbox.span())[1]
        found = []
        for state in sorted(await self._outbox.sinks(), key=lambda each: each.name):
            if state.name.startswith("@"):
                continue
            waiting, dead = counts.get(state.name, (0, 0))
            known = state.name in configured
            backlog = newest - state.position + waiting if known else waiting
            found.append(SinkStatus(state, known, backlog, waiting, dead))
        return found

    async def _named(self, sink: str) -> list[str]:
        """Give the sinks that are meant: one, or all for an empty name. Raises NOT_FOUND."""
        if len(sink) > MAX_PATTERN:
            raise too_large("sink", MAX_PATTERN, "characters")
        known = sorted(each.name for each in await self._outbox.sinks() if not each.name.startswith("@"))
        if sink and sink not in known:
            raise StrongroomError(Reason.NOT_FOUND, field="sink")
        return [sink] if sink else known

    @gated(Action.LIST_DEAD_LETTERS)
    async def dead_letters(
        self, passage: Passage, sink: str = "", size: int = 0, token: str = ""
    ) -> LetterPage:
        """List the events that were given up, by sink and then by age."""
        passage.claim_keyless()
        names = await self._named(sink)
        limit, binding = pages.page_size(size), (*pages.asker(passage), sink)
        begin, after = _place(pages.decode(token, *binding))
        found: list[DeadLetter] = []
        for name in (each for each in names if each >= begin):
            behind = after if name == begin else 0
            found += await self._letters(name, behind, limit + 1 - len(found))
            if len(found) > limit:
                last = found[limit - 1].delivery
                return LetterPage(found[:limit], pages.encode(f"{last.position}/{last.sink}", *binding))
        return LetterPage(found, "")

    async def _letters(self, sink: str, after: int, limit: int) -> list[DeadLetter]:
        letters = []
        for each in await self._outbox.deliveries(sink, dead=True, after=after, limit=limit):
            found = await self._outbox.event(each.position)
            if found is not None:
                letters.append(DeadLetter(each, found[0]))
        return letters

    @gated(Action.REDRIVE_DEAD_LETTER)
    async def redrive(self, passage: Passage, sink: str = "", event_id: str = "") -> int:
        """Have dead letters sent again, all of them or those of a sink or an event; says how many.

        Raises:
            StrongroomError: NOT_FOUND for an unknown sink, or an event that is no dead letter there.
        """
        passage.claim_keyless()
        if len(event_id) > MAX_PATTERN:
            raise too_large("event_id", MAX_PATTERN, "characters")
        count, names = 0, await self._named(sink)
        passage.facts["sink"] = sink or "*"  # only now: a name that is known may be written down
        for name in names:
            count += await self._revive(name, event_id)
        passage.facts["count"] = count
        if event_id and not count:
            raise StrongroomError(Reason.NOT_FOUND, field="event_id")
        return count

    async def _revive(self, sink: str, event_id: str) -> int:
        count, after = 0, 0
        while letters := await self._letters(sink, after, _PAGE):
            after = letters[-1].delivery.position
            wanted = [each.delivery for each in letters if event_id in ("", each.event.id)]
            if wanted:
                await self._outbox.settle(None, put=[Delivery(d.sink, d.position, d.subject) for d in wanted])
            count += len(wanted)
        return count

    @gated(Action.GET_COMPLIANCE_REPORT)
    async def report(self, passage: Passage, size: int = 0, token: str = "") -> Report:
        """Give what the newest compliance run found."""
        passage.claim_keyless()
        limit, binding = pages.page_size(size), pages.asker(passage)
        subject, _, check = pages.decode(token, *binding).rpartition("/")
        found = await self._outbox.findings(after=(subject, check), limit=limit + 1)
        state = next((s for s in await self._outbox.sinks() if s.name == COMPLIANCE), SinkState("", 0))
        shown, more = found[:limit], len(found) > limit
        next_token = pages.encode(f"{shown[-1].subject}/{shown[-1].check}", *binding) if more else ""
        return Report(state.last_success, state.position, shown, next_token)


def _gone() -> StrongroomError:
    return StrongroomError(Reason.NOT_FOUND, "the events behind this cursor are gone", field="cursor")


def _cursor(position: int) -> str:
    return str(position)


def _position(cursor: str) -> int:
    if not _is_position(cursor):
        raise invalid("cursor", "must be the cursor of an event")
    return int(cursor)


def _is_position(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _place(text: str) -> tuple[str, int]:
    """Take a page's beginning apart: the sink and the position behind which it begins."""
    position, _, sink = text.partition("/")
    return sink, int(position) if _is_position(position) else 0
