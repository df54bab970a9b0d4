"""Policies checked and tried out on a real daemon, and that a trial says what the request then meets."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from tests.harness import ADMIN, OTHER, SERVICE, allow, entitled, fresh_id, refused, wait_until

from strongroom import Client
from strongroom.errors import AccessDenied, InvalidRequest

EVERYONE = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Open", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"}
        ],
    }
)
CONDITION = {"StringEquals": {"kms:EncryptionContext:tenant": "7"}}


def conditional(principal: str, condition: Mapping[str, object]) -> str:
    """Write a key policy: everything for the administrator, and Encrypt under a condition."""
    document = json.loads(allow(principal, "kms:Encrypt"))
    document["Statement"][-1] |= {"Sid": "Use", "Condition": condition}
    return json.dumps(document)


@contextmanager
def simulating(admin: Client, service: Client) -> Iterator[None]:
    """Let the service simulate; every worker knows within a second."""

    def may() -> bool:
        try:
            return not service.simulate_policy("kms:CreateKey").allowed
        except AccessDenied:
            return False

    with entitled(admin, SERVICE, "strongroom:SimulatePolicy"):
        wait_until(lambda: all(may() for _ in range(8)), 10.0)
        yield


def test_a_check_lists_what_is_suspicious_to_every_caller(service: Client) -> None:
    found = service.check_policy(EVERYONE)

    told = [(each.severity, each.code, each.place) for each in found]
    assert ("error", "open-to-everyone", "Statement[0]") in told
    assert not any(each.severity == "error" for each in service.check_policy(allow(SERVICE, "kms:Encrypt")))


@pytest.mark.parametrize("policy", ["", "{", "{}", '{"Version": "2012-10-17", "Statement": [{}]}'])
def test_a_check_refuses_what_putting_would_refuse(admin: Client, policy: str) -> None:
    with refused("MALFORMED_POLICY"):
        admin.check_policy(policy)


def test_a_policy_is_checked_for_what_it_is_to_be_attached_to(admin: Client) -> None:
    without_principal = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"}],
        }
    )

    admin.check_policy(without_principal, kind="IDENTITY")
    with refused("MALFORMED_POLICY"):
        admin.check_policy(without_principal)


def test_a_simulation_says_what_the_request_then_meets(admin: Client, service: Client) -> None:
    key = admin.create_key(policy=conditional(SERVICE, CONDITION)).key_id

    for context in ({}, {"tenant": "7"}, {"tenant": "8"}):
        told = admin.simulate_policy("kms:Encrypt", principal=SERVICE, key=key, context=context)
        assert told.allowed == (context == {"tenant": "7"})
        if told.allowed:
            service.encrypt(key, b"x", context=context)
        else:
            with refused("ACCESS_DENIED"):
                service.encrypt(key, b"x", context=context)


def test_a_simulation_names_the_condition_that_failed(admin: Client) -> None:
    policy = conditional(SERVICE, CONDITION)

    told = admin.simulate_policy("kms:Encrypt", principal=SERVICE, policy=policy, context={"tenant": "8"})

    assert not told.allowed
    near = [trace for trace in told.traces if trace.near_miss]
    assert [(trace.statement, trace.failed) for trace in near] == [
        ("Use", ("Condition.StringEquals.kms:EncryptionContext:",))
    ]


def test_a_policy_is_tried_on_a_key_without_being_put(admin: Client) -> None:
    key = admin.create_key().key_id
    before = admin.get_key_policy(key)

    as_it_is = admin.simulate_policy("kms:Sign", principal=SERVICE, key=key)
    told = admin.simulate_policy("kms:Sign", principal=SERVICE, key=key, policy=allow(SERVICE, "kms:Sign"))

    assert not as_it_is.allowed

    assert (told.allowed, told.basis) == (True, "key-policy-allow")
    assert admin.get_key_policy(key) == before


def test_circumstances_are_supposed_and_absent_where_they_are_not(admin: Client) -> None:
    policy = conditional(SERVICE, {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})

    def ask(**circumstances: str) -> bool:
        given = {name.replace("_", ":"): value for name, value in circumstances.items()}
        return admin.simulate_policy(
            "kms:Encrypt", principal=SERVICE, policy=policy, circumstances=given
        ).allowed

    assert ask(aws_SourceIp="192.0.2.17")
    assert not ask(aws_SourceIp="198.51.100.1")
    assert not ask()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aws:NoSuchKey", "s3cret"),
        ("kms:BypassPolicyLockoutSafetyCheck", "s3cret"),
        ("aws:CurrentTime", "s3cret"),
    ],
)
def test_a_circumstance_that_is_none_is_refused_without_its_value(
    admin: Client, name: str, value: str
) -> None:
    with pytest.raises(InvalidRequest, match="circumstances") as caught:
        admin.simulate_policy("kms:Encrypt", circumstances={name: value})

    assert value not in str(caught.value)


def test_tags_of_the_principal_and_the_name_of_the_key_count(admin: Client) -> None:
    alias, who = f"alias/{fresh_id()}", f"{SERVICE.rpartition('/')[0]}/{fresh_id()}"
    condition = {"StringEquals": {"aws:PrincipalTag/team": "blue", "kms:RequestAlias": alias}}
    key = admin.create_key(policy=conditional(who, condition)).key_id
    admin.create_alias(alias, key)
    admin.create_principal(who, tags={"team": "blue"})
    time.sleep(1.0)  # until every worker knows

    assert admin.simulate_policy("kms:Encrypt", principal=who, key=alias).allowed
    assert not admin.simulate_policy("kms:Encrypt", principal=who, key=key).allowed
    assert not admin.simulate_policy("kms:Encrypt", principal=SERVICE, key=alias).allowed


def test_an_action_that_is_none_is_refused(admin: Client) -> None:
    with refused("INVALID_FIELD", "action"):
        admin.simulate_policy("kms:Unlock")


def test_nobody_simulates_without_the_right_to(service: Client, admin: Client) -> None:
    with refused("ACCESS_DENIED"):
        service.simulate_policy("kms:Encrypt")
    with simulating(admin, service):
        assert not service.simulate_policy("kms:CreateKey").allowed


def test_a_key_whose_policy_one_may_not_read_cannot_be_asked(admin: Client, service: Client) -> None:
    key = admin.create_key(policy=allow(SERVICE, "kms:Encrypt")).key_id

    with simulating(admin, service):
        with refused("ACCESS_DENIED"):
            service.simulate_policy("kms:Encrypt", key=key)
        with refused("ACCESS_DENIED"):
            service.simulate_policy("kms:Encrypt", key="00000000-0000-4000-8000-000000000001")


def test_who_is_no_operator_asks_for_principals_of_the_own_account_only(
    admin: Client, service: Client
) -> None:
    policy = allow(OTHER, "kms:Encrypt")

    with simulating(admin, service), refused("ACCESS_DENIED"):
        service.simulate_policy("kms:Encrypt", principal=OTHER, policy=policy)


def test_a_trial_leaves_an_audit_record(admin: Client) -> None:
    admin.simulate_policy("kms:Encrypt", principal=ADMIN)

    assert any(r.action == "strongroom:SimulatePolicy" for r in admin.pages(admin.list_audit_records))
