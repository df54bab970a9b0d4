"""ReplicaService on the wire."""

from strongroom.v1 import replicas_pb2 as pb
from strongroomd.custody.lostprimaries import LostPrimaries
from strongroomd.custody.peercards import NewPeer, read_new_peer
from strongroomd.custody.peers import Peers
from strongroomd.custody.replicaimports import NewReplica, ReplicaImports
from strongroomd.custody.replicas import Replicas, Sending
from strongroomd.domain import names
from strongroomd.domain.errors import too_large
from strongroomd.domain.names import Realm
from strongroomd.domain.replication import PeerRecord, pair_id
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.attestation import signed_statement
from strongroomd.frontends.grpc.door import Call

_MAX_STATEMENT = 4_096  # bytes of a peer's statement or a receipt
_MAX_SIGNATURE = 128


class PeerMethods:
    """The methods about peers."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def GetPeerStatement(
        self, _request: pb.GetPeerStatementRequest, call: Call
    ) -> pb.GetPeerStatementResponse:
        """State who this house is."""
        stated = await self._peers.statement(call.caller)
        return pb.GetPeerStatementResponse(statement=signed_statement(stated))

    async def RegisterPeer(self, request: pb.RegisterPeerRequest, call: Call) -> pb.RegisterPeerResponse:
        """Register a peer."""
        wanted = new_peer(request.statement, request.signature, request.statement_key)
        request_id = names.request_id(request.request_id)
        made = await self._peers.register(call.caller, wanted, request.approval_id, request_id)
        return pb.RegisterPeerResponse(peer=_peer(made))

    async def ListPeers(self, _request: pb.ListPeersRequest, call: Call) -> pb.ListPeersResponse:
        """List peers."""
        return pb.ListPeersResponse(peers=[_peer(each) for each in await self._peers.list_peers(call.caller)])

    async def RemovePeer(self, request: pb.RemovePeerRequest, call: Call) -> pb.RemovePeerResponse:
        """Remove a peer."""
        await self._peers.remove(call.caller, request.region, names.request_id(request.request_id))
        return pb.RemovePeerResponse()


class ReplicaServicer(PeerMethods):
    """Turns ReplicaService messages into use cases and back; one method an RPC."""

    def __init__(
        self, peers: Peers, replicas: Replicas, imports: ReplicaImports, lost: LostPrimaries, realm: Realm
    ) -> None:
        super().__init__(peers)
        self._replicas = replicas
        self._imports = imports
        self._lost = lost
        self._realm = realm

    async def ReplicateKey(self, request: pb.ReplicateKeyRequest, call: Call) -> pb.ReplicateKeyResponse:
        """Give a primary a replica."""
        request_id = names.request_id(request.request_id)
        sent = await self._replicas.replicate(call.caller, request.key, request.region, request_id)
        return pb.ReplicateKeyResponse(bundle=_bundle(sent))

    async def GetReplicaBundle(
        self, request: pb.GetReplicaBundleRequest, call: Call
    ) -> pb.GetReplicaBundleResponse:
        """Give a bundle."""
        sent = await self._replicas.bundle(call.caller, request.key, request.region, request.after_version)
        return pb.GetReplicaBundleResponse(bundle=_bundle(sent))

    async def ImportReplica(self, request: pb.ImportReplicaRequest, call: Call) -> pb.ImportReplicaResponse:
        """Bring a bundle in."""
        _require_at_most(request.signature, _MAX_SIGNATURE, "signature")
        wanted = NewReplica(
            payload=request.bundle,
            signature=request.signature,
            policy=request.policy,
            description=request.description,
            tags=tuple((tag.key, tag.value) for tag in request.tags),
            bypass_lockout_check=request.bypass_policy_lockout_safety_check,
        )
        request_id = names.request_id(request.request_id)
        done = await self._imports.bring_in(call.caller, wanted, request_id)
        return pb.ImportReplicaResponse(
            metadata=convert.metadata(done.key, self._realm),
            receipt=signed_statement(done.receipt),
            newest_version=done.newest,
        )

    async def AcknowledgeReplica(
        self, request: pb.AcknowledgeReplicaRequest, call: Call
    ) -> pb.AcknowledgeReplicaResponse:
        """Take a receipt."""
        _require_at_most(request.receipt, _MAX_STATEMENT, "receipt")
        _require_at_most(request.signature, _MAX_SIGNATURE, "signature")
        key = await self._replicas.acknowledge(
            call.caller,
            request.key,
            request.receipt,
            request.signature,
            names.request_id(request.request_id),
        )
        return pb.AcknowledgeReplicaResponse(metadata=convert.metadata(key, self._realm))

    async def RemoveReplica(self, request: pb.RemoveReplicaRequest, call: Call) -> pb.RemoveReplicaResponse:
        """Forget a replica."""
        request_id = names.request_id(request.request_id)
        key = await self._replicas.remove(call.caller, request.key, request.region, request_id)
        return pb.RemoveReplicaResponse(metadata=convert.metadata(key, self._realm))

    async def UpdatePrimaryRegion(
        self, request: pb.UpdatePrimaryRegionRequest, call: Call
    ) -> pb.UpdatePrimaryRegionResponse:
        """Hand the primary over."""
        request_id = names.request_id(request.request_id)
        sent = await self._replicas.hand_over(call.caller, request.key, request.region, request_id)
        return pb.UpdatePrimaryRegionResponse(bundles=[_bundle(each) for each in sent])

    async def MoveLostPrimary(
        self, request: pb.MoveLostPrimaryRequest, call: Call
    ) -> pb.MoveLostPrimaryResponse:
        """Say where a lost primary is."""
        request_id = names.request_id(request.request_id)
        key = await self._lost.move(call.caller, request.key, request.region, request.approval_id, request_id)
        return pb.MoveLostPrimaryResponse(metadata=convert.metadata(key, self._realm))


def _require_at_most(value: bytes, most: int, field: str) -> None:
    if len(value) > most:
        raise too_large(field, most)


def new_peer(statement: bytes, signature: bytes, statement_key: bytes) -> NewPeer:
    """Read who another house says that it is."""
    _require_at_most(statement, _MAX_STATEMENT, "statement")
    _require_at_most(signature, _MAX_SIGNATURE, "signature")
    return read_new_peer(statement, signature, statement_key)


def _bundle(sent: Sending) -> pb.ReplicaBundle:
    return pb.ReplicaBundle(
        region=sent.bundle.target,
        statement=signed_statement(sent.statement),
        last_version=sent.bundle.newest,
        newest_version=sent.newest,
    )


def _peer(record: PeerRecord) -> pb.Peer:
    return pb.Peer(
        region=record.region,
        account=record.account,
        house=record.house,
        replica_key_sha256=pair_id(record.replica_key),
        statement_key_sha256=pair_id(record.statement_key),
        registered_by=record.registered_by,
        created_time=convert.timestamp(record.created_at),
    )
