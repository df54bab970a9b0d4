"""Wildcards, against a naive reading of them."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroomd.domain.policy import patterns

_PATTERNS = st.text(alphabet="ab:*?", max_size=9)
_TEXTS = st.text(alphabet="ab:", max_size=9)


def naive(pattern: str, text: str) -> bool:
    regex = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(regex, text, re.DOTALL) is not None


@settings(max_examples=600)
@given(_PATTERNS, _TEXTS)
@example("*", "")
@example("a*a", "a")
@example("ab*ba", "aba")
@example("?*?", "a")
@example("*ab*ab*", "abab")
@example("a?*?b", "axb")
@example("*a?", "aab")
@example("b*", "ab")
@example("**", "ab")
@example("", "")
def test_a_pattern_covers_what_its_wildcards_say(pattern: str, text: str) -> None:
    assert patterns.matcher(patterns.tokens(pattern))(text) is naive(pattern, text)


@settings(max_examples=600)
@given(st.lists(_PATTERNS, min_size=5, max_size=7), st.lists(_TEXTS, min_size=5, max_size=7))
def test_the_parts_of_an_arn_are_compared_one_by_one(pattern: list[str], text: list[str]) -> None:
    ours, theirs = ":".join(pattern).split(":", 5), ":".join(text).split(":", 5)
    expected = len(ours) == len(theirs) == 6 and all(map(naive, ours, theirs))

    found = patterns.arn_matcher(patterns.tokens(":".join(pattern)))(":".join(text))

    assert found is expected


@given(_PATTERNS)
def test_characters_that_a_variable_brings_in_are_no_wildcards(brought: str) -> None:
    covers = patterns.matcher((brought, patterns.Wild.RUN))

    assert covers(brought + "x")
    assert covers("c" + brought) is (not brought)
