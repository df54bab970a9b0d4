"""A key store's policy: every member and every refusal, and that a deny wins whatever else is said."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_POLICY, MAX_POLICY_STATEMENTS
from strongroomd.domain.xks import policy
from strongroomd.domain.xks.metadata import RequestMetadata
from strongroomd.domain.xks.policy import CONDITION_KEYS, Asked, Operation

ROLE = "arn:aws:iam::444455556666:role/app"
KMS_KEY = "arn:aws:kms:eu-west-1:777788889999:key/0d990263-018e-4e65-a703-eff731de951e"
METADATA = RequestMetadata("id", "GenerateDataKey", ROLE, KMS_KEY, "vpc-1", "vpce-1", "ebs")
STORE = "xks-0123456789abcdef"


def asked(operation: Operation = Operation.ENCRYPT, key: str = "blue", **said: str) -> Asked:
    """A request of KMS; what is said replaces what it says otherwise."""
    metadata = {name: getattr(METADATA, name) for name in METADATA.__slots__}
    return Asked(operation, STORE, key, "us-east-1", RequestMetadata(**(metadata | said)))


def document(*statements: dict[str, Any], **members: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **members})


def allow(**members: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "xks:*", **members}


def deny(**members: object) -> dict[str, Any]:
    return {**allow(**members), "Effect": "Deny"}


def allows(text: str, request: Asked | None = None) -> bool:
    return policy.parse(text).decide(request or asked()).allowed


def test_without_a_policy_the_signature_is_enough() -> None:
    verdict = policy.parse("").decide(asked())

    assert (verdict.allowed, verdict.ground) == (True, "the signature is enough")


def test_what_no_statement_allows_is_denied_and_the_ground_is_told() -> None:
    text = document(allow(Sid="readers", Action="xks:Decrypt"), deny(Resource="red"))
    compiled = policy.parse(text)

    assert compiled.decide(asked()) == policy.Verdict(False, "no statement allows it")
    assert compiled.decide(asked(Operation.DECRYPT)) == policy.Verdict(True, "readers")
    assert compiled.decide(asked(Operation.DECRYPT, "red")) == policy.Verdict(False, "Statement[1]")


@pytest.mark.parametrize(
    ("action", "covered"),
    [
        ("*", set(Operation)),
        ("xks:*", set(Operation)),
        ("xks:Encrypt", {Operation.ENCRYPT}),
        ("XKS:encrypt", {Operation.ENCRYPT}),
        ("xks:*crypt", {Operation.ENCRYPT, Operation.DECRYPT}),
        (["xks:Decrypt", "xks:Get*"], {Operation.DECRYPT, Operation.GET_KEY_METADATA}),
    ],
)
def test_an_action_covers_what_its_pattern_says(action: Any, covered: set[Operation]) -> None:
    text = document(allow(Action=action))

    assert {each for each in Operation if allows(text, asked(each))} == covered


def test_a_resource_is_an_external_key_id_case_and_all() -> None:
    text = document(allow(Resource=["blue-*", "red"]))

    names = ["blue-1", "red", "Red", "blue", "redder"]

    assert [name for name in names if allows(text, asked(key=name))] == ["blue-1", "red"]


@pytest.mark.parametrize(
    ("operator", "key", "value", "said"),
    [
        ("StringLike", "aws:PrincipalArn", "arn:aws:iam::*:role/app", {"principal_arn": "AWS Internal"}),
        (
            "ArnLike",
            "aws:PrincipalArn",
            "arn:aws:iam::444455556666:role/*",
            {"principal_arn": "ebs.amazonaws.com"},
        ),
        ("StringEquals", "aws:PrincipalAccount", "444455556666", {"principal_arn": "AWS Internal"}),
        ("StringEquals", "aws:SourceVpc", "vpc-1", {"source_vpc": ""}),
        ("StringEquals", "aws:SourceVpce", "vpce-1", {"source_vpce": "vpce-2"}),
        ("StringEquals", "kms:ViaService", "ebs", {"via_service": "s3"}),
        ("StringEquals", "xks:KmsKeyArn", KMS_KEY, {"kms_key_arn": KMS_KEY + "0"}),
        ("StringEquals", "xks:KmsKeyAccount", "777788889999", {"kms_key_arn": ""}),
        ("StringEquals", "xks:KmsKeyRegion", "eu-west-1", {"kms_key_arn": "eu-west-1"}),
        ("StringEquals", "xks:KmsOperation", "GenerateDataKey", {"kms_operation": "generatedatakey"}),
        ("StringNotEquals", "xks:KmsOperation", "ReEncrypt", {"kms_operation": "ReEncrypt"}),
    ],
)
def test_a_condition_on_each_member_holds_and_does_not(
    operator: str, key: str, value: str, said: dict[str, Any]
) -> None:
    text = document(allow(Condition={operator: {key: value}}))

    assert allows(text)
    assert not allows(text, asked(**said))


def test_conditions_on_region_store_and_key() -> None:
    def of(key: str, value: str) -> str:
        return document(allow(Condition={"StringEquals": {key: value}}))

    values = {"aws:RequestedRegion": "us-east-1", "xks:ExternalKeyId": "blue", "xks:KeyStoreId": STORE}

    assert {key: allows(of(key, value)) for key, value in values.items()} == dict.fromkeys(values, True)
    assert {key: allows(of(key, value + "x")) for key, value in values.items()} == dict.fromkeys(
        values, False
    )


def test_every_condition_key_has_a_value_in_a_full_request() -> None:
    full = asked()

    assert [name for name in CONDITION_KEYS if full.get(name) is None] == []
    assert asked().get("aws:sourceip") is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[]", "policy"),
        ("{", "policy"),
        ("{}", "policy.Statement"),
        (document(), "policy.Statement"),
        (document(*[allow()] * (MAX_POLICY_STATEMENTS + 1)), "policy.Statement"),
        (document(allow(), Version="2026-01-01"), "policy.Version"),
        (document(allow(), Versoin=1), "policy"),
        (document(allow(), Id=5), "policy.Id"),
        ('{"Statement": ["x"]}', "policy.Statement[0]"),
        (document(allow(Principal="*")), "policy.Statement[0]"),
        (document(allow(NotAction="xks:*")), "policy.Statement[0]"),
        (document(allow(NotResource="x")), "policy.Statement[0]"),
        (document(allow(Effect="allow")), "policy.Statement[0].Effect"),
        (document({"Action": "xks:*"}), "policy.Statement[0].Effect"),
        (document({"Effect": "Allow"}), "policy.Statement[0].Action"),
        (document(allow(Action=[])), "policy.Statement[0].Action"),
        (document(allow(Action="kms:Encrypt")), "policy.Statement[0].Action"),
        (document(allow(Action=["xks:Encrypt", "xks:Health"])), "policy.Statement[0].Action"),
        (document(allow(Action="")), "policy.Statement[0].Action"),
        (document(allow(Action="x" * 129)), "policy.Statement[0].Action"),
        (document(allow(), allow(Resource=[])), "policy.Statement[1].Resource"),
        (document(allow(Resource=5)), "policy.Statement[0].Resource"),
        (document(allow(Resource="x" * 129)), "policy.Statement[0].Resource"),
        (document(allow(Sid=5)), "policy.Statement[0].Sid"),
        (document(allow(Condition=[])), "policy.Statement[0].Condition"),
        (document(allow(Condition={"StringIs": {"kms:ViaService": "x"}})), "policy.Statement[0].Condition"),
        (
            document(allow(Condition={"StringEquals": {"aws:SourceIp": "x"}})),
            "policy.Statement[0].Condition",
        ),
        (
            document(allow(Condition={"StringEquals": {"kms:KeySpec": "x"}})),
            "policy.Statement[0].Condition",
        ),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        policy.parse(text)

    assert caught.value.reason is Reason.MALFORMED_POLICY
    assert (caught.value.field or "").startswith(place)


def test_a_policy_has_a_size() -> None:
    with pytest.raises(StrongroomError) as caught:
        policy.parse(document(allow(Sid="x")) + " " * MAX_POLICY)

    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_TOO_LARGE, "policy")


def test_the_example_of_the_manual_does_what_it_says() -> None:
    manual = (Path(__file__).parents[4] / "protos" / "README.md").read_text(encoding="utf-8")
    _, _, behind = manual.partition("<!-- a test parses this -->\n```json\n")
    text, fence, _ = behind.partition("```")
    assert fence
    compiled = policy.parse(text)
    said: dict[str, Any] = {
        "principal_arn": "arn:aws:iam::444455556666:role/payroll-run",
        "kms_key_arn": KMS_KEY.replace("777788889999", "444455556666"),
    }

    def decide(region: str, **more: Any) -> policy.Verdict:
        return compiled.decide(dataclasses.replace(asked(key="payroll-1", **(said | more)), region=region))

    assert decide("eu-central-1") == policy.Verdict(True, "payroll by its roles")
    assert decide("us-east-1") == policy.Verdict(False, "never from another region")
    assert not decide("eu-central-1", principal_arn=ROLE).allowed


_KEYS = st.sampled_from(["blue", "red", "bl*", "*"])
_CONDITIONS = st.sampled_from(
    [{}, {"Condition": {"StringEquals": {"kms:ViaService": "ebs"}}},
     {"Condition": {"StringLike": {"aws:PrincipalArn": "*:role/other"}}}]
)  # fmt: skip
_STATEMENTS = st.builds(
    lambda effect, action, resource, condition: {
        "Effect": effect, "Action": action, "Resource": resource, **condition
    },
    st.sampled_from(["Allow", "Deny"]),
    st.sampled_from(["xks:*", *Operation]),
    _KEYS,
    _CONDITIONS,
)  # fmt: skip


@given(
    st.lists(_STATEMENTS, min_size=1, max_size=4),
    st.sampled_from(Operation),
    st.sampled_from(["blue", "red"]),
)
def test_a_deny_that_speaks_wins_and_nothing_is_allowed_without_an_allow(
    statements: list[dict[str, Any]], operation: Operation, key: str
) -> None:
    request = asked(operation, key)
    decided = allows(document(*statements), request)

    def speaks(statement: dict[str, Any]) -> bool:
        return allows(document({**statement, "Effect": "Allow"}), request)

    effects = {statement["Effect"] for statement in statements if speaks(statement)}
    assert decided == (effects == {"Allow"})


@given(st.text(max_size=200) | st.binary(max_size=50).map(lambda raw: raw.decode("latin1")))
def test_any_text_is_a_policy_or_a_refusal(text: str) -> None:
    try:
        policy.parse(text)
    except StrongroomError as error:
        assert error.reason in {Reason.MALFORMED_POLICY, Reason.FIELD_TOO_LARGE}  # noqa: PT017


def test_variables_are_of_the_condition_keys_that_a_key_stores_policy_has() -> None:
    own = document(allow(Condition={"StringEquals": {"xks:KmsKeyAccount": "${aws:PrincipalAccount}"}}))
    other = document(allow(Condition={"StringNotEquals": {"aws:SourceVpc": "${xks:ExternalKeyId}"}}))

    assert [allows(text) for text in (own, other)] == [False, True]
    assert allows(own, asked(kms_key_arn=KMS_KEY.replace("777788889999", "444455556666")))
    assert not allows(other, asked(source_vpc="blue"))


@pytest.mark.parametrize("name", ["aws:SourceAccount", "aws:PrincipalTag/team", "kms:CallerAccount"])
def test_a_variable_that_no_request_to_a_key_store_has_is_refused(name: str) -> None:
    """Else a deny that has one would deny nothing, and `StringNotEquals` allow everything."""
    text = document(allow(Condition={"StringNotEquals": {"aws:PrincipalAccount": f"${{{name}}}"}}))

    with pytest.raises(StrongroomError) as caught:
        policy.parse(text)

    assert caught.value.reason is Reason.MALFORMED_POLICY
    assert caught.value.field == "policy.Statement[0].Condition.StringNotEquals.aws:PrincipalAccount"
