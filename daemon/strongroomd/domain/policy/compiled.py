"""A compiled policy: which of its statements may speak of a caller and an action, found by one look-up."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from strongroomd.domain.actions import Action
from strongroomd.domain.policy.language import Document, Effect, PolicyKind, Statement, parse_document
from strongroomd.domain.policy.request import Basis, Decision, Request, Subject
from strongroomd.domain.policy.resources import NO_RESOURCE
from strongroomd.domain.policy.who import Reach

K = TypeVar("K")
V = TypeVar("V")
_REMEMBERED: Final = 4096
DEFAULT_DENY: Final = Decision(allowed=False, ground="default deny", basis=Basis.DEFAULT_DENY)


@dataclass(frozen=True, slots=True)
class Sheet:
    """The statements of one policy that may speak of one caller and action.

    What speaks whatever the request comes first: it decides without asking for circumstances that a request
    may not have. Otherwise they keep the policy's order.

    Attributes:
        denies: explicit denies.
        direct: allows that name the caller, or that are attached to it.
        delegating: allows that name the caller's account.
    """

    denies: tuple[Statement, ...]
    direct: tuple[Statement, ...]
    delegating: tuple[Statement, ...]


class Policy:
    """A compiled policy.

    Args:
        document: the parsed policy.
        name: what explanations call it; empty for a key's own policy.
    """

    def __init__(self, document: Document, name: str = "") -> None:
        self.kind = document.kind
        self.version = document.version
        self.statements = document.statements
        self.name = name
        self._by_action: dict[Action, tuple[Statement, ...]] = {}

    def sheet(self, subject: Subject, action: Action) -> Sheet:
        """Find the statements that may speak of a caller and an action."""
        speaking = self._by_action.get(action)
        if speaking is None:
            speaking = tuple(sorted((s for s in self.statements if action in s.actions), key=depends))
            self._by_action[action] = speaking
        return Sheet(
            denies=tuple(s for s in speaking if denies(s, subject)),
            direct=tuple(s for s in speaking if reach(s, subject) is Reach.DIRECT),
            delegating=tuple(s for s in speaking if reach(s, subject) is Reach.DELEGATED),
        )


def remember(memory: dict[K, V], key: K, value: V) -> None:
    """Keep an answer, in bounded memory."""
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value


def reach(statement: Statement, subject: Subject) -> Reach:
    """Say how far an Allow reaches a caller; what is attached to the caller names nobody else."""
    if statement.effect is not Effect.ALLOW:
        return Reach.NONE
    return Reach.DIRECT if statement.who is None else statement.who.allows(subject)


def denies(statement: Statement, subject: Subject) -> bool:
    """Say whether a Deny reaches a caller."""
    return statement.effect is Effect.DENY and (statement.who is None or statement.who.denies(subject))


def depends(statement: Statement) -> bool:
    """Say whether a statement that reaches the caller still needs the request to be understood."""
    return bool(statement.conditions) or not statement.resources.everything


def speaks(statement: Statement, request: Request) -> bool:
    """Say whether a statement that reaches the caller speaks of the request's resource and circumstances."""
    if not statement.resources.everything:
        arn = request.resource.arn if request.resource else NO_RESOURCE
        if not statement.resources.match(arn, request.context):
            return False
    for condition in statement.conditions:  # noqa: SIM110 - a loop costs half of what all() does here
        if not condition.holds(request.context):
            return False
    return True


def first_speaking(statements: Iterable[Statement], request: Request) -> Statement | None:
    """Find the first statement that speaks of a request."""
    for statement in statements:
        if speaks(statement, request):
            return statement
    return None


def subject_named(name: str) -> Subject:
    """Make a subject of an ARN; a session of a role is its role, too."""
    account = name.split(":")[4]
    kind, _, rest = name.partition(":assumed-role/")
    if not rest or not kind.startswith("arn:aws:sts:"):
        return Subject(name, account)
    return Subject(f"arn:aws:iam::{account}:role/{rest.rpartition('/')[0]}", account, name)


def parse(text: str, field: str = "policy", kind: PolicyKind = PolicyKind.KEY, name: str = "") -> Policy:
    """Parse and compile a policy document.

    Args:
        text: the JSON document, at most 32,768 bytes of UTF-8.
        field: the request field, for errors.
        kind: what it will be attached to.
        name: what explanations call it.

    Raises:
        StrongroomError: FIELD_TOO_LARGE, or MALFORMED_POLICY naming the place in the document.
    """
    return Policy(parse_document(text, kind, field), name)


@lru_cache(maxsize=4096)
def compiled(text: str, kind: PolicyKind = PolicyKind.KEY, name: str = "") -> Policy:
    """Compile a policy that was checked when it was put; equal documents share one compiled form."""
    return parse(text, kind=kind, name=name)
