"""Key material as the core handles it: never the bytes of a key, only what names and describes them."""

from dataclasses import dataclass

from strongroomd.domain.adoption import Use, uses_of
from strongroomd.domain.algorithms import KeySpec, KeyUsage, Scheme
from strongroomd.domain.records import CustodyMode, VersionRecord


@dataclass(frozen=True, slots=True)
class Material:
    """What a birth in the HSM gives back; the fields are those of `VersionRecord`."""

    kek_id: str
    hsm_id: str
    blob: bytes
    length: int
    public_key: bytes
    check_value: bytes
    recovery_blob: bytes
    scheme: Scheme = Scheme.DEFAULT


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
