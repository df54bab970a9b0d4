"""A compiled policy: which of its statements may speak of a caller and an action, found by one look-up."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from strongroomd.domain.actions import Action
from strongroomd.domain.policy.language import Document, Effect, PolicyKind, Statement, parse_document
from strongroomd.domain.policy.request import Basis, Decision, Question, Request, Subject
from strongroomd.domain.policy.resources import NO_RESOURCE
from strongroomd.domain.policy.who import Reach

K = TypeVar("K")
V = TypeVar("V")
_REMEMBERED: Final = 4096
DEFAULT_DENY: Final = Decision(allowed=False, ground="default deny", basis=Basis.DEFAULT_DENY)
Ask = Callable[[], Request]


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
        self._decided: dict[Question, Decision] = {}
        self._sheets: dict[Question, Sheet] = {}

    def sheet(self, subject: Subject, action: Action) -> Sheet:
        """Find the statements that may speak of a caller and an action."""
        speaking = self._by_action.get(action)
        if speaking is None:
            speaking = tuple(s for s in self.statements if action in s.actions)
            self._by_action[action] = speaking
        speaking = tuple(sorted(speaking, key=depends))
        return Sheet(
            denies=tuple(s for s in speaking if denies(s, subject)),
            direct=tuple(s for s in speaking if reach(s, subject) is Reach.DIRECT),
            delegating=tuple(s for s in speaking if reach(s, subject) is Reach.DELEGATED),
        )

    def recall(self, question: Question) -> Decision | None:
        """Give a decision that depends on nothing but the question, if it was made before."""
        return self._decided.get(question)

    def decide(self, question: Question, ask: Ask | None = None) -> Decision:
        """Answer from this policy alone: an explicit deny wins, else any allow, else denied.

        Args:
            question: who wants to do what.
            ask: makes the request, should a condition or resource be in question. Without it a statement that
                depends on the request denies, but does not allow.
        """
        decision = self._decided.get(question)
        return self._decide(question, ask) if decision is None else decision

    def _decide(self, question: Question, ask: Ask | None) -> Decision:
        sheet = self._sheets.get(question)
        if sheet is None:
            sheet = self.sheet(subject_named(question.principal), question.action)
            remember(self._sheets, question, sheet)
        if _is_settled(sheet):
            decision = _decision(_head(sheet.denies), _head(sheet.direct))
            remember(self._decided, question, decision)
            return decision
        if ask is None:
            return _decision(_head(sheet.denies), _head([s for s in sheet.direct if not depends(s)]))
        request = ask()
        denying = first_speaking(sheet.denies, request)
        return _decision(denying, None if denying else first_speaking(sheet.direct, request))


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


def _is_settled(sheet: Sheet) -> bool:
    """Say whether every request is decided alike, as the statements come in order of dependence."""
    deciding = sheet.denies or sheet.direct
    return not deciding or not depends(deciding[0])


def _head(statements: Sequence[Statement]) -> Statement | None:
    return statements[0] if statements else None


def _decision(denying: Statement | None, allowing: Statement | None) -> Decision:
    if denying is not None:
        return Decision(allowed=False, ground=denying.label, basis=Basis.KEY_POLICY_DENY)
    if allowing is not None:
        return Decision(allowed=True, ground=allowing.label, basis=Basis.KEY_POLICY_ALLOW)
    return DEFAULT_DENY


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
