"""Conditions: parsed against the tables of keys and operators, compiled, and held against a request.

All tests of a Condition must hold. Where the request lacks the key, a test fails, but a negated operator,
`IfExists` and `ForAllValues:` hold, and `ForAnyValue:` fails whatever its operator (IAM user guide, condition
operators and multivalued context keys).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from strongroomd.domain.policy import keys
from strongroomd.domain.policy.document import as_list, malformed
from strongroomd.domain.policy.keys import ConditionKey, Find
from strongroomd.domain.policy.operators import OPERATORS, Compare, OperandError, Operator, truth
from strongroomd.domain.policy.request import Context, Value

_IF_EXISTS: Final = "IfExists"
_NULL: Final = "Null"


class Quantifier(StrEnum):
    """How a test reads a key of several values."""

    ONE = ""
    ALL = "ForAllValues:"
    ANY = "ForAnyValue:"


@dataclass(frozen=True, slots=True)
class Test:
    """One operator on one key.

    Attributes:
        key: its name in the context.
        row: its row in the table of keys.
        place: where it stands, from `Condition` on.
        compare: whether any of the policy's values covers one value.
        negated: whether the test asks for none of them.
        missing: what the test says where the request lacks the key.
    """

    __test__ = False  # pytest: not a test of its own

    key: str
    row: ConditionKey
    place: str
    quantifier: Quantifier
    compare: Compare
    negated: bool
    missing: bool

    def holds(self, context: Context) -> bool:
        """Hold the test against a request."""
        value = context.get(self.key)
        if value is None or value == ():
            return self.missing
        if self.quantifier is Quantifier.ONE:
            return self.compare(value, context) is not self.negated
        found = (self.compare(item, context) is not self.negated for item in _items(value))
        return all(found) if self.quantifier is Quantifier.ALL else any(found)


@dataclass(frozen=True, slots=True)
class Presence:
    """The Null operator: whether the request has the key."""

    key: str
    row: ConditionKey
    place: str
    present: frozenset[bool]

    def holds(self, context: Context) -> bool:
        """Hold the test against a request."""
        value = context.get(self.key)
        return (value is not None and value != ()) in self.present


Condition = Test | Presence


def _items(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else (value,)


def parse(block: object, place: str, version: str, find: Find = keys.find) -> tuple[Condition, ...]:
    """Compile a Condition.

    Args:
        block: the JSON value.
        place: where it stands, for errors.
        version: the policy's.
        find: the table of condition keys, and of variables.

    Raises:
        StrongroomError: MALFORMED_POLICY naming operator and key.
    """
    operators = _members(block, place, "operator")
    return tuple(
        _condition(name, _key(key, _at(place, name), find), value, place, (version, find))
        for name, tests in operators.items()
        for key, value in _members(tests, _at(place, name), "key").items()
    )


def _members(value: object, place: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value:
        raise malformed(place, f"must be an object with at least one {what}")
    return value


def _at(place: str, name: str) -> str:
    """Name an operator's place, once it is known to be one: places do not quote the policy."""
    _split(name, place)
    return f"{place}.{name}"


def _split(name: str, place: str) -> tuple[Quantifier, str, bool]:
    """Take an operator's name apart: prefix, operator, whether it ends in IfExists."""
    quantifier = next(q for q in (Quantifier.ALL, Quantifier.ANY, Quantifier.ONE) if name.startswith(q))
    base = name.removeprefix(quantifier)
    plain = base.removesuffix(_IF_EXISTS)
    if plain not in OPERATORS and name != _NULL:
        raise malformed(place, "has an operator that does not exist")
    return quantifier, plain, plain != base


def _condition(
    name: str, key: tuple[str, ConditionKey], value: object, place: str, reading: tuple[str, Find]
) -> Condition:
    folded, row = key
    here = f"{place}.{name}.{row.name}"
    values = _operands(value, here)
    relative = f"Condition{here.removeprefix(place)}"
    try:
        if name == _NULL:
            return Presence(folded, row, relative, frozenset(not truth(v) for v in values))
        return _test(name, key, relative, values, reading)
    except OperandError as error:
        raise malformed(here, str(error)) from None


def _key(name: str, place: str, find: Find) -> tuple[str, ConditionKey]:
    try:
        return find(name)
    except keys.UnknownKeyError as error:
        raise malformed(f"{place}.{error.name}" if error.name else place, str(error)) from None


def _operands(value: object, place: str) -> list[str]:
    items = as_list(value)
    if not items or any(_operand(item) is None for item in items):
        raise malformed(place, "must be a text, number or truth value, or a list of them")
    return [str(_operand(item)) for item in items]


def _operand(item: object) -> str | None:
    """Spell a JSON value as the text that AWS compares."""
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item) if isinstance(item, str | int | float) else None


def _test(
    name: str, key: tuple[str, ConditionKey], place: str, values: list[str], reading: tuple[str, Find]
) -> Test:
    folded, row = key
    quantifier, plain, if_exists = _split(name, place)
    chosen = OPERATORS[plain]
    _require_fit(chosen, quantifier, row)
    missing = if_exists or quantifier is Quantifier.ALL
    if quantifier is Quantifier.ONE:
        missing = missing or chosen.negated
    return Test(folded, row, place, quantifier, chosen.build(values, *reading), chosen.negated, missing)


def _require_fit(chosen: Operator, quantifier: Quantifier, row: ConditionKey) -> None:
    if row.kind not in chosen.fits:
        raise OperandError(f"is compared by an operator that does not fit it: the key holds a {row.kind}")
    if row.many and quantifier is Quantifier.ONE:
        raise OperandError("holds a list: its operator needs ForAllValues: or ForAnyValue:")
