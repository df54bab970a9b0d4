"""Use cases of identities: which facts of a client certificate speak for a principal."""

from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.registrar import Registrar, known, refuse_root
from strongroomd.domain.accounts import Fact, IdentityRecord, PrincipalRecord
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_IDENTITIES


class CertificateIdentities(UseCases):
    """Identities' management. An identity speaks for one principal in the whole daemon."""

    def __init__(self, gate: Gate, registrar: Registrar) -> None:
        super().__init__(gate)
        self._registrar = registrar

    @gated(Action.ADD_IDENTITY)
    async def add(self, passage: Passage, arn: str, fact: Fact, request_id: str = "") -> IdentityRecord:
        """Let a fact of certificates speak for a principal. Raises ALREADY_EXISTS, LIMIT_EXCEEDED."""
        principal = self._registrar.claim(passage, arn)
        refuse_root(principal)
        passage.facts["bound"] = fact.record_id
        now = self._registrar.mutations.clock.wall_ms()
        record = IdentityRecord(fact.kind, fact.value, fact.issuer, principal.arn, principal.account, now)

        async def work(change: Change) -> IdentityRecord:
            known(await change.get(PrincipalRecord, principal.arn))
            if await change.get(IdentityRecord, record.record_id) is not None:
                raise StrongroomError(Reason.ALREADY_EXISTS, field=fact.kind.value.lower())
            if len(await change.transaction.find(IdentityRecord, {"arn": principal.arn})) >= MAX_IDENTITIES:
                text = f"a principal has at most {MAX_IDENTITIES} identities"
                raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
            await change.put(record)
            return record

        bound = [principal.arn, record.record_id]
        return await self._registrar.once(passage, IdentityRecord, request_id, bound, work)

    @gated(Action.REMOVE_IDENTITY)
    async def remove(self, passage: Passage, arn: str, fact: Fact, request_id: str = "") -> IdentityRecord:
        """Take a fact of certificates away from a principal: within a second it speaks for nobody."""
        principal = self._registrar.claim(passage, arn)
        passage.facts["bound"] = fact.record_id

        async def work(change: Change) -> IdentityRecord:
            found = await change.get(IdentityRecord, fact.record_id)
            if found is None or found.arn != principal.arn:
                raise StrongroomError(Reason.NOT_FOUND, field=fact.kind.value.lower())
            await change.delete(found)
            return found

        bound = [principal.arn, fact.record_id]
        return await self._registrar.once(passage, IdentityRecord, request_id, bound, work)

    @gated(Action.LIST_IDENTITIES)
    async def list_identities(self, passage: Passage, arn: str) -> list[IdentityRecord]:
        """List a principal's identities, at most 20; those of the configuration are not among them."""
        principal = await self._registrar.read(passage, arn)
        ledger, where = self._registrar.mutations.ledger, {"arn": principal.arn}
        found, _ = await ledger.page(IdentityRecord, where, after="", limit=MAX_IDENTITIES)
        return found
