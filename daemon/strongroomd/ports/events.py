"""Events on their way from the store to those who want them."""

from collections.abc import Sequence
from typing import Protocol

from strongroomd.domain.compliance import Finding
from strongroomd.domain.delivery import Delivery, SinkState
from strongroomd.domain.events import Event


class Outbox(Protocol):
    """Events on their way out, beside the records whose changes they are. All times are ms."""

    async def events(self, after: int, limit: int) -> list[tuple[Event, bytes]]:
        """Read events behind a position, in order, each with its MAC; not yet verified."""
        ...

    async def event(self, position: int) -> tuple[Event, bytes] | None:
        """Read one event and its MAC; None once it was purged."""
        ...

    async def span(self) -> tuple[int, int]:
        """Give the positions of the oldest event that is kept (0 for none) and of the newest ever."""
        ...

    async def register(self, names: Sequence[str]) -> None:
        """Begin to keep the state of those who want events, from the newest on; known ones stay as they are.

        Events that one of them has not taken up are not purged.
        """
        ...

    async def note(self, state: SinkState) -> None:
        """Keep a state that is not there yet, of something that takes up no events."""
        ...

    async def sinks(self) -> list[SinkState]:
        """Read the state of every sink that was ever registered."""
        ...

    async def settle(
        self,
        state: SinkState | None,
        put: Sequence[Delivery] = (),
        drop: Sequence[Delivery] = (),
    ) -> None:
        """Keep what became of deliveries, in one transaction; a sink's position never goes back."""
        ...

    async def deliveries(self, sink: str, *, dead: bool, after: int, limit: int) -> list[Delivery]:
        """Read a sink's waiting deliveries or its dead letters behind a position, in order."""
        ...

    async def counts(self) -> dict[str, tuple[int, int]]:
        """Count each sink's waiting deliveries and dead letters."""
        ...

    async def oldest_after(self, position: int) -> int:
        """Give the time of the oldest event behind a position; 0 for none."""
        ...

    async def fire(self, rule: str, subject: str, position: int, now: int, most: int) -> bool:
        """Note that a rule acts on an event; False if it did so `most` times within the hour for the subject.

        The same rule and event again are allowed again and counted once.
        """
        ...

    async def purge(self, *, events_before: int, dead_before: int, limit: int) -> int:
        """Forget older delivered events, dead letters and firings; at most so many events at once."""
        ...

    async def findings(self, *, after: tuple[str, str], limit: int) -> list[Finding]:
        """Read what the last compliance run found, in order of subject and check."""
        ...


class Sink(Protocol):
    """Somebody who wants events."""

    async def send(self, event: Event) -> None:
        """Deliver one event; on return the sink has it. Bounded in time.

        Raises:
            Undelivered: it may not have it. It is sent again later with the same id.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
