"""What the HSM room tells its watchers: calls, cache hits, sessions, alerts. Metrics hook in here."""

from typing import Protocol


class Observer(Protocol):
    """Receives counts and times; called from any thread, must be quick and must not raise."""

    def called(self, function: str, seconds: float, ckr: int) -> None:
        """One token call ended: its name, its duration, its CKR value (0 is success)."""

    def waited(self, seconds: float) -> None:
        """One call waited so long for a thread of its lane."""

    def cached(self, cache: str, outcome: str) -> None:
        """One look into `handles` or `subkeys`: outcome `hit`, `miss` or `evicted`."""

    def sessions(self, opened: int, idle: int) -> None:
        """How many operation sessions are open, and how many of them idle, after a change of the former."""

    def discarded(self, reason: str) -> None:
        """A session was thrown away, with the fault class that caused it."""

    def leaked(self, objects: int) -> None:
        """So many session objects were unwrapped, derived or generated; SoftHSM leaks about 200 B each."""

    def breaker(self, state: str) -> None:
        """The breaker is now `closed`, `open` or `fatal`."""

    def away(self) -> None:
        """The token, a further one, cannot be used."""

    def back(self) -> None:
        """It can be used again, or for the first time."""

    def paced(self, *, inline: bool) -> None:
        """Short calls run on the event loop from now on, or on threads."""

    def alert(self, event: str, text: str) -> None:
        """Something that an operator should see, e.g. `token_object_repaired`; text names no secret."""


class Silent:
    """An observer that ignores everything."""

    def called(self, function: str, seconds: float, ckr: int) -> None:
        """Ignore a call."""

    def waited(self, seconds: float) -> None:
        """Ignore a wait."""

    def cached(self, cache: str, outcome: str) -> None:
        """Ignore a cache look-up."""

    def sessions(self, opened: int, idle: int) -> None:
        """Ignore session counts."""

    def discarded(self, reason: str) -> None:
        """Ignore a lost session."""

    def leaked(self, objects: int) -> None:
        """Ignore new session objects."""

    def breaker(self, state: str) -> None:
        """Ignore the breaker."""

    def away(self) -> None:
        """Ignore that the token is away."""

    def back(self) -> None:
        """Ignore that it is back."""

    def paced(self, *, inline: bool) -> None:
        """Ignore where calls run."""

    def alert(self, event: str, text: str) -> None:
        """Ignore an alert."""
