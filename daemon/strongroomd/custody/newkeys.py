"""How a new key is made: what is settled of it, in which order, and what is stored with its first version."""

from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing
from strongroomd.custody.asking import Brought
from strongroomd.custody.auditfacts import note_key
from strongroomd.custody.births import Births, born
from strongroomd.custody.copies import new_key_id, refuse_counted, require_replicable
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate
from strongroomd.custody.keyforms import NewKey, check_tags, is_imported, settle_usage
from strongroomd.custody.keypolicies import settle_policy
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain import names
from strongroomd.domain.algorithms import KeyUsage
from strongroomd.domain.approvals import check_quorum
from strongroomd.domain.policy import Resource
from strongroomd.domain.records import CustodyMode, KeyRecord, KeyState, Origin, VersionRecord
from strongroomd.domain.replication import MultiRegion
from strongroomd.domain.tokens import MAIN, TokenNames
from strongroomd.ports import Vault


@dataclass(frozen=True, slots=True)
class Order:
    """A key that somebody wants made.

    Attributes:
        wanted: what it is to be like.
        token: where; empty for the one that the configuration names.
        quorum: how many must approve what is guarded of it; 0 for none of its own.
        origin: where its material comes from.
        multi_region: whether it is a primary, for the peers that its account has now.
    """

    wanted: NewKey
    token: str
    quorum: int
    origin: Origin
    multi_region: bool

    @property
    def bound(self) -> object:
        """What an idempotency key is bound to.

        What was asked for before there were several tokens, quorums or imports is still the same request.
        """
        wanted, token, quorum, origin = self.wanted, self.token, self.quorum, self.origin
        if self.multi_region:
            return [wanted, token, quorum, origin, "multi-region"]
        if origin is not Origin.HSM:
            return [wanted, token, quorum, origin]
        if quorum:
            return [wanted, token, quorum]
        return [wanted, token] if token else wanted


@dataclass(frozen=True, slots=True)
class _Settled:
    """What is settled of a new key before it is known whether it was made already.

    Attributes:
        key_id: drawn for it, and given up if it was.
        home: the token that it is made in.
        policy: the text, settled.
        imported: whether its material is to be imported.
    """

    key_id: str
    usage: KeyUsage
    home: str
    policy: str
    imported: bool


class NewKeys:
    """Makes new keys.

    Args:
        gate: its judge settles policies.
        mutations: idempotent changes.
        births: first versions.
        vault: random ids and placement.
        control: the quorum of an account.
        tokens: where new keys may go.
    """

    def __init__(
        self,
        gate: Gate,
        mutations: Mutations,
        births: Births,
        vault: Vault,
        control: DualControl,
        tokens: TokenNames,
    ) -> None:
        self._judge = gate.judge
        self._realm = gate.catalog.realm
        self._mutations = mutations
        self._births = births
        self._vault = vault
        self._control = control
        self._tokens = tokens

    async def make(self, passage: Passage, order: Order, request_id: str) -> KeyRecord:
        """Make a key, or give the one that the same request made before.

        The right comes first, then what was answered before; what is there already is looked at last.
        """
        settled = await self._settle(passage, order)
        found = await self._mutations.earlier(passage, KeyRecord, request_id, order.bound)
        if found is not None:
            return found
        key = await self._draft(passage.caller.principal.account, order, settled)
        note_key(passage.facts, self._realm.key_arn(key.key_id, key.account))
        if key.token != MAIN:
            passage.facts["token"] = key.token
        if key.state is KeyState.PENDING_IMPORT:
            work = partial(_put, key)
            return await self._mutations.once(passage, KeyRecord, request_id, order.bound, work)
        return await self._births.bear(passage, key, request_id, order.bound, partial(_commit, key))

    async def _settle(self, passage: Passage, order: Order) -> _Settled:
        """Claim the right to make a key, and settle what does not depend on what is there already."""
        wanted = order.wanted
        usage = settle_usage(wanted.spec, wanted.usage)
        brought = _brought(order, usage)
        passage.claim_keyless(brought=brought)
        home = self._tokens.settle(order.token)
        imported = is_imported(wanted, order.origin)
        key_id = new_key_id(await self._vault.random(16), multi_region=order.multi_region)
        account = passage.caller.principal.account
        name = Resource(self._realm.key_arn(key_id, account), account)
        policy = settle_policy(self._judge, passage.caller, wanted.policy, name, brought)
        return _Settled(key_id, usage, home, policy, imported)

    async def _draft(self, account: str, order: Order, settled: _Settled) -> KeyRecord:
        """Make the record of a new key; it is not stored yet."""
        wanted, imported = order.wanted, settled.imported
        if order.multi_region:
            await require_replicable(self._mutations.ledger, account, wanted, order.origin)
        mode, note = self._vault.placement(
            wanted.spec,
            settled.usage,
            CustodyMode.WRAPPED if imported or order.multi_region else wanted.mode,
            exportable=wanted.exportable,
            token=settled.home,
        )
        return KeyRecord(
            key_id=settled.key_id,
            account=account,
            spec=wanted.spec,
            usage=settled.usage,
            mode=mode,
            custody_note=note,
            origin=order.origin,
            exportable=wanted.exportable,
            state=KeyState.PENDING_IMPORT if imported else KeyState.CREATING,
            description=names.description(wanted.description),
            created_at=self._mutations.clock.wall_ms(),
            deletion_at=0,
            current_version=1,
            policy=settled.policy,
            tags=check_tags(wanted.tags),
            token=settled.home,
            quorum=await self._settle_quorum(account, order.quorum, exportable=wanted.exportable),
            multi_region=MultiRegion.PRIMARY if order.multi_region else MultiRegion.NONE,
            primary_region=self._realm.region if order.multi_region else "",
            term=int(order.multi_region),
        )

    async def _settle_quorum(self, account: str, quorum: int, *, exportable: bool) -> int:
        """Settle how many must approve what is guarded of a new key: its account's quorum if it can leave."""
        if quorum:
            return check_quorum(quorum)
        return await self._control.quorum_of(account) if exportable else 0


def _brought(order: Order, usage: KeyUsage) -> Brought:
    wanted = order.wanted
    return bringing.new_key(
        wanted.spec,
        usage,
        wanted.tags,
        bypass=wanted.bypass_lockout_check,
        origin=order.origin,
        multi_region=order.multi_region,
    )


async def _put(key: KeyRecord, change: Change) -> KeyRecord:
    """Store a key that waits for its material."""
    await change.put(key)
    return key


async def _commit(key: KeyRecord, change: Change, version: VersionRecord) -> KeyRecord:
    """Store a key with its first version."""
    if key.multi_region is not MultiRegion.NONE:
        refuse_counted(version)
    made = born(key)
    await change.put(made)
    await change.put(version)
    return made
