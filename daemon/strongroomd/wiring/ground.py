"""What the use cases stand on: what the rim provides, the gate before every key, and what changes records.

It is built first; `services` and `duties` build the use cases on it.
"""

from dataclasses import dataclass, field

from strongroomd.config import Settings, token_names
from strongroomd.custody.admission import Admission
from strongroomd.custody.births import Births
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.directory import Directory
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate
from strongroomd.custody.granttokens import GrantTokens
from strongroomd.custody.invocations import Invocations
from strongroomd.custody.judging import Judge
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.lending import Lending
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.notary import Notary
from strongroomd.custody.quotas import Quotas
from strongroomd.custody.sessions import Sessions
from strongroomd.custody.threshold import Threshold
from strongroomd.custody.usage import UsageCounter
from strongroomd.hsm.statements import HouseSigner
from strongroomd.ports import AuditLog, AuditTrail, Outbox, QuotaTable, Store, Vault
from strongroomd.telemetry.metrics import Metrics
from strongroomd.wiring import rooms
from strongroomd.wiring.eventing import EventRim, build_alarms
from strongroomd.wiring.meters import AdmissionMetrics, GateMetrics, WearMetrics


@dataclass(frozen=True, slots=True)
class Rim:
    """What the rim rooms provide to the core.

    Attributes:
        checkpoint_key: public half of the first key that signed checkpoints.
        signer: signs statements.
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
    signer: HouseSigner
    context_key: bytes = field(repr=False)
    page_key: bytes = field(repr=False)


class Ground:
    """What several use cases share, one of each.

    Args:
        settings: the configuration.
        rim: what the rim provides.
        ledger: the records, verified.
        metrics: where everything is counted.
    """

    def __init__(self, settings: Settings, rim: Rim, ledger: Ledger, metrics: Metrics) -> None:
        self.settings = settings
        self.rim = rim
        self.store = rim.store
        self.vault = rim.vault
        self.ledger = ledger
        self.metrics = metrics
        self.clock = Clock()
        self.realm = rooms.realm(settings)
        self.homes = token_names(settings)
        self._bounds()
        self._callers()
        self._gate()
        self._records()

    def _bounds(self) -> None:
        """What keys there are, and how much may be done with them."""
        self.catalog = Catalog(self.ledger, self.vault, self.realm)
        self.quotas = Quotas(self.rim.quota_table, self.ledger, rooms.quota_defaults(self.settings))
        self.usage = UsageCounter(self.store, self.clock)
        waited = AdmissionMetrics(self.metrics).waited
        bounds, room = rooms.lane_bounds(self.settings), rooms.lane_room(self.settings)
        self.admission = Admission(self.clock, bounds, room, waited)

    def _callers(self) -> None:
        """Who there is, and what was lent to whom."""
        self.lending = Lending(self.ledger)
        self.grant_tokens = GrantTokens(self.ledger, self.lending, self.vault)
        self.directory = Directory(self.ledger, self.store)
        self.directory.use_configured(rule.principal for rule in rooms.identity_rules(self.settings))
        self.sessions = Sessions(self.vault, self.directory, self.clock)

    def _gate(self) -> None:
        """The one way in, and what hears of those whom it refuses."""
        self.events = EventRim(self.store, self.rim.outbox, self.ledger, self.clock, self.metrics)
        self.alarms = build_alarms(self.settings, self.events)
        meter = GateMetrics(self.metrics, self.alarms)
        judge = Judge(self.clock, self.catalog, self.directory, self.lending, self.grant_tokens)
        self.gate = Gate(self.catalog, self.quotas, self.rim.audit, self.admission, self.usage, meter, judge)
        self.threshold = Threshold(self.rim.audit, self.gate.refusals, meter)

    def _records(self) -> None:
        """How records change, and what is stated and counted of keys."""
        self.mutations = Mutations(self.ledger, self.store, self.vault, self.clock)
        self.births = Births(self.mutations, self.vault)
        counts = self.settings.approvals.requester_counts
        self.control = DualControl(self.mutations, self.directory, self.vault, requester_counts=counts)
        self.notary = Notary(self.rim.signer, rooms.event_source(self.settings), self.clock)
        self.invocations = Invocations(self.ledger, WearMetrics(self.metrics))
