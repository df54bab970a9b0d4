"""KeyService on the wire."""

from typing import Final

from strongroom.v1 import keys_pb2 as pb
from strongroom.v1 import types_pb2
from strongroomd.custody.adoptions import Adoptions, NewAdoption
from strongroomd.custody.aliases import Aliases
from strongroomd.custody.keyforms import KeyFilter, NewKey
from strongroomd.custody.keys import Keys
from strongroomd.custody.materials import Materials
from strongroomd.custody.schedules import Schedules
from strongroomd.domain import names
from strongroomd.domain.algorithms import (
    SPECS,
    KeyFamily,
    KeySpec,
    KeyUsage,
    agreement_algorithms,
    encryption_algorithms,
    signing_algorithms,
)
from strongroomd.domain.envelope import FORMATS
from strongroomd.domain.names import Realm
from strongroomd.domain.records import (
    CustodyMode,
    KeyManager,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.rotations import RotationType
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class KeyServicer:
    """Turns KeyService messages into use cases and back; one method an RPC."""

    def __init__(
        self,
        keys: Keys,
        aliases: Aliases,
        adoptions: Adoptions,
        schedules: Schedules,
        materials: Materials,
        realm: Realm,
    ) -> None:
        self._materials = materials
        self._keys = keys
        self._schedules = schedules
        self._aliases = aliases
        self._adoptions = adoptions
        self._realm = realm

    async def CreateKey(self, request: pb.CreateKeyRequest, call: Call) -> pb.CreateKeyResponse:
        """Create a key."""
        wanted = NewKey(
            spec=convert.from_wire(KeySpec, request.key_spec, "key_spec") or KeySpec.SYMMETRIC_DEFAULT,
            usage=convert.from_wire(KeyUsage, request.key_usage, "key_usage"),
            mode=convert.from_wire(CustodyMode, request.custody_mode, "custody_mode"),
            exportable=request.exportable,
            description=request.description,
            policy=request.policy,
            bypass_lockout_check=request.bypass_policy_lockout_safety_check,
            tags=tuple((tag.key, tag.value) for tag in request.tags),
        )
        request_id = names.request_id(request.request_id)
        origin = convert.from_wire(Origin, request.origin, "origin") or Origin.HSM
        key = await self._keys.create(
            call.caller,
            wanted,
            request_id,
            request.token,
            request.quorum,
            origin,
            multi_region=request.multi_region,
        )
        return pb.CreateKeyResponse(metadata=convert.metadata(key, self._realm))

    async def AdoptKey(self, request: pb.AdoptKeyRequest, call: Call) -> pb.AdoptKeyResponse:
        """Adopt a token object."""
        wanted = NewAdoption(
            cka_id=request.cka_id,
            label=request.label,
            key=request.key,
            etag=request.etag,
            description=request.description,
            policy=request.policy,
            bypass_lockout_check=request.bypass_policy_lockout_safety_check,
            tags=tuple((tag.key, tag.value) for tag in request.tags),
        )
        request_id = names.request_id(request.request_id)
        made = await self._adoptions.adopt(call.caller, wanted, request_id, request.token)
        return pb.AdoptKeyResponse(metadata=convert.metadata(made.key, self._realm, made.version))

    async def DescribeKey(self, request: pb.DescribeKeyRequest, call: Call) -> pb.DescribeKeyResponse:
        """Describe a key."""
        key = await self._keys.describe(call.caller, request.key)
        adopted = key.mode is CustodyMode.ADOPTED
        version = await self._adoptions.version(key) if adopted else None
        material = await self._materials.of(key)
        replicas = await self._keys.replicas(key)
        return pb.DescribeKeyResponse(
            metadata=convert.metadata(key, self._realm, version, material, replicas)
        )

    async def ListKeys(self, request: pb.ListKeysRequest, call: Call) -> pb.ListKeysResponse:
        """List keys."""
        wanted = KeyFilter(
            state=convert.from_wire(KeyState, request.state, "state"),
            spec=convert.from_wire(KeySpec, request.key_spec, "key_spec"),
            manager=convert.from_wire(KeyManager, request.key_manager, "key_manager"),
            tag_key=request.tag_key,
            tag_value=request.tag_value if request.HasField("tag_value") else None,
        )
        page = await self._keys.list_keys(call.caller, wanted, request.page_size, request.page_token)
        keys = [convert.metadata(key, self._realm) for key in page.keys]
        return pb.ListKeysResponse(keys=keys, next_page_token=page.next_token)

    async def UpdateKeyDescription(
        self, request: pb.UpdateKeyDescriptionRequest, call: Call
    ) -> pb.UpdateKeyDescriptionResponse:
        """Replace a description."""
        request_id = names.request_id(request.request_id)
        key = await self._keys.update_description(
            call.caller, request.key, request.description, request.etag, request_id
        )
        return pb.UpdateKeyDescriptionResponse(metadata=convert.metadata(key, self._realm))

    async def EnableKey(self, request: pb.EnableKeyRequest, call: Call) -> pb.EnableKeyResponse:
        """Enable a key."""
        request_id = names.request_id(request.request_id)
        key = await self._keys.enable(call.caller, request.key, request.etag, request_id)
        return pb.EnableKeyResponse(metadata=convert.metadata(key, self._realm))

    async def DisableKey(self, request: pb.DisableKeyRequest, call: Call) -> pb.DisableKeyResponse:
        """Disable a key."""
        request_id = names.request_id(request.request_id)
        key = await self._keys.disable(call.caller, request.key, request.etag, request_id)
        return pb.DisableKeyResponse(metadata=convert.metadata(key, self._realm))

    async def ScheduleKeyDeletion(
        self, request: pb.ScheduleKeyDeletionRequest, call: Call
    ) -> pb.ScheduleKeyDeletionResponse:
        """Schedule a key's deletion."""
        request_id = names.request_id(request.request_id)
        key = await self._keys.schedule_deletion(
            call.caller,
            request.key,
            request.pending_window_days,
            request.etag,
            request_id,
            request.approval_id,
        )
        return pb.ScheduleKeyDeletionResponse(metadata=convert.metadata(key, self._realm))

    async def CancelKeyDeletion(
        self, request: pb.CancelKeyDeletionRequest, call: Call
    ) -> pb.CancelKeyDeletionResponse:
        """Cancel a scheduled deletion."""
        request_id = names.request_id(request.request_id)
        key = await self._keys.cancel_deletion(call.caller, request.key, request.etag, request_id)
        return pb.CancelKeyDeletionResponse(metadata=convert.metadata(key, self._realm))

    async def RotateKey(self, request: pb.RotateKeyRequest, call: Call) -> pb.RotateKeyResponse:
        """Make a new version."""
        request_id = names.request_id(request.request_id)
        key = await self._keys.rotate(call.caller, request.key, request.etag, request_id)
        return pb.RotateKeyResponse(metadata=convert.metadata(key, self._realm))

    async def EnableKeyRotation(
        self, request: pb.EnableKeyRotationRequest, call: Call
    ) -> pb.EnableKeyRotationResponse:
        """Rotate a key automatically."""
        request_id = names.request_id(request.request_id)
        schedule = await self._schedules.enable(
            call.caller, request.key, request.rotation_period_days, request_id
        )
        return pb.EnableKeyRotationResponse(
            rotation_period_days=schedule.period_days,
            next_rotation_time=convert.timestamp(schedule.next_at),
        )

    async def DisableKeyRotation(
        self, request: pb.DisableKeyRotationRequest, call: Call
    ) -> pb.DisableKeyRotationResponse:
        """Rotate a key no more."""
        await self._schedules.disable(call.caller, request.key, names.request_id(request.request_id))
        return pb.DisableKeyRotationResponse()

    async def GetKeyRotationStatus(
        self, request: pb.GetKeyRotationStatusRequest, call: Call
    ) -> pb.GetKeyRotationStatusResponse:
        """Say how a key is rotated."""
        found = await self._schedules.status(call.caller, request.key)
        schedule = found.schedule
        return pb.GetKeyRotationStatusResponse(
            key_arn=found.arn,
            rotation_enabled=schedule is not None and schedule.enabled,
            rotation_period_days=schedule.period_days if schedule else 0,
            next_rotation_time=convert.timestamp(schedule.next_at) if schedule else None,
            on_demand_rotations=found.on_demand,
            current_version=found.key.current_version,
            current_version_time=convert.timestamp(found.last.created_at) if found.last else None,
        )

    async def ListKeyRotations(
        self, request: pb.ListKeyRotationsRequest, call: Call
    ) -> pb.ListKeyRotationsResponse:
        """List rotations."""
        page = await self._schedules.rotations(
            call.caller, request.key, request.page_size, request.page_token
        )
        rotations = [
            pb.KeyRotation(
                version=version.version,
                time=convert.timestamp(version.created_at),
                type=_ROTATION_TYPES[version.rotation],
                current=version.version == page.key.current_version,
            )
            for version in page.versions
        ]
        return pb.ListKeyRotationsResponse(rotations=rotations, next_page_token=page.next_token)

    async def ListKeyVersions(
        self, request: pb.ListKeyVersionsRequest, call: Call
    ) -> pb.ListKeyVersionsResponse:
        """List versions."""
        page = await self._keys.versions(call.caller, request.key, request.page_size, request.page_token)
        versions = [await self._version(record, page.key) for record in page.versions]
        return pb.ListKeyVersionsResponse(versions=versions, next_page_token=page.next_token)

    async def _version(self, record: VersionRecord, key: KeyRecord) -> types_pb2.KeyVersion:
        symmetric = SPECS[key.spec].family is KeyFamily.AES
        return types_pb2.KeyVersion(
            version=record.version,
            created_time=convert.timestamp(record.created_at),
            current=record.version == key.current_version,
            ciphertext_format=FORMATS[record.scheme] if symmetric else 0,
            adopted_object=convert.adopted_object(record),
            imported_material=convert.imported_material(await self._materials.of(key, record.version)),
            pending_rotation=record.state is VersionState.PENDING_ROTATION,
        )

    async def GetPublicKey(self, request: pb.GetPublicKeyRequest, call: Call) -> pb.GetPublicKeyResponse:
        """Give a public key as DER and PEM."""
        found = await self._keys.public_key(call.caller, request.key, request.key_version)
        spec, usage = found.key.spec, found.key.usage
        return pb.GetPublicKeyResponse(
            key_arn=found.arn,
            key_version=found.version,
            public_key=found.spki,
            public_key_crc32c=convert.crc(found.spki),
            public_key_pem=convert.pem(found.spki),
            key_spec=convert.to_wire(spec),
            key_usage=convert.to_wire(usage),
            encryption_algorithms=convert.all_to_wire(encryption_algorithms(spec, usage)),
            signing_algorithms=convert.all_to_wire(signing_algorithms(spec, usage)),
            key_agreement_algorithms=convert.all_to_wire(agreement_algorithms(usage)),
        )

    async def CreateAlias(self, request: pb.CreateAliasRequest, call: Call) -> pb.CreateAliasResponse:
        """Give a key an alias."""
        request_id = names.request_id(request.request_id)
        alias = await self._aliases.create(call.caller, request.alias, request.key, request_id)
        return pb.CreateAliasResponse(alias=convert.alias(alias, self._realm))

    async def UpdateAlias(self, request: pb.UpdateAliasRequest, call: Call) -> pb.UpdateAliasResponse:
        """Point an alias to another key."""
        request_id = names.request_id(request.request_id)
        alias = await self._aliases.update(call.caller, request.alias, request.key, request.etag, request_id)
        return pb.UpdateAliasResponse(alias=convert.alias(alias, self._realm))

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, call: Call) -> pb.DeleteAliasResponse:
        """Take an alias away."""
        request_id = names.request_id(request.request_id)
        await self._aliases.delete(call.caller, request.alias, request.etag, request_id)
        return pb.DeleteAliasResponse()

    async def ListAliases(self, request: pb.ListAliasesRequest, call: Call) -> pb.ListAliasesResponse:
        """List aliases."""
        page = await self._aliases.list_aliases(
            call.caller, request.key, request.page_size, request.page_token
        )
        aliases = [convert.alias(record, self._realm) for record in page.aliases]
        return pb.ListAliasesResponse(aliases=aliases, next_page_token=page.next_token)

    async def TagKey(self, request: pb.TagKeyRequest, call: Call) -> pb.TagKeyResponse:
        """Add tags."""
        tags = tuple((tag.key, tag.value) for tag in request.tags)
        request_id = names.request_id(request.request_id)
        key = await self._keys.tag(call.caller, request.key, tags, request.etag, request_id)
        return pb.TagKeyResponse(tags=convert.tags(key.tags), etag=str(key.row_version))

    async def UntagKey(self, request: pb.UntagKeyRequest, call: Call) -> pb.UntagKeyResponse:
        """Remove tags."""
        request_id = names.request_id(request.request_id)
        unwanted = tuple(request.tag_keys)
        key = await self._keys.untag(call.caller, request.key, unwanted, request.etag, request_id)
        return pb.UntagKeyResponse(tags=convert.tags(key.tags), etag=str(key.row_version))

    async def ListTags(self, request: pb.ListTagsRequest, call: Call) -> pb.ListTagsResponse:
        """List tags."""
        key = await self._keys.tags(call.caller, request.key)
        return pb.ListTagsResponse(tags=convert.tags(key.tags), etag=str(key.row_version))

    async def GetKeyPolicy(self, request: pb.GetKeyPolicyRequest, call: Call) -> pb.GetKeyPolicyResponse:
        """Read a policy."""
        key = await self._keys.get_policy(call.caller, request.key)
        return pb.GetKeyPolicyResponse(policy=key.policy, etag=str(key.row_version))

    async def PutKeyPolicy(self, request: pb.PutKeyPolicyRequest, call: Call) -> pb.PutKeyPolicyResponse:
        """Replace a policy."""
        key = await self._keys.put_policy(
            call.caller,
            request.key,
            request.policy,
            request.etag,
            names.request_id(request.request_id),
            request.approval_id,
            bypass=request.bypass_policy_lockout_safety_check,
        )
        return pb.PutKeyPolicyResponse(metadata=convert.metadata(key, self._realm))

    async def GetKeyUsage(self, request: pb.GetKeyUsageRequest, call: Call) -> pb.GetKeyUsageResponse:
        """Say how a key was used."""
        entry, uses = await self._keys.usage(call.caller, request.key)
        newest = max(uses, key=lambda use: use.last_used, default=None)
        return pb.GetKeyUsageResponse(
            key_arn=entry.arn,
            last_used_time=convert.timestamp(newest.last_used) if newest else None,
            last_operation=newest.operation if newest else "",
            tracking_start_time=convert.timestamp(entry.key.created_at),
            operation_counts=[pb.OperationCount(operation=u.operation, count=u.count) for u in uses],
        )


_ROTATION_TYPES: Final = {
    RotationType.FIRST: pb.ROTATION_TYPE_UNSPECIFIED,
    RotationType.AUTOMATIC: pb.ROTATION_TYPE_AUTOMATIC,
    RotationType.ON_DEMAND: pb.ROTATION_TYPE_ON_DEMAND,
}
