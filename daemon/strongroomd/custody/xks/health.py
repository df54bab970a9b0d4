"""How the tokens behind key stores are: each is tried in the background with a key that is nobody's.

A token encrypts and decrypts every few seconds; a request reads what was found last, so that it costs the HSM
nothing and answers at once. What was found more than a minute ago is not believed any more.
"""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.custody.clock import Clock
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.tokens import MAIN, spelled
from strongroomd.ports import Tokens
from strongroomd.telemetry import logs

LOOK_SECONDS: Final = 5.0
MOST_AGE: Final = 60.0  # seconds; the specification lets an answer be a minute old
SLOW: Final = 0.1  # seconds of an encryption and a decryption, of the 200 ms that a whole request has
PATIENCE: Final = 2.0  # seconds that a look may take
MOST_TOKENS: Final = 10  # entries of ekmFleetDetails
_UNSEEN: Final = "not seen yet"
_log = logs.get("xks")


class Status(StrEnum):
    """How a token is, in the words of the specification."""

    ACTIVE = "ACTIVE"
    DEGRADED = "DEGRADED"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class TokenHealth:
    """One token; the id is unique in the fleet."""

    id: str
    model: str
    status: Status


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is said of the daemon itself.

    Attributes:
        size: how many proxies serve the store's endpoint.
        node: this one's name.
        model: the product and its version.
    """

    size: int
    node: str
    model: str
    vendor: str = "Strongroom"


@dataclass(frozen=True, slots=True)
class Health:
    """What GetHealthStatus answers."""

    fleet_size: int
    vendor: str
    model: str
    ekm_vendor: str
    fleet: tuple[TokenHealth, ...]


@dataclass(slots=True)
class _Seen:
    """What the looks at a token found: when one was good last, how long it took, how many were bad since."""

    at: float
    seconds: float = 0.0
    bad: int = 0


class HealthBoard:
    """Tries the tokens and remembers.

    Args:
        vault: the tokens.
        clock: how old a finding is.
        fleet: what is said of the daemon.
    """

    def __init__(self, vault: Tokens, clock: Clock, fleet: Fleet) -> None:
        self.fleet = fleet
        self._vault = vault
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    async def look(self) -> None:
        """Try all tokens, each for itself."""
        await asyncio.gather(*(self._look_at(token) for token in self._vault.tokens()))

    async def _look_at(self, token: str) -> None:
        seen = self._seen.setdefault(token, _Seen(-MOST_AGE * 2))
        try:
            async with asyncio.timeout(PATIENCE):
                seconds = await self._vault.exercise(token)
        except (StrongroomError, TimeoutError) as error:
            seen.bad += 1
            if seen.bad == 1:
                _log.warning("a token does not encrypt and decrypt", token=spelled(token), cause=str(error))
            return
        self._seen[token] = _Seen(self._clock.monotonic(), seconds)

    def status(self, token: str) -> Status:
        """Say how a token is."""
        seen = self._seen.get(token)
        if seen is None or seen.bad > 1 or self._clock.monotonic() - seen.at > MOST_AGE:
            return Status.UNAVAILABLE
        return Status.DEGRADED if seen.bad or seen.seconds > SLOW else Status.ACTIVE

    def report(self, tokens: tuple[str, ...]) -> Health:
        """Tell of some tokens, or of the main one if none is named; at most ten fit."""
        chosen = (tokens or (MAIN,))[:MOST_TOKENS]
        entries = tuple(
            TokenHealth(
                f"{self.fleet.node}/{spelled(token)}",
                self._vault.describe(token) or _UNSEEN,
                self.status(token),
            )
            for token in chosen
        )
        return Health(self.fleet.size, self.fleet.vendor, self.fleet.model, entries[0].model, entries)
