"""Key policies in AWS's JSON language: parsed strictly, compiled once, decided from memory.

Understood here: Version, Id, Statement with Sid, Effect, Principal or NotPrincipal, Action or NotAction,
Resource ("*", the key itself). Whatever a policy says that this daemon does not enforce, such as a Condition,
is refused when the policy is put, never ignored. Default deny; an explicit deny wins (AWS IAM user guide,
policy evaluation logic).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, too_large
from strongroomd.domain.limits import MAX_POLICY, MAX_POLICY_DEPTH, MAX_POLICY_STATEMENTS
from strongroomd.domain.names import plain_text

_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_POLICY_KEYS: Final = {"Version", "Id", "Statement"}
_STATEMENT_KEYS: Final = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource"}
_PRINCIPAL = re.compile(
    r"\*|[0-9]{12}|arn:aws:iam::[0-9]{12}:(?:root|(?:user|role|service)/[A-Za-z0-9+=,.@_/-]{1,128})", re.ASCII
)
_ACTION = re.compile(r"\*|(?:kms|strongroom):[A-Za-z*?]{1,64}", re.ASCII | re.IGNORECASE)


class Effect(StrEnum):
    """What a matching statement does."""

    ALLOW = "Allow"
    DENY = "Deny"


class Question(NamedTuple):
    """What is asked of a policy. Conditions and resource attributes will join here.

    Attributes:
        principal: the caller's ARN.
        action: what the caller wants to do.
    """

    principal: str
    action: Action


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision and its ground.

    Attributes:
        allowed: whether the caller may.
        ground: the Sid or position of the deciding statement, or `default deny`.
    """

    allowed: bool
    ground: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One compiled statement; `label` is its Sid, or `Statement[n]`."""

    label: str
    effect: Effect
    principals: frozenset[str]
    principals_inverted: bool
    actions: frozenset[Action]

    def matches(self, question: Question) -> bool:
        """Say whether the statement speaks of this question."""
        if question.action not in self.actions:
            return False
        named = "*" in self.principals or question.principal in self.principals
        return named is not self.principals_inverted


class Policy:
    """A compiled policy; decisions are remembered, so that a repeated question costs one look-up."""

    def __init__(self, statements: tuple[Statement, ...]) -> None:
        self.statements = statements
        self._decided: dict[Question, Decision] = {}

    def decide(self, question: Question) -> Decision:
        """Answer: an explicit deny wins, else any allow, else denied."""
        decision = self._decided.get(question)
        if decision is None:
            decision = self._decide(question)
            if len(self._decided) >= _REMEMBERED:
                self._decided.clear()
            self._decided[question] = decision
        return decision

    def _decide(self, question: Question) -> Decision:
        matching = [s for s in self.statements if s.matches(question)]
        for effect in (Effect.DENY, Effect.ALLOW):
            for statement in matching:
                if statement.effect is effect:
                    return Decision(effect is Effect.ALLOW, statement.label)
        return Decision(allowed=False, ground="default deny")


_REMEMBERED: Final = 4096


def parse(text: str, field: str = "policy") -> Policy:
    """Parse and compile a policy document.

    Args:
        text: the JSON document, at most 32,768 bytes of UTF-8.
        field: the request field, for errors.

    Raises:
        StrongroomError: FIELD_TOO_LARGE, or MALFORMED_POLICY naming the place in the document.
    """
    _check_size(text, field)
    document = _load(text, field)
    _only(document, _POLICY_KEYS, field)
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise _malformed(f"{field}.Version", "must be 2012-10-17 or 2008-10-17")
    _text(document.get("Id", ""), f"{field}.Id")
    items = _as_list(document.get("Statement"))
    if not items or len(items) > MAX_POLICY_STATEMENTS:
        raise _malformed(f"{field}.Statement", f"must hold 1 to {MAX_POLICY_STATEMENTS} statements")
    return Policy(tuple(_statement(item, f"{field}.Statement[{n}]", n) for n, item in enumerate(items)))


@lru_cache(maxsize=4096)
def compiled(text: str) -> Policy:
    """Compile a policy that was checked when it was put; equal documents share one compiled form."""
    return parse(text)


def default_policy(*principals: str) -> str:
    """Write the policy of a key that was created without one: these principals may do everything with it.

    The first statement carries AWS's id, so that issue of identity policies can add delegation to the root.
    """
    statement = {
        "Sid": "key-default-1",
        "Effect": "Allow",
        "Principal": {"AWS": sorted(set(principals))},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": _VERSIONS[0], "Id": "key-default-1", "Statement": [statement]})


def _check_size(text: str, field: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _malformed(field, "must be valid Unicode") from None
    if size > MAX_POLICY:
        raise too_large(field, MAX_POLICY)


def _load(text: str, field: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _malformed(field, "must be a JSON object in which no name appears twice") from None
    if not isinstance(document, dict) or _depth(document) > MAX_POLICY_DEPTH:
        raise _malformed(field, "must be a JSON object, not nested deeper than a policy needs")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate name")
    return result


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _depth(value: object) -> int:
    """Nesting depth, bounded work: the document is at most 32 KiB."""
    depth, level = 0, [value]
    while level and depth <= MAX_POLICY_DEPTH:
        depth += 1
        children: list[object] = []
        for item in level:
            if isinstance(item, dict):
                children += item.values()
            elif isinstance(item, list):
                children += item
        level = children
    return depth


def _statement(item: object, place: str, number: int) -> Statement:
    if not isinstance(item, dict):
        raise _malformed(place, "must be an object")
    _only(item, _STATEMENT_KEYS, place)
    effect = item.get("Effect")
    if effect not in (Effect.ALLOW.value, Effect.DENY.value):
        raise _malformed(f"{place}.Effect", "must be Allow or Deny")
    if any(resource != "*" for resource in _as_list(item.get("Resource", "*"))):
        raise _malformed(f"{place}.Resource", 'must be "*", which in a key policy means this key')
    inverted, principals = _one_of(item, "Principal", place)
    not_actions, actions = _one_of(item, "Action", place)
    chosen = _actions(actions, f"{place}.{'NotAction' if not_actions else 'Action'}")
    sid = _text(item.get("Sid", ""), f"{place}.Sid")
    return Statement(
        label=sid or f"Statement[{number}]",
        effect=Effect(effect),
        principals=_principals(principals, f"{place}.{'NotPrincipal' if inverted else 'Principal'}"),
        principals_inverted=inverted,
        actions=frozenset(Action) - chosen if not_actions else chosen,
    )


def _one_of(item: Mapping[str, Any], name: str, place: str) -> tuple[bool, Any]:
    """Take NAME or NotNAME, exactly one of which must be there."""
    if (name in item) == (f"Not{name}" in item):
        raise _malformed(place, f"must have exactly one of {name} and Not{name}")
    return (False, item[name]) if name in item else (True, item[f"Not{name}"])


def _principals(value: object, place: str) -> frozenset[str]:
    if isinstance(value, dict):
        _only(value, {"AWS"}, place)
        value = value.get("AWS")
    elif value != "*":
        raise _malformed(place, 'must be "*" or an object with AWS')
    names = _texts(value, place)
    if not all(_PRINCIPAL.fullmatch(name) for name in names):
        raise _malformed(place, 'must name "*", a 12-digit account or principal ARNs')
    return frozenset(f"arn:aws:iam::{name}:root" if name.isdigit() else name for name in names)


def _actions(value: object, place: str) -> frozenset[Action]:
    patterns = _texts(value, place)
    chosen: set[Action] = set()
    for pattern in patterns:
        if not _ACTION.fullmatch(pattern):
            raise _malformed(place, "must name kms: or strongroom: actions, with * and ? as wildcards")
        found = _expand(pattern)
        if not found and not pattern.lower().startswith("kms:"):
            raise _malformed(place, "names an action that does not exist")
        chosen |= found
    return frozenset(chosen)


@lru_cache(maxsize=1024)
def _expand(pattern: str) -> frozenset[Action]:
    """Find the actions that a pattern names; kms: actions that this daemon lacks match nothing."""
    return frozenset(action for action in Action if _matches(pattern.lower(), action.lower()))


def _matches(pattern: str, text: str) -> bool:
    """Match `*` (any run) and `?` (any character) in linear space and at worst quadratic time.

    On a mismatch only the last `*` takes one character more; a regular expression would try them all.
    """
    at, place, star, resume = 0, 0, -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, place, at + 1
        elif at < len(pattern) and pattern[at] in {"?", text[place]}:
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def _texts(value: object, place: str) -> list[str]:
    items = _as_list(value)
    if not items or not all(isinstance(item, str) for item in items):
        raise _malformed(place, "must be a text or a list of texts")
    return items


def _text(value: object, place: str) -> str:
    """Take a Sid or Id, which logs will show: JSON's escapes can spell what no log or file can hold."""
    if not isinstance(value, str):
        raise _malformed(place, "must be a text")
    try:
        return plain_text(value, place)
    except StrongroomError as error:
        raise _malformed(place, error.message) from None


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _only(item: Mapping[str, Any], known: set[str], place: str) -> None:
    if not item.keys() <= known:
        allowed = ", ".join(sorted(known))
        raise _malformed(place, f"has a member that is not enforced here; only {allowed} are")


def _malformed(place: str, rule: str) -> StrongroomError:
    return StrongroomError(Reason.MALFORMED_POLICY, rule, field=place)
