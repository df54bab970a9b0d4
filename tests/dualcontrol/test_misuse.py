"""Twenty ways to misuse exports and approvals at a real daemon: each is refused, and audited."""

import base64
import json
import threading
import time
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.failpoints import dying_at
from tests.harness import OTHER_ACCOUNT, refused
from tests.people import Cast, Person, arn, enrol, new_key

from strongroom import results, signing
from strongroom.errors import Conflict, StrongroomError

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]


MISUSES = (
    *("replay", "altered_recipient", "altered_version", "self_approval", "same_person_twice", "expired"),
    *("revoked_approver", "cancelled", "after_deletion", "non_exportable"),
    *("exportable_flag_flipped_in_the_database", "old_row_restored", "approval_for_another_key"),
    *("forged_signature", "approver_of_another_account", "reuse_after_crash", "concurrent_double_execute"),
    *("quorum_lowered_meanwhile", "level_lowered", "wrapping_key_not_registered"),
)


def test_all_twenty_are_here_by_name() -> None:
    wanted = [f"test_{number:02}_{name}" for number, name in enumerate(MISUSES, 1)]

    assert [name for name in globals() if name.startswith(("test_0", "test_1", "test_2"))] == wanted


@pytest.fixture(scope="module")
def key(house: Cast) -> str:
    """An exportable key that the tests of this file share; none of them changes it."""
    return house.key()


def execute(house: Cast, request: results.ApprovalRequest) -> results.Export:
    return house.alice.client.execute_export(request.approval_id)


def refused_and_audited(
    house: Cast, request: results.ApprovalRequest, reason: str, action: str = "ExecuteExport"
) -> None:
    """Try to execute a request; the refusal stands in the audit log, and nothing has left."""
    with refused(reason):
        execute(house, request)
    house.audited(action, reason, approval=request.approval_id)


def other_spki() -> bytes:
    public = rsa.generate_private_key(65_537, 2_048).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_01_replay(house: Cast, key: str, spki: bytes) -> None:
    request = house.approved(key, spki)
    assert execute(house, request).blob

    refused_and_audited(house, request, "APPROVAL_CLOSED")


def test_02_altered_recipient(house: Cast, key: str, spki: bytes) -> None:
    """Neither does an approval hold for a request with another recipient, nor the row once it is edited."""
    request, other = house.asked(key, spki), house.asked(key, other_spki())
    with house.refusing("ApproveRequest", "INVALID_SIGNATURE", approval=other.approval_id):
        house.bob.client.approve_request(other.approval_id, house.bob.sign(request))

    house.agreed(request)
    row = house.row("approval_requests", request.approval_id)
    pairs = dict(json.loads(row["parameters"])) | {"public_key": base64.b64encode(other_spki()).decode()}
    edited = json.dumps(sorted(pairs.items()))
    house.edit("UPDATE approval_requests SET parameters = ? WHERE record_id = ?", edited, request.approval_id)
    refused_and_audited_by_mac(house, request)


def refused_and_audited_by_mac(house: Cast, request: results.ApprovalRequest) -> None:
    refused_and_audited(house, request, "INTEGRITY_FAILURE")


def test_03_altered_version(house: Cast, spki: bytes) -> None:
    key = house.key()
    first = house.asked(key, spki)
    house.admin.rotate_key(key)
    second = house.asked(key, spki)
    assert (first.key_version, second.key_version) == (1, 2)
    with house.refusing("ApproveRequest", "INVALID_SIGNATURE", approval=second.approval_id):
        house.bob.client.approve_request(second.approval_id, house.bob.sign(first))

    house.agreed(first)
    house.edit("UPDATE approval_requests SET version = 2 WHERE record_id = ?", first.approval_id)
    refused_and_audited_by_mac(house, first)


def test_04_self_approval(house: Cast, spki: bytes) -> None:
    """Who asked counts beside somebody else, never alone; and where the policy says so not at all."""
    alone = house.asked(house.key(quorum=1), spki)
    assert house.alice.approve(alone).missing == 1
    refused_and_audited(house, alone, "APPROVAL_REQUIRED")
    assert house.bob.approve(alone).missing == 0
    assert execute(house, alone).blob

    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "strongroom:ApproveRequest",
        "Resource": "*",
        "Condition": {"Bool": {"strongroom:ApproverIsRequester": "true"}},
    }
    strict = house.asked(house.key(policy=house.policy(also=[deny])), spki)
    with refused("ACCESS_DENIED"):
        house.alice.approve(strict)
    house.audited("ApproveRequest", "ACCESS_DENIED", approval=strict.approval_id, principal=arn("alice"))
    house.bob.approve(strict)
    refused_and_audited(house, strict, "APPROVAL_REQUIRED")


def test_05_same_person_twice(house: Cast, key: str, spki: bytes) -> None:
    request = house.asked(key, spki)
    again = Person("bob", house.bob.client, *new_key("bob"))
    enrol(house.admin, again)
    try:
        house.bob.approve(request)
        for person in (house.bob, again):
            with refused("ALREADY_EXISTS"):
                person.approve(request)
        house.audited("ApproveRequest", "ALREADY_EXISTS", approval=request.approval_id)
        refused_and_audited(house, request, "APPROVAL_REQUIRED")
    finally:
        house.admin.revoke_approver(again.approver_id)


def test_06_expired(house: Cast, key: str, spki: bytes) -> None:
    request = house.approved(key, spki, lifetime_seconds=2)
    late = house.asked(key, spki, lifetime_seconds=1)
    time.sleep(max(0.0, 2.1 - (time.time() - request.created_time.timestamp())))  # type: ignore[union-attr]

    refused_and_audited(house, request, "APPROVAL_CLOSED")
    with refused("APPROVAL_CLOSED"):
        house.bob.approve(late)
    house.audited("ApproveRequest", "APPROVAL_CLOSED", approval=late.approval_id)
    assert house.admin.describe_approval(late.approval_id).state == "EXPIRED"


def test_07_revoked_approver(house: Cast, key: str, spki: bytes) -> None:
    """What a revoked key approved does not count; with a new key its owner can approve anew."""
    request = house.asked(key, spki)
    gone = Person("carol", house.carol.client, *new_key("carol"))
    enrol(house.admin, gone)
    house.bob.approve(request)
    assert gone.approve(request).state == "APPROVED"
    house.admin.revoke_approver(gone.approver_id)

    refused_and_audited(house, request, "APPROVAL_REQUIRED")
    with refused("NOT_FOUND", "approver_id"):
        gone.approve(request)
    house.audited("ApproveRequest", "NOT_FOUND", approval=request.approval_id)
    with refused("ALREADY_EXISTS", "public_key"):
        enrol(house.admin, gone)
    assert house.carol.approve(request).missing == 0
    assert execute(house, request).blob


def test_08_cancelled(house: Cast, key: str, spki: bytes) -> None:
    request = house.approved(key, spki)
    stranger = {"approval": request.approval_id, "principal": arn("dave")}
    with house.refusing("CancelRequest", "ACCESS_DENIED", **stranger):  # noqa: SIM117 - in this order
        with house.daemon.client("dave") as dave:
            dave.cancel_request(request.approval_id)
    assert house.carol.client.cancel_request(request.approval_id, note="not today").state == "CANCELLED"

    refused_and_audited(house, request, "APPROVAL_CLOSED")
    rejected = house.approved(key, spki)
    assert house.bob.client.reject_request(rejected.approval_id).state == "REJECTED"
    refused_and_audited(house, rejected, "APPROVAL_CLOSED")


def test_09_after_deletion(house: Cast, spki: bytes) -> None:
    """A key that is on its way out leaves nowhere; nor is it deleted by one person."""
    key = house.key()
    request = house.approved(key, spki)
    deleting, key_arn = "kms:ScheduleKeyDeletion", house.admin.describe_key(key).arn
    with house.refusing(deleting, "APPROVAL_REQUIRED", key=key_arn):
        house.admin.schedule_key_deletion(key, pending_window_days=7)
    asked = house.admin.ask_key_deletion(key, 7, purpose="done with it")
    house.agreed(asked)
    with house.refusing(deleting, "APPROVAL_MISMATCH", key=key_arn, approval=asked.approval_id):
        house.admin.schedule_key_deletion(key, pending_window_days=8, approval_id=asked.approval_id)
    house.admin.schedule_key_deletion(key, pending_window_days=7, approval_id=asked.approval_id)

    refused_and_audited(house, request, "KEY_PENDING_DELETION")


def test_10_non_exportable(house: Cast, spki: bytes) -> None:
    key = house.admin.create_key(quorum=2, policy=house.policy()).key_id
    with house.refusing("RequestExport", "NOT_EXPORTABLE", key=house.admin.describe_key(key).arn):
        house.asked(key, spki)


def test_11_exportable_flag_flipped_in_the_database(house: Cast, spki: bytes) -> None:
    key = house.admin.create_key(quorum=2, policy=house.policy()).key_id  # no worker has read it yet
    assert house.edit("UPDATE keys SET exportable = 1 WHERE record_id = ?", key) == 1

    with refused("INTEGRITY_FAILURE"):
        house.asked(key, spki)
    house.audited("RequestExport", "INTEGRITY_FAILURE", principal=arn("alice"))


class unless_there(suppress):  # noqa: N801 - reads as contextlib.suppress
    """Let it pass that something is there already."""

    def __init__(self) -> None:
        super().__init__(Conflict)


def test_12_old_row_restored(house: Cast, key: str, spki: bytes) -> None:
    request = house.approved(key, spki)
    old = house.row("approval_requests", request.approval_id)
    assert execute(house, request).blob
    house.put_back("approval_requests", old)

    refused_and_audited_by_mac(house, request)


def test_13_approval_for_another_key(house: Cast, key: str, spki: bytes) -> None:
    other = house.key()
    request = house.approved(key, spki)
    wrong = house.admin.ask_key_deletion(other, 7, purpose="another key")
    house.agreed(wrong)
    for named in (wrong.approval_id, request.approval_id):
        with house.refusing("kms:ScheduleKeyDeletion", "APPROVAL_MISMATCH", approval=named):
            house.admin.schedule_key_deletion(key, pending_window_days=7, approval_id=named)
    theirs = house.asked(other, spki).approval_id
    with house.refusing("ApproveRequest", "INVALID_SIGNATURE", approval=theirs):
        house.bob.client.approve_request(theirs, house.bob.sign(request))


def test_14_forged_signature(house: Cast, key: str, spki: bytes) -> None:
    request = house.asked(key, spki)
    stranger, _ = new_key("bob")
    forged = signing.sign(stranger, request.request_file)
    for signature in (forged, bytes(64), house.carol.sign(request), b"x"):
        with refused("INVALID_SIGNATURE"):
            house.bob.client.approve_request(request.approval_id, signature)
    with house.refusing("ApproveRequest", "NOT_FOUND", "approver_id", approval=request.approval_id):
        house.bob.client.approve_request(
            request.approval_id, house.carol.sign(request), approver_id=house.carol.approver_id
        )
    house.audited("ApproveRequest", "INVALID_SIGNATURE", approval=request.approval_id)
    refused_and_audited(house, request, "APPROVAL_REQUIRED")


def test_15_approver_of_another_account(house: Cast, spki: bytes) -> None:
    """Even one whom the key's policy and its own account let in."""
    key = house.key("bob", "mallory")
    with unless_there():
        house.admin.create_account(OTHER_ACCOUNT)
    with unless_there():
        house.admin.create_principal(arn("mallory"))
    allow = {"Effect": "Allow", "Action": "strongroom:ApproveRequest", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    house.admin.put_identity_policy(arn("mallory"), "approve", policy)
    request = house.asked(key, spki)
    house.bob.approve(request)

    with refused("ACCESS_DENIED"):
        house.mallory.approve(request)
    house.audited("ApproveRequest", "ACCESS_DENIED", approval=request.approval_id, principal=arn("mallory"))
    refused_and_audited(house, request, "APPROVAL_REQUIRED")


def test_16_reuse_after_crash(house: Cast, key: str, spki: bytes) -> None:
    request = house.approved(key, spki)
    with dying_at(house.daemon, "export.8"), suppress(StrongroomError):
        execute(house, request)

    for client in (house.alice.client, house.admin):  # repeated until the connection is to a living worker
        assert client.describe_approval(request.approval_id).state == "EXECUTED"
    refused_and_audited(house, request, "APPROVAL_CLOSED")


def test_17_concurrent_double_execute(house: Cast, key: str, spki: bytes) -> None:
    request = house.approved(key, spki)
    answers: list[object] = []

    def run() -> None:
        with house.daemon.client("alice", timeout=30.0) as client:
            try:
                answers.append(client.execute_export(request.approval_id))
            except StrongroomError as error:
                answers.append(error.reason)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(type(each).__name__) for each in answers) == ["Export", "str", "str", "str"]
    assert {each for each in answers if isinstance(each, str)} == {"APPROVAL_CLOSED"}
    house.audited("ExecuteExport", "APPROVAL_CLOSED", approval=request.approval_id)


def test_18_quorum_lowered_meanwhile(house: Cast, spki: bytes) -> None:
    """Neither by the account's quorum, which binds only what is asked later, nor by the rows."""
    key = house.key(quorum=3)
    request = house.approved(key, spki)
    assert (request.quorum, request.missing) == (3, 1)
    lower = house.admin.ask_quorum(1, purpose="less work")
    with refused("APPROVAL_REQUIRED"):
        house.admin.put_quorum(1, lower.approval_id)
    house.audited("PutQuorum", "APPROVAL_REQUIRED", approval=lower.approval_id)
    refused_and_audited(house, request, "APPROVAL_REQUIRED")

    house.edit("UPDATE approval_requests SET quorum = 2 WHERE record_id = ?", request.approval_id)
    refused_and_audited_by_mac(house, request)
    house.edit("UPDATE approval_requests SET quorum = 3 WHERE record_id = ?", request.approval_id)
    house.edit("UPDATE keys SET quorum = 2 WHERE record_id = ?", key)
    refused_and_audited(house, request, "APPROVAL_REQUIRED")


def test_19_level_lowered(house: Cast, key: str, spki: bytes) -> None:
    request = house.approved(key, spki)
    row = house.row("approval_requests", request.approval_id)
    lowered = row["parameters"].replace('["level","token"]', '["level","host"]')
    assert lowered != row["parameters"]
    house.edit(
        "UPDATE approval_requests SET parameters = ? WHERE record_id = ?", lowered, request.approval_id
    )
    refused_and_audited_by_mac(house, request)

    host = house.asked(key, spki, level="HOST")
    with house.refusing("ApproveRequest", "INVALID_SIGNATURE", approval=host.approval_id):
        house.bob.client.approve_request(host.approval_id, house.bob.sign(request))
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "strongroom:RequestExport",
        "Resource": "*",
        "Condition": {"StringNotEquals": {"strongroom:ExportLevel": "token"}},
    }
    strict = house.key(policy=house.policy(also=[deny]))
    with house.refusing("RequestExport", "ACCESS_DENIED", key=house.admin.describe_key(strict).arn):
        house.asked(strict, spki, level="HOST")
    assert house.asked(strict, spki).state == "WAITING"


def test_20_wrapping_key_not_registered(house: Cast, key: str, spki: bytes) -> None:
    for level in ("TOKEN", "HOST_EPHEMERAL"):
        with refused("NOT_FOUND", "wrapping_key_id"):
            house.alice.client.request_export(
                key, wrapping_key_id="wk-0123456789abcdef", purpose="x", level=level
            )
    house.audited("RequestExport", "NOT_FOUND", principal=arn("alice"))

    asked = house.admin.ask_wrapping_key("partner", "RSA", spki, purpose="a partner")
    for approval, reason in (("", "APPROVAL_REQUIRED"), (asked.approval_id, "APPROVAL_REQUIRED")):
        with refused(reason):
            house.admin.register_wrapping_key("partner", "RSA", spki, approval)
    house.agreed(asked)
    with refused("APPROVAL_MISMATCH"):
        house.admin.register_wrapping_key("partner", "RSA", other_spki(), asked.approval_id)
    house.audited("RegisterWrappingKey", "APPROVAL_MISMATCH", approval=asked.approval_id)
    made = house.admin.register_wrapping_key("partner", "RSA", spki, asked.approval_id)
    request = house.alice.client.request_export(key, wrapping_key_id=made.wrapping_key_id, purpose="x")
    house.agreed(request)
    house.admin.remove_wrapping_key(made.wrapping_key_id)
    refused_and_audited(house, request, "NOT_FOUND")
