"""Batches: many items in one call, charged as many, audited as one record, each item with its own result."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from strongroomd.custody import bringing
from strongroomd.custody.admission import Lane
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.contextnotes import noting_names
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.passage import Passage
from strongroomd.custody.sealing import (
    Ciphertext,
    Opened,
    Sealed,
    Sealer,
    Source,
    check_capacity,
    choose_encryption,
)
from strongroomd.custody.servicekeys import ServiceKeys
from strongroomd.custody.signing import Signature, Signing, ToSign, check_message, choose_signing, to_sign
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import EncryptionAlgorithm
from strongroomd.domain.context import Context
from strongroomd.domain.errors import Reason, StrongroomError, denied, invalid, too_large
from strongroomd.domain.limits import MAX_BATCH

_STRIDE = 32
A = TypeVar("A")
T = TypeVar("T", Sealed, Opened, Signature)


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Results in the order of the items: each what it made, or why it was refused."""

    results: list[T | StrongroomError]


class Batches(UseCases):
    """BatchEncrypt, BatchDecrypt, BatchSign."""

    def __init__(
        self, gate: Gate, sealer: Sealer, signing: Signing, catalog: Catalog, service_keys: ServiceKeys
    ) -> None:
        super().__init__(gate)
        self._sealer = sealer
        self._signing = signing
        self._catalog = catalog
        self._service_keys = service_keys

    @gated(Action.ENCRYPT)
    async def encrypt(
        self,
        passage: Passage,
        key: str,
        items: Sequence[tuple[bytes, Context] | StrongroomError],
        algorithm: EncryptionAlgorithm | None = None,
        *,
        dry_run: bool = False,
    ) -> Batch[Sealed]:
        """Encrypt every item under one key; an item that arrives as an error stays one."""
        _check_count(items)
        brings = [
            None if isinstance(item, StrongroomError) else partial(bringing.encryption, algorithm, item[1])
            for item in items
        ]
        first = next((bring for bring in brings if bring is not None), bringing.nothing)
        await self._service_keys.prepare(passage, key, passage.action, first, dry_run=dry_run)
        passage.under(noting_names(i[1] for i in items if not isinstance(i, StrongroomError)))
        entry, allowed = await passage.claim_each(key, brings)
        items = _allowed(items, allowed)
        chosen = choose_encryption(entry, algorithm)
        await self._sealer.require_encryption(entry)
        bound = await self._catalog.version(entry)
        passage.facts["version"] = bound.version

        async def check(item: tuple[bytes, Context]) -> None:
            self._sealer.check_plaintext(item[0])
            check_capacity(entry, chosen, *item)

        async def seal(item: tuple[bytes, Context]) -> Sealed:
            await check(item)
            job = self._sealer.seal_bound(passage, bound, *item, chosen)
            return Sealed(
                await passage.work(Lane.QUICK, job, entry.key.token), entry.arn, bound.version, chosen
            )

        if dry_run:
            return await _tried(passage, items, check)
        return await _each(passage, items, seal)

    @gated(Action.DECRYPT)
    async def decrypt(
        self, passage: Passage, items: Sequence[Ciphertext | StrongroomError], *, dry_run: bool = False
    ) -> Batch[Opened]:
        """Decrypt every item under the key that it names itself."""
        _check_count(items)

        async def claim(item: Ciphertext) -> Source:
            note = noting_names([item.context])
            return await self._sealer.claim(passage, item, Action.DECRYPT, note=note)

        async def open_(item: Ciphertext) -> Opened:
            return await self._sealer.open(passage, await claim(item))

        batch: Batch[Opened] = await (
            _tried(passage, items, claim) if dry_run else _each(passage, items, open_)
        )
        passage.owe(sum(isinstance(r, StrongroomError) and r.reason in _UNPAID for r in batch.results))
        return batch

    @gated(Action.SIGN)
    async def sign(
        self,
        passage: Passage,
        key: str,
        items: Sequence[bytes | StrongroomError],
        wanted: ToSign,
        *,
        dry_run: bool = False,
    ) -> Batch[Signature]:
        """Sign every item under one key; `wanted` says how, its data is not used."""
        _check_count(items)
        bring = partial(bringing.signing, wanted.algorithm, wanted.kind)
        entry = await passage.claim(key, cost=len(items), bring=bring)
        algorithm = choose_signing(entry, wanted.algorithm)
        bound = await self._catalog.version(entry, wanted.version)
        passage.facts["version"] = bound.version

        async def check(item: bytes) -> bytes:
            check_message(item, empty=True)
            return to_sign(algorithm, wanted.kind, item)

        async def sign(item: bytes) -> Signature:
            made = await self._signing.sign_bound(passage, entry, bound, algorithm, await check(item))
            return Signature(made, entry.arn, bound.version, algorithm)

        return await (_tried(passage, items, check) if dry_run else _each(passage, items, sign))


def _check_count(items: Sequence[object]) -> None:
    if not items:
        raise invalid("items", "must not be empty")
    if len(items) > MAX_BATCH:
        raise too_large("items", MAX_BATCH, "items")


def _allowed(items: Sequence[A | StrongroomError], allowed: Sequence[bool]) -> Sequence[A | StrongroomError]:
    """Refuse the items whose circumstances policy and grants do not allow; what is wrong anyway stays so."""
    if all(allowed):
        return items
    return [
        item if may or isinstance(item, StrongroomError) else denied()
        for item, may in zip(items, allowed, strict=True)
    ]


_UNPAID: Final = frozenset({Reason.ACCESS_DENIED, Reason.KEY_DISABLED, Reason.KEY_PENDING_DELETION})
"""Refusals of an item that came before any quota was charged for it."""


async def _each(
    passage: Passage, items: Sequence[A | StrongroomError], work: Callable[[A], Awaitable[T]]
) -> Batch[T]:
    results: list[T | StrongroomError] = []
    for number, item in enumerate(items):
        if number % _STRIDE == _STRIDE - 1:
            await asyncio.sleep(0)  # let other calls of this worker in: quick items never wait by themselves
        results.append(item if isinstance(item, StrongroomError) else await _one(item, work))
    reasons = Counter(r.reason.value if isinstance(r, StrongroomError) else "OK" for r in results)
    passage.facts["items"] = dict(sorted(reasons.items()))
    passage.used(r.key_arn.rpartition("/")[2] for r in results if not isinstance(r, StrongroomError))
    return Batch(results)


async def _one(item: A, work: Callable[[A], Awaitable[T]]) -> T | StrongroomError:
    try:
        return await work(item)
    except StrongroomError as error:
        return error


async def _tried(
    passage: Passage, items: Sequence[A | StrongroomError], check: Callable[[A], Awaitable[object]]
) -> Batch[T]:
    """Answer a dry run: DRY_RUN_SUCCEEDED for the call if all items pass, else for each item that does."""

    async def tried(item: A) -> T:
        await check(item)
        raise StrongroomError(Reason.DRY_RUN_SUCCEEDED)

    batch = await _each(passage, items, tried)
    if passage.facts["items"].keys() == {Reason.DRY_RUN_SUCCEEDED.value}:
        passage.proceed(dry_run=True)
    passage.facts["dry_run"] = True
    return batch
