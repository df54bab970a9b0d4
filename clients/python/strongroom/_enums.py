"""Names to protobuf numbers and back: one codec per enum of the API."""

from typing import Any, Final

from strongroom.errors import InvalidRequest
from strongroom.v1 import (
    access_pb2,
    approvals_pb2,
    crypto_pb2,
    export_pb2,
    key_stores_pb2,
    keys_pb2,
    material_pb2,
    policies_pb2,
    quota_pb2,
    types_pb2,
)


class Codec:
    """Spells the values of one protobuf enum without its prefix; the empty name is UNSPECIFIED."""

    def __init__(self, wrapper: Any, prefix: str) -> None:  # noqa: ANN401 - protobuf's wrapper has no common type
        # Number 0 is UNSPECIFIED in every enum of the API.
        self._numbers: dict[str, int] = {
            name.removeprefix(prefix) if number else "": number for name, number in wrapper.items()
        }
        self._names = {number: name for name, number in self._numbers.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name but UNSPECIFIED."""
        return tuple(name for name in self._names.values() if name)

    def number(self, name: object, field: str) -> int:
        """Find the number of a name.

        Raises:
            InvalidRequest: UNKNOWN_ENUM, naming the field.
        """
        number = self._numbers.get(name, -1) if isinstance(name, str) else -1
        if number < 0:
            raise InvalidRequest("UNKNOWN_ENUM", f"must be one of {', '.join(self.names)}", field=field)
        return number

    def name(self, number: int) -> str:
        """Find the name of a number; one that a newer daemon sent is spelt `UNKNOWN_<number>`."""
        return self._names.get(number, f"UNKNOWN_{number}")

    def all(self, numbers: Any) -> tuple[str, ...]:  # noqa: ANN401 - a repeated field of enum numbers
        """Find the names of several numbers."""
        return tuple(self.name(number) for number in numbers)


ROTATION_TYPE: Final = Codec(keys_pb2.RotationType, "ROTATION_TYPE_")
KEY_SPEC: Final = Codec(types_pb2.KeySpec, "KEY_SPEC_")
KEY_USAGE: Final = Codec(types_pb2.KeyUsage, "KEY_USAGE_")
KEY_STATE: Final = Codec(types_pb2.KeyState, "KEY_STATE_")
KEY_MANAGER: Final = Codec(types_pb2.KeyManager, "KEY_MANAGER_")
CUSTODY_MODE: Final = Codec(types_pb2.CustodyMode, "CUSTODY_MODE_")
KEY_ORIGIN: Final = Codec(types_pb2.KeyOrigin, "KEY_ORIGIN_")
ENCRYPTION: Final = Codec(types_pb2.EncryptionAlgorithm, "ENCRYPTION_ALGORITHM_")
SIGNING: Final = Codec(types_pb2.SigningAlgorithm, "SIGNING_ALGORITHM_")
MAC: Final = Codec(types_pb2.MacAlgorithm, "MAC_ALGORITHM_")
KEY_AGREEMENT: Final = Codec(types_pb2.KeyAgreementAlgorithm, "KEY_AGREEMENT_ALGORITHM_")
MESSAGE_TYPE: Final = Codec(types_pb2.MessageType, "MESSAGE_TYPE_")
DATA_KEY_SPEC: Final = Codec(crypto_pb2.DataKeySpec, "DATA_KEY_SPEC_")
DATA_KEY_PAIR_SPEC: Final = Codec(crypto_pb2.DataKeyPairSpec, "DATA_KEY_PAIR_SPEC_")
PRINCIPAL_KIND: Final = Codec(access_pb2.PrincipalKind, "PRINCIPAL_KIND_")
LIMIT_SCOPE: Final = Codec(quota_pb2.LimitScope, "LIMIT_SCOPE_")
QUOTA_REQUEST_STATE: Final = Codec(quota_pb2.QuotaRequestState, "QUOTA_REQUEST_STATE_")
QUOTA_DECISION: Final = Codec(quota_pb2.QuotaDecision, "QUOTA_DECISION_")
PINNING: Final = Codec(key_stores_pb2.Pinning, "PINNING_")
GUARDED_ACTION: Final = Codec(approvals_pb2.GuardedAction, "GUARDED_ACTION_")
APPROVAL_STATE: Final = Codec(approvals_pb2.ApprovalState, "APPROVAL_STATE_")
WRAPPING_KEY_KIND: Final = Codec(approvals_pb2.WrappingKeyKind, "WRAPPING_KEY_KIND_")
EXPORT_LEVEL: Final = Codec(export_pb2.ExportLevel, "EXPORT_LEVEL_")
EXPORT_ALGORITHM: Final = Codec(export_pb2.ExportAlgorithm, "EXPORT_ALGORITHM_")
WRAPPING: Final = Codec(types_pb2.WrappingAlgorithm, "WRAPPING_ALGORITHM_")
WRAPPING_KEY_SPEC: Final = Codec(material_pb2.WrappingKeySpec, "WRAPPING_KEY_SPEC_")
EXPIRATION_MODEL: Final = Codec(types_pb2.ExpirationModel, "EXPIRATION_MODEL_")
IMPORT_TYPE: Final = Codec(material_pb2.ImportType, "IMPORT_TYPE_")
IMPORT_LEVEL: Final = Codec(types_pb2.ImportLevel, "IMPORT_LEVEL_")
MULTI_REGION_KEY_TYPE: Final = Codec(types_pb2.MultiRegionKeyType, "MULTI_REGION_KEY_TYPE_")
MATERIAL_STATE: Final = Codec(types_pb2.MaterialState, "MATERIAL_STATE_")
POLICY_KIND: Final = Codec(policies_pb2.PolicyKind, "POLICY_KIND_")
