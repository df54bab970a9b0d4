"""The custody core inside the test process, on a real token and a real store, with clocks that the test turns."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.databases import make_database
from tests.hsmkeys import OpenedVault

from strongroomd.custody.addresses import AddressBook
from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.adoptions import Adoptions
from strongroomd.custody.aliases import Aliases
from strongroomd.custody.births import Births
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.directory import Directory
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate
from strongroomd.custody.grants import Grants
from strongroomd.custody.granttokens import GrantTokens
from strongroomd.custody.importparameters import ImportParameters
from strongroomd.custody.judging import Judge
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.keys import Keys
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.lending import Lending
from strongroomd.custody.limits import Limits
from strongroomd.custody.materials import Materials
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.quotarequests import QuotaRequests
from strongroomd.custody.quotas import Quotas, Rate
from strongroomd.custody.registrar import Registrar
from strongroomd.custody.scribe import Scribe
from strongroomd.custody.servicekeys import ServiceKeys
from strongroomd.custody.sessions import Sessions
from strongroomd.custody.upkeep import Upkeep
from strongroomd.custody.usage import UsageCounter
from strongroomd.domain.algorithms import KeySpec, KeyUsage, QuotaClass
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.housekeys import checkpoint_key
from strongroomd.domain.importing import ImportLevel
from strongroomd.domain.journal import GENESIS
from strongroomd.domain.keys import Anchor
from strongroomd.domain.names import Realm
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import CustodyMode, HouseRecord, KeyRecord
from strongroomd.frontends.grpc.access import AccessRooms
from strongroomd.ports import Vault
from strongroomd.storage.audit_log import AuditSettings, FileAuditLog
from strongroomd.storage.audit_trail import FileAuditTrail
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.quota_table import SharedQuotaTable
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.wiring.services import build_access

ACCOUNT = "111122223333"
ADMIN = Principal(f"arn:aws:iam::{ACCOUNT}:user/admin", ACCOUNT, administrator=True, operator=True)


class TurnedClock(Clock):
    """The host's clocks, set forward or back by the test."""

    def __init__(self) -> None:
        self.wall_offset = 0
        self.monotonic_offset = 0.0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.wall_offset

    def monotonic(self) -> float:
        return super().monotonic() + self.monotonic_offset

    def pass_time(self, seconds: float) -> None:
        """Let time pass as it really does: both clocks."""
        self.wall_offset += int(seconds * 1000)
        self.monotonic_offset += seconds


class Meter:
    """Remembers what upkeep and the gate count."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.chains: list[bool] = []

    def reconciled(self, kind: str) -> None:
        self.found[kind] += 1

    def checkpointed(self, time_ms: int) -> None:
        self.found["checkpoint"] += 1

    def chain_ok(self, *, ok: bool) -> None:
        self.chains.append(ok)

    def refused(self, error: StrongroomError) -> None:
        self.found[error.reason.value] += 1

    def wanted_while_pending(self, key_id: str, principal: str) -> None:
        self.found[f"wanted {key_id}"] += 1


class EventMeter:
    """Remembers what is counted of events."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, str], tuple[float, ...]] = {}

    def emitted(self, type_: str) -> None:
        self.counted["emitted", type_] += 1

    def delivered(self, sink: str) -> None:
        self.counted["delivered", sink] += 1

    def undelivered(self, sink: str, blame: str) -> None:
        self.counted["undelivered", sink, blame] += 1

    def dead_lettered(self, sink: str) -> None:
        self.counted["dead", sink] += 1

    def fired(self, rule: str, outcome: str) -> None:
        self.counted["fired", rule, outcome] += 1

    def backlog(self, sink: str, waiting: int, oldest_seconds: float, dead: int) -> None:
        self.gauges["backlog", sink] = (waiting, oldest_seconds, dead)

    def found(self, check: str, keys: int) -> None:
        self.gauges["found", check] = (keys,)


@dataclass
class Core:
    """A core and everything that a test may want to damage."""

    folder: Path
    opened: OpenedVault
    store: SqlStore
    ledger: Ledger
    catalog: Catalog
    keys: Keys
    adoptions: Adoptions
    aliases: Aliases
    limits: Limits
    requests: QuotaRequests
    grants: Grants
    lending: Lending
    tokens: GrantTokens
    judge: Judge
    upkeep: Upkeep
    clock: TurnedClock
    meter: Meter
    audit: FileAuditLog
    trail: FileAuditTrail
    directory: Directory
    sessions: Sessions
    rooms: AccessRooms
    gate: Gate
    service_keys: ServiceKeys
    events: "EventMeter"
    addresses: AddressBook
    materials: Materials
    parameters: ImportParameters
    mutations: Mutations
    control: DualControl
    own_token: bool = False

    @property
    def database(self) -> Path:
        return self.folder / "strongroom.db"

    @property
    def audit_folder(self) -> Path:
        return self.folder / "audit"

    def caller(self) -> Caller:
        return Caller(ADMIN, "test", self.clock.monotonic() + 60.0)

    async def create(self, mode: CustodyMode = CustodyMode.WRAPPED, request_id: str = "") -> KeyRecord:
        wanted = NewKey(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, mode, tags=(("a", "b"),))
        return await self.keys.create(self.caller(), wanted, request_id)

    async def use(self, key_id: str, version: int = 0) -> None:
        """Load a key and seal and open something with it."""
        bound = await self.catalog.version(await self.catalog.entry(key_id), version)
        deadline = time.monotonic() + 60
        sealed = await self.vault.seal(bound, b"plaintext", b"", deadline=deadline)
        assert await self.vault.open(bound, sealed, b"", deadline=deadline) == b"plaintext"

    @property
    def vault(self) -> Vault:
        return self.opened.vault

    def new_leader(self) -> Upkeep:
        """Upkeep as a worker does it that was elected just now: it remembers nothing, its audit trail neither."""
        trail = FileAuditTrail(self.audit_folder, time.time)
        store, vault, key = self.store, self.vault, checkpoint_key(self.opened.house)
        return Upkeep(
            self.ledger, self.catalog, store, vault, self.audit, trail, self.clock, self.meter, "new", key
        )

    def audited(self, principal: str) -> list[dict[str, Any]]:
        """The audit records of a principal, in order."""
        lines = [
            line
            for path in self.audit_folder.rglob("*.jsonl")
            for line in path.read_bytes().splitlines()
            if b" {" in line  # a checkpoint's line is another
        ]
        records = [json.loads(line.partition(b" ")[2]) for line in lines]
        return [record for record in records if record.get("principal") == principal]

    def reborn(self) -> Ledger:
        """A ledger as a new worker has it: it knows nothing yet.

        In a shared token the anchor is somebody else's: there it is that of an empty store.
        """
        return Ledger(self.store, cast("Vault", _Anchored(self.vault, own=self.own_token)))

    def edit(self, statement: str, *values: Any) -> int:
        """Change the database behind the daemon's back."""
        with self.behind() as connection:
            return connection.execute(statement, values).rowcount

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with self.behind() as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    @contextmanager
    def behind(self) -> Iterator[sqlite3.Connection]:
        """Open the database as somebody with root would: no trigger stops them."""
        connection = sqlite3.connect(self.database)
        connection.execute("PRAGMA synchronous = OFF")
        try:
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            yield connection
            connection.commit()
        finally:
            connection.close()

    async def close(self) -> None:
        await self.audit.close()
        await self.store.close()


class _Anchored:
    """A vault whose token remembers at least a store without changes."""

    def __init__(self, vault: Vault, *, own: bool) -> None:
        self._vault = vault
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    async def read_anchor(self) -> Anchor:
        found = await self._vault.read_anchor() if self._own else None
        return found or Anchor(0, GENESIS, 0, bytes(32))


async def make_core(folder: Path, opened: OpenedVault, wrap: Callable[[Vault], Any] = lambda v: v) -> Core:
    """Build a core on an empty store; the house records are in it, the audit log is in `folder/audit`."""
    url = f"sqlite:///{folder / 'strongroom.db'}"
    make_database(url)
    store, clock, meter = open_store(StoreSettings(url)), TurnedClock(), Meter()
    vault: Vault = wrap(opened.vault)
    realm, events = Realm("eu-test-1", ACCOUNT), EventMeter()
    ledger = Ledger(store, vault, None, Scribe(vault, realm, clock, events))
    if await store.all(HouseRecord):  # an earlier process left it
        await ledger.start()
    else:
        async with ledger.change() as change:
            for record in opened.house:
                await change.put(record)
    audit = FileAuditLog(AuditSettings(folder / "audit", "test", 0, "test", 1 << 24))
    trail = FileAuditTrail(folder / "audit", time.time)
    catalog = Catalog(ledger, vault, realm)
    table = SharedQuotaTable(folder / "quota.table")
    quotas = Quotas(table, ledger, dict.fromkeys(QuotaClass, Rate(100_000, 100_000)))
    admission = Admission(clock, dict.fromkeys(Lane, 1_000))
    lending = Lending(ledger)
    tokens = GrantTokens(ledger, lending, vault)
    directory = Directory(ledger, store)
    judge = Judge(clock, catalog, directory, lending, tokens)
    gate = Gate(catalog, quotas, audit, admission, UsageCounter(store, clock), meter, judge)
    mutations = Mutations(ledger, store, vault, clock)
    directory.use_configured([ADMIN])
    await directory.start()
    sessions = Sessions(vault, directory, clock)
    key = checkpoint_key(opened.house)
    births = Births(mutations, vault)
    control = DualControl(mutations, directory, vault)
    return Core(
        folder,
        opened,
        store,
        ledger,
        catalog,
        Keys(gate, catalog, mutations, births, store, vault, control),
        Adoptions(gate, catalog, mutations, vault),
        Aliases(gate, catalog, mutations),
        Limits(gate, catalog, mutations, quotas),
        QuotaRequests(gate, mutations, quotas, vault),
        Grants(gate, mutations, lending, tokens, vault),
        lending,
        tokens,
        judge,
        Upkeep(ledger, catalog, store, vault, audit, trail, clock, meter, "test", key),
        clock,
        meter,
        audit,
        trail,
        directory,
        sessions,
        build_access(gate, Registrar(mutations, directory), vault, sessions, clock),
        gate,
        ServiceKeys(gate, catalog, mutations, births, vault, directory),
        events,
        AddressBook(ledger, directory, clock),
        Materials(gate, control, vault, ImportLevel.HOST),
        ImportParameters(gate, mutations, vault, ImportLevel.HOST),
        mutations,
        control,
    )
