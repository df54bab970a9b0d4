"""Counting encryptions under AES-GCM keys, which bear only so many (domain/invocations.py).

A worker reserves a block in one transaction, as a protected record, and counts it down in memory: only every
65,536th call touches the store. A worker that dies loses the rest of its block; nobody uses it again.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol

from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.invocations import AT_BIRTH, Block, Bounds, crosses, next_block
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import InvocationsRecord
from strongroomd.telemetry import logs

_log = logs.get("custody")
_MOST_PURSES: Final = 50_000  # as many as the catalog remembers keys; one that goes loses its block


class InvocationsMeter(Protocol):
    """Hears of reservations, for metrics."""

    def reserved(self) -> None:
        """Count one block."""
        ...


@dataclass(slots=True, eq=False)
class _Purse:
    """What this worker may still use of a key version: invocations `next` to `last`.

    Attributes:
        filling: the reservation that is under way, for whoever waits for it.
    """

    next: int = 1
    last: int = 0
    exhausted: bool = False
    filling: "asyncio.Task[None] | None" = None


class Invocations:
    """This worker's counters.

    Args:
        ledger: keeps how far each version's counter is.
        meter: hears of reservations.
        bounds: how far counters go; tests make them short.
    """

    def __init__(
        self, ledger: Ledger, meter: InvocationsMeter | None = None, bounds: Bounds | None = None
    ) -> None:
        self._ledger = ledger
        self._meter = meter
        self._bounds = bounds or Bounds()
        self._purses: OrderedDict[tuple[str, int], _Purse] = OrderedDict()

    async def take(self, bound: BoundVersion) -> int:
        """Take one invocation of a key version before it encrypts; gives its number.

        Raises:
            StrongroomError: KEY_EXHAUSTED after the last one; STORE_UNAVAILABLE when a new block is needed
                and cannot be had; INTEGRITY_FAILURE for a counter that was edited or put back.
        """
        name = (bound.key_id, bound.record.version)
        purse = self._purses.get(name) or self._open(name)
        self._purses.move_to_end(name)  # the one that waits longest is let go first
        while purse.next > purse.last:
            await self._refilled(purse, bound)
        number = purse.next
        purse.next += 1
        return number

    def _open(self, name: tuple[str, int]) -> _Purse:
        purse = self._purses[name] = _Purse()
        if len(self._purses) > _MOST_PURSES:
            self._purses.popitem(last=False)
        return purse

    async def _refilled(self, purse: _Purse, bound: BoundVersion) -> None:
        """Wait for an empty purse to be filled once, however many wait, and whoever of them goes away.

        Else a store that is slower than its callers' deadlines would use a key up, a block for each of them.
        """
        if purse.exhausted:
            raise StrongroomError(Reason.KEY_EXHAUSTED)
        if purse.filling is None:
            purse.filling = asyncio.ensure_future(self._refill(purse, bound))
            purse.filling.add_done_callback(_retrieve)
        await asyncio.shield(purse.filling)

    async def _refill(self, purse: _Purse, bound: BoundVersion) -> None:
        try:
            block = await self._reserve(bound)
        finally:
            purse.filling = None
        if block is None:
            purse.exhausted = True  # a counter never falls: no need to ask again
            raise StrongroomError(Reason.KEY_EXHAUSTED)
        purse.next, purse.last = block.first, block.last
        self._tell(bound, block)

    async def _reserve(self, bound: BoundVersion) -> Block | None:
        """Move the version's counter on; the block is this worker's once that is committed, not before."""
        key_id, version = bound.key_id, bound.record.version
        async with self._ledger.change() as change:
            before = await change.get(InvocationsRecord, f"{key_id}/{version}")
            reserved, row_version = (before.reserved, before.row_version) if before else (AT_BIRTH, 0)
            block = next_block(reserved, self._bounds)
            if block is not None:
                await change.put(InvocationsRecord(key_id, version, block.last, row_version + 1))
        return block

    def _tell(self, bound: BoundVersion, block: Block) -> None:
        if self._meter is not None:
            self._meter.reserved()
        for mark in (self._bounds.warn, self._bounds.rotate, self._bounds.limit):
            if crosses(block, mark):
                share = round(100 * mark / self._bounds.limit)
                facts = {"key": bound.key_id, "version": bound.record.version, "percent": share}
                _log.warning("key version has used much of its 2^32 invocations", **facts)


def _retrieve(filling: "asyncio.Task[None]") -> None:
    """Take note of how a reservation ended, though everybody who waited for it may have gone."""
    if not filling.cancelled():
        filling.exception()
