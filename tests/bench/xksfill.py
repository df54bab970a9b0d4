"""A key store with many external keys, each of a wrapped key of its own, made by the daemon's own rooms.

Run as `python xksfill.py CONFIG PREFIX KEYS` while no daemon serves; prints the store's id. Its credential is for
the daemon to make.
"""

import asyncio
import secrets
import sys
import time
from pathlib import Path

from tests.bench.inside import inside
from tests.bench.keys import ACCOUNT, records

from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.records import KeyRecord
from strongroomd.domain.xks.records import ExternalKeyRecord, Pinning, StoreRecord

AT_ONCE = 500


async def fill(config: Path, prefix: str, keys: int) -> str:
    """Make the store, many records to a transaction."""
    store_id = f"xks-{secrets.token_hex(8)}"
    now = time.time_ns() // 1_000_000
    async with inside(config) as it:
        async with it.ledger.change() as change:
            await change.put(StoreRecord(store_id, ACCOUNT, prefix, "", False, "", 0, 0, 0, 0, 0, 0, now))
        for start in range(0, keys, AT_ONCE):
            async with it.ledger.change() as change:
                for number in range(start, min(start + AT_ONCE, keys)):
                    for record in await records(
                        it.vault, KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT
                    ):
                        await change.put(record)
                        if isinstance(record, KeyRecord):
                            await change.put(_external(store_id, number, record.key_id, now))
    return store_id


def _external(store_id: str, number: int, key_id: str, now: int) -> ExternalKeyRecord:
    return ExternalKeyRecord(
        store_id, f"key-{number}", ACCOUNT, key_id, "", False, True, True, Pinning.NONE, "", False, now
    )


if __name__ == "__main__":
    print(asyncio.run(fill(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
