"""The judge: whether a caller may do something with a key. The gate asks it, and nobody else decides.

The key's policy comes first. What it neither allows nor explicitly denies, a grant may allow
(`domain/policy/evaluation`, rule 7). What the policy decides whatever the request, for a caller to whom the
key lends nothing, is remembered: two look-ups.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final

from strongroomd.custody.asking import Brought, make_request, subject_of
from strongroomd.custody.catalog import Entry
from strongroomd.custody.clock import Clock
from strongroomd.custody.granttokens import GrantTokens
from strongroomd.custody.lending import Lending
from strongroomd.domain.actions import Action
from strongroomd.domain.grants import may_retire
from strongroomd.domain.policy import Question
from strongroomd.domain.policy.compiled import DEFAULT_DENY
from strongroomd.domain.policy.request import Basis, Decision, Request
from strongroomd.domain.principals import Caller

Bring = Callable[[Entry], Brought | Awaitable[Brought]]
"""Tells what a use case knows of its request; called only where a policy or grant depends on it."""


class Judge:
    """Decides from memory, but for the first time that a caller's grants of a key are needed.

    Args:
        clock: tells policies the time.
        lending: grants; None where there are none.
        tokens: heeds grant tokens; None likewise.
    """

    def __init__(
        self, clock: Clock, lending: Lending | None = None, tokens: GrantTokens | None = None
    ) -> None:
        self._clock = clock
        self._lending = lending
        self._tokens = tokens

    async def heed(self, grant_tokens: tuple[str, ...]) -> None:
        """See to it that the grants which a call brings are known. Raises INVALID_GRANT_TOKEN."""
        if self._tokens is not None:
            await self._tokens.heed(grant_tokens)

    def recall(self, entry: Entry, arn: str, action: Action) -> Decision | None:
        """Give a decision that depends on nothing but key, caller and action, if it was made before."""
        decision = entry.policy.recall(Question(arn, action))
        if decision is None or action is Action.RETIRE_GRANT:
            return None
        if decision.allowed or decision.basis in _FINAL or self._lending is None:
            return decision
        return None if self._lending.concern(entry.key.key_id, _names(arn)) else decision

    async def decide(
        self, entry: Entry, caller: Caller, action: Action, bring: Bring, named: str = ""
    ) -> Decision:
        """Decide a request about a key.

        Args:
            entry: the key.
            caller: who asks.
            action: what for.
            bring: tells what else is known.
            named: the text by which the caller named the key; empty where a ciphertext did.
        """
        found = bring(entry)
        brought = found if isinstance(found, Brought) else await found
        made: list[Request] = []

        def ask() -> Request:
            if not made:
                made.append(make_request(self._clock, caller, action, entry, brought, named))
            return made[0]

        decision = entry.policy.decide(Question(caller.principal.arn, action), ask)
        if action is Action.RETIRE_GRANT:
            return decision if decision.basis in _FINAL else _retirement(brought, ask())
        if decision.allowed or decision.basis in _FINAL:
            return decision
        return await self._by_grant(entry, caller, ask) or decision

    async def _by_grant(self, entry: Entry, caller: Caller, ask: Callable[[], Request]) -> Decision | None:
        key_id = entry.key.key_id
        if self._lending is None or not self._lending.concern(key_id, _names(caller.principal.arn)):
            return None
        grant = await self._lending.permitting(key_id, _names(caller.principal.arn), ask())
        return None if grant is None else _lent(grant.grant_id)


def _retirement(brought: Brought, request: Request) -> Decision:
    """Decide by the grant alone who may retire it: no policy gives that right (AWS: retiring grants)."""
    grant = brought.retired
    if grant is None or not may_retire(grant, request.subject):
        return DEFAULT_DENY
    return _lent(grant.grant_id)


def _lent(grant_id: str) -> Decision:
    return Decision(allowed=True, ground=grant_id, basis=Basis.GRANT_ALLOW)


@lru_cache(maxsize=65_536)
def _names(arn: str) -> tuple[str, ...]:
    return tuple(sorted(subject_of(arn).names))


_FINAL: Final = frozenset({Basis.KEY_POLICY_DENY})
"""Refusals that no grant overrides."""
