"""Wildcards: `*` is any run of characters, `?` any one, in actions, texts and ARNs.

A pattern is cut at its `*` into pieces of fixed length. The first and the last stand at the ends of the text,
and each piece between is taken at its leftmost place, which never has to be taken back: so matching is a few
searches at the interpreter's own speed, whatever pattern and text a tenant brings together.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from strongroomd.domain.actions import Action


class Wild(Enum):
    """A wildcard, as distinct from the character that a policy variable may bring in."""

    RUN = auto()
    ONE = auto()


Token = str | Wild
"""Some characters, or a wildcard."""

Match = Callable[[str], bool]

_WILDCARDS: Final[dict[str, Wild]] = {"*": Wild.RUN, "?": Wild.ONE}
_AT_WILDCARDS: Final = re.compile(r"([*?])")
ARN_PARTS: Final = 6


def tokens(text: str) -> tuple[Token, ...]:
    """Split a text into characters and wildcards."""
    return tuple(_WILDCARDS.get(part, part) for part in _AT_WILDCARDS.split(text))


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stands between two `*`: its length, and how to find it within bounds (-1 where it is not)."""

    length: int
    find: Callable[[str, int, int], int]


def _piece(part: Sequence[Token]) -> _Piece:
    length = sum(1 if isinstance(token, Wild) else len(token) for token in part)
    if Wild.ONE not in part:
        text = _text(part)
        return _Piece(length, lambda whole, start, end: whole.find(text, start, end))
    regex = re.compile("".join("." if isinstance(t, Wild) else re.escape(t) for t in part), re.DOTALL)

    def find(whole: str, start: int, end: int) -> int:
        match = regex.search(whole, start, end)
        return -1 if match is None else match.start()

    return _Piece(length, find)


def matcher(pattern: Iterable[Token]) -> Match:
    """Compile a pattern; the answer says whether it covers the whole of a text."""
    parts = _split_at_runs(pattern)
    if len(parts) == 1:
        return _whole(parts[0])
    first, *middle, last = [_piece(part) for part in parts]
    shortest = first.length + last.length

    def covers(text: str) -> bool:
        end = len(text) - last.length
        if (
            len(text) < shortest
            or first.find(text, 0, first.length)
            or last.find(text, end, len(text)) != end
        ):
            return False
        place = first.length
        for piece in middle:
            at = piece.find(text, place, end)
            if at < 0:
                return False
            place = at + piece.length
        return True

    return covers


def _whole(part: Sequence[Token]) -> Match:
    if Wild.ONE not in part:
        return _text(part).__eq__
    piece = _piece(part)
    return lambda text: len(text) == piece.length and piece.find(text, 0, piece.length) == 0


def _split_at_runs(pattern: Iterable[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in pattern:
        if token is Wild.RUN:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _text(part: Iterable[Token]) -> str:
    return "".join(str(token) for token in part)


def arn_matcher(pattern: Iterable[Token]) -> Match:
    """Compile an ARN pattern, whose six parts are compared one by one: a wildcard never crosses a colon.

    Only the last part may hold colons (IAM user guide, ARN condition operators). A pattern of fewer parts
    covers nothing.
    """
    parts = [matcher(part) for part in _split_at_colons(pattern)]
    if len(parts) < ARN_PARTS:
        return lambda _: False

    def covers(text: str) -> bool:
        found = text.split(":", ARN_PARTS - 1)
        return len(found) == ARN_PARTS and all(match(part) for match, part in zip(parts, found, strict=True))

    return covers


def _split_at_colons(pattern: Iterable[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in pattern:
        rest = token
        while isinstance(rest, str) and ":" in rest and len(parts) < ARN_PARTS:
            head, _, rest = rest.partition(":")
            parts[-1].append(head)
            parts.append([])
        parts[-1].append(rest)
    return parts


@lru_cache(maxsize=1024)
def expand(pattern: str) -> frozenset[Action]:
    """Find the actions that a pattern names; kms: actions that this daemon lacks match nothing."""
    covers = matcher(tokens(pattern.lower()))
    return frozenset(action for action in Action if covers(action.lower()))
