"""What the board says of tokens: good, slow, failed once, failing, not seen for a minute."""

import asyncio
from typing import Any

import pytest
from tests.virtualtime import LoopClock, run

from strongroomd.custody.xks import health
from strongroomd.custody.xks.health import Fleet, HealthBoard, Status
from strongroomd.domain.errors import Reason, StrongroomError

FLEET = Fleet(3, "node-1", "Strongroom 1")


class Tokens:
    """A vault whose tokens are as told: seconds that an exercise takes, an error, or None for one that hangs."""

    def __init__(self, **found: float | Exception | None) -> None:
        self.found = {"": 0.001, **found}

    def tokens(self) -> tuple[str, ...]:
        return tuple(self.found)

    def describe(self, token: str) -> str:
        return "" if token == "unseen" else f"model of {token or 'main'}"

    async def exercise(self, token: str) -> float:
        found = self.found[token]
        if isinstance(found, Exception):
            raise found
        if found is None:
            await asyncio.Event().wait()
        return found or 0.0


AWAY = StrongroomError(Reason.HSM_UNAVAILABLE)


def made(tokens: Any) -> HealthBoard:
    return HealthBoard(tokens, LoopClock(), FLEET)


async def looked(board: HealthBoard, times: int = 1) -> None:
    for _ in range(times):
        await board.look()
        await asyncio.sleep(health.LOOK_SECONDS)


def test_before_the_first_look_nothing_is_known_to_work() -> None:
    async def body() -> None:
        board = made(Tokens())
        assert board.status("") is Status.UNAVAILABLE
        await board.look()
        assert board.status("") is Status.ACTIVE
        assert board.status("no such token") is Status.UNAVAILABLE

    run(body())


@pytest.mark.parametrize(
    ("seconds", "status"), [(0.0, Status.ACTIVE), (health.SLOW, Status.ACTIVE), (0.11, Status.DEGRADED)]
)
def test_a_token_that_is_too_slow_for_a_request_is_degraded(seconds: float, status: Status) -> None:
    async def body() -> None:
        board = made(Tokens(other=seconds))
        await board.look()
        assert (board.status("other"), board.status("")) == (status, Status.ACTIVE)

    run(body())


@pytest.mark.parametrize(
    "ill", [AWAY, StrongroomError(Reason.INTERNAL), None], ids=["away", "wrong", "hangs"]
)
def test_one_bad_look_degrades_a_second_ends_it_and_a_good_one_mends_all(ill: Any) -> None:
    async def body() -> None:
        tokens = Tokens(other=0.001)
        board = made(tokens)
        await looked(board)
        tokens.found["other"] = ill

        seen = []
        for _ in range(3):
            await looked(board)
            seen.append(board.status("other"))
            assert board.status("") is Status.ACTIVE
        tokens.found["other"] = 0.001
        await board.look()

        assert seen == [Status.DEGRADED, Status.UNAVAILABLE, Status.UNAVAILABLE]
        assert board.status("other") is Status.ACTIVE

    run(body())


def test_a_token_that_hangs_holds_up_no_other_ones_look() -> None:
    async def body() -> None:
        board = made(Tokens(other=None))
        began = asyncio.get_running_loop().time()
        await board.look()
        assert asyncio.get_running_loop().time() - began == pytest.approx(health.PATIENCE)
        assert board.status("") is Status.ACTIVE

    run(body())


def test_what_was_seen_a_minute_ago_is_not_believed() -> None:
    async def body() -> None:
        board = made(Tokens())
        await board.look()
        await asyncio.sleep(60.0)
        assert board.status("") is Status.ACTIVE
        await asyncio.sleep(0.5)
        assert board.status("") is Status.UNAVAILABLE

    run(body())


def test_a_report_is_of_the_tokens_asked_for_ten_at_most_and_of_the_main_one_for_want_of_any() -> None:
    async def body() -> None:
        many = {f"t{number}": 0.001 for number in range(12)}
        board = made(Tokens(slow=0.2, unseen=AWAY, **many))
        await board.look()
        report = board.report(("", "slow", "unseen"))
        assert (report.fleet_size, report.vendor, report.model) == (3, "Strongroom", "Strongroom 1")
        assert report.ekm_vendor == "model of main"
        assert [(each.id, each.model, each.status) for each in report.fleet] == [
            ("node-1/main", "model of main", Status.ACTIVE),
            ("node-1/slow", "model of slow", Status.DEGRADED),
            ("node-1/unseen", "not seen yet", Status.UNAVAILABLE),  # not one good look yet
        ]
        assert [each.id for each in board.report(()).fleet] == ["node-1/main"]
        assert len({each.id for each in board.report(tuple(many)).fleet}) == 10

    run(body())
