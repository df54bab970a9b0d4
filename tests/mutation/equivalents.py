"""Mutants that change nothing that anyone could see, each with the reason.

A mutant is named by file, place and change, so that the table does not rot with line numbers. An entry that names
no mutant any more, or one that a case kills, fails.
"""

from typing import Final

from tests.mutation.mutants import Key

_POLICY: Final = "domain/policy"
_FASTER: Final = "the branch is for speed alone: without it the long way gives the same answer"
_MEMORY: Final = "what is remembered is what would be worked out again"
_ONE: Final = "there is one element"
_BOTH: Final = "of one policy either all statements name somebody or none does"
_NEGATIVE: Final = "any negative number says that it was not found"

EQUIVALENTS: Final[dict[Key, str]] = {
    (f"{_POLICY}/compiled.py", "Policy.sheet", "speaking is None -> True"): _MEMORY,
    (f"{_POLICY}/compiled.py", "Policy.sheet", "self._by_action[action] = speaking -> pass"): _MEMORY,
    (f"{_POLICY}/compiled.py", "reach", "return Reach.NONE -> return None"): (
        "who asks compares with DIRECT or DELEGATED, or asks for truth, and NONE is 0"
    ),
    (f"{_POLICY}/compiled.py", "speaks", "not statement.resources.everything -> True"): _FASTER,
    (f"{_POLICY}/circumstances.py", "Circumstances._of_family", "0 -> -1"): _ONE,
    (f"{_POLICY}/conditions.py", "Test", "False -> True"): "__test__ is read by pytest alone",
    (f"{_POLICY}/conditions.py", "Test.holds", "self.quantifier is Quantifier.ONE -> False"): _FASTER,
    (
        f"{_POLICY}/document.py",
        "_depth",
        "depth <= MAX_POLICY_DEPTH in level and depth <= MAX_POLICY_DEPTH -> nothing",
    ): "what is too deep is refused either way: to stop there bounds the work",
    (
        f"{_POLICY}/lint.py",
        "_covers_who",
        "wide.who is None or narrow.who is None -> wide.who is None and narrow.who is None",
    ): _BOTH,
    (
        f"{_POLICY}/lint.py",
        "_covers_who",
        "wide.who is None in wide.who is None or narrow.who is None -> nothing",
    ): _BOTH,
    (
        f"{_POLICY}/lint.py",
        "_covers_who",
        "narrow.who is None in wide.who is None or narrow.who is None -> nothing",
    ): _BOTH,
    (
        f"{_POLICY}/lint.py",
        "_delegates",
        "who is not None in _allows(statement) and who is not None and any((name.endswith(':root') for name in who.names)) -> nothing",
    ): "it is asked of key policies alone, whose statements all name somebody",
    (f"{_POLICY}/operators.py", "_equals", "not any(('${' in value for value in values)) -> False"): _FASTER,
    (f"{_POLICY}/patterns.py", "_piece", "Wild.ONE not in part -> False"): _FASTER,
    (f"{_POLICY}/patterns.py", "_piece.find", "1 -> 2"): _NEGATIVE,
    (f"{_POLICY}/patterns.py", "matcher", "0 -> -1"): _ONE,
    (f"{_POLICY}/patterns.py", "_whole", "Wild.ONE not in part -> False"): _FASTER,
    (f"{_POLICY}/patterns.py", "_whole", "0 -> -1"): "a search for a regex from -1 is one from 0",
    (f"{_POLICY}/patterns.py", "arn_matcher.covers", "strict=True -> strict=False"): (
        "both have six parts, as was checked before"
    ),
    (f"{_POLICY}/who.py", "Reach", "2 -> 3"): "the numbers tell the members apart, and no more",
    (f"{_POLICY}/variables.py", "covering", "() in template.fill(NO_CONTEXT) or () -> nothing"): (
        "what is constant lacks no value"
    ),
    (f"{_POLICY}/variables.py", "covering", "not template.is_constant -> True"): _FASTER,
}
