"""Use cases of principals: make, describe, list, switch, delete, tag."""

import dataclasses
from dataclasses import dataclass

from strongroomd.custody import pages
from strongroomd.custody.accounts import new_principal
from strongroomd.custody.addresses import delete_key
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import Tags, check_etag, check_tag_key, check_tags
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.policysets import check_policy
from strongroomd.custody.registrar import Edit, Registrar, known, refuse_root, refuse_self
from strongroomd.domain import names
from strongroomd.domain.accounts import (
    AccessKeyRecord,
    AccountRecord,
    IdentityRecord,
    PrincipalKind,
    PrincipalRecord,
    PrincipalState,
    kind_of,
    role_seconds,
)
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.limits import MAX_PRINCIPALS, MAX_TAGS
from strongroomd.domain.policy import PolicyKind
from strongroomd.domain.principals import Principal
from strongroomd.domain.xks.names import is_store
from strongroomd.ports import Vault


@dataclass(frozen=True, slots=True)
class NewPrincipal:
    """What a caller wants made.

    Attributes:
        trusted: of a service: may say for whom it calls; only an operator grants that.
        trust_policy, max_session_seconds: of a role.
    """

    arn: str
    description: str = ""
    tags: Tags = ()
    trusted: bool = False
    trust_policy: str = ""
    max_session_seconds: int = 0


@dataclass(frozen=True, slots=True)
class PrincipalPage:
    """Principals of one page, and the token of the next (empty at the end)."""

    principals: list[PrincipalRecord]
    next_token: str


class Principals(UseCases):
    """Principals' management, by administrators of their account."""

    def __init__(self, gate: Gate, registrar: Registrar, vault: Vault) -> None:
        super().__init__(gate)
        self._registrar = registrar
        self._vault = vault

    @gated(Action.CREATE_PRINCIPAL)
    async def create(self, passage: Passage, wanted: NewPrincipal, request_id: str = "") -> PrincipalRecord:
        """Make a principal. Raises ALREADY_EXISTS, NOT_FOUND for an account that is none, LIMIT_EXCEEDED."""
        principal = self._registrar.claim(passage, wanted.arn)
        refuse_root(principal)
        if is_store(principal.arn):
            raise invalid("principal", "must not begin with service/xks/: those are external key stores")
        if wanted.trusted and not passage.caller.principal.operator:
            raise StrongroomError(Reason.ACCESS_DENIED, "only an operator may trust a service")
        record = await self._record(principal, wanted)

        async def work(change: Change) -> PrincipalRecord:
            known(await change.get(AccountRecord, principal.account), "principal")
            if await change.get(PrincipalRecord, principal.arn) is not None:
                raise StrongroomError(Reason.ALREADY_EXISTS, field="principal")
            if self._registrar.directory.population(principal.account) >= MAX_PRINCIPALS:
                text = f"an account has at most {MAX_PRINCIPALS} principals"
                raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
            await change.put(record)
            return record

        return await self._registrar.once(passage, PrincipalRecord, request_id, wanted, work)

    async def _record(self, principal: Principal, wanted: NewPrincipal) -> PrincipalRecord:
        kind = kind_of(principal)
        _check_kind(kind, wanted)
        now = self._registrar.mutations.clock.wall_ms()
        return dataclasses.replace(
            await new_principal(self._vault, principal.arn, kind, now),
            description=names.description(wanted.description),
            tags=check_tags(wanted.tags),
            trusted=wanted.trusted,
            trust_policy=wanted.trust_policy,
            max_session_seconds=(
                role_seconds(wanted.max_session_seconds) if kind is PrincipalKind.ROLE else 0
            ),
        )

    @gated(Action.DESCRIBE_PRINCIPAL)
    async def describe(self, passage: Passage, arn: str) -> PrincipalRecord:
        """Describe a principal. Raises NOT_FOUND."""
        return await self._registrar.read(passage, arn)

    @gated(Action.LIST_PRINCIPALS)
    async def list_principals(
        self,
        passage: Passage,
        account: str = "",
        kind: PrincipalKind | None = None,
        size: int = 0,
        token: str = "",
    ) -> PrincipalPage:
        """List an account's principals by ARN; no account means the caller's own."""
        own = names.account_id(account or passage.caller.principal.account)
        passage.claim_account(own)
        where = {"account": own} | ({"kind": kind.value} if kind else {})
        limit, binding = pages.page_size(size), (*pages.asker(passage), own, kind or "")
        after = pages.decode(token, *binding)
        ledger = self._registrar.mutations.ledger
        found, last = await ledger.page(PrincipalRecord, where, after=after, limit=limit)
        return PrincipalPage(found, pages.encode(last, *binding) if last else "")

    @gated(Action.DELETE_PRINCIPAL)
    async def delete(
        self, passage: Passage, arn: str, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Remove a principal with its identities and access keys; policies that name it keep the name."""
        principal = self._registrar.claim(passage, arn)
        refuse_root(principal)
        refuse_self(passage.caller, principal.arn)

        async def work(change: Change) -> PrincipalRecord:
            current = known(await change.get(PrincipalRecord, principal.arn))
            check_etag(current.row_version, etag)
            await _delete_all(change, principal.arn)
            await change.delete(current)
            return current

        bound = [principal.arn, etag]
        return await self._registrar.once(passage, PrincipalRecord, request_id, bound, work)

    @gated(Action.ENABLE_PRINCIPAL)
    async def enable(
        self, passage: Passage, arn: str, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Let a principal call again."""
        principal = self._registrar.claim(passage, arn)
        return await self._change(passage, principal, _to(PrincipalState.ENABLED), etag, request_id)

    @gated(Action.DISABLE_PRINCIPAL)
    async def disable(
        self, passage: Passage, arn: str, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Shut a principal out, whatever it proves itself by; sessions of a role end with it."""
        principal = self._registrar.claim(passage, arn)
        refuse_root(principal)
        refuse_self(passage.caller, principal.arn)
        return await self._change(passage, principal, _to(PrincipalState.DISABLED), etag, request_id)

    @gated(Action.TAG_PRINCIPAL)
    async def tag(
        self, passage: Passage, arn: str, tags: Tags, etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Add tags, replacing those of the same keys. Raises LIMIT_EXCEEDED over 50."""
        principal = self._registrar.claim(passage, arn)
        checked = check_tags(tags)
        if not checked:
            raise invalid("tags", "must not be empty")

        def edit(current: PrincipalRecord) -> PrincipalRecord:
            merged = dict(current.tags) | dict(checked)
            if len(merged) > MAX_TAGS:
                text = f"a principal has at most {MAX_TAGS} tags"
                raise StrongroomError(Reason.LIMIT_EXCEEDED, text, field="tags")
            return dataclasses.replace(current, tags=tuple(sorted(merged.items())))

        return await self._change(passage, principal, edit, etag, request_id, checked)

    @gated(Action.UNTAG_PRINCIPAL)
    async def untag(
        self, passage: Passage, arn: str, tag_keys: tuple[str, ...], etag: str = "", request_id: str = ""
    ) -> PrincipalRecord:
        """Remove tags; those that are not there are no error."""
        principal = self._registrar.claim(passage, arn)
        unwanted = _unwanted(tag_keys)

        def edit(current: PrincipalRecord) -> PrincipalRecord:
            return dataclasses.replace(current, tags=tuple(t for t in current.tags if t[0] not in unwanted))

        return await self._change(passage, principal, edit, etag, request_id, sorted(unwanted))

    async def _change(
        self,
        passage: Passage,
        principal: Principal,
        edit: Edit,
        etag: str,
        request_id: str,
        arguments: object = None,
    ) -> PrincipalRecord:
        return await self._registrar.change(passage, principal, edit, etag, request_id, arguments)


def _check_kind(kind: PrincipalKind, wanted: NewPrincipal) -> None:
    """Refuse what this kind of principal does not have."""
    if wanted.trusted and kind is not PrincipalKind.SERVICE:
        raise invalid("trusted", "works with services only")
    if kind is PrincipalKind.ROLE:
        if wanted.trust_policy:
            check_policy(wanted.trust_policy, PolicyKind.TRUST, "trust_policy")
        return
    if wanted.trust_policy:
        raise invalid("trust_policy", "works with roles only")
    if wanted.max_session_seconds:
        raise invalid("max_session_seconds", "works with roles only")


def _unwanted(tag_keys: tuple[str, ...]) -> frozenset[str]:
    if not tag_keys:
        raise invalid("tag_keys", "must not be empty")
    if len(tag_keys) > MAX_TAGS:
        raise too_large("tag_keys", MAX_TAGS, "tags")
    for number, tag_key in enumerate(tag_keys):
        check_tag_key(f"tag_keys[{number}]", tag_key)
    return frozenset(tag_keys)


def _to(state: PrincipalState) -> Edit:
    return lambda current: dataclasses.replace(current, state=state)


async def _delete_all(change: Change, arn: str) -> None:
    """Remove what speaks for a principal."""
    for stored in await change.transaction.find(IdentityRecord, {"arn": arn}):
        await change.delete(known(await change.get(IdentityRecord, stored.record.record_id)))
    for found in await change.transaction.find(AccessKeyRecord, {"arn": arn}):
        await delete_key(change, known(await change.get(AccessKeyRecord, found.record.record_id)))
