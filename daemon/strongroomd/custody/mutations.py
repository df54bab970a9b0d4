"""Changes asked for by callers: audited before and after, made once for each idempotency key.

The first answer is written in the same transaction as the change itself, so that a kill leaves both or
neither. Only the caller's own answers are found again, and only for the same method and arguments.
"""

import dataclasses
import hashlib
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_type_hints

import orjson

from strongroomd.custody.clock import Clock
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.passage import Passage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Cause
from strongroomd.domain.records import Record
from strongroomd.ports import Answer, RowMacs, Store

R = TypeVar("R", bound=Record)


class Mutations:
    """Runs changes once.

    Args:
        ledger: protected records.
        store: finds earlier answers.
        vault: MACs of answers.
        clock: when answers were given.
    """

    def __init__(self, ledger: Ledger, store: Store, vault: RowMacs, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self._store = store
        self._vault = vault

    async def earlier(self, passage: Passage, kind: type[R], request_id: str, arguments: object) -> R | None:
        """Find the first answer to an idempotency key.

        Raises:
            StrongroomError: REQUEST_ID_REUSED when it was used with other arguments.
        """
        if not request_id:
            return None
        answer = await self._store.answer(passage.caller.principal.arn, request_id)
        return await self._accept(passage, kind, answer, arguments)

    async def _accept(
        self, passage: Passage, kind: type[R], answer: Answer | None, arguments: object
    ) -> R | None:
        if answer is None:  # never given, or purged after its day
            return None
        if not await self._vault.record_mac_matches(_answer_bytes(answer), answer.mac):
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="idempotency answer was edited")
        if answer.fingerprint != _fingerprint(passage, arguments):
            raise StrongroomError(Reason.REQUEST_ID_REUSED, field="request_id")
        passage.facts["repeated"] = True
        return decode(kind, answer.answer)

    async def once(
        self,
        passage: Passage,
        kind: type[R],
        request_id: str,
        arguments: object,
        work: Callable[[Change], Awaitable[R]],
        *,
        audited: bool = False,
    ) -> R:
        """Run `work` in one transaction unless the idempotency key has an answer already.

        Args:
            passage: the call; its intent is audited first.
            kind: the record class of the answer.
            request_id: the caller's idempotency key, or empty.
            arguments: what the key is bound to; a JSON-able value or dataclass.
            work: makes the change and returns the answer.
            audited: the intent is in the audit log already.
        """
        found = await self.earlier(passage, kind, request_id, arguments)
        if found is not None:
            return found
        if not audited:
            await passage.intent()
        caller = passage.caller
        async with self.ledger.change(
            Cause(caller.principal.arn, caller.request_id, passage.action)
        ) as change:
            if request_id:
                answer = await change.transaction.answer(passage.caller.principal.arn, request_id)
                found = await self._accept(passage, kind, answer, arguments)
                if found is not None:
                    return found
            result = await work(change)
            if request_id:
                await change.transaction.put_answer(
                    await self._answer(passage, request_id, arguments, result)
                )
            note_changes(passage, change)
        return result

    async def _answer(self, passage: Passage, request_id: str, arguments: object, result: Record) -> Answer:
        unsigned = Answer(
            principal=passage.caller.principal.arn,
            request_id=request_id,
            method=passage.action.value,
            fingerprint=_fingerprint(passage, arguments),
            answer=encode(result),
            created_at=self.clock.wall_ms(),
            mac=b"",
        )
        return dataclasses.replace(unsigned, mac=await self._vault.record_mac(_answer_bytes(unsigned)))


def note_changes(passage: Passage, change: Change) -> None:
    """Put the journal position and row MACs of a change into the audit record."""
    passage.facts["changes"] = [
        {
            "seq": e.sequence,
            "kind": e.kind,
            "id": e.record_id,
            "row_version": e.row_version,
            "mac": e.row_mac.hex(),
        }
        for e in change.entries
    ]


def _fingerprint(passage: Passage, arguments: object) -> bytes:
    body = orjson.dumps([passage.action.value, arguments], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(body).digest()


def _answer_bytes(answer: Answer) -> bytes:
    fields = [answer.principal, answer.request_id, answer.method, answer.fingerprint.hex()]
    return b"strongroom.answer.v1" + orjson.dumps([*fields, answer.answer.hex(), answer.created_at])


def encode(record: Record) -> bytes:
    """Encode a record as JSON; no answer holds key material, nor a secret, not even a sealed one."""
    return orjson.dumps(record, default=_no_bytes)


def _no_bytes(value: object) -> str:
    if isinstance(value, bytes):
        return ""
    raise TypeError(type(value).__name__)


def decode(kind: type[R], data: bytes) -> R:
    """Undo `encode`; bytes come back empty, and fields that the kind did not have then get their default."""
    values: dict[str, Any] = orjson.loads(data)
    hints = _hints(kind)  # type: ignore[arg-type]  # mypy takes type[R] for unhashable
    return kind(**{name: _value(hint, values[name]) for name, hint in hints.items() if name in values})


@cache
def _hints(kind: type[Record]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _value(hint: Any, value: Any) -> Any:  # noqa: ANN401 - any field of any record
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint is bytes:
        return b""
    return tuple((key, text) for key, text in value) if isinstance(value, list) else value
