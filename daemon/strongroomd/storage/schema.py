"""The store's tables: one for each kind of record, whose columns are the record's fields and its MAC.

Columns are read back raw, exactly as the driver gives them: `rows` decides what each value may be, because
the file may have been edited by somebody else. `migrations/` creates what is declared here; a test compares
them.
"""

import dataclasses
from enum import Enum
from typing import Any, Final, get_type_hints

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from strongroomd.domain.accounts import AccessKeyRecord, AccountRecord, IdentityRecord, PrincipalRecord
from strongroomd.domain.addresses import AddressesRecord
from strongroomd.domain.approvalrecords import (
    ApprovalRecord,
    ApprovalRequestRecord,
    ApproverRecord,
    QuorumRecord,
)
from strongroomd.domain.compliance import Finding
from strongroomd.domain.delivery import Delivery, SinkState
from strongroomd.domain.destruction import DeletionRecord
from strongroomd.domain.events import Event
from strongroomd.domain.exporting import WrappingKeyRecord
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.quotarequests import QuotaRequestRecord
from strongroomd.domain.records import (
    AliasRecord,
    GrantRecord,
    HouseRecord,
    InvocationsRecord,
    KeyRecord,
    LimitRecord,
    Record,
    RewrapRecord,
    VersionRecord,
)
from strongroomd.domain.replication import CopyRecord, PeerRecord, ReplicaRecord
from strongroomd.domain.rotations import ScheduleRecord
from strongroomd.domain.xks.records import CredentialRecord, ExternalKeyRecord, StoreRecord
from strongroomd.ports import Answer, JournalEntry, Usage

REVISIONS: Final = (
    *("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011"),
    *("0012", "0013", "0014", "0015", "0017", "0019"),
)
"""Alembic's revisions that this daemon knows, oldest first; the last is the one it needs."""

METADATA: Final = MetaData()


class RawBytes(LargeBinary):
    """Bytes without a result processor: SQLAlchemy's own would call `bytes()` on an edited value."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Give values as the driver does."""


def _column_type(annotation: Any) -> TypeEngine[Any]:  # noqa: ANN401 - a type hint may be anything
    if annotation is bytes:
        return RawBytes()
    if annotation in {int, bool}:
        return BigInteger()
    if annotation is str or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return Text()
    return Text()  # tuples, as JSON


def _columns(cls: type, primary: tuple[str, ...] = ()) -> list[Column[Any]]:
    hints = get_type_hints(cls)
    return [
        Column(field.name, _column_type(hints[field.name]), primary_key=field.name in primary, nullable=False)
        for field in dataclasses.fields(cls)
    ]


def _record_table(name: str, cls: type[Record], *more: Any) -> Table:  # noqa: ANN401 - constraints and indexes
    return Table(
        name,
        METADATA,
        Column("record_id", Text(), primary_key=True, nullable=False),
        *_columns(cls),
        Column("mac", RawBytes(), nullable=False),
        *more,
    )


def _of_key(table: str) -> ForeignKeyConstraint:
    """Tie rows to their key; checked at commit, so that a transaction may write in any order."""
    return ForeignKeyConstraint(
        ["key_id"], ["keys.record_id"], name=f"fk_{table}_key_id", deferrable=True, initially="DEFERRED"
    )


KEYS: Final = _record_table(
    "keys",
    KeyRecord,
    Index("ix_keys_account", "account", "record_id"),
    Index("ix_keys_state", "state", "deletion_at"),
    Index("ix_keys_manager", "manager", "record_id"),
)
VERSIONS: Final = _record_table(
    "versions",
    VersionRecord,
    _of_key("versions"),
    Index("ix_versions_key_id", "key_id", "version", unique=True),
    Index("ix_versions_hsm_id", "hsm_id"),
    Index("ix_versions_kek_id", "kek_id", "state", "record_id"),
    Index("ix_versions_object", "object_label", "object_id"),
)
ALIASES: Final = _record_table(
    "aliases", AliasRecord, _of_key("aliases"), Index("ix_aliases_key_id", "key_id", "record_id")
)
LIMITS: Final = _record_table("limits", LimitRecord)
QUOTA_REQUESTS: Final = _record_table(
    "quota_requests",
    QuotaRequestRecord,
    Index("ix_quota_requests_account", "account", "record_id"),
    Index("ix_quota_requests_principal", "principal", "state"),
    Index("ix_quota_requests_asker", "asker_account", "state"),
    Index("ix_quota_requests_state", "state"),
    Index("ix_quota_requests_closed", "closed_at"),
)
HOUSE: Final = _record_table("house", HouseRecord)
REWRAPS: Final = _record_table("rewraps", RewrapRecord)
ACCOUNTS: Final = _record_table("accounts", AccountRecord)
PRINCIPALS: Final = _record_table(
    "principals", PrincipalRecord, Index("ix_principals_account", "account", "record_id")
)
IDENTITIES: Final = _record_table(
    "identities", IdentityRecord, Index("ix_identities_arn", "arn", "record_id")
)
ACCESS_KEYS: Final = _record_table(
    "access_keys", AccessKeyRecord, Index("ix_access_keys_arn", "arn", "record_id")
)
ACCESS_KEY_ADDRESSES: Final = _record_table("access_key_addresses", AddressesRecord)
GRANTS: Final = _record_table(
    "grants",
    GrantRecord,
    _of_key("grants"),
    Index("ix_grants_key_id", "key_id", "record_id"),
    Index("ix_grants_grantee", "grantee", "key_id", "record_id"),
    Index("ix_grants_retiring", "retiring", "record_id"),
    Index("ix_grants_name", "key_id", "name"),
)
INVOCATIONS: Final = _record_table(
    "invocations", InvocationsRecord, _of_key("invocations"), Index("ix_invocations_reserved", "reserved")
)
SCHEDULES: Final = _record_table(
    "schedules", ScheduleRecord, _of_key("schedules"), Index("ix_schedules_next_at", "next_at")
)
DELETIONS: Final = _record_table(
    "deletions", DeletionRecord, _of_key("deletions"), Index("ix_deletions_destroyed_at", "destroyed_at")
)
XKS_STORES: Final = _record_table(
    "xks_stores",
    StoreRecord,
    Index("ix_xks_stores_account", "account", "record_id"),
    Index("ix_xks_stores_uri_prefix", "uri_prefix", unique=True),
)
XKS_KEYS: Final = _record_table(
    "xks_keys",
    ExternalKeyRecord,
    _of_key("xks_keys"),
    Index("ix_xks_keys_store_id", "store_id", "record_id"),
    Index("ix_xks_keys_key_id", "key_id", "record_id"),
)
XKS_CREDENTIALS: Final = _record_table(
    "xks_credentials", CredentialRecord, Index("ix_xks_credentials_store_id", "store_id", "record_id")
)
WRAPPING_PAIRS: Final = _record_table(
    "wrapping_pairs",
    WrappingPairRecord,
    _of_key("wrapping_pairs"),
    Index("ix_wrapping_pairs_key_id", "key_id", "record_id"),
    Index("ix_wrapping_pairs_expires_at", "expires_at"),
)
MATERIALS: Final = _record_table(
    "materials", MaterialRecord, _of_key("materials"), Index("ix_materials_expires_at", "expires_at")
)

APPROVERS: Final = _record_table(
    "approvers", ApproverRecord, Index("ix_approvers_account", "account", "record_id")
)
APPROVAL_REQUESTS: Final = _record_table(
    "approval_requests",
    ApprovalRequestRecord,
    Index("ix_approval_requests_account", "account", "state", "record_id"),
    Index("ix_approval_requests_key_id", "key_id", "state"),
    Index("ix_approval_requests_state", "state", "expires_at"),
)
APPROVALS: Final = _record_table(
    "approvals", ApprovalRecord, Index("ix_approvals_approval_id", "approval_id", "record_id")
)
QUORUMS: Final = _record_table("quorums", QuorumRecord)
WRAPPING_KEYS: Final = _record_table(
    "wrapping_keys", WrappingKeyRecord, Index("ix_wrapping_keys_account", "account", "record_id")
)
PEERS: Final = _record_table("peers", PeerRecord, Index("ix_peers_account", "account", "record_id"))
REPLICA_COPIES: Final = _record_table(
    "replica_copies",
    CopyRecord,
    _of_key("replica_copies"),
    Index("ix_replica_copies_key_id", "key_id", "record_id"),
)
REPLICAS: Final = _record_table(
    "replicas", ReplicaRecord, _of_key("replicas"), Index("ix_replicas_key_id", "key_id", "record_id")
)

RECORD_TABLES: Final[dict[type[Record], Table]] = {
    KeyRecord: KEYS,
    VersionRecord: VERSIONS,
    AliasRecord: ALIASES,
    LimitRecord: LIMITS,
    QuotaRequestRecord: QUOTA_REQUESTS,
    HouseRecord: HOUSE,
    RewrapRecord: REWRAPS,
    AccountRecord: ACCOUNTS,
    PrincipalRecord: PRINCIPALS,
    IdentityRecord: IDENTITIES,
    AccessKeyRecord: ACCESS_KEYS,
    AddressesRecord: ACCESS_KEY_ADDRESSES,
    GrantRecord: GRANTS,
    InvocationsRecord: INVOCATIONS,
    ScheduleRecord: SCHEDULES,
    DeletionRecord: DELETIONS,
    StoreRecord: XKS_STORES,
    ExternalKeyRecord: XKS_KEYS,
    CredentialRecord: XKS_CREDENTIALS,
    ApproverRecord: APPROVERS,
    ApprovalRequestRecord: APPROVAL_REQUESTS,
    ApprovalRecord: APPROVALS,
    QuorumRecord: QUORUMS,
    WrappingKeyRecord: WRAPPING_KEYS,
    WrappingPairRecord: WRAPPING_PAIRS,
    MaterialRecord: MATERIALS,
    PeerRecord: PEERS,
    CopyRecord: REPLICA_COPIES,
    ReplicaRecord: REPLICAS,
}

DELETABLE: Final[frozenset[type[Record]]] = frozenset(
    {AliasRecord, LimitRecord, QuotaRequestRecord, GrantRecord}
    | {PrincipalRecord, IdentityRecord, AccessKeyRecord, AddressesRecord}
    | {StoreRecord, ExternalKeyRecord, CredentialRecord, WrappingKeyRecord}
    | {ApprovalRequestRecord, ApprovalRecord, DeletionRecord, WrappingPairRecord}
    | {PeerRecord, CopyRecord, ReplicaRecord}
)
"""Kinds whose rows may go; keys, versions, their counters and materials, house keys and accounts stay."""

JOURNAL: Final = Table("journal", METADATA, *_columns(JournalEntry, ("sequence",)))
ANSWERS: Final = Table(
    "answers",
    METADATA,
    *_columns(Answer, ("principal", "request_id")),
    Index("ix_answers_created_at", "created_at"),
)
USAGE: Final = Table("usage", METADATA, *_columns(Usage, ("key_id", "operation")))
LEASES: Final = Table(
    "leases",
    METADATA,
    Column("name", Text(), primary_key=True, nullable=False),
    Column("holder", Text(), nullable=False),
    Column("expires_at", BigInteger(), nullable=False),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    *_columns(Event, ("position",)),
    Column("mac", RawBytes(), nullable=False),
    Index("ix_events_subject", "subject", "sequence", unique=True),
    Index("ix_events_type", "type", "subject", "time"),
)
EVENT_COUNTERS: Final = Table(
    "event_counters",
    METADATA,
    Column("name", Text(), primary_key=True, nullable=False),
    Column("last", BigInteger(), nullable=False),
)
SINKS: Final = Table("sinks", METADATA, *_columns(SinkState, ("name",)))
DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    *_columns(Delivery, ("sink", "position")),
    Index("ix_deliveries_position", "position"),
)
FIRINGS: Final = Table(
    "firings",
    METADATA,
    Column("rule", Text(), primary_key=True, nullable=False),
    Column("position", BigInteger(), primary_key=True, nullable=False),
    Column("subject", Text(), nullable=False),
    Column("time", BigInteger(), nullable=False),
    Index("ix_firings_subject", "rule", "subject", "time"),
)
FINDINGS: Final = Table("findings", METADATA, *_columns(Finding, ("subject", "check")))
