"""Use cases of keys: create, describe, list, switch, rotate, schedule deletion, policy, tags, usage."""

import dataclasses
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing, pages
from strongroomd.custody.births import Births
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.destructions import forget_deletion, note_deletion
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.importedkeys import turn
from strongroomd.custody.keyedits import (
    KeyEdit,
    KeyEdits,
    described,
    doomed,
    spared,
    switched,
    tagged,
    untagged,
)
from strongroomd.custody.keyforms import (
    KeyFilter,
    NewKey,
    Tags,
    check_etag,
    check_tag_key,
    check_tags,
    check_window,
    filter_binding,
    is_wanted,
    where,
)
from strongroomd.custody.keyguards import KeyGuards
from strongroomd.custody.keypolicies import settle_policy
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.newkeys import NewKeys, Order
from strongroomd.custody.passage import Passage
from strongroomd.custody.rotation import succession
from strongroomd.custody.schedules import SHOWN, Demand, refuse_made_by_others
from strongroomd.domain import names, policy
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SPECS, KeyFamily
from strongroomd.domain.approvals import check_optional_id
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import DELETION_WINDOW_DEFAULT, MAX_TAGS
from strongroomd.domain.policy.circumstances import Target
from strongroomd.domain.records import (
    CustodyMode,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
)
from strongroomd.domain.replication import MultiRegion, ReplicaRecord
from strongroomd.domain.tokens import TokenNames
from strongroomd.ports import Store, Usage, Vault
from strongroomd.telemetry import failpoints

_DAY_MS = 24 * 3600 * 1000
_MOST_REPLICAS = 100


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys of one page, and the token of the next (empty at the end)."""

    keys: list[KeyRecord]
    next_token: str


@dataclass(frozen=True, slots=True)
class VersionPage:
    """A key's versions of one page, newest last, and the token of the next (empty at the end)."""

    key: KeyRecord
    versions: list[VersionRecord]
    next_token: str


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key version, as DER SubjectPublicKeyInfo."""

    key: KeyRecord
    arn: str
    version: int
    spki: bytes


class Keys(UseCases):
    """Keys' management.

    Args:
        gate: the one way in.
        catalog: finds keys.
        mutations: idempotent changes.
        births: new material.
        store: lists keys.
        vault: random ids and placement.
        control: dual control over protected keys.
        tokens: where new keys may go.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a key's life needs
        self,
        gate: Gate,
        catalog: Catalog,
        mutations: Mutations,
        births: Births,
        store: Store,
        vault: Vault,
        control: DualControl,
        tokens: TokenNames | None = None,
    ) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._mutations = mutations
        self._births = births
        self._store = store
        self._guards = KeyGuards(control, catalog.realm)
        self._new = NewKeys(gate, mutations, births, vault, control, tokens or TokenNames())
        self._edits = KeyEdits(mutations)
        self._demand = Demand(mutations.ledger, store, mutations.clock)

    @gated(Action.CREATE_KEY)
    async def create(
        self,
        passage: Passage,
        wanted: NewKey,
        request_id: str = "",
        token: str = "",
        quorum: int = 0,
        origin: Origin = Origin.HSM,
        *,
        multi_region: bool = False,
    ) -> KeyRecord:
        """Create a key in the token of that name: with its first version, or for material to be imported.

        A quorum protects it for ever. A multi-region key is a primary, which can be replicated to the peers
        that its account has now.
        """
        order = Order(wanted, token, quorum, origin, multi_region=multi_region)
        return await self._new.make(passage, order, request_id)

    @gated(Action.DESCRIBE_KEY)
    async def describe(self, passage: Passage, key: str) -> KeyRecord:
        """Describe a key."""
        return (await passage.claim(key, Act.READ)).key

    async def replicas(self, key: KeyRecord) -> list[ReplicaRecord]:
        """Give the replicas that are known of a key that was described, by region."""
        if key.multi_region is MultiRegion.NONE:
            return []
        where = {"key_id": key.key_id}
        found, _ = await self._mutations.ledger.page(ReplicaRecord, where, after="", limit=_MOST_REPLICAS)
        return found

    @gated(Action.LIST_KEYS)
    async def list_keys(self, passage: Passage, wanted: KeyFilter, size: int = 0, token: str = "") -> KeyPage:
        """List the account's keys, in order of their ids, for an administrator."""
        passage.claim_keyless()
        limit, account = pages.page_size(size), passage.caller.principal.account
        binding = (*pages.asker(passage), *filter_binding(wanted))
        after = pages.decode(token, *binding)
        found: list[KeyRecord] = []
        while len(found) <= limit:
            batch = await self._store.page(
                KeyRecord, after=after, limit=limit + 1, where=where(account, wanted)
            )
            for stored in batch:
                key = await self._mutations.ledger.verify(stored)
                if is_wanted(key, wanted):
                    found.append(key)
            if len(batch) <= limit:
                break
            after = batch[-1].record.record_id
        more = len(found) > limit
        found = found[:limit]
        return KeyPage(found, pages.encode(found[-1].key_id, *binding) if more else "")

    @gated(Action.UPDATE_KEY_DESCRIPTION)
    async def update_description(
        self, passage: Passage, key: str, text: str, etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Replace a key's description."""
        checked = names.description(text)
        edit = KeyEdit(Act.EDIT, partial(described, checked), checked)
        return await self._edits.make(passage, key, edit, etag, request_id)

    @gated(Action.ENABLE_KEY)
    async def enable(self, passage: Passage, key: str, etag: str = "", request_id: str = "") -> KeyRecord:
        """Let a disabled key be used again; one whose imported material is away waits for that first."""
        edit = KeyEdit(Act.SWITCH, partial(switched, KeyState.ENABLED))
        return await self._edits.make(passage, key, edit, etag, request_id)

    @gated(Action.DISABLE_KEY)
    async def disable(self, passage: Passage, key: str, etag: str = "", request_id: str = "") -> KeyRecord:
        """Stop a key from being used; in every worker within a second."""
        edit = KeyEdit(Act.SWITCH, partial(switched, KeyState.DISABLED))
        return await self._edits.make(passage, key, edit, etag, request_id)

    @gated(Action.SCHEDULE_KEY_DELETION)
    async def schedule_deletion(
        self,
        passage: Passage,
        key: str,
        days: int = 0,
        etag: str = "",
        request_id: str = "",
        approval_id: str = "",
    ) -> KeyRecord:
        """Let a key be destroyed after 7 to 30 days (0: 30); it cannot be used meanwhile.

        Raises:
            StrongroomError: APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED for a protected key;
                INVALID_KEY_STATE for a primary that has replicas.
        """
        check_optional_id(approval_id)
        window = check_window(days or DELETION_WINDOW_DEFAULT)
        now = self._mutations.clock.wall_ms()
        edit = KeyEdit(
            Act.SCHEDULE_DELETION,
            partial(doomed, now + window * _DAY_MS),
            window,
            bring=partial(bringing.deletion, window),
            guard=self._guards.deletion(window, approval_id),
            besides=partial(note_deletion, passage.caller, now),
        )
        found = await self._edits.make(passage, key, edit, etag, request_id)
        if found.mode is CustodyMode.ADOPTED:
            passage.facts["object_stays_in_token"] = True
        return found

    @gated(Action.CANCEL_KEY_DELETION)
    async def cancel_deletion(
        self, passage: Passage, key: str, etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Take a scheduled deletion back; the key is then disabled."""
        edit = KeyEdit(Act.CANCEL_DELETION, spared, besides=forget_deletion)
        return await self._edits.make(passage, key, edit, etag, request_id)

    @gated(Action.ROTATE_KEY)
    async def rotate(self, passage: Passage, key: str, etag: str = "", request_id: str = "") -> KeyRecord:
        """Make a new version that encrypts and signs from now on; old ones still decrypt and verify."""
        entry = await passage.claim(key, Act.READ)
        arguments = [entry.key.key_id, etag]
        found = await self._mutations.earlier(passage, KeyRecord, request_id, arguments)
        if found is not None:
            return found
        refuse_made_by_others(entry.key)
        if entry.key.origin is Origin.EXTERNAL:
            return await self._turn(passage, entry.key.key_id, etag, request_id, arguments)
        require(entry.key.state, Act.ROTATE)
        check_etag(entry.key.row_version, etag)
        await self._demand.require(entry.key)
        succeed = succession(entry.key.key_id, etag)

        async def commit(change: Change, version: VersionRecord) -> KeyRecord:
            await self._demand.require_within(change, entry.key.key_id)
            return await succeed(change, version)

        rotated = await self._births.bear(passage, entry.key, request_id, arguments, commit)
        failpoints.reach("rotate.3")
        return rotated

    async def _turn(
        self, passage: Passage, key_id: str, etag: str, request_id: str, arguments: object
    ) -> KeyRecord:
        """Rotate an imported key to the material that waits for it."""

        async def work(change: Change) -> KeyRecord:
            rotated = await turn(change, key_id, etag, self._demand.require_within)
            failpoints.reach("rotate-imported.1")
            return rotated

        rotated = await self._mutations.once(passage, KeyRecord, request_id, arguments, work)
        failpoints.reach("rotate-imported.2")
        return rotated

    @gated(Action.LIST_KEY_VERSIONS)
    async def versions(self, passage: Passage, key: str, size: int = 0, token: str = "") -> VersionPage:
        """List a key's versions, oldest first."""
        entry = await passage.claim(key, Act.READ)
        limit, binding = pages.page_size(size), (*pages.asker(passage), entry.arn)
        after = pages.decode_number(token, *binding)
        stored = await self._store.versions(entry.key.key_id)
        records = [await self._mutations.ledger.verify(s) for s in stored]
        shown = [r for r in records if r.state in SHOWN and r.version > after]
        more = len(shown) > limit
        next_token = pages.encode(str(shown[limit - 1].version), *binding) if more else ""
        return VersionPage(entry.key, shown[:limit], next_token)

    @gated(Action.GET_PUBLIC_KEY)
    async def public_key(self, passage: Passage, key: str, version: int = 0) -> PublicKey:
        """Give the public half of a key pair."""
        entry = await passage.claim(key, Act.USE)
        if SPECS[entry.key.spec].family in (KeyFamily.AES, KeyFamily.HMAC):
            raise StrongroomError(Reason.INVALID_KEY_USAGE, "only key pairs have a public key")
        bound = await self._catalog.version(entry, version)
        passage.facts["version"] = bound.version
        return PublicKey(entry.key, entry.arn, bound.version, bound.record.public_key)

    @gated(Action.GET_KEY_POLICY)
    async def get_policy(self, passage: Passage, key: str) -> KeyRecord:
        """Read a key's policy."""
        return (await passage.claim(key, Act.READ, bring=bringing.policy_name)).key

    @gated(Action.PUT_KEY_POLICY)
    async def put_policy(
        self,
        passage: Passage,
        key: str,
        text: str,
        etag: str = "",
        request_id: str = "",
        approval_id: str = "",
        *,
        bypass: bool = False,
    ) -> KeyRecord:
        """Replace a key's policy; in force in every worker within a second.

        Raises:
            StrongroomError: APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED for a protected key whose
                policy may become looser by this.
        """
        if not text:
            raise invalid("policy", "must not be empty")
        policy.parse(text)
        check_optional_id(approval_id)
        edit = KeyEdit(
            Act.POLICY,
            partial(self._with_policy, passage, text, bypass),
            [text, bypass],
            bring=partial(bringing.new_policy, bypass),
            guard=self._guards.policy(text, approval_id, bypass=bypass),
        )
        return await self._edits.make(passage, key, edit, etag, request_id)

    def _with_policy(self, passage: Passage, text: str, bypass: bool, current: KeyRecord) -> KeyRecord:  # noqa: FBT001 - bound by position
        """Settle a key's new policy; not earlier: who may not put it at all shall hear of nothing else."""
        arn = self._catalog.realm.key_arn(current.key_id, current.account)
        brought = bringing.of_policy(bypass=bypass)
        settled = settle_policy(self.gate.judge, passage.caller, text, Target(arn, current), brought)
        return dataclasses.replace(current, policy=settled)

    @gated(Action.TAG_KEY)
    async def tag(
        self, passage: Passage, key: str, tags: Tags, etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Add tags, or replace the values of those that are there."""
        if not tags:
            raise invalid("tags", "must not be empty")
        checked = check_tags(tags)
        bring = partial(bringing.new_tags, checked)
        edit = KeyEdit(Act.EDIT, partial(tagged, checked), checked, bring=bring)
        return await self._edits.make(passage, key, edit, etag, request_id)

    @gated(Action.UNTAG_KEY)
    async def untag(
        self, passage: Passage, key: str, tag_keys: tuple[str, ...], etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Remove tags; those that are not there are no error."""
        if not tag_keys:
            raise invalid("tag_keys", "must not be empty")
        if len(tag_keys) > MAX_TAGS:
            raise too_large("tag_keys", MAX_TAGS, "tags")
        for number, tag_key in enumerate(tag_keys):
            check_tag_key(f"tag_keys[{number}]", tag_key)
        unwanted, bring = frozenset(tag_keys), partial(bringing.old_tags, tag_keys)
        edit = KeyEdit(Act.EDIT, partial(untagged, unwanted), sorted(unwanted), bring=bring)
        return await self._edits.make(passage, key, edit, etag, request_id)

    @gated(Action.LIST_TAGS)
    async def tags(self, passage: Passage, key: str) -> KeyRecord:
        """List a key's tags."""
        return (await passage.claim(key, Act.READ)).key

    @gated(Action.GET_KEY_USAGE)
    async def usage(self, passage: Passage, key: str) -> tuple[Entry, list[Usage]]:
        """Say how often and when a key was used, by operation; other workers' counts lag some seconds."""
        entry = await passage.claim(key, Act.READ)
        return entry, await self.gate.usage.read(entry.key.key_id)
