"""All that a store holds, verified, and all its keys, proved in the token.

Asked before a backup is signed, and before a restored store is put in place.
"""

import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol, TypeVar

from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import (
    RECORD_KINDS,
    WITH_MATERIAL,
    CustodyMode,
    KeyRecord,
    KeyState,
    Record,
    VersionRecord,
    VersionState,
)
from strongroomd.ports import Store

R = TypeVar("R", bound=Record)
_PAGE: Final = 500
_PROOF_SECONDS: Final = 30.0
USABLE: Final = frozenset({*WITH_MATERIAL, VersionState.MISSING})
"""Versions whose material should be somewhere."""


class Prover(Protocol):
    """Whoever can load a key version and hold its material against its check value: the vault."""

    async def prove(self, key: BoundVersion, *, deadline: float) -> None:
        """Raise KEY_UNAVAILABLE for material that is missing or wrong, HSM_UNAVAILABLE for a token away."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """A key version with its key, both verified."""

    key: KeyRecord
    version: VersionRecord

    @property
    def bound(self) -> BoundVersion:
        """The version as the vault takes it."""
        key = self.key
        return BoundVersion(key.key_id, key.spec, key.usage, key.mode, key.exportable, self.version)

    def line(self) -> dict[str, Any]:
        """Say what there is to check after a restore, as plain JSON; no material, not even a wrapped one."""
        key, version = self.key, self.version
        return {
            "key_id": key.key_id,
            "version": version.version,
            "account": key.account,
            "spec": key.spec.value,
            "usage": key.usage.value,
            "custody": key.mode.value,
            "exportable": key.exportable,
            "state": version.state.value,
            "scheme": version.scheme.value,
            "kek_id": version.kek_id,
            "hsm_id": version.hsm_id,
            "token": version.token,
            "check_value": version.check_value.hex(),
            "recoverable": bool(version.recovery_blob),
        }


async def verify_records(ledger: Ledger, store: Store) -> int:
    """Verify every record of every kind, and that none is missing; gives how many there are.

    Raises:
        StrongroomError: INTEGRITY_FAILURE at the first that was edited, put back, added or removed.
    """
    count = 0
    for kind in RECORD_KINDS.values():
        there = set(await store.names(kind))
        if there != set(ledger.known(kind)):
            detail = f"{kind.KIND} records were removed or added behind the journal's back"
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail=detail)
        async for _ in all_records(ledger, kind):
            count += 1
    return count


async def all_records(ledger: Ledger, kind: type[R]) -> AsyncIterator[R]:
    """Give every record of a kind, verified, in order of their ids."""
    after = ""
    while True:
        records, after = await ledger.page(kind, {}, after=after, limit=_PAGE)
        for record in records:
            yield record
        if not after:
            return


async def holdings(ledger: Ledger, store: Store) -> AsyncIterator[Holding]:
    """Give every key version whose material should be somewhere, oldest versions of a key first."""
    async for key in all_records(ledger, KeyRecord):
        if key.state is KeyState.DESTROYED:
            continue
        for stored in await store.versions(key.key_id):
            version = await ledger.verify(stored)
            if version.state in USABLE:
                yield Holding(key, version)


@dataclasses.dataclass(slots=True)
class Proofs:
    """What became of every key version.

    Attributes:
        right: those whose check value is right, by custody mode.
        wrong: names (`<key id>/<version>`) of wrapped versions that cannot be used: nobody should rely on
        this.
        missing: of resident versions whose object is not in the token.
        elsewhere: of adopted versions whose object is not in the token: their maker has it, or not.
        away: of versions in a token that is not open.
    """

    right: dict[str, int] = dataclasses.field(default_factory=dict)
    wrong: list[str] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    elsewhere: list[str] = dataclasses.field(default_factory=list)
    away: list[str] = dataclasses.field(default_factory=list)


async def prove_keys(ledger: Ledger, store: Store, prover: Callable[[BoundVersion], Prover | None]) -> Proofs:
    """Hold the material of every key version against its check value, in the token.

    Args:
        ledger: verified records.
        store: the same store.
        prover: finds the vault of a version; None for a token that is away.

    Raises:
        StrongroomError: HSM_UNAVAILABLE, OVERLOADED, DEADLINE_EXCEEDED for a token that fails meanwhile: that
            says nothing of any key.
    """
    proofs = Proofs()
    async for holding in holdings(ledger, store):
        await _prove(holding, prover(holding.bound), proofs)
    return proofs


async def _prove(holding: Holding, prover: Prover | None, proofs: Proofs) -> None:
    name, mode = holding.version.record_id, holding.key.mode
    if prover is None:
        proofs.away.append(name)
        return
    try:
        await prover.prove(holding.bound, deadline=time.monotonic() + _PROOF_SECONDS)
    except StrongroomError as error:
        if error.reason in _THE_TOKENS:
            raise
        _BAD[mode](proofs).append(name)
    else:
        proofs.right[mode.value] = proofs.right.get(mode.value, 0) + 1


_THE_TOKENS: Final = frozenset({Reason.HSM_UNAVAILABLE, Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED})
"""What a vault says where the token is at fault, and not the key."""
_BAD: Final[dict[CustodyMode, Callable[[Proofs], list[str]]]] = {
    CustodyMode.WRAPPED: lambda proofs: proofs.wrong,
    CustodyMode.RESIDENT: lambda proofs: proofs.missing,
    CustodyMode.ADOPTED: lambda proofs: proofs.elsewhere,
}
