"""Alarms: what happens without changing a record, gathered in memory and written as events each second.

A bucket that keeps refusing calls for a minute, somebody who needs a key that waits for its deletion, an
audit record that could not be written, a record whose MAC is wrong. Each is said at most once a minute for
its subject, whichever workers see it.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from strongroomd.custody.clock import Clock
from strongroomd.custody.scribe import Scribe
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.records import KeyRecord, LimitScope
from strongroomd.ports import Store

STREAK_SECONDS: Final = 60.0
GAP_SECONDS: Final = 10.0
QUIET_MS: Final = 60_000
MOST_STREAKS: Final = 10_000


@dataclass(slots=True)
class _Streak:
    """Refusals of one bucket without a pause."""

    since: float
    newest: float
    refusals: int = 0


class Streaks:
    """Finds buckets that refuse calls for a whole minute; pure but for what it remembers."""

    def __init__(self) -> None:
        self._streaks: OrderedDict[str, _Streak] = OrderedDict()

    def note(self, bucket: str, now: float) -> int:
        """Note a refusal; gives how many there were once they have gone on for a minute, else 0."""
        streak = self._streaks.get(bucket)
        if streak is None or now - streak.newest > GAP_SECONDS:
            streak = self._streaks[bucket] = _Streak(now, now)
        self._streaks.move_to_end(bucket)
        if len(self._streaks) > MOST_STREAKS:
            self._streaks.popitem(last=False)
        streak.newest = now
        streak.refusals += 1
        if now - streak.since < STREAK_SECONDS:
            return 0
        refusals = streak.refusals
        self._streaks[bucket] = _Streak(now, now)
        return refusals


class Alarms:
    """Gathers and announces.

    Args:
        scribe: writes the events.
        store: where to.
        clock: measures streaks.
        node: this node's name, the subject of its audit failures.
    """

    def __init__(self, scribe: Scribe, store: Store, clock: Clock, node: str) -> None:
        self._scribe = scribe
        self._store = store
        self._clock = clock
        self._node = node
        self._streaks = Streaks()
        self._exceeded: dict[str, int] = {}
        self._wanted: dict[str, tuple[int, str]] = {}
        self._counts: Counter[EventType] = Counter()

    def refused(self, error: StrongroomError) -> None:
        """Hear of a call that the gate refused."""
        if error.reason is not Reason.QUOTA_EXCEEDED or not error.violations:
            return
        bucket = error.violations[0][0]
        refusals = self._streaks.note(bucket, self._clock.monotonic())
        if refusals:
            self._exceeded[bucket] = refusals

    def wanted_while_pending(self, key_id: str, principal: str) -> None:
        """Hear that somebody needs a key that waits for its deletion."""
        times, _ = self._wanted.get(key_id, (0, ""))
        if times or len(self._wanted) < MOST_STREAKS:
            self._wanted[key_id] = (times + 1, principal)

    def audit_failed(self) -> None:
        """Hear of an audit record that could not be written."""
        self._counts[EventType.AUDIT_FAILURE] += 1

    def mac_failed(self) -> None:
        """Hear of a record that does not verify."""
        self._counts[EventType.RECORD_MAC_FAILURE] += 1

    async def flush(self) -> None:
        """Announce what was gathered.

        All of it is kept for the next time if the store refuses, and counts also while their kind was told
        less than a minute ago. A full bucket is the same for all workers: who comes later adds nothing.
        """
        exceeded, self._exceeded = self._exceeded, {}
        wanted, self._wanted = self._wanted, {}
        counts, self._counts = self._counts, Counter()
        try:
            told = await self._announce(exceeded, wanted, counts)
        except BaseException:
            self._exceeded = exceeded | self._exceeded
            self._wanted = wanted | self._wanted
            self._counts += counts
            raise
        self._counts += Counter({type_: n for type_, n in counts.items() if type_ not in told})

    async def _announce(
        self, exceeded: dict[str, int], wanted: dict[str, tuple[int, str]], counts: Counter[EventType]
    ) -> set[str]:
        """Write the events; gives the types of those that were not said just before."""
        drafts = [await self._quota(bucket, refusals) for bucket, refusals in exceeded.items()]
        drafts += [await self._pending(key_id, *told) for key_id, told in wanted.items()]
        drafts += [Draft(type_, f"node/{self._node}", {"count": n}) for type_, n in counts.items()]
        if not drafts:
            return set()
        events = await self._scribe.announce(self._store, drafts, quiet_ms=QUIET_MS)
        return {event.type for event in events}

    async def _quota(self, bucket: str, refusals: int) -> Draft:
        scope, _, subject = bucket.partition("/")
        facts = {"bucket": bucket, "scope": scope, "refusals": refusals, "seconds": int(STREAK_SECONDS)}
        about = f"quota/{bucket}"
        if scope == LimitScope.KEY:
            about = self._scribe.realm.key_arn(subject, await self._account(subject))
        return Draft(EventType.QUOTA_EXCEEDED, about, facts)

    async def _pending(self, key_id: str, times: int, principal: str) -> Draft:
        about = self._scribe.realm.key_arn(key_id, await self._account(key_id))
        facts = {"refusals": times, "last_principal": principal}
        return Draft(EventType.KEY_WANTED_WHILE_PENDING_DELETION, about, facts)

    async def _account(self, key_id: str) -> str:
        """Give a key's account; empty if its record is gone or damaged, which must not silence the rest."""
        try:
            stored = await self._store.get(KeyRecord, key_id)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            return ""
        return stored.record.account if stored else ""
