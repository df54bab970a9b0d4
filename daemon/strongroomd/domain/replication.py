"""Multi-region keys: what a house keeps of its peers, of copies of material for them, and of replicas.

A multi-region key is one key in several houses: id, material and rotation are shared, while policy, aliases,
tags, description and state are each house's own. One house has the primary, which alone gets new versions;
the others have replicas. A region names a house, and an account has at most one peer in a region.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.protection import Record

MULTI_REGION_PREFIX: Final = "mrk-"
MAX_PEERS: Final = 8
"""Peers of one account: each gets a copy of every new version's material."""
MIN_PAIR_BITS: Final = 3_072
"""It guards keys for decades: NIST SP 800-57 part 1, table 4, beyond 2030."""
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)


class MultiRegion(StrEnum):
    """What a key is among its copies; AWS's names, and nothing for a key that has none."""

    NONE = ""
    PRIMARY = "PRIMARY"
    REPLICA = "REPLICA"


@dataclass(frozen=True, slots=True)
class PeerRecord(Record):
    """Another house that an account's multi-region keys may go to and come from.

    Attributes:
        account: whose keys, 12 digits; it has the same number there.
        region: the other house's.
        house: its name, as its statements say it.
        replica_key: public half (DER SubjectPublicKeyInfo) of its replica pair, an RSA key.
        statement_key: public half (DER SubjectPublicKeyInfo) of the key that signs its statements.
        registered_by: ARN.
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "peer"
    account: str
    region: str
    house: str
    replica_key: bytes
    statement_key: bytes
    registered_by: str
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Account and region."""
        return f"{self.account}/{self.region}"


@dataclass(frozen=True, slots=True)
class CopyRecord(Record):
    """A version's material, wrapped at its birth for one peer.

    Attributes:
        region: the peer's.
        pair: SHA-256 of the public key (DER SubjectPublicKeyInfo) that it is wrapped to, hexadecimal.
        blob: OAEP (SHA-1) of a one-time AES root, then AES-KWP of the material under what the root derives
            from what the key is (`Audience.binding`).
    """

    KIND: ClassVar[str] = "replica_copy"
    key_id: str
    version: int
    region: str
    pair: str
    blob: bytes
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Key, version and region."""
        return copy_id(self.key_id, self.version, self.region)


@dataclass(frozen=True, slots=True)
class ReplicaRecord(Record):
    """A replica that a primary was given, in another house.

    Attributes:
        region: the other house's.
        acknowledged: the newest version that it is known to have; 0 before its first receipt.
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "replica"
    key_id: str
    region: str
    acknowledged: int
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """Key and region."""
        return f"{self.key_id}/{self.region}"


def pair_id(public_key: bytes) -> str:
    """Name a replica pair by its public half (DER SubjectPublicKeyInfo)."""
    return hashlib.sha256(public_key).hexdigest()


def copy_id(key_id: str, version: int, region: str) -> str:
    """Name a copy."""
    return f"{key_id}/{version}/{region}"


def check_region(text: str, field: str = "region") -> str:
    """Check a region's form: 1 to 32 lower-case letters, digits and hyphens, as in ARNs."""
    if not _REGION.fullmatch(text):
        raise invalid(field, "must be 1 to 32 lower-case letters, digits and hyphens")
    return text


def told_region(text: str) -> str:
    """Give what records may say of a region that a caller named: nothing of a text that is no region's."""
    return text if _REGION.fullmatch(text) else ""


def require_primary(kind: MultiRegion) -> None:
    """Refuse what only a multi-region primary key can do.

    Raises:
        StrongroomError: INVALID_KEY_STATE, in AWS's words.
    """
    if kind is not MultiRegion.PRIMARY:
        raise StrongroomError(Reason.INVALID_KEY_STATE, "the key is not a multi-region primary key")


def refuse_replica(kind: MultiRegion) -> None:
    """Refuse what a replica follows its primary in.

    Raises:
        StrongroomError: INVALID_KEY_STATE.
    """
    if kind is MultiRegion.REPLICA:
        text = "the key is a replica: it is rotated where its primary is"
        raise StrongroomError(Reason.INVALID_KEY_STATE, text)
