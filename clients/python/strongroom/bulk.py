"""Any number of items through batch calls, with none lost.

Items are cut into calls of at most 500 and well under the 262,144 bytes of one message. A call that costs
more than a quota's burst is halved until it fits. Items that only had to wait (throttled, or the daemon was
not there) are asked for again in a further round, as long as some item gets through now and then and the
policy of the client allows retries: a round that was not asked for by the daemon's own quota wait takes
tokens of the budget, and a policy of one attempt makes no rounds. Every item ends as an answer or as an
error, in its own place.

The deadline of the client is that of each call, not of the whole: a bulk takes as long as its quota makes it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from strongroom import results
from strongroom._rpc import Call
from strongroom.calls import batches
from strongroom.calls.batches import WithContext
from strongroom.calls.crypto import Context
from strongroom.errors import StrongroomError, Throttled, Unavailable, invalid
from strongroom.retry import Budget, RetryPolicy

MAX_ITEMS: Final = 500
MAX_BYTES: Final = 200_000  # of items; leaves room for the key's name and the framing
STALLED_ROUNDS: Final = 5  # rounds without a single success before the rest is given up
_ITEM_OVERHEAD: Final = 32
_FIRST_WAIT: Final = 0.05
_RULE: Final = "every item must be bytes, or a pair of bytes and encryption context"

Answer = TypeVar("Answer")
Results = tuple[Answer | StrongroomError, ...]
Batch = Call[tuple[Answer | StrongroomError, ...]]
AnyItem = TypeVar("AnyItem", bound=bytes | WithContext)


class Bulk(Generic[AnyItem, Answer]):
    """The state of one bulk operation: which call to make next, and what became of each item.

    Args:
        items: what to send.
        build: makes the call for some items.

    Raises:
        InvalidRequest: an item is not bytes.
    """

    def __init__(self, items: Sequence[AnyItem], build: Callable[[Sequence[AnyItem]], Batch[Answer]]) -> None:
        self._items = items
        self._weights = [_weight(item) for item in items]
        self._build = build
        self._results: list[Answer | StrongroomError | None] = [None] * len(items)
        self._pending = deque(range(len(items)))
        self._chunk: list[int] = []
        self._max_items = MAX_ITEMS
        self._again: list[int] = []
        self._wait = 0.0
        self._progress = False
        self._trouble = False
        self._stalled = 0

    def next_call(self) -> Batch[Answer] | None:
        """Build the call to make now; None if this round is over. `take` or `fail` must follow."""
        self._chunk = self._next_chunk()
        return self._build([self._items[index] for index in self._chunk]) if self._chunk else None

    def take(self, results: Sequence[Answer | StrongroomError]) -> None:
        """Take the results of the call at hand."""
        for index, result in zip(self._chunk, results, strict=True):
            self._settle(index, result)

    def fail(self, failure: StrongroomError) -> None:
        """Take the failure of the whole call: that of each of its items, unless a smaller call may pass."""
        too_much = failure.reason in {"LIMIT_EXCEEDED", "FIELD_TOO_LARGE"} and not failure.field
        if isinstance(failure, Throttled) or too_much:
            # A large call needs much of the quota at one moment, and loses the race against small ones.
            self._max_items = max(1, len(self._chunk) // 2)
        if too_much and len(self._chunk) > 1:
            self._pending.extendleft(reversed(self._chunk))
            return
        for index in self._chunk:
            self._settle(index, failure)

    def next_round(self, policy: RetryPolicy, budget: Budget) -> float | None:
        """Say how long to wait before asking again for the items that had to wait; None when all is done."""
        self._stalled = 0 if self._progress else self._stalled + 1
        most = min(STALLED_ROUNDS, policy.max_attempts)
        if not self._again or policy.max_attempts <= 1 or self._stalled >= most:
            return None
        if self._trouble and not budget.take():
            return None
        wait = max(self._wait, _FIRST_WAIT * 2.0**self._stalled)
        self._pending.extend(self._again)
        self._again = []
        self._wait = 0.0
        self._progress = self._trouble = False
        return wait

    def results(self) -> list[Answer | StrongroomError]:
        """Give what became of each item, in order."""
        return [result for result in self._results if result is not None]

    def _settle(self, index: int, result: Answer | StrongroomError) -> None:
        self._results[index] = result
        if isinstance(result, Throttled | Unavailable):
            self._again.append(index)
            self._trouble |= not (isinstance(result, Throttled) and result.retry_after is not None)
            self._wait = max(self._wait, result.retry_after or 0.0)
        elif not isinstance(result, StrongroomError):
            self._progress = True

    def _next_chunk(self) -> list[int]:
        chunk: list[int] = []
        size = 0
        while self._pending and len(chunk) < self._max_items:
            size += self._weights[self._pending[0]]
            if chunk and size > MAX_BYTES:
                break
            chunk.append(self._pending.popleft())
        return chunk


def encrypting(
    key: str,
    items: Sequence[bytes | WithContext],
    context: Context | None,
    algorithm: str,
    grant_tokens: Sequence[str],
) -> Bulk[WithContext, results.Encrypted]:
    """Encrypt many plaintexts; `context` is that of items which bring none of their own."""
    own = list(batches.with_contexts(items, context))
    return Bulk(
        own, lambda some: batches.batch_encrypt(key, some, algorithm=algorithm, grant_tokens=grant_tokens)
    )


def decrypting(
    items: Sequence[bytes | WithContext], key: str, context: Context | None, grant_tokens: Sequence[str]
) -> Bulk[WithContext, results.Decrypted]:
    """Open many ciphertexts; `context` is that of items which bring none of their own."""
    own = list(batches.with_contexts(items, context))
    return Bulk(own, lambda some: batches.batch_decrypt(some, key=key, grant_tokens=grant_tokens))


def signing(
    key: str,
    messages: Sequence[bytes],
    algorithm: str,
    message_type: str,
    key_version: int,
    grant_tokens: Sequence[str],
) -> Bulk[bytes, results.Signature]:
    """Sign many messages or digests."""
    return Bulk(
        messages,
        lambda some: batches.batch_sign(
            key,
            some,
            algorithm=algorithm,
            message_type=message_type,
            key_version=key_version,
            grant_tokens=grant_tokens,
        ),
    )


def run(
    bulk: Bulk[AnyItem, Answer],
    send: Callable[[Batch[Answer]], Results[Answer]],
    policy: RetryPolicy,
    budget: Budget,
) -> list[Answer | StrongroomError]:
    """Carry a bulk operation out, by a function that makes one call."""
    while True:
        while (call := bulk.next_call()) is not None:
            try:
                bulk.take(send(call))
            except StrongroomError as failure:
                bulk.fail(failure)
        if (wait := bulk.next_round(policy, budget)) is None:
            return bulk.results()
        time.sleep(wait)


async def run_async(
    bulk: Bulk[AnyItem, Answer],
    send: Callable[[Batch[Answer]], Awaitable[Results[Answer]]],
    policy: RetryPolicy,
    budget: Budget,
) -> list[Answer | StrongroomError]:
    """The same for asyncio."""
    while True:
        while (call := bulk.next_call()) is not None:
            try:
                bulk.take(await send(call))
            except StrongroomError as failure:
                bulk.fail(failure)
        if (wait := bulk.next_round(policy, budget)) is None:
            return bulk.results()
        await asyncio.sleep(wait)


def _weight(item: object) -> int:
    """Bytes that an item takes in the message, at most."""
    data, context = item if isinstance(item, tuple) and len(item) == 2 else (item, {})
    # bytearray and memoryview are refused here as in every other call: protobuf takes bytes only.
    if not isinstance(data, bytes) or not isinstance(context, Mapping):
        raise invalid("items", _RULE)
    try:
        # Four bytes of UTF-8 for a character at most, and the framing of a map entry.
        pairs = sum(4 * (len(name) + len(value)) + 16 for name, value in context.items())
    except TypeError:
        raise invalid("items", _RULE) from None
    return len(data) + pairs + _ITEM_OVERHEAD
