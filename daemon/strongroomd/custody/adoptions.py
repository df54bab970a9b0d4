"""Adopting keys: fronting objects that were in a token before us, without touching them.

An object belongs to nobody that the daemon knows, so only operators adopt. It is named once, by CKA_ID or
label; what is found then is remembered in the version's record, and must be found again at every load.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from strongroomd.custody import bringing
from strongroomd.custody.admission import Lane
from strongroomd.custody.auditfacts import note_key
from strongroomd.custody.births import next_number
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import Tags, check_etag, check_tags
from strongroomd.custody.keypolicies import settle_policy
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.custody.rotation import succession
from strongroomd.domain import adoption, names
from strongroomd.domain.actions import Action
from strongroomd.domain.adoption import AdoptedObject, ObjectName
from strongroomd.domain.algorithms import KeySpec, KeyUsage, Scheme
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.invocations import AT_BIRTH
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.policy import Resource
from strongroomd.domain.records import (
    CustodyMode,
    InvocationsRecord,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.tokens import MAIN, TokenNames, spelled
from strongroomd.ports import Vault

_LIVING = frozenset({VersionState.ACTIVE, VersionState.MISSING})


@dataclass(frozen=True, slots=True)
class NewAdoption:
    """What a caller wants adopted.

    Attributes:
        cka_id, label: how the object is named, by exactly one.
        key: the adopted key whose next version it shall be; empty for a new key.
        etag: refuses an existing key that changed since, if given.
        description, policy, bypass_lockout_check, tags: of a new key, as for CreateKey.
    """

    cka_id: str = ""
    label: str = ""
    key: str = ""
    etag: str = ""
    description: str = ""
    policy: str = ""
    bypass_lockout_check: bool = False
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class Adopted:
    """A key, and its version that is the adopted object."""

    key: KeyRecord
    version: VersionRecord


class Adoptions(UseCases):
    """Makes keys and versions of what is in a token already.

    Args:
        gate: the one way in.
        catalog: finds keys.
        mutations: idempotent changes.
        vault: looks at objects.
        tokens: where they may be.
    """

    def __init__(
        self,
        gate: Gate,
        catalog: Catalog,
        mutations: Mutations,
        vault: Vault,
        tokens: TokenNames | None = None,
    ) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._mutations = mutations
        self._vault = vault
        self._tokens = tokens or TokenNames()

    @gated(Action.ADOPT_KEY)
    async def adopt(
        self, passage: Passage, wanted: NewAdoption, request_id: str = "", token: str = ""
    ) -> Adopted:
        """Make a token object a new key, or the next version of an adopted key.

        Raises:
            StrongroomError: as `Vault.examine`; ALREADY_EXISTS for an object that is a key already.
        """
        passage.claim_keyless()
        name = adoption.object_name(wanted.cka_id, wanted.label)
        if wanted.key:
            key = await self._adopt_next(passage, wanted, name, request_id, token)
        else:
            key = await self._adopt_first(passage, wanted, name, request_id, token)
        return Adopted(key, await self.version(key))

    async def version(self, key: KeyRecord) -> VersionRecord:
        """Read the version that was the current one when an answer was given."""
        found = await self._mutations.ledger.read(VersionRecord, f"{key.key_id}/{key.current_version}")
        if found is None:
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="an adopted key's version is missing")
        return found

    async def _adopt_first(
        self, passage: Passage, wanted: NewAdoption, name: ObjectName, request_id: str, token: str
    ) -> KeyRecord:
        if wanted.etag:
            raise invalid("etag", "is of no use without key")
        home, arguments = self._tokens.settle(token), [wanted, token]
        key = await self._draft(passage, wanted, home)
        found = await self._mutations.earlier(passage, KeyRecord, request_id, arguments)
        if found is not None:
            return found
        note_key(passage.facts, self._catalog.realm.key_arn(key.key_id, key.account))
        examined = await self._examine(passage, name, home)

        async def work(change: Change) -> KeyRecord:
            version = self._version(key, 1, examined)
            await _begin_counting(change, version)
            await change.put(key)
            await change.put(version)
            return key

        return await self._mutations.once(passage, KeyRecord, request_id, arguments, work, audited=True)

    async def _draft(self, passage: Passage, wanted: NewAdoption, home: str) -> KeyRecord:
        account = passage.caller.principal.account
        key_id = str(uuid.UUID(bytes=await self._vault.random(16), version=4))
        target = Resource(self._catalog.realm.key_arn(key_id, account), account)
        brought = bringing.of_policy(bypass=wanted.bypass_lockout_check)
        return KeyRecord(
            key_id=key_id,
            account=account,
            spec=KeySpec.SYMMETRIC_DEFAULT,
            usage=KeyUsage.ENCRYPT_DECRYPT,
            mode=CustodyMode.ADOPTED,
            custody_note=adoption.NOTE,
            origin=Origin.EXTERNAL_KEY_STORE,
            exportable=False,
            state=KeyState.ENABLED,
            description=names.description(wanted.description),
            created_at=self._mutations.clock.wall_ms(),
            deletion_at=0,
            current_version=1,
            policy=settle_policy(self.gate.judge, passage.caller, wanted.policy, target, brought),
            tags=check_tags(wanted.tags),
            token=home,
        )

    async def _adopt_next(
        self, passage: Passage, wanted: NewAdoption, name: ObjectName, request_id: str, token: str
    ) -> KeyRecord:
        _refuse_of_new_keys(wanted)
        entry = await passage.claim(wanted.key, Act.READ, action=Action.ROTATE_KEY)
        key = entry.key
        arguments = [wanted, token, key.key_id]
        found = await self._mutations.earlier(passage, KeyRecord, request_id, arguments)
        if found is not None:
            return found
        if key.mode is not CustodyMode.ADOPTED:
            raise invalid("key", "must be an adopted key: other versions the daemon makes itself")
        if token and self._tokens.settle(token) != key.token:
            raise invalid("token", "must be the token of the key, or empty: a key never moves")
        require(key.state, Act.ROTATE)
        check_etag(key.row_version, wanted.etag)
        examined = await self._examine(passage, name, key.token)
        commit = succession(key.key_id, wanted.etag)

        async def work(change: Change) -> KeyRecord:
            version = self._version(key, await next_number(change, key), examined)
            await _begin_counting(change, version)
            return await commit(change, version)

        return await self._mutations.once(passage, KeyRecord, request_id, arguments, work, audited=True)

    async def _examine(self, passage: Passage, name: ObjectName, home: str) -> AdoptedObject:
        """Look at the object; the audit log names it before the token is asked, and tells of it after."""
        if home != MAIN:
            passage.facts["token"] = spelled(home)
        passage.facts["object"] = {"cka_id": name.cka_id} if name.cka_id else {"label": name.label}
        await passage.intent()
        job = self._vault.examine(name, deadline=passage.deadline, token=home)
        found = await passage.work(Lane.BIRTH, job, home)
        passage.facts["object"] = _told(found)
        return found

    def _version(self, key: KeyRecord, number: int, found: AdoptedObject) -> VersionRecord:
        return VersionRecord(
            key_id=key.key_id,
            version=number,
            state=VersionState.ACTIVE,
            created_at=self._mutations.clock.wall_ms(),
            kek_id="",
            hsm_id="",
            blob=b"",
            length=found.length,
            public_key=b"",
            check_value=found.check_value,
            recovery_blob=b"",
            scheme=Scheme.AES_GCM,
            token=key.token,
            object_class=found.object_class,
            object_id=found.cka_id,
            object_label=found.label,
            uses=adoption.joined(found.uses),
            traits=adoption.joined(found.traits),
        )


def _told(found: AdoptedObject) -> dict[str, Any]:
    """Tell the audit log what was found."""
    return {
        "cka_id": found.cka_id,
        "label": found.label,
        "spec": found.spec,
        "uses": list(found.uses),
        "traits": list(found.traits),
        "proved": bool(found.check_value),
    }


def _refuse_of_new_keys(wanted: NewAdoption) -> None:
    """Refuse what only a new key can be given."""
    given = {
        "description": wanted.description,
        "policy": wanted.policy,
        "tags": wanted.tags,
        "bypass_policy_lockout_safety_check": wanted.bypass_lockout_check,
    }
    for field, value in given.items():
        if value:
            raise invalid(field, "is for new keys only: the key that is named has its own")


async def _begin_counting(change: Change, version: VersionRecord) -> None:
    """Refuse an object that is a key already; count on where it was one before.

    Raises:
        StrongroomError: INVALID_FIELD for an object that the daemon made, ALREADY_EXISTS for one that it
            adopted.
    """
    place, find = {"token": version.token}, change.transaction.find
    if version.object_id and await find(VersionRecord, place | {"hsm_id": version.object_id}):
        raise invalid("cka_id", "must not name an object that the daemon made: that is its own already")
    name = {"object_id": version.object_id, "object_label": version.object_label}
    before = [stored.record for stored in await find(VersionRecord, place | name)]
    if any(record.state in _LIVING for record in before):
        raise StrongroomError(Reason.ALREADY_EXISTS, "the object is a key of this daemon already")
    counters = [await change.get(InvocationsRecord, record.record_id) for record in before]
    reserved = max((counter.reserved for counter in counters if counter), default=0)
    if reserved:
        await change.put(InvocationsRecord(version.key_id, version.version, reserved + AT_BIRTH))
