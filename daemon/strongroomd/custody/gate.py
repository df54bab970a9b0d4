"""The gate: the one way in. Every use case passes it, so that none can forget policy, quota or audit.

A use case is a method marked `@gated(action)`. Outside it takes a `Caller`; inside it gets a `Passage`, with
which it claims the keys that it needs: each claim finds the key, asks its policy, checks its state and spends
quota, in that order. When the work is done, or refused, one record of the outcome is durable before the
caller learns it. A mutation writes its intent first. If the record cannot be written the caller gets
AUDIT_UNAVAILABLE and no result.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from strongroomd.custody import closing
from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.judging import Judge
from strongroomd.custody.passage import Passage
from strongroomd.custody.quotas import Quotas
from strongroomd.custody.refusals import Refusals
from strongroomd.custody.usage import UsageCounter
from strongroomd.domain.actions import MUTATIONS, Action
from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller
from strongroomd.ports import AuditLog
from strongroomd.telemetry import logs

P = ParamSpec("P")
T = TypeVar("T")
_log = logs.get("custody")
_SECRETS = (KeyFamily.AES, KeyFamily.HMAC)


class GateMeter(Protocol):
    """Counts what the gate refuses, for metrics."""

    def refused(self, error: StrongroomError) -> None:
        """Count one refusal."""
        ...

    def wanted_while_pending(self, key_id: str, principal: str) -> None:
        """Hear of a call by somebody who may use a key that waits for its deletion."""
        ...


class Gate:
    """Decides, charges and writes down.

    Args:
        catalog: finds keys.
        quotas: charges calls.
        audit: this worker's chain.
        admission: guards the HSM.
        usage: counts successful uses for each key.
        meter: counts refusals.
        judge: decides.
    """

    def __init__(
        self,
        catalog: Catalog,
        quotas: Quotas,
        audit: AuditLog,
        admission: Admission,
        usage: UsageCounter,
        meter: GateMeter,
        judge: Judge,
    ) -> None:
        self.catalog = catalog
        self.quotas = quotas
        self.audit = audit
        self.admission = admission
        self.usage = usage
        self.meter = meter
        self.judge = judge
        self.refusals = Refusals(quotas, audit)
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a mutation to its audited end even if its caller goes away meanwhile."""
        return await asyncio.shield(self.keep(work))

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what nobody may wait for any more, but must be done before the worker ends."""
        task = asyncio.ensure_future(work)
        self._unfinished.add(task)
        task.add_done_callback(self._forget)
        return task

    async def settle(self, seconds: float) -> int:
        """Wait for what callers left behind, at most so long; returns how much is unfinished still.

        To be called once no new call can come and while audit log, store and HSM are still open.
        """
        unfinished: set[asyncio.Task[Any]] = set()
        if self._unfinished:
            _, unfinished = await asyncio.wait(self._unfinished, timeout=seconds)
        if unfinished:
            _log.error("mutations unfinished", count=len(unfinished))
        await self.refusals.flush()
        return len(unfinished)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has seen it; if nobody waits any more the audit log has


class UseCases:
    """Base of the classes whose methods are `@gated`."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate


S = TypeVar("S", bound=UseCases)


def gated(
    action: Action,
) -> Callable[
    [Callable[Concatenate[S, Passage, P], Awaitable[T]]], Callable[Concatenate[S, Caller, P], Awaitable[T]]
]:
    """Make a use case pass the gate under an action; see the module's text."""

    def decorate(
        use_case: Callable[Concatenate[S, Passage, P], Awaitable[T]],
    ) -> Callable[Concatenate[S, Caller, P], Awaitable[T]]:
        async def through(self: S, caller: Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
            passage = Passage(self.gate, caller, action)
            try:
                if caller.grant_tokens:
                    await self.gate.judge.heed(caller.grant_tokens)
                result = await use_case(self, passage, *args, **kwargs)
            except asyncio.CancelledError:
                closing.cancelled(passage)
                raise
            except StrongroomError as error:
                answer = await closing.refuse(passage, error)
                try:
                    if answer is error:
                        raise
                    raise answer from error  # for doors that tell why, and not only to slow down
                finally:
                    del answer  # its traceback has this frame: nothing is left to the garbage collector
            except Exception as error:
                _log.exception("use case failed", action=action.value, request_id=caller.request_id)
                failure = StrongroomError(Reason.INTERNAL, detail=type(error).__name__)
                await closing.refuse(passage, failure)
                raise failure from error
            await closing.end(passage)
            return result

        @functools.wraps(use_case)
        async def to_the_end(self: S, caller: Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await self.gate.finish(through(self, caller, *args, **kwargs))

        return to_the_end if action in MUTATIONS else functools.wraps(use_case)(through)

    return decorate


QUICK_CURVES = frozenset((KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_EDWARDS25519))
"""Curves that sign as quickly as AES encrypts; the vault's own table must say the same."""


def lane_of(entry: Entry) -> Lane:
    """Say in which lane a key's work queues; an agreement is never quick."""
    spec = entry.key.spec
    if SPECS[spec].family in _SECRETS or (
        spec in QUICK_CURVES and entry.key.usage is not KeyUsage.KEY_AGREEMENT
    ):
        return Lane.QUICK
    return Lane.RSA
