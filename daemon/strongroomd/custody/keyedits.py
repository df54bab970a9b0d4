"""Edits of a key's record: each in one transaction, in one order of checks, with what goes with it."""

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing
from strongroomd.custody.importedkeys import settled
from strongroomd.custody.judging import Bring
from strongroomd.custody.keyforms import Tags, check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import MAX_TAGS
from strongroomd.domain.records import KeyRecord, KeyState

Guard = Callable[[Passage, Change, KeyRecord], Awaitable[None]]
"""Refuses an edit of a key as it is now, inside the transaction of the edit."""
Besides = Callable[[Change, KeyRecord], Awaitable[None]]
"""Stores what goes with an edited key, inside the same transaction."""


@dataclass(frozen=True, slots=True)
class KeyEdit:
    """What is to become of a key.

    Attributes:
        act: what the key's state must allow.
        edit: gives the record as it is to be; what it refuses is refused.
        arguments: what an idempotency key is bound to besides key and etag.
        bring: tells what policies may ask of it.
        guard: what must be approved, or must not be at all.
        besides: what goes with it.
    """

    act: Act
    edit: Callable[[KeyRecord], KeyRecord]
    arguments: object = None
    bring: Bring = bringing.nothing
    guard: Guard | None = None
    besides: Besides | None = None


class KeyEdits:
    """Makes edits.

    Args:
        mutations: idempotent changes.
    """

    def __init__(self, mutations: Mutations) -> None:
        self._mutations = mutations

    async def make(self, passage: Passage, key: str, edit: KeyEdit, etag: str, request_id: str) -> KeyRecord:
        """Edit a key by any of its names; gives its record as it is then.

        In order: right, first answer, state, etag, edit, approval.
        """
        entry = await passage.claim(key, Act.READ, bring=edit.bring)
        key_id = entry.key.key_id
        work, arguments = partial(_apply, passage, key_id, edit, etag), [key_id, etag, edit.arguments]
        return await self._mutations.once(passage, KeyRecord, request_id, arguments, work)


async def _apply(passage: Passage, key_id: str, edit: KeyEdit, etag: str, change: Change) -> KeyRecord:
    current = await change.get(KeyRecord, key_id)
    if current is None:
        raise StrongroomError(Reason.ACCESS_DENIED)
    require(current.state, edit.act)
    check_etag(current.row_version, etag)
    edited = await settled(change, edit.edit(current))
    edited = dataclasses.replace(edited, row_version=current.row_version + 1)
    if edit.guard is not None:
        await edit.guard(passage, change, current)
    await change.put(edited)
    if edit.besides is not None:
        await edit.besides(change, edited)
    return edited


def described(text: str, key: KeyRecord) -> KeyRecord:
    """Give a key another description, checked before."""
    return dataclasses.replace(key, description=text)


def switched(state: KeyState, key: KeyRecord) -> KeyRecord:
    """Switch a key on or off."""
    return dataclasses.replace(key, state=state)


def doomed(due: int, key: KeyRecord) -> KeyRecord:
    """Let a key wait for its deletion, due in ms since the Unix epoch."""
    return dataclasses.replace(key, state=KeyState.PENDING_DELETION, deletion_at=due)


def spared(key: KeyRecord) -> KeyRecord:
    """Take a key's deletion back; it is not switched on by that."""
    return dataclasses.replace(key, state=KeyState.DISABLED, deletion_at=0)


def tagged(tags: Tags, key: KeyRecord) -> KeyRecord:
    """Add checked tags, or replace the values of those that are there. Raises LIMIT_EXCEEDED."""
    merged = dict(key.tags) | dict(tags)
    if len(merged) > MAX_TAGS:
        raise StrongroomError(Reason.LIMIT_EXCEEDED, f"a key has at most {MAX_TAGS} tags", field="tags")
    return dataclasses.replace(key, tags=tuple(sorted(merged.items())))


def untagged(unwanted: frozenset[str], key: KeyRecord) -> KeyRecord:
    """Remove the tags of some keys; those that are not there are no error."""
    return dataclasses.replace(key, tags=tuple(tag for tag in key.tags if tag[0] not in unwanted))
