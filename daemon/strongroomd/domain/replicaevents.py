"""Which event a change of a peer or a replica is; where the primary is, is the key's own (`happenings`).

The subject of a peer's event is the ARN of its account's root, of a replica's that of the key.
"""

from collections.abc import Callable, Iterator
from typing import Any

from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.protection import Record
from strongroomd.domain.replication import PeerRecord, ReplicaRecord, pair_id


def happenings(before: Record | None, after: Record | None, name: Callable[[str], str]) -> list[Draft]:
    """Say what the change of one record of replication means; nothing for a record of anything else."""
    match before or after:
        case PeerRecord():
            return list(_of_peer(before, after))
        case ReplicaRecord():
            return list(_of_replica(before, after, name))
    return []


def _of_peer(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a peer or None
    peer = after or before
    facts = {
        "account": peer.account,
        "region": peer.region,
        "house": peer.house,
        "replica_key_sha256": pair_id(peer.replica_key),
        "statement_key_sha256": pair_id(peer.statement_key),
    }
    kind = EventType.PEER_REGISTERED if after is not None else EventType.PEER_REMOVED
    yield Draft(kind, f"arn:aws:iam::{peer.account}:root", facts)


def _of_replica(before: Any, after: Any, name: Callable[[str], str]) -> Iterator[Draft]:  # noqa: ANN401 - a replica or None
    replica = after or before
    facts = {"region": replica.region, "acknowledged_version": replica.acknowledged}
    if before is None:
        yield Draft(EventType.KEY_REPLICATED, name(replica.key_id), facts)
    elif after is None:
        yield Draft(EventType.KEY_REPLICA_REMOVED, name(replica.key_id), facts)
