"""One call on its way through the gate: claims of keys, what they cost, and what is written down of it all.

Each claim finds the key, asks its policy, checks its state and spends quota, in that order. Who may see a key
hears what is wrong with it; to everybody else it does not exist.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from strongroomd.custody import bringing
from strongroomd.custody.admission import Lane
from strongroomd.custody.asking import NOTHING_BROUGHT, Brought
from strongroomd.custody.catalog import Entry
from strongroomd.custody.contextnotes import Note
from strongroomd.custody.judging import Bring, lent
from strongroomd.domain.actions import MUTATIONS, Action
from strongroomd.domain.algorithms import SPECS, QuotaClass
from strongroomd.domain.errors import Fault, Reason, StrongroomError, denied
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.policy.compiled import DEFAULT_DENY
from strongroomd.domain.policy.evaluation import FINAL
from strongroomd.domain.policy.request import Basis, Decision
from strongroomd.domain.principals import Caller
from strongroomd.domain.records import KeyState
from strongroomd.domain.servicekeys import is_fixed
from strongroomd.domain.tokens import MAIN
from strongroomd.ports import Charge
from strongroomd.telemetry import logs

if TYPE_CHECKING:
    from strongroomd.custody.gate import Gate

T = TypeVar("T")
_log = logs.get("custody")
Find = Callable[[], Awaitable[Entry]]
_NOT_ALLOWED = "neither the configuration nor an identity policy allows it"
_STRIDE = 32
_SLOW_DOWN = (Reason.QUOTA_EXCEEDED, Reason.OVERLOADED)  # what tells a caller to do so by itself
_GROUNDS = 10  # decisions that one audit record tells of


class Passage:
    """One call on its way through the gate.

    Attributes:
        caller: who calls.
        action: what they want.
        facts: what the audit record will say besides; use cases add names, versions and sizes, never secrets.
        decided: the last decision, and on what ground.
    """

    __slots__ = (
        "_arn",
        "_charged",
        "_gate",
        "_newest",
        "_note",
        "_owed",
        "_used",
        "action",
        "caller",
        "decided",
        "facts",
    )

    def __init__(self, gate: "Gate", caller: Caller, action: Action) -> None:
        self._gate = gate
        self._arn = caller.principal.arn
        self._charged = False
        self._owed = 0
        self._newest = False
        self._note: Note | None = None
        self._used: dict[tuple[str, Action], int] = {}
        self.caller = caller
        caller.passed = True
        self.action = action
        self.facts: dict[str, Any] = {}
        self.decided: Decision = DEFAULT_DENY

    @property
    def deadline(self) -> float:
        """The caller's deadline in monotonic seconds."""
        return self.caller.deadline

    def under(self, note: Note | None) -> None:
        """Say what the record tells of the context of the next claims, where it may name their keys."""
        self._note = note

    async def claim(
        self,
        key: str,
        act: Act = Act.USE,
        *,
        action: Action | None = None,
        cost: int = 1,
        field: str = "key",
        bring: Bring = bringing.nothing,
    ) -> Entry:
        """Claim a key by any of its names, for this call's action or another.

        Args:
            key: the name.
            act: what the key's state must allow.
            action: if it is not the call's own.
            cost: what it costs.
            field: the request field of the name.
            bring: tells what policies and grants may ask of this claim.

        Raises:
            StrongroomError: ACCESS_DENIED for unknown and forbidden keys alike; the state's refusal;
                QUOTA_EXCEEDED with the wait.
        """
        find = partial(self._gate.catalog.find, self.caller.account_of(key), key, field)
        try:
            return await self._claim(find, act, action or self.action, cost, bring, key)
        except StrongroomError as error:
            self.note_name(error, key)
            raise

    async def claim_id(
        self,
        key_id: str,
        act: Act = Act.USE,
        *,
        action: Action | None = None,
        cost: int = 1,
        bring: Bring = bringing.nothing,
    ) -> Entry:
        """Claim the key that a ciphertext, an alias or a grant names by its id."""
        find = partial(self._gate.catalog.entry, key_id)
        try:
            return await self._claim(find, act, action or self.action, cost, bring, "")
        except StrongroomError as error:
            self.note_name(error, key_id)
            raise

    async def _claim(
        self, find: Find, act: Act, action: Action, cost: int, bring: Bring, named: str
    ) -> Entry:
        entry = await find()
        if is_fixed(entry.key, action):  # told to whoever may see the key, and to nobody else
            await self._claim(find, Act.READ, Action.DESCRIBE_KEY, cost, bringing.nothing, named)
            raise StrongroomError(Reason.SERVICE_MANAGED_KEY)
        decision = self._gate.judge.recall(entry, self.caller, action)
        if decision is None:
            decision = await self._decide(entry, action, bring, named)
        if not decision.allowed and await self._catch_up():
            entry = await find()
            decision = await self._decide(entry, action, bring, named)
        self._admit(entry, act, action, cost, decision)
        return entry

    async def claim_lent(
        self, key_id: str, action: Action, ground: str, act: Act = Act.USE, more: Sequence[Charge] = ()
    ) -> Entry:
        """Claim a key that somebody who may lend it has lent to the caller; only a denial takes that away.

        Args:
            key_id: the key.
            action: what for; the lender said that the caller may.
            ground: what lends it, for the audit log.
            act: what the key's state must allow.
            more: charges besides those of every call, spent together with them.

        Raises:
            StrongroomError: KEY_NOT_FOUND for a key that is gone; ACCESS_DENIED where a policy denies it; the
                state's refusal; QUOTA_EXCEEDED with the wait; INTEGRITY_FAILURE where it cannot be known
                whether the caller's account has a guard rail that denies it.
        """
        self._gate.judge.require_whole(self.caller)
        try:
            entry = await self._gate.catalog.entry(key_id)
        except StrongroomError as error:
            if error.reason is Reason.ACCESS_DENIED:
                raise StrongroomError(Reason.KEY_NOT_FOUND, detail=error.detail) from None
            raise
        if entry.key.state is KeyState.DESTROYED:  # its record stays for ever
            raise StrongroomError(Reason.KEY_NOT_FOUND, detail="the key was destroyed")
        judge = self._gate.judge
        decision = judge.recall(entry, self.caller, action)
        if decision is None:  # what cannot be decided raises, and is denied: a denial may be behind it
            decision = await judge.decide(entry, self.caller, action, bringing.lent_encryption)
        if not decision.allowed and decision.basis not in FINAL:
            decision = lent(ground)
        self._admit(entry, act, action, 1, decision, more=more)
        return entry

    async def _catch_up(self) -> bool:
        """Learn the newest state before a refusal, once a call; says whether there is reason to ask again.

        So whoever was just let in by another worker is let in by this one. And a key that is forbidden costs
        the look at the store that one costs which does not exist: time does not tell them apart.
        """
        if self._newest:
            return False
        self._newest = True
        await self._gate.judge.catch_up()
        return True

    async def claim_each(self, key: str, brings: Sequence[Bring | None]) -> tuple[Entry, list[bool]]:
        """Claim a key for the items of a batch, each with circumstances of its own.

        Args:
            key: the name.
            brings: for each item; None for one that is refused already.

        Returns:
            The key, and for each item whether it is allowed.

        Raises:
            StrongroomError: as `claim`; ACCESS_DENIED if no item is allowed.
        """
        find = partial(self._gate.catalog.find, self.caller.account_of(key), key, "key")
        entry = await find()
        settled = self._gate.judge.recall(entry, self.caller, self.action)
        if settled is not None and settled.allowed:
            self._admit(entry, Act.USE, self.action, len(brings), settled)
            return entry, [True] * len(brings)
        decisions = [await self._decide_item(entry, n, bring, key) for n, bring in enumerate(brings)]
        if not any(decision.allowed for decision in decisions) and await self._catch_up():
            entry = await find()
            decisions = [await self._decide_item(entry, n, bring, key) for n, bring in enumerate(brings)]
        grounds = dict.fromkeys(sorted(decisions, key=lambda decision: not decision.allowed))
        self._admit(entry, Act.USE, self.action, len(brings), *grounds)
        return entry, [decision.allowed for decision in decisions]

    async def _decide_item(self, entry: Entry, number: int, bring: Bring | None, named: str) -> Decision:
        if number % _STRIDE == _STRIDE - 1:
            await asyncio.sleep(0)  # let other calls of this worker in
        return DEFAULT_DENY if bring is None else await self._decide(entry, self.action, bring, named)

    async def _decide(self, entry: Entry, action: Action, bring: Bring, named: str = "") -> Decision:
        try:
            return await self._gate.judge.decide(entry, self.caller, action, bring, named)
        except StrongroomError as error:
            return _gap(error)

    async def means(self, key: str, entry: Entry, field: str = "key") -> bool:
        """Say whether a name means this key, without claiming it; what names nothing means none."""
        catalog = self._gate.catalog
        try:
            name = catalog.realm.parse_key(key, self.caller.account_of(key), field)
            key_id = name.key_id or await catalog.alias_target(name)
        except StrongroomError as error:
            if error.fault is Fault.CALLER:
                return False
            raise
        return (key_id, name.account) == (entry.key.key_id, entry.key.account)

    def _admit(
        self,
        entry: Entry,
        act: Act,
        action: Action,
        cost: int,
        *decisions: Decision,
        more: Sequence[Charge] | None = None,
    ) -> None:
        """Act on a decision; of several the first counts, and all are written down.

        With charges of whom the key is lent to, a look at it costs the account what a use costs: what AWS
        asks does not use up the quota of the account's administrators.
        """
        decision = self.decided = decisions[0]
        if decision.allowed or entry.key.account == self.caller.principal.account:
            self.note_key(entry.arn)
            if self._note is not None:
                self._note(self.facts)
            for each in decisions[:_GROUNDS]:
                self.note_decision(each)
        if not decision.allowed:
            raise denied(decision.ground)
        require(entry.key.state, act)
        key_id = entry.key.key_id
        of_key = act is Act.USE or more is not None
        class_ = SPECS[entry.key.spec].quota if of_key else QuotaClass.MANAGEMENT
        self._spend(key_id, class_, cost, more or ())
        if act is Act.USE:
            self._used[key_id, action] = 1

    def note_name(self, error: StrongroomError, name: str) -> None:
        """Put the name of a key that was refused into the audit record, as the caller gave it.

        The caller's account reads the record as well: of a key of another account it must not tell whether
        there is one, which the alias means, or what its policy says.
        """
        if error.reason is Reason.ACCESS_DENIED and "key" not in self.facts:
            self.facts["named"] = name

    def note_decision(self, decision: Decision) -> None:
        """Put a decision and its ground into the audit record, further ones as `other_decisions`."""
        facts, made = self.facts, {"basis": decision.basis.value, "ground": decision.ground}
        if decision.policy:
            made["policy"] = decision.policy
        if facts.setdefault("decision", made) != made:
            others = facts.setdefault("other_decisions", [])
            if made not in others and len(others) < _GROUNDS:
                others.append(made)

    def _spend(self, key_id: str, class_: QuotaClass, cost: int, more: Sequence[Charge] = ()) -> None:
        self._gate.quotas.spend(self.caller.principal, key_id, class_, cost, more)
        self._charged = True

    def note_key(self, arn: str) -> None:
        """Put a key into the audit record: the first as `key`, further ones as `other_keys`."""
        facts = self.facts
        if facts.setdefault("key", arn) != arn:
            others = facts.setdefault("other_keys", [])
            if arn not in others:
                others.append(arn)

    def claim_keyless(
        self,
        cost: int = 1,
        class_: QuotaClass = QuotaClass.MANAGEMENT,
        brought: Brought = NOTHING_BROUGHT,
    ) -> None:
        """Claim the right to a call without a key.

        Raises:
            StrongroomError: ACCESS_DENIED unless configuration or identity policies allow it.
        """
        decision = self._decide_keyless(self.action, brought)
        self.note_decision(decision)
        if not decision.allowed:
            raise StrongroomError(Reason.ACCESS_DENIED, _NOT_ALLOWED, detail=decision.ground)
        self._spend("", class_, cost)

    def may(self, action: Action) -> bool:
        """Say whether the caller has the right to an action without a key; nothing is claimed by asking."""
        return self._decide_keyless(action, NOTHING_BROUGHT).allowed

    def _decide_keyless(self, action: Action, brought: Brought) -> Decision:
        try:
            return self._gate.judge.decide_keyless(self.caller, action, brought)
        except StrongroomError as error:
            return _gap(error)

    def claim_account(self, account: str) -> None:
        """Claim the right to administer an account: an administrator's own, or any for an operator.

        Raises:
            StrongroomError: ACCESS_DENIED, the same whether or not the account exists.
        """
        principal = self.caller.principal
        if account != principal.account and not principal.operator:
            raise StrongroomError(Reason.ACCESS_DENIED, "only an administrator may do this")
        self.claim_keyless()

    def claim_own(self) -> None:
        """Pay for a call that needs no other right: about what is the caller's own, or let in by a role.

        Raises:
            StrongroomError: ACCESS_DENIED where a guard rail or an identity policy denies it.
        """
        decision = self._gate.judge.forbids(self.caller, self.action)
        if decision is not None:
            self.note_decision(decision)
            raise StrongroomError(Reason.ACCESS_DENIED, _NOT_ALLOWED, detail=decision.ground)
        self._spend("", QuotaClass.MANAGEMENT, 1)

    def charge(self, class_: QuotaClass, more: Sequence[Charge]) -> None:
        """Pay for a call that its door's credential alone allows. Raises QUOTA_EXCEEDED with the wait."""
        self._spend("", class_, 1, more)

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

    async def work(self, lane: Lane, job: Awaitable[T], token: str = MAIN) -> T:
        """Await HSM work inside its lane of a token, in its caller's turn.

        Raises:
            StrongroomError: OVERLOADED or DEADLINE_EXCEEDED, early, when it cannot be done in time.
        """
        admission, caller = self._gate.admission, self.caller
        try:
            turn = admission.enter(lane, caller.deadline, token, (caller.principal.account, self._arn))
            if turn is not None:
                await admission.wait(turn, lane, token)
        except BaseException:
            if hasattr(job, "close"):
                job.close()
            raise
        try:
            return await job
        finally:
            admission.leave(lane, token, caller.deadline)

    def used(self, key_ids: Iterable[str]) -> None:
        """Say which key each successful item of a batch used; without this each claimed key counts once."""
        self._used = dict(Counter((key_id, self.action) for key_id in key_ids))

    def count_uses(self) -> None:
        """Count the keys that this call used, once it succeeded."""
        for (key_id, action), times in self._used.items():
            self._gate.usage.count(key_id, action.partition(":")[2], times)

    async def refuse(self, error: StrongroomError) -> StrongroomError:
        """Write a refusal down and count it; gives what the caller is told: this, or to slow down."""
        throttled = self._cannot_pay(error)
        if throttled is not None:
            answer = error if error.reason in _SLOW_DOWN else throttled
            self._gate.meter.refused(answer)
            return answer
        self._gate.meter.refused(error)
        if error.detail:
            reason, request_id = error.reason.value, self.caller.request_id
            _log.info("refused", reason=reason, detail=error.detail, request_id=request_id)
        await self.outcome(error.reason.value)
        return error

    def _cannot_pay(self, error: StrongroomError) -> StrongroomError | None:
        """Charge a refusal; gives QUOTA_EXCEEDED where it gets no record of its own.

        Overload is not its caller's fault, but a worker that has too much to do cannot write down each.
        """
        if error.reason is Reason.OVERLOADED:
            return self._gate.refusals.charge(self._arn)
        return self.charge_refusal() if error.fault is Fault.CALLER else None

    def owe(self, count: int) -> None:
        """Say how many items of a batch were refused without having paid for themselves."""
        self._owed = count

    def charge_refusal(self) -> StrongroomError | None:
        """Charge what no quota paid for; if even that is used up the call gets no record of its own."""
        cost = self._owed or (0 if self._charged else 1)
        return self._gate.refusals.charge(self._arn, cost) if cost else None

    async def end(self) -> None:
        """Write down that the call succeeded and count what it used.

        The items of a batch that were refused have paid nothing yet.

        Raises:
            StrongroomError: QUOTA_EXCEEDED for such a batch when its principal is refused too often.
        """
        throttled = self.charge_refusal()
        if throttled is not None:
            self._gate.meter.refused(throttled)
            if self._charged:  # some items were done
                await self.outcome(throttled.reason.value)
                self.count_uses()
            raise throttled
        await self.outcome("OK")
        self.count_uses()

    def cancelled(self) -> None:
        """Have it written down that the caller went away: what was done may have been done."""
        if self.charge_refusal() is None:
            self._gate.keep(self.outcome("CANCELLED"))


def _gap(error: StrongroomError) -> Decision:
    """Make the decision for a policy that asks for what the request does not have; other errors stay such."""
    if error.reason is not Reason.ACCESS_DENIED:
        raise error
    return Decision(allowed=False, ground=error.detail or "", basis=Basis.DEFAULT_DENY)
