"""One worker: its object graph and its background tasks, from the first file read to the last one closed."""

import gc
import resource
import time
from dataclasses import dataclass

from strongroomd.config import Settings, WorkerPlace, token_plans
from strongroomd.custody.addresses import FLUSH_SECONDS
from strongroomd.custody.admission import Lane
from strongroomd.custody.housekeys import survey
from strongroomd.custody.xks.health import LOOK_SECONDS
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import RewrapRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.frontends.ops.server import OpsServer
from strongroomd.hsm.further import FurtherToken
from strongroomd.hsm.vaults import Vaults
from strongroomd.telemetry.metrics import Metrics, SupervisorCollector
from strongroomd.wiring import rooms
from strongroomd.wiring.core import Core, build_core
from strongroomd.wiring.doors import Doors, build_doors, read_files
from strongroomd.wiring.gauges import Gauges
from strongroomd.wiring.meters import HsmMetrics
from strongroomd.wiring.opening import OpenRim, open_rim
from strongroomd.wiring.rounds import Election, Rounds, guarded
from strongroomd.wiring.succession import Succession

_PAGE_BYTES = resource.getpagesize()
_YOUNG = 20_000
"""Objects more than before, after which the collector looks for garbage (Python: 700).

A hundred calls in flight are 10,000, so that it looked some seventy times a second, and at every connection's
objects: 6.5 % of a worker in a flood.
"""
FOLLOW_SECONDS = 0.2
SETTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Open:
    """What `start` opened and `drain` closes."""

    rim: OpenRim
    core: Core
    doors: Doors
    gauges: Gauges
    election: Election
    succession: Succession


def assemble(settings: Settings, place: WorkerPlace) -> "WorkerAssembly":
    """Prepare a worker's object graph; nothing is opened before `start`."""
    return WorkerAssembly(settings, place)


class WorkerAssembly:
    """A worker: opened by `start`, closed by `drain`."""

    def __init__(self, settings: Settings, place: WorkerPlace) -> None:
        self._settings = settings
        self._place = place
        self._metrics = Metrics(place.index)
        names = [plan.name for plan in token_plans(settings)]
        self._hsm_metrics = {name: HsmMetrics(self._metrics, name) for name in names}
        self._open: _Open | None = None
        self._rounds = Rounds()
        self._fatal: str | None = None
        self._not_ready: str | None = "starting"
        self._born = time.monotonic()

    async def start(self) -> None:
        """Open, verify, serve: only when everything behind it is proved, a door opens."""
        rim = await open_rim(self._settings, self._place, self._metrics, self._hsm_metrics)
        succession = Succession(rim.ledger, rim.store, rim.vault)
        core = await self._build_core(rim)
        await rim.vault.probe()
        self._begin_admission(core)
        doors = self._build_doors(core)
        gauges = Gauges(self._metrics, self._settings, core.admission, core.quotas, rim.store)
        gauges.certificates(doors.certificates)
        election = Election(core.duties.upkeep, self._metrics)
        self._open = _Open(rim, core, doors, gauges, election, succession)
        await self._open_doors(self._open)
        self._begin_rounds(self._open)
        # What start-up made lives as long as the worker: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG)

    async def _build_core(self, rim: OpenRim) -> Core:
        """Build the core, and read what it holds in memory as a whole: the ledger has the journal."""
        holder = f"{self._settings.daemon.node}-{self._place.pid}"
        core = build_core(self._settings, await rim.offered(), rim.ledger, self._metrics, holder)
        alarms = core.eventing.alarms
        rim.found.tell, rim.metered.tell = alarms.mac_failed, alarms.audit_failed
        await core.eventing.courier.register()
        await core.quotas.refresh()
        await core.directory.start()
        await core.key_stores.shelf.start()
        return core

    def _begin_admission(self, core: Core) -> None:
        """Have admission know how late the loop is, and where each token's quick calls run."""
        core.admission.lag.start()
        for name, observer in self._hsm_metrics.items():

            def tell(inline: bool, token: str = name) -> None:  # noqa: FBT001 - what the observer tells
                room = rooms.quick_room(self._settings, inline=inline)
                core.admission.resize(Lane.QUICK, token, room)

            observer.follow_pace(tell)

    def _build_doors(self, core: Core) -> Doors:
        address = (self._place.ops.host, self._place.ops.port)
        ops = OpsServer(address, self._exposition, lambda: self._not_ready, self._troubles)
        return build_doors(
            self._settings, self._place, core, self._metrics, ops, lambda: self._not_ready is None
        )

    async def _open_doors(self, opened: _Open) -> None:
        self._hsm_metrics[MAIN].logged_in(yes=True)
        self._hsm_metrics[MAIN].answers(yes=True)
        self._metrics.audit_chain_ok.set(1)
        await opened.doors.open(opened.core.key_stores.board)
        self._not_ready = None

    def _exposition(self) -> bytes:
        return self._metrics.exposition([SupervisorCollector(self._place.daemon_file)])

    def _troubles(self) -> dict[str, str]:
        """Say of each token what is wrong with it, if there are several; read on the ops server's threads."""
        opened = self._open
        if opened is None or not isinstance(opened.rim.vault, Vaults):
            return {}
        return opened.rim.vault.states()

    def _further(self) -> tuple[FurtherToken, ...]:
        vault = self._open.rim.vault if self._open else None
        return vault.further if isinstance(vault, Vaults) else ()

    def _begin_rounds(self, opened: _Open) -> None:
        """Begin what every worker does, and what the elected one does for all."""
        every, core, succession = self._rounds.every, opened.core, opened.succession
        for token in self._further():
            every(1.0, token.tend)
        every(FOLLOW_SECONDS, self._follow)
        every(5.0, core.usage.flush)
        every(FLUSH_SECONDS, core.addresses.flush)
        every(5.0, self._probe)
        every(LOOK_SECONDS, core.key_stores.board.look, first=0.0)
        every(0.5, self._measure)
        every(10.0, self._look, first=3.0)
        every(0.2, succession.take_up)
        every(60.0, self._sweep)
        every(1.0, core.eventing.alarms.flush)
        every(0.25, self._deliver)
        self._begin_duties(opened)

    def _begin_duties(self, opened: _Open) -> None:
        every, only, succession = self._rounds.every, opened.election.only, opened.succession
        duties, eventing = opened.core.duties, opened.core.eventing
        every(1.0, only(duties.upkeep.checkpoint), first=0.3)
        every(10.0, only(duties.upkeep.settle))
        every(10.0, only(duties.rotation.renew), first=5.0)
        every(10.0, only(duties.approvals.tidy), first=8.0)
        every(10.0, only(duties.certifier.certify), first=7.0)
        every(600.0, only(duties.upkeep.reconcile), first=10.0)
        every(1.0, only(lambda: succession.publish(self._settings)))
        every(10.0, only(duties.house.upkeep.settle), first=4.0)
        every(600.0, only(duties.house.upkeep.reconcile), first=12.0)
        every(1.0, only(duties.house.upkeep.reseal))
        every(0.2, only(duties.house.rewrapper.round))
        every(3600.0, only(duties.upkeep.purge))
        every(30.0, only(duties.upkeep.scan))
        every(0.25, only(eventing.rules.apply))
        every(5.0, only(eventing.courier.measure))
        every(30.0, only(eventing.compliance.run_if_due), first=5.0)
        every(300.0, only(eventing.purge))

    async def _follow(self) -> None:
        """Take over what others changed, and stand for election."""
        opened = self._opened()
        core = opened.core
        try:
            await core.ledger.follow()
        except StrongroomError as error:
            if error.reason is Reason.INTEGRITY_FAILURE:
                # What others changed cannot be known any more; a fresh worker will refuse this store.
                self._fatal = "the journal does not verify"
            raise
        await core.directory.refresh()
        await core.key_stores.shelf.refresh()
        await opened.election.stand()  # before the quotas: a damaged limit must not end all upkeep
        await core.quotas.refresh()

    async def _deliver(self) -> None:
        opened = self._opened()
        courier = opened.core.eventing.courier
        await (courier.round() if opened.election.leading else courier.stand_down())

    async def _probe(self) -> None:
        opened = self._opened()
        try:
            await opened.rim.vault.probe()
            self._hsm_metrics[MAIN].answers(yes=True)
            self._not_ready = "draining" if self._open is None else None
        except StrongroomError as error:
            self._hsm_metrics[MAIN].answers(yes=False)
            self._not_ready = error.reason.value
            raise
        finally:
            await opened.doors.server.set_serving(serving=self._not_ready is None)

    async def _look(self) -> None:
        """Measure by looking, now and then."""
        opened = self._opened()
        core, rim, gauges = opened.core, opened.rim, opened.gauges
        gauges.certificates(opened.doors.certificates)
        gauges.backups()
        opened.doors.look()
        gauges.key_stores(core.key_stores.shelf, core.key_stores.board, rim.vault.tokens())
        if opened.election.leading:
            await gauges.leading()
            jobs = [stored.record for stored in await rim.store.all(RewrapRecord)]
            gauges.house(await survey(core.ledger, rim.store), jobs)

    async def _sweep(self) -> None:
        self._opened().rim.vault.sweep()

    async def _measure(self) -> None:
        """Measure what changes from moment to moment."""
        opened = self._opened()
        rim, doors = opened.rim, opened.doors
        self._metrics.flush()
        for observer in self._hsm_metrics.values():
            observer.flush()
        rim.metered.flush()
        opened.gauges.quick()
        doors.measure()
        self._metrics.in_flight.set(doors.in_flight)
        self._metrics.audit_queue.set(rim.audit.queued)
        self._metrics.hsm_cached_keys.set(rim.vault.loaded()[0])
        self._metrics.resident_bytes.set(_resident_bytes())
        if rim.audit.failed:
            self._fatal = "the audit log cannot be synced"

    def _opened(self) -> _Open:
        if self._open is None:
            raise StrongroomError(Reason.INTERNAL, detail="the worker is not open")
        return self._open

    async def reload(self, settings: Settings) -> None:
        """Take over identities, certificates, administrators and default quotas without dropping a call."""
        opened = self._opened()
        core = opened.core
        try:
            files = await read_files(settings, core.directory)
            await core.eventing.use(settings)
        except (StrongroomError, ValueError):
            self._metrics.reloads.labels("refused").inc()
            raise
        opened.doors.use(settings, files)
        core.use(settings)
        self._settings = settings
        self._metrics.reloads.labels("ok").inc()

    async def drain(self, grace_seconds: float) -> None:
        """Finish calls in flight, write down what is pending, close everything."""
        if self._open is None:
            return
        opened, self._open = self._open, None
        led = opened.election.resign()
        self._not_ready = "draining"
        await opened.doors.drain(grace_seconds)
        await opened.core.gate.settle(SETTLE_SECONDS)
        opened.core.admission.lag.stop()
        await self._rounds.stop()
        await _write_down(opened.core)
        if led:
            await guarded(opened.core.duties.upkeep.checkpoint)
        await opened.rim.audit.close()
        opened.doors.ops.close()
        await opened.rim.close()

    def hung(self) -> str | None:
        """Say which call into the module does not return."""
        return self._open.rim.vault.hanging() if self._open else None

    def wants_successor(self) -> bool:
        """Say whether age, memory, leaked objects or a token that came back call for a fresh process."""
        bounds = self._settings.workers
        return (
            _over(time.monotonic() - self._born, bounds.max_age_seconds)
            or _over(self._leaked(), bounds.max_unwraps)
            or _over(_resident_bytes(), bounds.max_rss_bytes)
            or any(token.wants_process for token in self._further())
        )

    def _leaked(self) -> int:
        return sum(observer.leaked_objects for observer in self._hsm_metrics.values())

    def fatal(self) -> str | None:
        """Say why this worker cannot go on."""
        return self._fatal or (self._open.rim.vault.fatal if self._open else None)


async def _write_down(core: Core) -> None:
    """Have everything that waits in memory written, each in its turn, and let go of sinks."""
    await guarded(core.usage.flush)
    await guarded(core.addresses.flush)
    await guarded(core.eventing.alarms.flush)
    await guarded(core.eventing.rules.settle)
    await core.eventing.courier.close()


def _over(value: float, bound: int) -> bool:
    return bound > 0 and value > bound


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - read each second
        return int(file.read().split()[1]) * _PAGE_BYTES
