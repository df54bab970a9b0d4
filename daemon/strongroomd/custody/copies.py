"""Copies of a multi-region key's material for other houses: made with each version, and gone with the key.

A peer that is registered later has no copy of what was made before: a sealed key can be wrapped at its birth
only (README, "Custody"), and of exportable ones the daemon makes none later either.
"""

import dataclasses
import hashlib
import json
import uuid
from collections.abc import Sequence

from strongroomd.custody.importedkeys import versions_of
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.domain.algorithms import Scheme
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.keys import Audience, Material
from strongroomd.domain.records import (
    CustodyMode,
    KeyRecord,
    Origin,
    VersionRecord,
    VersionState,
    protection_of,
)
from strongroomd.domain.replication import (
    MAX_PEERS,
    MULTI_REGION_PREFIX,
    CopyRecord,
    MultiRegion,
    PeerRecord,
    ReplicaRecord,
    copy_id,
    pair_id,
)


async def peers_of(ledger: Ledger, account: str) -> list[PeerRecord]:
    """Read an account's peers, verified, by region."""
    found, _ = await ledger.page(PeerRecord, {"account": account}, after="", limit=MAX_PEERS)
    return found


def new_key_id(random: bytes, *, multi_region: bool) -> str:
    """Make a key's id of 16 random bytes: a UUID, or `mrk-` and 32 hexadecimal digits."""
    if multi_region:
        return f"{MULTI_REGION_PREFIX}{random.hex()}"
    return str(uuid.UUID(bytes=random, version=4))


async def require_replicable(ledger: Ledger, account: str, wanted: NewKey, origin: Origin) -> None:
    """Refuse a multi-region key that could never have a replica.

    Raises:
        StrongroomError: INVALID_FIELD (`origin`, `custody_mode`, `multi_region`).
    """
    if origin is not Origin.HSM:
        raise invalid("origin", "must be HSM: multi-region keys of imported material are not supported")
    if wanted.mode not in {None, CustodyMode.WRAPPED}:
        raise invalid("custody_mode", "must be WRAPPED, or not set: a resident key never leaves its token")
    if not await peers_of(ledger, account):
        raise invalid(
            "multi_region", "needs a registered peer: a key is wrapped for its peers when it is made"
        )


def refuse_counted(version: VersionRecord) -> None:
    """Refuse a version whose encryptions are counted: several houses would each count to the same bound.

    Raises:
        StrongroomError: UNSUPPORTED_BY_TOKEN.
    """
    if version.scheme is Scheme.AES_GCM:
        text = "symmetric multi-region keys need XAES-256-GCM: the token lacks CKM_AES_ECB_ENCRYPT_DATA"
        raise StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, text, field="multi_region")


async def audience(ledger: Ledger, key: KeyRecord) -> list[PeerRecord]:
    """Say for which houses a new version of a key is wrapped: every peer's, if it is a multi-region key."""
    if key.multi_region is MultiRegion.NONE:
        return []
    return await peers_of(ledger, key.account)


def audience_for(key: KeyRecord, peers: Sequence[PeerRecord]) -> Audience:
    """Say for which houses a key is wrapped, bound to what the key is and stays in all of them."""
    what = [
        "strongroom.replica-copy.v1",
        *(key.account, key.key_id, key.spec.value, key.usage.value),
        *(key.exportable, protection_of(key)),
    ]
    binding = hashlib.sha256(json.dumps(what).encode("ascii")).digest()
    return Audience(tuple(peer.replica_key for peer in peers), binding)


async def keep_copies(
    change: Change, key_id: str, version: int, peers: Sequence[PeerRecord], material: Material
) -> None:
    """Store a new version's copies, in the transaction that stores the version."""
    for peer, blob in zip(peers, material.copies, strict=True):
        copy = CopyRecord(key_id, version, peer.region, pair_id(peer.replica_key), blob)
        before = await change.get(CopyRecord, copy.record_id)
        if before is not None:  # of a version of this number that was given up
            copy = dataclasses.replace(copy, row_version=before.row_version + 1)
        await change.put(copy)


async def copy_of(ledger: Ledger, key_id: str, version: int, region: str) -> CopyRecord:
    """Read a version's copy for a peer.

    Raises:
        StrongroomError: INVALID_KEY_STATE where none was made, since the version is older than the peer.
    """
    found = await ledger.read(CopyRecord, copy_id(key_id, version, region))
    if found is None:
        text = f"version {version} was made before the peer was registered: it can never be wrapped for it"
        raise StrongroomError(Reason.INVALID_KEY_STATE, text, field="region")
    return found


async def replicas_of(change: Change, key_id: str) -> list[ReplicaRecord]:
    """Read a key's replicas, verified, as a transaction sees them."""
    stored = await change.transaction.find(ReplicaRecord, {"key_id": key_id})
    found = [await change.get(ReplicaRecord, each.record.record_id) for each in stored]
    return [record for record in found if record is not None]


async def refuse_replicated(change: Change, key: KeyRecord) -> None:
    """Refuse to end a primary that has replicas: nobody would rotate them any more.

    Raises:
        StrongroomError: INVALID_KEY_STATE.
    """
    if key.multi_region is MultiRegion.PRIMARY and await replicas_of(change, key.key_id):
        text = "the key is a primary with replicas: delete and remove them first, or hand the primary over"
        raise StrongroomError(Reason.INVALID_KEY_STATE, text)


async def waiting_version(change: Change, key_id: str) -> VersionRecord | None:
    """Find the version that waits for the replicas of a key."""
    versions = await versions_of(change, key_id)
    return next((each for each in versions if each.state is VersionState.PENDING_ROTATION), None)


async def forget_copies(change: Change, key: KeyRecord) -> None:
    """Forget a key's copies and replicas, in the transaction that destroys it."""
    if key.multi_region is MultiRegion.NONE:
        return
    while stored := await change.transaction.find(CopyRecord, {"key_id": key.key_id}):
        for each in stored:
            copy = await change.get(CopyRecord, each.record.record_id)
            if copy is not None:
                await change.delete(copy)
    for replica in await replicas_of(change, key.key_id):
        await change.delete(replica)
