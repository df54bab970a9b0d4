"""How a replica follows its primary: what is stored of a bundle, in the one transaction that brings it in."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from strongroomd.custody.copies import keep_copies, replicas_of
from strongroomd.custody.ledger import Change
from strongroomd.domain import rotations
from strongroomd.domain.keys import Material
from strongroomd.domain.records import KeyRecord, VersionRecord, VersionState
from strongroomd.domain.replicastatements import Bundle, Shipped
from strongroomd.domain.replication import MultiRegion, PeerRecord, ReplicaRecord
from strongroomd.domain.rotations import ScheduleRecord


@dataclass(frozen=True, slots=True)
class Landed:
    """A version that is ready to be stored."""

    shipped: Shipped
    material: Material


async def follow(
    change: Change,
    bundle: Bundle,
    draft: KeyRecord,
    landed: Sequence[Landed],
    peers: Sequence[PeerRecord],
    region: str,
    now: int,
) -> KeyRecord:
    """Store what came in by a bundle.

    Args:
        change: the transaction.
        bundle: what its primary's house says of the key.
        draft: the key as it is here, or a new one.
        landed: versions that were not here.
        peers: houses that these are wrapped for again.
        region: this house's.
        now: ms since the Unix epoch.
    """
    current = await change.get(KeyRecord, bundle.key_id)
    if current is None:
        key = draft
        await change.put(key)
    else:
        key = await _follow_key(change, current, bundle, region)
    for each in landed:
        await _put_version(change, version_of(key.key_id, each.shipped, each.material))
        await keep_copies(change, key.key_id, each.shipped.version, peers, each.material)
    await _follow_rotation(change, bundle, now)
    await _follow_replicas(change, bundle, now)
    return key


def version_of(key_id: str, shipped: Shipped, made: Material) -> VersionRecord:
    """Give the record of a version that came in, with the material that was made of it here."""
    return VersionRecord(
        key_id=key_id,
        version=shipped.version,
        state=VersionState.ACTIVE,
        created_at=shipped.created_at,
        kek_id=made.kek_id,
        hsm_id="",
        blob=made.blob,
        length=shipped.length,
        public_key=shipped.public_key,
        check_value=shipped.check_value,
        recovery_blob=made.recovery_blob,
        scheme=shipped.scheme,
        rotation=shipped.rotation,
    )


async def _put_version(change: Change, version: VersionRecord) -> None:
    """Store a version, maybe in the place of one that was given up before anybody used it."""
    before = await change.get(VersionRecord, version.record_id)
    if before is not None:
        version = dataclasses.replace(version, row_version=before.row_version + 1)
    await change.put(version)


async def _follow_key(change: Change, current: KeyRecord, bundle: Bundle, region: str) -> KeyRecord:
    """Take over what a replica follows its primary in; with the primary itself, if it is this house's now."""
    primary = bundle.primary == region
    followed = dataclasses.replace(
        current,
        current_version=max(current.current_version, bundle.current_version),
        primary_region=bundle.primary,
        term=max(current.term, bundle.term),
        multi_region=MultiRegion.PRIMARY if primary else MultiRegion.REPLICA,
    )
    if followed == current:
        return current
    followed = dataclasses.replace(followed, row_version=current.row_version + 1)
    await change.put(followed)
    return followed


async def _follow_replicas(change: Change, bundle: Bundle, now: int) -> None:
    """Know the other replicas, as the primary's house knows them: who becomes the primary needs them."""
    known = {replica.region: replica for replica in await replicas_of(change, bundle.key_id)}
    for region, acknowledged in bundle.replicas:
        before = known.pop(region, None)
        if before is None:
            await change.put(ReplicaRecord(bundle.key_id, region, acknowledged, now))
        elif before.acknowledged < acknowledged:
            row_version = before.row_version + 1
            await change.put(dataclasses.replace(before, acknowledged=acknowledged, row_version=row_version))
    for gone in known.values():
        await change.delete(gone)


async def _follow_rotation(change: Change, bundle: Bundle, now: int) -> None:
    before = await change.get(ScheduleRecord, bundle.key_id)
    if bundle.period_days:
        made = rotations.begun(before, bundle.key_id, bundle.period_days, now)
    else:
        made = rotations.ended(before, bundle.key_id)
    if made != before and (before is not None or made.enabled):
        await change.put(made)
