"""Use cases of key stores' credentials: what KMS signs a store's requests with.

A secret is made of the HSM's random numbers, shown once, and kept sealed. A store has up to eight at a time,
so that one replaces another without a pause: create, have KMS told, see that it is used, delete the old one.
"""

from dataclasses import dataclass, field

from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.secrets import SecretBox
from strongroomd.custody.xks.stores import StoreDesk, current
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.xks import names
from strongroomd.domain.xks.records import MAX_CREDENTIALS, CredentialRecord, StoreRecord
from strongroomd.ports import Vault

USE = "XksCredential"
"""How the uses of credentials are called in the table of uses."""


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A new credential; the secret is empty where the answer was given before.

    Attributes:
        uri_prefix: the store's, for the file that AWS's console reads.
    """

    record: CredentialRecord
    uri_prefix: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UsedCredential:
    """A credential and when it was last used, in ms since the Unix epoch; 0 for never."""

    record: CredentialRecord
    last_used: int


class Credentials(UseCases):
    """Credentials' management, by administrators of their store's account."""

    def __init__(self, gate: Gate, desk: StoreDesk, vault: Vault, box: SecretBox) -> None:
        super().__init__(gate)
        self._desk = desk
        self._vault = vault
        self._box = box

    @gated(Action.CREATE_KEY_STORE_CREDENTIAL)
    async def create(self, passage: Passage, store: str, request_id: str = "") -> NewCredential:
        """Make a credential. Raises LIMIT_EXCEEDED where the store has eight.

        Returns:
            The credential and, only this once, its secret.
        """
        claimed = await self._desk.claim(passage, store)
        secret = names.secret_of(await self._vault.random(names.SECRET_BYTES))
        draft = await self._draft(claimed, secret)

        async def work(change: Change) -> CredentialRecord:
            await current(passage, change, claimed.store_id)
            where = {"store_id": claimed.store_id}
            if await change.transaction.how_many(CredentialRecord, where) >= MAX_CREDENTIALS:
                text = f"a key store has at most {MAX_CREDENTIALS} credentials"
                raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
            await change.put(draft)
            return draft

        bound = claimed.store_id
        made = await self._desk.once(passage, CredentialRecord, request_id, bound, work)
        passage.facts["access_key"] = made.access_key_id
        return NewCredential(made, claimed.uri_prefix, "" if made is not draft else secret)

    async def _draft(self, store: StoreRecord, secret: str) -> CredentialRecord:
        access_key_id = names.access_key_id_of(await self._vault.random(names.ACCESS_KEY_ID_BYTES))
        return CredentialRecord(
            store_id=store.store_id,
            access_key_id=access_key_id,
            account=store.account,
            sealed_secret=await self._box.seal(secret.encode(), f"{store.store_id}/{access_key_id}"),
            created_at=self._desk.mutations.clock.wall_ms(),
        )

    @gated(Action.LIST_KEY_STORE_CREDENTIALS)
    async def list_credentials(self, passage: Passage, store: str) -> list[UsedCredential]:
        """List a store's credentials, at most eight; other workers' uses lag some seconds."""
        claimed = await self._desk.claim(passage, store)
        ledger, where = self._desk.mutations.ledger, {"store_id": claimed.store_id}
        records, _ = await ledger.page(CredentialRecord, where, after="", limit=MAX_CREDENTIALS)
        return [UsedCredential(record, await self._last_used(record)) for record in records]

    async def _last_used(self, record: CredentialRecord) -> int:
        uses = await self.gate.usage.read(record.record_id)
        return max((use.last_used for use in uses), default=0)

    @gated(Action.DELETE_KEY_STORE_CREDENTIAL)
    async def delete(
        self, passage: Passage, store: str, access_key_id: str, request_id: str = ""
    ) -> CredentialRecord:
        """Remove a credential: what it signed is refused within a second. Raises NOT_FOUND."""
        claimed = await self._desk.claim(passage, store)
        name = names.access_key_id(access_key_id)
        passage.facts["access_key"] = name

        async def work(change: Change) -> CredentialRecord:
            record = await change.get(CredentialRecord, f"{claimed.store_id}/{name}")
            if record is None:
                raise StrongroomError(Reason.NOT_FOUND, field="access_key_id")
            await change.delete(record)
            return record

        bound = [claimed.store_id, name]
        return await self._desk.once(passage, CredentialRecord, request_id, bound, work)
