"""Binding external keys to KMS keys: so that no other KMS key gets at what one has encrypted.

An external key that serves several KMS keys is a confused deputy's chance (specification, authorization). A
pin to the first use is made once that use has succeeded, and is durable before it is answered: what fails
binds nobody. Of two first uses at once one wins, and the other is refused.
"""

import dataclasses

from strongroomd.custody.mutations import Mutations, note_changes
from strongroomd.custody.passage import Passage
from strongroomd.custody.xks.shelf import Shelf
from strongroomd.domain.errors import StrongroomError, denied
from strongroomd.domain.events import Cause
from strongroomd.domain.xks.records import ExternalKeyRecord, Pinning


class Pins:
    """Pins external keys.

    Args:
        mutations: the ledger.
        shelf: follows each pin before its caller is answered.
    """

    def __init__(self, mutations: Mutations, shelf: Shelf) -> None:
        self._ledger = mutations.ledger
        self._shelf = shelf

    def require(self, key: ExternalKeyRecord, kms_key_arn: str, *, looks: bool) -> None:
        """Refuse another KMS key than the one that an external key is bound to.

        Args:
            key: the external key.
            kms_key_arn: as the request has it.
            looks: the request only asks what the key is, and may name no KMS key.

        Raises:
            StrongroomError: ACCESS_DENIED.
        """
        pinned = key.kms_key_arn if key.pinning is not Pinning.NONE else ""
        if pinned and kms_key_arn != pinned and not (looks and not kms_key_arn):
            raise _bound_to_another()

    async def settle(self, passage: Passage, key: ExternalKeyRecord, kms_key_arn: str) -> None:
        """Bind an external key to the KMS key that uses it first. Raises ACCESS_DENIED, STORE_UNAVAILABLE."""
        if key.pinning is not Pinning.FIRST_USE or key.kms_key_arn or not kms_key_arn:
            return
        caller = passage.caller
        async with self._ledger.change(
            Cause(caller.principal.arn, caller.request_id, passage.action)
        ) as change:
            current = await change.get(ExternalKeyRecord, key.record_id)
            if current is None:
                raise _bound_to_another()
            self.require(current, kms_key_arn, looks=False)
            if current.pinning is Pinning.FIRST_USE and not current.kms_key_arn:
                row_version = current.row_version + 1
                await change.put(
                    dataclasses.replace(current, kms_key_arn=kms_key_arn, row_version=row_version)
                )
            note_changes(passage, change)
        await self._shelf.refresh()


def _bound_to_another() -> StrongroomError:
    return denied("the external key is bound to another KMS key")
