"""ImportReplica: a bundle of another house comes in: a new replica, later versions of one, or a primary.

Who signed decides what a bundle may say: a new replica comes from the house of its primary; what is here
already follows its own primary's house alone, which may also say that the primary is elsewhere now. Numbers
only grow, so that an older bundle changes nothing back; the same bundle again changes nothing at all.

Steps (failpoints `replica-import`): 1 the intent is in the audit log; 2 a version is wrapped under a KEK of
this house, in memory; 3 all of them are; 4 everything is written and not committed; 5 it is committed. Before
5 a kill leaves nothing, and the bundle can be brought in again; after it the same bundle gives the receipt.
"""

import hashlib
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import approvalproofs, bringing
from strongroomd.custody.admission import Lane
from strongroomd.custody.asking import Brought
from strongroomd.custody.auditfacts import note_key
from strongroomd.custody.copies import audience_for, peers_of
from strongroomd.custody.following import Landed, follow, version_of
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import Tags, check_tags
from strongroomd.custody.keypolicies import settle_policy
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.custody.passage import Passage
from strongroomd.custody.replicarules import (
    Here,
    missing,
    require_next,
    require_of_primary,
    require_same_key,
)
from strongroomd.domain import names
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.domain.policy import Resource
from strongroomd.domain.records import (
    WITH_MATERIAL,
    CustodyMode,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
)
from strongroomd.domain.replicastatements import (
    LEVEL,
    MAX_AGE_MS,
    RECEIPT,
    SKEW_MS,
    Bundle,
    Receipt,
    Shipped,
    read_bundle,
)
from strongroomd.domain.replication import MultiRegion, PeerRecord
from strongroomd.domain.statements import Statement, parse_statement
from strongroomd.ports import Store, Vault
from strongroomd.telemetry import failpoints


@dataclass(frozen=True, slots=True)
class NewReplica:
    """A bundle that is to be brought in, and what a new replica gets of its own; empty means the default.

    Attributes:
        payload, signature: the bundle's statement.
        policy: policy JSON; like description and tags it counts with a key's first bundle only.
    """

    payload: bytes
    signature: bytes
    policy: str = ""
    description: str = ""
    tags: Tags = ()
    bypass_lockout_check: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of it: the key as it is now, and the receipt for the primary's house."""

    key: KeyRecord
    receipt: SignedStatement
    newest: int


class ReplicaImports(UseCases):
    """Brings bundles in.

    Args:
        gate: the one way in.
        mutations: idempotent changes.
        store: lists versions.
        vault: unwraps copies and wraps them anew.
        notary: signs receipts.
    """

    def __init__(self, gate: Gate, mutations: Mutations, store: Store, vault: Vault, notary: Notary) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._ledger = mutations.ledger
        self._store = store
        self._vault = vault
        self._notary = notary
        self._realm = gate.catalog.realm

    @gated(Action.IMPORT_REPLICA)
    async def bring_in(self, passage: Passage, wanted: NewReplica, request_id: str = "") -> Arrived:
        """Bring a bundle in.

        Raises:
            StrongroomError: INVALID_FIELD for what is no bundle, not for this house and account, too old,
                older than what is here, has a gap, or says otherwise what a key is; INVALID_SIGNATURE;
                NOT_FOUND without the peer; INVALID_KEY_STATE for a key that is the primary here or was
                destroyed here;
                INVALID_CIPHERTEXT or INCORRECT_KEY_MATERIAL for a copy that is not the version's;
                MALFORMED_POLICY, POLICY_LOCKOUT, UNSUPPORTED_BY_TOKEN, HSM_UNAVAILABLE.
        """
        statement, bundle = self._claim(passage, wanted)
        await self._believe(passage, statement, bundle, wanted)
        here = await self._here(bundle)
        lacking = missing(bundle, here)
        draft = here.key or self._draft(passage, bundle, wanted)
        await passage.intent()
        failpoints.reach("replica-import.1")
        peers = await peers_of(self._ledger, bundle.account)
        landed = [await self._land(passage, draft, each, peers) for each in lacking]
        failpoints.reach("replica-import.3")
        work = partial(self._store_all, bundle, here, draft, landed, peers)
        digest = hashlib.sha256(wanted.payload).hexdigest()
        arguments = [digest, wanted.policy, wanted.description, wanted.tags, wanted.bypass_lockout_check]
        done = await self._mutations.once(passage, KeyRecord, request_id, arguments, work, audited=True)
        failpoints.reach("replica-import.5")
        passage.facts["versions"] = [each.version for each in lacking]
        return await self._receipt(done, bundle.newest)

    def _claim(self, passage: Passage, wanted: NewReplica) -> tuple[Statement, Bundle]:
        """Claim the right to bring a bundle in; what is none is told of only then."""
        statement, bundle = _read(wanted.payload)
        passage.claim_keyless(brought=_brought(bundle, wanted))
        if statement is None or bundle is None:
            raise invalid("bundle", "is not a replica bundle in its canonical form")
        note_key(passage.facts, self._realm.key_arn(bundle.key_id, bundle.account))
        passage.facts |= {"source": bundle.source, "level": LEVEL}
        return statement, bundle

    async def _believe(
        self, passage: Passage, statement: Statement, bundle: Bundle, wanted: NewReplica
    ) -> None:
        """Refuse a bundle that no peer made, or that is not for us, or not of today."""
        if bundle.account != passage.caller.principal.account:
            raise invalid("bundle", "is of another account")
        peer = await self._ledger.read(PeerRecord, f"{bundle.account}/{bundle.source}")
        if peer is None:
            raise StrongroomError(Reason.NOT_FOUND, "no peer is registered for its region", field="bundle")
        approvalproofs.require(peer.statement_key, wanted.payload, wanted.signature)
        if statement.house != peer.house:
            raise invalid("bundle", "is of another house than the peer's")
        if bundle.target != self._realm.region:
            raise invalid("bundle", "is for another region")
        now = self._mutations.clock.wall_ms()
        if not now - MAX_AGE_MS <= statement.time <= now + SKEW_MS:
            raise invalid("bundle", "is older than seven days, or from the future: have a new one made")

    async def _here(self, bundle: Bundle) -> Here:
        key = await self._ledger.read(KeyRecord, bundle.key_id)
        if key is None:
            require_of_primary(bundle, self._realm.region)
            return Here(None, ())
        require_same_key(key, bundle)
        repeated = require_next(key, bundle)
        stored = [await self._ledger.verify(each) for each in await self._store.versions(key.key_id)]
        return Here(key, tuple(each for each in stored if each.state in WITH_MATERIAL), repeated)

    async def _land(
        self, passage: Passage, key: KeyRecord, shipped: Shipped, peers: list[PeerRecord]
    ) -> Landed:
        record = version_of(key.key_id, shipped, Material("", "", b"", 0, b"", b"", b""))
        bound = BoundVersion(key.key_id, key.spec, key.usage, key.mode, key.exportable, record)
        job = self._vault.receive(
            bound,
            shipped.blob,
            shipped.pair,
            audience=audience_for(key, peers),
            deadline=passage.deadline,
        )
        material = await passage.work(Lane.BIRTH, job)
        failpoints.reach("replica-import.2")
        return Landed(shipped, material)

    def _draft(self, passage: Passage, bundle: Bundle, wanted: NewReplica) -> KeyRecord:
        """Make the record of a new replica, with what is its own."""
        name = Resource(self._realm.key_arn(bundle.key_id, bundle.account), bundle.account)
        mode, note = self._vault.placement(
            bundle.spec, bundle.usage, CustodyMode.WRAPPED, exportable=bundle.exportable
        )
        return KeyRecord(
            key_id=bundle.key_id,
            account=bundle.account,
            spec=bundle.spec,
            usage=bundle.usage,
            mode=mode,
            custody_note=note,
            origin=Origin.HSM,
            exportable=bundle.exportable,
            state=KeyState.ENABLED,
            description=names.description(wanted.description),
            created_at=bundle.created_at,
            deletion_at=0,
            current_version=bundle.current_version,
            policy=settle_policy(
                self.gate.judge, passage.caller, wanted.policy, name, _brought(bundle, wanted)
            ),
            tags=check_tags(wanted.tags),
            quorum=bundle.quorum,
            multi_region=MultiRegion.REPLICA,
            primary_region=bundle.primary,
            term=bundle.term,
        )

    async def _store_all(
        self,
        bundle: Bundle,
        here: Here,
        draft: KeyRecord,
        landed: list[Landed],
        peers: list[PeerRecord],
        change: Change,
    ) -> KeyRecord:
        """Store what came in, if the key is still what the bundle was held against."""
        if here.repeated:
            return draft
        if await change.get(KeyRecord, bundle.key_id) != here.key:
            raise StrongroomError(Reason.ETAG_MISMATCH)
        now = self._mutations.clock.wall_ms()
        stored = await follow(change, bundle, draft, landed, peers, self._realm.region, now)
        failpoints.reach("replica-import.4")
        return stored

    async def _receipt(self, key: KeyRecord, newest: int) -> Arrived:
        """Say that the bundle's versions are here; what else may be here is nothing to its primary."""
        version = await self._ledger.read(VersionRecord, f"{key.key_id}/{newest}")
        if version is None or version.state not in WITH_MATERIAL:
            raise StrongroomError(Reason.ETAG_MISMATCH)
        receipt = Receipt(key.key_id, key.account, self._realm.region, newest, version.check_value)
        return Arrived(key, await self._notary.state(RECEIPT, receipt.claims()), newest)


def _brought(bundle: Bundle | None, wanted: NewReplica) -> Brought:
    return bringing.new_replica(bundle, wanted.tags, bypass=wanted.bypass_lockout_check)


def _read(payload: bytes) -> tuple[Statement | None, Bundle | None]:
    """Read a bundle; what is none is told of to those only who may bring one in."""
    try:
        statement = parse_statement(payload)
        return statement, read_bundle(statement)
    except StrongroomError:
        return None, None
