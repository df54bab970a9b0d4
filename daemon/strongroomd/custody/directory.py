"""Who is who, in memory: principals, what speaks for them, and what is attached to them.

The ledger's journal tells what changed, `refresh` reads it, so that every worker follows within a second
and the one that took a change at once; no call waits for the database. What is gone is forgotten before
that. A record that cannot be believed shuts out whom it is about: to forget it would enable a disabled
principal of the configuration, or lift a guard rail.
"""

import asyncio
import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from strongroomd.custody.ledger import Ledger
from strongroomd.domain import policy
from strongroomd.domain.accounts import (
    AccessKeyRecord,
    AccountRecord,
    IdentityRecord,
    PrincipalRecord,
    PrincipalState,
)
from strongroomd.domain.errors import Reason, StrongroomError, denied
from strongroomd.domain.policy import PolicyKind, Resource
from strongroomd.domain.policy.evaluation import Authority, Standing
from strongroomd.domain.principals import Principal, parse_principal
from strongroomd.domain.protection import Record
from strongroomd.ports import JournalEntry, Store, Stored
from strongroomd.telemetry import logs

R = TypeVar("R", bound=Record)
_KINDS: Final[tuple[type[Record], ...]] = (AccountRecord, PrincipalRecord, IdentityRecord, AccessKeyRecord)
_BY_NAME: Final = {kind.KIND: kind for kind in _KINDS}
_log = logs.get("custody")


class Directory:
    """Everything about callers that a call needs.

    Args:
        ledger: verified reads, and word of every change.
        store: read as a whole at the start.

    Attributes:
        generation: rises with each change; who remembers an answer of the directory looks here first.
    """

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self.generation = 0
        self._ledger = ledger
        self._store = store
        self._held: dict[type[Record], dict[str, Any]] = {kind: {} for kind in _KINDS}
        self._unread: dict[tuple[type[Record], str], int] = {}
        self._inhabitants: dict[str, set[str]] = {}
        self._damaged: set[tuple[type[Record], str]] = set()
        self._configured: Mapping[str, Principal] = {}
        self._standings: dict[str, Standing] = {}
        self._trusts: dict[str, Authority] = {}
        self._reading = asyncio.Lock()
        self._behind_since = 0.0
        ledger.watch(self._changed)

    def use_configured(self, principals: Iterable[Principal]) -> None:
        """Take over whom the configuration names: they need no record, and some are administrators."""
        self._configured = {principal.arn: principal for principal in principals}
        self.generation += 1

    def require_fresh(self) -> None:
        """Refuse while what others changed cannot be known, or not be read. Raises STORE_UNAVAILABLE."""
        self._ledger.require_fresh()
        if self._unread and time.monotonic() - self._behind_since > self._ledger.stale_after:
            detail = "what is known to have changed cannot be read for too long"
            raise StrongroomError(Reason.STORE_UNAVAILABLE, retry_after=1.0, detail=detail)

    # --- following

    async def start(self) -> None:
        """Read everything, once the ledger has the whole journal."""
        for kind in _KINDS:
            for stored in await self._all(kind):
                await self._keep(stored)
            for record_id in self._ledger.known(kind):
                if record_id not in self._held[kind]:
                    self._unread[kind, record_id] = 0
        for arn in self._ledger.known(PrincipalRecord):
            self._count(arn, exists=True)
        await self.refresh()

    async def _all(self, kind: type[R]) -> list[Stored[R]]:
        """Read a whole kind; where one row is damaged none, so that `refresh` reads them one by one."""
        try:
            return await self._store.all(kind)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            return []

    async def _keep(self, stored: Stored[Any]) -> None:
        try:
            record = await self._ledger.verify(stored)
        except StrongroomError as error:
            if error.reason not in {Reason.INTEGRITY_FAILURE, Reason.NOT_FOUND}:
                raise
            return  # damaged: read again, alone, and told of, by `refresh`; or deleted meanwhile
        self._held[type(record)][record.record_id] = record

    def _changed(self, entry: JournalEntry) -> None:
        kind = _BY_NAME.get(entry.kind)
        if kind is None:
            return
        if not self._unread:
            self._behind_since = time.monotonic()
        self._unread[kind, entry.record_id] = entry.sequence
        if kind is PrincipalRecord:
            self._count(entry.record_id, exists=entry.row_version > 0)
        if entry.row_version == 0:
            self._forget(kind, entry.record_id)

    def _count(self, arn: str, *, exists: bool) -> None:
        inhabitants = self._inhabitants.setdefault(arn.split(":", 5)[4], set())
        (inhabitants.add if exists else inhabitants.discard)(arn)

    async def refresh(self) -> None:
        """Read what the journal says has changed; what cannot be read now is tried again."""
        async with self._reading:
            while self._unread:
                (kind, record_id), change = next(iter(self._unread.items()))
                try:
                    await self._read(kind, record_id)
                except BaseException:
                    self._unread[kind, record_id] = self._unread.pop((kind, record_id))  # others first
                    raise
                if self._unread[kind, record_id] == change:  # else it changed again meanwhile
                    del self._unread[kind, record_id]

    async def catch_up(self) -> None:
        """Learn at once what other workers have changed; for what happens seldom and must not be late."""
        await self._ledger.follow()
        await self.refresh()

    async def _read(self, kind: type[Record], record_id: str) -> None:
        try:
            record = await self._ledger.read(kind, record_id)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            _log.error("a caller's record is damaged; whom it is about is shut out", kind=kind.KIND)
            self._forget(kind, record_id)
            self._damaged.add((kind, record_id))
            return
        self._forget(kind, record_id)
        if record is not None:
            self._held[kind][record_id] = record

    def _forget(self, kind: type[Record], record_id: str) -> None:
        self._held[kind].pop(record_id, None)
        self._damaged.discard((kind, record_id))
        self._trusts.pop(record_id, None)
        self._standings.pop(record_id, None)
        if kind is AccountRecord:
            self._standings.clear()
        self.generation += 1

    # --- answers

    def account(self, account: str) -> AccountRecord | None:
        """Give an account."""
        found: AccountRecord | None = self._held[AccountRecord].get(account)
        return found

    def principal(self, arn: str) -> PrincipalRecord | None:
        """Give a principal's record."""
        found: PrincipalRecord | None = self._held[PrincipalRecord].get(arn)
        return found

    def access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """Give an access key."""
        found: AccessKeyRecord | None = self._held[AccessKeyRecord].get(access_key_id)
        return found

    def accounts(self) -> int:
        """Count the accounts, as the journal has them."""
        return len(self._ledger.known(AccountRecord))

    def population(self, account: str) -> int:
        """Count an account's principals, as the journal has them."""
        return len(self._inhabitants.get(account, ()))

    def holder(self, identities: Iterable[str]) -> str:
        """Give the ARN of the principal that the first known of some identities speaks for; else nothing."""
        bound: dict[str, IdentityRecord] = self._held[IdentityRecord]
        return next((bound[identity].arn for identity in identities if identity in bound), "")

    def admit(self, arn: str) -> Principal | None:
        """Give a principal that may call now; None for one that is disabled or unknown.

        Raises:
            StrongroomError: INTEGRITY_FAILURE if a record that decides about it is damaged.
        """
        configured = self._configured.get(arn)
        self._require_whole(arn)
        record = self.principal(arn)
        if record is None:
            return configured
        if record.state is PrincipalState.DISABLED:
            return None
        known = configured or parse_principal(arn, "arn")
        return dataclasses.replace(known, trusted=record.trusted, tags=record.tags)

    def _require_whole(self, arn: str) -> None:
        account = arn.split(":", 5)[4]
        if (PrincipalRecord, arn) in self._damaged or (AccountRecord, account) in self._damaged:
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="a caller's record is damaged")

    def acting(self, known: Principal) -> Principal:
        """Give a principal in whose name the daemon itself acts, with what its record says of it.

        Raises:
            StrongroomError: ACCESS_DENIED for one that is disabled, or deleted and not of the configuration;
                INTEGRITY_FAILURE as of `admit`.
        """
        if not self.is_listed(known.arn):
            self._require_whole(known.arn)
            if known.arn not in self._configured and self._ledger.was_removed(PrincipalRecord, known.arn):
                raise denied("the principal was deleted")
            return known
        principal = self.admit(known.arn)
        if principal is None:
            raise denied("the principal is disabled")
        return principal

    def is_operator(self, arn: str) -> bool:
        """Say whether the configuration names a principal as an operator."""
        configured = self._configured.get(arn)
        return configured is not None and configured.operator

    def is_administrator(self, arn: str) -> bool:
        """Say whether the configuration names a principal as an administrator."""
        configured = self._configured.get(arn)
        return configured is not None and configured.administrator

    def is_listed(self, arn: str) -> bool:
        """Say whether a principal has a record."""
        return arn in self._held[PrincipalRecord]

    def standing(self, arn: str) -> Standing:
        """Give what is attached to a principal and to its account, compiled."""
        found = self._standings.get(arn)
        if found is None:
            found = self._standings[arn] = self._compiled(arn)
        return found

    def _compiled(self, arn: str) -> Standing:
        record, account = self.principal(arn), self.account(arn.split(":", 5)[4])
        return Standing(
            identity=_policies(record.policies if record else (), PolicyKind.IDENTITY),
            guard_rails=_policies(account.guard_rails if account else (), PolicyKind.GUARD_RAIL),
        )

    def trust(self, role: PrincipalRecord) -> Authority:
        """Give who may assume a role, as its trust policy says."""
        found = self._trusts.get(role.arn)
        if found is None:
            text = policy.compiled(role.trust_policy, PolicyKind.TRUST, "trust policy")
            found = self._trusts[role.arn] = Authority(text, Resource(role.arn, role.account))
        return found


def _policies(texts: Iterable[tuple[str, str]], kind: PolicyKind) -> tuple[policy.Policy, ...]:
    return tuple(policy.compiled(text, kind, name) for name, text in texts)
