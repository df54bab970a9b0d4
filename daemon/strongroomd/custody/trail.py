"""Use cases of the audit log, for administrators: list, follow, take the newest signed checkpoint away."""

import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Any, Final

from strongroomd.custody import pages
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.history import signer_of
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.audit import Checkpoint
from strongroomd.domain.errors import Reason, StrongroomError, denied, invalid
from strongroomd.domain.principals import Caller, Principal, is_principal, is_session
from strongroomd.ports import AuditTrail, AuditWanted

Record = dict[str, Any]
_ACTION: Final = re.compile(r"[a-z]{1,32}:[A-Za-z]{1,64}", re.ASCII)
_OUTCOME: Final = re.compile(r"[A-Z][A-Z_]{1,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records of one page, newest last, and the token of the next (empty at the end)."""

    records: list[Record]
    next_token: str


@dataclass(frozen=True, slots=True)
class Question:
    """Which records are asked for, in the caller's words; an empty text asks for all.

    Attributes:
        key: any name of a key.
        principal: ARN of a principal or a role session.
        action, outcome: as records have them, e.g. `kms:Encrypt`, `ACCESS_DENIED`.
        since, until: RFC 3339 in UTC with milliseconds; at or after the first, before the second.
    """

    key: str = ""
    principal: str = ""
    action: str = ""
    outcome: str = ""
    since: str = ""
    until: str = ""


ALL: Final = Question()


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint, its signature (ECDSA P-256 SHA-256, DER) and the key that verifies it (DER SPKI)."""

    checkpoint: Checkpoint
    signature: bytes
    public_key: bytes


class Trail(UseCases):
    """Reading the audit log: an operator all of it, an administrator what concerns their own account."""

    def __init__(
        self,
        gate: Gate,
        catalog: Catalog,
        trail: AuditTrail,
        checkpoint_keys: Callable[[], Iterable[bytes]],
        page_key: bytes,
    ) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._trail = trail
        self._checkpoint_keys = checkpoint_keys
        self._tokens = pages.SealedTokens(page_key)

    async def _wanted(self, passage: Passage, question: Question) -> AuditWanted:
        caller = passage.caller.principal
        _check(question)
        return AuditWanted(
            key=await self._arn(caller, question.key) if question.key else "",
            principal=question.principal,
            action=question.action,
            outcome=question.outcome,
            since=question.since,
            until=question.until,
            account="" if caller.operator else caller.account,
        )

    async def _arn(self, principal: Principal, key: str) -> str:
        """Spell a key's ARN; a key that is no more still has records, an alias means a key that is there."""
        realm = self._catalog.realm
        name = realm.parse_key(key, principal.account)
        if name.account != principal.account and not principal.operator:
            raise denied("the key is of another account")
        if name.key_id:
            return realm.key_arn(name.key_id, name.account)
        return (await self._catalog.find(principal.account, key)).arn

    def require_right(self, caller: Caller) -> None:
        """Refuse who may not follow the log any more. Raises ACCESS_DENIED."""
        decision = self.gate.judge.decide_keyless(caller, Action.TAIL_AUDIT_RECORDS)
        if not decision.allowed:
            raise denied(decision.ground)

    @gated(Action.LIST_AUDIT_RECORDS)
    async def list_records(
        self, passage: Passage, question: Question = ALL, size: int = 0, token: str = ""
    ) -> RecordPage:
        """Look for records in all chains, verified on the way; a page may be short or empty."""
        passage.claim_keyless()
        wanted = await self._wanted(passage, question)
        limit = pages.page_size(size)
        binding = (*pages.asker(passage), *astuple(wanted))
        page = await self._trail.page(wanted, after=self._tokens.decode(token, *binding), limit=limit)
        return RecordPage(page.records, self._tokens.encode(page.after, *binding) if page.after else "")

    async def tail(self, caller: Caller, key: str = "", principal: str = "") -> AsyncIterator[Record]:
        """Follow the log; the right to is decided and audited before the first record."""
        wanted = await self._begin_tail(caller, Question(key, principal))
        async for record in self._trail.tail(wanted):
            yield record

    @gated(Action.TAIL_AUDIT_RECORDS)
    async def _begin_tail(self, passage: Passage, question: Question) -> AuditWanted:
        passage.claim_keyless()
        return await self._wanted(passage, question)

    @gated(Action.GET_AUDIT_CHECKPOINT)
    async def checkpoint(self, passage: Passage) -> SignedCheckpoint:
        """Give the newest signed checkpoint, to be kept off the host. Raises AUDIT_UNAVAILABLE for none."""
        passage.claim_keyless()
        newest = await self._trail.newest()
        if newest is None:
            raise StrongroomError(Reason.AUDIT_UNAVAILABLE, "no checkpoint was signed yet", retry_after=1.0)
        signer = signer_of(self._checkpoint_keys(), newest[0].message(), newest[1])
        if signer is None:  # made by another worker under a key that this one has not taken up yet
            raise StrongroomError(
                Reason.AUDIT_UNAVAILABLE, "the checkpoint key just changed", retry_after=1.0
            )
        return SignedCheckpoint(newest[0], newest[1], signer)


def _check(question: Question) -> None:
    """Refuse what no record can have. Raises INVALID_FIELD."""
    arn = question.principal
    if arn and not (is_principal(arn) or is_session(arn)):
        raise invalid("principal", "must be the ARN of a principal or of a role session")
    if question.action and not _ACTION.fullmatch(question.action):
        raise invalid("action", "must be an action as records have it, such as kms:Encrypt")
    if question.outcome and not _OUTCOME.fullmatch(question.outcome):
        raise invalid("outcome", "must be OK, PENDING, CANCELLED, UNCHANGED or an error reason")
    if question.until and question.until <= question.since:
        raise invalid("until", "must be later than since")
