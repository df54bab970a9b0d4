"""Who another house says that it is: its statement, held against the key that people trust it by."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from strongroomd.custody import approvalproofs, guarded
from strongroomd.custody.dualcontrol import Wanted
from strongroomd.domain.errors import StrongroomError, invalid, too_large
from strongroomd.domain.replicastatements import read_peer
from strongroomd.domain.replication import MIN_PAIR_BITS
from strongroomd.domain.statements import parse_statement

_MAX_KEY = 4_096  # bytes of a SubjectPublicKeyInfo: RSA of 8,192 bits needs a quarter of it


@dataclass(frozen=True, slots=True)
class NewPeer:
    """A peer that is to be registered; its statement verified under the key that came with it.

    Attributes:
        house: its name, from the statement.
        statement_key: DER SubjectPublicKeyInfo; that it is the house's is for people to say.
    """

    region: str
    house: str
    replica_key: bytes
    statement_key: bytes


def read_new_peer(payload: bytes, signature: bytes, statement_key: bytes) -> NewPeer:
    """Read who another house says that it is.

    Args:
        payload: its statement, kind `replica-peer`.
        signature: DER.
        statement_key: DER SubjectPublicKeyInfo of the key that signs its statements.

    Raises:
        StrongroomError: INVALID_FIELD, FIELD_TOO_LARGE, INVALID_SIGNATURE.
    """
    if len(statement_key) > _MAX_KEY:
        raise too_large("statement_key", _MAX_KEY)
    approvalproofs.read_key(statement_key, "statement_key")
    statement = parse_statement(payload)
    approvalproofs.require(statement_key, payload, signature)
    card = read_peer(statement)
    _require_pair(card.replica_key)
    return NewPeer(card.region, statement.house, card.replica_key, statement_key)


def _require_pair(public_key: bytes) -> None:
    """Refuse a replica key that material should not be wrapped to."""
    try:
        key = load_der_public_key(public_key)
    except ValueError:
        key = None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_PAIR_BITS:
        raise _no_pair()
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public_key:
        raise _no_pair()


def _no_pair() -> StrongroomError:
    return invalid("statement", f"holds no RSA replica key of at least {MIN_PAIR_BITS:,} bits")


def of_peer(account: str, quorum: int, peer: NewPeer) -> Wanted:
    """Describe a peer's registration for those who approve it."""
    return guarded.peer(account, quorum, peer.region, peer.house, peer.replica_key, peer.statement_key)
