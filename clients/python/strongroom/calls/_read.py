"""Readers of the messages that several answers share."""

from datetime import UTC, datetime
from typing import cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from strongroom import _enums as enums
from strongroom import results
from strongroom.v1 import types_pb2 as types


def stamp(time: datetime) -> Timestamp:
    """Write a time as a timestamp field has it."""
    made = Timestamp()
    made.FromDatetime(time.astimezone(UTC))
    return made


def time_of(message: Message, field: str) -> datetime | None:
    """Read a timestamp field as an aware datetime, to the microsecond; None where it is absent."""
    if not message.HasField(field):
        return None
    found = cast("Timestamp", getattr(message, field))
    return found.ToDatetime(tzinfo=UTC)


def key(message: types.KeyMetadata) -> results.Key:
    """Read the description of a key."""
    return results.Key(
        key_id=message.key_id,
        arn=message.arn,
        account=message.account,
        spec=enums.KEY_SPEC.name(message.key_spec),
        usage=enums.KEY_USAGE.name(message.key_usage),
        custody_mode=enums.CUSTODY_MODE.name(message.custody_mode),
        custody_note=message.custody_note,
        origin=enums.KEY_ORIGIN.name(message.origin),
        exportable=message.exportable,
        state=enums.KEY_STATE.name(message.state),
        enabled=message.enabled,
        description=message.description,
        created_time=time_of(message, "created_time"),
        deletion_time=time_of(message, "deletion_time"),
        current_version=message.current_version,
        etag=message.etag,
        encryption_algorithms=enums.ENCRYPTION.all(message.encryption_algorithms),
        signing_algorithms=enums.SIGNING.all(message.signing_algorithms),
        mac_algorithms=enums.MAC.all(message.mac_algorithms),
        key_agreement_algorithms=enums.KEY_AGREEMENT.all(message.key_agreement_algorithms),
        key_manager=enums.KEY_MANAGER.name(message.key_manager),
        token=message.token,
        adopted_object=adopted_object(message),
        quorum=message.quorum,
        imported_material=imported_material(message),
        multi_region=multi_region(message),
    )


def multi_region(message: types.KeyMetadata) -> results.MultiRegion | None:
    """Read where a multi-region key is; None for any other key."""
    if not message.HasField("multi_region"):
        return None
    found = message.multi_region
    return results.MultiRegion(
        type=enums.MULTI_REGION_KEY_TYPE.name(found.type),
        primary_region=found.primary_region,
        primary_arn=found.primary_arn,
        replicas=tuple(
            results.ReplicaKey(each.region, each.arn, each.acknowledged_version) for each in found.replicas
        ),
    )


def adopted_object(message: types.KeyMetadata | types.KeyVersion) -> results.AdoptedObject | None:
    """Read what was found when a key was adopted; None where nothing is said of that."""
    if not message.HasField("adopted_object"):
        return None
    found = message.adopted_object
    return results.AdoptedObject(
        cka_id=found.cka_id,
        label=found.label,
        object_class=found.object_class,
        spec=found.key_spec,
        uses=tuple(found.uses),
        sensitive=found.sensitive,
        always_sensitive=found.always_sensitive,
        extractable=found.extractable,
        never_extractable=found.never_extractable,
        private=found.private,
        local=found.local,
        proved=found.proved,
        warnings=tuple(found.warnings),
    )


def imported_material(message: types.KeyMetadata | types.KeyVersion) -> results.ImportedMaterial | None:
    """Read what is known of imported material; None where nothing is said of that."""
    return material(message.imported_material) if message.HasField("imported_material") else None


def material(found: types.ImportedMaterial) -> results.ImportedMaterial:
    """Read what is known of imported material."""
    return results.ImportedMaterial(
        key_version=found.key_version,
        state=enums.MATERIAL_STATE.name(found.state),
        imported_time=time_of(found, "imported_time"),
        expiration_model=enums.EXPIRATION_MODEL.name(found.expiration_model),
        valid_to=time_of(found, "valid_to"),
        removed_time=time_of(found, "removed_time"),
        wrapping_algorithm=enums.WRAPPING.name(found.wrapping_algorithm),
        level=enums.IMPORT_LEVEL.name(found.level),
    )


def alias(message: types.Alias) -> results.Alias:
    """Read an alias."""
    return results.Alias(
        name=message.name,
        arn=message.arn,
        key_arn=message.key_arn,
        created_time=time_of(message, "created_time"),
        updated_time=time_of(message, "updated_time"),
        etag=message.etag,
    )
