"""KeyService: keys, where they are, their versions, rotations and use counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from strongroom.results.material import ImportedMaterial


@dataclass(frozen=True, slots=True)
class AdoptedObject:
    """What a token said of an object when it was adopted, in PKCS#11's words; see types.proto.

    Attributes:
        cka_id: in hexadecimal digits.
        spec: kind and length of the key, e.g. AES_256.
        uses: what the token lets it be used for, e.g. ENCRYPT.
        proved: whether another key put in its place would be noticed.
        warnings: what the token does not prevent, each in a sentence.
    """

    cka_id: str
    label: str
    object_class: str
    spec: str
    uses: tuple[str, ...]
    sensitive: bool
    always_sensitive: bool
    extractable: bool
    never_extractable: bool
    private: bool
    local: bool
    proved: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplicaKey:
    """A replica in another house, and the newest version that it is known to have."""

    region: str
    arn: str
    acknowledged_version: int


@dataclass(frozen=True, slots=True)
class MultiRegion:
    """Where a multi-region key is: a MultiRegionKeyType, the primary; from `describe_key` the replicas."""

    type: str
    primary_region: str
    primary_arn: str
    replicas: tuple[ReplicaKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """Everything about a key that is not secret; see KeyMetadata in types.proto.

    Attributes:
        adopted_object: of an adopted key, from `adopt_key` and `describe_key`: the current version's object.
        imported_material: of an imported key, from `describe_key`: what is known of the current version's.
        token: where it lives: `main` or another token's name; empty from daemons that know one token only.
        quorum: how many must approve what dual control guards of it; 0: it is not protected.
        multi_region: of a multi-region key: what it is, and where.
    """

    key_id: str
    arn: str
    account: str
    spec: str
    usage: str
    custody_mode: str
    custody_note: str
    origin: str
    exportable: bool
    state: str
    enabled: bool
    description: str
    created_time: datetime | None
    deletion_time: datetime | None
    current_version: int
    etag: str
    encryption_algorithms: tuple[str, ...]
    signing_algorithms: tuple[str, ...]
    mac_algorithms: tuple[str, ...]
    key_agreement_algorithms: tuple[str, ...]
    key_manager: str = ""
    token: str = ""
    adopted_object: AdoptedObject | None = None
    quorum: int = 0
    imported_material: ImportedMaterial | None = None
    multi_region: MultiRegion | None = None


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key's material, from 1; `current` marks the one that encrypts and signs now.

    Attributes:
        ciphertext_format: of what a symmetric version makes: 1 XAES-256-GCM, 2 AES-256-GCM; 0 for other keys.
        adopted_object: of an adopted key: the object that this version is.
        imported_material: of an imported key: what is known of this version's material.
        pending_rotation: of an imported key: whether the material waits for `rotate_key`.
    """

    version: int
    created_time: datetime | None
    current: bool
    ciphertext_format: int = 0
    adopted_object: AdoptedObject | None = None
    imported_material: ImportedMaterial | None = None
    pending_rotation: bool = False


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key version, as SubjectPublicKeyInfo in DER and PEM."""

    key_arn: str
    key_version: int
    public_key: bytes
    public_key_pem: str
    spec: str
    usage: str
    encryption_algorithms: tuple[str, ...]
    signing_algorithms: tuple[str, ...]
    key_agreement_algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsageReport:
    """When a key was last used, and how often each operation succeeded since `tracking_start_time`."""

    key_arn: str
    last_used_time: datetime | None
    last_operation: str
    tracking_start_time: datetime | None
    operation_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """A key's automatic rotation: days between two, and when the next one is due."""

    rotation_period_days: int
    next_rotation_time: datetime | None


@dataclass(frozen=True, slots=True)
class RotationStatus:
    """How a key is rotated; see GetKeyRotationStatus in keys.proto.

    Attributes:
        next_rotation_time: None without a schedule; in the past where it is overdue.
        on_demand_rotations: so far, of 25.
    """

    key_arn: str
    rotation_enabled: bool
    rotation_period_days: int
    next_rotation_time: datetime | None
    on_demand_rotations: int
    current_version: int
    current_version_time: datetime | None


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation: the version that it made, when, and why: AUTOMATIC, ON_DEMAND, or empty if not noted."""

    version: int
    time: datetime | None
    type: str
    current: bool
