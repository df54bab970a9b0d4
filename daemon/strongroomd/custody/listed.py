"""What upkeep does with records that were listed: each is verified first, and a bad one holds up no other."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from strongroomd.custody.ledger import Change, Ledger
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.records import Record
from strongroomd.ports import Stored
from strongroomd.telemetry import logs

R = TypeVar("R", bound=Record)
_log = logs.get("custody")


async def attend(ledger: Ledger, task: Callable[[R], Awaitable[None]], stored: Stored[R]) -> None:
    """Do a task with a record once it is verified; a refusal is logged, and no other record waits for it.

    A record that changed since it was listed is left for the next look: what follows from the list, or
    from a listing of the token made with it, need not hold for what the record says now. (An intent that
    was listed, and had become a living version when its turn came, once lost its token object here.)
    """
    try:
        record = await ledger.verify(stored)
        if record.row_version == stored.record.row_version:
            await task(record)
    except StrongroomError as error:
        _log.warning("upkeep task failed", extra={"reason": error.reason.value, "detail": error.detail})


async def sweep(ledger: Ledger, left: Sequence[Stored[Any]]) -> int:
    """Delete some records that mean nothing any more, in one transaction; returns how many."""
    if not left:
        return 0
    async with ledger.change() as change:
        for stored in left:
            await _delete(change, type(stored.record), stored.record.record_id)
    return len(change.entries)


async def _delete(change: Change, kind: type[Record], record_id: str) -> None:
    """Delete one record; one that was edited stays for whoever looks into it, and nobody waits for it."""
    try:
        record = await change.get(kind, record_id)
    except StrongroomError as error:
        report_unverified(kind, record_id, error)
        return
    if record is not None:
        await change.delete(record)


def report_unverified(kind: type[Record], record_id: str, error: StrongroomError) -> None:
    """Report a record that cannot be believed."""
    facts = {"kind": kind.KIND, "id": record_id, "detail": error.detail}
    _log.error("record not verified", extra=facts)
