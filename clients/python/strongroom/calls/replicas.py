"""ReplicaService: peers, and multi-region keys' replicas."""

from collections.abc import Mapping
from typing import Final

from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.calls.attestation import read_statement
from strongroom.calls.keys import tag_messages
from strongroom.v1 import replicas_pb2 as pb

_SERVICE: Final = "ReplicaService"
_STATEMENT: Final = Rpc(_SERVICE, "GetPeerStatement", pb.GetPeerStatementRequest, pb.GetPeerStatementResponse)
_REGISTER: Final = Rpc(_SERVICE, "RegisterPeer", pb.RegisterPeerRequest, pb.RegisterPeerResponse)
_LIST: Final = Rpc(_SERVICE, "ListPeers", pb.ListPeersRequest, pb.ListPeersResponse)
_REMOVE_PEER: Final = Rpc(_SERVICE, "RemovePeer", pb.RemovePeerRequest, pb.RemovePeerResponse)
_REPLICATE: Final = Rpc(_SERVICE, "ReplicateKey", pb.ReplicateKeyRequest, pb.ReplicateKeyResponse)
_BUNDLE: Final = Rpc(_SERVICE, "GetReplicaBundle", pb.GetReplicaBundleRequest, pb.GetReplicaBundleResponse)
_IMPORT: Final = Rpc(_SERVICE, "ImportReplica", pb.ImportReplicaRequest, pb.ImportReplicaResponse)
_ACKNOWLEDGE: Final = Rpc(
    _SERVICE, "AcknowledgeReplica", pb.AcknowledgeReplicaRequest, pb.AcknowledgeReplicaResponse
)
_REMOVE: Final = Rpc(_SERVICE, "RemoveReplica", pb.RemoveReplicaRequest, pb.RemoveReplicaResponse)
_PROMOTE: Final = Rpc(
    _SERVICE, "UpdatePrimaryRegion", pb.UpdatePrimaryRegionRequest, pb.UpdatePrimaryRegionResponse
)

_MOVE: Final = Rpc(_SERVICE, "MoveLostPrimary", pb.MoveLostPrimaryRequest, pb.MoveLostPrimaryResponse)


def get_peer_statement() -> Call[results.SignedStatement]:
    """Have the house state who it is, for another house to register it."""
    return _STATEMENT.call(_STATEMENT.make(), _stated)


def register_peer(
    statement: bytes,
    signature: bytes,
    statement_key: bytes,
    approval_id: str,
    *,
    request_id: str | None = None,
) -> Call[results.Peer]:
    """Register another house for the caller's account, with an approved request for exactly this.

    Args:
        statement: the payload of its statement.
        signature: over the payload.
        statement_key: DER SubjectPublicKeyInfo of the key that signs its statements.
        approval_id: the approved request.
        request_id: idempotency key; a fresh one by default.
    """
    request = _REGISTER.make(
        statement=statement,
        signature=signature,
        statement_key=statement_key,
        approval_id=approval_id,
        request_id=request_id,
    )
    return _REGISTER.call(request, _registered)


def list_peers() -> Call[tuple[results.Peer, ...]]:
    """List the account's peers, by region."""
    return _LIST.call(_LIST.make(), _peers)


def remove_peer(region: str, *, request_id: str | None = None) -> Call[None]:
    """Remove a peer: no key goes there any more, and none comes from there."""
    return _REMOVE_PEER.call(_REMOVE_PEER.make(region=region, request_id=request_id), _nothing)


def replicate_key(key: str, region: str, *, request_id: str | None = None) -> Call[results.ReplicaBundle]:
    """Give a primary a replica in the region of a peer, and the first bundle for it."""
    return _REPLICATE.call(_REPLICATE.make(key=key, region=region, request_id=request_id), _bundle)


def get_replica_bundle(key: str, region: str, *, after_version: int = 0) -> Call[results.ReplicaBundle]:
    """Give a bundle for a replica, without the versions up to one that it has."""
    request = _BUNDLE.make(key=key, region=region, after_version=after_version)
    return _BUNDLE.call(request, _bundle)


def import_replica(
    bundle: bytes,
    signature: bytes,
    *,
    policy: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    bypass_policy_lockout_safety_check: bool = False,
    request_id: str | None = None,
) -> Call[results.ReplicaImported]:
    """Bring a bundle in.

    Args:
        bundle: the payload of its statement.
        signature: over the payload.
        policy: of a new replica, AWS policy JSON; empty means the default policy.
        description: of a new replica; not secret.
        tags: of a new replica, at most 50.
        bypass_policy_lockout_safety_check: allow a policy that locks the caller out.
        request_id: idempotency key; a fresh one by default.
    """
    request = _IMPORT.make(
        bundle=bundle,
        signature=signature,
        policy=policy,
        description=description,
        tags=tag_messages(tags or {}),
        bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
        request_id=request_id,
    )
    return _IMPORT.call(request, _imported)


def acknowledge_replica(
    key: str, receipt: bytes, signature: bytes, *, request_id: str | None = None
) -> Call[results.Key]:
    """Take a replica's receipt; a version that waited becomes current with the last one."""
    request = _ACKNOWLEDGE.make(key=key, receipt=receipt, signature=signature, request_id=request_id)
    return _ACKNOWLEDGE.call(request, _key)


def remove_replica(key: str, region: str, *, request_id: str | None = None) -> Call[results.Key]:
    """Forget a replica that was destroyed or is lost: nothing waits for it any more."""
    return _REMOVE.call(_REMOVE.make(key=key, region=region, request_id=request_id), _key)


def update_primary_region(
    key: str, region: str, *, request_id: str | None = None
) -> Call[tuple[results.ReplicaBundle, ...]]:
    """Make another region's replica the primary; gives a bundle for every replica."""
    return _PROMOTE.call(_PROMOTE.make(key=key, region=region, request_id=request_id), _bundles)


def move_lost_primary(
    key: str, region: str, approval_id: str, *, request_id: str | None = None
) -> Call[results.Key]:
    """Say where a key's primary is from now on, with an approved request: its house is lost."""
    request = _MOVE.make(key=key, region=region, approval_id=approval_id, request_id=request_id)
    return _MOVE.call(request, _key)


def _stated(reply: pb.GetPeerStatementResponse) -> results.SignedStatement:
    return read_statement(reply.statement)


def _registered(reply: pb.RegisterPeerResponse) -> results.Peer:
    return _peer(reply.peer)


def _peer(found: pb.Peer) -> results.Peer:
    return results.Peer(
        region=found.region,
        account=found.account,
        house=found.house,
        replica_key_sha256=found.replica_key_sha256,
        statement_key_sha256=found.statement_key_sha256,
        registered_by=found.registered_by,
        created_time=_read.time_of(found, "created_time"),
    )


def _peers(reply: pb.ListPeersResponse) -> tuple[results.Peer, ...]:
    return tuple(_peer(each) for each in reply.peers)


def _nothing(_: pb.RemovePeerResponse) -> None:
    return None


def _bundle(reply: pb.ReplicateKeyResponse | pb.GetReplicaBundleResponse) -> results.ReplicaBundle:
    return _one(reply.bundle)


def _one(found: pb.ReplicaBundle) -> results.ReplicaBundle:
    return results.ReplicaBundle(
        region=found.region,
        statement=read_statement(found.statement),
        last_version=found.last_version,
        newest_version=found.newest_version,
    )


def _bundles(reply: pb.UpdatePrimaryRegionResponse) -> tuple[results.ReplicaBundle, ...]:
    return tuple(_one(each) for each in reply.bundles)


def _imported(reply: pb.ImportReplicaResponse) -> results.ReplicaImported:
    return results.ReplicaImported(
        key=_read.key(reply.metadata),
        receipt=read_statement(reply.receipt),
        newest_version=reply.newest_version,
    )


def _key(
    reply: pb.AcknowledgeReplicaResponse | pb.RemoveReplicaResponse | pb.MoveLostPrimaryResponse,
) -> results.Key:
    return _read.key(reply.metadata)
