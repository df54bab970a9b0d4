"""The daemon's decisions are the reference's, for any case that hypothesis can put together."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests import policy_corpus as corpus
from tests import policy_reference
from tests.policy_cases import ALICE, CAROL, KEY, NIGHT, answer, asked, document

from strongroomd.domain.policy import Basis
from strongroomd.domain.policy.explain import explain
from strongroomd.domain.policy.lint import lint

_NAMES = ("kms:ViaService", "aws:PrincipalTag/team", "aws:ResourceTag/team", "kms:EncryptionContext:k")
_LISTS = ("kms:GrantOperations", "kms:EncryptionContextKeys")
_TEXTS = st.text(alphabet="ab*?$:Aµ", max_size=6)
_PATTERNS = _TEXTS.map(lambda text: text.replace("${", "$")) | st.sampled_from(
    ["${aws:PrincipalTag/team}", "a${aws:PrincipalTag/team, 'b'}*", "${*}", "x${?}${$}"]
)
_VALUES = st.lists(_PATTERNS, min_size=1, max_size=3)
_TEXT_OPERATORS = [
    f"String{negation}{how}{suffix}"
    for negation in ("", "Not")
    for how in ("Equals", "EqualsIgnoreCase", "Like")
    for suffix in ("", "IfExists")
]
_ARN_TEXT = st.lists(st.text(alphabet="ab*?", max_size=3), min_size=4, max_size=6).map(
    lambda parts: "arn:a:" + ":".join(parts)
)
_NUMBERS = st.integers(-3, 3)
_ORDER = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")

_TEXT_TESTS = st.tuples(st.sampled_from(_TEXT_OPERATORS), st.sampled_from(_NAMES), _VALUES)
_LIST_TESTS = st.tuples(
    st.builds(
        "{}{}".format, st.sampled_from(["ForAllValues:", "ForAnyValue:"]), st.sampled_from(_TEXT_OPERATORS)
    ),
    st.sampled_from(_LISTS),
    _VALUES,
)
_NUMBER_TESTS = st.tuples(
    st.sampled_from([f"Numeric{how}" for how in _ORDER]),
    st.just("kms:RotationPeriodInDays"),
    st.lists(_NUMBERS, min_size=1, max_size=2),
)
_DATE_TESTS = st.tuples(
    st.sampled_from([f"Date{how}{suffix}" for how in _ORDER for suffix in ("", "IfExists")]),
    st.just("aws:CurrentTime"),
    st.sampled_from([["1970-01-01"], ["1970-01-01T00:00:01Z", "2"], ["1970-01-01T01:00:00+01:00"]]),
)
_ARN_TESTS = st.tuples(
    st.sampled_from(["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "ArnLikeIfExists"]),
    st.just("aws:SourceArn"),
    st.lists(_ARN_TEXT, min_size=1, max_size=2),
)
_NULL_TESTS = st.tuples(
    st.just("Null"), st.sampled_from(_NAMES + _LISTS), st.sampled_from([["true"], ["false"]])
)
_TESTS = _TEXT_TESTS | _LIST_TESTS | _NUMBER_TESTS | _DATE_TESTS | _ARN_TESTS | _NULL_TESTS


def _block(tests: list[tuple[str, str, Any]]) -> dict[str, Any]:
    block: dict[str, Any] = {}
    for operator, key, values in tests:
        block.setdefault(operator, {})[key] = values
    return block


_WITHOUT_STATEMENT = {Basis.ROOT_ALLOW, Basis.GUARD_RAIL_SILENT, Basis.NOT_DELEGATED, Basis.DEFAULT_DENY}
_BLOCKS = st.lists(_TESTS, min_size=1, max_size=3).map(_block)
_CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(_NAMES, _TEXTS),
        **dict.fromkeys(_LISTS, st.lists(_TEXTS, max_size=3)),
        "kms:RotationPeriodInDays": _NUMBERS,
        "aws:CurrentTime": st.integers(-1, 3),
        "aws:SourceArn": _ARN_TEXT,
    },
)


@settings(max_examples=400, deadline=None)
@given(_BLOCKS, _CONTEXTS, st.sampled_from(["Allow", "Deny"]))
def test_any_condition_holds_as_in_the_reference(block: Any, context: Any, effect: str) -> None:
    base = {"Effect": "Allow", "Principal": "*", "Action": "*"}
    statements = [base] if effect == "Deny" else []
    statements.append(base | {"Effect": effect, "Condition": block})
    case = {
        "who": ALICE,
        "action": "kms:Decrypt",
        "key": KEY,
        "key_policy": document(*statements),
        "context": context,
    }

    assert answer(case) is policy_reference.decide(case)


def _indices(pool: list[Any], most: int) -> st.SearchStrategy[str]:
    return st.lists(st.integers(0, len(pool) - 1), max_size=most).map(lambda n: ".".join(map(str, n)))


_LINES = st.tuples(
    _indices(corpus.KEY_STATEMENTS, 5),
    _indices(corpus.IDENTITY_STATEMENTS, 4),
    _indices(corpus.IDENTITY_STATEMENTS, 2),
    _indices(corpus.GRANTS, 3),
    *(st.integers(0, len(pool) - 1).map(str) for pool in (corpus.WHO, corpus.ACTIONS, corpus.CONTEXTS)),
).map("|".join)


@settings(max_examples=400, deadline=None)
@given(_LINES)
def test_any_combination_is_decided_as_in_the_reference(line: str) -> None:
    case = corpus.build(line)

    assert answer(case) is policy_reference.decide(case)


@settings(max_examples=100, deadline=None)
@given(_LINES, st.lists(st.sampled_from(range(len(corpus.CONTEXTS))), min_size=2, max_size=4))
def test_what_was_decided_before_never_changes_a_decision(line: str, contexts: list[int]) -> None:
    """One Authority answers a row of requests as fresh ones would: nothing of a request is remembered."""
    cases = [corpus.build(f"{line.rpartition('|')[0]}|{number}") for number in contexts]
    shared = asked(cases[0])
    requests = [asked(case).request for case in cases]

    found = [shared.authority.decide(request, shared.standing, shared.grants).allowed for request in requests]

    assert found == [answer(case) for case in cases]


@settings(max_examples=100, deadline=None)
@given(_LINES)
def test_an_explanation_holds_what_decided(line: str) -> None:
    one = asked(corpus.build(line))

    told = explain(one.authority, one.request, one.standing, one.grants)

    spoke = {
        (trace.policy if trace.source == "grant" else trace.statement)
        for trace in told.traces
        if trace.applies
    }
    assert told.decision == one.decide()
    assert told.decision.ground in spoke or told.decision.basis in _WITHOUT_STATEMENT
    assert not any(trace.applies and trace.failed for trace in told.traces)


@settings(max_examples=100, deadline=None)
@given(_LINES)
def test_lint_has_a_place_for_whatever_it_finds(line: str) -> None:
    one = asked(corpus.build(line))
    policies = [*one.standing.identity, *one.standing.guard_rails]

    for found in [one.authority.policy] if one.authority.policy else policies:
        for finding in lint(found):
            assert not finding.place or finding.place.startswith("Statement[")


@given(st.sampled_from([ALICE, CAROL, NIGHT]), st.sampled_from(corpus.ACTIONS))
def test_without_a_word_everything_is_denied(who: str, action: str) -> None:
    silent = document({"Effect": "Deny", "Principal": {"AWS": KEY.split(":")[4]}, "Action": "kms:Sign"})

    assert not answer({"who": who, "action": action, "key": KEY, "key_policy": silent})
