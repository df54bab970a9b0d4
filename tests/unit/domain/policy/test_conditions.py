"""Conditions: what is no condition is refused with its place, and the tables have no holes."""

import json
import time
from typing import Any

import pytest
from tests.policy_cases import ALICE, TESTS, allow, document

from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.policy import conditions, keys, operators
from strongroomd.domain.policy.keys import Kind
from strongroomd.domain.policy.operators import OPERATORS

VIA = {"kms:ViaService": "s3"}
PLACE = "policy.Statement[0].Condition"


def refusal(condition: Any, version: str = "2012-10-17") -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        policy.parse(json.dumps(document(allow(ALICE, Condition=condition), version=version)))
    return caught.value


REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ("x", ""),
    "empty": ({}, ""),
    "a list": ([{"StringEquals": VIA}], ""),
    "an unknown operator": ({"StringMatches": VIA}, ""),
    "an operator in another case": ({"stringequals": VIA}, ""),
    "an unknown prefix": ({"ForSomeValues:StringEquals": VIA}, ""),
    "two suffixes": ({"StringEqualsIfExistsIfExists": VIA}, ""),
    "Null that may be missing": ({"NullIfExists": {"kms:ViaService": "true"}}, ""),
    "Null of all values": ({"ForAllValues:Null": {"kms:GrantOperations": "true"}}, ""),
    "a prefix alone": ({"ForAnyValue:": VIA}, ""),
    "a suffix alone": ({"IfExists": VIA}, ""),
    "an operator of nothing": ({"StringEquals": {}}, ".StringEquals"),
    "an operator of a text": ({"StringEquals": "x"}, ".StringEquals"),
    "an unknown key": ({"StringEquals": {"kms:Fly": "x"}}, ".StringEquals"),
    "a key without its service": ({"StringEquals": {"ViaService": "x"}}, ".StringEquals"),
    "a prefix without a name": ({"StringEquals": {"aws:PrincipalTag/": "x"}}, ".StringEquals"),
    "a context without a key": ({"StringEquals": {"kms:EncryptionContext:": "x"}}, ".StringEquals"),
    "an endpoint": ({"StringEquals": {"aws:SourceVpce": "x"}}, ".StringEquals.aws:sourcevpce"),
    "a deprecated key": (
        {"StringEquals": {"kms:CustomerMasterKeySpec": "x"}},
        ".StringEquals.kms:customermasterkeyspec",
    ),
    "an enclave": (
        {"StringEquals": {"kms:RecipientAttestation:PCR0": "x"}},
        ".StringEquals.kms:recipientattestation:",
    ),
    "no value": ({"StringEquals": {"kms:ViaService": []}}, ".StringEquals.kms:ViaService"),
    "null": ({"StringEquals": {"kms:ViaService": None}}, ".StringEquals.kms:ViaService"),
    "a text and null": ({"StringEquals": {"kms:ViaService": ["x", None]}}, ".StringEquals.kms:ViaService"),
    "an object": ({"StringEquals": {"kms:ViaService": {}}}, ".StringEquals.kms:ViaService"),
    "a list in a list": ({"StringEquals": {"kms:ViaService": [["x"]]}}, ".StringEquals.kms:ViaService"),
    "a huge float": ({"NumericEquals": {"kms:RotationPeriodInDays": 1e300}}, ".NumericEquals.kms:RotationPeriodInDays"),
    "text as number": ({"NumericEquals": {"aws:EpochTime": "x"}}, ".NumericEquals.aws:EpochTime"),
    "an exponent": ({"NumericEquals": {"aws:EpochTime": "1e3"}}, ".NumericEquals.aws:EpochTime"),
    "text as date": ({"DateLessThan": {"aws:CurrentTime": "noon"}}, ".DateLessThan.aws:CurrentTime"),
    "no such day": ({"DateLessThan": {"aws:CurrentTime": "2026-02-30"}}, ".DateLessThan.aws:CurrentTime"),
    "a time without its zone": (
        {"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00"}},
        ".DateLessThan.aws:CurrentTime",
    ),
    "a week": ({"DateLessThan": {"aws:CurrentTime": "2026-W01-1"}}, ".DateLessThan.aws:CurrentTime"),
    "text as truth": ({"Bool": {"aws:SecureTransport": "yes"}}, ".Bool.aws:SecureTransport"),
    "text as presence": ({"Null": {"kms:ViaService": "yes"}}, ".Null.kms:ViaService"),
    "one ARN and none": ({"ArnLike": {"aws:SourceArn": ["arn:aws:s3:::b", "b"]}}, ".ArnLike.aws:SourceArn"),
    "no ASCII as base64": ({"BinaryEquals": {"aws:PrincipalTag/x": "é"}}, ".BinaryEquals.aws:PrincipalTag/"),
    "no base64": ({"BinaryEquals": {"aws:PrincipalTag/x": "?"}}, ".BinaryEquals.aws:PrincipalTag/"),
    "no address": ({"IpAddress": {"aws:SourceIp": "localhost"}}, ".IpAddress.aws:SourceIp"),
    "host bits": ({"IpAddress": {"aws:SourceIp": "10.0.0.1/8"}}, ".IpAddress.aws:SourceIp"),
    "a number as address": ({"IpAddress": {"aws:SourceIp": "10"}}, ".IpAddress.aws:SourceIp"),
    "no ARN": ({"ArnLike": {"aws:SourceArn": "*"}}, ".ArnLike.aws:SourceArn"),
    "five parts": ({"ArnLike": {"aws:SourceArn": "arn:aws:s3::b"}}, ".ArnLike.aws:SourceArn"),
    "no arn in front": ({"ArnLike": {"aws:SourceArn": "*:a:b:c:d:e"}}, ".ArnLike.aws:SourceArn"),
    "a number's operator on a text": ({"NumericEquals": {"kms:ViaService": "1"}}, ".NumericEquals.kms:ViaService"),
    "a text's operator on a number": (
        {"StringEquals": {"kms:RotationPeriodInDays": "1"}},
        ".StringEquals.kms:RotationPeriodInDays",
    ),
    "a text's operator on an address": ({"StringLike": {"aws:SourceIp": "10.*"}}, ".StringLike.aws:SourceIp"),
    "a text's operator on a truth": ({"StringEquals": {"aws:SecureTransport": "true"}}, ".StringEquals.aws:SecureTransport"),
    "a truth's operator on a text": ({"Bool": {"kms:ViaService": "true"}}, ".Bool.kms:ViaService"),
    "an ARN's operator on a word": ({"ArnLike": {"kms:KeySpec": "arn:a:b:c:d:e"}}, ".ArnLike.kms:KeySpec"),
    "a date's operator on a number": (
        {"DateEquals": {"kms:RotationPeriodInDays": "1"}},
        ".DateEquals.kms:RotationPeriodInDays",
    ),
    "an address's operator on a text": ({"IpAddress": {"kms:ViaService": "10.0.0.0/8"}}, ".IpAddress.kms:ViaService"),
    "bytes of a number": ({"BinaryEquals": {"aws:EpochTime": "Ymx1ZQ=="}}, ".BinaryEquals.aws:EpochTime"),
    "one operator on a list": ({"StringEquals": {"kms:GrantOperations": "x"}}, ".StringEquals.kms:GrantOperations"),
    "an unknown variable": ({"StringEquals": {"kms:ViaService": "${aws:Fly}"}}, ".StringEquals.kms:ViaService"),
    "a variable of a list": ({"StringEquals": {"kms:ViaService": "${aws:TagKeys}"}}, ".StringEquals.kms:ViaService"),
    "a variable of a date": ({"StringEquals": {"kms:ViaService": "${aws:CurrentTime}"}}, ".StringEquals.kms:ViaService"),
    "a variable of an endpoint": ({"StringEquals": {"kms:ViaService": "${aws:SourceVpc}"}}, ".StringEquals.kms:ViaService"),
    "a variable without end": ({"StringEquals": {"kms:ViaService": "${aws:PrincipalArn"}}, ".StringEquals.kms:ViaService"),
    "an empty variable": ({"StringEquals": {"kms:ViaService": "${}"}}, ".StringEquals.kms:ViaService"),
    "a default without quotes": (
        {"StringEquals": {"kms:ViaService": "${aws:PrincipalTag/x, y}"}},
        ".StringEquals.kms:ViaService",
    ),
    "a variable as number": ({"NumericEquals": {"aws:EpochTime": "${aws:EpochTime}"}}, ".NumericEquals.aws:EpochTime"),
    "a variable as address": ({"IpAddress": {"aws:SourceIp": "${aws:SourceIp}"}}, ".IpAddress.aws:SourceIp"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_condition_is_refused_with_its_place(name: str) -> None:
    condition, place = REFUSED[name]

    error = refusal(condition)

    assert (error.reason, error.field) == (Reason.MALFORMED_POLICY, PLACE + place)


def test_a_refusal_does_not_quote_key_nor_value() -> None:
    conditions_: tuple[dict[str, Any], ...] = (
        {"StringEquals": {"canary:canary": "x"}},
        {"CanaryEquals": {"kms:ViaService": "x"}},
        {"StringEquals": {"kms:EncryptionContext:canary": []}},
        {"NumericEquals": {"aws:EpochTime": "canary"}},
        {"StringEquals": {"kms:ViaService": "${canary}"}},
    )

    for condition in conditions_:
        assert "canary" not in str(refusal(condition)).lower()


def test_the_language_of_2008_has_no_variables() -> None:
    error = refusal({"StringEquals": {"kms:ViaService": "${aws:PrincipalArn}"}}, version="2008-10-17")

    assert error.field == f"{PLACE}.StringEquals.kms:ViaService"


def test_a_meaningless_key_is_refused_with_what_to_use_instead() -> None:
    assert "use aws:SourceIp" in refusal({"StringEquals": {"aws:SourceVpce": "x"}}).message


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_has_an_answer_of_both_kinds_written_by_hand(name: str) -> None:
    answers = {row[4] for row in TESTS if row[0] == name}

    assert answers == {True, False}


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_of_key_is_compared_by_some_operator_and_held_by_some_key(kind: Kind) -> None:
    assert any(kind in operator.fits for operator in OPERATORS.values())
    assert any(key.kind is kind for key in (*keys.CONDITION_KEYS.values(), *keys.PREFIXES.values()))


def test_negated_operators_are_the_positive_ones_turned_around() -> None:
    positive = {name.replace("Not", ""): operator for name, operator in OPERATORS.items() if operator.negated}

    for name, operator in positive.items():
        assert not OPERATORS[name].negated
        assert OPERATORS[name].build is operator.build or name.startswith(("Numeric", "Date"))


def test_a_value_that_is_no_number_is_covered_by_none() -> None:
    built = operators.OPERATORS["NumericLessThan"].build(["5"], "2012-10-17")

    assert not built("x", {})
    assert built("4", {})


def test_a_value_that_is_no_address_is_in_no_network() -> None:
    assert not operators.OPERATORS["IpAddress"].build(["0.0.0.0/0"], "2012-10-17")("unix", {})


def test_the_place_of_a_test_is_what_explanations_say() -> None:
    found = conditions.parse({"StringEquals": VIA}, "policy.Statement[3].Condition", "2012-10-17")

    assert [test.place for test in found] == ["Condition.StringEquals.kms:ViaService"]


LISTED = (
    *("BypassPolicyLockoutSafetyCheck", "CallerAccount", "DataKeyPairSpec", "EncryptionAlgorithm"),
    *("EncryptionContextKeys", "EncryptionContext:k", "ExpirationModel", "GrantConstraintType", "ValidTo"),
    *("GrantIsForAWSResource", "GrantOperations", "GranteePrincipal", "KeyOrigin", "KeySpec", "KeyUsage"),
    *("MacAlgorithm", "MessageType", "MultiRegion", "MultiRegionKeyType", "PrimaryRegion", "ViaService"),
    *("ReEncryptOnSameKey", "RequestAlias", "ResourceAliases", "ReplicaRegion", "RetiringPrincipal"),
    *("SigningAlgorithm", "WrappingAlgorithm", "WrappingKeySpec", "KeyAgreementAlgorithm", "PolicyName"),
    *("RotationPeriodInDays", "ScheduleKeyDeletionPendingWindowInDays"),
)
GLOBAL = (
    *("SourceArn", "SourceAccount", "SourceIp", "PrincipalArn", "PrincipalAccount", "PrincipalType"),
    *("PrincipalTag/x", "ResourceTag/x", "RequestTag/x", "TagKeys", "CurrentTime", "EpochTime", "username"),
    *("SecureTransport", "ResourceAccount", "ViaAWSService"),
)


@pytest.mark.parametrize("name", [f"kms:{name}" for name in LISTED] + [f"aws:{name}" for name in GLOBAL])
def test_each_condition_key_of_aws_that_has_a_meaning_is_known(name: str) -> None:
    folded, row = keys.find(name.upper())

    assert folded == name.lower()
    assert any(row.exists_for(action) for action in Action) or row.actions


def test_no_key_is_both_known_and_meaningless() -> None:
    assert keys.MEANINGLESS.keys().isdisjoint(keys.CONDITION_KEYS)


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("kms:SigningAlgorithm", Action.SIGN, Action.ENCRYPT),
        ("kms:EncryptionContext:k", Action.DECRYPT, Action.SIGN),
        ("kms:GrantOperations", Action.CREATE_GRANT, Action.RETIRE_GRANT),
        ("kms:KeySpec", Action.CREATE_KEY, Action.LIST_KEYS),
        ("kms:ResourceAliases", Action.ENCRYPT, Action.CREATE_KEY),
        ("kms:MacAlgorithm", Action.VERIFY_MAC, Action.VERIFY),
        ("aws:TagKeys", Action.UNTAG_KEY, Action.ENCRYPT),
        ("aws:RequestTag/x", Action.TAG_KEY, Action.UNTAG_KEY),
    ],
)
def test_keys_exist_for_their_actions_only(name: str, has: Action, lacks: Action) -> None:
    _, row = keys.find(name)

    assert row.exists_for(has)
    assert not row.exists_for(lacks)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("*" + "a" * 12_000 + "b*", "a" * 8_000),
        ("*" + "?a" * 3_000 + "b*", "a" * 8_000),
        ("*a" * 8_000 + "b", "a" * 8_000),
        ("*?" * 8_000 + "b", "a" * 8_000),
        ("${aws:PrincipalTag/team}*" * 600, "a" * 8_000),
    ],
)
def test_no_pattern_is_expensive_on_any_value(pattern: str, value: str) -> None:
    """A tenant writes both the policy of its key and the encryption context that is held against it."""
    context = {"aws:principaltag/team": "a" * 256}
    compare = OPERATORS["StringLike"].build([pattern], "2012-10-17")
    start = time.process_time()

    assert not compare(value, context)

    assert time.process_time() - start < 0.2


@pytest.mark.parametrize("value", [10**16, 1e16, 1e-5, -1e-5])
def test_a_number_of_the_request_is_compared_whatever_its_size(value: float) -> None:
    assert OPERATORS["NumericLessThan"].build(["2"], "2012-10-17")(value, {}) is (value < 2)
    assert OPERATORS["NumericGreaterThan"].build(["2"], "2012-10-17")(value, {}) is (value > 2)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Lima"])
def test_a_day_of_a_policy_begins_in_utc_wherever_the_daemon_runs(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert operators.date("1970-01-02") == 86_400.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_the_calendars_ends_are_dates(text: str) -> None:
    assert abs(operators.date(text)) > 10**10
