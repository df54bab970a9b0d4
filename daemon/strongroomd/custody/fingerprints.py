"""How the house tells imported material again: by nothing that anybody outside could test guesses against."""

from typing import Final

from strongroomd.ports import RowMacs

_DOMAIN: Final = b"strongroom.material.v1"


async def fingerprint(vault: RowMacs, key_id: str, trait: bytes) -> bytes:
    """Make a fingerprint (32 bytes) of material's trait, for one key: no two keys' can be compared.

    Args:
        vault: makes the MAC, under a key that is in the house's token only.
        key_id: the key.
        trait: what is the same for the same material only.
    """
    return await vault.row_mac(_DOMAIN + key_id.encode() + b"\0" + trait)
