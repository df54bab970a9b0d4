"""What neither answers, nor audit records, nor streams tell or give to whom it is not for."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.harness import OTHER, OTHER_ACCOUNT, SERVICE, Daemon, allow, entitled, fresh_id, wait_until

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.retry import RetryPolicy
from strongroomd.domain.limits import REFUSALS_BURST, REFUSALS_PER_SECOND


def reason(call: Callable[[], object]) -> str:
    try:
        call()
    except StrongroomError as error:
        return error.reason
    return "OK"


@pytest.fixture(scope="module")
def other(daemon: Daemon) -> Iterator[Client]:
    """A principal of another account."""
    with daemon.client("other", timeout=30.0) as client:
        yield client


@contextmanager
def able(admin: Client, principal: str, *actions: str, test: Callable[[], object]) -> Iterator[None]:
    """Let a principal do an action without a key, at every worker."""
    with entitled(admin, principal, *actions):
        wait_until(lambda: all(reason(test) != "ACCESS_DENIED" for _ in range(8)), 10.0)
        yield


def test_a_record_of_a_refusal_tells_no_other_account_of_the_key(admin: Client, other: Client) -> None:
    key, alias = admin.create_key(), f"alias/{fresh_id()}"
    admin.create_alias(alias, key.key_id)
    real = key.arn.replace(f"key/{key.key_id}", alias)
    ghost = key.arn.replace(f"key/{key.key_id}", f"alias/{fresh_id()}")

    with able(admin, OTHER, "strongroom:ListAuditRecords", test=other.list_audit_records):
        for name in (real, ghost):
            assert reason(lambda name=name: other.encrypt(name, b"x")) == "ACCESS_DENIED"  # type: ignore[misc]
        records = [json.loads(r.canonical_json) for r in other.pages(other.list_audit_records)]

    told = {r["named"]: r for r in records if r.get("named") in {real, ghost}}
    assert told.keys() == {real, ghost}
    assert told[real].keys() == told[ghost].keys()
    assert not {"key", "decision"} & told[real].keys()
    assert key.key_id not in json.dumps(told)


def test_a_refusal_within_the_account_is_recorded_with_key_and_ground(admin: Client, service: Client) -> None:
    key = admin.create_key()
    assert reason(lambda: service.encrypt(key.key_id, b"x")) == "ACCESS_DENIED"

    records = [json.loads(r.canonical_json) for r in admin.pages(admin.list_audit_records, key=key.key_id)]
    assert [r["decision"]["basis"] for r in records if r["outcome"] == "ACCESS_DENIED"] == [
        "no-identity-policy"
    ]


def test_audit_records_of_another_accounts_key_are_asked_for_in_vain(admin: Client, other: Client) -> None:
    arn = admin.create_key().arn

    with able(admin, OTHER, "strongroom:ListAuditRecords", test=other.list_audit_records):
        assert reason(lambda: other.list_audit_records(key=arn)) == "ACCESS_DENIED"


def test_no_filter_shows_an_account_the_records_of_another(admin: Client, other: Client) -> None:
    key = admin.create_key()
    admin.encrypt(key.key_id, b"x")
    me = admin.get_caller_identity().principal_arn

    with able(admin, OTHER, "strongroom:ListAuditRecords", test=other.list_audit_records):
        wanted: list[dict[str, str]] = [{"principal": me}, {"key": key.key_id}, {"action": "kms:CreateKey"}]
        found = [r for each in wanted for r in other.pages(other.list_audit_records, **each)]

    assert [r for r in found if OTHER_ACCOUNT not in r.canonical_json.decode()] == []
    assert key.arn not in {r.key_arn for r in found}


@contextmanager
def bustle(admin: Client) -> Iterator[None]:
    """Have records written all the time."""
    over = threading.Event()

    def make() -> None:
        while not over.wait(0.05):
            admin.list_keys(page_size=1)

    thread = threading.Thread(target=make)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_tail_ends_with_the_policy_that_allowed_it(admin: Client, service: Client) -> None:
    actions = ("strongroom:ListAuditRecords", "strongroom:TailAuditRecords")
    with bustle(admin):
        with able(admin, SERVICE, *actions, test=service.list_audit_records):
            tail = iter(service.tail_audit_records())
            next(tail)

        assert reason(lambda: list(tail)) == "ACCESS_DENIED"


def test_items_of_a_batch_that_are_refused_are_paid_for(daemon: Daemon, admin: Client) -> None:
    own = admin.create_key(policy=allow(SERVICE, "kms:Decrypt")).key_id
    good = admin.encrypt(own, b"x").ciphertext
    bad = admin.encrypt(admin.create_key().key_id, b"x").ciphertext

    with daemon.client("service", retry=RetryPolicy(max_attempts=1)) as service:
        answers = [reason(lambda: service.batch_decrypt([good, *[bad] * 99])) for _ in range(4)]
    time.sleep(REFUSALS_BURST / REFUSALS_PER_SECOND)  # other tests may be refused again

    assert answers[0] == "OK"
    assert "QUOTA_EXCEEDED" in answers


def test_a_denial_binds_what_needs_no_other_right(admin: Client, other: Client) -> None:
    other.list_retirable_grants(OTHER)
    name = fresh_id()
    deny = {"Effect": "Deny", "Action": "kms:ListRetirableGrants", "Resource": "*"}
    with entitled(admin, OTHER, "kms:ListKeys"):
        policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        admin.put_identity_policy(OTHER, name, policy)
        try:
            wait_until(lambda: reason(lambda: other.list_retirable_grants(OTHER)) == "ACCESS_DENIED", 10.0)
        finally:
            admin.delete_identity_policy(OTHER, name)
    assert OTHER.split(":")[4] == OTHER_ACCOUNT
