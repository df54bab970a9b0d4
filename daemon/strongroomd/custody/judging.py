"""The judge: whether a caller may do something. The gate asks it, and nobody else decides.

Key policy, identity policies and guard rails are combined by AWS's rules (`domain/policy/evaluation`); what
they neither allow nor explicitly deny, a grant may allow (its rule 7). What depends on nothing but key,
caller and action is remembered: three look-ups.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final, Protocol

from strongroomd.custody.asking import NOTHING_BROUGHT, Brought, call_of, make_request, subject_of
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.clock import Clock
from strongroomd.custody.granttokens import GrantTokens
from strongroomd.custody.lending import Lending
from strongroomd.domain import policy
from strongroomd.domain.actions import (
    BY_IDENTITY,
    FOR_ANYONE,
    KEYLESS,
    NEVER_DENIED,
    OPERATORS_ONLY,
    Action,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.grants import may_retire
from strongroomd.domain.policy.circumstances import Circumstances, Target
from strongroomd.domain.policy.compiled import DEFAULT_DENY
from strongroomd.domain.policy.evaluation import (
    FINAL,
    NO_STANDING,
    Authority,
    Standing,
    leaves_a_way_back,
)
from strongroomd.domain.policy.request import Basis, Decision, Request, Resource
from strongroomd.domain.principals import Caller

Bring = Callable[[Entry], Brought | Awaitable[Brought]]
"""Tells what a use case knows of its request; called only where a policy or grant depends on it."""
_ALIASES: Final = "kms:resourcealiases"


class Standings(Protocol):
    """Knows what is attached to callers."""

    def standing(self, arn: str, /) -> Standing:
        """Give what is attached to a principal and to its account; the same object until it changes."""
        ...

    def require_whole(self, arn: str, /) -> None:
        """Refuse while what is attached cannot be known. Raises STORE_UNAVAILABLE, INTEGRITY_FAILURE."""
        ...

    async def catch_up(self) -> None:
        """Learn what other workers changed, of keys and callers alike."""
        ...


class Nobody:
    """Knows of no caller: then key policies and grants decide alone."""

    def standing(self, _arn: str, /) -> Standing:
        """Give nothing."""
        return NO_STANDING

    def require_whole(self, _arn: str, /) -> None:
        """Find nothing that could be damaged."""

    async def catch_up(self) -> None:
        """Learn nothing."""


class Judge:
    """Decides from memory, but for the first time that a caller's grants of a key are needed.

    Args:
        clock: tells policies the time.
        catalog: learns a key's aliases where a policy asks for them.
        standings: what is attached to callers.
        lending: grants; None where there are none.
        tokens: heeds grant tokens; None likewise.
    """

    def __init__(
        self,
        clock: Clock,
        catalog: Catalog,
        standings: Standings,
        lending: Lending | None = None,
        tokens: GrantTokens | None = None,
    ) -> None:
        self._clock = clock
        self._catalog = catalog
        self._standings = standings
        self._lending = lending
        self._tokens = tokens
        self._keyless = Authority()

    async def heed(self, grant_tokens: tuple[str, ...]) -> None:
        """See to it that the grants which a call brings are known. Raises INVALID_GRANT_TOKEN."""
        if self._tokens is not None:
            await self._tokens.heed(grant_tokens)

    async def catch_up(self) -> None:
        """Learn what other workers changed."""
        await self._standings.catch_up()

    def require_whole(self, caller: Caller) -> None:
        """Refuse while what may forbid a caller something cannot be known; for whom no door has asked before.

        Raises:
            StrongroomError: STORE_UNAVAILABLE, INTEGRITY_FAILURE.
        """
        self._standings.require_whole(caller.principal.arn)

    def recall(self, entry: Entry, caller: Caller, action: Action) -> Decision | None:
        """Give a decision that depends on nothing but key, caller and action, if it was made before."""
        standing = self._standings.standing(caller.principal.arn)
        decision = entry.authority.recall(caller.name, action, standing)
        if decision is None or action is Action.RETIRE_GRANT:
            return None
        if decision.allowed or decision.basis in FINAL or self._lending is None:
            return decision
        return None if self._lending.concern(entry.key.key_id, _names(caller.name)) else decision

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
        standing = self._standings.standing(caller.principal.arn)
        if standing.asks_for(_ALIASES):
            await self._catalog.learn_aliases(entry)
        request = make_request(self._clock, caller, action, entry, brought, named)
        decision = entry.authority.decide(request, standing)
        if action is Action.RETIRE_GRANT:
            return decision if decision.basis in FINAL else _retirement(brought, request)
        if decision.allowed or decision.basis in FINAL:
            return decision
        return await self._by_grant(entry, caller, request) or decision

    def leaves_a_way_back(
        self, caller: Caller, text: str, target: Target | Resource, brought: Brought
    ) -> bool:
        """Say whether a caller could change a key policy again, once it is put (AWS: lockout safety check).

        Args:
            caller: who puts it.
            text: the policy; it is well formed.
            target: the key, or only its name before there is one.
            brought: what the use case knows.
        """
        named = target if isinstance(target, Resource) else Resource(target.arn, target.key.account)
        context = self._circumstances(caller, Action.PUT_KEY_POLICY, brought)
        context.target = target if isinstance(target, Target) else None
        request = Request(Action.PUT_KEY_POLICY, context.subject, named, context)
        standing = self._standings.standing(caller.principal.arn)
        try:
            return leaves_a_way_back(policy.parse(text), request, standing)
        except StrongroomError as error:
            if error.reason is not Reason.ACCESS_DENIED:
                raise
            return False  # the policy asks for what nobody will bring

    def decide_keyless(self, caller: Caller, action: Action, brought: Brought = NOTHING_BROUGHT) -> Decision:
        """Decide an action without a key.

        Identity policies may allow those that concern the caller's own account (`BY_IDENTITY`); the
        configuration's administrators may do all of them, and everybody some. An explicit deny binds all but
        operators, who must be able to mend a guard rail.
        """
        principal = caller.principal
        if action in OPERATORS_ONLY and not principal.operator:
            return DEFAULT_DENY
        binding = not (principal.operator or action in NEVER_DENIED)
        try:
            decision = self._by_identity(caller, action, brought)
        except StrongroomError as error:
            if binding or error.reason is not Reason.ACCESS_DENIED:
                raise
            decision = DEFAULT_DENY  # a policy asks for what the request does not have
        if decision.basis in FINAL and binding:
            return decision
        if action in FOR_ANYONE or (principal.administrator and action in KEYLESS):
            return _BY_CONFIGURATION
        return decision if action in BY_IDENTITY else DEFAULT_DENY

    def forbids(self, caller: Caller, action: Action) -> Decision | None:
        """Give the decision that denies an action which needs no other right; None where nothing does."""
        if caller.principal.operator or action in NEVER_DENIED:
            return None
        decision = self._by_identity(caller, action, NOTHING_BROUGHT)
        return decision if decision.basis in FINAL else None

    def _by_identity(self, caller: Caller, action: Action, brought: Brought) -> Decision:
        standing = self._standings.standing(caller.principal.arn)
        recalled = self._keyless.recall(caller.name, action, standing)
        if recalled is not None:
            return recalled
        context = self._circumstances(caller, action, brought)
        return self._keyless.decide(Request(action, context.subject, None, context), standing)

    def _circumstances(self, caller: Caller, action: Action, brought: Brought) -> Circumstances:
        return Circumstances(
            action=action,
            subject=subject_of(caller.name),
            call=call_of(self._clock, caller),
            principal_tags=dict(caller.principal.tags),
            brought=brought.facts,
            request_tags=brought.request_tags,
        )

    async def _by_grant(self, entry: Entry, caller: Caller, request: Request) -> Decision | None:
        key_id, names = entry.key.key_id, _names(caller.name)
        if self._lending is None or not self._lending.concern(key_id, names):
            return None
        grant = await self._lending.permitting(key_id, names, request)
        return None if grant is None else lent(grant.grant_id)


_BY_CONFIGURATION: Final = Decision(
    allowed=True, ground="the configuration's administrators, or anyone", basis=Basis.CONFIGURATION_ALLOW
)


def _retirement(brought: Brought, request: Request) -> Decision:
    """Decide by the grant alone who may retire it: no policy gives that right (AWS: retiring grants)."""
    grant = brought.retired
    if grant is None or not may_retire(grant, request):
        return DEFAULT_DENY
    return lent(grant.grant_id)


def lent(ground: str) -> Decision:
    """Allow, since somebody who may lend the key has: by a grant, or to a key store."""
    return Decision(allowed=True, ground=ground, basis=Basis.GRANT_ALLOW)


@lru_cache(maxsize=65_536)
def _names(name: str) -> tuple[str, ...]:
    return tuple(sorted(subject_of(name).names))
