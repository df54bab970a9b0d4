"""MaterialService: key material that was made elsewhere."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ImportedMaterial:
    """What is known of material that was imported, there or not; see ImportedMaterial in types.proto."""

    key_version: int
    state: str
    imported_time: datetime | None
    expiration_model: str
    valid_to: datetime | None
    removed_time: datetime | None
    wrapping_algorithm: str
    level: str


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """A wrapping key (SubjectPublicKeyInfo, DER) and the token that goes with what is wrapped under it."""

    key_arn: str
    import_token: bytes
    public_key: bytes
    parameters_valid_to: datetime | None
    wrapping_algorithm: str
    wrapping_key_spec: str
    level: str


@dataclass(frozen=True, slots=True)
class MaterialImported:
    """What came in."""

    key_arn: str
    material: ImportedMaterial
