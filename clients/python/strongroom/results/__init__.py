"""What the calls answer: frozen values with plain Python fields.

Fields that hold a secret have no repr, so that printing, logging or a traceback does not show them. Times are
aware datetimes in UTC. Names of specs, states and algorithms are strings, see `strongroom.names`.

A file for each service; import from here, where every record is.
"""

from strongroom.results.access import Account, AttachedPolicy, Identity, PolicyNames, Principal
from strongroom.results.approvals import Approval, ApprovalRequest, Approver, Quorum, Receipt
from strongroom.results.attestation import SignedStatement, StatementKey
from strongroom.results.audit import AuditDecision, AuditRecord, ChainHead, Checkpoint
from strongroom.results.credentials import AccessKey, CertificateIdentity, NewAccessKey, RoleSession
from strongroom.results.crypto import (
    Decrypted,
    DecryptResult,
    Encrypted,
    EncryptResult,
    Mac,
    RandomBytes,
    ReEncrypted,
    SharedSecret,
    Signature,
    SignResult,
    Verified,
)
from strongroom.results.datakeys import DataKey, DataKeyPair, SealedDataKey, SealedDataKeyPair
from strongroom.results.events import ComplianceReport, DeadLetter, Event, Finding, Sink, WatchedEvent
from strongroom.results.exports import Export, WrappingKey
from strongroom.results.grants import CreatedGrant, Grant
from strongroom.results.keks import HouseKey, Rewrap
from strongroom.results.keys import (
    AdoptedObject,
    Key,
    KeyVersion,
    MultiRegion,
    PublicKey,
    ReplicaKey,
    Rotation,
    RotationPlan,
    RotationStatus,
    UsageReport,
)
from strongroom.results.keystores import (
    ExternalKey,
    KeyStore,
    KeyStoreCredential,
    NewKeyStoreCredential,
    RequestLimit,
)
from strongroom.results.material import ImportedMaterial, ImportParameters, MaterialImported
from strongroom.results.names import Alias, KeyPolicy, Tags
from strongroom.results.pages import Page
from strongroom.results.policies import PolicyFinding, PolicyTrace, Simulation
from strongroom.results.quotas import Limit, QuotaRequest, QuotaUsage
from strongroom.results.replicas import Peer, ReplicaBundle, ReplicaImported

__all__ = (
    "AccessKey",
    "Account",
    "AdoptedObject",
    "Alias",
    "Approval",
    "ApprovalRequest",
    "Approver",
    "AttachedPolicy",
    "AuditDecision",
    "AuditRecord",
    "CertificateIdentity",
    "ChainHead",
    "Checkpoint",
    "ComplianceReport",
    "CreatedGrant",
    "DataKey",
    "DataKeyPair",
    "DeadLetter",
    "DecryptResult",
    "Decrypted",
    "EncryptResult",
    "Encrypted",
    "Event",
    "Export",
    "ExternalKey",
    "Finding",
    "Grant",
    "HouseKey",
    "Identity",
    "ImportParameters",
    "ImportedMaterial",
    "Key",
    "KeyPolicy",
    "KeyStore",
    "KeyStoreCredential",
    "KeyVersion",
    "Limit",
    "Mac",
    "MaterialImported",
    "MultiRegion",
    "NewAccessKey",
    "NewKeyStoreCredential",
    "Page",
    "Peer",
    "PolicyFinding",
    "PolicyNames",
    "PolicyTrace",
    "Principal",
    "PublicKey",
    "Quorum",
    "QuotaRequest",
    "QuotaUsage",
    "RandomBytes",
    "ReEncrypted",
    "Receipt",
    "ReplicaBundle",
    "ReplicaImported",
    "ReplicaKey",
    "RequestLimit",
    "Rewrap",
    "RoleSession",
    "Rotation",
    "RotationPlan",
    "RotationStatus",
    "SealedDataKey",
    "SealedDataKeyPair",
    "SharedSecret",
    "SignResult",
    "Signature",
    "SignedStatement",
    "Simulation",
    "Sink",
    "StatementKey",
    "Tags",
    "UsageReport",
    "Verified",
    "WatchedEvent",
    "WrappingKey",
)
