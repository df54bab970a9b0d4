"""What the store keeps: frozen records whose every field is protected by a MAC made in the HSM.

Those about callers are in `accounts`.

`canonical` is the one byte form under the MAC: the record's kind, then each field in order, each
length-prefixed, so that no two records share a byte form.

Kinds grow: a field that came later says so by `since`. Rows from before it hold its default, and their
MACs do not know it; so while such a field has its default it is left out of the byte form, and else it
stands behind the first fields with its name. The first fields of a kind are fixed for ever: what is not
among them is read as pairs of name and value, and two records still never share a form.
"""

import dataclasses
import struct
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import ClassVar, Final

from strongroomd.domain.accounts import AccessKeyRecord, AccountRecord, IdentityRecord, PrincipalRecord
from strongroomd.domain.addresses import AddressesRecord
from strongroomd.domain.algorithms import KeySpec, KeyUsage, Scheme
from strongroomd.domain.approvalrecords import (
    ApprovalRecord,
    ApprovalRequestRecord,
    ApproverRecord,
    QuorumRecord,
)
from strongroomd.domain.approvals import DEFAULT_QUORUM
from strongroomd.domain.destruction import DeletionRecord
from strongroomd.domain.exporting import WrappingKeyRecord
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.protection import SINCE, since
from strongroomd.domain.protection import Record as Record  # noqa: PLC0414 - for whoever imports it from here
from strongroomd.domain.quota import LimitScope as LimitScope  # noqa: PLC0414 - likewise
from strongroomd.domain.quotarequests import QuotaRequestRecord
from strongroomd.domain.replication import CopyRecord, MultiRegion, PeerRecord, ReplicaRecord
from strongroomd.domain.rotations import RotationType, ScheduleRecord
from strongroomd.domain.tokens import MAIN, spelled
from strongroomd.domain.xks.records import CredentialRecord, ExternalKeyRecord, StoreRecord


class CustodyMode(StrEnum):
    """Where a key's material lives (design, section 6)."""

    WRAPPED = "WRAPPED"
    RESIDENT = "RESIDENT"
    ADOPTED = "ADOPTED"


class Origin(StrEnum):
    """Where a key's material came from, under AWS's names but for HSM.

    EXTERNAL is imported by its owner; EXTERNAL_KEY_STORE is what others made and keep.
    """

    HSM = "HSM"
    EXTERNAL = "EXTERNAL"
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"


class KeyManager(StrEnum):
    """Who looks after a key: the account's administrators, or a service and the daemon (`servicekeys`)."""

    CUSTOMER = "CUSTOMER"
    SERVICE = "SERVICE"


class KeyState(StrEnum):
    """A key's state, under AWS KMS's names."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    UNAVAILABLE = "Unavailable"
    DESTROYED = "Destroyed"


class VersionState(StrEnum):
    """A key version's state: wrapped versions are born ACTIVE, resident ones go through INTENT.

    Imported ones are ACTIVE while their material is there and AWAITING_IMPORT while it is not; one that is
    PENDING_ROTATION has its material, and the next rotation makes it the current one.
    """

    INTENT = "INTENT"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    MISSING = "MISSING"
    AWAITING_IMPORT = "AWAITING_IMPORT"
    PENDING_ROTATION = "PENDING_ROTATION"
    DESTROYING = "DESTROYING"
    DESTROYED = "DESTROYED"


WITH_MATERIAL: Final = (VersionState.ACTIVE, VersionState.PENDING_ROTATION)
"""States of versions whose material is there, and has to go wherever the house's keys go."""


class HouseState(StrEnum):
    """A house key's state: announced, in the token and proved, or given up before it was."""

    INTENT = "INTENT"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


class RewrapState(StrEnum):
    """A re-wrap's state."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class KeyRecord(Record):
    """A key: what it is, what state it is in, who may use it.

    Attributes:
        key_id: a UUID in lower case, or `mrk-` and 32 hex digits.
        account: 12 digits.
        custody_note: why resident mode was chosen for the caller, what adoption means, or empty.
        created_at: milliseconds since the Unix epoch.
        deletion_at: the same, when deletion falls due; 0 when it is not scheduled.
        current_version: the version that encrypts and signs; versions count from 1.
        policy: the key policy, JSON text as it was put.
        tags: sorted (key, value) pairs.
        manager: who looks after it; never changes.
        token: name of the token in which its versions are made; empty for the main one.
        quorum: how many must approve what dual control guards of it, 1 to 8; 0 for a key that is not
            protected, and for exportable ones from before there were quorums. Never changes.
        multi_region: whether it is one key in several houses, and which of them this is.
        primary_region: of a multi-region key, the region of the house that has the primary; else empty.
        term: of a multi-region key, counts the changes of that house, from 1; else 0.
    """

    KIND: ClassVar[str] = "key"
    key_id: str
    account: str
    spec: KeySpec
    usage: KeyUsage
    mode: CustodyMode
    custody_note: str
    origin: Origin
    exportable: bool
    state: KeyState
    description: str
    created_at: int
    deletion_at: int
    current_version: int
    policy: str
    tags: tuple[tuple[str, str], ...]
    manager: KeyManager = field(default=KeyManager.CUSTOMER, metadata=since("0008"))
    token: str = field(default=MAIN, metadata=since("0009"))
    quorum: int = field(default=0, metadata=since("0013"))
    multi_region: MultiRegion = field(default=MultiRegion.NONE, metadata=since("0019"))
    primary_region: str = field(default="", metadata=since("0019"))
    term: int = field(default=0, metadata=since("0019"))
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The key id."""
        return self.key_id


@dataclass(frozen=True, slots=True)
class VersionRecord(Record):
    """One version of a key's material.

    Attributes:
        created_at: milliseconds since the Unix epoch.
        kek_id: CKA_ID (hex) of the KEK that wraps `blob`; empty for resident and adopted versions.
        hsm_id: CKA_ID (hex, 16 bytes) of the token object that the daemon made; else empty.
        blob: the material wrapped by AES-KWP; empty for resident and adopted versions.
        length: true length of the secret in bytes (AES, HMAC), 0 for key pairs: KWP in SoftHSM pads.
        public_key: DER SubjectPublicKeyInfo of a key pair; empty for secrets.
        check_value: what `Vault` compares at load to know the material is the right one.
        recovery_blob: the material wrapped at birth to the recovery public key; empty when there is none.
        scheme: how it encrypts, and so what the key may do in the token.
        token: name of the token that has the object of a resident or adopted version; empty for the main
            one, and for wrapped versions, which are wherever their KEK is.
        object_class, object_id, object_label: class, CKA_ID (hex) and label of an adopted version's object,
            as it was found and is to be found again; an id or label that is empty is not asked for.
        uses, traits: what that object may do and how the token keeps it (`adoption.Use`, `adoption.Trait`),
            with commas between.
        rotation: why it was made.
    """

    KIND: ClassVar[str] = "version"
    key_id: str
    version: int
    state: VersionState
    created_at: int
    kek_id: str
    hsm_id: str
    blob: bytes
    length: int
    public_key: bytes
    check_value: bytes
    recovery_blob: bytes
    scheme: Scheme = field(default=Scheme.DEFAULT, metadata=since("0004"))
    token: str = field(default=MAIN, metadata=since("0009"))
    object_class: str = field(default="", metadata=since("0010"))
    object_id: str = field(default="", metadata=since("0010"))
    object_label: str = field(default="", metadata=since("0010"))
    uses: str = field(default="", metadata=since("0010"))
    traits: str = field(default="", metadata=since("0010"))
    rotation: RotationType = field(default=RotationType.FIRST, metadata=since("0014"))
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Key id and version."""
        return f"{self.key_id}/{self.version}"


@dataclass(frozen=True, slots=True)
class InvocationsRecord(Record):
    """How many encryptions under a key version were handed out to workers (invocations.py).

    Attributes:
        reserved: the number of the last one; rises with each block and never falls.
    """

    KIND: ClassVar[str] = "invocations"
    key_id: str
    version: int
    reserved: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Key id and version."""
        return f"{self.key_id}/{self.version}"


@dataclass(frozen=True, slots=True)
class AliasRecord(Record):
    """A second name of a key.

    Attributes:
        name: with its `alias/` prefix; unique in its account.
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "alias"
    account: str
    name: str
    key_id: str
    created_at: int
    updated_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Account and name."""
        return f"{self.account}/{self.name}"


@dataclass(frozen=True, slots=True)
class LimitRecord(Record):
    """A quota limit that an administrator set.

    Attributes:
        subject: key id, principal ARN, or `<account>/<class>`.
        per_second: cost units granted each second.
        burst: cost units that may be spent at once.
    """

    KIND: ClassVar[str] = "limit"
    scope: LimitScope
    subject: str
    per_second: int
    burst: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Scope and subject."""
        return f"{self.scope}/{self.subject}"


@dataclass(frozen=True, slots=True)
class HouseRecord(Record):
    """A house key, as `init` made it in the token.

    Attributes:
        role: one of the house roles, e.g. `kek-sealed`.
        hsm_id: CKA_ID (hex) of the token object.
        public_key: DER SubjectPublicKeyInfo of a signing or recovery key; empty for secrets.
        check_value: compared at every start.
        token: name of the token that holds it; empty for the main one.
        generation: counts a role's keys in a token, the first being 0; the highest active one is in use.
        created_at: milliseconds since the Unix epoch; 0 where nobody wrote it down.
        state: only an active key is used.
    """

    KIND: ClassVar[str] = "house"
    role: str
    hsm_id: str
    public_key: bytes
    check_value: bytes
    token: str = field(default=MAIN, metadata=since("0009"))
    generation: int = field(default=0, metadata=since("0015"))
    created_at: int = field(default=0, metadata=since("0015"))
    state: HouseState = field(default=HouseState.ACTIVE, metadata=since("0015"))
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The role and the token object, since roles get successors, and the token unless it is the main one.

        One KEK may so be in several tokens.
        """
        name = f"{self.role}/{self.hsm_id}"
        return f"{name}/{self.token}" if self.token else name


@dataclass(frozen=True, slots=True)
class RewrapRecord(Record):
    """How far a token's exportable keys have moved to its newest exportable KEK; one for each token.

    Attributes:
        token: whose; empty for the main one.
        target: CKA_ID (hex) of the KEK that they move to.
        total: versions under older KEKs when it began.
        rewrapped: versions that moved so far.
        failed: versions that could not be moved and stay where they are.
        per_second: most versions moved in a second.
        started_at, ended_at: milliseconds since the Unix epoch; `ended_at` is 0 while it runs.
        started_by: ARN.
    """

    KIND: ClassVar[str] = "rewrap"
    token: str
    target: str
    state: RewrapState
    total: int
    rewrapped: int
    failed: int
    per_second: int
    started_at: int
    ended_at: int
    started_by: str
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The token as people spell it: `main` for the main one."""
        return spelled(self.token)


@dataclass(frozen=True, slots=True)
class GrantRecord(Record):
    """What a key lends to one principal; never changed, only made and deleted.

    Attributes:
        key_id, account: of the key.
        grant_id: 64 hexadecimal digits.
        grantee, retiring, issuer: ARNs; `retiring` may be empty.
        operations: AWS's names, sorted, with commas between.
        constraint_type: how the encryption context is constrained, or empty; `context` are the pairs.
        source_arn, source_account: what the request's source must be, or empty.
        name: what CreateGrant was told, or empty.
        parent: id of the grant that allowed to make it, or empty.
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "grant"
    key_id: str
    account: str
    grant_id: str
    grantee: str
    retiring: str
    issuer: str
    operations: str
    constraint_type: str
    context: tuple[tuple[str, str], ...]
    source_arn: str
    source_account: str
    name: str
    parent: str
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Key, grant and grantee: the journal alone tells whom a key lends to."""
        return f"{self.key_id}/{self.grant_id}/{self.grantee}"


RECORD_KINDS: Final[dict[str, type[Record]]] = {
    cls.KIND: cls
    for cls in (
        *(KeyRecord, VersionRecord, AliasRecord, LimitRecord, HouseRecord, GrantRecord, InvocationsRecord),
        *(AccountRecord, PrincipalRecord, IdentityRecord, AccessKeyRecord, AddressesRecord),
        *(QuotaRequestRecord, ScheduleRecord, DeletionRecord),
        RewrapRecord,
        *(StoreRecord, ExternalKeyRecord, CredentialRecord),
        *(ApproverRecord, ApprovalRequestRecord, ApprovalRecord, QuorumRecord, WrappingKeyRecord),
        *(WrappingPairRecord, MaterialRecord),
        *(PeerRecord, CopyRecord, ReplicaRecord),
    )
}


def protection_of(key: KeyRecord) -> int:
    """Say how many must approve what dual control guards of a key; 0 for a key that is not protected."""
    return key.quorum or (DEFAULT_QUORUM if key.exportable else 0)


def canonical(record: Record, *, deleted: bool = False) -> bytes:
    """Give the record's one byte form, the input of its MAC.

    Layout: b"strongroom.record.v1", then kind, `1` if this marks a deletion else `0`, and each field, each
    as a four-byte big-endian length and its bytes. Text is UTF-8, integers and booleans decimal text, pairs
    are their own length-prefixed list. Fields that came later follow, in order, each as its name and its
    value, without those that have their default.
    """
    parts = [record.KIND.encode(), b"1" if deleted else b"0"]
    later = []
    for part in dataclasses.fields(record):
        value = getattr(record, part.name)
        if SINCE not in part.metadata:
            parts.append(_field(value))
        elif value != part.default:
            later += [part.name.encode(), _field(value)]
    parts += later
    return b"strongroom.record.v1" + _framed(parts)


def _framed(parts: list[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _field(value: object) -> bytes:
    match value:
        case bytes():
            return value
        case bool():
            return b"1" if value else b"0"
        case int():
            return b"%d" % value
        case Enum():
            return str(value.value).encode()
        case str():
            return value.encode()
        case tuple():
            return _framed([_field(item) for item in value])
    raise TypeError(type(value).__name__)
