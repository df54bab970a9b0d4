"""The gate: the one way in. Every use case passes it, so that none can forget policy, quota or audit.

A use case is a method marked `@gated(action)`. Outside it takes a `Caller`; inside it gets a `Passage`, with
which it claims the keys that it needs: each claim finds the key, asks its policy, checks its state and spends
quota, in that order. When the work is done, or refused, one record of the outcome is durable before the
caller learns it. A mutation writes its intent first. If the record cannot be written the caller gets
AUDIT_UNAVAILABLE and no result.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.asking import NOTHING_BROUGHT, Brought, make_request
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.clock import Clock
from strongroomd.custody.quotas import Quotas
from strongroomd.custody.refusals import Refusals
from strongroomd.custody.usage import UsageCounter
from strongroomd.domain.actions import FOR_ANYONE, KEYLESS, MUTATIONS, OPERATORS_ONLY, Action
from strongroomd.domain.algorithms import SPECS, KeyFamily, QuotaClass
from strongroomd.domain.errors import Fault, Reason, StrongroomError, denied
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.policy import Question
from strongroomd.domain.principals import Caller
from strongroomd.ports import AuditLog
from strongroomd.telemetry import logs

P = ParamSpec("P")
T = TypeVar("T")
_log = logs.get("custody")


class GateMeter(Protocol):
    """Counts what the gate refuses, for metrics."""

    def refused(self, error: StrongroomError) -> None:
        """Count one refusal."""
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
        clock: tells policies the time; the host's unless told otherwise.
    """

    def __init__(
        self,
        catalog: Catalog,
        quotas: Quotas,
        audit: AuditLog,
        admission: Admission,
        usage: UsageCounter,
        meter: GateMeter,
        clock: Clock | None = None,
    ) -> None:
        self.catalog = catalog
        self.quotas = quotas
        self.audit = audit
        self.admission = admission
        self.usage = usage
        self.meter = meter
        self.clock = clock or Clock()
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


class Passage:
    """One call on its way through the gate.

    Attributes:
        caller: who calls.
        action: what they want.
        facts: what the audit record will say besides; use cases add names, versions and sizes, never secrets.
        brought: what policies may ask of this request; use cases replace it before they claim.
    """

    __slots__ = ("_arn", "_charged", "_gate", "_used", "action", "brought", "caller", "facts")

    def __init__(self, gate: Gate, caller: Caller, action: Action) -> None:
        self._gate = gate
        self._arn = caller.principal.arn
        self._charged = False
        self._used: dict[tuple[str, Action], int] = {}
        self.caller = caller
        caller.passed = True
        self.action = action
        self.facts: dict[str, Any] = {}
        self.brought: Brought = NOTHING_BROUGHT

    @property
    def deadline(self) -> float:
        """The caller's deadline in monotonic seconds."""
        return self.caller.deadline

    async def claim(
        self, key: str, act: Act = Act.USE, *, action: Action | None = None, cost: int = 1, field: str = "key"
    ) -> Entry:
        """Claim a key by any of its names, for this call's action or another.

        Raises:
            StrongroomError: ACCESS_DENIED for unknown and forbidden keys alike; the state's refusal;
                QUOTA_EXCEEDED with the wait.
        """
        entry = await self._gate.catalog.find(self.caller.principal, key, field)
        self._admit(entry, act, action or self.action, cost, key)
        return entry

    async def claim_id(
        self, key_id: str, act: Act = Act.USE, *, action: Action | None = None, cost: int = 1
    ) -> Entry:
        """Claim the key that a ciphertext or an alias names by its id."""
        entry = await self._gate.catalog.entry(key_id)
        self._admit(entry, act, action or self.action, cost)
        return entry

    async def means(self, key: str, entry: Entry, field: str = "key") -> bool:
        """Say whether a name means this key, without claiming it; an alias of nothing means none."""
        catalog = self._gate.catalog
        name = catalog.realm.parse_key(key, self.caller.principal.account, field)
        try:
            key_id = name.key_id or await catalog.alias_target(name)
        except StrongroomError as error:
            if error.reason is Reason.ACCESS_DENIED:
                return False
            raise
        return (key_id, name.account) == (entry.key.key_id, entry.key.account)

    def _admit(self, entry: Entry, act: Act, action: Action, cost: int, named: str = "") -> None:
        self.note_key(entry.arn)
        question = Question(self.caller.name, action)
        decision = entry.policy.recall(question)
        if decision is None:
            ask = partial(make_request, self._gate.clock, self.caller, action, entry, self.brought, named)
            decision = entry.policy.decide(question, ask)
        if not decision.allowed:
            raise denied(decision.ground)
        require(entry.key.state, act)
        key_id = entry.key.key_id
        class_ = SPECS[entry.key.spec].quota if act is Act.USE else QuotaClass.MANAGEMENT
        self._spend(key_id, class_, cost)
        if act is Act.USE:
            self._used[key_id, action] = 1

    def _spend(self, key_id: str, class_: QuotaClass, cost: int) -> None:
        self._gate.quotas.spend(self.caller.principal, key_id, class_, cost)
        self._charged = True

    def note_key(self, arn: str) -> None:
        """Put a key into the audit record: the first as `key`, further ones as `other_keys`."""
        facts = self.facts
        if facts.setdefault("key", arn) != arn:
            others = facts.setdefault("other_keys", [])
            if arn not in others:
                others.append(arn)

    def claim_keyless(self, cost: int = 1, class_: QuotaClass = QuotaClass.MANAGEMENT) -> None:
        """Claim the right to a call without a key.

        Raises:
            StrongroomError: ACCESS_DENIED unless the caller is an administrator, or an operator where one is
                needed, or the action is for anyone.
        """
        principal = self.caller.principal
        may = principal.operator if self.action in OPERATORS_ONLY else principal.administrator
        if not (self.action in FOR_ANYONE or (self.action in KEYLESS and may)):
            raise StrongroomError(Reason.ACCESS_DENIED, "only an administrator may do this")
        self._spend("", class_, cost)

    def claim_account(self, account: str) -> None:
        """Claim the right to administer an account: an administrator's own, or any for an operator.

        Raises:
            StrongroomError: ACCESS_DENIED, the same whether or not the account exists.
        """
        principal = self.caller.principal
        if not (account == principal.account or principal.operator):
            raise StrongroomError(Reason.ACCESS_DENIED, "only an administrator may do this")
        self.claim_keyless()

    def claim_role(self) -> None:
        """Pay for a call that a role's trust policy has allowed."""
        self._spend("", QuotaClass.MANAGEMENT, 1)

    def proceed(self, *, dry_run: bool) -> None:
        """Stop here with DRY_RUN_SUCCEEDED if the caller only wants to know."""
        if dry_run:
            self.facts["dry_run"] = True
            raise StrongroomError(Reason.DRY_RUN_SUCCEEDED)

    async def intent(self) -> None:
        """Write down that a mutation is about to be tried; durable on return."""
        if self.action in MUTATIONS:
            await self._gate.audit.write(self._record("intent", "PENDING"))

    async def outcome(self, result: str) -> None:
        """Write down how the call ended; durable on return."""
        await self._gate.audit.write(self._record("outcome", result))

    def _record(self, kind: str, result: str) -> dict[str, Any]:
        caller = self.caller
        return {
            "kind": kind,
            "action": self.action.value,
            "principal": self._arn,
            "request_id": caller.request_id,
            "source": caller.source,
            "door": caller.door,
            **caller.told(),
            "outcome": result,
            **self.facts,
        }

    async def work(self, lane: Lane, job: Awaitable[T]) -> T:
        """Await HSM work inside its lane; refused early when it cannot be done in time."""
        admission = self._gate.admission
        try:
            admission.enter(lane, self.caller.deadline)
        except StrongroomError:
            if hasattr(job, "close"):
                job.close()
            raise
        try:
            return await job
        finally:
            admission.leave(lane)

    def used(self, key_ids: Iterable[str]) -> None:
        """Say which key each successful item of a batch used; without this each claimed key counts once."""
        self._used = dict(Counter((key_id, self.action) for key_id in key_ids))

    def count_uses(self) -> None:
        """Count the keys that this call used, once it succeeded."""
        for (key_id, action), times in self._used.items():
            self._gate.usage.count(key_id, action.partition(":")[2], times)

    async def refuse(self, error: StrongroomError) -> StrongroomError:
        """Write a refusal down and count it; gives what the caller is told: this, or to slow down."""
        throttled = self.charge_refusal() if error.fault is Fault.CALLER else None
        if throttled is not None:
            answer = error if error.reason is Reason.QUOTA_EXCEEDED else throttled
            self._gate.meter.refused(answer)
            return answer
        self._gate.meter.refused(error)
        if error.detail:
            reason, request_id = error.reason.value, self.caller.request_id
            _log.info("refused", reason=reason, detail=error.detail, request_id=request_id)
        await self.outcome(error.reason.value)
        return error

    def charge_refusal(self) -> StrongroomError | None:
        """Charge a call that no quota paid for; if even that is used up it gets no record of its own."""
        return None if self._charged else self._gate.refusals.charge(self._arn)

    async def end(self) -> None:
        """Write down that the call succeeded and count what it used.

        A batch whose items were all refused has paid nothing yet.

        Raises:
            StrongroomError: QUOTA_EXCEEDED for such a batch when its principal is refused too often.
        """
        throttled = self.charge_refusal()
        if throttled is not None:
            self._gate.meter.refused(throttled)
            raise throttled
        await self.outcome("OK")
        self.count_uses()

    def cancelled(self) -> None:
        """Have it written down that the caller went away: what was done may have been done."""
        if self.charge_refusal() is None:
            self._gate.keep(self.outcome("CANCELLED"))


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
                result = await use_case(self, passage, *args, **kwargs)
            except asyncio.CancelledError:
                passage.cancelled()
                raise
            except StrongroomError as error:
                answer = await passage.refuse(error)
                if answer is error:
                    raise
                raise answer from None
            except Exception as error:
                _log.exception("use case failed", action=action.value, request_id=caller.request_id)
                failure = StrongroomError(Reason.INTERNAL, detail=type(error).__name__)
                await passage.refuse(failure)
                raise failure from error
            await passage.end()
            return result

        @functools.wraps(use_case)
        async def to_the_end(self: S, caller: Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return await self.gate.finish(through(self, caller, *args, **kwargs))

        return to_the_end if action in MUTATIONS else functools.wraps(use_case)(through)

    return decorate


def lane_of(entry: Entry) -> Lane:
    """Say in which lane a key's work queues."""
    return Lane.RSA if SPECS[entry.key.spec].family is KeyFamily.RSA else Lane.QUICK
