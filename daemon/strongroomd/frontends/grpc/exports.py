"""ExportService on the wire."""

from strongroom.v1 import export_pb2 as pb
from strongroomd.custody.exports import Exports, WantedExport
from strongroomd.custody.wrappingkeys import WrappingKeys
from strongroomd.domain import exporting, names
from strongroomd.domain.errors import invalid
from strongroomd.domain.exporting import ExportLevel, WrappingKeyRecord
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.approvals import approval_request, receipt, registration, wish
from strongroomd.frontends.grpc.door import Call


class ExportServicer:
    """Turns ExportService messages into use cases and back; one method an RPC."""

    def __init__(self, exports: Exports, wrapping_keys: WrappingKeys) -> None:
        self._exports = exports
        self._wrapping_keys = wrapping_keys

    async def RequestExport(self, request: pb.RequestExportRequest, call: Call) -> pb.RequestExportResponse:
        """Ask for an export."""
        request_id = names.request_id(request.request_id)
        why = wish(request.purpose, request.lifetime_seconds)
        made = await self._exports.request(call.caller, _wanted(request), why, request_id)
        return pb.RequestExportResponse(request=approval_request(made))

    async def ExecuteExport(self, request: pb.ExecuteExportRequest, call: Call) -> pb.ExecuteExportResponse:
        """Carry an export out."""
        done = await self._exports.execute(call.caller, request.approval_id)
        return pb.ExecuteExportResponse(
            blob=done.blob,
            algorithm=convert.to_wire(done.algorithm),
            level=convert.to_wire(done.level),
            key=done.record.key_arn,
            key_version=done.version,
            length=done.length,
            receipt=receipt(done.record),
        )

    async def RegisterWrappingKey(
        self, request: pb.RegisterWrappingKeyRequest, call: Call
    ) -> pb.RegisterWrappingKeyResponse:
        """Register a wrapping key."""
        wanted = registration(request.name, request.kind, request.public_key)
        request_id = names.request_id(request.request_id)
        made = await self._wrapping_keys.register(call.caller, wanted, request.approval_id, request_id)
        return pb.RegisterWrappingKeyResponse(wrapping_key=_wrapping_key(made))

    async def ListWrappingKeys(
        self, request: pb.ListWrappingKeysRequest, call: Call
    ) -> pb.ListWrappingKeysResponse:
        """List wrapping keys."""
        page = await self._wrapping_keys.list_wrapping_keys(
            call.caller, request.page_size, request.page_token
        )
        return pb.ListWrappingKeysResponse(
            wrapping_keys=[_wrapping_key(record) for record in page.keys], next_page_token=page.next_token
        )

    async def RemoveWrappingKey(
        self, request: pb.RemoveWrappingKeyRequest, call: Call
    ) -> pb.RemoveWrappingKeyResponse:
        """Remove a wrapping key."""
        request_id = names.request_id(request.request_id)
        await self._wrapping_keys.remove(call.caller, request.wrapping_key_id, request_id)
        return pb.RemoveWrappingKeyResponse()


def _wanted(request: pb.RequestExportRequest) -> WantedExport:
    level = convert.from_wire(ExportLevel, request.level, "level") or ExportLevel.TOKEN
    public_key, wrapping_key_id = b"", ""
    match request.WhichOneof("recipient"):
        case "public_key":
            public_key = convert.rsa_recipient(request.public_key, "public_key")
        case "wrapping_key_id":
            wrapping_key_id = exporting.wrapping_key_id(request.wrapping_key_id)
        case None:
            raise invalid("recipient", "must be set: public_key or wrapping_key_id")
    return WantedExport(request.key, request.key_version, level, public_key, wrapping_key_id)


def _wrapping_key(record: WrappingKeyRecord) -> pb.WrappingKey:
    return pb.WrappingKey(
        wrapping_key_id=record.wrapping_key_id,
        account=record.account,
        name=record.name,
        kind=convert.to_wire(record.kind),
        public_key=record.public_key,
        transport=record.transport,
        registered_by=record.registered_by,
        created_time=convert.timestamp(record.created_at),
    )
