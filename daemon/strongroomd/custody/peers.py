"""Use cases of peers: the houses that an account's multi-region keys may go to and come from.

Who registers a peer lets keys out that were made never to leave: it is guarded as the registration of a
wrapping key is, and approvers compare the fingerprints of both keys of the other house.
"""

import dataclasses

from strongroomd.custody.copies import peers_of
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.custody.passage import Passage
from strongroomd.custody.peercards import NewPeer, of_peer
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.replicastatements import PEER, PeerCard
from strongroomd.domain.replication import MAX_PEERS, PeerRecord, check_region
from strongroomd.ports import Vault


class Peers(UseCases):
    """Peers of accounts.

    Args:
        gate: the one way in.
        control: dual control.
        vault: has this house's replica pair.
        notary: says who this house is.
    """

    def __init__(self, gate: Gate, control: DualControl, vault: Vault, notary: Notary) -> None:
        super().__init__(gate)
        self._control = control
        self._mutations = control.mutations
        self._vault = vault
        self._notary = notary
        self._region = gate.catalog.realm.region

    @gated(Action.GET_PEER_STATEMENT)
    async def statement(self, passage: Passage) -> SignedStatement:
        """State who this house is, for others to register it.

        Raises:
            StrongroomError: NOT_FOUND while it has no replica pair.
        """
        passage.claim_keyless()
        if not self._vault.replica_key:
            text = "the house has no replica pair yet: an operator makes it with RotateHouseKey, role replica"
            raise StrongroomError(Reason.NOT_FOUND, text)
        return await self._notary.state(PEER, PeerCard(self._region, self._vault.replica_key).claims())

    @gated(Action.REGISTER_PEER)
    async def register(
        self, passage: Passage, wanted: NewPeer, approval_id: str, request_id: str = ""
    ) -> PeerRecord:
        """Register a peer of the caller's account, or another pair or statement key of one.

        Raises:
            StrongroomError: INVALID_FIELD, APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED,
                LIMIT_EXCEEDED.
        """
        passage.claim_keyless()
        account = passage.caller.principal.account
        if wanted.region == self._region:
            raise invalid("statement", "is of a house of this house's own region")
        passage.facts["peer"] = wanted.region
        draft = PeerRecord(
            account=account,
            region=wanted.region,
            house=wanted.house,
            replica_key=wanted.replica_key,
            statement_key=wanted.statement_key,
            registered_by=passage.caller.principal.arn,
            created_at=self._mutations.clock.wall_ms(),
        )

        async def work(change: Change) -> PeerRecord:
            act = of_peer(account, await self._control.quorum_of(account), wanted)
            await self._control.spend(passage, change, approval_id, act)
            return await _put(change, draft)

        arguments = [
            account,
            wanted.region,
            wanted.replica_key.hex(),
            wanted.statement_key.hex(),
            approval_id,
        ]
        return await self._mutations.once(passage, PeerRecord, request_id, arguments, work)

    @gated(Action.LIST_PEERS)
    async def list_peers(self, passage: Passage) -> list[PeerRecord]:
        """List the account's peers, by region."""
        passage.claim_keyless()
        return await peers_of(self._mutations.ledger, passage.caller.principal.account)

    @gated(Action.REMOVE_PEER)
    async def remove(self, passage: Passage, region: str, request_id: str = "") -> PeerRecord:
        """Remove a peer: no key goes there any more, and none comes from there; what is there stays."""
        passage.claim_keyless()
        passage.facts["peer"] = checked = check_region(region)
        account = passage.caller.principal.account

        async def work(change: Change) -> PeerRecord:
            record = await change.get(PeerRecord, f"{account}/{checked}")
            if record is None:
                raise StrongroomError(Reason.NOT_FOUND, field="region")
            await change.delete(record)
            return record

        return await self._mutations.once(passage, PeerRecord, request_id, [account, checked], work)


async def _put(change: Change, draft: PeerRecord) -> PeerRecord:
    """Store a peer, in the place of what was registered for its region before."""
    before = await change.get(PeerRecord, draft.record_id)
    if before is None:
        if await change.transaction.how_many(PeerRecord, {"account": draft.account}) >= MAX_PEERS:
            raise StrongroomError(Reason.LIMIT_EXCEEDED, f"an account has at most {MAX_PEERS} peers")
    else:
        draft = dataclasses.replace(draft, row_version=before.row_version + 1)
    await change.put(draft)
    return draft
