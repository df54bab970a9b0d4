"""No interleaving of workers, kills, lost and doubtful commits hands out an invocation twice, or one too many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroomd.custody.invocations import Invocations
from strongroomd.domain import invocations
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.invocations import AT_BIRTH, Bounds, crosses, next_block
from strongroomd.domain.records import InvocationsRecord

KEY: Any = SimpleNamespace(key_id="k", record=SimpleNamespace(version=1))
FATES = ("committed", "committed", "committed", "lost", "doubtful")

limits = st.builds(
    lambda limit, block: Bounds(limit, block, limit * 8 // 10, limit * 9 // 10),
    st.integers(2, 200),
    st.integers(1, 40),
)


class Paper:
    """A ledger of one counter whose transactions take as long, and end, as the test says."""

    def __init__(self, pauses: list[int], fates: list[str]) -> None:
        self.counter: InvocationsRecord | None = None
        self.asked = 0
        self._pauses = pauses
        self._fates = fates
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def change(self) -> AsyncIterator["Paper"]:
        async with self._turn:
            self.asked += 1
            self._written = self.counter
            yield self
            await self._pause()
            fate = self._fates[self.asked % len(self._fates)]
            if fate != "lost":
                self.counter = self._written
            await self._pause()
            if fate != "committed":
                raise StrongroomError(Reason.STORE_UNAVAILABLE)

    async def get(self, kind: type, record_id: str) -> InvocationsRecord | None:
        assert (kind, record_id) == (InvocationsRecord, "k/1")
        await self._pause()
        return self.counter

    async def put(self, record: InvocationsRecord) -> None:
        await self._pause()
        assert record.row_version == (self.counter.row_version if self.counter else 0) + 1
        self._written = record

    async def _pause(self) -> None:
        for _ in range(self._pauses[self.asked % len(self._pauses)]):
            await asyncio.sleep(0)


class Workers:
    """Workers that take invocations until they are killed; each begins again with nothing in its memory."""

    def __init__(self, paper: Paper, bounds: Bounds, count: int) -> None:
        self._paper = paper
        self._bounds = bounds
        self._memory = [self._fresh() for _ in range(count)]
        self._tasks: list[set[asyncio.Task[None]]] = [set() for _ in range(count)]
        self.taken: list[int] = []
        self.refused: list[Reason] = []

    def _fresh(self) -> Invocations:
        ledger: Any = self._paper
        return Invocations(ledger, bounds=self._bounds)

    def take(self, worker: int, times: int) -> None:
        for _ in range(times):
            self._tasks[worker].add(asyncio.ensure_future(self._take(self._memory[worker])))

    async def _take(self, memory: Invocations) -> None:
        try:
            self.taken.append(await memory.take(KEY))
        except StrongroomError as error:
            self.refused.append(error.reason)

    def kill(self, worker: int) -> None:
        for task in self._tasks[worker]:
            task.cancel()
        self._memory[worker] = self._fresh()

    async def end(self) -> None:
        tasks = [task for tasks in self._tasks for task in tasks]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result


steps = st.lists(
    st.tuples(st.sampled_from(("take", "take", "take", "kill", "wait")), st.integers(0, 2), st.integers(1, 12)),
    max_size=30,
)  # fmt: skip


@settings(max_examples=300)
@given(
    limits,
    steps,
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.sampled_from(FATES), min_size=1, max_size=8),
)
def test_no_invocation_is_handed_out_twice_or_beyond_the_limit(
    bounds: Bounds, plan: list[Any], pauses: list[int], fates: list[str]
) -> None:
    async def run() -> tuple[Workers, Paper]:
        paper = Paper(pauses, fates)
        workers = Workers(paper, bounds, 3)
        for act, worker, number in plan:
            match act:
                case "take":
                    workers.take(worker, number)
                case "kill":
                    workers.kill(worker)
                case _:
                    for _ in range(number):
                        await asyncio.sleep(0)
        await workers.end()
        return workers, paper

    workers, paper = asyncio.run(run())

    assert len(set(workers.taken)) == len(workers.taken)
    reserved = paper.counter.reserved if paper.counter else AT_BIRTH
    assert all(AT_BIRTH < number <= reserved for number in workers.taken)
    assert reserved <= bounds.limit
    assert set(workers.refused) <= {Reason.KEY_EXHAUSTED, Reason.STORE_UNAVAILABLE}
    if Reason.KEY_EXHAUSTED in workers.refused:
        assert reserved == bounds.limit


@given(limits, st.integers(1, 3), st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_undisturbed_workers_use_every_invocation_and_then_none(
    bounds: Bounds, count: int, pauses: list[int]
) -> None:
    async def run() -> tuple[Workers, Paper, int]:
        paper = Paper(pauses, ["committed"])
        workers = Workers(paper, bounds, count)
        for worker in range(count):
            workers.take(worker, bounds.limit)
        await workers.end()
        asked = paper.asked
        for worker in range(count):
            workers.take(worker, 5)
        await workers.end()
        return workers, paper, asked

    workers, paper, asked = asyncio.run(run())

    assert sorted(workers.taken) == list(range(AT_BIRTH + 1, bounds.limit + 1))
    assert set(workers.refused) == {Reason.KEY_EXHAUSTED}
    assert paper.asked == asked  # who knows that there are no more does not ask the store again


@given(limits)
def test_blocks_follow_each_other_to_the_limit_and_one_of_them_reaches_each_mark(bounds: Bounds) -> None:
    reserved, crossed = AT_BIRTH, 0
    while (block := next_block(reserved, bounds)) is not None:
        assert block.first == reserved + 1
        assert block.first <= block.last <= bounds.limit
        crossed += crosses(block, bounds.warn)
        reserved = block.last

    assert reserved == bounds.limit
    assert crossed == (bounds.warn > AT_BIRTH)


def test_the_bounds_are_those_of_the_standard() -> None:
    assert Bounds() == Bounds(2**32, 2**16, 3_435_973_836, 3_865_470_566)
    last = next_block(2**32 - 5, Bounds())
    assert last == invocations.Block(2**32 - 4, 2**32)
    assert next_block(2**32, Bounds()) is None
    assert next_block(2**33, Bounds()) is None
