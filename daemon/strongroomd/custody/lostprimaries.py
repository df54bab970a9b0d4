"""MoveLostPrimary: what is done in the houses that are left when the one that had the primary is lost.

Each of them is told which house has it now, by approval of the account's people, and the term rises by one in
each: so what the lost house says, if it comes back, is of an older term. It is told the same then, and
follows. A version that waited there was never used by anybody, and is given up. Others may have got it
already: whoever has the primary now leaves its number out, so that it is never taken for another version.
"""

import dataclasses
from functools import partial

from strongroomd.custody import bringing, guarded
from strongroomd.custody.copies import replicas_of, waiting_version
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.importedkeys import versions_of
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.approvals import check_optional_id
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import MAX_VERSIONS
from strongroomd.domain.records import WITH_MATERIAL, KeyRecord, VersionRecord, VersionState
from strongroomd.domain.replication import MultiRegion, PeerRecord, ReplicaRecord, check_region, told_region


class LostPrimaries(UseCases):
    """Moves primaries without the word of the house that had them.

    Args:
        gate: the one way in.
        control: dual control.
    """

    def __init__(self, gate: Gate, control: DualControl) -> None:
        super().__init__(gate)
        self._control = control
        self._realm = gate.catalog.realm

    @gated(Action.MOVE_LOST_PRIMARY)
    async def move(
        self, passage: Passage, key: str, region: str, approval_id: str, request_id: str = ""
    ) -> KeyRecord:
        """Say where a key's primary is from now on: here, or in another region that is a peer's.

        Raises:
            StrongroomError: INVALID_KEY_STATE for a key that is not multi-region, or has its primary there
                already; NOT_FOUND (`region`); APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED.
        """
        passage.facts["primary_region"] = told_region(region)
        bring = partial(bringing.primary_region, region)
        entry = await passage.claim(key, Act.READ, action=Action.UPDATE_PRIMARY_REGION, bring=bring)
        check_region(region)
        check_optional_id(approval_id)
        key_id = entry.key.key_id

        async def work(change: Change) -> KeyRecord:
            current = await change.get(KeyRecord, key_id)
            if current is None:
                raise StrongroomError(Reason.ACCESS_DENIED)
            require(current.state, Act.EDIT)
            await self._require_elsewhere(change, current, region)
            quorum = await self._control.quorum_of(current.account)
            wanted = guarded.lost_primary(current, quorum, entry.arn, region)
            await self._control.spend(passage, change, approval_id, wanted)
            await _give_up_waiting(change, key_id)
            here = region == self._realm.region
            if here:
                await _begin_anew(change, key_id, self._control.mutations.clock.wall_ms())
            return await _moved(change, current, region, here=here)

        arguments = [key_id, region, approval_id]
        return await self._control.mutations.once(passage, KeyRecord, request_id, arguments, work)

    async def _require_elsewhere(self, change: Change, key: KeyRecord, region: str) -> None:
        if key.multi_region is MultiRegion.NONE:
            raise StrongroomError(Reason.INVALID_KEY_STATE, "the key is not a multi-region key")
        if key.primary_region == region:
            raise StrongroomError(Reason.INVALID_KEY_STATE, "the key has its primary there already")
        if region != self._realm.region and await change.get(PeerRecord, f"{key.account}/{region}") is None:
            raise StrongroomError(Reason.NOT_FOUND, "no peer is registered for this region", field="region")


async def _give_up_waiting(change: Change, key_id: str) -> None:
    """End a version that waited for replicas: nothing was ever encrypted under it."""
    waiting = await waiting_version(change, key_id)
    if waiting is not None:
        gone = dataclasses.replace(
            waiting,
            state=VersionState.DESTROYED,
            blob=b"",
            recovery_blob=b"",
            row_version=waiting.row_version + 1,
        )
        await change.put(gone)


async def _begin_anew(change: Change, key_id: str, now: int) -> None:
    """Leave out the number that the lost house may have used last, and what it heard of versions not here."""
    versions = await versions_of(change, key_id)
    newest = max(each.version for each in versions if each.state in WITH_MATERIAL)
    for replica in await replicas_of(change, key_id):
        if replica.acknowledged > newest:
            row_version = replica.row_version + 1
            await change.put(dataclasses.replace(replica, acknowledged=newest, row_version=row_version))
    number = newest + 1
    if number > MAX_VERSIONS or any(each.version == number for each in versions):
        return
    left_out = VersionRecord(
        key_id=key_id,
        version=number,
        state=VersionState.FAILED,
        created_at=now,
        kek_id="",
        hsm_id="",
        blob=b"",
        length=0,
        public_key=b"",
        check_value=b"",
        recovery_blob=b"",
    )
    await change.put(left_out)


async def _moved(change: Change, current: KeyRecord, region: str, *, here: bool) -> KeyRecord:
    """Write where the primary is; who has it now waits for no replica of itself, nor for the lost house."""
    heir = await change.get(ReplicaRecord, f"{current.key_id}/{region}")
    if heir is not None:
        await change.delete(heir)
    moved = dataclasses.replace(
        current,
        multi_region=MultiRegion.PRIMARY if here else MultiRegion.REPLICA,
        primary_region=region,
        term=current.term + 1,
        row_version=current.row_version + 1,
    )
    await change.put(moved)
    return moved
