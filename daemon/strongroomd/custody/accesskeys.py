"""Use cases of access keys, and the secrets behind them for doors that verify signatures.

A secret is made in the HSM's random numbers, shown once, and kept sealed. No answer that is given again,
record, log line or audit record holds it.
"""

import base64
import dataclasses
from dataclasses import dataclass, field

from strongroomd.custody.addresses import AddressBook, delete_key
from strongroomd.custody.directory import Directory
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.registrar import Registrar, known, put_next, refuse_root
from strongroomd.custody.secrets import SecretBox
from strongroomd.custody.usage import UsageCounter
from strongroomd.domain.accounts import (
    AccessKeyRecord,
    PrincipalKind,
    PrincipalRecord,
    access_key_id,
    kind_of,
)
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.limits import MAX_ACCESS_KEYS
from strongroomd.domain.principals import Principal
from strongroomd.ports import Vault

_USE = "AccessKey"  # in the table of uses
_PREFIX = "AKIA"
_ID_BYTES = 10  # 16 characters of base32
_SECRET_BYTES = 30  # 40 characters of base64


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    """A new access key; the secret is empty where the answer was given before."""

    record: AccessKeyRecord
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UsedAccessKey:
    """An access key and when it was last used, in ms since the Unix epoch; 0 for never."""

    record: AccessKeyRecord
    last_used: int


class AccessKeys(UseCases):
    """Access keys' management, by administrators of their principal's account."""

    def __init__(self, gate: Gate, registrar: Registrar, vault: Vault) -> None:
        super().__init__(gate)
        self._registrar = registrar
        self._vault = vault
        self._box = SecretBox(vault)

    @gated(Action.CREATE_ACCESS_KEY)
    async def create(self, passage: Passage, arn: str, request_id: str = "") -> NewAccessKey:
        """Make an access key. Raises LIMIT_EXCEEDED where the principal has two.

        Returns:
            The key and, only this once, its secret.
        """
        principal = self._registrar.claim(passage, arn)
        refuse_root(principal)
        if kind_of(principal) is PrincipalKind.ROLE:
            raise invalid("principal", "must be a user or a service: a role is assumed")
        secret = base64.b64encode(await self._vault.random(_SECRET_BYTES)).decode()
        record = await self._record(principal, secret)

        async def work(change: Change) -> AccessKeyRecord:
            known(await change.get(PrincipalRecord, principal.arn))
            if len(await change.transaction.find(AccessKeyRecord, {"arn": principal.arn})) >= MAX_ACCESS_KEYS:
                text = f"a principal has at most {MAX_ACCESS_KEYS} access keys"
                raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
            await change.put(record)
            return record

        made = await self._registrar.once(passage, AccessKeyRecord, request_id, principal.arn, work)
        passage.facts["access_key"] = made.access_key_id
        return NewAccessKey(made, "" if made is not record else secret)

    async def _record(self, principal: Principal, secret: str) -> AccessKeyRecord:
        key_id = _PREFIX + base64.b32encode(await self._vault.random(_ID_BYTES)).decode()
        return AccessKeyRecord(
            access_key_id=key_id,
            arn=principal.arn,
            account=principal.account,
            active=True,
            sealed_secret=await self._box.seal(secret.encode(), key_id),
            created_at=self._registrar.mutations.clock.wall_ms(),
        )

    @gated(Action.LIST_ACCESS_KEYS)
    async def list_keys(self, passage: Passage, arn: str) -> list[UsedAccessKey]:
        """List a principal's access keys, at most two; other workers' uses lag some seconds."""
        principal = await self._registrar.read(passage, arn)
        ledger, where = self._registrar.mutations.ledger, {"arn": principal.arn}
        records, _ = await ledger.page(AccessKeyRecord, where, after="", limit=MAX_ACCESS_KEYS)
        return [UsedAccessKey(record, await self._last_used(record)) for record in records]

    async def _last_used(self, record: AccessKeyRecord) -> int:
        uses = await self.gate.usage.read(record.access_key_id)
        return max((use.last_used for use in uses), default=0)

    @gated(Action.ACTIVATE_ACCESS_KEY)
    async def activate(
        self, passage: Passage, arn: str, key_id: str, etag: str = "", request_id: str = ""
    ) -> AccessKeyRecord:
        """Let an access key work again."""
        return await self._switch(passage, arn, key_id, etag, request_id, active=True)

    @gated(Action.DEACTIVATE_ACCESS_KEY)
    async def deactivate(
        self, passage: Passage, arn: str, key_id: str, etag: str = "", request_id: str = ""
    ) -> AccessKeyRecord:
        """Stop an access key, for a while or before it is deleted."""
        return await self._switch(passage, arn, key_id, etag, request_id, active=False)

    async def _switch(
        self, passage: Passage, arn: str, key_id: str, etag: str, request_id: str, *, active: bool
    ) -> AccessKeyRecord:
        principal, checked = self._claim(passage, arn, key_id)

        async def work(change: Change) -> AccessKeyRecord:
            current = await _own(change, checked, principal, etag)
            changed = dataclasses.replace(current, active=active)
            result: AccessKeyRecord = current if changed == current else await put_next(change, changed)
            return result

        bound = [principal.arn, checked, etag]
        return await self._registrar.once(passage, AccessKeyRecord, request_id, bound, work)

    @gated(Action.DELETE_ACCESS_KEY)
    async def delete(
        self, passage: Passage, arn: str, key_id: str, etag: str = "", request_id: str = ""
    ) -> AccessKeyRecord:
        """Remove an access key for ever."""
        principal, checked = self._claim(passage, arn, key_id)

        async def work(change: Change) -> AccessKeyRecord:
            current = await _own(change, checked, principal, etag)
            await delete_key(change, current)
            return current

        bound = [principal.arn, checked, etag]
        return await self._registrar.once(passage, AccessKeyRecord, request_id, bound, work)

    def _claim(self, passage: Passage, arn: str, key_id: str) -> tuple[Principal, str]:
        principal = self._registrar.claim(passage, arn)
        checked = access_key_id(key_id)
        passage.facts["access_key"] = checked
        return principal, checked


async def _own(change: Change, key_id: str, principal: Principal, etag: str) -> AccessKeyRecord:
    """Read an access key of a principal. Raises NOT_FOUND for another's, too."""
    found = await change.get(AccessKeyRecord, key_id)
    if found is None or found.arn != principal.arn:
        raise StrongroomError(Reason.NOT_FOUND, field="access_key_id")
    check_etag(found.row_version, etag)
    return found


@dataclass(frozen=True, slots=True)
class Credential:
    """Whom an access key speaks for, and what it signs with."""

    principal: Principal
    secret: bytes = field(repr=False)


class Credentials:
    """Finds the secret behind an access key id, from memory and the HSM.

    Args:
        directory: knows access keys and principals.
        vault: opens secrets.
        usage: told when a signature was good.
        addresses: told from where.
    """

    def __init__(
        self, directory: Directory, vault: Vault, usage: UsageCounter, addresses: AddressBook
    ) -> None:
        self._directory = directory
        self._box = SecretBox(vault)
        self._usage = usage
        self._addresses = addresses

    async def find(self, key_id: str) -> Credential:
        """Find a credential.

        Raises:
            StrongroomError: UNAUTHENTICATED_PEER for an access key that is unknown or inactive, or whose
                principal may not call; all the same.
        """
        self._directory.require_fresh()
        record = self._directory.access_key(key_id)
        principal = self._directory.admit(record.arn) if record is not None and record.active else None
        if record is None or principal is None:
            raise StrongroomError(Reason.UNAUTHENTICATED_PEER, "the access key is not valid")
        return Credential(principal, await self._box.open(record.sealed_secret, key_id))

    def used(self, key_id: str, address: str) -> None:
        """Remember that an access key was used now: to be called for a signature that was good, and no other.

        Args:
            key_id: a key that `find` has found.
            address: the peer's IP address; empty for a peer without one, of whom no event tells.
        """
        self._usage.count(key_id, _USE)
        self._addresses.used(key_id, address)
