"""The custody core's object graph: everything behind the doors, before the store's rooms."""

from dataclasses import dataclass, field

from strongroomd.config import Settings, token_names
from strongroomd.custody.access import Access
from strongroomd.custody.accesskeys import AccessKeys
from strongroomd.custody.accounts import Accounts
from strongroomd.custody.addresses import AddressBook
from strongroomd.custody.admission import Admission
from strongroomd.custody.adoptions import Adoptions
from strongroomd.custody.aliases import Aliases
from strongroomd.custody.attachments import Attachments
from strongroomd.custody.batches import Batches
from strongroomd.custody.births import Births
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.contextnotes import ContextNotes
from strongroomd.custody.crypto import Crypto
from strongroomd.custody.directory import Directory
from strongroomd.custody.gate import Gate
from strongroomd.custody.grants import Grants
from strongroomd.custody.granttokens import GrantTokens
from strongroomd.custody.identities import CertificateIdentities
from strongroomd.custody.invocations import Invocations
from strongroomd.custody.judging import Judge
from strongroomd.custody.keys import Keys
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.lending import Lending
from strongroomd.custody.limits import Limits
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.policies import Policies
from strongroomd.custody.principals import Principals
from strongroomd.custody.quotarequests import QuotaRequests
from strongroomd.custody.quotas import Quotas
from strongroomd.custody.registrar import Registrar
from strongroomd.custody.rotation import Rotation
from strongroomd.custody.sealing import Sealer
from strongroomd.custody.secrets import SecretBox
from strongroomd.custody.servicekeys import ServiceKeys
from strongroomd.custody.sessions import Sessions
from strongroomd.custody.signing import Signing
from strongroomd.custody.threshold import Threshold
from strongroomd.custody.trail import Trail
from strongroomd.custody.upkeep import Upkeep
from strongroomd.custody.usage import UsageCounter
from strongroomd.custody.xks.credentials import Credentials
from strongroomd.custody.xks.externalkeys import ExternalKeys
from strongroomd.custody.xks.health import HealthBoard
from strongroomd.custody.xks.pins import Pins
from strongroomd.custody.xks.proxy import Proxy
from strongroomd.custody.xks.sealing import PartsSealer
from strongroomd.custody.xks.shelf import Shelf
from strongroomd.custody.xks.stores import StoreDesk, Stores
from strongroomd.domain.records import HouseRecord
from strongroomd.frontends.grpc.access import AccessRooms, AccessServicer
from strongroomd.frontends.grpc.audit import AuditServicer
from strongroomd.frontends.grpc.batches import CryptoServicer
from strongroomd.frontends.grpc.events import EventServicer
from strongroomd.frontends.grpc.grants import GrantServicer
from strongroomd.frontends.grpc.key_stores import KeyStoreServicer
from strongroomd.frontends.grpc.keys import KeyServicer
from strongroomd.frontends.grpc.policies import PolicyServicer
from strongroomd.frontends.grpc.quota import QuotaServicer
from strongroomd.ports import AuditLog, AuditTrail, Outbox, QuotaTable, Store, Vault
from strongroomd.telemetry.metrics import Metrics
from strongroomd.wiring import rooms
from strongroomd.wiring.eventing import Eventing, EventRim, build_alarms, build_eventing
from strongroomd.wiring.meters import AdmissionMetrics, GateMetrics, ItemMetrics, UpkeepMetrics, WearMetrics


@dataclass(frozen=True, slots=True)
class Rim:
    """What the rim rooms provide to the core.

    Attributes:
        checkpoint_key: public half of the key that signs checkpoints.
        context_key: hides values of encryption contexts in audit records.
        page_key: seals page tokens of the audit log.
    """

    store: Store
    vault: Vault
    audit: AuditLog
    trail: AuditTrail
    quota_table: QuotaTable
    checkpoint_key: bytes
    outbox: Outbox
    context_key: bytes = field(repr=False)
    page_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyStoreRooms:
    """External key stores: in memory, their tokens' health, the door's use cases and their management."""

    shelf: Shelf
    board: HealthBoard
    proxy: Proxy
    stores: Stores
    credentials: Credentials
    external_keys: ExternalKeys


@dataclass(frozen=True, slots=True)
class Core:
    """The built core: the doors' servicers and what the worker looks after."""

    servicers: dict[str, object]
    ledger: Ledger
    quotas: Quotas
    usage: UsageCounter
    upkeep: Upkeep
    rotation: Rotation
    admission: Admission
    gate: Gate
    threshold: Threshold
    directory: Directory
    sessions: Sessions
    addresses: AddressBook
    eventing: Eventing
    key_stores: KeyStoreRooms


def build_core(settings: Settings, rim: Rim, ledger: Ledger, metrics: Metrics, holder: str) -> Core:
    """Build everything between the doors and the rim."""
    clock, realm = Clock(), rooms.realm(settings)
    catalog = Catalog(ledger, rim.vault, realm)
    quotas = Quotas(rim.quota_table, ledger, rooms.quota_defaults(settings))
    usage = UsageCounter(rim.store, clock)
    waits = AdmissionMetrics(metrics)
    admission = Admission(clock, rooms.lane_bounds(settings), rooms.lane_room(settings), waits.waited)
    event_rim = EventRim(rim.store, rim.outbox, ledger, clock, metrics)
    alarms = build_alarms(settings, event_rim)
    gate_meter = GateMetrics(metrics, alarms.refused)
    lending = Lending(ledger)
    tokens = GrantTokens(ledger, lending, rim.vault)
    directory = Directory(ledger, rim.store)
    directory.use_configured(rule.principal for rule in rooms.identity_rules(settings))
    judge = Judge(clock, catalog, directory, lending, tokens)
    gate = Gate(catalog, quotas, rim.audit, admission, usage, gate_meter, judge)
    threshold = Threshold(rim.audit, gate.refusals, gate_meter)
    mutations = Mutations(ledger, rim.store, rim.vault, clock)
    wear = WearMetrics(metrics)
    notes = ContextNotes(rim.context_key, settings.audit.plain_context_keys)
    most = settings.limits.max_plaintext
    invocations = Invocations(ledger, wear)
    sealer = Sealer(rim.vault, catalog, most, invocations, notes)
    births = Births(mutations, rim.vault)
    homes = token_names(settings)
    home = homes.settle("")
    service_keys = ServiceKeys(gate, catalog, mutations, births, rim.vault, directory, home)
    crypto, signing = Crypto(gate, sealer, service_keys), Signing(gate, rim.vault, catalog)
    batches = Batches(gate, sealer, signing, catalog, service_keys)
    keys = Keys(gate, catalog, mutations, births, rim.store, rim.vault, homes)
    days = settings.service_keys.rotation_days
    rotation = Rotation(gate, births, catalog, ledger, rim.store, wear, clock, service_days=days)
    aliases = Aliases(gate, catalog, mutations)
    adoptions = Adoptions(gate, catalog, mutations, rim.vault, homes)
    trail = Trail(gate, catalog, rim.trail, rim.checkpoint_key, rim.page_key)
    sessions = Sessions(rim.vault, directory, clock)
    access = build_access(gate, Registrar(mutations, directory), rim.vault, sessions, clock)
    eventing = build_eventing(settings, event_rim, gate, keys, alarms, directory)
    key_stores = build_key_stores(settings, rim, gate, mutations, invocations)
    seconds = rooms.deadlines(settings).crypto
    servicers: dict[str, object] = {
        "keys": KeyServicer(keys, aliases, adoptions, realm),
        "crypto": CryptoServicer(crypto, signing, batches, seconds, ItemMetrics(metrics).count),
        "quota": QuotaServicer(
            Limits(gate, catalog, mutations, quotas), QuotaRequests(gate, mutations, quotas, rim.vault), realm
        ),
        "audit": AuditServicer(trail),
        "grants": GrantServicer(Grants(gate, mutations, lending, tokens, rim.vault), realm),
        "policies": PolicyServicer(Policies(gate, catalog, directory, clock)),
        "access": AccessServicer(access, realm),
        "key_stores": KeyStoreServicer(key_stores.stores, key_stores.credentials, key_stores.external_keys),
        "events": EventServicer(eventing.bulletin, rooms.event_source(settings)),
    }
    meter = UpkeepMetrics(metrics)
    key = rim.checkpoint_key
    upkeep = Upkeep(ledger, catalog, rim.store, rim.vault, rim.audit, rim.trail, clock, meter, holder, key)
    return Core(
        servicers,
        ledger,
        quotas,
        usage,
        upkeep,
        rotation,
        admission,
        gate,
        threshold,
        directory,
        sessions,
        AddressBook(ledger, directory, clock),
        eventing,
        key_stores,
    )


def build_access(
    gate: Gate, registrar: Registrar, vault: Vault, sessions: Sessions, clock: Clock
) -> AccessRooms:
    """Build the use cases about callers."""
    return AccessRooms(
        Access(gate, registrar.directory, sessions, clock),
        Accounts(gate, registrar, vault),
        Principals(gate, registrar, vault),
        Attachments(gate, registrar),
        CertificateIdentities(gate, registrar),
        AccessKeys(gate, registrar, vault),
    )


def build_key_stores(
    settings: Settings, rim: Rim, gate: Gate, mutations: Mutations, invocations: Invocations
) -> KeyStoreRooms:
    """Build the use cases of external key stores."""
    shelf, box = Shelf(mutations.ledger, rim.store), SecretBox(rim.vault)
    board = HealthBoard(rim.vault, mutations.clock, rooms.fleet(settings))
    desk, pins = StoreDesk(mutations, shelf), Pins(mutations, shelf)
    sealer = PartsSealer(rim.vault, gate.catalog, invocations)
    return KeyStoreRooms(
        shelf,
        board,
        Proxy(gate, shelf, box, gate.catalog, sealer, pins, board),
        Stores(gate, desk, rim.vault),
        Credentials(gate, desk, rim.vault, box),
        ExternalKeys(gate, desk),
    )


def checkpoint_key(house: list[HouseRecord]) -> bytes:
    """Find the public key of the newest checkpoint house key (DER SubjectPublicKeyInfo)."""
    return next((record.public_key for record in house if record.role == "checkpoint"), b"")
