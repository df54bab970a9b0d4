"""Use cases of the audit log, for administrators: list, follow, take the newest signed checkpoint away."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from strongroomd.custody import pages
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.gate import Gate, Passage, UseCases, gated
from strongroomd.domain.actions import Action
from strongroomd.domain.audit import Checkpoint
from strongroomd.domain.errors import Reason, StrongroomError, denied
from strongroomd.domain.principals import Caller, parse_principal
from strongroomd.ports import AuditTrail, AuditWanted

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records of one page, newest last, and the token of the next (empty at the end)."""

    records: list[Record]
    next_token: str


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint, its signature (ECDSA P-256 SHA-256, DER) and the key that verifies it (DER SPKI)."""

    checkpoint: Checkpoint
    signature: bytes
    public_key: bytes


class Trail(UseCases):
    """Reading the audit log: an operator all of it, an administrator what concerns their own account."""

    def __init__(self, gate: Gate, catalog: Catalog, trail: AuditTrail, checkpoint_key: bytes) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._trail = trail
        self._checkpoint_key = checkpoint_key

    async def _wanted(self, passage: Passage, key: str, principal: str, since: str) -> AuditWanted:
        arn = ""
        if key:
            arn = await self._arn(passage, key)
        if principal:
            parse_principal(principal, "principal")
        caller = passage.caller.principal
        return AuditWanted(arn, principal, since, "" if caller.operator else caller.account)

    async def _arn(self, passage: Passage, key: str) -> str:
        principal = passage.caller.principal
        entry = await self._catalog.find(principal.account, key)
        if entry.key.account != principal.account and not principal.operator:
            raise denied("the key is of another account")
        return entry.arn

    def require_right(self, caller: Caller) -> None:
        """Refuse who may not follow the log any more. Raises ACCESS_DENIED."""
        decision = self.gate.judge.decide_keyless(caller, Action.TAIL_AUDIT_RECORDS)
        if not decision.allowed:
            raise denied(decision.ground)

    @gated(Action.LIST_AUDIT_RECORDS)
    async def list_records(
        self,
        passage: Passage,
        key: str = "",
        principal: str = "",
        since: str = "",
        size: int = 0,
        token: str = "",
    ) -> RecordPage:
        """List records of all chains, verified on the way."""
        passage.claim_keyless()
        wanted = await self._wanted(passage, key, principal, since)
        limit = pages.page_size(size)
        binding = (*pages.asker(passage), wanted.key, wanted.principal, wanted.since)
        after = pages.decode(token, *binding)
        found = await self._trail.page(wanted, after=after, limit=limit + 1)
        shown = found[:limit]
        more = len(found) > limit
        return RecordPage(shown, pages.encode(shown[-1]["place"], *binding) if more else "")

    async def tail(self, caller: Caller, key: str = "", principal: str = "") -> AsyncIterator[Record]:
        """Follow the log; the right to is decided and audited before the first record."""
        wanted = await self._begin_tail(caller, key, principal)
        async for record in self._trail.tail(wanted):
            yield record

    @gated(Action.TAIL_AUDIT_RECORDS)
    async def _begin_tail(self, passage: Passage, key: str, principal: str) -> AuditWanted:
        passage.claim_keyless()
        return await self._wanted(passage, key, principal, "")

    @gated(Action.GET_AUDIT_CHECKPOINT)
    async def checkpoint(self, passage: Passage) -> SignedCheckpoint:
        """Give the newest signed checkpoint, to be kept off the host. Raises AUDIT_UNAVAILABLE for none."""
        passage.claim_keyless()
        newest = await self._trail.newest()
        if newest is None:
            raise StrongroomError(Reason.AUDIT_UNAVAILABLE, "no checkpoint was signed yet", retry_after=1.0)
        return SignedCheckpoint(newest[0], newest[1], self._checkpoint_key)
