"""The services of the gRPC door, each with its use cases."""

import hashlib

from strongroomd.custody.access import Access
from strongroomd.custody.accesskeys import AccessKeys
from strongroomd.custody.accounts import Accounts
from strongroomd.custody.adoptions import Adoptions
from strongroomd.custody.aliases import Aliases
from strongroomd.custody.approvals import Approvals
from strongroomd.custody.approvers import Approvers
from strongroomd.custody.attachments import Attachments
from strongroomd.custody.attestation import Attestation
from strongroomd.custody.batches import Batches
from strongroomd.custody.bulletin import Bulletin
from strongroomd.custody.clock import Clock
from strongroomd.custody.contextnotes import ContextNotes
from strongroomd.custody.crypto import Crypto
from strongroomd.custody.destructions import Certificates
from strongroomd.custody.exports import Exports
from strongroomd.custody.gate import Gate
from strongroomd.custody.grants import Grants
from strongroomd.custody.housekeys import HouseKeys
from strongroomd.custody.identities import CertificateIdentities
from strongroomd.custody.importparameters import ImportParameters
from strongroomd.custody.keys import Keys
from strongroomd.custody.limits import Limits
from strongroomd.custody.lostprimaries import LostPrimaries
from strongroomd.custody.materials import Materials
from strongroomd.custody.peers import Peers
from strongroomd.custody.policies import Policies
from strongroomd.custody.principals import Principals
from strongroomd.custody.quotarequests import QuotaRequests
from strongroomd.custody.registrar import Registrar
from strongroomd.custody.replicaimports import ReplicaImports
from strongroomd.custody.replicas import Replicas
from strongroomd.custody.rewraps import Rewraps
from strongroomd.custody.schedules import Schedules
from strongroomd.custody.sealing import Sealer
from strongroomd.custody.servicekeys import ServiceKeys
from strongroomd.custody.sessions import Sessions
from strongroomd.custody.signing import Signing
from strongroomd.custody.trail import Trail
from strongroomd.custody.wrappingkeys import WrappingKeys
from strongroomd.domain.exporting import ExportLevel
from strongroomd.domain.importing import ImportLevel
from strongroomd.frontends.grpc.access import AccessRooms, AccessServicer
from strongroomd.frontends.grpc.approvals import ApprovalServicer
from strongroomd.frontends.grpc.attestation import AttestationServicer
from strongroomd.frontends.grpc.audit import AuditServicer
from strongroomd.frontends.grpc.batches import CryptoServicer
from strongroomd.frontends.grpc.events import EventServicer
from strongroomd.frontends.grpc.exports import ExportServicer
from strongroomd.frontends.grpc.grants import GrantServicer
from strongroomd.frontends.grpc.keks import KekServicer
from strongroomd.frontends.grpc.key_stores import KeyStoreServicer
from strongroomd.frontends.grpc.keys import KeyServicer
from strongroomd.frontends.grpc.material import MaterialServicer
from strongroomd.frontends.grpc.policies import PolicyServicer
from strongroomd.frontends.grpc.quota import QuotaServicer
from strongroomd.frontends.grpc.replicas import ReplicaServicer
from strongroomd.ports import Vault
from strongroomd.wiring import rooms
from strongroomd.wiring.ground import Ground
from strongroomd.wiring.keystores import KeyStoreRooms
from strongroomd.wiring.meters import ExportMetrics, ItemMetrics


def build_services(
    ground: Ground, keys: Keys, bulletin: Bulletin, key_stores: KeyStoreRooms
) -> dict[str, object]:
    """Build the servicers by their names; what others use as well is given."""
    materials = _materials(ground)
    return {
        "keys": _keys(ground, keys, materials),
        "material": MaterialServicer(_parameters(ground), materials, ground.realm),
        "crypto": _crypto(ground),
        "quota": _quota(ground),
        "audit": _audit(ground),
        "attestation": _attestation(ground),
        "grants": _grants(ground),
        "policies": PolicyServicer(Policies(ground.gate, ground.catalog, ground.directory, ground.clock)),
        "access": _access(ground),
        "key_stores": KeyStoreServicer(key_stores.stores, key_stores.credentials, key_stores.external_keys),
        "keks": _keks(ground),
        "approvals": ApprovalServicer(
            Approvals(ground.gate, ground.control), Approvers(ground.gate, ground.control)
        ),
        "export": _export(ground),
        "replicas": _replicas(ground),
        "events": EventServicer(bulletin, rooms.event_source(ground.settings)),
    }


def build_keys(ground: Ground) -> Keys:
    """Build the use cases about keys."""
    return Keys(
        ground.gate,
        ground.catalog,
        ground.mutations,
        ground.births,
        ground.store,
        ground.vault,
        ground.control,
        ground.homes,
    )


def _parameters(ground: Ground) -> ImportParameters:
    least = ImportLevel(ground.settings.material.least_import_level)
    return ImportParameters(ground.gate, ground.mutations, ground.vault, least)


def _materials(ground: Ground) -> Materials:
    least = ImportLevel(ground.settings.material.least_import_level)
    return Materials(ground.gate, ground.control, ground.vault, least)


def _keys(ground: Ground, keys: Keys, materials: Materials) -> KeyServicer:
    gate, catalog, mutations = ground.gate, ground.catalog, ground.mutations
    return KeyServicer(
        keys,
        Aliases(gate, catalog, mutations),
        Adoptions(gate, catalog, mutations, ground.vault, ground.homes),
        Schedules(gate, mutations, ground.store),
        materials,
        ground.realm,
    )


def _crypto(ground: Ground) -> CryptoServicer:
    gate, catalog, sealer, service_keys = ground.gate, ground.catalog, _sealer(ground), _service_keys(ground)
    signing = Signing(gate, ground.vault, catalog)
    return CryptoServicer(
        Crypto(gate, sealer, service_keys),
        signing,
        Batches(gate, sealer, signing, catalog, service_keys),
        rooms.deadlines(ground.settings).crypto,
        ItemMetrics(ground.metrics).count,
    )


def _sealer(ground: Ground) -> Sealer:
    notes = ContextNotes(ground.rim.context_key, ground.settings.audit.plain_context_keys)
    most = ground.settings.limits.max_plaintext
    return Sealer(ground.vault, ground.catalog, most, ground.invocations, notes)


def _service_keys(ground: Ground) -> ServiceKeys:
    home = ground.homes.settle("")
    return ServiceKeys(
        ground.gate,
        ground.catalog,
        ground.mutations,
        ground.births,
        ground.vault,
        ground.directory,
        home,
    )


def _quota(ground: Ground) -> QuotaServicer:
    gate, mutations, quotas = ground.gate, ground.mutations, ground.quotas
    return QuotaServicer(
        Limits(gate, ground.catalog, mutations, quotas),
        QuotaRequests(gate, mutations, quotas, ground.vault),
        ground.realm,
    )


def _audit(ground: Ground) -> AuditServicer:
    rim = ground.rim
    return AuditServicer(
        Trail(ground.gate, ground.catalog, rim.trail, lambda: rim.vault.checkpoint_keys, rim.page_key)
    )


def _attestation(ground: Ground) -> AttestationServicer:
    gate, catalog, ledger, rim = ground.gate, ground.catalog, ground.ledger, ground.rim
    recovery = rooms.hsm_settings(ground.settings).recovery_public_key
    fingerprint = hashlib.sha256(recovery).hexdigest() if recovery else ""
    attestation = Attestation(
        gate,
        catalog,
        ledger,
        rim.store,
        rim.vault,
        ground.notary,
        rim.signer,
        ground.clock,
        fingerprint,
    )
    return AttestationServicer(attestation, Certificates(gate, catalog, ledger))


def _grants(ground: Ground) -> GrantServicer:
    grants = Grants(ground.gate, ground.mutations, ground.lending, ground.grant_tokens, ground.vault)
    return GrantServicer(grants, ground.realm)


def _access(ground: Ground) -> AccessServicer:
    registrar = Registrar(ground.mutations, ground.directory)
    access = build_access(ground.gate, registrar, ground.vault, ground.sessions, ground.clock)
    return AccessServicer(access, ground.realm)


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


def _keks(ground: Ground) -> KekServicer:
    gate, mutations, homes = ground.gate, ground.mutations, ground.homes
    return KekServicer(
        HouseKeys(gate, mutations, ground.store, ground.vault, homes), Rewraps(gate, mutations, homes)
    )


def _export(ground: Ground) -> ExportServicer:
    gate, control, vault = ground.gate, ground.control, ground.vault
    meter, least = ExportMetrics(ground.metrics), ExportLevel(ground.settings.export.least_level)
    return ExportServicer(
        Exports(gate, ground.catalog, control, vault, ground.notary, meter, least),
        WrappingKeys(gate, control, vault),
    )


def _replicas(ground: Ground) -> ReplicaServicer:
    gate, mutations, store, notary = ground.gate, ground.mutations, ground.store, ground.notary
    return ReplicaServicer(
        Peers(gate, ground.control, ground.vault, notary),
        Replicas(gate, mutations, store, notary),
        ReplicaImports(gate, mutations, store, ground.vault, notary),
        LostPrimaries(gate, ground.control),
        ground.realm,
    )
