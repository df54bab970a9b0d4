"""Use cases of rotation: begin and end the automatic one, its status, the history; bounds on demand.

The daemon rotates what it makes itself and what AWS KMS would: symmetric encryption keys, wrapped or
resident. Who makes the material of a key also makes its next: adopted and imported keys are refused by name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing, pages
from strongroomd.custody.clock import Clock
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.importedkeys import LIVING
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain import rotations
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SPECS, KeyFamily
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.records import CustodyMode, KeyRecord, Origin, VersionRecord, VersionState
from strongroomd.domain.replication import refuse_replica
from strongroomd.domain.rotations import RotationType, ScheduleRecord
from strongroomd.ports import Store

SHOWN = LIVING | {VersionState.MISSING}
"""Versions that callers are told of."""


@dataclass(frozen=True, slots=True)
class RotationStatus:
    """How a key is rotated.

    Attributes:
        key: the key.
        arn: its ARN.
        schedule: the automatic rotation; None where there never was one.
        last: the current version.
        on_demand: rotations that somebody asked for so far.
    """

    key: KeyRecord
    arn: str
    schedule: ScheduleRecord | None
    last: VersionRecord | None
    on_demand: int


@dataclass(frozen=True, slots=True)
class RotationPage:
    """A key's rotations of one page, oldest first, and the token of the next (empty at the end)."""

    key: KeyRecord
    versions: list[VersionRecord]
    next_token: str


class Schedules(UseCases):
    """Automatic rotation, as callers see it.

    Args:
        gate: the one way in.
        mutations: idempotent changes.
        store: lists versions.
    """

    def __init__(self, gate: Gate, mutations: Mutations, store: Store) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._ledger = mutations.ledger
        self._store = store

    @gated(Action.ENABLE_KEY_ROTATION)
    async def enable(self, passage: Passage, key: str, days: int = 0, request_id: str = "") -> ScheduleRecord:
        """Rotate a key every so many days (0: 365), the first time after as many.

        Raises:
            StrongroomError: INVALID_FIELD, INVALID_KEY_USAGE, INVALID_KEY_STATE.
        """
        period = rotations.settled_period(days)
        entry = await passage.claim(key, Act.READ, bring=partial(bringing.rotation, period))
        key_id = entry.key.key_id

        async def work(change: Change) -> ScheduleRecord:
            current = await _current(change, key_id)
            _require_ours(current)
            require(current.state, Act.ROTATE)
            before = await change.get(ScheduleRecord, key_id)
            made = rotations.begun(before, key_id, period, self._mutations.clock.wall_ms())
            return await _stored(change, before, made)

        passage.facts["rotation_period_days"] = period
        return await self._mutations.once(passage, ScheduleRecord, request_id, [key_id, period], work)

    @gated(Action.DISABLE_KEY_ROTATION)
    async def disable(self, passage: Passage, key: str, request_id: str = "") -> ScheduleRecord:
        """Rotate a key no more by itself."""
        entry = await passage.claim(key, Act.READ)
        key_id = entry.key.key_id

        async def work(change: Change) -> ScheduleRecord:
            current = await _current(change, key_id)
            refuse_replica(current.multi_region)
            require(current.state, Act.EDIT)
            before = await change.get(ScheduleRecord, key_id)
            return await _stored(change, before, rotations.ended(before, key_id))

        return await self._mutations.once(passage, ScheduleRecord, request_id, [key_id], work)

    @gated(Action.GET_KEY_ROTATION_STATUS)
    async def status(self, passage: Passage, key: str) -> RotationStatus:
        """Say whether, how often and when next a key is rotated."""
        entry = await passage.claim(key, Act.READ)
        key_id = entry.key.key_id
        return RotationStatus(
            key=entry.key,
            arn=entry.arn,
            schedule=await self._ledger.read(ScheduleRecord, key_id),
            last=await self._ledger.read(VersionRecord, f"{key_id}/{entry.key.current_version}"),
            on_demand=await self._store.how_many(VersionRecord, _asked_for(key_id)),
        )

    @gated(Action.LIST_KEY_VERSIONS)
    async def rotations(self, passage: Passage, key: str, size: int = 0, token: str = "") -> RotationPage:
        """List a key's rotations, oldest first: every version but the first."""
        entry = await passage.claim(key, Act.READ)
        limit, binding = pages.page_size(size), (*pages.asker(passage), "rotations", entry.arn)
        after = pages.decode_number(token, *binding)
        stored = await self._store.versions(entry.key.key_id)
        records = [await self._ledger.verify(each) for each in stored]
        shown = [record for record in after_first(records) if record.version > after]
        more = len(shown) > limit
        next_token = pages.encode(str(shown[limit - 1].version), *binding) if more else ""
        return RotationPage(entry.key, shown[:limit], next_token)


def after_first(records: Iterable[VersionRecord]) -> list[VersionRecord]:
    """Pick the versions that came of a rotation, of all versions of a key, oldest first.

    Imported material that waits for one did not come of it yet.
    """
    shown = [record for record in records if record.state in SHOWN][1:]
    return [record for record in shown if record.state is not VersionState.PENDING_ROTATION]


class Demand:
    """What limits rotation on demand.

    Args:
        ledger: verifies schedules and versions.
        store: counts.
        clock: how near an automatic one is.
    """

    def __init__(self, ledger: Ledger, store: Store, clock: Clock) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock

    async def require(self, key: KeyRecord) -> None:
        """Refuse what would be refused in the end, before material is made.

        Raises:
            StrongroomError: LIMIT_EXCEEDED, ROTATION_CONFLICT.
        """
        rotations.require_room(await self._store.how_many(VersionRecord, _asked_for(key.key_id)))
        schedule = await self._ledger.read(ScheduleRecord, key.key_id)
        current = await self._ledger.read(VersionRecord, f"{key.key_id}/{key.current_version}")
        self._require_distance(schedule, current)

    async def require_within(self, change: Change, key_id: str) -> None:
        """The same in the transaction that makes the version."""
        rotations.require_room(await change.transaction.how_many(VersionRecord, _asked_for(key_id)))
        key = await _current(change, key_id)
        self._require_distance(
            await change.get(ScheduleRecord, key_id),
            await change.get(VersionRecord, f"{key_id}/{key.current_version}"),
        )

    def _require_distance(self, schedule: ScheduleRecord | None, current: VersionRecord | None) -> None:
        newest, made_at = (current.rotation, current.created_at) if current else (RotationType.FIRST, 0)
        rotations.require_distance(schedule, newest, made_at, self._clock.wall_ms())


def refuse_made_by_others(key: KeyRecord) -> None:
    """Refuse to make a version of a key whose versions are made elsewhere.

    Raises:
        StrongroomError: INVALID_KEY_STATE for an adopted key, whose versions are other people's objects, and
            for a replica.
    """
    refuse_replica(key.multi_region)
    if key.mode is CustodyMode.ADOPTED:
        raise StrongroomError(
            Reason.INVALID_KEY_STATE,
            "the daemon makes no versions of an adopted key: adopt another object as its next one",
        )


def _require_ours(key: KeyRecord) -> None:
    """Refuse what cannot be rotated automatically, by name."""
    refuse_made_by_others(key)
    if key.origin is not Origin.HSM:
        raise StrongroomError(
            Reason.INVALID_KEY_STATE, "the daemon does not rotate imported keys: import new material instead"
        )
    if SPECS[key.spec].family is not KeyFamily.AES:
        raise StrongroomError(
            Reason.INVALID_KEY_USAGE, "only symmetric encryption keys are rotated automatically"
        )


async def _current(change: Change, key_id: str) -> KeyRecord:
    current = await change.get(KeyRecord, key_id)
    if current is None:
        raise StrongroomError(Reason.ACCESS_DENIED)
    return current


async def _stored(change: Change, before: ScheduleRecord | None, made: ScheduleRecord) -> ScheduleRecord:
    if made != before and (before is not None or made.enabled):
        await change.put(made)
    return made


def _asked_for(key_id: str) -> dict[str, str]:
    return {"key_id": key_id, "rotation": RotationType.ON_DEMAND.value}
