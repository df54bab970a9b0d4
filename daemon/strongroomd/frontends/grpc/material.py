"""MaterialService on the wire."""

from strongroom.v1 import material_pb2 as pb
from strongroomd.custody.importparameters import ImportParameters
from strongroomd.custody.materials import Materials, NewMaterial
from strongroomd.domain import names
from strongroomd.domain.importing import (
    ExpirationModel,
    ImportLevel,
    ImportType,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from strongroomd.domain.names import Realm
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class MaterialServicer:
    """Turns MaterialService messages into use cases and back; one method an RPC."""

    def __init__(self, parameters: ImportParameters, materials: Materials, realm: Realm) -> None:
        self._parameters = parameters
        self._materials = materials
        self._realm = realm

    async def GetParametersForImport(
        self, request: pb.GetParametersForImportRequest, call: Call
    ) -> pb.GetParametersForImportResponse:
        """Give a wrapping key and an import token."""
        found = await self._parameters.give(
            call.caller,
            request.key,
            convert.required(WrappingAlgorithm, request.wrapping_algorithm, "wrapping_algorithm"),
            convert.required(WrappingKeySpec, request.wrapping_key_spec, "wrapping_key_spec"),
            convert.from_wire(ImportLevel, request.level, "level"),
            names.request_id(request.request_id),
        )
        pair = found.pair
        return pb.GetParametersForImportResponse(
            key_arn=self._realm.key_arn(pair.key_id, pair.account),
            import_token=found.token,
            public_key=pair.public_key,
            public_key_crc32c=convert.crc(pair.public_key),
            parameters_valid_to=convert.timestamp(pair.expires_at),
            wrapping_algorithm=convert.to_wire(pair.algorithm),
            wrapping_key_spec=convert.to_wire(pair.wrapping_key),
            level=convert.to_wire(pair.level),
        )

    async def ImportKeyMaterial(
        self, request: pb.ImportKeyMaterialRequest, call: Call
    ) -> pb.ImportKeyMaterialResponse:
        """Import material."""
        verified = convert.checked(
            request.encrypted_key_material,
            request.HasField("encrypted_key_material_crc32c"),
            request.encrypted_key_material_crc32c,
            "encrypted_key_material",
        )
        wanted = NewMaterial(
            token=request.import_token,
            wrapped=request.encrypted_key_material,
            model=convert.from_wire(ExpirationModel, request.expiration_model, "expiration_model"),
            valid_to=convert.milliseconds(request.valid_to, request.HasField("valid_to"), "valid_to"),
            kind=convert.from_wire(ImportType, request.import_type, "import_type"),
            level=convert.from_wire(ImportLevel, request.level, "level"),
            approval_id=request.approval_id,
        )
        request_id = names.request_id(request.request_id)
        made = await self._materials.import_material(call.caller, request.key, wanted, request_id)
        return pb.ImportKeyMaterialResponse(
            key_arn=self._realm.key_arn(made.key_id, made.account),
            material=convert.imported_material(made),
            verified_encrypted_key_material_crc32c=verified,
        )

    async def DeleteImportedKeyMaterial(
        self, request: pb.DeleteImportedKeyMaterialRequest, call: Call
    ) -> pb.DeleteImportedKeyMaterialResponse:
        """Delete imported material."""
        request_id = names.request_id(request.request_id)
        key = await self._materials.delete(
            call.caller, request.key, request.key_version, request_id, request.approval_id
        )
        return pb.DeleteImportedKeyMaterialResponse(metadata=convert.metadata(key, self._realm))
