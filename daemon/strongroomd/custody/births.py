"""How keys and versions come to be: wrapped ones in one transaction, resident ones in two phases.

A resident version is first an intent (a row that names the CKA_ID to come), then an object, then an active
version. If the daemon dies in between, upkeep finds the intent, destroys the object and marks the intent
failed: nobody was told of it. An answer is remembered only with the second phase.
"""

import dataclasses
from collections.abc import Awaitable, Callable

from strongroomd.custody.admission import Lane
from strongroomd.custody.copies import audience, audience_for, keep_copies
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import NOBODY, Audience, Material
from strongroomd.domain.limits import MAX_VERSIONS
from strongroomd.domain.records import CustodyMode, KeyRecord, KeyState, Origin, VersionRecord, VersionState
from strongroomd.domain.tokens import MAIN
from strongroomd.ports import Vault
from strongroomd.telemetry import failpoints, logs

_log = logs.get("custody")
INTENT_GRACE_MS = 60_000
"""After so long an intent is nobody's who still works on it."""
Commit = Callable[[Change, VersionRecord], Awaitable[KeyRecord]]


class Births:
    """Makes material and records it.

    Args:
        mutations: idempotent changes.
        vault: makes the material.
    """

    def __init__(self, mutations: Mutations, vault: Vault) -> None:
        self._mutations = mutations
        self._ledger = mutations.ledger
        self._vault = vault
        self._clock = mutations.clock

    async def bear(
        self, passage: Passage, key: KeyRecord, request_id: str, arguments: object, commit: Commit
    ) -> KeyRecord:
        """Make a new version of `key` and commit it.

        Args:
            passage: the call.
            key: the key as it is to be or is; not stored yet if it is new (row_version 1, state Creating).
            request_id: the caller's idempotency key, as for `Mutations.once`.
            arguments: what the idempotency key is bound to.
            commit: stores the active version and the changed key in the last transaction; gives the answer.
        """
        if key.origin is not Origin.HSM:
            raise StrongroomError(Reason.INTERNAL, detail="only keys of this house get versions made here")
        await passage.intent()
        if key.mode is CustodyMode.RESIDENT:
            return await self._bear_resident(passage, key, request_id, arguments, commit)
        peers = await audience(self._ledger, key)
        material = await self._generate(passage, key, "", audience_for(key, peers))
        failpoints.reach("birth.1")

        async def work(change: Change) -> KeyRecord:
            number = await next_number(change, key)
            answer = await commit(change, self._version(key, number, material, VersionState.ACTIVE))
            await keep_copies(change, key.key_id, number, peers, material)
            return answer

        return await self._mutations.once(passage, KeyRecord, request_id, arguments, work, audited=True)

    def possible(self, key: KeyRecord) -> bool:
        """Say whether the token in which a key's versions are made can be used now, as far as is known."""
        return self._vault.usable(key.token)

    async def _generate(
        self, passage: Passage, key: KeyRecord, hsm_id: str, houses: Audience = NOBODY
    ) -> Material:
        job = self._vault.generate(
            key.spec,
            key.usage,
            key.mode,
            exportable=key.exportable,
            hsm_id=hsm_id,
            deadline=passage.deadline,
            token=key.token,
            audience=houses,
        )
        return await passage.work(Lane.BIRTH, job, key.token)

    def _version(self, key: KeyRecord, number: int, material: Material, state: VersionState) -> VersionRecord:
        return VersionRecord(
            key_id=key.key_id,
            version=number,
            state=state,
            created_at=self._clock.wall_ms(),
            kek_id=material.kek_id,
            hsm_id=material.hsm_id,
            blob=material.blob,
            length=material.length,
            public_key=material.public_key,
            check_value=material.check_value,
            recovery_blob=material.recovery_blob,
            scheme=material.scheme,
            token=key.token if material.hsm_id else MAIN,
        )

    async def _bear_resident(
        self, passage: Passage, key: KeyRecord, request_id: str, arguments: object, commit: Commit
    ) -> KeyRecord:
        # A token that is away refuses now, before a version's number is used up.
        self._vault.placement(key.spec, key.usage, key.mode, exportable=key.exportable, token=key.token)
        hsm_id = (await self._vault.random(16)).hex()
        intent = await self._intend(key, hsm_id)
        settled = False
        failpoints.reach("birth.2")
        try:
            material = await self._generate(passage, key, hsm_id)
            failpoints.reach("birth.3")

            async def work(change: Change) -> KeyRecord:
                made = self._version(key, intent.version, material, VersionState.ACTIVE)
                return await commit(change, dataclasses.replace(made, row_version=intent.row_version + 1))

            answer = await self._mutations.once(passage, KeyRecord, request_id, arguments, work, audited=True)
            settled = answer.key_id == key.key_id and not passage.facts.get("repeated")
            return answer
        finally:
            if not settled:
                await self._undo(passage, intent)

    async def _undo(self, passage: Passage, intent: VersionRecord) -> None:
        """Undo a birth of this call, and have the call's audit record say so."""
        try:
            if await abandon(self._ledger, self._vault, intent):
                passage.facts["undone"] = intent.record_id
        except StrongroomError as error:
            _log.warning("birth not undone yet; upkeep will", extra={"reason": error.reason.value})

    async def _intend(self, key: KeyRecord, hsm_id: str) -> VersionRecord:
        nothing = Material("", hsm_id, b"", 0, b"", b"", b"")
        async with self._ledger.change() as change:
            intent = self._version(key, await next_number(change, key), nothing, VersionState.INTENT)
            if key.state is KeyState.CREATING:
                await change.put(key)
            await change.put(intent)
        return intent


def born(key: KeyRecord) -> KeyRecord:
    """Give a new key as the last transaction of its birth stores it; a resident one is stored already."""
    resident = key.mode is CustodyMode.RESIDENT
    row_version = key.row_version + 1 if resident else key.row_version
    return dataclasses.replace(key, state=KeyState.ENABLED, row_version=row_version)


async def next_number(change: Change, key: KeyRecord) -> int:
    """Find the number after the last one that was ever tried."""
    number = 1 if key.state is KeyState.CREATING else key.current_version + 1
    while await change.get(VersionRecord, f"{key.key_id}/{number}") is not None:
        number += 1
    if number > MAX_VERSIONS:
        raise StrongroomError(Reason.LIMIT_EXCEEDED, f"a key has at most {MAX_VERSIONS} versions")
    return number


async def abandon(ledger: Ledger, vault: Vault, intent: VersionRecord) -> bool:
    """Undo a birth that nobody was told of: mark it failed, then destroy its object.

    Returns False if it was no intent any more, so that nothing was done.

    In this order, because a birth may succeed at the last moment: an object is destroyed only once the store
    says that it is nobody's. Dying in between leaves a failed version, whose object reconciliation destroys.
    """
    if not await _fail(ledger, intent):
        return False
    await destroy_object(ledger, vault, intent)
    return True


async def destroy_object(ledger: Ledger, vault: Vault, version: VersionRecord) -> None:
    """Destroy a version's token object, if the store, asked once more, says that the version has ended.

    Nothing undoes a destruction, so it is the last place that looks, whoever asks for it.

    Raises:
        StrongroomError: INTERNAL for a version that may still be used; nothing is destroyed.
    """
    now = await ledger.read(VersionRecord, version.record_id)
    if now is None or now.state not in _ENDED or now.hsm_id != version.hsm_id:
        raise StrongroomError(Reason.INTERNAL, detail="a living version's object is not destroyed")
    await vault.destroy_resident(now.hsm_id, now.token)


_ENDED = frozenset({VersionState.FAILED, VersionState.DESTROYING, VersionState.DESTROYED})


async def _fail(ledger: Ledger, intent: VersionRecord) -> bool:
    """Mark an intent failed, and its key if it has no other version; False when it is no intent any more."""
    async with ledger.change() as change:
        version = await change.get(VersionRecord, intent.record_id)
        if version is None or version.state is not VersionState.INTENT:
            return False
        await change.put(_next(version, VersionState.FAILED))
        key = await change.get(KeyRecord, intent.key_id)
        if key is not None and key.state is KeyState.CREATING:
            row_version = key.row_version + 1
            await change.put(dataclasses.replace(key, state=KeyState.DESTROYED, row_version=row_version))
        return True


def _next(version: VersionRecord, state: VersionState) -> VersionRecord:
    return dataclasses.replace(version, state=state, row_version=version.row_version + 1)
