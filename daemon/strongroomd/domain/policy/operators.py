"""The table of condition operators: which kinds of key each fits and how it compares.

A comparison is compiled once from the policy's values and asks whether any of them covers the request's; a
negated operator turns the answer around, so that several values mean none of them.
"""

import base64
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Protocol

from strongroomd.domain.policy import keys, patterns, variables
from strongroomd.domain.policy.keys import Find, Kind
from strongroomd.domain.policy.request import Context, Value
from strongroomd.domain.policy.variables import VariableError

Compare = Callable[[Value, Context], bool]

_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_ISO: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2}))?",
    re.ASCII,
)
_TEXTUAL: Final = frozenset({Kind.STRING, Kind.TEXT, Kind.ARN})
_ARNS: Final = frozenset({Kind.TEXT, Kind.ARN})
_NUMBERS: Final = frozenset({Kind.NUMERIC, Kind.EPOCH})
_DATES: Final = frozenset({Kind.DATE, Kind.EPOCH})


class OperandError(ValueError):
    """A value that the operator cannot compare; the message is the rule and quotes nothing."""


class Build(Protocol):
    """Compiles the policy's values, under its version; `find` is the table that its variables are of."""

    def __call__(self, values: list[str], version: str, find: Find = keys.find, /) -> Compare:
        """Compile. Raises OperandError."""
        ...


@dataclass(frozen=True, slots=True)
class Operator:
    """One condition operator, without its prefix and suffix.

    Attributes:
        fits: the kinds of key that it can compare.
        build: compiles the policy's values.
        negated: holds when no value covers.
    """

    fits: frozenset[Kind]
    build: Build
    negated: bool = False


def _templates(values: list[str], version: str, find: Find, *, wildcards: bool) -> list[variables.Template]:
    try:
        return [variables.parse(value, wildcards=wildcards, version=version, find=find) for value in values]
    except VariableError as error:
        raise OperandError(str(error)) from None


def _equals(values: list[str], version: str, find: Find = keys.find) -> Compare:
    if not any("${" in value for value in values):
        wanted = frozenset(values)
        return lambda value, _: value in wanted
    covers = variables.covering(_templates(values, version, find, wildcards=False), patterns.matcher)
    return lambda value, context: covers(str(value), context)


def _equals_ignoring_case(values: list[str], version: str, find: Find = keys.find) -> Compare:
    templates = _templates(values, version, find, wildcards=False)
    covers = variables.covering(templates, lambda filled: patterns.matcher((_folded(filled),)))
    return lambda value, context: covers(str(value).lower(), context)


def _folded(filled: Sequence[patterns.Token]) -> str:
    return "".join(map(str, filled)).lower()


def _like(values: list[str], version: str, find: Find = keys.find) -> Compare:
    covers = variables.covering(_templates(values, version, find, wildcards=True), patterns.matcher)
    return lambda value, context: covers(str(value), context)


def _arn(values: list[str], version: str, find: Find = keys.find) -> Compare:
    if not all(_is_arn_pattern(value) for value in values):
        raise OperandError("must be an ARN of six parts, with * and ? as wildcards")
    covers = variables.covering(_templates(values, version, find, wildcards=True), patterns.arn_matcher)
    return lambda value, context: covers(str(value), context)


def _is_arn_pattern(value: str) -> bool:
    """A variable may bring in colons, so a text that has one is held to its parts only when it is filled."""
    return "${" in value or (value.startswith("arn:") and value.count(":") >= patterns.ARN_PARTS - 1)


def _numeric(compare: Callable[[float, float], bool]) -> Build:
    return _ordered(compare, number)


def _date(compare: Callable[[float, float], bool]) -> Build:
    return _ordered(compare, date)


def _ordered(compare: Callable[[float, float], bool], read: Callable[[str], float]) -> Build:
    def build(values: list[str], _version: str, _find: Find = keys.find) -> Compare:
        bounds = [read(value) for value in values]

        def holds(value: Value, _context: Context) -> bool:
            found = _as_number(value)
            return found is not None and any(compare(found, bound) for bound in bounds)

        return holds

    return build


def _as_number(value: Value) -> float | None:
    """Read the request's number; what is none is covered by nothing."""
    if isinstance(value, int | float):
        return float(value)
    try:
        return number(str(value))
    except OperandError:
        return None


def number(text: str) -> float:
    """Read a number of a policy. Raises OperandError."""
    if not _NUMBER.fullmatch(text):
        raise OperandError("must be a number")
    return float(text)


def date(text: str) -> float:
    """Read a date of a policy: ISO 8601 or seconds since the epoch. Raises OperandError."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _ISO.fullmatch(text):
        raise OperandError("must be a date, such as 2026-01-31T12:00:00Z, or seconds since the epoch")
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise OperandError("must be a date that the calendar has") from None


def _bool(values: list[str], _version: str, _find: Find = keys.find) -> Compare:
    wanted = frozenset(truth(value) for value in values)
    return lambda value, _: value in wanted


def truth(text: str) -> bool:
    """Read a truth value of a policy. Raises OperandError."""
    if text.lower() not in {"true", "false"}:
        raise OperandError("must be true or false")
    return text.lower() == "true"


def _binary(values: list[str], _version: str, _find: Find = keys.find) -> Compare:
    try:
        wanted = frozenset(base64.b64decode(value, validate=True) for value in values)
    except ValueError:  # binascii.Error is one
        raise OperandError("must be base64") from None
    return lambda value, _: str(value).encode() in wanted


def _ip(values: list[str], _version: str, _find: Find = keys.find) -> Compare:
    try:
        networks = [ip_network(value) for value in values]
    except ValueError:
        raise OperandError("must be an IP address or a block in CIDR form, without host bits") from None

    def inside(value: Value, _context: Context) -> bool:
        found = address(str(value))
        return found is not None and any(found in network for network in networks)

    return inside


@lru_cache(maxsize=1024)
def address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an IP address; an IPv4 address in IPv6's clothes is the IPv4 address that it is."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


OPERATORS: Final[dict[str, Operator]] = {
    "StringEquals": Operator(_TEXTUAL, _equals),
    "StringNotEquals": Operator(_TEXTUAL, _equals, negated=True),
    "StringEqualsIgnoreCase": Operator(_TEXTUAL, _equals_ignoring_case),
    "StringNotEqualsIgnoreCase": Operator(_TEXTUAL, _equals_ignoring_case, negated=True),
    "StringLike": Operator(_TEXTUAL, _like),
    "StringNotLike": Operator(_TEXTUAL, _like, negated=True),
    "NumericEquals": Operator(_NUMBERS, _numeric(operator.eq)),
    "NumericNotEquals": Operator(_NUMBERS, _numeric(operator.eq), negated=True),
    "NumericLessThan": Operator(_NUMBERS, _numeric(operator.lt)),
    "NumericLessThanEquals": Operator(_NUMBERS, _numeric(operator.le)),
    "NumericGreaterThan": Operator(_NUMBERS, _numeric(operator.gt)),
    "NumericGreaterThanEquals": Operator(_NUMBERS, _numeric(operator.ge)),
    "DateEquals": Operator(_DATES, _date(operator.eq)),
    "DateNotEquals": Operator(_DATES, _date(operator.eq), negated=True),
    "DateLessThan": Operator(_DATES, _date(operator.lt)),
    "DateLessThanEquals": Operator(_DATES, _date(operator.le)),
    "DateGreaterThan": Operator(_DATES, _date(operator.gt)),
    "DateGreaterThanEquals": Operator(_DATES, _date(operator.ge)),
    "Bool": Operator(frozenset({Kind.BOOL}), _bool),
    "BinaryEquals": Operator(frozenset({Kind.TEXT}), _binary),
    "IpAddress": Operator(frozenset({Kind.IP}), _ip),
    "NotIpAddress": Operator(frozenset({Kind.IP}), _ip, negated=True),
    "ArnEquals": Operator(_ARNS, _arn),
    "ArnLike": Operator(_ARNS, _arn),
    "ArnNotEquals": Operator(_ARNS, _arn, negated=True),
    "ArnNotLike": Operator(_ARNS, _arn, negated=True),
}
"""ArnEquals and ArnLike are one operator under two names (IAM user guide, ARN condition operators).

BinaryEquals compares the bytes of a text in UTF-8: no key here holds anything more binary than that.
"""
