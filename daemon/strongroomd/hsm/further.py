"""A further token: opened when it can be, given up when it is ill, taken back when it heals.

Whatever happens to it, the worker and the other tokens serve on: it is opened and probed on threads, its keys
are refused while it is away, and where only a fresh process can use it again, the worker asks for a
successor, gracefully and ever more rarely.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, ParamSpec, TypeVar

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm import scout
from strongroomd.hsm.keystore import Parts, TokenVault
from strongroomd.hsm.login import PIN_REFUSED
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.opening import open_token
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.places import Place
from strongroomd.hsm.renewals import Renewals
from strongroomd.hsm.settings import HsmSettings

FIRST_PAUSE: Final = 1.0  # seconds until a token that is away is tried again; doubles
LONGEST_PAUSE: Final = 3.0  # so that its keys work again within five seconds of its return
MOST_SHARE: Final = 10.0  # the pause is so many times what the last try took: others want the login lock, too
FIRST_SCOUT: Final = 1.0  # seconds between two fresh processes, which cost a second each; doubles
LONGEST_SCOUT: Final = 60.0
PROBE_SECONDS: Final = 5.0  # between two canaries, and the longest that one may take
SETTLED_SECONDS: Final = 600.0  # a token that was well for so long begins anew with its renewals

_CLOSE_SECONDS: Final = 5.0

P = ParamSpec("P")
T = TypeVar("T")
House = Callable[[], Awaitable[Sequence[HouseRecord]]]


class FurtherToken:
    """One further token of one worker. `tend` is called each second, on the loop.

    Args:
        settings: the token and its bounds.
        pin: reads its PIN, anew for each try: an operator may have corrected it.
        house: reads and verifies the store's records of its house keys.
        observer: hears of its calls and of its state.
        renewals: how often the worker may ask for a successor because of it.

    Attributes:
        place: where the router finds its vault.
        tell: hears of its house records when it is opened.
        wants_process: it is there again, but this process cannot use it.
    """

    def __init__(
        self,
        settings: HsmSettings,
        pin: Callable[[], Pin],
        house: House,
        observer: Observer,
        renewals: Renewals,
    ) -> None:
        self.place = Place(settings.name, "not opened yet")
        self.tell: Callable[[Iterable[HouseRecord]], None] = _nobody
        self.wants_process = False
        self._settings = settings
        self._pin = pin
        self._house = house
        self._observer = observer
        self._renewals = renewals
        # Of its own: what hangs in this token's module must use up nobody else's threads.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=f"token-{settings.name}")
        self._opening: Future[Parts] | None = None
        self._lost: TokenVault | None = None
        self._canary: Future[None] | None = None
        self._busy = False
        self._due = 0.0
        self._pause = FIRST_PAUSE
        self._scout_due = 0.0
        self._scout_pause = FIRST_SCOUT
        self._opened_at = 0.0
        self._fresh = True

    async def tend(self) -> None:
        """Watch the token if it is open, else try to open it if that is due; never raises StrongroomError."""
        if self._busy:
            return
        self._busy = True
        try:
            if self.place.vault is not None:
                await self._watch(self.place.vault)
            elif time.monotonic() >= self._due:
                await self._try()
        finally:
            self._busy = False

    def close(self) -> None:
        """Let the token go, unless a call into it does not return: nothing may wait for that.

        A login is not left half done, though.
        """
        if self._opening is not None:
            wait([self._opening], timeout=_CLOSE_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)
        vault, self.place.vault = self.place.vault or self._lost, None
        if vault is not None and not vault.hanging() and not self._canary_runs():
            vault.close()

    # --- while it is open ---

    async def _watch(self, vault: TokenVault) -> None:
        lane = vault.hanging()
        if vault.fatal is None and lane is not None:
            vault.give_up(f"a call of lane {lane} does not return")
        elif vault.fatal is None and time.monotonic() >= self._due:
            await self._probe(vault)
        if vault.fatal is not None:
            self._lose(vault, vault.fatal)

    async def _probe(self, vault: TokenVault) -> None:
        """Run the canary, on a thread: one that hangs must not hang the loop."""
        self._due = time.monotonic() + PROBE_SECONDS
        self._canary = self._threads.submit(vault.check)
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._canary)), PROBE_SECONDS)
        except TimeoutError:
            vault.give_up("the canary does not return")
        except StrongroomError as error:
            self._say(error.detail or error.message)
        else:
            self._say("")
            if time.monotonic() - self._opened_at > SETTLED_SECONDS:
                self._renewals.clear()

    def _canary_runs(self) -> bool:
        return self._canary is not None and not self._canary.done()

    def _lose(self, vault: TokenVault, why: str) -> None:
        self.place.vault, self._lost = None, vault
        self._pause, self._scout_pause, self._scout_due = FIRST_PAUSE, FIRST_SCOUT, 0.0
        self._due = time.monotonic() + self._pause
        self._observer.away()
        self._say(why)

    # --- while it is away ---

    async def _try(self) -> None:
        began = time.monotonic()
        try:
            house = await self._house()
            self.tell(house)
            await self._let_go()
            parts = await self._open(house)
        except StrongroomError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - what a module or its files may do ends no worker
            failed = StrongroomError(Reason.HSM_UNAVAILABLE, detail=type(error).__name__)
        else:
            self._welcome(parts)
            return
        self._rest(time.monotonic() - began)
        await self._still_away(failed)

    def _rest(self, spent: float) -> None:
        """Settle when it is tried again, after a try that took so many seconds."""
        self._due = time.monotonic() + max(self._pause, MOST_SHARE * spent)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def _let_go(self) -> None:
        """Log out of a token that was lost, so that it can be logged in to anew.

        Raises:
            StrongroomError: HSM_UNAVAILABLE while calls are inside the module, or sessions do not close.
        """
        if self._lost is None:
            return
        if not self._lost.idle or self._canary_runs():
            raise StrongroomError(Reason.HSM_UNAVAILABLE, detail="calls from before do not return")
        lost, self._lost = self._lost, None
        await asyncio.wait_for(self._on_thread(lost.close), _CLOSE_SECONDS)

    async def _open(self, house: Sequence[HouseRecord]) -> Parts:
        def work() -> Parts:
            return open_token(self._settings, self._pin(), house, self._observer)

        self._opening = self._threads.submit(work)
        try:
            return await asyncio.wrap_future(self._opening)
        finally:
            if self._opening.done():
                self._opening = None

    async def _on_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))

    def _welcome(self, parts: Parts) -> None:
        self._fresh = False
        self._opened_at = time.monotonic()
        self._due = self._opened_at + PROBE_SECONDS
        self._pause, self._scout_pause, self._scout_due = FIRST_PAUSE, FIRST_SCOUT, 0.0
        self.wants_process = False
        self.place.vault = TokenVault(self._settings, parts, self._observer)
        self.place.vault.housekeeping.source = self._house
        self.place.description = self.place.vault.describe()
        self._observer.back()
        self._say("")

    async def _still_away(self, error: StrongroomError) -> None:
        self._observer.away()
        news = self._say(error.detail or error.message)
        if news and error.message == PIN_REFUSED:
            self._observer.alert("pin_refused", self.place.trouble)
        due = time.monotonic() >= self._scout_due
        if error.reason is Reason.HSM_UNAVAILABLE and due and not self.wants_process:
            await self._look_elsewhere()

    async def _look_elsewhere(self) -> None:
        """Ask for a successor if a fresh process sees what this one does not, unless this one is fresh."""
        if self._fresh:
            self._fresh = False
            return
        self._scout_due = time.monotonic() + self._scout_pause
        self._scout_pause = min(2 * self._scout_pause, LONGEST_SCOUT)
        if await self._on_thread(scout.sees, self._settings):
            self.wants_process = self._renewals.ask()

    def _say(self, trouble: str) -> bool:
        """Take note of what is wrong; True, and a word to the observer, when that is new."""
        news = trouble != self.place.trouble
        self.place.trouble = trouble
        if news and trouble:
            self._observer.alert("token_away", trouble)
        return news


def _nobody(_: Iterable[HouseRecord]) -> None:
    """Hear nothing."""
