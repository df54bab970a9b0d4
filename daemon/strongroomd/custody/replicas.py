"""Use cases of a primary: give it replicas, send them its versions, hear how far they are, hand it over.

What goes to another house is a bundle: a statement that this house signs, with copies of material that only
the other house's token opens. It is given out as a file, so that two houses need no connection. How the
primary's own house follows: a new version waits (PENDING_ROTATION) until each replica has said by a signed
receipt that it has it. So whatever is encrypted anywhere can be decrypted everywhere.
"""

import dataclasses
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import approvalproofs, bringing
from strongroomd.custody.catalog import Entry
from strongroomd.custody.copies import copy_of, peers_of, replicas_of, waiting_version
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.importedkeys import versions_of
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.records import WITH_MATERIAL, KeyRecord, VersionRecord, VersionState, protection_of
from strongroomd.domain.replicastatements import (
    BUNDLE,
    MAX_COPIES,
    SKEW_MS,
    Bundle,
    Receipt,
    Shipped,
    read_receipt,
)
from strongroomd.domain.replication import (
    CopyRecord,
    MultiRegion,
    PeerRecord,
    ReplicaRecord,
    check_region,
    require_primary,
    told_region,
)
from strongroomd.domain.rotations import ScheduleRecord
from strongroomd.domain.statements import parse_statement
from strongroomd.ports import Store


@dataclass(frozen=True, slots=True)
class Sending:
    """A bundle on its way.

    Attributes:
        key: the key as it is now.
        bundle: what it says; `statement` is how.
        newest: the newest version that the primary has; beyond `bundle.newest` another bundle is needed.
    """

    key: KeyRecord
    bundle: Bundle
    statement: SignedStatement
    newest: int


@dataclass(frozen=True, slots=True)
class _Stock:
    """What there is to send: the key, its versions with material, its replicas and the rotation period."""

    key: KeyRecord
    versions: Sequence[VersionRecord]
    replicas: Sequence[ReplicaRecord]
    period_days: int


class Replicas(UseCases):
    """Primaries and their replicas.

    Args:
        gate: the one way in.
        mutations: idempotent changes.
        store: lists versions and replicas.
        notary: signs bundles.
    """

    def __init__(self, gate: Gate, mutations: Mutations, store: Store, notary: Notary) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._ledger = mutations.ledger
        self._store = store
        self._notary = notary
        self._region = gate.catalog.realm.region

    # --- send

    @gated(Action.REPLICATE_KEY)
    async def replicate(self, passage: Passage, key: str, region: str, request_id: str = "") -> Sending:
        """Give a primary a replica in another region, and the first bundle for it.

        Raises:
            StrongroomError: INVALID_KEY_STATE for a key that is no primary, or whose older versions the peer
                can never get; NOT_FOUND (`region`) without a peer; ALREADY_EXISTS; the state's refusal.
        """
        entry = await self._claim(passage, key, region)
        peer = await self._peer(entry.key.account, region)
        require_primary(entry.key.multi_region)
        require(entry.key.state, Act.REPLICATE)
        await self._copies(await self._stock(entry.key.key_id), peer, 0)

        async def work(change: Change) -> KeyRecord:
            current = await _primary(change, entry.key.key_id)
            draft = ReplicaRecord(current.key_id, region, 0, self._mutations.clock.wall_ms())
            if await change.get(ReplicaRecord, draft.record_id) is not None:
                text = "the key has a replica in this region already"
                raise StrongroomError(Reason.ALREADY_EXISTS, text, field="region")
            await change.put(draft)
            return current

        arguments = [entry.key.key_id, region]
        await self._mutations.once(passage, KeyRecord, request_id, arguments, work)
        return await self._send(passage, entry.key.key_id, peer, 0)

    @gated(Action.GET_REPLICA_BUNDLE)
    async def bundle(self, passage: Passage, key: str, region: str, after: int = 0) -> Sending:
        """Give a bundle for a replica: the key as it is now, and its versions behind one.

        Raises:
            StrongroomError: INVALID_KEY_STATE, NOT_FOUND (`region`) for a region without peer or replica.
        """
        entry = await self._claim(passage, key, region)
        peer = await self._peer(entry.key.account, region)
        require_primary(entry.key.multi_region)
        if await self._ledger.read(ReplicaRecord, f"{entry.key.key_id}/{region}") is None:
            raise StrongroomError(Reason.NOT_FOUND, "the key has no replica in this region", field="region")
        await passage.intent()
        return await self._send(passage, entry.key.key_id, peer, after)

    async def _claim(self, passage: Passage, key: str, region: str) -> Entry:
        """Claim the right to replicate a key to a region; whatever is wrong with the region is told later."""
        passage.facts["replica_region"] = told_region(region)
        bring = partial(bringing.replication, region)
        entry = await passage.claim(key, Act.READ, action=Action.REPLICATE_KEY, bring=bring)
        check_region(region)
        return entry

    async def _peer(self, account: str, region: str) -> PeerRecord:
        found = await self._ledger.read(PeerRecord, f"{account}/{region}")
        if found is None:
            raise StrongroomError(Reason.NOT_FOUND, "no peer is registered for this region", field="region")
        return found

    async def _stock(self, key_id: str) -> _Stock:
        entry = await self.gate.catalog.entry(key_id)
        stored = [await self._ledger.verify(each) for each in await self._store.versions(key_id)]
        replicas, _ = await self._ledger.page(ReplicaRecord, {"key_id": key_id}, after="", limit=100)
        schedule = await self._ledger.read(ScheduleRecord, key_id)
        return _Stock(
            entry.key,
            [version for version in stored if version.state in WITH_MATERIAL],
            replicas,
            schedule.period_days if schedule else 0,
        )

    async def _copies(
        self, stock: _Stock, peer: PeerRecord, after: int
    ) -> list[tuple[VersionRecord, CopyRecord]]:
        """Find every version's copy for a peer. Raises INVALID_KEY_STATE where one was never made."""
        wanted = [version for version in stock.versions if version.version > after]
        ledger, key_id = self._ledger, stock.key.key_id
        return [(each, await copy_of(ledger, key_id, each.version, peer.region)) for each in wanted]

    async def _send(self, passage: Passage, key_id: str, peer: PeerRecord, after: int) -> Sending:
        stock = await self._stock(key_id)
        shipped = _fitting([_shipped(*pair) for pair in await self._copies(stock, peer, after)])
        numbers = [each.version for each in stock.versions]
        if after and after not in numbers:
            raise invalid("after_version", "must be a version of the key, or 0")
        bundle = _bundle(stock, peer.region, self._region, after, shipped)
        passage.facts |= {
            "versions": [each.version for each in shipped],
            "level": "token",
            "pairs": sorted({each.pair for each in shipped}),
        }
        statement = await self._notary.state(BUNDLE, bundle.claims())
        return Sending(stock.key, bundle, statement, numbers[-1])

    # --- hear of replicas

    @gated(Action.ACKNOWLEDGE_REPLICA)
    async def acknowledge(
        self, passage: Passage, key: str, payload: bytes, signature: bytes, request_id: str = ""
    ) -> KeyRecord:
        """Take a replica's receipt; a version that waited becomes current once nobody else is behind.

        Raises:
            StrongroomError: INVALID_FIELD, INVALID_SIGNATURE, INVALID_KEY_STATE, NOT_FOUND (`receipt`) for a
                region without peer or replica; INCORRECT_KEY_MATERIAL for other material than the version's.
        """
        receipt, said_at = _read(payload)
        if receipt is not None:
            passage.facts["replica_region"] = receipt.region
        entry = await self._claim_for(passage, key, receipt.region if receipt else None)
        if receipt is None:
            raise invalid("receipt", "is not a replica receipt in its canonical form")
        await self._verify(entry.key, receipt, payload, signature)

        async def work(change: Change) -> KeyRecord:
            current = await _primary(change, entry.key.key_id)
            replica = await change.get(ReplicaRecord, f"{current.key_id}/{receipt.region}")
            if replica is None or said_at < replica.created_at - SKEW_MS:
                text = "the key has no replica that could have said this"
                raise StrongroomError(Reason.NOT_FOUND, text, field="receipt")
            await _require_ours(change, receipt)
            if receipt.newest > replica.acknowledged:
                heard = dataclasses.replace(
                    replica, acknowledged=receipt.newest, row_version=replica.row_version + 1
                )
                await change.put(heard)
            return await settle_rotation(change, current)

        passage.facts["acknowledged"] = receipt.newest
        arguments = [entry.key.key_id, receipt.region, receipt.newest]
        return await self._mutations.once(passage, KeyRecord, request_id, arguments, work)

    @gated(Action.REMOVE_REPLICA)
    async def remove(self, passage: Passage, key: str, region: str, request_id: str = "") -> KeyRecord:
        """Forget a replica that was destroyed or is lost: nothing waits for it any more.

        Raises:
            StrongroomError: NOT_FOUND (`region`), INVALID_KEY_STATE.
        """
        entry = await self._claim(passage, key, region)

        async def work(change: Change) -> KeyRecord:
            current = await _primary(change, entry.key.key_id)
            replica = await change.get(ReplicaRecord, f"{current.key_id}/{region}")
            if replica is None:
                raise StrongroomError(Reason.NOT_FOUND, field="region")
            await change.delete(replica)
            return await settle_rotation(change, current)

        return await self._mutations.once(passage, KeyRecord, request_id, [entry.key.key_id, region], work)

    async def _claim_for(self, passage: Passage, key: str, region: str | None) -> Entry:
        bring = partial(bringing.replication, region)
        return await passage.claim(key, Act.READ, action=Action.REPLICATE_KEY, bring=bring)

    async def _verify(self, key: KeyRecord, receipt: Receipt, payload: bytes, signature: bytes) -> None:
        peer = await self._ledger.read(PeerRecord, f"{key.account}/{receipt.region}")
        if peer is None:
            raise StrongroomError(Reason.NOT_FOUND, "no peer is registered for this region", field="receipt")
        approvalproofs.require(peer.statement_key, payload, signature)
        if (receipt.key_id, receipt.account) != (key.key_id, key.account):
            raise invalid("receipt", "is about another key")

    # --- hand over

    @gated(Action.UPDATE_PRIMARY_REGION)
    async def hand_over(self, passage: Passage, key: str, region: str, request_id: str = "") -> list[Sending]:
        """Make another region's replica the primary, and this one a replica; a bundle for each replica.

        Until the other house has brought its bundle in nobody has a primary, and nobody rotates. Who lost the
        bundles asks again.

        Raises:
            StrongroomError: INVALID_KEY_STATE for a key that is no primary, has a version waiting, or has a
                replica that is behind, which could get what it lacks from neither house; NOT_FOUND
                (`region`) for a region without replica or peer; the state's refusal.
        """
        passage.facts["primary_region"] = told_region(region)
        bring = partial(bringing.primary_region, region)
        entry = await passage.claim(key, Act.REPLICATE, bring=bring)
        check_region(region)
        key_id = entry.key.key_id

        async def work(change: Change) -> KeyRecord:
            current = await change.get(KeyRecord, key_id)
            if (
                current is not None
                and current.multi_region is MultiRegion.REPLICA
                and current.primary_region == region
            ):
                return current
            return await _give_away(change, key_id, region)

        done = await self._mutations.once(passage, KeyRecord, request_id, [key_id, region], work)
        peers = {peer.region: peer for peer in await peers_of(self._ledger, done.account)}
        stock = await self._stock(key_id)
        regions = [replica.region for replica in stock.replicas if replica.region in peers]
        return [
            await self._send(passage, key_id, peers[each], stock.versions[-1].version) for each in regions
        ]


async def _primary(change: Change, key_id: str) -> KeyRecord:
    """Read a primary as a transaction sees it. Raises INVALID_KEY_STATE for what is none."""
    current = await change.get(KeyRecord, key_id)
    if current is None:
        raise StrongroomError(Reason.ACCESS_DENIED)
    require(current.state, Act.READ)
    require_primary(current.multi_region)
    return current


async def settle_rotation(change: Change, key: KeyRecord) -> KeyRecord:
    """Make the version that waits for the replicas the current one, if none of them is behind any more."""
    waiting = await waiting_version(change, key.key_id)
    replicas = await replicas_of(change, key.key_id)
    if waiting is None or any(replica.acknowledged < waiting.version for replica in replicas):
        return key
    row_version = waiting.row_version + 1
    await change.put(dataclasses.replace(waiting, state=VersionState.ACTIVE, row_version=row_version))
    rotated = dataclasses.replace(key, current_version=waiting.version, row_version=key.row_version + 1)
    await change.put(rotated)
    return rotated


async def _give_away(change: Change, key_id: str, region: str) -> KeyRecord:
    """Make the key here a replica of the one in another region."""
    current = await _primary(change, key_id)
    require(current.state, Act.REPLICATE)
    heir = await change.get(ReplicaRecord, f"{key_id}/{region}")
    if heir is None:
        raise StrongroomError(Reason.NOT_FOUND, "the key has no replica in this region", field="region")
    if await change.get(PeerRecord, f"{current.account}/{region}") is None:
        raise StrongroomError(Reason.NOT_FOUND, "no peer is registered for this region", field="region")
    versions = [each for each in await versions_of(change, key_id) if each.state in WITH_MATERIAL]
    behind = any(each.acknowledged < versions[-1].version for each in await replicas_of(change, key_id))
    if behind or await waiting_version(change, key_id) is not None:
        text = "a replica has not acknowledged every version: take a bundle there, and its receipt back"
        raise StrongroomError(Reason.INVALID_KEY_STATE, text)
    done = dataclasses.replace(
        current,
        multi_region=MultiRegion.REPLICA,
        primary_region=region,
        term=current.term + 1,
        row_version=current.row_version + 1,
    )
    await change.put(done)
    return done


async def _require_ours(change: Change, receipt: Receipt) -> None:
    """Refuse a receipt for another version of this number. Raises INCORRECT_KEY_MATERIAL."""
    version = await change.get(VersionRecord, f"{receipt.key_id}/{receipt.newest}")
    if (
        version is None
        or version.state not in WITH_MATERIAL
        or not hmac.compare_digest(version.check_value, receipt.check_value)
    ):
        raise StrongroomError(Reason.INCORRECT_KEY_MATERIAL, field="receipt")


def _read(payload: bytes) -> tuple[Receipt | None, int]:
    """Read a receipt, and when it was said; what is none is told of to those only who may bring one."""
    try:
        statement = parse_statement(payload)
        return read_receipt(statement), statement.time
    except StrongroomError:
        return None, 0


def _shipped(version: VersionRecord, copy: CopyRecord) -> Shipped:
    return Shipped(
        version=version.version,
        created_at=version.created_at,
        rotation=version.rotation,
        scheme=version.scheme,
        length=version.length,
        public_key=version.public_key,
        check_value=version.check_value,
        pair=copy.pair,
        blob=copy.blob,
    )


def _fitting(shipped: Sequence[Shipped]) -> list[Shipped]:
    """Take as many as one bundle carries, the oldest first."""
    fitting, size = [], 0
    for each in shipped:
        size += each.size
        if size > MAX_COPIES:
            break
        fitting.append(each)
    return fitting


def _bundle(stock: _Stock, target: str, source: str, after: int, shipped: Sequence[Shipped]) -> Bundle:
    """Say what a key is, with some of its versions."""
    key = stock.key
    newest = shipped[-1].version if shipped else after
    others = {each.region: each.acknowledged for each in stock.replicas if each.region != target}
    if key.multi_region is MultiRegion.REPLICA:  # handed over: this house has become a replica that has all
        others[source] = stock.versions[-1].version
        others.pop(key.primary_region, None)
    return Bundle(
        key_id=key.key_id,
        account=key.account,
        spec=key.spec,
        usage=key.usage,
        exportable=key.exportable,
        quorum=protection_of(key),
        created_at=key.created_at,
        source=source,
        target=target,
        primary=key.primary_region,
        term=key.term,
        period_days=stock.period_days,
        current_version=min(key.current_version, max(newest, 1)),
        after=after,
        replicas=tuple(sorted(others.items())),
        versions=tuple(shipped),
    )
