"""How a connection whose calls are shed is made to wait: it is not read for a while.

A refusal asks its caller to slow down; a caller that does not is slowed by its own socket, whose bytes cost
nothing while nobody reads them. Each refusal makes the next rest `GROWTH` times as long, each call that is
served `RELIEF` times as long: so a connection that floods is served about twelve times between two refusals,
whatever it asks for, and refusing takes little of the worker's time. What came meanwhile has waited: it
counts as if it had come when the rest began. After a long rest that is too late for it, whatever the worker
has to do now; so what comes next is looked at, too, before the connection rests longer. That makes two
refusals of each long rest.
"""

from typing import Final

FIRST_SECONDS: Final = 0.0125
GROWTH: Final = 16
RELIEF: Final = 0.8
FORGIVEN_SECONDS: Final = 10.0
"""After so long without a refusal the next one is a first one again."""
_HOPELESS_SECONDS: Final = 0.15
_STEEPEST: Final = 128  # times the first rest, after which what waited is still answered in time


class Restraint:
    """One connection's.

    Attributes:
        since: monotonic seconds when the rest began whose end is just now; 0 at other times.
    """

    __slots__ = ("_began", "_lasted", "_next", "since")

    def __init__(self) -> None:
        self.since = 0.0
        self._began = self._lasted = 0.0
        self._next = FIRST_SECONDS

    def begin(self, now: float, most: float) -> float:
        """Begin a rest; gives how many seconds it lasts: `most` at most, and not far less if that is long."""
        if now - self._began > FORGIVEN_SECONDS:
            self._next = FIRST_SECONDS
        hopeless = self.since and self._lasted > _HOPELESS_SECONDS
        rest = min(FIRST_SECONDS if hopeless else max(self._next, most / _STEEPEST), most)
        if not hopeless:
            self._next = rest * GROWTH
        self._began, self._lasted, self.since = now, rest, 0.0
        return rest

    def end(self) -> None:
        """End it: what is read now may have come at any time since it began."""
        self.since = self._began

    def forget(self) -> None:
        """What is read from now on comes now."""
        self.since = 0.0

    def lift(self) -> None:
        """A call is served: the next rest is a little shorter."""
        self._next = max(FIRST_SECONDS, self._next * RELIEF)
