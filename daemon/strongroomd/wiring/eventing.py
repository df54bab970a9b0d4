"""Everything between an event and whoever hears of it, from the configuration."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroomd.config import Settings
from strongroomd.config.eventchecks import LEAST_SECRET, secret_in
from strongroomd.config.sections import RuleSection, SinkSection
from strongroomd.custody.alarms import Alarms
from strongroomd.custody.bulletin import Bulletin
from strongroomd.custody.clock import Clock
from strongroomd.custody.compliance import Compliance
from strongroomd.custody.courier import Courier
from strongroomd.custody.directory import Directory
from strongroomd.custody.gate import Gate
from strongroomd.custody.keys import Keys
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.rules import Rules
from strongroomd.custody.scribe import Scribe
from strongroomd.domain.delivery import Patience, Route
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Pattern
from strongroomd.domain.rules import HOUR_MS, Rule, RuleAction
from strongroomd.events.broken import Broken
from strongroomd.ports import Outbox, Sink, Store, Vault
from strongroomd.telemetry import logs
from strongroomd.telemetry.metrics import Metrics
from strongroomd.wiring import rooms
from strongroomd.wiring.meters import EventMetrics

_log = logs.get("events")
_PURGE: Final = 5_000  # events forgotten at once


@dataclass(frozen=True, slots=True)
class EventRim:
    """What events need of the other rooms."""

    store: Store
    outbox: Outbox
    ledger: Ledger
    clock: Clock
    metrics: Metrics

    @property
    def scribe(self) -> Scribe:
        """The ledger's."""
        if self.ledger.scribe is None:
            raise StrongroomError(Reason.INTERNAL, detail="a serving worker's ledger needs a scribe")
        return self.ledger.scribe


class Eventing:
    """The built parts, and what is done to all of them."""

    def __init__(
        self,
        rim: EventRim,
        courier: Courier,
        rules: Rules,
        compliance: Compliance,
        alarms: Alarms,
        directory: Directory,
    ) -> None:
        self._rim = rim
        self._directory = directory
        self.courier = courier
        self.rules = rules
        self.compliance = compliance
        self.alarms = alarms
        self.bulletin: Bulletin
        self._settings: Settings

    def begin(self, settings: Settings, gate: Gate) -> None:
        """Take the first settings over."""
        self.bulletin = Bulletin(gate, self._rim.outbox, self._rim.scribe, lambda: self.courier.routes)
        self._adopt(settings)

    async def use(self, settings: Settings) -> None:
        """Take over reloaded settings; a sink that cannot be made from them fails alone.

        Raises:
            StrongroomError: STORE_UNAVAILABLE, and then changes nothing.
        """
        await self.rules.settle()
        await self.courier.use(routes(settings), sinks(settings))
        self._adopt(settings)

    def _adopt(self, settings: Settings) -> None:
        self._settings = settings
        self.rules.use([_rule(entry) for entry in settings.events.rules], routes(settings))
        self.rules.principal = lambda arn: self._directory.acting(rooms.principal(settings, arn))
        self.compliance.every_seconds = settings.compliance.every_hours * 3_600
        self.compliance.unused_days = settings.compliance.unused_days

    async def purge(self) -> None:
        """Forget what was delivered long ago."""
        events, now = self._settings.events, self._rim.clock.wall_ms()
        await self._rim.outbox.purge(
            events_before=now - events.retention_hours * HOUR_MS,
            dead_before=now - events.dead_letter_days * 24 * HOUR_MS,
            limit=_PURGE,
        )


def scribe(settings: Settings, vault: Vault, metrics: Metrics) -> Scribe:
    """Make the writer of events."""
    return Scribe(vault, rooms.realm(settings), Clock(), EventMetrics(metrics))


def build_alarms(settings: Settings, rim: EventRim) -> Alarms:
    """Make what hears of refusals and failures."""
    return Alarms(rim.scribe, rim.store, rim.clock, settings.daemon.node)


def build_eventing(
    settings: Settings, rim: EventRim, gate: Gate, keys: Keys, alarms: Alarms, directory: Directory
) -> Eventing:
    """Build the parts; nothing connects anywhere before there is something to deliver."""
    meter, outbox = EventMetrics(rim.metrics), rim.outbox
    courier = Courier(outbox, rim.scribe, rim.clock, meter, routes(settings), sinks(settings))
    rules = Rules(
        outbox, rim.store, rim.scribe, keys, rim.clock, meter, lambda arn: rooms.principal(settings, arn)
    )
    compliance = Compliance(rim.ledger, rim.store, outbox, rim.scribe, rim.clock, meter, 0, 0)
    eventing = Eventing(rim, courier, rules, compliance, alarms, directory)
    eventing.begin(settings, gate)
    return eventing


def routes(settings: Settings) -> dict[str, Route]:
    """Which events go where."""
    return {entry.name: _route(entry) for entry in settings.events.sinks}


def _route(entry: SinkSection) -> Route:
    pattern = Pattern(types=entry.types) if entry.types else None
    return Route(entry.name, pattern, Patience(entry.max_tries, entry.max_age_hours * HOUR_MS))


def sinks(settings: Settings) -> dict[str, Sink]:
    """Make the sinks; one whose files are of no use fails at each try, and holds nobody else back."""
    source = rooms.event_source(settings)
    return {entry.name: _sink(entry, source) for entry in settings.events.sinks}


def _sink(entry: SinkSection, source: str) -> Sink:
    make = {"webhook": _webhook, "nats": _nats}[entry.kind]
    try:
        return make(entry, source)
    except StrongroomError as error:
        why = error.message
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one sink, keys are still served
        why = f"the sink cannot be made: {type(error).__name__}"
    _log.error("this sink gets nothing before its configuration is mended", sink=entry.name, cause=why)
    return Broken(why)


def _webhook(entry: SinkSection, source: str) -> Sink:
    from strongroomd.events.webhook import Webhook, WebhookSettings  # noqa: PLC0415 - httpx: slow to load, rarely used

    field = f"events.sinks.{entry.name}.secret_file"
    secret = _secret(entry.secret_file, field)
    if len(secret) < LEAST_SECRET:
        text = f"secret_file must hold at least {LEAST_SECRET} bytes"
        raise StrongroomError(Reason.CONFIGURATION, text, field=field)
    return Webhook(
        WebhookSettings(
            url=entry.url or "",
            secret=secret,
            seconds=float(entry.timeout_seconds),
            networks=tuple(ipaddress.ip_network(network) for network in entry.allow_networks),
            ca_file=entry.ca_file,
            source=source,
        )
    )


def _nats(entry: SinkSection, source: str) -> Sink:
    from strongroomd.events.jetstream import JetStream, NatsSettings  # noqa: PLC0415 - nats-py: likewise

    field = f"events.sinks.{entry.name}.token_file"
    return JetStream(
        NatsSettings(
            servers=entry.servers,
            subject=entry.subject,
            token=_secret(entry.token_file, field).decode("ascii", "replace"),
            seconds=float(entry.timeout_seconds),
            ca_file=entry.ca_file,
            source=source,
        )
    )


def _secret(path: Path | None, field: str) -> bytes:
    """Read a secret. Raises CONFIGURATION."""
    try:
        return b"" if path is None else secret_in(path)
    except OSError:
        text = f"{field.rpartition('.')[2]} cannot be read"
        raise StrongroomError(Reason.CONFIGURATION, text, field=field) from None


def _rule(entry: RuleSection) -> Rule:
    pattern = Pattern(entry.types, entry.subjects, tuple(sorted(entry.data.items())))
    return Rule(
        name=entry.name,
        pattern=pattern,
        action=RuleAction(entry.action),
        principal=entry.principal or "",
        sink=entry.sink or "",
        most_per_hour=entry.max_per_hour,
    )
