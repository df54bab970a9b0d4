"""One call on its way through the gate: claims of keys, what they cost, and what is written down of it all.

Each claim finds the key, asks its policy, checks its state and spends quota, in that order. Who may see a key
hears what is wrong with it; to everybody else it does not exist. How a call ends is said in `closing`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from strongroomd.custody import bringing
from strongroomd.custody.admission import Lane
from strongroomd.custody.asking import NOTHING_BROUGHT, Brought
from strongroomd.custody.auditfacts import GROUNDS, note_decision, note_key, note_name, told_of
from strongroomd.custody.catalog import Entry
from strongroomd.custody.contextnotes import Note
from strongroomd.custody.judging import Bring, lent
from strongroomd.domain.actions import MUTATIONS, Action
from strongroomd.domain.algorithms import SPECS, QuotaClass
from strongroomd.domain.audit import Head
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

if TYPE_CHECKING:
    from strongroomd.custody.gate import Gate

T = TypeVar("T")
Find = Callable[[], Awaitable[Entry]]
_NOT_ALLOWED = "neither the configuration nor an identity policy allows it"
_STRIDE = 32


class Passage:
    """One call on its way through the gate.

    Attributes:
        caller: who calls.
        action: what they want.
        facts: what the audit record will say besides; use cases add names, versions and sizes, never secrets.
        decided: the last decision, and on what ground.
        gate: the gate that it passes.
    """

    __slots__ = (
        "_arn",
        "_charged",
        "_newest",
        "_note",
        "_owed",
        "_used",
        "action",
        "caller",
        "decided",
        "facts",
        "gate",
    )

    def __init__(self, gate: "Gate", caller: Caller, action: Action) -> None:
        self.gate = gate
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
        find = partial(self.gate.catalog.find, self.caller.account_of(key), key, field)
        try:
            return await self._claim(find, act, action or self.action, cost, bring, key)
        except StrongroomError as error:
            note_name(self.facts, error, key)
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
        find = partial(self.gate.catalog.entry, key_id)
        try:
            return await self._claim(find, act, action or self.action, cost, bring, "")
        except StrongroomError as error:
            note_name(self.facts, error, key_id)
            raise

    async def _claim(
        self, find: Find, act: Act, action: Action, cost: int, bring: Bring, named: str
    ) -> Entry:
        entry = await find()
        if is_fixed(entry.key, action):  # told to whoever may see the key, and to nobody else
            await self._claim(find, Act.READ, Action.DESCRIBE_KEY, cost, bringing.nothing, named)
            raise StrongroomError(Reason.SERVICE_MANAGED_KEY)
        decision = self.gate.judge.recall(entry, self.caller, action)
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
        self.gate.judge.require_whole(self.caller)
        try:
            entry = await self.gate.catalog.entry(key_id)
        except StrongroomError as error:
            if error.reason is Reason.ACCESS_DENIED:
                raise StrongroomError(Reason.KEY_NOT_FOUND, detail=error.detail) from None
            raise
        if entry.key.state is KeyState.DESTROYED:  # its record stays for ever
            raise StrongroomError(Reason.KEY_NOT_FOUND, detail="the key was destroyed")
        judge = self.gate.judge
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
        await self.gate.judge.catch_up()
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
        find = partial(self.gate.catalog.find, self.caller.account_of(key), key, "key")
        entry = await find()
        settled = self.gate.judge.recall(entry, self.caller, self.action)
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
            return await self.gate.judge.decide(entry, self.caller, action, bring, named)
        except StrongroomError as error:
            return _gap(error)

    async def means(self, key: str, entry: Entry, field: str = "key") -> bool:
        """Say whether a name means this key, without claiming it; what names nothing means none."""
        catalog = self.gate.catalog
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
            note_key(self.facts, entry.arn)
            if self._note is not None:
                self._note(self.facts)
            for each in decisions[:GROUNDS]:
                note_decision(self.facts, each)
        if not decision.allowed:
            raise denied(decision.ground)
        key_id = entry.key.key_id
        if act is Act.USE and entry.key.state is KeyState.PENDING_DELETION:
            self.gate.meter.wanted_while_pending(key_id, self._arn)
        require(entry.key.state, act)
        of_key = act is Act.USE or more is not None
        class_ = SPECS[entry.key.spec].quota if of_key else QuotaClass.MANAGEMENT
        self._spend(key_id, class_, cost, more or ())
        if act is Act.USE:
            self._used[key_id, action] = 1

    def _spend(self, key_id: str, class_: QuotaClass, cost: int, more: Sequence[Charge] = ()) -> None:
        self.gate.quotas.spend(self.caller.principal, key_id, class_, cost, more)
        self._charged = True

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
        note_decision(self.facts, decision)
        if not decision.allowed:
            raise StrongroomError(Reason.ACCESS_DENIED, _NOT_ALLOWED, detail=decision.ground)
        self._spend("", class_, cost)

    def may(self, action: Action) -> bool:
        """Say whether the caller has the right to an action without a key; nothing is claimed by asking."""
        return self._decide_keyless(action, NOTHING_BROUGHT).allowed

    def _decide_keyless(self, action: Action, brought: Brought) -> Decision:
        try:
            return self.gate.judge.decide_keyless(self.caller, action, brought)
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
        decision = self.gate.judge.forbids(self.caller, self.action)
        if decision is not None:
            note_decision(self.facts, decision)
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
            await self.note()

    async def note(self) -> Head:
        """Write down what is about to be tried, and say where in the audit log that stands."""
        return await self.gate.audit.write(told_of("intent", self.action, self.caller, "PENDING", self.facts))

    async def outcome(self, result: str) -> None:
        """Write down how the call ended; durable on return."""
        await self.gate.audit.write(told_of("outcome", self.action, self.caller, result, self.facts))

    async def work(self, lane: Lane, job: Awaitable[T], token: str = MAIN) -> T:
        """Await HSM work inside its lane of a token, in its caller's turn.

        Raises:
            StrongroomError: OVERLOADED or DEADLINE_EXCEEDED, early, when it cannot be done in time.
        """
        admission, caller = self.gate.admission, self.caller
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
            self.gate.usage.count(key_id, action.partition(":")[2], times)

    def owe(self, count: int) -> None:
        """Say how many items of a batch were refused without having paid for themselves."""
        self._owed = count

    @property
    def charged(self) -> bool:
        """Whether a quota paid for the call."""
        return self._charged

    def charge_refusal(self) -> StrongroomError | None:
        """Charge what no quota paid for; if even that is used up the call gets no record of its own."""
        cost = self._owed or (0 if self._charged else 1)
        return self.gate.refusals.charge(self._arn, cost) if cost else None


def _gap(error: StrongroomError) -> Decision:
    """Make the decision for a policy that asks for what the request does not have; other errors stay such."""
    if error.reason is not Reason.ACCESS_DENIED:
        raise error
    return Decision(allowed=False, ground=error.detail or "", basis=Basis.DEFAULT_DENY)
