"""Wildcards: `*` is any run of characters, `?` any one, in actions, texts and ARNs.

Matching takes linear space and at worst quadratic time, whatever the pattern: on a mismatch only the last `*`
takes one character more, where a regular expression would try them all.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from strongroomd.domain.actions import Action


class Wild(Enum):
    """A wildcard, as distinct from the character that a policy variable may bring in."""

    RUN = auto()
    ONE = auto()


Token = str | Wild
Match = Callable[[str], bool]

_WILDCARDS: Final[dict[str, Wild]] = {"*": Wild.RUN, "?": Wild.ONE}
ARN_PARTS: Final = 6


def tokens(text: str) -> tuple[Token, ...]:
    """Split a text into characters and wildcards."""
    return tuple(_WILDCARDS.get(character, character) for character in text)


def glob(pattern: Sequence[Token], text: str) -> bool:
    """Say whether a pattern covers the whole text."""
    at, place, star, resume = 0, 0, -1, 0
    while place < len(text):
        token = pattern[at] if at < len(pattern) else None
        if token is Wild.RUN:
            star, resume, at = at, place, at + 1
        elif token is Wild.ONE or token == text[place]:
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return all(token is Wild.RUN for token in pattern[at:])


def matcher(pattern: Sequence[Token]) -> Match:
    """Compile a pattern: most are a plain text or a prefix, which the interpreter compares fastest."""
    wild = [place for place, token in enumerate(pattern) if isinstance(token, Wild)]
    if not wild:
        return _text(pattern).__eq__
    if wild == [len(pattern) - 1] and pattern[-1] is Wild.RUN:
        prefix = _text(pattern[:-1])
        return lambda text: text.startswith(prefix)
    return lambda text: glob(pattern, text)


def _text(pattern: Iterable[Token]) -> str:
    return "".join(str(token) for token in pattern)


def arn_matcher(pattern: Sequence[Token]) -> Match:
    """Compile an ARN pattern, whose six parts are compared one by one: a wildcard never crosses a colon.

    Only the last part may hold colons (IAM user guide, ARN condition operators). A pattern of fewer parts
    covers nothing.
    """
    parts = [matcher(part) for part in _parts(pattern)]
    if len(parts) < ARN_PARTS:
        return lambda _: False

    def covers(text: str) -> bool:
        found = text.split(":", ARN_PARTS - 1)
        return len(found) == ARN_PARTS and all(map(_apply, parts, found))

    return covers


def _apply(match: Match, text: str) -> bool:
    return match(text)


def _parts(pattern: Sequence[Token]) -> Iterator[Sequence[Token]]:
    start = 0
    for _ in range(ARN_PARTS - 1):
        end = next((n for n in range(start, len(pattern)) if pattern[n] == ":"), None)
        if end is None:
            break
        yield pattern[start:end]
        start = end + 1
    yield pattern[start:]


@lru_cache(maxsize=1024)
def expand(pattern: str) -> frozenset[Action]:
    """Find the actions that a pattern names; kms: actions that this daemon lacks match nothing."""
    covers = matcher(tokens(pattern.lower()))
    return frozenset(action for action in Action if covers(action.lower()))
