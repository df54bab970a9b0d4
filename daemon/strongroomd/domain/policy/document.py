"""The JSON of a policy document, before anything is known of its meaning.

Guarantees a JSON object of bounded size and depth in which no name appears twice, as the duplicate would be
read by one program and ignored by another. Every refusal names its place and never quotes the document.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from strongroomd.domain.errors import Reason, StrongroomError, too_large
from strongroomd.domain.limits import MAX_POLICY, MAX_POLICY_DEPTH
from strongroomd.domain.names import plain_text


def malformed(place: str, rule: str) -> StrongroomError:
    """Refuse a document; the place leads to the member at fault, the rule must not quote it."""
    return StrongroomError(Reason.MALFORMED_POLICY, rule, field=place)


def load(text: str, field: str) -> dict[str, Any]:
    """Read a document.

    Raises:
        StrongroomError: FIELD_TOO_LARGE, or MALFORMED_POLICY for what is no plain JSON object.
    """
    _check_size(text, field)
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise malformed(field, "must be a JSON object in which no name appears twice") from None
    if not isinstance(document, dict) or _depth(document) > MAX_POLICY_DEPTH:
        raise malformed(field, "must be a JSON object, not nested deeper than a policy needs")
    return document


def _check_size(text: str, field: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise malformed(field, "must be valid Unicode") from None
    if size > MAX_POLICY:
        raise too_large(field, MAX_POLICY)


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


def only(item: Mapping[str, Any], known: Collection[str], place: str) -> None:
    """Refuse members that mean nothing here."""
    if not item.keys() <= set(known):
        allowed = ", ".join(sorted(known))
        raise malformed(place, f"has a member that is not enforced here; only {allowed} are")


def one_of(item: Mapping[str, Any], name: str, place: str) -> tuple[bool, str, Any]:
    """Take NAME or NotNAME, exactly one of which must be there: (inverted, its place, its value)."""
    if (name in item) == (f"Not{name}" in item):
        raise malformed(place, f"must have exactly one of {name} and Not{name}")
    chosen = name if name in item else f"Not{name}"
    return chosen != name, f"{place}.{chosen}", item[chosen]


def as_list(value: object) -> list[Any]:
    """Read a value that may stand without a list."""
    return value if isinstance(value, list) else [value]


def texts(value: object, place: str) -> list[str]:
    """Read one or more texts."""
    items = as_list(value)
    if not items or not all(isinstance(item, str) for item in items):
        raise malformed(place, "must be a text or a list of texts")
    return items


def label(value: object, place: str) -> str:
    """Take a Sid or Id, which logs will show: JSON's escapes can spell what no log or file can hold."""
    if not isinstance(value, str):
        raise malformed(place, "must be a text")
    try:
        return plain_text(value, place)
    except StrongroomError as error:
        raise malformed(place, error.message) from None
