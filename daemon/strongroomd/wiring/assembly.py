"""One worker's whole object graph and its background tasks."""

import asyncio
import gc
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from strongroomd.config import Settings, WorkerPlace, token_plans
from strongroomd.custody import contextnotes, pages
from strongroomd.custody.addresses import FLUSH_SECONDS
from strongroomd.custody.admission import Lane
from strongroomd.custody.history import verify_history
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.xks.health import LOOK_SECONDS
from strongroomd.domain.errors import Fault, Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.frontends.grpc.door import Door
from strongroomd.frontends.grpc.server import Certificates, Server
from strongroomd.frontends.ops.server import OpsServer
from strongroomd.hsm.further import FurtherToken
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.vaults import Vaults
from strongroomd.storage.audit_log import FileAuditLog
from strongroomd.storage.audit_trail import FileAuditTrail
from strongroomd.storage.migration import require_current
from strongroomd.storage.quota_table import SharedQuotaTable
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.telemetry import logs
from strongroomd.telemetry.metrics import Metrics, SupervisorCollector
from strongroomd.wiring import rooms
from strongroomd.wiring.core import Core, Rim, build_core, checkpoint_key
from strongroomd.wiring.eventing import scribe
from strongroomd.wiring.gauges import Gauges
from strongroomd.wiring.meters import HsmMetrics, LedgerMetrics, MeteredAuditLog
from strongroomd.wiring.tokens import join_tokens, records_in
from strongroomd.wiring.xksdoor import XksDoor, open_xks

_log = logs.get("wiring")
_PAGE_BYTES = resource.getpagesize()
FOLLOW_SECONDS = 0.2
SETTLE_SECONDS = 5.0
STALE_SECONDS = 10.0  # after this long without news of the store nothing is decided from memory


@dataclass(slots=True)
class _Open:
    """What `start` opened and `drain` closes."""

    store: SqlStore
    vault: TokenVault | Vaults
    audit: FileAuditLog
    table: SharedQuotaTable
    core: Core
    door: Door
    server: Server
    ops: OpsServer
    gauges: Gauges
    metered: MeteredAuditLog
    certificates: Certificates
    xks: XksDoor | None


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
        self._tasks: list[asyncio.Task[None]] = []
        self._fatal: str | None = None
        self._not_ready: str | None = "starting"
        self._born = time.monotonic()
        self._leading = False
        self._stood_at = 0.0

    async def start(self) -> None:
        """Open, verify, serve.

        The order is that of trust: the token proves itself, the token's MACs prove the store, the anchor
        proves that neither store nor audit log is an older copy; only then a door opens.
        """
        settings, place = self._settings, self._place
        require_current(rooms.store_url(settings))
        store = open_store(rooms.store_settings(settings))
        house = records_in(MAIN, [stored.record for stored in await store.all(HouseRecord)])
        pin = rooms.pin_source(settings, place.pin_fd).read()
        main = open_vault(rooms.hsm_settings(settings, wary=place.wary), pin, house, self._hsm_metrics[MAIN])
        found = LedgerMetrics(self._metrics)
        ledger = Ledger(store, main, found, scribe(settings, main, self._metrics))
        await ledger.start()
        ledger.bound_staleness(STALE_SECONDS)
        for record in house:
            await ledger.read(HouseRecord, record.record_id)
        audit = FileAuditLog(rooms.audit_settings(settings, place.index))
        for problem in audit.unclosed:
            _log.error("a dead worker's audit chain cannot be closed", detail=problem.detail)
        trail = FileAuditTrail(settings.audit_directory, time.time)
        key = checkpoint_key(house)
        await verify_history(await main.read_anchor(), trail, key)
        vault = await join_tokens(settings, place, main, house, store, ledger, self._hsm_metrics)
        table = SharedQuotaTable(settings.daemon.run_dir / "quota.table")
        metered = MeteredAuditLog(audit, self._metrics)
        keys = [await vault.row_mac(label) for label in (contextnotes.LABEL, pages.LABEL)]
        rim = Rim(store, vault, metered, trail, table, key, store.outbox, *keys)
        core = build_core(settings, rim, ledger, self._metrics, f"{settings.daemon.node}-{place.pid}")
        found.tell, metered.tell = core.eventing.alarms.mac_failed, core.eventing.alarms.audit_failed
        await _fill(core)
        await vault.probe()
        certificates = rooms.certificates(settings)
        identities = rooms.identities(settings, certificates, core.directory)
        strangers = self._metrics.connections_refused.labels("unknown principal")
        most = rooms.most_calls(settings)
        deadlines, meter = rooms.deadlines(settings), self._metrics.rpc
        door = Door(identities, deadlines, meter, core.threshold, strangers.inc, core.sessions, most=most)
        self._begin_admission(core, door)
        gauges = Gauges(self._metrics, settings, core.admission, core.quotas, store)
        gauges.certificates(certificates)
        server = Server(rooms.server_settings(settings, place), certificates, door, core.servicers)
        address = (place.ops.host, place.ops.port)
        ops = OpsServer(address, self._exposition, lambda: self._not_ready, self._troubles)
        xks = open_xks(settings, place, core, self._metrics, lambda: self._not_ready is None)
        self._open = _Open(
            store, vault, audit, table, core, door, server, ops, gauges, metered, certificates, xks
        )
        await self._open_doors(self._open)
        self._begin_tasks(core)
        # What start-up made lives as long as the worker: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()

    def _begin_admission(self, core: Core, door: Door) -> None:
        """Have admission know how late the loop is, and where each token's quick calls run."""
        core.admission.lag.start()
        door.require_time = core.admission.require_time
        for name, observer in self._hsm_metrics.items():

            def tell(inline: bool, token: str = name) -> None:  # noqa: FBT001 - what the observer tells
                room = rooms.quick_room(self._settings, inline=inline)
                core.admission.resize(Lane.QUICK, token, room)

            observer.follow_pace(tell)

    async def _open_doors(self, opened: _Open) -> None:
        self._hsm_metrics[MAIN].logged_in(yes=True)
        self._hsm_metrics[MAIN].answers(yes=True)
        self._metrics.audit_chain_ok.set(1)
        opened.ops.start()
        if opened.xks is not None:
            await opened.core.key_stores.board.look()  # what was never looked at is told as UNAVAILABLE
        await opened.server.start()
        if opened.xks is not None:
            await opened.xks.server.start()
        self._not_ready = None

    def _exposition(self) -> bytes:
        return self._metrics.exposition([SupervisorCollector(self._place.daemon_file)])

    def _troubles(self) -> dict[str, str]:
        """Say of each token what is wrong with it, if there are several; read on the ops server's threads."""
        opened = self._open
        return opened.vault.states() if opened is not None and isinstance(opened.vault, Vaults) else {}

    def _further(self) -> tuple[FurtherToken, ...]:
        vault = self._open.vault if self._open else None
        return vault.further if isinstance(vault, Vaults) else ()

    def _begin_tasks(self, core: Core) -> None:
        every = self._every
        for token in self._further():
            every(1.0, token.tend)
        every(FOLLOW_SECONDS, self._follow)
        every(5.0, core.usage.flush)
        every(FLUSH_SECONDS, core.addresses.flush)
        every(5.0, self._probe)
        every(LOOK_SECONDS, core.key_stores.board.look, first=0.0)
        every(0.5, self._measure)
        every(1.0, self._elected(core.upkeep.checkpoint), first=0.3)
        every(10.0, self._elected(core.upkeep.settle))
        every(10.0, self._elected(core.rotation.renew), first=5.0)
        every(10.0, self._look, first=3.0)
        every(600.0, self._elected(core.upkeep.reconcile), first=10.0)
        every(3600.0, self._elected(core.upkeep.purge))
        every(30.0, self._elected(self._scan))
        every(60.0, self._sweep)
        every(1.0, core.eventing.alarms.flush)
        every(0.25, self._deliver)
        every(0.25, self._elected(core.eventing.rules.apply))
        every(5.0, self._elected(core.eventing.courier.measure))
        every(30.0, self._elected(core.eventing.compliance.run_if_due), first=5.0)
        every(300.0, self._elected(core.eventing.purge))

    def _every(
        self, seconds: float, work: Callable[[], Awaitable[object]], *, first: float | None = None
    ) -> None:
        async def repeat() -> None:
            await asyncio.sleep(seconds if first is None else first)
            while True:
                await self._guarded(work)
                await asyncio.sleep(seconds)

        self._tasks.append(asyncio.create_task(repeat()))

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run a background task; a failure is logged and the task tried again when its time comes."""
        try:
            await work()
        except StrongroomError as error:
            _log.warning("background task failed", reason=error.reason.value, detail=error.detail)
        except Exception as error:  # noqa: BLE001 - a background task must not end silently
            _log.error("background task failed", exc_info=error)

    def _elected(self, work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            if self._leading:
                await work()

        return run

    async def _follow(self) -> None:
        core = self._opened().core
        try:
            await core.ledger.follow()
        except StrongroomError as error:
            if error.reason is Reason.INTEGRITY_FAILURE:
                # What others changed cannot be known any more; a fresh worker will refuse this store.
                self._fatal = "the journal does not verify"
            raise
        await core.directory.refresh()
        await core.key_stores.shelf.refresh()
        await self._stand_for_election(core)  # before the quotas: a damaged limit must not end all upkeep
        await core.quotas.refresh()

    async def _stand_for_election(self, core: Core) -> None:
        """Renew the lease every two seconds."""
        now = time.monotonic()
        if now - self._stood_at < 2.0:
            return
        self._stood_at = now
        try:
            self._leading = await core.upkeep.elected()
        except StrongroomError as error:
            self._leading = False
            if error.fault is not Fault.OPERATOR:
                raise
        self._metrics.upkeep_leader.set(self._leading)

    async def _deliver(self) -> None:
        courier = self._opened().core.eventing.courier
        await (courier.round() if self._leading else courier.stand_down())

    async def _probe(self) -> None:
        opened = self._opened()
        try:
            await opened.vault.probe()
            self._hsm_metrics[MAIN].answers(yes=True)
            self._not_ready = "draining" if self._open is None else None
        except StrongroomError as error:
            self._hsm_metrics[MAIN].answers(yes=False)
            self._not_ready = error.reason.value
            raise
        finally:
            await opened.server.set_serving(serving=self._not_ready is None)

    async def _look(self) -> None:
        opened = self._opened()
        opened.gauges.certificates(opened.certificates)
        if opened.xks is not None:
            opened.xks.look()
        stores = opened.core.key_stores
        opened.gauges.key_stores(stores.shelf, stores.board, opened.vault.tokens())
        if self._leading:
            await opened.gauges.leading()

    async def _sweep(self) -> None:
        self._opened().vault.sweep()

    async def _scan(self) -> None:
        await self._opened().core.upkeep.scan()

    async def _measure(self) -> None:
        opened = self._opened()
        self._metrics.flush()
        for observer in self._hsm_metrics.values():
            observer.flush()
        opened.metered.flush()
        opened.gauges.quick()
        in_flight = opened.door.in_flight
        if opened.xks is not None:
            opened.xks.measure()
            in_flight += opened.xks.in_flight
        self._metrics.in_flight.set(in_flight)
        self._metrics.audit_queue.set(opened.audit.queued)
        self._metrics.hsm_cached_keys.set(opened.vault.loaded()[0])
        self._metrics.resident_bytes.set(_resident_bytes())
        if opened.audit.failed:
            self._fatal = "the audit log cannot be synced"

    def _opened(self) -> _Open:
        if self._open is None:
            raise StrongroomError(Reason.INTERNAL, detail="the worker is not open")
        return self._open

    async def reload(self, settings: Settings) -> None:
        """Take over identities, certificates, administrators and default quotas without dropping a call."""
        opened = self._opened()
        try:
            certificates = await asyncio.to_thread(rooms.certificates, settings)
            tls = await asyncio.to_thread(rooms.xks_tls, settings)
            rules = rooms.identity_rules(settings)
            identities = rooms.identities(settings, certificates, opened.core.directory)
            await opened.core.eventing.use(settings)
        except (StrongroomError, ValueError):
            self._metrics.reloads.labels("refused").inc()
            raise
        opened.server.use(certificates)
        opened.certificates = certificates
        if opened.xks is not None:
            opened.xks.use(settings, tls)
        opened.core.directory.use_configured(rule.principal for rule in rules)
        opened.door.identities = identities
        opened.door.deadlines = rooms.deadlines(settings)
        opened.core.quotas.use_defaults(rooms.quota_defaults(settings))
        opened.core.rotation.service_days = settings.service_keys.rotation_days
        self._settings = settings
        self._metrics.reloads.labels("ok").inc()

    async def drain(self, grace_seconds: float) -> None:
        """Finish calls in flight, write down what is pending, close everything."""
        if self._open is None:
            return
        opened, self._open = self._open, None
        led, self._leading = self._leading, False  # the lease is not renewed any more
        self._not_ready = "draining"
        doors = [opened.server.drain(grace_seconds)]
        if opened.xks is not None:
            doors.append(opened.xks.server.drain(grace_seconds))
        await asyncio.gather(*doors)
        await opened.core.gate.settle(SETTLE_SECONDS)
        opened.core.admission.lag.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._guarded(opened.core.usage.flush)
        await self._guarded(opened.core.addresses.flush)
        await self._guarded(opened.core.eventing.alarms.flush)
        await self._guarded(opened.core.eventing.rules.settle)
        await opened.core.eventing.courier.close()
        if led:
            await self._guarded(opened.core.upkeep.checkpoint)
        await opened.audit.close()
        opened.ops.close()
        opened.vault.close()
        opened.table.close()
        await opened.store.close()

    def hung(self) -> str | None:
        """Say which call into the module does not return."""
        return self._open.vault.hanging() if self._open else None

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
        return self._fatal or (self._open.vault.fatal if self._open else None)


async def _fill(core: Core) -> None:
    """Read what is held in memory as a whole, once the ledger has the journal."""
    await core.eventing.courier.register()
    await core.quotas.refresh()
    await core.directory.start()
    await core.key_stores.shelf.start()


def _over(value: float, bound: int) -> bool:
    return bound > 0 and value > bound


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - read each second
        return int(file.read().split()[1]) * _PAGE_BYTES
