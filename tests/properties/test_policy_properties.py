"""The policy parser is total, and its decisions are those of a naive reading of the document."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy_cases import decision_alone

from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError

_PEOPLE = [
    f"arn:aws:iam::{account}:{name}"
    for account in ("111122223333", "444455556666")
    for name in ("root", "user/a", "role/b")
]
_PATTERNS = [
    "*",
    "kms:*",
    "kms:Encrypt",
    "kms:*crypt",
    "kms:Generate*",
    "strongroom:*",
    "kms:?ign",
    "KMS:SIGN",
]

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["Allow", "*", "2012-10-17"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Version", "Id", "Statement", "Sid", "Effect", "Principal", "Action", "AWS", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
_ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()))


def refusal(text: str) -> StrongroomError | None:
    try:
        policy.parse(text)
    except StrongroomError as error:
        return error
    return None


@given(_ANY_TEXT)
def test_any_text_is_a_policy_or_is_refused(text: str) -> None:
    error = refusal(text)

    assert error is None or error.reason in {Reason.MALFORMED_POLICY, Reason.FIELD_TOO_LARGE}


@settings(max_examples=300)
@given(_JSON)
def test_any_json_is_a_policy_or_is_refused_with_its_place(value: object) -> None:
    error = refusal(json.dumps(value))

    assert error is None or (
        error.reason is Reason.MALFORMED_POLICY and str(error.field).startswith("policy")
    )


@given(
    st.dictionaries(
        st.sampled_from(["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource"]),
        _JSON,
    )
)
def test_any_statement_is_taken_or_refused(value: dict[str, object]) -> None:
    error = refusal(json.dumps({"Statement": [value]}))

    assert error is None or error.reason is Reason.MALFORMED_POLICY


_OPERATORS = [
    "StringEquals",
    "ForAllValues:StringLike",
    "NumericLessThan",
    "Null",
    "ArnLike",
    "IpAddress",
    "x",
]
_KEYS = ["kms:ViaService", "aws:SourceIp", "aws:EpochTime", "kms:GrantOperations", "aws:PrincipalArn", "x"]


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(_OPERATORS), st.dictionaries(st.sampled_from(_KEYS), _JSON) | _JSON))
def test_any_condition_is_taken_or_refused_with_its_place(block: dict[str, object]) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*", "Condition": block}
    error = refusal(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    assert error is None or (
        error.reason is Reason.MALFORMED_POLICY and str(error.field).startswith("policy")
    )


@given(st.text(alphabet="${}aws:PrincipalTag/x, '*?", max_size=30))
def test_any_text_with_variables_is_taken_or_refused(text: str) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*"}
    statement["Condition"] = {"StringLike": {"kms:ViaService": text}}  # type: ignore[assignment]
    error = refusal(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    assert error is None or error.reason is Reason.MALFORMED_POLICY


def _listed(values: list[str]) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3) | st.sampled_from(values)


_PRINCIPALS = st.just("*") | _listed([*_PEOPLE, "*", "111122223333"]).map(lambda names: {"AWS": names})


@st.composite
def _statements(draw: st.DrawFn) -> dict[str, Any]:
    who, what = (
        draw(st.sampled_from(["Principal", "NotPrincipal"])),
        draw(st.sampled_from(["Action", "NotAction"])),
    )
    return {
        "Effect": draw(st.sampled_from(["Allow", "Deny"])),
        who: draw(_PRINCIPALS),
        what: draw(_listed(_PATTERNS)),
    }


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _names(value: Any, who: str, *, account: bool) -> bool:
    """Whether a principal is named, where `account` by its account alone."""
    names = ["*"] if value == "*" else _list(value["AWS"])
    root = who.rpartition(":")[0] + ":root"
    roots = [who, root] if account else [who]
    return any(n == "*" or (f"arn:aws:iam::{n}:root" if n.isdigit() else n) in roots for n in names)


def _speaks(s: dict[str, Any], who: str) -> bool:
    """An account in a Deny is everybody in it; in NotPrincipal it leaves out as few as it can."""
    denies = s["Effect"] == "Deny"
    if "Principal" in s:
        return _names(s["Principal"], who, account=denies)
    return not _names(s["NotPrincipal"], who, account=not denies)


def _covers(value: Any, action: str) -> bool:
    for pattern in _list(value):
        regex = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern.lower())
        if re.fullmatch(regex, action.lower()):
            return True
    return False


def oracle(statements: list[dict[str, Any]], who: str, action: str) -> bool:
    """Decide by reading the document word by word, as AWS's page on evaluation logic says."""
    verdict = False
    for s in statements:
        principal = _speaks(s, who)
        covered = _covers(s["Action"], action) if "Action" in s else not _covers(s["NotAction"], action)
        if principal and covered:
            if s["Effect"] == "Deny":
                return False
            verdict = True
    return verdict


@settings(max_examples=200, deadline=None)
@given(st.lists(_statements(), min_size=1, max_size=5))
def test_decisions_agree_with_a_naive_reading(statements: list[dict[str, Any]]) -> None:
    compiled = policy.parse(json.dumps({"Version": "2012-10-17", "Statement": statements}))

    for who in _PEOPLE:
        for action in Action:
            assert decision_alone(compiled, who, action).allowed is oracle(statements, who, action)
