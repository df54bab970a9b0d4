"""Policies looked at before they are put: what is suspicious, and how a request would be decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from strongroomd.custody.asking import alias_in, pairs
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.directory import Directory
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.passage import Passage
from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.context import EMPTY, Context
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.policy import PolicyKind, Request, Resource
from strongroomd.domain.policy import lint as linting
from strongroomd.domain.policy.circumstances import Call, Target
from strongroomd.domain.policy.evaluation import Authority
from strongroomd.domain.policy.explain import Explanation, explain
from strongroomd.domain.policy.request import Value
from strongroomd.domain.policy.supposing import Supposed, supposed_value
from strongroomd.domain.principals import Principal, parse_principal

MAX_CIRCUMSTANCES: Final = 64
_NO_KEY_YET: Final = "00000000-0000-4000-8000-000000000000"
_ACTIONS: Final = {action.value.lower(): action for action in Action}


@dataclass(frozen=True, slots=True)
class Supposition:
    """A request that is not made.

    Attributes:
        principal: ARN of who would ask; empty for the caller.
        action: its name.
        key: names the key; empty for none.
        policy: a key policy to ask instead of the key's own, or empty.
        context: the encryption context.
        circumstances: further values by condition key, as text.
    """

    principal: str
    action: str
    key: str = ""
    policy: str = ""
    context: Context = EMPTY
    circumstances: Mapping[str, str] | None = None


class Policies(UseCases):
    """Checks and simulations.

    Args:
        gate: the one way in.
        catalog: spells names.
        directory: who callers are, and what is attached to them.
        clock: the time that a simulation takes for now.
    """

    def __init__(self, gate: Gate, catalog: Catalog, directory: Directory, clock: Clock) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._directory = directory
        self._clock = clock

    @gated(Action.CHECK_POLICY)
    async def check(
        self, passage: Passage, text: str, kind: PolicyKind = PolicyKind.KEY
    ) -> list[linting.Finding]:
        """Read a policy as putting it would, and list what is suspicious. Raises MALFORMED_POLICY."""
        passage.claim_keyless()
        return linting.lint(policy.parse(text, kind=kind))

    @gated(Action.SIMULATE_POLICY)
    async def simulate(self, passage: Passage, wanted: Supposition) -> Explanation:
        """Say how a request would be decided, and what each statement says of it.

        Raises:
            StrongroomError: ACCESS_DENIED for a principal of another account, or a key whose policy the
                caller may not read; INVALID_FIELD; MALFORMED_POLICY.
        """
        passage.claim_keyless()
        action = _ACTIONS.get(wanted.action.lower())
        if action is None:
            raise invalid("action", "must name an action, such as kms:Encrypt")
        principal = self._principal(passage, wanted.principal)
        name = principal.arn if wanted.principal else passage.caller.name
        authority, target = await self._authority(passage, wanted)
        subject = policy.subject_named(name)
        context = Supposed(
            action=action,
            subject=subject,
            call=Call(self._clock.wall_ms() / 1000, by_service=principal.trusted),
            target=target,
            principal_tags=dict(principal.tags),
            brought={"kms:requestalias": alias_in(wanted.key)},
            encryption_context=pairs(wanted.context),
            given=_given(wanted.circumstances or {}),
        )
        request = Request(action, subject, authority.resource, context, pairs(wanted.context))
        return explain(authority, request, self._directory.standing(subject.arn))

    def _principal(self, passage: Passage, arn: str) -> Principal:
        caller = passage.caller.principal
        if not arn:
            return caller
        wanted = parse_principal(arn, "principal")
        if wanted.account != caller.account and not caller.operator:
            raise StrongroomError(Reason.ACCESS_DENIED, "the principal is of another account")
        return self._directory.admit(wanted.arn) or wanted

    async def _authority(self, passage: Passage, wanted: Supposition) -> tuple[Authority, Target | None]:
        """Find whose policies decide: those of a key, of a key that is to be, or of the principal alone."""
        put = policy.parse(wanted.policy) if wanted.policy else None
        if wanted.key:
            entry = await passage.claim(wanted.key, Act.READ, action=Action.GET_KEY_POLICY)
            await self._catalog.learn_aliases(entry)
            authority = Authority(put, entry.authority.resource) if put else entry.authority
            return authority, Target(entry.arn, entry.key, entry.aliases)
        if put is None:
            return Authority(), None
        account = passage.caller.principal.account
        name = Resource(self._catalog.realm.key_arn(_NO_KEY_YET, account), account)
        return Authority(put, name), None


def _given(circumstances: Mapping[str, str]) -> dict[str, Value]:
    if len(circumstances) > MAX_CIRCUMSTANCES:
        raise too_large("circumstances", MAX_CIRCUMSTANCES, "condition keys")
    return dict(supposed_value(name, text) for name, text in circumstances.items())
