"""Texts with policy variables and wildcards, as conditions and resources compare them.

`${aws:PrincipalTag/team}` stands for that key's value, `${aws:PrincipalTag/team, 'none'}` for `none` where
the request has no such key, and `${*}`, `${?}` and `${$}` for the characters themselves (IAM user guide,
policy variables). What a variable brings in is plain text: a tag whose value is `*` covers nothing but `*`. A
variable without a value makes its text cover nothing at all.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from strongroomd.domain.policy import keys, patterns
from strongroomd.domain.policy.keys import Find, Kind
from strongroomd.domain.policy.patterns import Match, Token
from strongroomd.domain.policy.request import NO_CONTEXT, Context

_VARIABLE: Final = re.compile(r"\$\{([^{}]*)\}")
_CONTENT: Final = re.compile(r"([^\s,']+)(?:\s*,\s*'([^']*)')?")
_LITERALS: Final = {"*", "?", "$"}
_KINDS: Final = {Kind.STRING, Kind.TEXT, Kind.ARN}
VERSION: Final = "2012-10-17"

Compile = Callable[[Sequence[Token]], Match]


class VariableError(ValueError):
    """The text's variables cannot be used; the message is the rule and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in a text that a condition key's value fills."""

    key: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Template:
    """A text of a policy: characters, wildcards and variables."""

    parts: tuple[Token | Variable, ...]

    @property
    def is_constant(self) -> bool:
        """Whether the text is the same for every request."""
        return not any(isinstance(part, Variable) for part in self.parts)

    def fill(self, context: Context) -> tuple[Token, ...] | None:
        """Put a request's values in; None if one is missing."""
        filled: list[Token] = []
        for part in self.parts:
            if not isinstance(part, Variable):
                filled.append(part)
                continue
            value = context.get(part.key)
            chosen = part.default if value is None else str(value)
            if chosen is None:
                return None
            filled.append(chosen)
        return tuple(filled)


def parse(text: str, *, wildcards: bool, version: str, find: Find = keys.find) -> Template:
    """Read a text of a policy.

    Args:
        text: as the policy has it.
        wildcards: whether `*` and `?` are wildcards in this place.
        version: the policy's; only 2012-10-17 has variables.
        find: the table of condition keys.

    Raises:
        VariableError: for a variable that cannot be used.
    """
    if "${" not in text:
        return Template(_plain(text, wildcards=wildcards))
    if version != VERSION:
        raise VariableError(f"uses a policy variable, which needs Version {VERSION}")
    return Template(tuple(_parts(text, find, wildcards=wildcards)))


def _parts(text: str, find: Find, *, wildcards: bool) -> Iterator[Token | Variable]:
    end = 0
    for match in _VARIABLE.finditer(text):
        yield from _plain(text[end : match.start()], wildcards=wildcards)
        yield from _variable(match[1], find)
        end = match.end()
    yield from _plain(text[end:], wildcards=wildcards)


def _plain(text: str, *, wildcards: bool) -> tuple[Token, ...]:
    if "${" in text:
        raise VariableError("has a policy variable without its end")
    return patterns.tokens(text) if wildcards else (text,)


def _variable(content: str, find: Find) -> Iterator[Token | Variable]:
    if content in _LITERALS:
        yield content
        return
    match = _CONTENT.fullmatch(content.strip())
    if match is None:
        raise VariableError("has a policy variable that is not ${key} or ${key, 'default'}")
    try:
        name, key = find(match[1])
    except keys.UnknownKeyError as error:
        raise VariableError(f"has a policy variable that {error}") from None
    if key.many or key.kind not in _KINDS:
        raise VariableError("has a policy variable whose key holds no single text")
    yield Variable(name, match[2])


def covering(templates: Sequence[Template], compile_: Compile) -> Callable[[str, Context], bool]:
    """Compile texts to one question: does any of them cover this value?"""
    fixed = [compile_(template.fill(NO_CONTEXT) or ()) for template in templates if template.is_constant]
    open_ = [template for template in templates if not template.is_constant]

    def covers(value: str, context: Context) -> bool:
        return any(match(value) for match in fixed) or any(
            filled is not None and compile_(filled)(value)
            for filled in (template.fill(context) for template in open_)
        )

    return covers
