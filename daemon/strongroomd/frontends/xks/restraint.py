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
_STEEPEST: Final = 256  # times the first rest, after which what waited is still answered in time


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

    def begin(self, now: float, most: float, least: float = 0.0, *, at_once: bool = True) -> float:
        """Begin a rest; gives how many seconds it lasts.

        Args:
            now: monotonic seconds.
            most: seconds that it may last; it does not last far less where that is long.
            least: seconds that it lasts for the sake of others, which is not held against this connection.
            at_once: whether that is so at the first refusal, too; otherwise from the second one in a row on.
        """
        if now - self._began > FORGIVEN_SECONDS + self._lasted:
            self._next = FIRST_SECONDS
        if self.since and self._lasted > _HOPELESS_SECONDS:
            rest = FIRST_SECONDS
        else:
            others = least if at_once or self._next > FIRST_SECONDS else 0.0
            rest = min(max(self._next, most / _STEEPEST), most)
            self._next = rest * GROWTH
            rest = min(max(rest, others), most)
        self._began, self._lasted, self.since = now, rest, 0.0
        return rest

    def shorten(self, now: float) -> None:
        """Hear that the rest ends earlier than it was meant to: what waited may still be in time."""
        self._lasted = min(self._lasted, now - self._began)

    def end(self) -> None:
        """End it: what is read now may have come at any time since it began."""
        self.since = self._began

    def forget(self) -> None:
        """What is read from now on comes now."""
        self.since = 0.0

    def lift(self) -> None:
        """A call is served: the next rest is a little shorter."""
        self._next = max(FIRST_SECONDS, self._next * RELIEF)
