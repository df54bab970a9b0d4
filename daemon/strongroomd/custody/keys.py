"""Use cases of keys: create, describe, list, switch, rotate, schedule deletion, policy, tags, usage."""

import dataclasses
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing, pages
from strongroomd.custody.births import Births, born
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.judging import Bring
from strongroomd.custody.keyforms import (
    KeyFilter,
    NewKey,
    Tags,
    check_etag,
    check_tag_key,
    check_tags,
    filter_binding,
    is_wanted,
    settle_usage,
    where,
)
from strongroomd.custody.keypolicies import settle_policy
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.custody.rotation import succession
from strongroomd.domain import names, policy
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SPECS, KeyFamily
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import (
    DELETION_WINDOW_DEFAULT,
    DELETION_WINDOW_MAX,
    DELETION_WINDOW_MIN,
    MAX_TAGS,
)
from strongroomd.domain.policy import Resource
from strongroomd.domain.policy.circumstances import Target
from strongroomd.domain.records import (
    CustodyMode,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.tokens import MAIN, TokenNames
from strongroomd.ports import Store, Usage, Vault

_DAY_MS = 24 * 3600 * 1000


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
        tokens: where new keys may go.
    """

    def __init__(
        self,
        gate: Gate,
        catalog: Catalog,
        mutations: Mutations,
        births: Births,
        store: Store,
        vault: Vault,
        tokens: TokenNames | None = None,
    ) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._mutations = mutations
        self._births = births
        self._store = store
        self._vault = vault
        self._tokens = tokens or TokenNames()

    @gated(Action.CREATE_KEY)
    async def create(
        self, passage: Passage, wanted: NewKey, request_id: str = "", token: str = ""
    ) -> KeyRecord:
        """Create a key and its first version, in the token of that name."""
        usage = settle_usage(wanted.spec, wanted.usage)
        brought = bringing.new_key(wanted.spec, usage, wanted.tags, bypass=wanted.bypass_lockout_check)
        passage.claim_keyless(brought=brought)
        home = self._tokens.settle(token)
        # What was asked for before there were several tokens is still the same request.
        arguments = [wanted, token] if token else wanted
        key_id = str(uuid.UUID(bytes=await self._vault.random(16), version=4))
        account = passage.caller.principal.account
        name = Resource(self._catalog.realm.key_arn(key_id, account), account)
        key_policy = settle_policy(self.gate.judge, passage.caller, wanted.policy, name, brought)
        found = await self._mutations.earlier(passage, KeyRecord, request_id, arguments)
        if found is not None:
            return found
        mode, note = self._vault.placement(
            wanted.spec, usage, wanted.mode, exportable=wanted.exportable, token=home
        )
        key = KeyRecord(
            key_id=key_id,
            account=account,
            spec=wanted.spec,
            usage=usage,
            mode=mode,
            custody_note=note,
            origin=Origin.HSM,
            exportable=wanted.exportable,
            state=KeyState.CREATING,
            description=names.description(wanted.description),
            created_at=self._mutations.clock.wall_ms(),
            deletion_at=0,
            current_version=1,
            policy=key_policy,
            tags=check_tags(wanted.tags),
            token=home,
        )
        passage.note_key(name.arn)
        if home != MAIN:
            passage.facts["token"] = home

        async def commit(change: Change, version: VersionRecord) -> KeyRecord:
            made = born(key)
            await change.put(made)
            await change.put(version)
            return made

        return await self._births.bear(passage, key, request_id, arguments, commit)

    @gated(Action.DESCRIBE_KEY)
    async def describe(self, passage: Passage, key: str) -> KeyRecord:
        """Describe a key."""
        return (await passage.claim(key, Act.READ)).key

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

    async def _change(  # noqa: PLR0913, PLR0917 - what all changes of a key have
        self,
        passage: Passage,
        key: str,
        act: Act,
        edit: Callable[[KeyRecord], KeyRecord],
        etag: str,
        request_id: str,
        arguments: object = None,
        bring: Bring = bringing.nothing,
    ) -> KeyRecord:
        """Change one key's record: right, first answer, state, etag, edit; in that order."""
        entry = await passage.claim(key, Act.READ, bring=bring)
        key_id = entry.key.key_id

        async def work(change: Change) -> KeyRecord:
            current = await change.get(KeyRecord, key_id)
            if current is None:
                raise StrongroomError(Reason.ACCESS_DENIED)
            require(current.state, act)
            check_etag(current.row_version, etag)
            edited = dataclasses.replace(edit(current), row_version=current.row_version + 1)
            await change.put(edited)
            return edited

        return await self._mutations.once(passage, KeyRecord, request_id, [key_id, etag, arguments], work)

    @gated(Action.UPDATE_KEY_DESCRIPTION)
    async def update_description(
        self, passage: Passage, key: str, text: str, etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Replace a key's description."""
        checked = names.description(text)

        def edit(current: KeyRecord) -> KeyRecord:
            return dataclasses.replace(current, description=checked)

        return await self._change(passage, key, Act.EDIT, edit, etag, request_id, checked)

    @gated(Action.ENABLE_KEY)
    async def enable(self, passage: Passage, key: str, etag: str = "", request_id: str = "") -> KeyRecord:
        """Let a disabled key be used again."""
        return await self._change(passage, key, Act.SWITCH, _to(KeyState.ENABLED), etag, request_id)

    @gated(Action.DISABLE_KEY)
    async def disable(self, passage: Passage, key: str, etag: str = "", request_id: str = "") -> KeyRecord:
        """Stop a key from being used; in every worker within a second."""
        return await self._change(passage, key, Act.SWITCH, _to(KeyState.DISABLED), etag, request_id)

    @gated(Action.SCHEDULE_KEY_DELETION)
    async def schedule_deletion(
        self, passage: Passage, key: str, days: int = 0, etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Let a key be destroyed after 7 to 30 days (0: 30); it cannot be used meanwhile."""
        window = days or DELETION_WINDOW_DEFAULT
        if not DELETION_WINDOW_MIN <= window <= DELETION_WINDOW_MAX:
            raise invalid(
                "pending_window_days", f"must be from {DELETION_WINDOW_MIN} to {DELETION_WINDOW_MAX}"
            )
        due = self._mutations.clock.wall_ms() + window * _DAY_MS

        def edit(current: KeyRecord) -> KeyRecord:
            return dataclasses.replace(current, state=KeyState.PENDING_DELETION, deletion_at=due)

        bring = partial(bringing.deletion, window)
        found = await self._change(passage, key, Act.SCHEDULE_DELETION, edit, etag, request_id, window, bring)
        if found.mode is CustodyMode.ADOPTED:
            passage.facts["object_stays_in_token"] = True
        return found

    @gated(Action.CANCEL_KEY_DELETION)
    async def cancel_deletion(
        self, passage: Passage, key: str, etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Take a scheduled deletion back; the key is then disabled."""

        def edit(current: KeyRecord) -> KeyRecord:
            return dataclasses.replace(current, state=KeyState.DISABLED, deletion_at=0)

        return await self._change(passage, key, Act.CANCEL_DELETION, edit, etag, request_id)

    @gated(Action.ROTATE_KEY)
    async def rotate(self, passage: Passage, key: str, etag: str = "", request_id: str = "") -> KeyRecord:
        """Make a new version that encrypts and signs from now on; old ones still decrypt and verify."""
        entry = await passage.claim(key, Act.READ)
        arguments = [entry.key.key_id, etag]
        found = await self._mutations.earlier(passage, KeyRecord, request_id, arguments)
        if found is not None:
            return found
        _refuse_adopted(entry.key)
        require(entry.key.state, Act.ROTATE)
        check_etag(entry.key.row_version, etag)
        commit = succession(entry.key.key_id, etag)
        return await self._births.bear(passage, entry.key, request_id, arguments, commit)

    @gated(Action.LIST_KEY_VERSIONS)
    async def versions(self, passage: Passage, key: str, size: int = 0, token: str = "") -> VersionPage:
        """List a key's versions, oldest first."""
        entry = await passage.claim(key, Act.READ)
        limit, binding = pages.page_size(size), (*pages.asker(passage), entry.arn)
        after = pages.decode_number(token, *binding)
        stored = await self._store.versions(entry.key.key_id)
        records = [await self._mutations.ledger.verify(s) for s in stored]
        shown = [r for r in records if r.state in _SHOWN and r.version > after]
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
        *,
        bypass: bool = False,
    ) -> KeyRecord:
        """Replace a key's policy; in force in every worker within a second."""
        if not text:
            raise invalid("policy", "must not be empty")
        policy.parse(text)

        def edit(current: KeyRecord) -> KeyRecord:
            # Not earlier: whoever may not put this policy at all shall hear of nothing else.
            target = Target(self._catalog.realm.key_arn(current.key_id, current.account), current)
            brought = bringing.of_policy(bypass=bypass)
            settled = settle_policy(self.gate.judge, passage.caller, text, target, brought)
            return dataclasses.replace(current, policy=settled)

        bring = partial(bringing.new_policy, bypass)
        return await self._change(passage, key, Act.POLICY, edit, etag, request_id, [text, bypass], bring)

    @gated(Action.TAG_KEY)
    async def tag(
        self, passage: Passage, key: str, tags: Tags, etag: str = "", request_id: str = ""
    ) -> KeyRecord:
        """Add tags, or replace the values of those that are there."""
        if not tags:
            raise invalid("tags", "must not be empty")
        checked = check_tags(tags)

        def edit(current: KeyRecord) -> KeyRecord:
            merged = dict(current.tags) | dict(checked)
            if len(merged) > MAX_TAGS:
                raise StrongroomError(
                    Reason.LIMIT_EXCEEDED, f"a key has at most {MAX_TAGS} tags", field="tags"
                )
            return dataclasses.replace(current, tags=tuple(sorted(merged.items())))

        bring = partial(bringing.new_tags, checked)
        return await self._change(passage, key, Act.EDIT, edit, etag, request_id, checked, bring)

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
        unwanted = frozenset(tag_keys)

        def edit(current: KeyRecord) -> KeyRecord:
            return dataclasses.replace(current, tags=tuple(t for t in current.tags if t[0] not in unwanted))

        bring = partial(bringing.old_tags, tag_keys)
        return await self._change(passage, key, Act.EDIT, edit, etag, request_id, sorted(unwanted), bring)

    @gated(Action.LIST_TAGS)
    async def tags(self, passage: Passage, key: str) -> KeyRecord:
        """List a key's tags."""
        return (await passage.claim(key, Act.READ)).key

    @gated(Action.GET_KEY_USAGE)
    async def usage(self, passage: Passage, key: str) -> tuple[Entry, list[Usage]]:
        """Say how often and when a key was used, by operation; other workers' counts lag some seconds."""
        entry = await passage.claim(key, Act.READ)
        return entry, await self.gate.usage.read(entry.key.key_id)


_SHOWN = frozenset({VersionState.ACTIVE, VersionState.MISSING})


def _refuse_adopted(key: KeyRecord) -> None:
    """Refuse to make a version of a key whose versions are other people's objects."""
    if key.mode is CustodyMode.ADOPTED:
        raise StrongroomError(
            Reason.INVALID_KEY_STATE,
            "the daemon makes no versions of an adopted key: adopt another object as its next one",
        )


def _to(state: KeyState) -> Callable[[KeyRecord], KeyRecord]:
    def edit(current: KeyRecord) -> KeyRecord:
        return dataclasses.replace(current, state=state)

    return edit
