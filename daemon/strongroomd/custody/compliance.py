"""The compliance run: every key judged on a schedule, by the worker with the upkeep lease.

What is found is kept until the next run finds it gone; an event says when something is found and when it is
resolved. Records are verified as they are read: a damaged one is passed over, what was found of it stays, and
the scan tells of it.
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from strongroomd.custody.clock import Clock
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.scribe import EventMeter, Scribe
from strongroomd.domain.adoption import AdoptedObject, described
from strongroomd.domain.compliance import Check, Finding, judge
from strongroomd.domain.delivery import COMPLIANCE, SinkState
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Draft, Event, EventType
from strongroomd.domain.records import CustodyMode, KeyRecord, VersionRecord
from strongroomd.ports import Outbox, Store
from strongroomd.telemetry import logs

_log = logs.get("custody")
_PAGE: Final = 500
_AT_ONCE: Final = 50  # findings of one transaction: the writer is not kept from others


class Compliance:
    """Judges all keys.

    Args:
        ledger: verifies records.
        store: lists keys and their use.
        outbox: keeps findings.
        scribe: writes events.
        clock: what is due.
        meter: counts.
        every_seconds: between two runs; 0 for never.
        unused_days: after how many days without use a key counts as unused; 0 for never.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - reads what all of them know
        self,
        ledger: Ledger,
        store: Store,
        outbox: Outbox,
        scribe: Scribe,
        clock: Clock,
        meter: EventMeter,
        every_seconds: int,
        unused_days: int,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._outbox = outbox
        self._scribe = scribe
        self._clock = clock
        self._meter = meter
        self.every_seconds = every_seconds
        self.unused_days = unused_days

    async def run_if_due(self) -> None:
        """Run if the last run is long enough ago."""
        if not self.every_seconds:
            return
        await self._outbox.note(SinkState(COMPLIANCE, 0))
        states = await self._outbox.sinks()
        last = next((state.last_success for state in states if state.name == COMPLIANCE), 0)
        if not last <= self._clock.wall_ms() < last + self.every_seconds * 1000:
            await self.run()

    async def run(self) -> None:
        """Judge every key, and write down what changed since the last run."""
        now, checked = self._clock.wall_ms(), 0
        found: dict[tuple[str, str], Finding] = {}
        damaged: set[str] = set()
        async for key in self._keys(damaged):
            checked += 1
            subject = self._scribe.realm.key_arn(key.key_id, key.account)
            used = max((use.last_used for use in await self._store.usage(key.key_id)), default=0)
            for check in judge(key, used, now, self.unused_days, await self._object_of(key)):
                found[subject, check.value] = Finding(subject, check.value, now)
        known = {(each.subject, each.check): each for each in await self._known()}
        await self._write([found[place] for place in sorted(found.keys() - known.keys())], new=True)
        gone = [known[place] for place in sorted(known.keys() - found.keys()) if place[0] not in damaged]
        await self._write(gone, new=False)
        await self._outbox.settle(SinkState(COMPLIANCE, checked, last_success=now))
        counts = Counter(check for _, check in found)
        for check in Check:
            self._meter.found(check.value, counts[check.value])
        _log.info("compliance run", keys=checked, findings=len(found), damaged=len(damaged))

    async def _object_of(self, key: KeyRecord) -> AdoptedObject | None:
        """Give the object that an adopted key is now; None for others, and where it cannot be believed."""
        if key.mode is not CustodyMode.ADOPTED:
            return None
        try:
            version = await self._ledger.read(VersionRecord, f"{key.key_id}/{key.current_version}")
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            return None  # the scan tells of it
        return described(version) if version else None

    async def _keys(self, damaged: set[str]) -> AsyncIterator[KeyRecord]:
        """Give every key, verified; the ARNs of those that cannot be believed go to `damaged`."""
        after = ""
        while page := await self._store.page(KeyRecord, after=after, limit=_PAGE, where={}):
            for stored in page:
                try:
                    yield await self._ledger.verify(stored)
                except StrongroomError as error:
                    if error.reason is not Reason.INTEGRITY_FAILURE:
                        raise
                    damaged.add(self._scribe.realm.key_arn(stored.record.key_id, stored.record.account))
            after = page[-1].record.record_id

    async def _known(self) -> list[Finding]:
        """Read what the last run found."""
        known: list[Finding] = []
        after = ("", "")
        while page := await self._outbox.findings(after=after, limit=_PAGE):
            known += page
            after = (page[-1].subject, page[-1].check)
        return known

    async def _write(self, findings: list[Finding], *, new: bool) -> None:
        """Keep or forget findings, each with its event."""
        for begin in range(0, len(findings), _AT_ONCE):
            some = findings[begin : begin + _AT_ONCE]
            async with self._store.transaction() as transaction:
                for each in some:
                    await (transaction.put_finding(each) if new else transaction.drop_finding(each))
                events: list[Event] = await self._scribe.write(
                    transaction, [_draft(f, new=new) for f in some]
                )
            self._scribe.committed(events)


def _draft(finding: Finding, *, new: bool) -> Draft:
    kind = EventType.COMPLIANCE_FINDING if new else EventType.COMPLIANCE_RESOLVED
    return Draft(kind, finding.subject, {"check": finding.check})
