"""A sink that cannot be made from its configuration: it fails alone, and the daemon goes on."""

from typing import Never

from strongroomd.domain.delivery import Blame, Undelivered
from strongroomd.domain.events import Event
from strongroomd.ports import Sink


class Broken(Sink):
    """Stands where a sink would be; its events wait as for one that is away.

    Args:
        why: a short text for operators, without secrets.
    """

    def __init__(self, why: str) -> None:
        self._why = why

    async def send(self, event: Event) -> Never:  # noqa: ARG002 - refused whatever it is
        """Refuse every event."""
        raise Undelivered(Blame.SINK, self._why)

    async def close(self) -> None:
        """Hold nothing."""
