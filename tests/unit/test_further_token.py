"""A further token comes and goes: tried again ever more rarely, and never at the cost of the worker."""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm import further, renewals, scout
from strongroomd.hsm.further import LONGEST_PAUSE, LONGEST_SCOUT, FurtherToken
from strongroomd.hsm.login import PIN_REFUSED
from strongroomd.hsm.observer import Silent
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.renewals import MOST_SECONDS, Renewals
from strongroomd.hsm.settings import HsmSettings

AWAY = StrongroomError(Reason.HSM_UNAVAILABLE, detail="0 tokens have the configured serial and label")
REFUSED = StrongroomError(Reason.CONFIGURATION, PIN_REFUSED)


class Watcher(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def away(self) -> None:
        self.heard.append("away")

    def back(self) -> None:
        self.heard.append("back")

    def alert(self, event: str, text: str) -> None:
        self.heard.append(event)


class FakeVault:
    def __init__(self, settings: object, parts: object, observer: object) -> None:
        self.housekeeping = SimpleNamespace(source=None)
        self.fatal: str | None = None
        self.lane: str | None = None
        self.idle = True
        self.closed = False
        self.trouble: StrongroomError | None = None

    def hanging(self) -> str | None:
        return self.lane

    def give_up(self, why: str) -> None:
        self.fatal = why

    def describe(self) -> str:
        return "a fake"

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def close(self) -> None:
        self.closed = True


class Clock:
    """Time passes when the test says so."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class Trial:
    """A further token whose module is the test's: `answers` are what opening it gives, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.answers: list[StrongroomError | Exception | None] = [None]
        self.tries = 0
        self.seen = False
        self.scouted = 0
        self.house: Sequence[HouseRecord] = [HouseRecord("kek-sealed", "k", b"", b"", "second")]
        self.watcher, self.clock = Watcher(), Clock()
        monkeypatch.setattr(further, "open_token", self._open)
        monkeypatch.setattr(further, "TokenVault", FakeVault)
        monkeypatch.setattr(scout, "sees", self._sees)
        monkeypatch.setattr(further, "time", self.clock)  # not the module: the event loop lives by it
        settings = HsmSettings(Path("/module"), folder, token_label="second", name="second")
        pin = Pin("secret")
        self.token = FurtherToken(settings, lambda: pin, self._read, self.watcher, Renewals(folder / "asked"))

    def _open(self, *_: object) -> object:
        answer = self.answers[min(self.tries, len(self.answers) - 1)]
        self.tries += 1
        if answer is not None:
            raise answer
        return object()

    def _sees(self, _: object) -> bool:
        self.scouted += 1
        return self.seen

    async def _read(self) -> Sequence[HouseRecord]:
        return self.house

    @property
    def vault(self) -> FakeVault:
        return cast("FakeVault", self.token.place.vault)

    async def pass_time(self, seconds: float) -> None:
        """Tend the token each second."""
        for _ in range(int(seconds)):
            await self.token.tend()
            self.clock.now += 1.0


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Trial:
    return Trial(monkeypatch, tmp_path)


async def test_a_token_that_is_there_is_opened_once(trial: Trial) -> None:
    await trial.pass_time(30)

    assert trial.tries == 1
    assert (trial.token.place.trouble, trial.watcher.heard) == ("", ["back"])


async def test_a_token_that_is_away_is_tried_ever_more_rarely_and_told_of_once(trial: Trial) -> None:
    trial.answers = [AWAY]
    await trial.pass_time(600)

    assert 600 / LONGEST_PAUSE - 4 < trial.tries < 600 / LONGEST_PAUSE + 4
    assert 8 < trial.scouted < 600 / LONGEST_SCOUT + 8
    assert trial.watcher.heard.count("token_away") == 1
    assert trial.token.place.trouble == AWAY.detail


async def test_a_token_that_is_back_after_an_hour_is_opened_within_five_seconds(trial: Trial) -> None:
    trial.answers = [AWAY]
    await trial.pass_time(3600)
    trial.answers = [None]

    await trial.pass_time(4)

    assert trial.token.place.vault is not None


async def test_a_token_that_takes_long_to_fail_has_the_login_lock_a_tenth_of_the_time(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> object:
        trial.tries += 1
        trial.clock.now += 10.0
        raise AWAY

    monkeypatch.setattr(further, "open_token", slow)
    await trial.pass_time(200)

    assert trial.tries == 2


async def test_a_token_that_comes_back_is_opened_and_watched_again(trial: Trial) -> None:
    trial.answers = [AWAY, AWAY, None]
    await trial.pass_time(10)

    assert trial.token.place.vault is not None
    assert trial.watcher.heard[-1] == "back"


async def test_the_house_keys_are_told_before_any_key_is_used(trial: Trial) -> None:
    told: list[HouseRecord] = []
    trial.token.tell = told.extend
    await trial.token.tend()

    assert told == trial.house


async def test_a_refused_pin_is_an_alert_of_its_own_and_no_reason_for_a_fresh_process(trial: Trial) -> None:
    trial.answers, trial.seen = [REFUSED], True
    await trial.pass_time(300)

    assert trial.watcher.heard.count("pin_refused") == 1
    assert (trial.scouted, trial.token.wants_process) == (0, False)


async def test_an_error_that_nobody_foresaw_keeps_the_token_away_and_the_worker_alive(trial: Trial) -> None:
    trial.answers = [RuntimeError("the module went mad"), None]
    await trial.token.tend()

    assert trial.token.place.trouble == "RuntimeError"
    await trial.pass_time(3)
    assert trial.token.place.vault is not None


async def test_a_token_that_failed_for_good_is_let_go_and_opened_again(trial: Trial) -> None:
    await trial.token.tend()
    lost = trial.vault
    lost.fatal = "logged out"
    trial.clock.now += 1
    await trial.token.tend()
    assert (trial.token.place.vault, trial.token.place.trouble) == (None, "logged out")

    await trial.pass_time(3)

    assert lost.closed
    assert trial.vault is not None
    assert trial.vault is not lost


async def test_a_token_with_a_hanging_call_is_given_up_and_not_logged_in_to_beside_it(trial: Trial) -> None:
    await trial.token.tend()
    lost = trial.vault
    lost.lane, lost.idle = "slow", False
    await trial.pass_time(60)

    assert lost.fatal == "a call of lane slow does not return"
    assert (trial.token.place.vault, lost.closed, trial.tries) == (None, False, 1)
    lost.lane, lost.idle = None, True
    await trial.pass_time(LONGEST_PAUSE + 1)
    assert (lost.closed, trial.tries) == (True, 2)


async def test_a_canary_that_hangs_gives_the_token_up_and_not_the_loop(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.token.tend()
    lost, over = trial.vault, threading.Event()
    monkeypatch.setattr(lost, "check", over.wait)
    monkeypatch.setattr(further, "PROBE_SECONDS", 0.05)
    trial.clock.now += 10

    await asyncio.wait_for(trial.token.tend(), 5)

    over.set()
    assert lost.fatal == "the canary does not return"
    assert trial.token.place.vault is None


async def test_while_a_canary_hangs_a_fresh_process_is_looked_for_and_nothing_waits(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.pass_time(2)
    lost, over = trial.vault, threading.Event()
    monkeypatch.setattr(lost, "check", over.wait)
    monkeypatch.setattr(further, "PROBE_SECONDS", 0.05)
    trial.clock.now += 10
    trial.seen = True

    await asyncio.wait_for(trial.pass_time(10), 5)
    asked = (lost.closed, trial.scouted > 0, trial.token.wants_process)
    over.set()
    await asyncio.wrap_future(cast("Any", trial.token._canary))
    await trial.pass_time(LONGEST_PAUSE + 1)

    assert asked == (False, True, True)
    assert (lost.closed, trial.tries) == (True, 2)


async def test_closing_does_not_wait_for_a_canary_that_hangs(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.token.tend()
    lost, over = trial.vault, threading.Event()
    monkeypatch.setattr(lost, "check", over.wait)
    monkeypatch.setattr(further, "PROBE_SECONDS", 0.05)
    trial.clock.now += 10
    await trial.token.tend()

    trial.token.close()
    over.set()

    assert not lost.closed


async def test_an_open_breaker_is_told_of_and_does_not_take_the_token_away(trial: Trial) -> None:
    await trial.token.tend()
    trial.vault.trouble = StrongroomError(Reason.HSM_UNAVAILABLE, detail="the breaker is open")
    await trial.pass_time(12)
    assert (trial.token.place.vault is not None, trial.token.place.trouble) == (True, "the breaker is open")

    trial.vault.trouble = None
    await trial.pass_time(12)

    assert trial.token.place.trouble == ""


async def test_a_fresh_process_is_asked_for_only_where_it_would_see_the_token(trial: Trial) -> None:
    trial.answers = [AWAY]
    await trial.pass_time(60)
    assert (trial.scouted > 0, trial.token.wants_process) == (True, False)

    trial.seen = True
    await trial.pass_time(LONGEST_SCOUT + 1)

    assert trial.token.wants_process


async def test_a_process_that_is_fresh_itself_does_not_ask_at_once(trial: Trial) -> None:
    trial.answers, trial.seen = [AWAY], True
    await trial.token.tend()

    assert (trial.scouted, trial.token.wants_process) == (0, False)


async def test_one_try_at_a_time_however_long_it_takes(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(further, "open_token", lambda *_: (over.wait(), trial._open())[1])
    first = asyncio.ensure_future(trial.token.tend())
    await asyncio.sleep(0)
    await trial.pass_time(30)
    assert trial.tries == 0

    over.set()
    await first

    assert trial.tries == 1


async def test_closing_waits_for_a_login_but_not_for_what_hangs(trial: Trial) -> None:
    await trial.token.tend()
    vault: Any = trial.vault
    vault.lane = "slow"
    trial.token.close()

    assert not vault.closed


def test_successors_are_asked_for_ever_more_rarely_whoever_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    asked: list[int] = []
    for minute in range(600):
        monkeypatch.setattr(renewals, "time", Clock(now + 60 * minute))
        count = len(asked)
        if Renewals(tmp_path / "asked").ask():
            asked.append(minute)
            _date(tmp_path / "asked", now + 60 * minute)
        assert len(asked) <= count + 1

    assert asked[:3] == [0, 1, 2]
    assert len(asked) < 600 / (MOST_SECONDS / 60) + 10


def _date(path: Path, when: float) -> None:

    os.utime(path, (when, when))


def test_a_second_successor_soon_after_is_not_asked_for_until_the_first_did_well(tmp_path: Path) -> None:
    first = Renewals(tmp_path / "asked")
    assert first.ask()
    assert not Renewals(tmp_path / "asked").ask()

    first.clear()

    assert Renewals(tmp_path / "asked").ask()


def test_who_cannot_remember_does_not_ask(tmp_path: Path) -> None:
    assert not Renewals(tmp_path / "absent" / "asked").ask()
