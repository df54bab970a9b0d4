"""Rules at work: what is done about events, by named principals, through the ordinary use cases.

The worker with the upkeep lease looks at each event once, in order. An action is asked for as a principal of
the configuration: the key's policy decides, quotas are charged, the audit log says so. It carries an
idempotency key made of rule and event, so that a worker that dies in between makes nothing happen twice.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from strongroomd.custody.clock import Clock
from strongroomd.custody.keys import Keys
from strongroomd.custody.scribe import EventMeter, Scribe
from strongroomd.domain.delivery import RULES, Delivery, Route, SinkState
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Draft, Event, EventType
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.rules import HOUR_MS, Rule, RuleAction
from strongroomd.ports import Outbox, Store
from strongroomd.telemetry import logs

_log = logs.get("events")
_BATCH: Final = 100
_SECONDS: Final = 10.0  # of an action
_UNWRITTEN: Final = 1.0  # seconds: what rules that come after a kill may look at again
_LATER: Final = frozenset(
    {
        Reason.QUOTA_EXCEEDED,
        Reason.DEADLINE_EXCEEDED,
        Reason.OVERLOADED,
        Reason.HSM_UNAVAILABLE,
        Reason.STORE_UNAVAILABLE,
        Reason.AUDIT_UNAVAILABLE,
    }
)
"""Failures that pass: the rules wait for that. Any other ends this one action, so that no event stops all."""
_NARROW: Final = frozenset({Reason.QUOTA_EXCEEDED, Reason.DEADLINE_EXCEEDED})
"""Those of them that may be one key's or account's own: the others' rules wait for them only so long."""
_PATIENCE: Final = 60.0  # seconds


@dataclass
class _AtHand:
    """The event that rules are applied to, as long as it is tried again.

    Attributes:
        position: the event's.
        done: names of the rules that are done with it.
        since: when each rule's action first failed for a reason of its own, on the monotonic clock.
    """

    position: int = 0
    done: set[str] = field(default_factory=set)
    since: dict[str, float] = field(default_factory=dict)


class Rules:
    """Applies the rules.

    Args:
        outbox: events, and how often rules acted.
        store: where events about rules go.
        scribe: verifies and writes events.
        keys: the use cases.
        clock: the hour that firings are counted in.
        meter: counts.
        principal: finds a configured principal.
    """

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        scribe: Scribe,
        keys: Keys,
        clock: Clock,
        meter: EventMeter,
        principal: Callable[[str], Principal],
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._scribe = scribe
        self._keys = keys
        self._clock = clock
        self._meter = meter
        self.principal = principal
        self._rules: tuple[Rule, ...] = ()
        self._routes: dict[str, Route] = {}
        self._at_hand = _AtHand()
        self._seen = 0  # events up to here were looked at: known to this worker, maybe not written down yet
        self._written = -math.inf  # when that was, on the monotonic clock

    def use(self, rules: Sequence[Rule], routes: Mapping[str, Route]) -> None:
        """Take over rules, and the routes of the sinks that they notify; for events not looked at yet."""
        self._rules, self._routes = tuple(rules), dict(routes)

    async def apply(self) -> None:
        """Look at the events since the last time. What cannot be done now is done the next time.

        Raises:
            StrongroomError: something that an action needs is away.
        """
        state = await self._state()
        if state is None:
            return
        self._seen = max(self._seen, state.position)
        while batch := await self._outbox.events(self._seen, _BATCH):
            state = await self._look_at(state, batch)
        if self._is_due(state):
            await self._note(state)

    async def settle(self) -> None:
        """Write down up to where events were looked at: before others look, or other rules do."""
        state = await self._state()
        if state is not None and self._seen > state.position:
            await self._note(state)

    async def _state(self) -> SinkState | None:
        return next((each for each in await self._outbox.sinks() if each.name == RULES), None)

    async def _look_at(self, state: SinkState, batch: list[tuple[Event, bytes]]) -> SinkState:
        """Judge some events, and note the position when a rule acted or it is time to."""
        acted = False
        try:
            for event, mac in batch:
                acted = await self._judge(event, mac) or acted
                self._seen = event.position
        finally:
            if acted or self._is_due(state):
                state = await self._note(state)
        return state

    def _is_due(self, state: SinkState) -> bool:
        """Say whether the position moved and is to be written; not for each event that concerns no rule."""
        moved = self._seen - state.position
        waited = self._clock.monotonic() - self._written
        return moved >= _BATCH or (moved > 0 and waited >= _UNWRITTEN)

    async def _note(self, state: SinkState) -> SinkState:
        state = dataclasses.replace(state, position=self._seen)
        await self._outbox.settle(state)
        self._written = self._clock.monotonic()
        return state

    async def _judge(self, event: Event, mac: bytes) -> bool:
        """Apply the rules that an event concerns; says whether there are any."""
        matching = [rule for rule in self._rules if rule.pattern.picks(event)]
        if not matching:
            return False
        if not await self._scribe.is_ours(event, mac):
            _log.error("an event's MAC is wrong; no rule acts on it", position=event.position)
            return False
        if self._at_hand.position != event.position:
            self._at_hand = _AtHand(event.position)
        for rule in matching:
            if rule.name not in self._at_hand.done:
                await self._fire(rule, event)
                self._at_hand.done.add(rule.name)
        return True

    async def _fire(self, rule: Rule, event: Event) -> None:
        now = self._clock.wall_ms()
        if not await self._outbox.fire(rule.name, event.subject, event.position, now, rule.most_per_hour):
            await self._suppressed(rule, event)
            return
        try:
            await self._act(rule, event)
        except StrongroomError as error:
            if self._is_postponed(rule, error.reason):
                self._meter.fired(rule.name, "postponed")
                raise
            self._meter.fired(rule.name, "refused")
            _log.warning("a rule's action was refused", rule=rule.name, reason=error.reason.value)
            await self._say(EventType.RULE_FAILED, rule, event, {"reason": error.reason.value})
        else:
            self._meter.fired(rule.name, "done")

    def _is_postponed(self, rule: Rule, reason: Reason) -> bool:
        """Say whether an action that failed is tried again."""
        if reason not in _NARROW:
            return reason in _LATER
        now = self._clock.monotonic()
        return now - self._at_hand.since.setdefault(rule.name, now) < _PATIENCE

    async def _act(self, rule: Rule, event: Event) -> None:
        match rule.action:
            case RuleAction.NOTIFY:
                await self._notify(rule.sink, event)
            case RuleAction.ENABLE_KEY:
                await self._keys.enable(self._caller(rule, event), event.subject, "", _once(rule, event))
            case RuleAction.DISABLE_KEY:
                await self._keys.disable(self._caller(rule, event), event.subject, "", _once(rule, event))

    async def _notify(self, sink: str, event: Event) -> None:
        """Put an event into a sink's queue, unless it gets it anyway."""
        if not self._routes[sink].picks(event):
            await self._outbox.settle(None, put=[Delivery(sink, event.position, event.subject)])

    def _caller(self, rule: Rule, event: Event) -> Caller:
        deadline = self._clock.monotonic() + _SECONDS
        principal = self.principal(rule.principal)
        return Caller(principal, f"event-{event.id}", deadline, f"rule/{rule.name}", "rule")

    async def _suppressed(self, rule: Rule, event: Event) -> None:
        self._meter.fired(rule.name, "suppressed")
        _log.warning("a rule acted too often and is held back", rule=rule.name, subject=event.subject)
        await self._say(
            EventType.RULE_SUPPRESSED, rule, event, {"most_per_hour": rule.most_per_hour}, HOUR_MS
        )

    async def _say(
        self, type_: EventType, rule: Rule, event: Event, facts: Mapping[str, object], quiet_ms: int = 0
    ) -> None:
        """Write an event about a rule; its subject is the rule, so that it is never the rule's own cause."""
        about = {"rule": rule.name, "event": event.id, "event_type": event.type, "key": event.subject}
        draft = Draft(type_, f"rule/{rule.name}", about | dict(facts))
        await self._scribe.announce(self._store, [draft], quiet_ms=quiet_ms)


def _once(rule: Rule, event: Event) -> str:
    """Make the idempotency key of a rule's action on an event."""
    return "rule-" + hashlib.sha256(f"{rule.name}\0{event.id}".encode()).hexdigest()[:40]
