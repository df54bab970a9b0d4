"""Check values that may be told: they say that two materials are the same, and help nobody to guess them.

What the store keeps is a function of the key alone: whoever can guess the material, because it was not random
when it was imported, could try guesses against it without asking anybody. What is told is a MAC of that,
under a key of the house, cut to eight bytes. So values can be compared within one house only.
"""

import struct
from typing import Final

from strongroomd.domain.records import VersionRecord
from strongroomd.ports import RowMacs

CHECK_BYTES: Final = 8
_LABEL: Final = b"strongroom.check.v1"


async def public_check(vault: RowMacs, version: VersionRecord) -> str:
    """Give a version's check value, 16 hex digits; empty for a version that has none."""
    if not version.check_value:
        return ""
    parts = (version.key_id.encode(), b"%d" % version.version, version.check_value)
    body = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return (await vault.row_mac(_LABEL + body))[:CHECK_BYTES].hex()
