"""Policies in AWS's JSON language: parsed strictly, compiled once.

Understood here: Version, Id, Statement with Sid, Effect, Principal or NotPrincipal, Action or NotAction,
Resource or NotResource, Condition. What a policy says and this daemon does not enforce is refused when the
policy is put, never ignored. Four kinds of policy share the language; `_FORMS` says how they differ.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from strongroomd.domain.actions import Action
from strongroomd.domain.limits import MAX_POLICY_STATEMENTS
from strongroomd.domain.policy import conditions, resources, who
from strongroomd.domain.policy.conditions import Condition
from strongroomd.domain.policy.document import as_list, label, load, malformed, one_of, only, texts
from strongroomd.domain.policy.patterns import expand
from strongroomd.domain.policy.resources import Resources
from strongroomd.domain.policy.who import Who

VERSIONS: Final = ("2012-10-17", "2008-10-17")
OLDEST: Final = VERSIONS[1]
_POLICY_KEYS: Final = {"Version", "Id", "Statement"}
_ACTIONS: Final = {"Sid", "Effect", "Action", "NotAction", "Condition"}
_PRINCIPALS: Final = {"Principal", "NotPrincipal"}
_RESOURCES: Final = {"Resource", "NotResource"}


class Effect(StrEnum):
    """What a matching statement does."""

    ALLOW = "Allow"
    DENY = "Deny"


class PolicyKind(StrEnum):
    """What a policy is attached to."""

    KEY = "key policy"
    IDENTITY = "identity policy"
    GUARD_RAIL = "guard rail"
    TRUST = "trust policy"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind of policy is written.

    Attributes:
        members: what its statements may hold.
        services: whose actions they may name.
        targets: what their resources look like; None where the policy itself says which.
    """

    members: frozenset[str]
    services: tuple[str, ...]
    targets: re.Pattern[str] | None


_OF_PRINCIPALS: Final = _Form(
    frozenset(_ACTIONS | _RESOURCES), ("kms", "strongroom", "sts"), resources.ANYTHING
)
_FORMS: Final[dict[PolicyKind, _Form]] = {
    PolicyKind.KEY: _Form(
        frozenset(_ACTIONS | _PRINCIPALS | _RESOURCES), ("kms", "strongroom"), resources.KEYS_ONLY
    ),
    PolicyKind.IDENTITY: _OF_PRINCIPALS,
    PolicyKind.GUARD_RAIL: _OF_PRINCIPALS,
    PolicyKind.TRUST: _Form(frozenset(_ACTIONS | {"Principal"}), ("sts",), None),
}
_NO_WORD: Final = re.compile(r"[^A-Za-z*?]", re.ASCII)
_LONGEST_ACTION: Final = 64


@dataclass(frozen=True, slots=True)
class Statement:
    """One compiled statement.

    Attributes:
        label: its Sid, or `Statement[n]`.
        place: `Statement[n]`.
        who: whom it speaks of; None in policies that are attached to a principal or account.
        named: the action patterns as written, and whether they are a NotAction, for lint.
    """

    label: str
    place: str
    effect: Effect
    who: Who | None
    actions: frozenset[Action]
    resources: Resources
    conditions: tuple[Condition, ...]
    named: tuple[bool, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed policy."""

    kind: PolicyKind
    version: str
    statements: tuple[Statement, ...]


def parse_document(text: str, kind: PolicyKind, field: str = "policy") -> Document:
    """Parse a policy document.

    Args:
        text: the JSON document, at most 32,768 bytes of UTF-8.
        kind: what it will be attached to.
        field: the request field, for errors.

    Raises:
        StrongroomError: FIELD_TOO_LARGE, or MALFORMED_POLICY naming the place in the document.
    """
    document = load(text, field)
    only(document, _POLICY_KEYS, field)
    version = document.get("Version", OLDEST)
    if version not in VERSIONS:
        raise malformed(f"{field}.Version", "must be 2012-10-17 or 2008-10-17")
    label(document.get("Id", ""), f"{field}.Id")
    items = as_list(document.get("Statement", []))
    if not items or len(items) > MAX_POLICY_STATEMENTS:
        raise malformed(f"{field}.Statement", f"must hold 1 to {MAX_POLICY_STATEMENTS} statements")
    read = _reader(_FORMS[kind], field, version)
    return Document(kind, version, tuple(read(item, number) for number, item in enumerate(items)))


def _reader(form: _Form, field: str, version: str) -> Callable[[object, int], Statement]:
    def read(item: object, number: int) -> Statement:
        return _statement(item, f"Statement[{number}]", form, field, version)

    return read


def _statement(item: object, short: str, form: _Form, field: str, version: str) -> Statement:
    place = f"{field}.{short}"
    if not isinstance(item, dict):
        raise malformed(place, "must be an object")
    only(item, form.members, place)
    effect = item.get("Effect")
    if effect not in (Effect.ALLOW.value, Effect.DENY.value):
        raise malformed(f"{place}.Effect", "must be Allow or Deny")
    named = _named(item, place, form.services)
    return Statement(
        label=label(item.get("Sid", ""), f"{place}.Sid") or short,
        place=short,
        effect=Effect(effect),
        who=_who(item, place, form),
        actions=_actions(*named),
        resources=_resources(item, place, form, version),
        conditions=_conditions(item, f"{place}.Condition", version),
        named=named,
    )


def _who(item: dict[str, Any], place: str, form: _Form) -> Who | None:
    if "Principal" not in form.members:
        return None
    inverted, here, value = one_of(item, "Principal", place)
    return who.parse(value, here, inverted=inverted)


def _resources(item: dict[str, Any], place: str, form: _Form, version: str) -> Resources:
    """Read resources; in a key policy none means this key, as `*` does."""
    if form.targets is None or (form.targets is resources.KEYS_ONLY and item.keys().isdisjoint(_RESOURCES)):
        return resources.EVERYTHING
    inverted, here, value = one_of(item, "Resource", place)
    return resources.parse(value, here, version, inverted=inverted, form=form.targets)


def _conditions(item: dict[str, Any], place: str, version: str) -> tuple[Condition, ...]:
    return conditions.parse(item["Condition"], place, version) if "Condition" in item else ()


def _named(item: dict[str, Any], place: str, services: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    inverted, here, value = one_of(item, "Action", place)
    named = texts(value, here)
    for pattern in named:
        if pattern != "*":
            _check_action(pattern, here, services)
    return inverted, tuple(named)


def _check_action(pattern: str, place: str, services: tuple[str, ...]) -> None:
    service, _, name = pattern.partition(":")
    if service.lower() not in services or not service.isascii():
        allowed = ", ".join(f"{service}:" for service in services)
        raise malformed(place, f"must name actions of {allowed} with * and ? as wildcards")
    if not 0 < len(name) <= _LONGEST_ACTION or _NO_WORD.search(name):
        raise malformed(place, "must name actions by letters, with * and ? as wildcards")
    if service.lower() != "kms" and not expand(pattern):
        raise malformed(place, "names an action that does not exist")


def _actions(inverted: bool, named: tuple[str, ...]) -> frozenset[Action]:  # noqa: FBT001 - as `named` has it
    chosen = frozenset[Action]().union(*(expand(pattern) for pattern in named))
    return frozenset(Action) - chosen if inverted else chosen
