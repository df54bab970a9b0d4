"""How the policies that bear on a request are combined: AWS's rules.

1. An explicit deny anywhere wins: guard rails, key policy, identity policies.
2. Each guard rail of the caller's account must allow.
3. In the key's own account the key policy alone can allow whom it names. Where it names the account, the
   account's identity policies decide; elsewhere they carry no force.
4. From another account both must allow: the key policy, which names principal or account, and an identity
   policy.
5. An action without a resource is for identity policies alone.
6. The root of an account has everything from identity policies; what a key policy does not give it, it lacks.
7. What is not denied yet, a grant may allow, from any account, if the guard rails let it.
8. All else is denied.

A role's trust policy combines as a key's policy does. Sources: IAM user guide, policy evaluation logic and
cross-account policy evaluation; KMS developer guide, key policies and grants.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from strongroomd.domain import grants as granting
from strongroomd.domain.actions import Action
from strongroomd.domain.grants import Grant
from strongroomd.domain.policy.compiled import DEFAULT_DENY, Policy, Sheet, first_speaking, remember
from strongroomd.domain.policy.language import Statement
from strongroomd.domain.policy.request import NO_CONTEXT, Basis, Decision, Request, Resource, Subject
from strongroomd.domain.policy.resources import NO_RESOURCE


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What is attached to a principal and its account; made anew when any of it changes.

    Attributes:
        identity: the principal's identity policies.
        guard_rails: the account's guard rails.
    """

    identity: tuple[Policy, ...] = ()
    guard_rails: tuple[Policy, ...] = ()

    def asks_for(self, key: str) -> bool:
        """Say whether any of the policies asks for a condition key, in lower case."""
        return any(
            condition.key == key
            for policy in (*self.identity, *self.guard_rails)
            for statement in policy.statements
            for condition in statement.conditions
        )


NO_STANDING: Final = Standing()


@dataclass(frozen=True, slots=True)
class _Side:
    """The statements of one policy that may speak of the request, and how it is called."""

    policy: str
    sheet: Sheet


class Authority:
    """Decides about one resource, or about actions without one, and remembers what depends on nothing else.

    Args:
        policy: the key policy, or a role's trust policy; None for actions without a resource.
        resource: what it is attached to.
    """

    def __init__(self, policy: Policy | None = None, resource: Resource | None = None) -> None:
        self.policy = policy
        self.resource = resource
        self._settled: dict[tuple[str, Action, Standing], Decision] = {}
        self._hearings: dict[tuple[str, Action, Standing], _Hearing] = {}

    def recall(self, subject: str, action: Action, standing: Standing) -> Decision | None:
        """Give a decision that depends on nothing else, if it was made before.

        Args:
            subject: the caller's name (`Subject.name`).
            action: what the caller wants to do.
            standing: the caller's.
        """
        return self._settled.get((subject, action, standing))

    def decide(self, request: Request, standing: Standing, grants: Sequence[Grant] = ()) -> Decision:
        """Decide a request about this resource.

        Args:
            request: about this resource.
            standing: the caller's.
            grants: of this key to this caller, in whatever order.
        """
        question = (request.subject.name, request.action, standing)
        decision = self._settled.get(question)
        if decision is None:
            decision = self._hear(question, request)
        if decision.allowed or decision.basis in FINAL:
            return decision
        return _by_grant(grants, request) or decision

    def _hear(self, question: tuple[str, Action, Standing], request: Request) -> Decision:
        if request.resource != self.resource:
            raise ValueError("the request is about another resource")
        hearing = self._hearings.get(question)
        if hearing is None:
            hearing = _Hearing(self, request.subject, request.action, question[2])
            remember(self._hearings, question, hearing)
        decision = hearing.decide(request)
        if hearing.depends_on_nothing:
            remember(self._settled, question, decision)
        return decision


class _Hearing:
    """The statements that may speak of one caller, action and resource, ready to be held against requests."""

    def __init__(self, authority: Authority, subject: Subject, action: Action, standing: Standing) -> None:
        self._subject = subject
        self._account = authority.resource.account if authority.resource else ""
        arn = authority.resource.arn if authority.resource else NO_RESOURCE
        self._own = _side(authority.policy, subject, action, arn) if authority.policy else None
        self._identity = [_side(policy, subject, action, arn) for policy in standing.identity]
        self._rails = [_side(policy, subject, action, arn) for policy in standing.guard_rails]
        self.depends_on_nothing = not any(map(_depends, self._statements()))

    def _sides(self) -> Iterable[_Side]:
        return chain(self._rails, [self._own] if self._own else [], self._identity)

    def _statements(self) -> Iterable[Statement]:
        for side in self._sides():
            yield from side.sheet.denies
            yield from side.sheet.direct
            yield from side.sheet.delegating

    def decide(self, request: Request) -> Decision:
        """Apply rules 1 to 6 and 8."""
        return (
            self._denied(request)
            or self._unguarded(request)
            or (self._keyless(request) if self._own is None else self._about(self._own, request))
        )

    def _denied(self, request: Request) -> Decision | None:
        own = [self._own] if self._own else []
        return (
            _deny(self._rails, request, Basis.GUARD_RAIL_DENY)
            or _deny(own, request, Basis.KEY_POLICY_DENY)
            or _deny(self._identity, request, Basis.IDENTITY_POLICY_DENY)
        )

    def _unguarded(self, request: Request) -> Decision | None:
        for side in self._rails:
            if first_speaking(side.sheet.direct, request) is None:
                return Decision(
                    allowed=False,
                    ground="no allow in a guard rail",
                    basis=Basis.GUARD_RAIL_SILENT,
                    policy=side.policy,
                )
        return None

    def _keyless(self, request: Request) -> Decision:
        return self._by_identity(request) or DEFAULT_DENY

    def _by_identity(self, request: Request) -> Decision | None:
        """Find what the caller's own account allows it."""
        if self._subject.is_root:
            return Decision(allowed=True, ground="the account's root", basis=Basis.ROOT_ALLOW)
        for side in self._identity:
            found = first_speaking(side.sheet.direct, request)
            if found is not None:
                return Decision(
                    allowed=True, ground=found.label, basis=Basis.IDENTITY_POLICY_ALLOW, policy=side.policy
                )
        return None

    def _about(self, own: _Side, request: Request) -> Decision:
        direct = first_speaking(own.sheet.direct, request)
        at_home = self._account == self._subject.account
        if direct is not None and at_home:
            return Decision(
                allowed=True, ground=direct.label, basis=Basis.KEY_POLICY_ALLOW, policy=own.policy
            )
        admitting = direct or first_speaking(own.sheet.delegating, request)
        theirs = self._by_identity(request)
        if admitting is None:
            return _NOT_DELEGATED if theirs else DEFAULT_DENY
        if theirs is None:
            return Decision(
                allowed=False, ground=admitting.label, basis=Basis.NO_IDENTITY_POLICY, policy=own.policy
            )
        return (
            theirs
            if at_home
            else Decision(
                allowed=True, ground=admitting.label, basis=Basis.BOTH_POLICIES_ALLOW, policy=own.policy
            )
        )


_NOT_DELEGATED: Final = Decision(
    allowed=False, ground="the key policy does not admit the caller", basis=Basis.NOT_DELEGATED
)
FINAL: Final = frozenset(
    {
        Basis.GUARD_RAIL_DENY,
        Basis.KEY_POLICY_DENY,
        Basis.IDENTITY_POLICY_DENY,
        Basis.GUARD_RAIL_SILENT,
    }
)
"""Refusals that no grant overrides."""


def _side(policy: Policy, subject: Subject, action: Action, arn: str) -> _Side:
    sheet = policy.sheet(subject, action)
    return _Side(
        policy.name, Sheet(*(_about(side, arn) for side in (sheet.denies, sheet.direct, sheet.delegating)))
    )


def _about(statements: Iterable[Statement], arn: str) -> tuple[Statement, ...]:
    """Leave out what speaks of other resources, whatever the request."""
    return tuple(s for s in statements if s.resources.varies or s.resources.match(arn, NO_CONTEXT))


def _depends(statement: Statement) -> bool:
    return bool(statement.conditions) or statement.resources.varies


def _deny(sides: Iterable[_Side], request: Request, basis: Basis) -> Decision | None:
    for side in sides:
        found = first_speaking(side.sheet.denies, request)
        if found is not None:
            return Decision(allowed=False, ground=found.label, basis=basis, policy=side.policy)
    return None


def _by_grant(grants: Iterable[Grant], request: Request) -> Decision | None:
    for grant in grants:
        if granting.permits(grant, request):
            return Decision(allowed=True, ground=grant.grant_id, basis=Basis.GRANT_ALLOW)
    return None


def leaves_a_way_back(policy: Policy, request: Request, standing: Standing = NO_STANDING) -> bool:
    """Say whether the caller could put another key policy again (AWS: lockout safety check).

    Args:
        policy: the key policy that is to be put.
        request: of the caller, about the key; its action does not matter.
        standing: the caller's.
    """
    again = Request(Action.PUT_KEY_POLICY, request.subject, request.resource, request.context)
    return Authority(policy, request.resource).decide(again, standing).allowed
