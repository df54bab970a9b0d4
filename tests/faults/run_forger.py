"""Changes key versions as somebody could who has the PIN: with right MACs, and in the journal.

`python -m tests.faults.run_forger CONFIG`; JSON on standard input: `swap` and `strip` are lists of versions'
names whose recovery blobs change places, or are taken away; `replace` are two names, of which the first gets the
second's blob.
"""

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from strongroomd.config import load
from strongroomd.custody.ledger import Change
from strongroomd.domain.records import VersionRecord
from strongroomd.wiring.rewrapping import _opened


async def main() -> None:
    """Forge."""
    wanted = json.load(sys.stdin)
    async with (
        _opened(load(Path(sys.argv[1]), check_files=False), "") as house,
        house.ledger.change() as change,
    ):
        for one, other in zip(wanted["swap"][::2], wanted["swap"][1::2], strict=True):
            blobs = [(await read(change, name)).recovery_blob for name in (one, other)]
            await put(change, one, recovery_blob=blobs[1])
            await put(change, other, recovery_blob=blobs[0])
        for name in wanted["strip"]:
            await put(change, name, recovery_blob=b"")
        victim, donor = wanted["replace"]
        await put(change, victim, blob=(await read(change, donor)).blob)


async def read(change: Change, name: str) -> VersionRecord:
    found = await change.get(VersionRecord, name)
    assert found is not None
    return found


async def put(change: Change, name: str, **fields: Any) -> None:
    before = await read(change, name)
    await change.put(dataclasses.replace(before, **fields, row_version=before.row_version + 1))


if __name__ == "__main__":
    asyncio.run(main())
