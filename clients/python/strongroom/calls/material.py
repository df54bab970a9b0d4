"""MaterialService: key material of others, brought in and deleted."""

from datetime import datetime
from typing import Any, Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.v1 import material_pb2 as pb


def _rpc(method: str) -> Rpc[Any, Any]:
    return Rpc("MaterialService", method, getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response"))


_PARAMETERS: Final = _rpc("GetParametersForImport")
_IMPORT: Final = _rpc("ImportKeyMaterial")
_DELETE: Final = _rpc("DeleteImportedKeyMaterial")


def get_parameters_for_import(
    key: str,
    *,
    wrapping_algorithm: str,
    wrapping_key_spec: str,
    level: str = "",
    request_id: str | None = None,
) -> Call[results.ImportParameters]:
    """Get a wrapping key for material of a key of origin EXTERNAL, and its import token; good for 24 hours.

    Args:
        key: key id, key ARN, alias or alias ARN.
        wrapping_algorithm: a WrappingAlgorithm; RSA private keys need an RSA_AES_KEY_WRAP.
        wrapping_key_spec: RSA_2048, RSA_3072 or RSA_4096.
        level: an ImportLevel; empty for the strictest that the algorithm gives.
        request_id: idempotency key; a fresh one by default.
    """
    request = _PARAMETERS.make(
        key=key,
        wrapping_algorithm=enums.WRAPPING.number(wrapping_algorithm, "wrapping_algorithm"),
        wrapping_key_spec=enums.WRAPPING_KEY_SPEC.number(wrapping_key_spec, "wrapping_key_spec"),
        level=enums.IMPORT_LEVEL.number(level, "level"),
        request_id=request_id,
    )
    return _PARAMETERS.call(request, _parameters)


def import_key_material(  # noqa: PLR0913 - the fields of the request
    key: str,
    import_token: bytes,
    encrypted_key_material: bytes,
    *,
    valid_to: datetime | None = None,
    expiration_model: str = "",
    import_type: str = "",
    level: str = "",
    approval_id: str = "",
    request_id: str | None = None,
) -> Call[results.MaterialImported]:
    """Import material: the first of a key, some that it had before, or new one that RotateKey makes current.

    Args:
        key: key id, key ARN, alias or alias ARN.
        import_token: as it came with the wrapping key.
        encrypted_key_material: the material, wrapped under that key.
        valid_to: when it expires, at most 365 days ahead; with a time zone. Needed unless it does not expire.
        expiration_model: an ExpirationModel; empty means KEY_MATERIAL_EXPIRES.
        import_type: EXISTING_KEY_MATERIAL, which empty means, or NEW_KEY_MATERIAL.
        level: the ImportLevel that the token must be for; empty for whatever it is.
        approval_id: an approved request for this `valid_to`, where a protected key would end sooner by it.
        request_id: idempotency key; a fresh one by default.
    """
    request = _IMPORT.make(
        key=key,
        import_token=import_token,
        encrypted_key_material=encrypted_key_material,
        valid_to=None if valid_to is None else _read.stamp(valid_to),
        expiration_model=enums.EXPIRATION_MODEL.number(expiration_model, "expiration_model"),
        import_type=enums.IMPORT_TYPE.number(import_type, "import_type"),
        level=enums.IMPORT_LEVEL.number(level, "level"),
        approval_id=approval_id,
        request_id=request_id,
    )
    return _IMPORT.call(request, _imported)


def delete_imported_key_material(
    key: str, *, key_version: int = 0, approval_id: str = "", request_id: str | None = None
) -> Call[results.Key]:
    """Delete imported material at once, of the current version or another; the same can be imported again.

    A protected key needs `approval_id`, an approved request for exactly this.
    """
    request = _DELETE.make(key=key, key_version=key_version, approval_id=approval_id, request_id=request_id)
    return _DELETE.call(request, lambda reply: _read.key(reply.metadata))


def _parameters(reply: pb.GetParametersForImportResponse) -> results.ImportParameters:
    return results.ImportParameters(
        key_arn=reply.key_arn,
        import_token=reply.import_token,
        public_key=reply.public_key,
        parameters_valid_to=_read.time_of(reply, "parameters_valid_to"),
        wrapping_algorithm=enums.WRAPPING.name(reply.wrapping_algorithm),
        wrapping_key_spec=enums.WRAPPING_KEY_SPEC.name(reply.wrapping_key_spec),
        level=enums.IMPORT_LEVEL.name(reply.level),
    )


def _imported(reply: pb.ImportKeyMaterialResponse) -> results.MaterialImported:
    return results.MaterialImported(reply.key_arn, _read.material(reply.material))
