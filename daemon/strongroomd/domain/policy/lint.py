"""What is suspicious about a policy that is well formed: findings with place, severity and a stable code."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.actions import Action
from strongroomd.domain.policy.compiled import Policy
from strongroomd.domain.policy.conditions import Condition, Quantifier, Test
from strongroomd.domain.policy.language import VERSIONS, Effect, PolicyKind, Statement
from strongroomd.domain.policy.patterns import expand

_EVERYONE: Final = "*"
_NO_ACTIONS: Final[frozenset[Action]] = frozenset()


class Severity(StrEnum):
    """How bad it may be."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        code: a stable name of the rule.
        place: `Statement[n]`, a condition in it, or empty for the whole policy.
    """

    severity: Severity
    code: str
    place: str
    message: str


def lint(policy: Policy) -> list[Finding]:
    """List what is suspicious, in the policy's order."""
    found = [finding for rule in _POLICY_RULES for finding in rule(policy)]
    for number, statement in enumerate(policy.statements):
        found += [finding for rule in _STATEMENT_RULES for finding in rule(statement)]
        found += _unreachable(statement, policy.statements, number)
    return found


def _open_to_everyone(statement: Statement) -> Iterator[Finding]:
    if _allows(statement) and _names_everyone(statement) and not statement.conditions:
        yield Finding(
            Severity.ERROR, "open-to-everyone", statement.place, "allows every principal, under no condition"
        )


def _allow_not_principal(statement: Statement) -> Iterator[Finding]:
    if _allows(statement) and statement.who is not None and statement.who.inverted:
        text = "Allow with NotPrincipal allows everyone else, of every account"
        yield Finding(Severity.ERROR, "allow-not-principal", statement.place, text)


def _allow_not_action(statement: Statement) -> Iterator[Finding]:
    if _allows(statement) and statement.named[0]:
        text = "Allow with NotAction allows every other action, also those to come"
        yield Finding(Severity.WARNING, "allow-not-action", statement.place, text)


def _everything_to_users(statement: Statement) -> Iterator[Finding]:
    everything = expand("kms:*") <= statement.actions and not statement.named[0]
    if _allows(statement) and everything and _names_users(statement):
        text = (
            "allows kms:* to principals who are no account: who manages a key could use it, and the reverse"
        )
        yield Finding(Severity.WARNING, "everything-to-users", statement.place, text)


def _action_of_nothing(statement: Statement) -> Iterator[Finding]:
    if any(not expand(pattern) for pattern in statement.named[1]):
        text = "names an action that this daemon does not offer"
        yield Finding(Severity.NOTE, "action-of-nothing", statement.place, text)


def _speaks_of_nothing(statement: Statement) -> Iterator[Finding]:
    if not statement.actions:
        yield Finding(Severity.WARNING, "no-action", statement.place, "speaks of no action at all")


def _condition_never_there(statement: Statement) -> Iterator[Finding]:
    for condition in statement.conditions:
        having = [action for action in statement.actions if condition.row.exists_for(action)]
        place = f"{statement.place}.{condition.place}"
        if not having:
            text = "the condition key exists for none of the statement's actions"
            yield Finding(Severity.ERROR, "key-never-there", place, text)
        elif len(having) < len(statement.actions):
            text = "the condition key exists for some of the statement's actions only"
            yield Finding(Severity.NOTE, "key-sometimes-there", place, text)


def _quantified(statement: Statement) -> Iterator[Finding]:
    for condition in statement.conditions:
        quantifier = condition.quantifier if isinstance(condition, Test) else Quantifier.ONE
        place = f"{statement.place}.{condition.place}"
        if quantifier is not Quantifier.ONE and not condition.row.many:
            text = "ForAllValues and ForAnyValue are for keys that hold lists"
            yield Finding(Severity.WARNING, "quantified-single", place, text)
        if quantifier is Quantifier.ALL and _allows(statement) and not _guarded(condition, statement):
            text = "ForAllValues holds where the request has no value: add a Null condition of false"
            yield Finding(Severity.WARNING, "holds-when-missing", place, text)


def _guarded(condition: Condition, statement: Statement) -> bool:
    return any(
        other.key == condition.key and not isinstance(other, Test) and other.present == {True}
        for other in statement.conditions
    )


def _version(policy: Policy) -> Iterator[Finding]:
    if policy.version != VERSIONS[0]:
        text = "the language of 2008 has no policy variables; state Version 2012-10-17"
        yield Finding(Severity.NOTE, "old-version", "", text)


def _lockout(policy: Policy) -> Iterator[Finding]:
    if policy.kind is not PolicyKind.KEY:
        return
    if not any(_allows(s) and Action.PUT_KEY_POLICY in s.actions for s in policy.statements):
        text = "allows nobody to change the policy again"
        yield Finding(Severity.ERROR, "lock-out", "", text)
    for statement in policy.statements:
        if _denies_all(statement) and Action.PUT_KEY_POLICY in statement.actions:
            text = "denies everyone, the root included, to change the policy again"
            yield Finding(Severity.ERROR, "lock-out", statement.place, text)


def _no_delegation(policy: Policy) -> Iterator[Finding]:
    if policy.kind is PolicyKind.KEY and not any(map(_delegates, policy.statements)):
        text = "names no account: identity policies carry no force"
        yield Finding(Severity.NOTE, "no-delegation", "", text)


def _delegates(statement: Statement) -> bool:
    who = statement.who
    return _allows(statement) and who is not None and any(name.endswith(":root") for name in who.names)


def _unreachable(statement: Statement, statements: tuple[Statement, ...], number: int) -> Iterator[Finding]:
    if _allows(statement) and any(_covers(other, statement) for other in statements if not _allows(other)):
        text = "is always overridden by a statement that denies"
        yield Finding(Severity.WARNING, "unreachable", statement.place, text)
    if any(_covers(other, statement) and other.effect is statement.effect for other in statements[:number]):
        text = "adds nothing to an earlier statement"
        yield Finding(Severity.NOTE, "redundant", statement.place, text)


def _covers(wide: Statement, narrow: Statement) -> bool:
    """Say whether a statement speaks, whatever the request, of all that another speaks of."""
    whole = wide.resources.everything and not wide.conditions
    return whole and _NO_ACTIONS < narrow.actions <= wide.actions and _covers_who(wide, narrow)


def _covers_who(wide: Statement, narrow: Statement) -> bool:
    if wide.who is None or narrow.who is None:
        return True  # both are None: of one policy either all statements name somebody or none does
    if wide.who.inverted or narrow.who.inverted:
        return wide.who == narrow.who or (not wide.who.inverted and _EVERYONE in wide.who.names)
    return _EVERYONE in wide.who.names or narrow.who.names <= wide.who.names


def _allows(statement: Statement) -> bool:
    return statement.effect is Effect.ALLOW


def _names_everyone(statement: Statement) -> bool:
    return statement.who is not None and not statement.who.inverted and _EVERYONE in statement.who.names


def _names_users(statement: Statement) -> bool:
    who = statement.who
    return who is not None and not who.inverted and any(not name.endswith(":root") for name in who.names)


def _denies_all(statement: Statement) -> bool:
    return not _allows(statement) and _names_everyone(statement) and not statement.conditions


_STATEMENT_RULES: Final[tuple[Callable[[Statement], Iterable[Finding]], ...]] = (
    _open_to_everyone,
    _allow_not_principal,
    _allow_not_action,
    _everything_to_users,
    _action_of_nothing,
    _speaks_of_nothing,
    _condition_never_there,
    _quantified,
)
_POLICY_RULES: Final[tuple[Callable[[Policy], Iterable[Finding]], ...]] = (
    _version,
    _lockout,
    _no_delegation,
)
