"""A request's context: what each key gives, and that a gap is a refusal and never an absence."""

import dataclasses
from typing import Any

import pytest
from tests.policy_cases import ALICE, HOME, KEY, NIGHT, OPS, PAY, ROOT

from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.policy import keys
from strongroomd.domain.policy.circumstances import Call, Circumstances, Target, to_bring
from strongroomd.domain.records import CustodyMode, KeyRecord, KeyState, Origin

RECORD = KeyRecord(
    key_id=KEY.rpartition("/")[2],
    account=HOME,
    spec=KeySpec.SYMMETRIC_DEFAULT,
    usage=KeyUsage.ENCRYPT_DECRYPT,
    mode=CustodyMode.WRAPPED,
    custody_note="",
    origin=Origin.HSM,
    exportable=False,
    state=KeyState.ENABLED,
    description="",
    created_at=0,
    deletion_at=0,
    current_version=1,
    policy="{}",
    tags=(("Team", "blue"),),
)
CALL = Call(now=1_000.5, source_ip="192.0.2.1")


def here(action: Action = Action.ENCRYPT, who: str = ALICE, **changes: Any) -> Circumstances:
    made = Circumstances(action, policy.subject_named(who), CALL, Target(KEY, RECORD))
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_service_is_one_by_trust_and_not_by_its_name(trusted: bool) -> None:
    named = f"arn:aws:iam::{HOME}:service/backup"

    where = here(who=named, call=dataclasses.replace(CALL, by_service=trusted))

    assert where.get("aws:principalisawsservice") is trusted


def refused(where: Circumstances, name: str) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        where.get(name)
    return caught.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aws:principalarn", ALICE),
        ("aws:principalaccount", HOME),
        ("aws:principaltype", "User"),
        ("aws:principalisawsservice", False),
        ("aws:username", "alice"),
        ("kms:calleraccount", HOME),
        ("kms:viaservice", None),
        ("aws:viaawsservice", False),
        ("aws:sourceip", "192.0.2.1"),
        ("aws:sourcearn", None),
        ("aws:sourceaccount", None),
        ("aws:securetransport", True),
        ("aws:currenttime", 1_000.5),
        ("aws:epochtime", 1_000.5),
        ("aws:resourceaccount", HOME),
        ("aws:requestedregion", "eu-test-1"),
        ("aws:resourcetag/team", "blue"),
        ("aws:resourcetag/cost", None),
        ("aws:principaltag/team", None),
        ("aws:requesttag/team", None),
        ("aws:tagkeys", None),
        ("kms:keyspec", "SYMMETRIC_DEFAULT"),
        ("kms:keyusage", "ENCRYPT_DECRYPT"),
        ("kms:keyorigin", "AWS_KMS"),
        ("kms:multiregion", False),
        ("kms:multiregionkeytype", None),
        ("kms:grantoperations", None),
        ("kms:signingalgorithm", None),
    ],
)
def test_what_follows_from_call_and_key(name: str, value: Any) -> None:
    assert here().get(name) == value


def test_every_key_of_the_table_has_an_answer_or_a_refusal() -> None:
    for name in (*keys.CONDITION_KEYS, *(f"{prefix}x" for prefix in keys.PREFIXES)):
        for action in Action:
            try:
                here(action).get(name)
            except StrongroomError as error:
                assert error.reason is Reason.ACCESS_DENIED  # noqa: PT017


@pytest.mark.parametrize(
    ("who", "kind", "name", "arn"),
    [
        (ROOT, "Account", None, ROOT),
        (OPS, "AssumedRole", None, OPS),
        (NIGHT, "AssumedRole", None, OPS),
        (PAY, "Service", None, PAY),
        (f"arn:aws:iam::{HOME}:user/team/bob", "User", "bob", f"arn:aws:iam::{HOME}:user/team/bob"),
    ],
)
def test_kinds_of_principal(who: str, kind: str, name: str | None, arn: str) -> None:
    where = here(who=who)

    found = [where.get(key) for key in ("aws:principaltype", "aws:username", "aws:principalarn")]
    assert found == [kind, name, arn]


def test_a_service_speaks_for_another_account() -> None:
    where = here(call=dataclasses.replace(CALL, via_service="s3", caller_account="444455556666"))

    found = [where.get(key) for key in ("kms:viaservice", "aws:viaawsservice", "kms:calleraccount")]
    assert found == ["s3", True, "444455556666"]


@pytest.mark.parametrize(
    "name",
    [
        "kms:encryptionalgorithm",
        "kms:requestalias",
        "kms:resourcealiases",
        "kms:encryptioncontextkeys",
        "kms:encryptioncontext:tenant",
    ],
)
def test_what_nobody_brought_refuses_the_request(name: str) -> None:
    error = refused(here(), name)

    assert error.reason is Reason.ACCESS_DENIED
    assert error.detail is not None
    assert error.message == StrongroomError(Reason.ACCESS_DENIED).message


@pytest.mark.parametrize("name", ["kms:keyspec", "aws:requesttag/x", "aws:tagkeys"])
def test_creating_a_key_must_bring_what_it_will_be(name: str) -> None:
    refused(here(Action.CREATE_KEY, target=None), name)


def test_without_a_key_there_is_nothing_of_a_key() -> None:
    where = here(Action.LIST_KEYS, target=None)

    assert [where.get(name) for name in ("kms:keyspec", "aws:resourcetag/x", "kms:multiregion")] == [None] * 3


def test_what_is_brought_is_given_even_if_it_is_nothing() -> None:
    facts = {"kms:encryptionalgorithm": "SYMMETRIC_DEFAULT", "kms:requestalias": None}
    where = here(brought=facts, encryption_context={"Tenant": "7"}, target=Target(KEY, RECORD, ("alias/a",)))

    assert where.get("kms:encryptionalgorithm") == "SYMMETRIC_DEFAULT"
    assert where.get("kms:requestalias") is None
    assert where.get("kms:encryptioncontext:tenant") == "7"
    assert where.get("kms:encryptioncontext:other") is None
    assert where.get("kms:encryptioncontextkeys") == ("Tenant",)
    assert where.get("kms:resourcealiases") == ("alias/a",)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Action.ENCRYPT, {"kms:encryptionalgorithm", "kms:requestalias"}),
        (Action.RE_ENCRYPT_TO, {"kms:encryptionalgorithm", "kms:requestalias", "kms:reencryptonsamekey"}),
        (Action.SIGN, {"kms:signingalgorithm", "kms:messagetype", "kms:requestalias"}),
        (Action.GET_PUBLIC_KEY, {"kms:requestalias"}),
        (Action.DISABLE_KEY, set()),
        (Action.LIST_KEYS, set()),
    ],
)
def test_what_a_use_case_must_bring(action: Action, expected: set[str]) -> None:
    assert to_bring(action) == expected


@pytest.mark.parametrize("action", Action)
def test_who_brings_what_it_must_has_no_gap_left(action: Action) -> None:
    where = here(
        action,
        brought=dict.fromkeys(to_bring(action)),
        encryption_context={},
        request_tags={},
        target=Target(KEY, RECORD, ()),
    )

    for name in (*keys.CONDITION_KEYS, *(f"{prefix}x" for prefix in keys.PREFIXES)):
        where.get(name)


def test_tags_of_a_request_are_brought() -> None:
    where = here(Action.TAG_KEY, request_tags={"Team": "blue"})

    assert where.get("aws:requesttag/team") == "blue"
    assert where.get("aws:tagkeys") == ("Team",)
    assert where.get("aws:requesttag/cost") is None


def test_two_names_that_differ_in_case_refuse_only_who_asks_for_them() -> None:
    where = here(encryption_context={"Tenant": "7", "tenant": "8", "x": "y"})

    assert where.get("kms:encryptioncontext:x") == "y"
    refused(where, "kms:encryptioncontext:tenant")


def test_a_service_calls_for_a_resource() -> None:
    arn, account = "arn:aws:s3:::b", "444455556666"
    where = here(call=dataclasses.replace(CALL, source_arn=arn, source_account=account))

    assert (where.get("aws:sourcearn"), where.get("aws:sourceaccount")) == (arn, account)


def test_a_peer_without_an_address_has_none() -> None:
    assert here(call=dataclasses.replace(CALL, source_ip="")).get("aws:sourceip") is None


def test_a_key_of_several_regions_is_told_by_its_id() -> None:
    record = dataclasses.replace(RECORD, key_id="mrk-" + "0" * 32)

    assert here(target=Target(KEY, record)).get("kms:multiregion") is True


def test_what_an_action_does_not_have_is_not_there_whatever_is_brought() -> None:
    where = here(Action.SIGN, encryption_context={"tenant": "7"}, request_tags={"team": "blue"})

    assert where.get("kms:encryptioncontext:tenant") is None
    assert where.get("aws:requesttag/team") is None
