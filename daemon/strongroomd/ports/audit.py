"""The audit log: a worker's own chain to write, all chains of the node to read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from strongroomd.domain.audit import Checkpoint, Head


class AuditLog(Protocol):
    """The worker's own audit chain."""

    async def write(self, record: dict[str, Any]) -> Head:
        """Append one record; durable on return. Raises AUDIT_UNAVAILABLE within 200 ms otherwise.

        Returns:
            The chain's head with this record as its last: its `seq` is one less than the head's count.
        """
        ...


@dataclass(frozen=True, slots=True)
class AuditWanted:
    """Which audit records are wanted; an empty text wants all.

    Attributes:
        key: ARN of one of the record's keys.
        principal: ARN of the record's principal, or of its role session.
        action: the record's action.
        outcome: the record's outcome.
        since, until: RFC 3339 in UTC with milliseconds; records at or after the first, before the second.
        account: 12 digits; records whose principal, keys or other resource belong to it.
    """

    key: str = ""
    principal: str = ""
    action: str = ""
    outcome: str = ""
    since: str = ""
    until: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """What one look into the audit log found.

    Attributes:
        records: oldest first; maybe none, though there are more.
        after: where the next look goes on; empty if nothing is left to be looked at.
    """

    records: list[dict[str, Any]]
    after: str


class AuditTrail(Protocol):
    """All chains of the node's audit log and the checkpoints over them.

    Records read here are verified along their chain; a chain that does not verify raises INTEGRITY_FAILURE.
    """

    async def page(self, wanted: AuditWanted, *, after: str, limit: int) -> AuditPage:
        """Look for records, at most `limit`, with bounded work: fewer or none may be found.

        `after` is where the look before ended, empty for the first. Raises INVALID_PAGE_TOKEN for what is
        no such place.
        """
        ...

    def tail(self, wanted: AuditWanted) -> AsyncIterator[dict[str, Any]]:
        """Give records as they become durable, from now on, without end."""
        ...

    async def newest(self) -> tuple[Checkpoint, bytes] | None:
        """Read the newest checkpoint and its signature (DER); the signature is not verified here."""
        ...

    async def nth(self, number: int) -> tuple[Checkpoint, bytes] | None:
        """Read the checkpoint of a number, if there is one."""
        ...

    async def heads(self, trusted: Checkpoint | None) -> tuple[Head, ...]:
        """Verify what the chains grew by, the first time from a trusted checkpoint on; give their heads."""
        ...

    async def append(self, checkpoint: Checkpoint, signature: bytes) -> None:
        """Append a signed checkpoint durably, and move chains that it closes out of the way."""
        ...

    async def close_dead(self) -> int:
        """Close the chains of workers that died; returns how many could not be closed."""
        ...
