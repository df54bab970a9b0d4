"""Use cases of accounts, the tenants: make, describe, list; and guard rails, which nobody in one exceeds."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from strongroomd.custody import pages
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.policysets import check_policy, policy_named, with_policy, without_policy
from strongroomd.custody.registrar import Registrar, known, put_next
from strongroomd.domain import names
from strongroomd.domain.accounts import (
    AccountRecord,
    Pairs,
    PrincipalKind,
    PrincipalRecord,
    PrincipalState,
    policy_name,
)
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_ACCOUNTS
from strongroomd.domain.policy import PolicyKind
from strongroomd.ports import Vault


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Accounts of one page, and the token of the next (empty at the end)."""

    accounts: list[AccountRecord]
    next_token: str


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """A guard rail or identity policy, and the etag of what it is attached to."""

    name: str
    policy: str
    etag: str


class Accounts(UseCases):
    """Accounts' management; only an operator makes one, or sees another than their own."""

    def __init__(self, gate: Gate, registrar: Registrar, vault: Vault) -> None:
        super().__init__(gate)
        self._registrar = registrar
        self._vault = vault

    def _claim(self, passage: Passage, account: str) -> str:
        checked = names.account_id(account)
        passage.facts["resource"] = root_arn(checked)
        passage.claim_account(checked)
        return checked

    async def _read(self, passage: Passage, account: str) -> AccountRecord:
        checked = self._claim(passage, account)
        return known(await self._registrar.mutations.ledger.read(AccountRecord, checked), "account")

    @gated(Action.CREATE_ACCOUNT)
    async def create(
        self, passage: Passage, account: str, description: str = "", request_id: str = ""
    ) -> AccountRecord:
        """Make an account and its root principal. Raises ALREADY_EXISTS, LIMIT_EXCEEDED."""
        text = names.description(description)
        checked = self._claim(passage, account)
        now = self._registrar.mutations.clock.wall_ms()
        account_record = AccountRecord(checked, text, now, ())
        root = await new_principal(self._vault, root_arn(checked), PrincipalKind.ROOT, now)

        async def work(change: Change) -> AccountRecord:
            if await change.get(AccountRecord, checked) is not None:
                raise StrongroomError(Reason.ALREADY_EXISTS, field="account")
            if self._registrar.directory.accounts() >= MAX_ACCOUNTS:
                raise StrongroomError(Reason.LIMIT_EXCEEDED, f"there are {MAX_ACCOUNTS} accounts already")
            await change.put(account_record)
            await change.put(root)
            return account_record

        return await self._registrar.once(passage, AccountRecord, request_id, [checked, text], work)

    @gated(Action.DESCRIBE_ACCOUNT)
    async def describe(self, passage: Passage, account: str) -> AccountRecord:
        """Describe an account. Raises NOT_FOUND."""
        return await self._read(passage, account)

    @gated(Action.LIST_ACCOUNTS)
    async def list_accounts(self, passage: Passage, size: int = 0, token: str = "") -> AccountPage:
        """List the accounts that the caller administers: their own, or all for an operator."""
        passage.claim_keyless()
        principal = passage.caller.principal
        where = {} if principal.operator else {"account": principal.account}
        limit, binding = pages.page_size(size), pages.asker(passage)
        after = pages.decode(token, *binding)
        ledger = self._registrar.mutations.ledger
        found, last = await ledger.page(AccountRecord, where, after=after, limit=limit)
        return AccountPage(found, pages.encode(last, *binding) if last else "")

    @gated(Action.PUT_GUARD_RAIL)
    async def put_guard_rail(
        self, passage: Passage, account: str, name: str, text: str, etag: str = "", request_id: str = ""
    ) -> AccountRecord:
        """Attach a guard rail, or replace the one of its name: all in the account need its leave."""
        checked, label = self._claim(passage, account), policy_name(name)
        check_policy(text, PolicyKind.GUARD_RAIL)
        return await self._change(
            passage, checked, lambda rails: with_policy(rails, label, text), etag, request_id, [label, text]
        )

    @gated(Action.DELETE_GUARD_RAIL)
    async def delete_guard_rail(
        self, passage: Passage, account: str, name: str, etag: str = "", request_id: str = ""
    ) -> AccountRecord:
        """Take a guard rail away. Raises NOT_FOUND."""
        checked, label = self._claim(passage, account), policy_name(name)
        return await self._change(
            passage, checked, lambda rails: without_policy(rails, label), etag, request_id, label
        )

    @gated(Action.GET_GUARD_RAIL)
    async def get_guard_rail(self, passage: Passage, account: str, name: str) -> NamedPolicy:
        """Read a guard rail. Raises NOT_FOUND."""
        label = policy_name(name)
        record = await self._read(passage, account)
        return NamedPolicy(label, policy_named(record.guard_rails, label), str(record.row_version))

    @gated(Action.LIST_GUARD_RAILS)
    async def list_guard_rails(self, passage: Passage, account: str) -> AccountRecord:
        """List the names of an account's guard rails."""
        return await self._read(passage, account)

    async def _change(
        self,
        passage: Passage,
        account: str,
        edit: Callable[[Pairs], Pairs],
        etag: str,
        request_id: str,
        arguments: object,
    ) -> AccountRecord:
        async def work(change: Change) -> AccountRecord:
            current = known(await change.get(AccountRecord, account), "account")
            check_etag(current.row_version, etag)
            edited = dataclasses.replace(current, guard_rails=edit(current.guard_rails))
            changed: AccountRecord = current if edited == current else await put_next(change, edited)
            return changed

        bound = [account, arguments, etag]
        return await self._registrar.once(passage, AccountRecord, request_id, bound, work)


def root_arn(account: str) -> str:
    """Spell the ARN of an account's root."""
    return f"arn:aws:iam::{account}:root"


async def new_principal(vault: Vault, arn: str, kind: PrincipalKind, now: int) -> PrincipalRecord:
    """Make a principal's first record, with an id that no earlier principal of this name had."""
    return PrincipalRecord(
        arn=arn,
        account=arn.split(":", 5)[4],
        kind=kind,
        unique_id=(await vault.random(16)).hex(),
        state=PrincipalState.ENABLED,
        trusted=False,
        description="",
        created_at=now,
        tags=(),
        policies=(),
        trust_policy="",
        max_session_seconds=0,
        session_epoch=0,
    )
