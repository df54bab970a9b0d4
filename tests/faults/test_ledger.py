"""Following the journal: however many ask, few look, and each sees what was committed before it asked."""

import asyncio
from typing import Any

import pytest
from tests.faults.core import Core

from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError

pytestmark = pytest.mark.softhsm


class Looks:
    """A store that counts the looks at its journal, and can be held up or fail."""

    def __init__(self, ledger: Ledger) -> None:
        self.count = 0
        self.failure: StrongroomError | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._store: Any = ledger._store
        ledger._store = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def journal(self, after: int, limit: int) -> Any:
        self.count += 1
        if self.failure is not None:
            raise self.failure
        found = await self._store.journal(after, limit)
        await self.may_answer.wait()
        return found


async def test_all_who_ask_meanwhile_share_one_look(core: Core) -> None:
    other = core.reborn()
    looks = Looks(other)
    looks.may_answer.clear()
    asked = [asyncio.ensure_future(other.follow()) for _ in range(100)]
    await asyncio.sleep(0.01)
    later = [asyncio.ensure_future(other.follow()) for _ in range(100)]

    looks.may_answer.set()
    await asyncio.gather(*asked, *later)

    assert other.sequence == core.ledger.sequence
    assert looks.count <= 4, "two looks, each until there is nothing more"


async def test_who_asks_after_a_commit_sees_it_though_an_older_look_is_under_way(core: Core) -> None:
    other = core.reborn()
    await other.start()
    looks = Looks(other)
    looks.may_answer.clear()
    older = asyncio.ensure_future(other.follow())
    await asyncio.sleep(0.05)  # it has read, and waits
    assert looks.count == 1
    await core.create()

    newer = asyncio.ensure_future(other.follow())
    await asyncio.sleep(0)
    looks.may_answer.set()
    await newer

    assert other.sequence == core.ledger.sequence
    await older


async def test_a_look_that_fails_fails_for_all_who_wait_and_the_next_one_works(core: Core) -> None:
    other = core.reborn()
    looks = Looks(other)
    looks.failure = StrongroomError(Reason.STORE_UNAVAILABLE)

    ends = await asyncio.gather(*(other.follow() for _ in range(5)), return_exceptions=True)
    looks.failure = None
    await other.follow()

    assert [type(end) for end in ends] == [StrongroomError] * 5
    assert other.sequence == core.ledger.sequence


async def test_who_goes_away_takes_nobody_else_along(core: Core) -> None:
    other = core.reborn()
    looks = Looks(other)
    looks.may_answer.clear()
    leaver, stayer = (asyncio.ensure_future(other.follow()) for _ in range(2))
    await asyncio.sleep(0.01)

    leaver.cancel()
    await asyncio.sleep(0)
    looks.may_answer.set()
    await stayer

    assert leaver.cancelled()
    assert other.sequence == core.ledger.sequence
