"""Use cases of registered wrapping keys: register under dual control, list, remove.

An RSA one is a recipient's public key with a name. An AES one is made in the HSM, where it does nothing but
wrap, and given to the recipient once, wrapped to its RSA key: from then on exports are AES-KWP under it.
"""

from dataclasses import dataclass

from strongroomd.custody import guarded, pages
from strongroomd.custody.admission import Lane
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.subjects import Registration
from strongroomd.domain import exporting
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import SharedKey, WrappingKeyKind, WrappingKeyRecord
from strongroomd.ports import Vault


@dataclass(frozen=True, slots=True)
class WrappingKeyPage:
    """Wrapping keys of one page, and the token of the next (empty at the end)."""

    keys: list[WrappingKeyRecord]
    next_token: str


class WrappingKeys(UseCases):
    """Registered wrapping keys.

    Args:
        gate: the one way in.
        control: dual control.
        vault: makes shared keys.
    """

    def __init__(self, gate: Gate, control: DualControl, vault: Vault) -> None:
        super().__init__(gate)
        self._control = control
        self._mutations = control.mutations
        self._vault = vault

    @gated(Action.REGISTER_WRAPPING_KEY)
    async def register(
        self, passage: Passage, wanted: Registration, approval_id: str, request_id: str = ""
    ) -> WrappingKeyRecord:
        """Register a wrapping key of the caller's account, which an approved request for it allows."""
        passage.claim_keyless()
        account = passage.caller.principal.account
        arguments = [account, wanted.name, wanted.kind, wanted.public_key.hex(), approval_id]
        found = await self._mutations.earlier(passage, WrappingKeyRecord, request_id, arguments)
        if found is None:
            await self._examine(passage, account, wanted, approval_id)
            draft = await self._draft(passage, account, wanted)

            async def work(change: Change) -> WrappingKeyRecord:
                await self._require_room(change, account)
                quorum = await self._control.quorum_of(account)
                act = guarded.wrapping_key(account, quorum, wanted.name, wanted.kind, wanted.public_key)
                await self._control.spend(passage, change, approval_id, act)
                await change.put(draft)
                return draft

            found = await self._mutations.once(passage, WrappingKeyRecord, request_id, arguments, work)
        passage.facts["wrapping_key"] = found.wrapping_key_id
        whole = await self._mutations.ledger.read(WrappingKeyRecord, found.wrapping_key_id)
        return whole or found

    async def _examine(self, passage: Passage, account: str, wanted: Registration, approval_id: str) -> None:
        """Refuse what is not approved before the HSM makes a key for it."""
        if not approval_id:
            raise StrongroomError(Reason.APPROVAL_REQUIRED, field="approval_id")
        record = await self._control.read(passage, approval_id)
        quorum = await self._control.quorum_of(account)
        act = guarded.wrapping_key(account, quorum, wanted.name, wanted.kind, wanted.public_key)
        await self._control.examine(passage, record, act)

    async def _draft(self, passage: Passage, account: str, wanted: Registration) -> WrappingKeyRecord:
        shared = SharedKey("", b"", b"")
        if wanted.kind is WrappingKeyKind.AES:
            job = self._vault.share_wrapping_key(wanted.public_key, deadline=passage.deadline)
            shared = await passage.work(Lane.RSA, job)
        return WrappingKeyRecord(
            wrapping_key_id=f"wk-{(await self._vault.random(exporting.WRAPPING_KEY_BYTES)).hex()}",
            account=account,
            name=wanted.name,
            kind=wanted.kind,
            public_key=wanted.public_key,
            kek_id=shared.kek_id,
            blob=shared.blob,
            transport=shared.transport,
            registered_by=passage.caller.principal.arn,
            created_at=self._mutations.clock.wall_ms(),
        )

    async def _require_room(self, change: Change, account: str) -> None:
        there = await change.transaction.how_many(WrappingKeyRecord, {"account": account})
        if there >= exporting.MAX_WRAPPING_KEYS:
            text = f"an account has at most {exporting.MAX_WRAPPING_KEYS} wrapping keys"
            raise StrongroomError(Reason.LIMIT_EXCEEDED, text)

    @gated(Action.LIST_WRAPPING_KEYS)
    async def list_wrapping_keys(self, passage: Passage, size: int = 0, token: str = "") -> WrappingKeyPage:
        """List the account's wrapping keys."""
        passage.claim_keyless()
        account = {"account": passage.caller.principal.account}
        limit, binding = pages.page_size(size), pages.asker(passage)
        after = pages.decode(token, *binding)
        found, last = await self._mutations.ledger.page(WrappingKeyRecord, account, after=after, limit=limit)
        return WrappingKeyPage(found, pages.encode(last, *binding) if last else "")

    @gated(Action.REMOVE_WRAPPING_KEY)
    async def remove(self, passage: Passage, wrapping_key_id: str, request_id: str = "") -> WrappingKeyRecord:
        """Remove a wrapping key; requests that name it cannot be executed any more."""
        checked = exporting.wrapping_key_id(wrapping_key_id)
        passage.facts["wrapping_key"] = checked
        passage.claim_keyless()

        async def work(change: Change) -> WrappingKeyRecord:
            record = await change.get(WrappingKeyRecord, checked)
            if record is None or record.account != passage.caller.principal.account:
                raise StrongroomError(Reason.NOT_FOUND, field="wrapping_key_id")
            await change.delete(record)
            return record

        return await self._mutations.once(passage, WrappingKeyRecord, request_id, [checked], work)
