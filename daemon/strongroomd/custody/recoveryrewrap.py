"""Re-wrap by the recovery token: what no KEK can wrap again moves to the newest one by its recovery blob.

What a sealed KEK unwrapped can never be wrapped, so such a key leaves an older KEK only as it was at birth:
wrapped to the recovery key. The attached recovery token opens that, and the daemon's token wraps it anew
(hsm/recovery.py). Each key moves in one transaction, written down before and after, and held against its
check value three times: under the old KEK, on arrival, and as the store has it in the end. So a kill leaves
each key under its old KEK or the new one, and who begins again goes on with what is left.
"""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from strongroomd.custody.housekeys import house_records, wrapped_under
from strongroomd.custody.inventory import Holding, Prover, all_records, holdings
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.rewrapper import under
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import WrappingKeyRecord
from strongroomd.domain.housekeys import KEKS, House, newest, older
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.domain.materials import WrappingPairRecord
from strongroomd.domain.names import Realm
from strongroomd.domain.records import WITH_MATERIAL, CustodyMode, HouseRecord, KeyRecord, VersionRecord
from strongroomd.domain.rewraps import LEVEL, RewrapPlan, RewrapReport, Stays
from strongroomd.domain.tokens import spelled
from strongroomd.ports import AuditLog, Store
from strongroomd.telemetry import failpoints, logs

ACTION: Final = "strongroom:RewrapByRecovery"
_PROOF_SECONDS: Final = 30.0
_log = logs.get("custody")

Moved = tuple[VersionRecord, Material]


class Carrier(Protocol):
    """Whoever brings material from its recovery blob under the newest KEK: both tokens together."""

    def carry(self, bound: BoundVersion) -> Material:
        """Wrap a version's material anew; blocks.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when the recovery blob does not open or holds other material; any
                other when a token cannot be used, which says nothing of the version.
        """
        ...


async def plan_rewrap(ledger: Ledger, store: Store, token: str) -> RewrapPlan:
    """Find what is under older KEKs of a token, both sealed and exportable.

    Args:
        ledger: verified records.
        store: the same store.
        token: name of the token; empty for the main one.

    Raises:
        StrongroomError: INTEGRITY_FAILURE for a record that was edited; CONFIGURATION for a token
            without KEKs.
    """
    house = await house_records(ledger, store)
    targets = {role: newest(house, role, token) for role in KEKS}
    sealed, exportable = targets[House.KEK_SEALED], targets[House.KEK_EXPORTABLE]
    if sealed is None or exportable is None:
        raise StrongroomError(Reason.CONFIGURATION, "has no house keys yet", field="token")
    left = frozenset(kek.hsm_id for kek in _older(house, sealed, exportable))
    keys: dict[str, list[int]] = defaultdict(list)
    stays: dict[Stays, list[str]] = defaultdict(list)
    async for holding in holdings(ledger, store):
        why = _why_not(holding, token, left)
        if why is not None:
            stays[why].append(holding.version.record_id)
        elif holding.version.kek_id in left:
            keys[holding.key.key_id].append(holding.version.version)
    return RewrapPlan(
        token=token,
        sealed=sealed,
        exportable=exportable,
        older=tuple(sorted(left)),
        keys={key_id: tuple(numbers) for key_id, numbers in keys.items()},
        stays={why: tuple(names) for why, names in stays.items()},
        pairs=await _pairs(ledger, left),
        wrapping_keys=await _wrapping_keys(ledger, left),
    )


def _older(house: list[HouseRecord], *targets: HouseRecord) -> list[HouseRecord]:
    """Pick the KEKs before each target, of the same role and token."""
    return [
        kek
        for target in targets
        for kek in older(
            [each for each in house if (each.role, each.token) == (target.role, target.token)], target.hsm_id
        )
    ]


def _why_not(holding: Holding, token: str, left: frozenset[str]) -> Stays | None:
    """Say why a version cannot be moved, if its records say so; None for others, and what is elsewhere."""
    version = holding.version
    if holding.key.mode is CustodyMode.RESIDENT and version.token == token:
        return Stays.RESIDENT
    if version.kek_id not in left:
        return None
    return None if version.recovery_blob else Stays.NO_RECOVERY_BLOB


async def _pairs(ledger: Ledger, left: frozenset[str]) -> int:
    count = 0
    async for pair in all_records(ledger, WrappingPairRecord):
        count += pair.kek_id in left
    return count


async def _wrapping_keys(ledger: Ledger, left: frozenset[str]) -> tuple[str, ...]:
    """Name the AES wrapping keys under older KEKs: they have no recovery blob, and are registered anew."""
    keys = all_records(ledger, WrappingKeyRecord)
    return tuple([key.wrapping_key_id async for key in keys if key.kek_id in left])


async def left_under(store: Store, ledger: Ledger, plan: RewrapPlan) -> dict[str, int]:
    """Count the key versions that each older KEK of a plan still wraps."""
    house = {record.hsm_id: record for record in await house_records(ledger, store)}
    return {hsm_id: await wrapped_under(store, house[hsm_id]) for hsm_id in plan.older}


class RecoveryRewrap:
    """Moves keys, one after the other.

    Args:
        ledger: protected records.
        prover: loads a version and holds it against its check value: the vault of the plan's token.
        carrier: brings material under the newest KEK.
        audit: the command's chain.
        realm: spells keys' ARNs.
        report: has the plan, and hears what became of each version.
        told: what every audit record says besides: who, by which approvals.
    """

    def __init__(
        self,
        ledger: Ledger,
        prover: Prover,
        carrier: Carrier,
        audit: AuditLog,
        realm: Realm,
        report: RewrapReport,
        told: Mapping[str, Any],
    ) -> None:
        self._ledger = ledger
        self._prover = prover
        self._carrier = carrier
        self._audit = audit
        self._realm = realm
        self._plan = report.plan
        self._report = report
        self._told = told

    async def move(self, key_id: str) -> None:
        """Move the planned versions of one key, all that can be, in one transaction.

        Raises:
            StrongroomError: HSM_UNAVAILABLE, STORE_UNAVAILABLE, AUDIT_UNAVAILABLE, INTEGRITY_FAILURE: nothing
                of this key is moved then, unless that was behind its transaction.
        """
        key = await self._ledger.read(KeyRecord, key_id)
        versions = await self._planned(key_id)
        if key is None or not versions:
            return
        async with self._written_down(key, versions) as outcome:
            failpoints.reach("rewrap-ceremony.2")
            moved = [pair for version in versions if (pair := await self._brought(key, version))]
            failpoints.reach("rewrap-ceremony.3")
            if not moved or not await self._commit(key, moved):
                outcome["outcome"] = "UNCHANGED"
                return
            outcome["moved"] = [version.version for version, _ in moved]
            failpoints.reach("rewrap-ceremony.5")
            await self._prove_stored(key, moved)
            self._report.moved += [version.record_id for version, _ in moved]

    async def _planned(self, key_id: str) -> list[VersionRecord]:
        """Read the key's versions that still are where the plan found them."""
        found = []
        for name in (f"{key_id}/{number}" for number in self._plan.keys[key_id]):
            version = await self._ledger.read(VersionRecord, name)
            if version is not None and self._is_due(version):
                found.append(version)
            else:
                self._changed([name])
        return found

    def _is_due(self, version: VersionRecord) -> bool:
        return version.state in WITH_MATERIAL and version.kek_id in self._plan.older

    @asynccontextmanager
    async def _written_down(
        self, key: KeyRecord, versions: list[VersionRecord]
    ) -> AsyncIterator[dict[str, Any]]:
        """Write down what is about to be done to a key, and how that ended."""
        told: dict[str, Any] = {
            **self._told,
            "action": ACTION,
            "key": self._realm.key_arn(key.key_id, key.account),
            "versions": [version.version for version in versions],
            "token": spelled(self._plan.token),
            "house_key": self._plan.target(exportable=key.exportable),
            "level": LEVEL,
        }
        await self._audit.write({**told, "kind": "intent", "outcome": "PENDING"})
        outcome = {**told, "kind": "outcome", "outcome": "OK"}
        try:
            yield outcome
        except StrongroomError as error:
            outcome["outcome"] = error.reason.value
            raise
        except BaseException:
            outcome["outcome"] = Reason.INTERNAL.value
            raise
        finally:
            await self._audit.write(outcome)
        failpoints.reach("rewrap-ceremony.6")

    async def _brought(self, key: KeyRecord, version: VersionRecord) -> Moved | None:
        """Prove a version where it is, and have its recovery blob brought; None for one that stays."""
        bound = _bound(key, version)
        try:
            await self._prover.prove(bound, deadline=time.monotonic() + _PROOF_SECONDS)
        except StrongroomError as error:
            self._left(version, Stays.UNUSABLE, error)
            return None
        try:
            made = self._carrier.carry(bound)
        except StrongroomError as error:
            self._left(version, Stays.WRONG_BLOB, error)
            return None
        if made.kek_id != self._plan.target(exportable=key.exportable):
            raise StrongroomError(Reason.INTERNAL, detail="it came under another KEK than the planned one")
        return version, made

    def _left(self, version: VersionRecord, why: Stays, error: StrongroomError) -> None:
        """Take down that a version stays, and keeps no other waiting.

        Raises:
            StrongroomError: what is not about the version but about a token, and ends the ceremony.
        """
        if error.reason is not Reason.KEY_UNAVAILABLE:
            raise error
        self._report.stay(version.record_id, why)
        _log.error("key version not re-wrapped", id=version.record_id, why=why.value, detail=error.detail)

    async def _commit(self, key: KeyRecord, moved: list[Moved]) -> bool:
        """Put the new blobs in the store, all or none; False when anything of the key changed meanwhile."""
        async with self._ledger.change() as change:
            if not await _is_as_read(change, key, moved):
                self._changed(version.record_id for version, _ in moved)
                return False
            for version, material in moved:
                await change.put(under(version, material))
            failpoints.reach("rewrap-ceremony.4")
        return True

    async def _prove_stored(self, key: KeyRecord, moved: list[Moved]) -> None:
        """Read each version back and hold it against its check value once more, as its next use will."""
        for version, material in moved:
            stored = await self._ledger.read(VersionRecord, version.record_id)
            if stored is None or stored.blob != material.blob or stored.check_value != version.check_value:
                raise StrongroomError(
                    Reason.INTEGRITY_FAILURE, detail=f"{version.record_id} is not as it was written"
                )
            await self._prover.prove(_bound(key, stored), deadline=time.monotonic() + _PROOF_SECONDS)

    def _changed(self, names: Iterable[str]) -> None:
        for name in names:
            self._report.stay(name, Stays.CHANGED)


async def _is_as_read(change: Change, key: KeyRecord, moved: list[Moved]) -> bool:
    if await change.get(KeyRecord, key.key_id) != key:
        return False
    current = [await change.get(VersionRecord, version.record_id) for version, _ in moved]
    return current == [version for version, _ in moved]


def _bound(key: KeyRecord, version: VersionRecord) -> BoundVersion:
    return Holding(key, version).bound
