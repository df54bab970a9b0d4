"""What is known of imported material, brought along by a recovery: it must be told again in the new token.

A fingerprint is a MAC by the lost token. Of material that came along the trait is made anew; of what was
deleted or has expired, or lives in a further token, it comes from its blob for the recovery token.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from strongroomd.custody.fingerprints import fingerprint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.materials import MaterialRecord
from strongroomd.hsm.transport import Landing
from strongroomd.ports import Vault


class Retargeter(Protocol):
    """The attached recovery token."""

    def retarget(self, blob: bytes) -> bytes:
        """Give a recovery blob for the landing's pair; empty if it does not open."""
        ...


async def remembered(
    record: MaterialRecord, bound: BoundVersion, vault: Vault, landing: Landing, attached: Retargeter
) -> MaterialRecord:
    """Give what is known of material in the new house, its fingerprint empty where it cannot be told again.

    Args:
        record: what the old house knew.
        bound: the version as the new house has it.
        vault: the new house's token.
        landing: the way into it.
        attached: the recovery token.
    """
    if not record.fingerprint:
        return record
    for way in _ways(record, bound, landing, attached):
        try:
            trait = way()
        except StrongroomError as error:
            if error.reason is not Reason.KEY_UNAVAILABLE:
                raise
        else:
            told = await fingerprint(vault, record.key_id, trait)
            return dataclasses.replace(record, fingerprint=told, recovery_trait=landing.wrap_trait(trait))
    return dataclasses.replace(record, fingerprint=b"", recovery_trait=b"")


def _ways(
    record: MaterialRecord, bound: BoundVersion, landing: Landing, attached: Retargeter
) -> Iterator[Callable[[], bytes]]:
    """Give the ways to a trait, the surest first."""
    if bound.record.public_key or bound.record.blob:
        yield partial(landing.trait_of, bound)
    if record.recovery_trait and (blob := attached.retarget(record.recovery_trait)):
        yield partial(landing.receive_trait, blob, bound.spec)
