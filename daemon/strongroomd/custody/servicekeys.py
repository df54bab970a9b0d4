"""A service's own key in an account, made when the service first uses it there.

Nothing is made for a call that would be refused, nor for a dry run. Key, version and alias are one
transaction, in which the alias decides between two workers: who comes second has made nothing.
"""

import asyncio
import dataclasses
import uuid
from functools import partial

from strongroomd.custody.auditfacts import note_key
from strongroomd.custody.births import Births, born
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.diary import settled
from strongroomd.custody.directory import Directory
from strongroomd.custody.gate import Gate
from strongroomd.custody.judging import Bring
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import KeySpec, KeyUsage, QuotaClass
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.names import KeyName
from strongroomd.domain.policy import Resource
from strongroomd.domain.policy.evaluation import Authority
from strongroomd.domain.principals import Caller
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    KeyManager,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
)
from strongroomd.domain.servicekeys import FIRST_USES, fixed_policy, own_alias
from strongroomd.domain.tokens import MAIN
from strongroomd.ports import Vault

_SPEC, _USAGE = KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT


class ServiceKeys:
    """Makes services' keys.

    Args:
        gate: judges, charges, writes down.
        catalog: finds aliases.
        mutations: the clock and the ledger.
        births: makes the material.
        vault: random ids and placement.
        directory: which accounts there are.
        home: the token in which the keys are made.
    """

    def __init__(
        self,
        gate: Gate,
        catalog: Catalog,
        mutations: Mutations,
        births: Births,
        vault: Vault,
        directory: Directory,
        home: str = MAIN,
    ) -> None:
        self._gate = gate
        self._catalog = catalog
        self._mutations = mutations
        self._births = births
        self._vault = vault
        self._directory = directory
        self._home = home
        self._making = asyncio.Lock()

    async def prepare(
        self, passage: Passage, key: str, action: Action, bring: Bring, *, dry_run: bool = False
    ) -> None:
        """Make the key that a service is about to use, if it is the service's own and there is none yet.

        In all other cases nothing happens: the claim that follows says what is wrong.

        Args:
            passage: the call.
            key: how it names the key.
            action: what it wants of the key.
            bring: as for the claim.
            dry_run: make nothing.

        Raises:
            StrongroomError: DRY_RUN_SUCCEEDED where the key would be made; what keeps it from being made.
        """
        if not passage.caller.behalf.via_service or action not in FIRST_USES:
            return
        name = self._own(passage.caller, key)
        if name is None or await self._exists(name):
            return
        draft = await self._draft(passage.caller, name)
        if not await self._permitted(passage.caller, draft, name, action, bring, key):
            return
        if dry_run:
            passage.facts["named"] = key
            passage.proceed(dry_run=True)
        async with self._making:
            if not await self._exists(name):
                await self._gate.finish(self._make(passage.caller, draft, name))

    def _own(self, caller: Caller, key: str) -> KeyName | None:
        alias = own_alias(caller)
        if not alias or not key.endswith(alias):
            return None
        try:
            name = self._catalog.realm.parse_key(key, caller.account_of(key))
        except StrongroomError:
            return None
        return name if name == KeyName(caller.behalf.caller_account, alias=alias) else None

    async def _exists(self, name: KeyName) -> bool:
        try:
            await self._catalog.alias_target(name)
        except StrongroomError as error:
            if error.reason is not Reason.ACCESS_DENIED:
                raise
            return False
        return True

    async def _draft(self, caller: Caller, name: KeyName) -> KeyRecord:
        """Write the key down as policies see it; where it lives is settled once it may be made."""
        service = caller.behalf.via_service
        return KeyRecord(
            key_id=str(uuid.UUID(bytes=await self._vault.random(16), version=4)),
            account=name.account,
            spec=_SPEC,
            usage=_USAGE,
            mode=CustodyMode.WRAPPED,
            custody_note="",
            origin=Origin.HSM,
            exportable=False,
            state=KeyState.CREATING,
            description=f"Key of the service {service}, made when the service first used it here",
            created_at=self._mutations.clock.wall_ms(),
            deletion_at=0,
            current_version=1,
            policy=fixed_policy(service, name.account),
            tags=(),
            manager=KeyManager.SERVICE,
            token=self._home,
        )

    async def _permitted(
        self, caller: Caller, draft: KeyRecord, name: KeyName, action: Action, bring: Bring, named: str
    ) -> bool:
        """Say whether the use would be allowed; asked again with the newest state before it says no."""
        arn = self._catalog.realm.key_arn(draft.key_id, draft.account)
        authority = Authority(policy.compiled(draft.policy), Resource(arn, draft.account))
        entry = Entry(draft, arn, authority, aliases=(name.alias,))
        if await self._would(caller, entry, action, bring, named):
            return True
        await self._gate.judge.catch_up()
        return await self._would(caller, entry, action, bring, named)

    async def _would(self, caller: Caller, entry: Entry, action: Action, bring: Bring, named: str) -> bool:
        if self._directory.account(entry.key.account) is None:
            return False
        judge = self._gate.judge
        try:
            if judge.forbids(caller, Action.CREATE_KEY) is not None:
                return False
            return (await judge.decide(entry, caller, action, bring, named)).allowed
        except StrongroomError as error:
            if error.reason is not Reason.ACCESS_DENIED:
                raise
            return False  # a policy asks for what the request does not have

    async def _make(self, caller: Caller, key: KeyRecord, name: KeyName) -> None:
        """Create the key as the service's own CreateKey, paid for and written down as such.

        What the quota refuses is the call's own refusal, and gets no record besides.
        """
        mode, note = self._vault.placement(_SPEC, _USAGE, None, exportable=False, token=self._home)
        key = dataclasses.replace(key, mode=mode, custody_note=note)
        self._gate.quotas.spend(caller.principal, "", QuotaClass.MANAGEMENT, 1)
        passage = Passage(self._gate, caller, Action.CREATE_KEY)
        note_key(passage.facts, self._catalog.realm.key_arn(key.key_id, key.account))
        passage.facts["alias"] = name.alias
        async with settled(passage, lost=Reason.ALREADY_EXISTS):
            await self._births.bear(passage, key, "", None, partial(self._commit, key, name))

    async def _commit(
        self, key: KeyRecord, name: KeyName, change: Change, version: VersionRecord
    ) -> KeyRecord:
        now = key.created_at
        alias = AliasRecord(name.account, name.alias, key.key_id, now, now)
        if await change.get(AliasRecord, alias.record_id) is not None:
            raise StrongroomError(Reason.ALREADY_EXISTS)
        made = born(key)
        for record in (made, version, alias):
            await change.put(record)
        return made
