"""Names of tokens: the main one, which holds what a house has once, and further ones, which hold keys.

Records name the main token by nothing at all, as all did when there was no other; people call it `main`.
"""

from dataclasses import dataclass
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError, invalid

MAIN: Final = ""
SPELLED_MAIN: Final = "main"
PATTERN: Final = r"^[a-z0-9-]{1,32}$"
"""What a further token may be called; `main` is taken."""
MAX_FURTHER: Final = 15
"""Most further tokens: each costs every worker a login, sessions and threads, and is a label of metrics."""


def spelled(token: str) -> str:
    """Give a token's name as people and metrics know it."""
    return token or SPELLED_MAIN


def demand_main(token: str) -> None:
    """Refuse what is meant for another token, where there is only the main one. Raises HSM_UNAVAILABLE."""
    if token:
        raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=f"token {token} is not configured")


@dataclass(frozen=True, slots=True)
class TokenNames:
    """Which tokens a new key may be put into.

    Attributes:
        further: names of the further tokens.
        default: where keys go whose maker names no token.
    """

    further: frozenset[str] = frozenset()
    default: str = MAIN

    def settle(self, wanted: str) -> str:
        """Find the token a caller wants, empty for the default. Raises INVALID_FIELD for no known name."""
        if not wanted:
            return self.default
        if wanted == SPELLED_MAIN:
            return MAIN
        if wanted not in self.further:
            raise invalid("token", "names no token of this daemon")
        return wanted
