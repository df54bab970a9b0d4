"""Who is who, in memory: principals, what speaks for them, and what is attached to them.

What is held follows the journal (`mirror`). A record that cannot be believed shuts out whom it is about: to
forget it would enable a disabled principal of the configuration, or lift a guard rail.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

from strongroomd.custody.ledger import Ledger
from strongroomd.custody.mirror import Mirror
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
from strongroomd.ports import JournalEntry, Store

_KINDS: Final[tuple[type[Record], ...]] = (AccountRecord, PrincipalRecord, IdentityRecord, AccessKeyRecord)


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
        self._inhabitants: dict[str, set[str]] = {}
        self._configured: Mapping[str, Principal] = {}
        self._standings: dict[str, Standing] = {}
        self._trusts: dict[str, Authority] = {}
        self._mirror = Mirror(ledger, store, _KINDS, self._changed)
        ledger.watch(self._noticed)

    def use_configured(self, principals: Iterable[Principal]) -> None:
        """Take over whom the configuration names: they need no record, and some are administrators."""
        self._configured = {principal.arn: principal for principal in principals}
        self.generation += 1

    # --- following

    async def start(self) -> None:
        """Read everything, once the ledger has the whole journal."""
        await self._mirror.start()
        for arn in self._ledger.known(PrincipalRecord):
            self._count(arn, exists=True)

    def require_fresh(self) -> None:
        """Refuse while what others changed cannot be known, or not be read. Raises STORE_UNAVAILABLE."""
        self._mirror.require_fresh()

    async def refresh(self) -> None:
        """Read what the journal says has changed; what cannot be read now is tried again."""
        await self._mirror.refresh()

    async def catch_up(self) -> None:
        """Learn at once what other workers have changed; for what happens seldom and must not be late."""
        await self._mirror.catch_up()

    def _noticed(self, entry: JournalEntry) -> None:
        if entry.kind == PrincipalRecord.KIND:
            self._count(entry.record_id, exists=entry.row_version > 0)

    def _count(self, arn: str, *, exists: bool) -> None:
        inhabitants = self._inhabitants.setdefault(arn.split(":", 5)[4], set())
        (inhabitants.add if exists else inhabitants.discard)(arn)

    def _changed(self, kind: type[Record], record_id: str, _record: Record | None) -> None:
        self._trusts.pop(record_id, None)
        self._standings.pop(record_id, None)
        if kind is AccountRecord:
            self._standings.clear()
        self.generation += 1

    # --- answers

    def account(self, account: str) -> AccountRecord | None:
        """Give an account."""
        found: AccountRecord | None = self._mirror.held[AccountRecord].get(account)
        return found

    def principal(self, arn: str) -> PrincipalRecord | None:
        """Give a principal's record."""
        found: PrincipalRecord | None = self._mirror.held[PrincipalRecord].get(arn)
        return found

    def access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """Give an access key."""
        found: AccessKeyRecord | None = self._mirror.held[AccessKeyRecord].get(access_key_id)
        return found

    def accounts(self) -> int:
        """Count the accounts, as the journal has them."""
        return len(self._ledger.known(AccountRecord))

    def population(self, account: str) -> int:
        """Count an account's principals, as the journal has them."""
        return len(self._inhabitants.get(account, ()))

    def holder(self, identities: Iterable[str]) -> str:
        """Give the ARN of the principal that the first known of some identities speaks for; else nothing."""
        bound: dict[str, IdentityRecord] = self._mirror.held[IdentityRecord]
        return next((bound[identity].arn for identity in identities if identity in bound), "")

    def admit(self, arn: str) -> Principal | None:
        """Give a principal that may call now; None for one that is disabled or unknown.

        Raises:
            StrongroomError: INTEGRITY_FAILURE if a record that decides about it is damaged.
        """
        configured = self._configured.get(arn)
        self._require_undamaged(arn)
        record = self.principal(arn)
        if record is None:
            return configured
        if record.state is PrincipalState.DISABLED:
            return None
        known = configured or parse_principal(arn, "arn")
        return dataclasses.replace(known, trusted=record.trusted, tags=record.tags)

    def require_whole(self, arn: str) -> None:
        """Refuse while it cannot be known what is attached to a principal, listed or not, and its account.

        Raises:
            StrongroomError: STORE_UNAVAILABLE, INTEGRITY_FAILURE.
        """
        self.require_fresh()
        self._require_undamaged(arn)

    def _require_undamaged(self, arn: str) -> None:
        account = arn.split(":", 5)[4]
        if (PrincipalRecord, arn) in self._mirror.damaged or (AccountRecord, account) in self._mirror.damaged:
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="a caller's record is damaged")

    def acting(self, known: Principal) -> Principal:
        """Give a principal in whose name the daemon itself acts, with what its record says of it.

        Raises:
            StrongroomError: ACCESS_DENIED for one that is disabled, or deleted and not of the configuration;
                INTEGRITY_FAILURE as of `admit`.
        """
        if not self.is_listed(known.arn):
            self._require_undamaged(known.arn)
            if known.arn not in self._configured and self._ledger.was_removed(PrincipalRecord, known.arn):
                raise denied("the principal was deleted")
            return known
        principal = self.admit(known.arn)
        if principal is None:
            raise denied("the principal is disabled")
        return principal

    def is_configured(self, arn: str) -> bool:
        """Say whether the configuration names a principal, which then needs no record."""
        return arn in self._configured

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
        return arn in self._mirror.held[PrincipalRecord]

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
