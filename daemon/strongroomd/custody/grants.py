"""Use cases of grants: what a key lends to one principal, besides its policy.

A child grant, made by who holds CreateGrant by a grant, is a grant of its own: it stays when its parent ends,
as in AWS KMS, and names the parent, so that whoever revokes one can find the others.
"""

import dataclasses
import re
from dataclasses import dataclass
from functools import partial
from typing import Final

from strongroomd.custody import bringing, pages
from strongroomd.custody.asking import Brought
from strongroomd.custody.catalog import Entry
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.granttokens import GrantTokens
from strongroomd.custody.ledger import Change
from strongroomd.custody.lending import Lending, grant_of
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain import grants as granting
from strongroomd.domain import names
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, denied, invalid
from strongroomd.domain.grants import NewGrant
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import MAX_GRANTS_PER_KEY
from strongroomd.domain.policy.request import Basis
from strongroomd.domain.principals import Caller, is_principal
from strongroomd.domain.records import GrantRecord, KeyRecord
from strongroomd.ports import Vault

_GRANT_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_GRANT_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant, and a token by which every worker knows it at once."""

    grant: GrantRecord
    token: str


@dataclass(frozen=True, slots=True)
class GrantPage:
    """Grants of one page, and the token of the next (empty at the end)."""

    grants: list[GrantRecord]
    next_token: str


@dataclass(frozen=True, slots=True)
class ToRetire:
    """Which grant its caller wants retired: by token, or by key and grant id."""

    token: str = ""
    key: str = ""
    grant_id: str = ""


class Grants(UseCases):
    """Create, list, retire and revoke grants.

    Args:
        gate: the one way in.
        mutations: idempotent changes.
        lending: grants in memory.
        tokens: grant tokens.
        vault: random ids.
    """

    def __init__(
        self, gate: Gate, mutations: Mutations, lending: Lending, tokens: GrantTokens, vault: Vault
    ) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._lending = lending
        self._tokens = tokens
        self._vault = vault

    @gated(Action.CREATE_GRANT)
    async def create(
        self, passage: Passage, key: str, wanted: NewGrant, request_id: str = "", *, dry_run: bool = False
    ) -> Granted:
        """Lend operations of a key to a principal.

        With a name, the same caller's same request gives the first grant again, and a token of its own.
        """
        bring = partial(bringing.new_grant, wanted, for_service(passage.caller))
        entry = await passage.claim(key, Act.READ, bring=bring)
        _check(wanted, entry)
        parent = passage.decided.ground if passage.decided.basis is Basis.GRANT_ALLOW else ""
        draft = self._draft(passage, entry, wanted, parent)
        _note(passage, draft)
        if dry_run:
            self._require_room(entry.key)
            passage.proceed(dry_run=True)
        grant = dataclasses.replace(draft, grant_id=(await self._vault.random(_GRANT_ID_BYTES)).hex())
        passage.facts["grant_id"] = grant.grant_id

        async def work(change: Change) -> GrantRecord:
            return await self._commit(change, grant)

        made = await self._mutations.once(passage, GrantRecord, request_id, [_nameless(draft)], work)
        passage.facts["grant_id"] = made.grant_id
        return Granted(made, await self._tokens.make(made.grant_id))

    def _draft(self, passage: Passage, entry: Entry, wanted: NewGrant, parent: str) -> GrantRecord:
        constraints, kind = wanted.constraints, wanted.constraints.type
        return GrantRecord(
            key_id=entry.key.key_id,
            account=entry.key.account,
            grant_id="",
            grantee=wanted.grantee,
            retiring=wanted.retiring,
            issuer=passage.caller.principal.arn,
            operations=",".join(operation_names(wanted.operations)),
            constraint_type=kind.value if kind else "",
            context=constraints.equals or constraints.subset or (),
            source_arn=constraints.source_arn,
            source_account=constraints.source_account,
            name=wanted.name,
            parent=parent,
            created_at=self._mutations.clock.wall_ms(),
        )

    async def _commit(self, change: Change, grant: GrantRecord) -> GrantRecord:
        key = await change.get(KeyRecord, grant.key_id)
        if key is None:
            raise denied("there is no such key any more")
        twin = await _twin(change, grant) if grant.name else None
        if twin is not None:
            return twin
        if grant.parent and not self._lending.record_id(grant.parent):
            raise denied("the parent grant ended meanwhile")
        self._require_room(key)
        await change.put(grant)
        return grant

    def _require_room(self, key: KeyRecord) -> None:
        require(key.state, Act.EDIT)
        if self._lending.count(key.key_id) >= MAX_GRANTS_PER_KEY:
            raise StrongroomError(Reason.LIMIT_EXCEEDED, f"a key has at most {MAX_GRANTS_PER_KEY} grants")

    @gated(Action.LIST_GRANTS)
    async def list_grants(
        self,
        passage: Passage,
        key: str,
        grant_id: str = "",
        grantee: str = "",
        size: int = 0,
        token: str = "",
    ) -> GrantPage:
        """List a key's grants, all, one, or those of a grantee, in an order that means nothing."""
        bring = partial(bringing.of_service, for_service(passage.caller))
        entry = await passage.claim(key, Act.READ, bring=bring)
        where = {"key_id": entry.key.key_id}
        if grant_id:
            where["grant_id"] = check_grant_id(grant_id)
        if grantee:
            where["grantee"] = _principal(grantee, "grantee_principal")
        return await self._page(passage, where, size, token)

    @gated(Action.LIST_RETIRABLE_GRANTS)
    async def list_retirable(
        self, passage: Passage, retiring: str, size: int = 0, token: str = ""
    ) -> GrantPage:
        """List the grants of all keys that name a retiring principal of the caller's account.

        A principal may ask for itself, an administrator for any of its account.
        """
        caller = passage.caller.principal
        if _principal(retiring, "retiring_principal") == caller.arn:
            passage.claim_own()
        else:
            passage.claim_keyless()
        if retiring.split(":")[4] != caller.account:
            raise denied("the retiring principal is of another account")
        return await self._page(passage, {"retiring": retiring}, size, token)

    async def _page(self, passage: Passage, where: dict[str, str], size: int, token: str) -> GrantPage:
        limit, binding = pages.page_size(size), (*pages.asker(passage), *where.values())
        after = pages.decode(token, *binding)
        ledger = self._mutations.ledger
        found, last = await ledger.page(GrantRecord, where, after=after, limit=limit)
        return GrantPage(found, pages.encode(last, *binding) if last else "")

    @gated(Action.RETIRE_GRANT)
    async def retire(
        self, passage: Passage, wanted: ToRetire, request_id: str = "", *, dry_run: bool = False
    ) -> GrantRecord:
        """End a grant that is not needed any more; the grant itself says who may."""
        arguments = dataclasses.astuple(_checked(wanted))
        found = await self._mutations.earlier(passage, GrantRecord, request_id, arguments)
        if found is not None:
            passage.proceed(dry_run=dry_run)
            return found
        grant_id = wanted.grant_id
        if wanted.token:
            grant_id = await self._tokens.named(wanted.token, "grant_token")

        async def bring(entry: Entry) -> Brought:
            record = await self._lending.find(grant_id, entry.key.key_id)
            return bringing.retirement(grant_of(record) if record else None, entry)

        if wanted.token:
            key_id = self._lending.record_id(grant_id).partition("/")[0]
            if not key_id:
                raise denied("the grant ended already")
            await passage.claim_id(key_id, Act.POLICY, bring=bring)
        else:
            await passage.claim(wanted.key, Act.POLICY, bring=bring)
        return await self._end(passage, grant_id, request_id, arguments, dry_run=dry_run)

    @gated(Action.REVOKE_GRANT)
    async def revoke(
        self, passage: Passage, key: str, grant_id: str, request_id: str = "", *, dry_run: bool = False
    ) -> GrantRecord:
        """Take back what a key lends by a grant; whoever used it is refused from now on."""
        check_grant_id(grant_id)
        bring = partial(bringing.of_service, for_service(passage.caller))
        entry = await passage.claim(key, Act.POLICY, bring=bring)
        arguments = [entry.key.key_id, grant_id]
        found = await self._mutations.earlier(passage, GrantRecord, request_id, arguments)
        if found is not None:
            passage.proceed(dry_run=dry_run)
            return found
        if await self._lending.find(grant_id, entry.key.key_id) is None:
            raise StrongroomError(Reason.NOT_FOUND, "the key has no such grant", field="grant_id")
        return await self._end(passage, grant_id, request_id, arguments, dry_run=dry_run)

    async def _end(
        self, passage: Passage, grant_id: str, request_id: str, arguments: object, *, dry_run: bool
    ) -> GrantRecord:
        passage.facts["grant_id"] = grant_id
        passage.proceed(dry_run=dry_run)

        async def work(change: Change) -> GrantRecord:
            record_id = self._lending.record_id(grant_id)
            grant = await change.get(GrantRecord, record_id) if record_id else None
            if grant is None:
                raise StrongroomError(Reason.NOT_FOUND, "the grant ended meanwhile", field="grant_id")
            await change.delete(grant)
            return grant

        return await self._mutations.once(passage, GrantRecord, request_id, arguments, work)


def operation_names(operations: frozenset[Action]) -> list[str]:
    """Spell operations as AWS does."""
    return sorted(operation.removeprefix("kms:") for operation in operations)


def for_service(caller: Caller) -> bool:
    """Say whether a service calls for its own resource: kms:GrantIsForAWSResource."""
    return caller.principal.trusted


def check_grant_id(text: str, field: str = "grant_id") -> str:
    """Check a grant id: 64 hexadecimal digits in lower case."""
    if not _GRANT_ID.fullmatch(text):
        raise invalid(field, "must be 64 hexadecimal digits")
    return text


def _checked(wanted: ToRetire) -> ToRetire:
    if bool(wanted.token) == bool(wanted.key or wanted.grant_id):
        raise invalid("grant_token", "must be set, or else key and grant_id, and not both")
    if not wanted.token:
        check_grant_id(wanted.grant_id)
    return wanted


def _principal(arn: str, field: str) -> str:
    if not is_principal(arn):
        raise invalid(field, "must be arn:aws:iam::<account>:root, user/NAME, role/NAME or service/NAME")
    return arn


def _check(wanted: NewGrant, entry: Entry) -> None:
    """Check what is wanted of a key, once its caller may know the key."""
    granting.check(wanted, entry.key.spec, entry.key.usage)
    names.plain_text(wanted.name, "name")
    if wanted.constraints.source_arn:
        names.source_arn(wanted.constraints.source_arn, "constraints.source_arn")
    if wanted.constraints.source_account:
        names.account_id(wanted.constraints.source_account, "constraints.source_account")


def _note(passage: Passage, draft: GrantRecord) -> None:
    passage.facts["grantee"] = draft.grantee
    passage.facts["operations"] = draft.operations.split(",")


def _nameless(grant: GrantRecord) -> GrantRecord:
    """Leave out what tells a grant from its repetition."""
    return dataclasses.replace(grant, grant_id="", parent="", created_at=0)


async def _twin(change: Change, wanted: GrantRecord) -> GrantRecord | None:
    """Find the grant that the same request, by its name, made before."""
    where = {"key_id": wanted.key_id, "name": wanted.name, "grantee": wanted.grantee}
    for stored in await change.transaction.find(GrantRecord, where):
        if _nameless(stored.record) != _nameless(wanted):
            continue
        grant = await change.get(GrantRecord, stored.record.record_id)
        if grant is not None and _nameless(grant) == _nameless(wanted):
            return grant
    return None
