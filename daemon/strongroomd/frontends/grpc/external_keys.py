"""KeyStoreService on the wire: external keys."""

from strongroom.v1 import key_stores_pb2 as pb
from strongroomd.custody.xks.externalkeys import ExternalKey, ExternalKeys, KeyForm
from strongroomd.domain import names
from strongroomd.domain.xks.records import Pinning
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class ExternalKeyMethods:
    """The methods about external keys."""

    def __init__(self, external_keys: ExternalKeys) -> None:
        self._external_keys = external_keys

    async def AddExternalKey(
        self, request: pb.AddExternalKeyRequest, call: Call
    ) -> pb.AddExternalKeyResponse:
        """Let a store use a key."""
        added = await self._external_keys.add(
            call.caller,
            request.key_store,
            request.external_key_id,
            request.key,
            _form(request, compatible=request.compatible),
            names.request_id(request.request_id),
        )
        return pb.AddExternalKeyResponse(external_key=external_key(added))

    async def DescribeExternalKey(
        self, request: pb.DescribeExternalKeyRequest, call: Call
    ) -> pb.DescribeExternalKeyResponse:
        """Describe an external key."""
        found = await self._external_keys.describe(call.caller, request.key_store, request.external_key_id)
        return pb.DescribeExternalKeyResponse(external_key=external_key(found))

    async def ListExternalKeys(
        self, request: pb.ListExternalKeysRequest, call: Call
    ) -> pb.ListExternalKeysResponse:
        """List external keys."""
        page = await self._external_keys.list_keys(
            call.caller, request.key_store, request.page_size, request.page_token
        )
        return pb.ListExternalKeysResponse(
            external_keys=[external_key(each) for each in page.keys], next_page_token=page.next_token
        )

    async def UpdateExternalKey(
        self, request: pb.UpdateExternalKeyRequest, call: Call
    ) -> pb.UpdateExternalKeyResponse:
        """Change an external key."""
        compatible = request.compatible if request.HasField("compatible") else None
        changed = await self._external_keys.update(
            call.caller,
            request.key_store,
            request.external_key_id,
            _form(request, compatible=compatible),
            request.etag,
            names.request_id(request.request_id),
        )
        return pb.UpdateExternalKeyResponse(external_key=external_key(changed))

    async def BlockExternalKey(
        self, request: pb.BlockExternalKeyRequest, call: Call
    ) -> pb.BlockExternalKeyResponse:
        """Block an external key."""
        request_id = names.request_id(request.request_id)
        changed = await self._external_keys.block(
            call.caller, request.key_store, request.external_key_id, request.etag, request_id
        )
        return pb.BlockExternalKeyResponse(external_key=external_key(changed))

    async def UnblockExternalKey(
        self, request: pb.UnblockExternalKeyRequest, call: Call
    ) -> pb.UnblockExternalKeyResponse:
        """Let an external key be used again."""
        request_id = names.request_id(request.request_id)
        changed = await self._external_keys.unblock(
            call.caller, request.key_store, request.external_key_id, request.etag, request_id
        )
        return pb.UnblockExternalKeyResponse(external_key=external_key(changed))

    async def RemoveExternalKey(
        self, request: pb.RemoveExternalKeyRequest, call: Call
    ) -> pb.RemoveExternalKeyResponse:
        """Take a key from a store."""
        request_id = names.request_id(request.request_id)
        await self._external_keys.remove(
            call.caller, request.key_store, request.external_key_id, request.etag, request_id
        )
        return pb.RemoveExternalKeyResponse()


def _form(
    request: pb.AddExternalKeyRequest | pb.UpdateExternalKeyRequest, *, compatible: bool | None
) -> KeyForm:
    """Read what the external key is to be like; what is absent is None."""
    return KeyForm(
        encrypts=request.encrypts if request.HasField("encrypts") else None,
        decrypts=request.decrypts if request.HasField("decrypts") else None,
        pinning=convert.from_wire(Pinning, request.pinning, "pinning"),
        kms_key_arn=request.kms_key_arn,
        compatible=compatible,
    )


def external_key(found: ExternalKey) -> pb.ExternalKey:
    """Describe an external key."""
    record = found.record
    return pb.ExternalKey(
        key_store=record.store_id,
        external_key_id=record.external_key_id,
        key_arn=found.key_arn,
        key_id=record.key_id,
        blocked=record.blocked,
        encrypts=record.encrypts,
        decrypts=record.decrypts,
        pinning=convert.to_wire(record.pinning),
        kms_key_arn=record.kms_key_arn,
        compatible=record.compatible,
        created_time=convert.timestamp(record.created_at),
        etag=str(record.row_version),
    )
