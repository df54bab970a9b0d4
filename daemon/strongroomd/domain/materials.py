"""What the store keeps of imports: wrapping pairs that wait for material, and what is known of material."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from strongroomd.domain.importing import ImportLevel, WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.protection import Record, since


@dataclass(frozen=True, slots=True)
class WrappingPairRecord(Record):
    """A wrapping pair that GetParametersForImport made; gone once its token was used, or is too old.

    Attributes:
        key_id, account: of the key whose material it may bring in.
        import_id: 32 hexadecimal digits.
        created_at, expires_at: ms since the Unix epoch.
        kek_id: CKA_ID (hex) of the KEK that wraps `blob`.
        blob: the private half wrapped by AES-KWP inside the HSM.
        public_key: DER SubjectPublicKeyInfo.
    """

    KIND: ClassVar[str] = "wrapping_pair"
    key_id: str
    import_id: str
    account: str
    wrapping_key: WrappingKeySpec
    algorithm: WrappingAlgorithm
    level: ImportLevel
    created_at: int
    expires_at: int
    kek_id: str
    blob: bytes
    public_key: bytes
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Key id and import id."""
        return f"{self.key_id}/{self.import_id}"


class MaterialState(StrEnum):
    """Whether imported material is there."""

    IMPORTED = "IMPORTED"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class MaterialRecord(Record):
    """What is known of the imported material of one key version, there or not.

    Attributes:
        imported_at: when it last came in, in ms since the Unix epoch.
        expires_at: when it goes by itself, likewise; 0 for never, and while it is not there.
        removed_at: when it went, likewise; 0 while it is there.
        algorithm, level: how it last came in.
        fingerprint: tells whether material is the same, and nothing else: a MAC made in the HSM over a MAC
            made under the material itself (32 bytes). Empty where the material must never come back.
        recovery_trait: that inner MAC, wrapped to the recovery public key as material is: with another token
            comes another outer one. Empty without recovery key, and in records from before it.
    """

    KIND: ClassVar[str] = "material"
    key_id: str
    version: int
    account: str
    imported_at: int
    expires_at: int
    removed_at: int
    algorithm: WrappingAlgorithm
    level: ImportLevel
    fingerprint: bytes
    recovery_trait: bytes = field(default=b"", metadata=since("0017"))
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Key id and version, as of the version's own record."""
        return f"{self.key_id}/{self.version}"

    @property
    def state(self) -> MaterialState:
        """Whether it is there."""
        return MaterialState.REMOVED if self.removed_at else MaterialState.IMPORTED
