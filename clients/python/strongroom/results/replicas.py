"""ReplicaService: other houses, and keys on their way to and from them."""

from dataclasses import dataclass
from datetime import datetime

from strongroom.results.attestation import SignedStatement
from strongroom.results.keys import Key


@dataclass(frozen=True, slots=True)
class Peer:
    """Another house that an account's multi-region keys may go to and come from."""

    region: str
    account: str
    house: str
    replica_key_sha256: str
    statement_key_sha256: str
    registered_by: str
    created_time: datetime | None


@dataclass(frozen=True, slots=True)
class ReplicaBundle:
    """A key on its way to one house; another part follows if `newest_version` is above `last_version`."""

    region: str
    statement: SignedStatement
    last_version: int
    newest_version: int


@dataclass(frozen=True, slots=True)
class ReplicaImported:
    """A key once a bundle came in, and the receipt for `acknowledge_replica` at its primary's house."""

    key: Key
    receipt: SignedStatement
    newest_version: int
