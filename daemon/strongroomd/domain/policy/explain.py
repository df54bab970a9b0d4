"""Why a request was decided as it was: every statement of every policy, and what each failed by.

Slower than a decision, and separate from it: it holds everything against the request, and uses the same
questions (`speaks`, `reach`) that the decision did.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from strongroomd.domain import grants as granting
from strongroomd.domain.grants import Grant
from strongroomd.domain.policy.compiled import Policy, denies, reach
from strongroomd.domain.policy.evaluation import Authority, Standing
from strongroomd.domain.policy.language import Effect, Statement
from strongroomd.domain.policy.request import Decision, Request
from strongroomd.domain.policy.resources import NO_RESOURCE
from strongroomd.domain.policy.who import Reach


@dataclass(frozen=True, slots=True)
class Trace:
    """What one statement or grant had to say.

    Attributes:
        source: `key policy`, `identity policy`, `guard rail`, `trust policy` or `grant`.
        policy: the policy's name, or the grant's id.
        statement: the Sid or position; empty for a grant.
        effect: Allow or Deny.
        applies: whether it spoke of the request.
        delegates: whether it only lets the account's identity policies decide.
        failed: what did not match: `Principal`, `Action`, `Resource`, or a condition as
            `Condition.StringEquals.kms:ViaService`.
    """

    source: str
    policy: str
    statement: str
    effect: Effect
    applies: bool
    delegates: bool
    failed: tuple[str, ...]

    @property
    def is_near_miss(self) -> bool:
        """Whether only conditions or the resource kept the statement from applying."""
        return not self.applies and not {"Principal", "Action", "Operations", "Grantee"} & set(self.failed)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with everything that was weighed."""

    decision: Decision
    traces: tuple[Trace, ...]

    @property
    def near_misses(self) -> tuple[Trace, ...]:
        """The statements that would have spoken in other circumstances."""
        return tuple(trace for trace in self.traces if trace.is_near_miss)


def explain(
    authority: Authority, request: Request, standing: Standing, grants: Sequence[Grant] = ()
) -> Explanation:
    """Decide a request and tell what each statement said."""
    decision = authority.decide(request, standing, grants)
    own = (authority.policy,) if authority.policy else ()
    policies = (*standing.guard_rails, *own, *standing.identity)
    return Explanation(decision, (*_policies(policies, request), *_grants(grants, request)))


def _policies(policies: Iterable[Policy], request: Request) -> Iterator[Trace]:
    for policy in policies:
        for statement in policy.statements:
            failed = tuple(_failed(statement, request))
            delegates = reach(statement, request.subject) is Reach.DELEGATED
            source, name = policy.kind.value, policy.name
            yield Trace(source, name, statement.label, statement.effect, not failed, delegates, failed)


def _failed(statement: Statement, request: Request) -> Iterator[str]:
    if not (reach(statement, request.subject) or denies(statement, request.subject)):
        yield "Principal"
    if request.action not in statement.actions:
        yield "Action"
    arn = request.resource.arn if request.resource else NO_RESOURCE
    if not statement.resources.match(arn, request.context):
        yield "Resource"
    yield from (c.place for c in statement.conditions if not c.holds(request.context))


def _grants(grants: Iterable[Grant], request: Request) -> Iterator[Trace]:
    for grant in grants:
        failed = tuple(granting.failures(grant, request))
        yield Trace("grant", grant.grant_id, "", Effect.ALLOW, not failed, delegates=False, failed=failed)
