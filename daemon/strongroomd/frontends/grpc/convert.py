"""Between protobuf messages and the core's values: every byte and name is checked here once.

Enum tables are made from the generated enums, so that a value missing on either side is found at import.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

import google_crc32c
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp

from strongroom.v1 import (
    access_pb2,
    approvals_pb2,
    crypto_pb2,
    export_pb2,
    key_stores_pb2,
    material_pb2,
    quota_pb2,
    types_pb2,
)
from strongroomd.custody import publickeys
from strongroomd.domain import adoption
from strongroomd.domain import algorithms as alg
from strongroomd.domain.accounts import PrincipalKind
from strongroomd.domain.approvals import ApprovalState, GuardedAction
from strongroomd.domain.context import EMPTY, Context, parse_context
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.exporting import ExportAlgorithm, ExportLevel, WrappingKeyKind
from strongroomd.domain.importing import (
    ExpirationModel,
    ImportLevel,
    ImportType,
    WrappingAlgorithm,
    WrappingKeySpec,
    model_of,
)
from strongroomd.domain.materials import MaterialRecord, MaterialState
from strongroomd.domain.names import Realm
from strongroomd.domain.quotarequests import Decision, RequestState
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    KeyManager,
    KeyRecord,
    KeyState,
    LimitScope,
    Origin,
    VersionRecord,
    protection_of,
)
from strongroomd.domain.replication import MultiRegion, ReplicaRecord
from strongroomd.domain.tokens import spelled
from strongroomd.domain.xks.records import Pinning

E = TypeVar("E", bound=StrEnum)

_ENUMS: Final[list[tuple[type[StrEnum], Any, str]]] = [
    (alg.KeySpec, types_pb2.KeySpec, "KEY_SPEC_"),
    (alg.KeyUsage, types_pb2.KeyUsage, "KEY_USAGE_"),
    (KeyState, types_pb2.KeyState, "KEY_STATE_"),
    (CustodyMode, types_pb2.CustodyMode, "CUSTODY_MODE_"),
    (KeyManager, types_pb2.KeyManager, "KEY_MANAGER_"),
    (Origin, types_pb2.KeyOrigin, "KEY_ORIGIN_"),
    (alg.EncryptionAlgorithm, types_pb2.EncryptionAlgorithm, "ENCRYPTION_ALGORITHM_"),
    (alg.SigningAlgorithm, types_pb2.SigningAlgorithm, "SIGNING_ALGORITHM_"),
    (alg.MacAlgorithm, types_pb2.MacAlgorithm, "MAC_ALGORITHM_"),
    (alg.AgreementAlgorithm, types_pb2.KeyAgreementAlgorithm, "KEY_AGREEMENT_ALGORITHM_"),
    (alg.MessageType, types_pb2.MessageType, "MESSAGE_TYPE_"),
    (LimitScope, quota_pb2.LimitScope, "LIMIT_SCOPE_"),
    (RequestState, quota_pb2.QuotaRequestState, "QUOTA_REQUEST_STATE_"),
    (Decision, quota_pb2.QuotaDecision, "QUOTA_DECISION_"),
    (PrincipalKind, access_pb2.PrincipalKind, "PRINCIPAL_KIND_"),
    (Pinning, key_stores_pb2.Pinning, "PINNING_"),
    (GuardedAction, approvals_pb2.GuardedAction, "GUARDED_ACTION_"),
    (ApprovalState, approvals_pb2.ApprovalState, "APPROVAL_STATE_"),
    (WrappingKeyKind, approvals_pb2.WrappingKeyKind, "WRAPPING_KEY_KIND_"),
    (ExportLevel, export_pb2.ExportLevel, "EXPORT_LEVEL_"),
    (ExportAlgorithm, export_pb2.ExportAlgorithm, "EXPORT_ALGORITHM_"),
    (WrappingAlgorithm, types_pb2.WrappingAlgorithm, "WRAPPING_ALGORITHM_"),
    (WrappingKeySpec, material_pb2.WrappingKeySpec, "WRAPPING_KEY_SPEC_"),
    (ExpirationModel, types_pb2.ExpirationModel, "EXPIRATION_MODEL_"),
    (ImportType, material_pb2.ImportType, "IMPORT_TYPE_"),
    (ImportLevel, types_pb2.ImportLevel, "IMPORT_LEVEL_"),
    (MaterialState, types_pb2.MaterialState, "MATERIAL_STATE_"),
    (MultiRegion, types_pb2.MultiRegionKeyType, "MULTI_REGION_KEY_TYPE_"),
]
_NOT_ON_THE_WIRE: Final = {KeyState.DESTROYED, MultiRegion.NONE}


def _table(kind: type[StrEnum], wire: EnumTypeWrapper, prefix: str) -> dict[int, StrEnum]:
    return {wire.Value(prefix + member.name): member for member in kind if member not in _NOT_ON_THE_WIRE}


_FROM_WIRE: Final = {kind: _table(kind, wire, prefix) for kind, wire, prefix in _ENUMS}
_TO_WIRE: Final = {
    kind: {member: number for number, member in table.items()} for kind, table in _FROM_WIRE.items()
}
DATA_KEY_BYTES: Final = {crypto_pb2.DATA_KEY_SPEC_AES_128: 16, crypto_pb2.DATA_KEY_SPEC_AES_256: 32}
PAIR_SPECS: Final = {
    number: alg.KeySpec[name.removeprefix("DATA_KEY_PAIR_SPEC_")]
    for name, number in crypto_pb2.DataKeyPairSpec.items()
    if number
}


def from_wire(kind: type[E], number: int, field: str) -> E | None:
    """Turn an enum's number into the core's value; 0 (UNSPECIFIED) is None.

    Raises:
        StrongroomError: UNKNOWN_ENUM naming the field.
    """
    if not number:
        return None
    value = _FROM_WIRE[kind].get(number)
    if value is None:
        raise StrongroomError(Reason.UNKNOWN_ENUM, field=field)
    return kind(value)


def required(kind: type[E], number: int, field: str) -> E:
    """Turn an enum's number into the core's value, refusing UNSPECIFIED."""
    value = from_wire(kind, number, field)
    if value is None:
        raise invalid(field, "must be set")
    return value


def to_wire(value: StrEnum) -> Any:  # noqa: ANN401 - generated enums are distinct integer types
    """Give the number of the core's value."""
    return _TO_WIRE[type(value)][value]


def all_to_wire(values: Iterable[StrEnum]) -> list[Any]:
    """Give the numbers of several values."""
    return [to_wire(value) for value in values]


def context(pairs: Mapping[str, str], field: str = "encryption_context") -> Context:
    """Turn an encryption context into canonical pairs."""
    return parse_context(pairs, field) if pairs else EMPTY


def crc(data: bytes) -> int:
    """CRC32C of bytes (RFC 3720, appendix B.4)."""
    return int(google_crc32c.value(data))


def checked(data: bytes, present: bool, claimed: int, field: str) -> bool:  # noqa: FBT001 - mirrors HasField
    """Hold a field against the CRC32C that came with it, if one did; returns whether one did.

    Raises:
        StrongroomError: CHECKSUM_MISMATCH naming the field.
    """
    if present and crc(data) != claimed:
        raise StrongroomError(Reason.CHECKSUM_MISMATCH, field=field)
    return present


def timestamp(milliseconds: int) -> Timestamp | None:
    """Turn milliseconds since the Unix epoch into a Timestamp; 0 is none."""
    if not milliseconds:
        return None
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def milliseconds(stamp: Timestamp, present: bool, field: str) -> int:  # noqa: FBT001 - mirrors HasField
    """Turn a Timestamp into milliseconds since the Unix epoch, rounded down; 0 where it is absent.

    Raises:
        StrongroomError: INVALID_FIELD for what is no time after the epoch.
    """
    if not present:
        return 0
    if not (0 < stamp.seconds < _LATEST and 0 <= stamp.nanos < 1_000_000_000):
        raise invalid(field, "must be a time between 1970 and 9999")
    return stamp.seconds * 1000 + stamp.nanos // 1_000_000


_LATEST: Final = 253_402_300_800  # the year 10000 (google/protobuf/timestamp.proto)


_NO_MODEL: Final = types_pb2.EXPIRATION_MODEL_UNSPECIFIED


def imported_material(record: MaterialRecord | None) -> types_pb2.ImportedMaterial | None:
    """Describe what is known of imported material; None where there is none."""
    if record is None:
        return None
    return types_pb2.ImportedMaterial(
        key_version=record.version,
        state=to_wire(record.state),
        imported_time=timestamp(record.imported_at),
        expiration_model=_NO_MODEL if record.removed_at else to_wire(model_of(record.expires_at)),
        valid_to=timestamp(record.expires_at),
        removed_time=timestamp(record.removed_at),
        wrapping_algorithm=to_wire(record.algorithm),
        level=to_wire(record.level),
    )


def metadata(
    key: KeyRecord,
    realm: Realm,
    version: VersionRecord | None = None,
    material: MaterialRecord | None = None,
    replicas: Iterable[ReplicaRecord] = (),
) -> types_pb2.KeyMetadata:
    """Describe a key; of an adopted or imported one its current version's object or material, if given."""
    return types_pb2.KeyMetadata(
        key_id=key.key_id,
        arn=realm.key_arn(key.key_id, key.account),
        account=key.account,
        key_spec=to_wire(key.spec),
        key_usage=to_wire(key.usage),
        custody_mode=to_wire(key.mode),
        custody_note=key.custody_note,
        origin=to_wire(key.origin),
        exportable=key.exportable,
        state=to_wire(key.state),
        enabled=key.state is KeyState.ENABLED,
        description=key.description,
        created_time=timestamp(key.created_at),
        deletion_time=timestamp(key.deletion_at),
        current_version=key.current_version,
        etag=str(key.row_version),
        encryption_algorithms=all_to_wire(alg.encryption_algorithms(key.spec, key.usage)),
        signing_algorithms=all_to_wire(alg.signing_algorithms(key.spec, key.usage)),
        mac_algorithms=all_to_wire(alg.mac_algorithms(key.spec, key.usage)),
        key_agreement_algorithms=all_to_wire(alg.agreement_algorithms(key.usage)),
        key_manager=to_wire(key.manager),
        token=spelled(key.token),
        adopted_object=adopted_object(version) if version else None,
        quorum=protection_of(key),
        imported_material=imported_material(material),
        multi_region=multi_region(key, realm, replicas),
    )


def multi_region(
    key: KeyRecord, realm: Realm, replicas: Iterable[ReplicaRecord]
) -> types_pb2.MultiRegionConfiguration | None:
    """Say where a multi-region key is, and its replicas if given; None for any other key."""
    if key.multi_region is MultiRegion.NONE:
        return None

    def arn(region: str) -> str:
        return Realm(region, realm.account).key_arn(key.key_id, key.account)

    return types_pb2.MultiRegionConfiguration(
        type=to_wire(key.multi_region),
        primary_region=key.primary_region,
        primary_arn=arn(key.primary_region),
        replicas=[
            types_pb2.ReplicaKey(
                region=each.region, arn=arn(each.region), acknowledged_version=each.acknowledged
            )
            for each in replicas
        ],
    )


def adopted_object(version: VersionRecord) -> types_pb2.AdoptedObject | None:
    """Describe the object that an adopted version is; None for every other version."""
    if not version.object_class:
        return None
    found = adoption.described(version)
    return types_pb2.AdoptedObject(
        cka_id=found.cka_id,
        label=found.label,
        object_class=found.object_class,
        key_spec=found.spec,
        uses=found.uses,
        proved=bool(found.check_value),
        warnings=found.warnings(),
        **{trait.lower(): True for trait in found.traits},
    )


def alias(record: AliasRecord, realm: Realm) -> types_pb2.Alias:
    """Describe an alias."""
    return types_pb2.Alias(
        name=record.name,
        arn=realm.alias_arn(record.name, record.account),
        key_arn=realm.key_arn(record.key_id, record.account),
        created_time=timestamp(record.created_at),
        updated_time=timestamp(record.updated_at),
        etag=str(record.row_version),
    )


def tags(pairs: Iterable[tuple[str, str]]) -> list[types_pb2.Tag]:
    """Spell tags."""
    return [types_pb2.Tag(key=key, value=value) for key, value in pairs]


pem = publickeys.pem
rsa_recipient = publickeys.recipient
