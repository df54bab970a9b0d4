"""Rights that ended meanwhile: what was open when a set was made may have been used up since.

A request that approvers had signed, or a token to import with, is good for one use. Whether it was used
after the set was made, nobody can tell from the set; so a restore closes all of them.
"""

import dataclasses
from typing import Final

from strongroomd.custody.inventory import all_records
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.approvalrecords import ApprovalRequestRecord
from strongroomd.domain.approvals import OPEN, ApprovalState
from strongroomd.domain.materials import WrappingPairRecord
from strongroomd.domain.records import Record

NOTE: Final = "closed by a restore: ask again"


def closed(record: Record, now: int) -> Record | None:
    """Give what becomes of a record at a restore: itself, closed, or None where it ends.

    Args:
        record: of any kind.
        now: milliseconds since the Unix epoch.
    """
    if isinstance(record, WrappingPairRecord):
        return None
    if isinstance(record, ApprovalRequestRecord) and record.state in OPEN:
        return dataclasses.replace(record, state=ApprovalState.CANCELLED, closed_at=now, note=NOTE)
    return record


async def close_rights(ledger: Ledger, now: int) -> int:
    """Close them in a restored store, in one transaction; gives how many there were.

    Raises:
        StrongroomError: INTEGRITY_FAILURE for a record that was edited; STORE_UNAVAILABLE.
    """
    kinds: tuple[type[Record], ...] = (ApprovalRequestRecord, WrappingPairRecord)
    found = [record for kind in kinds async for record in all_records(ledger, kind)]
    changed = [(record, after) for record in found if (after := closed(record, now)) is not record]
    if not changed:
        return 0
    async with ledger.change() as change:
        for record, after in changed:
            current = await change.get(type(record), record.record_id)
            if current is None:
                continue
            if after is None:
                await change.delete(current)
            else:
                await change.put(dataclasses.replace(after, row_version=_version(current) + 1))  # type: ignore[call-arg]
    return len(changed)


def _version(record: Record) -> int:
    return int(record.row_version)
