"""What was done is found again: by key, principal, action, outcome and time, page by page."""

import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.harness import Daemon, refused
from tests.integration.test_sdk import settings_of

from strongroom import AsyncClient, Client
from strongroom.cloudtrail import event
from strongroom.results import AuditRecord

if TYPE_CHECKING:
    from collections.abc import Callable


def found(client: Client, **wanted: object) -> list[AuditRecord]:
    return list(client.pages(client.list_audit_records, **wanted))


def test_records_are_found_by_each_filter(admin: Client, service: Client) -> None:
    began = dt.datetime.now(dt.UTC)
    key = admin.create_key()
    admin.encrypt(key.key_id, b"x")
    with refused("ACCESS_DENIED"):
        service.encrypt(key.key_id, b"x", context={"patient": "patient-4711"})
    time.sleep(0.01)
    middle = dt.datetime.now(dt.UTC)
    admin.describe_key(key.key_id)
    me = service.get_caller_identity().principal_arn

    (denied,) = found(admin, key=key.key_id, outcome="ACCESS_DENIED")
    assert (denied.principal, denied.action, denied.door) == (me, "kms:Encrypt", "grpc")
    assert denied.decision is not None
    assert (denied.decision.basis, denied.decision.policy) == ("no-identity-policy", "")
    assert denied.identity.startswith("certificate:")
    told = json.loads(denied.canonical_json)
    assert list(told["context_hmac"]) == ["patient"]
    assert b"patient-4711" not in denied.canonical_json
    assert [r.outcome for r in found(admin, key=key.arn, action="kms:Encrypt")] == ["OK", "ACCESS_DENIED"]
    assert {r.principal for r in found(admin, principal=me, since=began)} == {me}
    assert [r.action for r in found(admin, key=key.arn, since=middle)] == ["kms:DescribeKey"]
    before = found(admin, key=key.arn, since=began, until=middle)
    assert [r.action for r in before][-2:] == ["kms:Encrypt", "kms:Encrypt"]
    shaped = event(denied)
    assert (shaped["errorCode"], shaped["userIdentity"]["arn"]) == ("ACCESS_DENIED", me)
    assert shaped["resources"] == [
        {"ARN": key.arn, "accountId": key.arn.split(":")[4], "type": "AWS::KMS::Key"}
    ]


def test_whoever_suspects_a_value_compares_the_record_of_a_call_under_it(admin: Client) -> None:
    key = admin.create_key().key_id
    for patient in ("patient-4711", "patient-4712", "patient-4711"):
        admin.encrypt(key, b"x", context={"patient": patient})

    first, other, again = (
        json.loads(r.canonical_json)["context_hmac"]["patient"]
        for r in found(admin, key=key, action="kms:Encrypt")
    )
    assert first == again != other


def test_both_sides_of_a_re_encryption_are_found_and_a_batch_tells_names(admin: Client) -> None:
    source, target = admin.create_key(), admin.create_key()
    sealed = admin.encrypt(source.key_id, b"x", context={"a": "1"}).ciphertext
    admin.re_encrypt(sealed, target.key_id, source_context={"a": "1"}, destination_context={"b": "2"})
    admin.batch_encrypt(source.key_id, [(b"x", {"c": "3"}), (b"y", {"d": "4"}), b"z"])

    (moved,) = found(admin, key=target.arn, action="kms:ReEncryptFrom")
    told = json.loads(moved.canonical_json)
    assert (list(told["source_context_hmac"]), list(told["destination_context_hmac"])) == (["a"], ["b"])
    assert moved.other_key_arns == (target.arn,)
    batch = json.loads(found(admin, key=source.arn, action="kms:Encrypt")[-1].canonical_json)
    assert batch["context_keys"] == ["c", "d"]


def test_the_records_of_a_key_that_never_was_are_none(admin: Client) -> None:
    assert found(admin, key="1234abcd-12ab-34cd-56ef-1234567890ab") == []


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"principal": "admin"}, "principal"),
        ({"action": "Encrypt"}, "action"),
        ({"outcome": "denied"}, "outcome"),
        ({"key": "no key"}, "key"),
        (
            {
                "since": dt.datetime(2027, 1, 2, tzinfo=dt.UTC),
                "until": dt.datetime(2027, 1, 2, tzinfo=dt.UTC),
            },
            "until",
        ),
    ],
)
def test_what_no_record_can_have_is_refused(admin: Client, wanted: dict[str, Any], field: str) -> None:
    with refused("INVALID_FIELD", field):
        admin.list_audit_records(**wanted)


def test_a_token_is_bound_to_its_filters_and_asker(admin: Client) -> None:
    admin.describe_key(admin.create_key().key_id)
    token = admin.list_audit_records(outcome="OK", page_size=1).next_page_token
    assert token

    attempts: list[Callable[[], object]] = [
        lambda: admin.list_audit_records(outcome="ACCESS_DENIED", page_token=token),
        lambda: admin.list_audit_records(page_token=token),
        lambda: admin.list_audit_records(outcome="OK", action="kms:Encrypt", page_token=token),
        lambda: admin.list_audit_records(outcome="OK", page_token=token[:-4] + "AAAA"),
        lambda: admin.list_audit_records(outcome="OK", page_token=token[:20]),
    ]
    for attempt in attempts:
        with refused("INVALID_PAGE_TOKEN", "page_token"):
            attempt()
    assert admin.list_audit_records(outcome="OK", page_size=1, page_token=token).items


async def test_the_asynchronous_client_asks_alike(daemon: Daemon, admin: Client) -> None:
    key = admin.create_key()
    async with AsyncClient(settings_of(daemon)) as client:
        pages = client.pages(client.list_audit_records, key=key.arn, outcome="OK")
        assert [record.action async for record in pages] == ["kms:CreateKey"]
