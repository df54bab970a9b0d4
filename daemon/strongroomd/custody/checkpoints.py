"""Checkpoints: the elected worker signs how far every audit chain has come, and moves the token's anchor.

The clock is judged by them, too: by the newest one a leader sees how far the wall clock may have jumped.
"""

from typing import Protocol

from strongroomd.custody.clock import Clock
from strongroomd.custody.clockwatch import ClockMeter, ClockWatch
from strongroomd.custody.history import signer_of
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.audit import Checkpoint, Head, next_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.domain.records import HouseRecord
from strongroomd.ports import AuditLog, AuditTrail, Store, Vault

ANCHOR_SECONDS = 60.0


class CheckpointMeter(ClockMeter, Protocol):
    """Notes how checkpoints come along, for metrics."""

    def checkpointed(self, time_ms: int) -> None:
        """Note when the newest checkpoint was signed."""
        ...

    def chain_ok(self, *, ok: bool) -> None:
        """Note whether the audit chains verify."""
        ...


class Checkpoints:
    """Signs checkpoints.

    Args:
        ledger: the journal that they name.
        store: has the records of house keys.
        vault: signs and anchors.
        audit: is told of jumps of the clock.
        trail: all chains.
        clock: wall time for dates.
        meter: counts.
        first_key: public half (DER SubjectPublicKeyInfo) of the house's first checkpoint key: the first
            checkpoint is signed with it, since that is the one that auditors have.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a checkpoint binds every room
        self,
        ledger: Ledger,
        store: Store,
        vault: Vault,
        audit: AuditLog,
        trail: AuditTrail,
        clock: Clock,
        meter: CheckpointMeter,
        first_key: bytes,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._trail = trail
        self._clock = clock
        self._meter = meter
        self._first_key = first_key
        self._watch = ClockWatch(store, audit, clock, meter)
        self._last: Checkpoint | None = None
        self._signer = first_key
        self._anchored: tuple[int, float] = (-1, 0.0)

    def forget(self) -> None:
        """Forget the newest checkpoint: somebody else leads, and may sign others."""
        self._last = None

    async def sign(self) -> None:
        """Sign a checkpoint if any chain grew, and move the token's anchor if the store changed.

        The clock is judged first: a checkpoint with a wrong time must not make that time look right.

        Raises:
            StrongroomError: INTEGRITY_FAILURE for a damaged chain or a newest checkpoint of another's making.
        """
        await self._trail.close_dead()
        try:
            last = await self._newest()
            await self._watch.judge(last)
            heads = await self._trail.heads(last)
        except StrongroomError as error:
            self._meter.chain_ok(ok=error.reason is not Reason.INTEGRITY_FAILURE)
            raise
        self._meter.chain_ok(ok=True)
        if last is None or _grew(last.heads, heads):
            last = await self._sign_next(last, heads)
        await self._move_anchor(last)

    async def _newest(self) -> Checkpoint | None:
        if self._last is None:
            newest = await self._trail.newest()
            if newest is None:
                return None
            signer = await self._signer_of(*newest)
            self._last, self._signer = newest[0], newest[0].next_key or signer
        return self._last

    async def _signer_of(self, checkpoint: Checkpoint, signature: bytes) -> bytes:
        """Find who signed the newest checkpoint; the key may be another worker's, made just now."""
        message = checkpoint.message()
        signer = signer_of(self._vault.checkpoint_keys, message, signature)
        if signer is None:
            house = [await self._ledger.verify(stored) for stored in await self._store.all(HouseRecord)]
            await self._vault.take_up(house)
            signer = signer_of(self._vault.checkpoint_keys, message, signature)
        if signer is None:
            detail = "the newest checkpoint was not signed by this token"
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail=detail)
        return signer

    async def _sign_next(self, before: Checkpoint | None, heads: tuple[Head, ...]) -> Checkpoint:
        """Sign the next checkpoint. A new key is first named in one that the key before it signs."""
        signer = self._signer if before else self._first_key
        newest = self._vault.checkpoint_key
        checkpoint = next_checkpoint(
            before,
            heads,
            time=self._clock.wall_ms(),
            journal_sequence=self._ledger.sequence,
            journal_head=self._ledger.head,
            next_key=newest if newest != signer else b"",
        )
        self._last = None
        await self._trail.append(checkpoint, await self._vault.sign_checkpoint(checkpoint.message(), signer))
        self._last, self._signer = checkpoint, newest
        self._meter.checkpointed(checkpoint.time)
        return checkpoint

    async def _move_anchor(self, checkpoint: Checkpoint) -> None:
        sequence, at = self._anchored
        now = self._clock.monotonic()
        if sequence == self._ledger.sequence and now - at < ANCHOR_SECONDS:
            return
        anchor = Anchor(self._ledger.sequence, self._ledger.head, checkpoint.number, checkpoint.digest())
        await self._vault.write_anchor(anchor)
        self._anchored = (anchor.sequence, now)

    async def clock_believed(self) -> bool:
        """Look for a jump of the wall clock now, and say whether it may be acted upon: `clockwatch`."""
        await self._watch.judge(await self._newest())
        return not await self._watch.distrusted()


def _grew(before: tuple[Head, ...], now: tuple[Head, ...]) -> bool:
    old = {head.origin: head.count for head in before}
    return any(head.count > old.get(head.origin, 0) for head in now)
