"""How often keys are used: counted in memory on the hot path, added to the store every few seconds."""

from strongroomd.custody.clock import Clock
from strongroomd.ports import Store, Usage


class UsageCounter:
    """Counts of this worker that the store does not have yet."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: dict[tuple[str, str], list[int]] = {}

    def count(self, key_id: str, operation: str, times: int = 1) -> None:
        """Count successful uses now."""
        cell = self._pending.get((key_id, operation))
        if cell is None:
            cell = self._pending[key_id, operation] = [0, 0]
        cell[0] += times
        cell[1] = self._clock.wall_ms()

    async def flush(self) -> None:
        """Add the counts to the store; they are kept for the next try if the store refuses."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            await self._store.add_usage([Usage(k, op, n, at) for (k, op), (n, at) in pending.items()])
        except BaseException:
            for key, (count, at) in pending.items():
                cell = self._pending.setdefault(key, [0, 0])
                cell[0] += count
                cell[1] = max(cell[1], at)
            raise

    async def read(self, key_id: str) -> list[Usage]:
        """Read a key's usage as the store has it, after adding this worker's counts."""
        await self.flush()
        return await self._store.usage(key_id)
