"""Key material as the core handles it: never the bytes of a key, only what names and describes them."""

from dataclasses import dataclass
from typing import Final

from strongroomd.domain.adoption import Use, uses_of
from strongroomd.domain.algorithms import KeySpec, KeyUsage, Scheme
from strongroomd.domain.importing import ImportLevel, WrappingAlgorithm
from strongroomd.domain.records import CustodyMode, VersionRecord


@dataclass(frozen=True, slots=True)
class Material:
    """What a birth in the HSM gives back; the fields are those of `VersionRecord`.

    Attributes:
        copies: the material wrapped for each house that it was made for, in the order of their keys.
    """

    kek_id: str
    hsm_id: str
    blob: bytes
    length: int
    public_key: bytes
    check_value: bytes
    recovery_blob: bytes
    scheme: Scheme = Scheme.DEFAULT
    copies: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class HouseMaterial:
    """What the making of a house key gives; the fields are those of `HouseRecord`."""

    public_key: bytes
    check_value: bytes


@dataclass(frozen=True, slots=True)
class WrappingPair:
    """An RSA pair under whose public half material comes in.

    Attributes:
        kek_id: CKA_ID (hex) of the KEK that wraps `blob`.
        blob: the private half wrapped by AES-KWP.
        public_key: DER SubjectPublicKeyInfo.
    """

    kek_id: str
    blob: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """What wrapped material must be, and how it comes in.

    Attributes:
        scheme: how it encrypts, where other material of the key settles that; None leaves it to the vault.
    """

    spec: KeySpec
    usage: KeyUsage
    exportable: bool
    algorithm: WrappingAlgorithm
    level: ImportLevel
    scheme: Scheme | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """Imported material.

    Attributes:
        material: as a birth gives it.
        trait: what is the same for the same material only, and says nothing else of it (28 to 64 bytes).
        recovery_trait: the trait wrapped to the recovery public key; empty where there is none.
    """

    material: Material
    trait: bytes
    recovery_trait: bytes = b""


@dataclass(frozen=True, slots=True)
class Audience:
    """For which other houses a key's material is wrapped.

    Attributes:
        houses: public halves (DER SubjectPublicKeyInfo) of their replica pairs, RSA of 3,072 bits or more.
        binding: 32 bytes that say what the key is. The token opens a copy only for who says the same, so that
            nobody brings it in as another account's, another key's or as one that may leave.
    """

    houses: tuple[bytes, ...] = ()
    binding: bytes = b""


NOBODY: Final = Audience()


@dataclass(frozen=True, slots=True)
class BoundVersion:
    """A verified key version together with what the HSM must know to load it.

    Made once per version by the catalog and passed around by identity: it is what handles are cached under.
    """

    key_id: str
    spec: KeySpec
    usage: KeyUsage
    mode: CustodyMode
    exportable: bool
    record: VersionRecord

    @property
    def version(self) -> int:
        """The version's number, counted from 1."""
        return self.record.version

    @property
    def uses(self) -> frozenset[Use]:
        """What the token lets it be used for; only an adopted version may lack a part of its usage."""
        return uses_of(self.record, self.mode, self.usage)


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the token remembers of the store and the audit log, so that older copies are refused.

    Attributes:
        sequence: journal sequence number of the newest change that the token knows of.
        head: journal chain head at that sequence, 32 bytes.
        checkpoint: number of the newest audit checkpoint that the token knows of.
        checkpoint_hash: SHA-256 of that checkpoint's bytes, 32 bytes.
    """

    sequence: int
    head: bytes
    checkpoint: int
    checkpoint_hash: bytes


@dataclass(frozen=True, slots=True)
class ResidentObject:
    """A token object made by this daemon, as a listing of the token shows it."""

    hsm_id: str
    count: int
