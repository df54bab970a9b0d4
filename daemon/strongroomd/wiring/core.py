"""The custody core's object graph: everything between the doors and the rim."""

from dataclasses import dataclass

from strongroomd.config import Settings
from strongroomd.custody.addresses import AddressBook
from strongroomd.custody.admission import Admission
from strongroomd.custody.directory import Directory
from strongroomd.custody.gate import Gate
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.quotas import Quotas
from strongroomd.custody.sessions import Sessions
from strongroomd.custody.threshold import Threshold
from strongroomd.custody.usage import UsageCounter
from strongroomd.telemetry.metrics import Metrics
from strongroomd.wiring import rooms
from strongroomd.wiring.duties import Duties, build_duties
from strongroomd.wiring.eventing import Eventing, build_eventing
from strongroomd.wiring.ground import Ground, Rim
from strongroomd.wiring.keystores import KeyStoreRooms, build_key_stores
from strongroomd.wiring.services import build_keys, build_services


@dataclass(frozen=True, slots=True)
class Core:
    """The built core: the doors' servicers and what the worker looks after."""

    servicers: dict[str, object]
    ledger: Ledger
    quotas: Quotas
    usage: UsageCounter
    duties: Duties
    admission: Admission
    gate: Gate
    threshold: Threshold
    directory: Directory
    sessions: Sessions
    addresses: AddressBook
    eventing: Eventing
    key_stores: KeyStoreRooms

    def use(self, settings: Settings) -> None:
        """Take over reloaded settings: bounds of lanes, configured callers, default quotas, rotation."""
        for lane, most in rooms.lane_bounds(settings).items():
            self.admission.bound(lane, most)
        self.directory.use_configured(rule.principal for rule in rooms.identity_rules(settings))
        self.quotas.use_defaults(rooms.quota_defaults(settings))
        self.duties.rotation.service_days = settings.service_keys.rotation_days


def build_core(settings: Settings, rim: Rim, ledger: Ledger, metrics: Metrics, holder: str) -> Core:
    """Build everything between the doors and the rim, the ground first; `holder` names this worker."""
    ground = Ground(settings, rim, ledger, metrics)
    keys = build_keys(ground)
    duties = build_duties(ground, holder)
    eventing = build_eventing(settings, ground.events, ground.gate, keys, ground.alarms, ground.directory)
    key_stores = build_key_stores(ground)
    return Core(
        build_services(ground, keys, eventing.bulletin, key_stores),
        ledger,
        ground.quotas,
        ground.usage,
        duties,
        ground.admission,
        ground.gate,
        ground.threshold,
        ground.directory,
        ground.sessions,
        AddressBook(ledger, ground.directory, ground.clock),
        eventing,
        key_stores,
    )
