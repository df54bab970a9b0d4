"""What else dual control guards, who may see and do what, and signing without a daemon by openssl."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tests.harness import ADMIN, refused, wait_until
from tests.imports import wrapped
from tests.people import Cast, arn, behind, new_key

from strongroom import signing
from strongroom.errors import AccessDenied
from strongroomd.domain.importing import WrappingAlgorithm

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]


@pytest.fixture(scope="module")
def key(house: Cast) -> str:
    """An exportable key that the tests of this file share."""
    return house.key()


def test_a_looser_policy_needs_approval_and_a_tighter_one_does_not(house: Cast, spki: bytes) -> None:
    key = house.key()
    with_dave = house.policy("alice", "bob", "carol", "dave")
    with refused("APPROVAL_REQUIRED", "approval_id"):
        house.admin.put_key_policy(key, with_dave)
    asked = house.admin.ask_policy_change(key, with_dave, purpose="Dave joins")
    assert json.loads(asked.request_file)["parameters"]["policy"] == with_dave
    with refused("APPROVAL_REQUIRED"):
        house.admin.put_key_policy(key, with_dave, approval_id=asked.approval_id)
    house.agreed(asked)
    with refused("APPROVAL_MISMATCH"):
        house.admin.put_key_policy(
            key, house.policy("alice", "bob", "carol", "mallory"), approval_id=asked.approval_id
        )
    house.admin.put_key_policy(key, with_dave, approval_id=asked.approval_id)
    wait_until(lambda: may_approve(house, "dave", key), 5)

    tighter = json.loads(with_dave)
    tighter["Statement"].append(
        {"Effect": "Deny", "Principal": {"AWS": arn("dave")}, "Action": "strongroom:*", "Resource": "*"}
    )
    house.admin.put_key_policy(key, json.dumps(tighter))
    with refused("APPROVAL_CLOSED"):  # looser than now, and approved once
        house.admin.put_key_policy(key, with_dave, approval_id=asked.approval_id)


def may_approve(house: Cast, name: str, key: str) -> bool:
    with house.daemon.client(name) as client:
        try:
            client.list_approvals(key=key)
        except AccessDenied:
            return False
    return True


def test_what_is_not_protected_needs_no_approval(house: Cast) -> None:
    plain = house.admin.create_key().key_id
    assert house.admin.describe_key(plain).quorum == 0
    with refused("INVALID_FIELD", "key"):
        house.admin.ask_key_deletion(plain, 7, purpose="x")
    house.admin.schedule_key_deletion(plain, pending_window_days=7)


def test_an_exportable_key_gets_the_accounts_quorum_and_any_key_can_have_one(house: Cast) -> None:
    assert house.admin.get_quorum().quorum == 2
    made = house.admin.create_key(exportable=True)
    assert (made.quorum, house.admin.describe_key(made.key_id).quorum) == (2, 2)
    assert house.admin.create_key(quorum=3).quorum == 3
    with refused("INVALID_FIELD", "quorum"):
        house.admin.create_key(quorum=9)


def test_the_accounts_quorum_changes_with_approval_and_keys_keep_theirs(house: Cast) -> None:
    before = house.admin.create_key(exportable=True).key_id
    up = house.agreed(house.admin.ask_quorum(3, purpose="more care"))
    with refused("APPROVAL_MISMATCH"):
        house.admin.put_quorum(1, up)
    assert house.admin.put_quorum(3, up).quorum == 3
    assert house.admin.create_key(exportable=True).quorum == 3
    assert house.admin.describe_key(before).quorum == 2

    asked = house.admin.ask_quorum(2, purpose="as it was")
    house.bob.approve(asked)
    down = house.carol.approve(asked).approval_id
    with refused("APPROVAL_REQUIRED"):  # three are asked for now
        house.admin.put_quorum(2, down)
    fresh, public = new_key()
    proof = signing.sign(fresh, signing.enrolment_file("111122223333", ADMIN, public))
    house.admin.enrol_approver(ADMIN, public, proof)
    shown = house.admin.describe_approval(down)
    assert house.admin.approve_request(down, signing.sign(fresh, shown.request_file)).missing == 0
    assert house.admin.put_quorum(2, down).quorum == 2


def test_nobody_else_sees_a_request(house: Cast, key: str, spki: bytes) -> None:
    asked = house.asked(key, spki)
    mallory = house.mallory.client
    for attempt in (mallory.describe_approval, mallory.cancel_request, mallory.reject_request):
        with refused("ACCESS_DENIED"):
            attempt(asked.approval_id)
    assert mallory.list_approvals().items == ()
    with refused("ACCESS_DENIED"):
        house.mallory.client.describe_approval("0" * 32)
    with refused("INVALID_FIELD", "approval_id"):
        house.alice.client.describe_approval("not an id")


def test_only_who_asked_carries_it_out(house: Cast, spki: bytes) -> None:
    request = house.approved(house.key(), spki)
    with refused("APPROVAL_MISMATCH"):
        house.admin.execute_export(request.approval_id)
    with refused("ACCESS_DENIED"):
        house.bob.client.execute_export(request.approval_id)
    assert house.alice.client.execute_export(request.approval_id).blob


def test_a_role_session_approves_nothing(house: Cast, spki: bytes) -> None:
    role = "arn:aws:iam::111122223333:role/approvers"
    trust = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"AWS": arn("bob")}, "Action": "sts:AssumeRole"},
    }
    house.admin.create_principal(role, trust_policy=json.dumps(trust))
    allow = {
        "Effect": "Allow",
        "Principal": {"AWS": role},
        "Action": "strongroom:ApproveRequest",
        "Resource": "*",
    }
    request = house.asked(house.key(policy=house.policy(also=[allow])), spki)
    token = house.bob.client.assume_role(role, "bob").session_token
    with refused("ACCESS_DENIED"):
        house.bob.client.with_session(token).approve_request(request.approval_id, house.bob.sign(request))
    assert house.bob.approve(request).approved == 1


@pytest.mark.parametrize("who", ["bob", "carol"])
def test_openssl_makes_an_approval_and_an_enrolment(
    house: Cast, key: str, spki: bytes, tmp_path: Path, who: str
) -> None:
    """bob's key is Ed25519, carol's P-256; nothing but files leaves or reaches the signer."""
    person = house.people[who]
    request = house.asked(key, spki)
    pem, file, signature = (tmp_path / name for name in ("key.pem", "request.json", "signature"))
    pem.write_bytes(person.private_key)
    file.write_bytes(request.request_file)
    assert openssl_digest(file) == request.digest

    openssl_sign(pem, file, signature)

    done = person.client.approve_request(
        request.approval_id, signature.read_bytes(), approver_id=person.approver_id
    )
    assert (done.approved, done.missing) == (1, 1)
    fresh, public = new_key(who)
    pem.write_bytes(fresh)
    file.write_bytes(signing.enrolment_file("111122223333", person.arn, public))
    openssl_sign(pem, file, signature)
    made = house.admin.enrol_approver(person.arn, public, signature.read_bytes())
    house.admin.revoke_approver(made.approver_id)


def openssl_sign(key: Path, file: Path, out: Path) -> None:
    kind = serialization.load_pem_private_key(key.read_bytes(), None)
    command = ["openssl", "dgst", "-sha256", "-sign", key, "-out", out, file]
    if "Ed25519" in type(kind).__name__:
        command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file, "-out", out]
    subprocess.run([str(each) for each in command], check=True, capture_output=True)


def openssl_digest(file: Path) -> str:
    done = subprocess.run(["openssl", "dgst", "-sha256", str(file)], check=True, capture_output=True)
    return done.stdout.split()[-1].decode()


def test_enrolling_is_the_administrators_and_proves_possession(house: Cast) -> None:
    fresh, public = new_key()
    file = signing.enrolment_file("111122223333", arn("dave"), public)
    with house.daemon.client("dave") as dave, refused("ACCESS_DENIED"):
        dave.enrol_approver(arn("dave"), public, signing.sign(fresh, file))
    other, _ = new_key()
    with refused("INVALID_SIGNATURE", "proof"):
        house.admin.enrol_approver(arn("dave"), public, signing.sign(other, file))
    with refused("INVALID_SIGNATURE", "proof"):  # proved for somebody else
        house.admin.enrol_approver(arn("bob"), public, signing.sign(fresh, file))
    with refused("INVALID_FIELD", "public_key"):
        house.admin.enrol_approver(arn("dave"), b"no key", b"")
    role = "arn:aws:iam::111122223333:role/approvers"
    with refused("INVALID_FIELD", "principal"):
        of_role = signing.enrolment_file("111122223333", role, public)
        house.admin.enrol_approver(role, public, signing.sign(fresh, of_role))
    with refused("ALREADY_EXISTS", "public_key"):
        again = signing.enrolment_file("111122223333", arn("dave"), house.bob.public_key)
        house.admin.enrol_approver(
            arn("dave"), house.bob.public_key, signing.sign(house.bob.private_key, again)
        )


def test_events_tell_of_it_all(house: Cast, spki: bytes) -> None:
    key = house.key()
    arn_of_key = house.admin.describe_key(key).arn
    request = house.approved(key, spki)
    house.alice.client.execute_export(request.approval_id)
    with behind(house.daemon) as connection:
        found = connection.execute(
            "SELECT type FROM events WHERE subject = ? ORDER BY sequence", [arn_of_key]
        )
        types = [each for (each,) in found]
    assert types == [
        "strongroom.key.created",
        "strongroom.approval.requested",
        "strongroom.approval.completed",
        "strongroom.approval.executed",
        "strongroom.key.exported",
    ]


def test_exports_are_counted(house: Cast) -> None:
    assert 'strongroom_exports_total{level="token"}' in house.daemon.metrics()


def bring(house: Cast, key: str, **how: Any) -> None:
    """Import the same 32 bytes again."""
    given = house.admin.get_parameters_for_import(
        key, wrapping_algorithm="RSAES_OAEP_SHA_1", wrapping_key_spec="RSA_2048"
    )
    sent = wrapped(b"\x2a" * 32, WrappingAlgorithm.RSAES_OAEP_SHA_1, given.public_key)
    house.admin.import_key_material(key, given.import_token, sent, **how)


def test_imported_material_of_a_protected_key_goes_with_approval_only(house: Cast) -> None:
    """Neither at once nor by a near date: each would end the key without its waiting time."""
    key = house.key(origin="EXTERNAL")
    never, soon = {"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"}, datetime.now(UTC) + timedelta(hours=1)
    bring(house, key, **never)
    arn_of_key = house.admin.describe_key(key).arn
    with house.refusing("kms:DeleteImportedKeyMaterial", "APPROVAL_REQUIRED", "approval_id", key=arn_of_key):
        house.admin.delete_imported_key_material(key)
    with house.refusing("kms:ImportKeyMaterial", "APPROVAL_REQUIRED", "approval_id", key=arn_of_key):
        bring(house, key, valid_to=soon)

    end = house.admin.ask_material_expiry(key, soon, purpose="it is for an hour")
    assert (end.action, end.key_version) == ("EXPIRE_KEY_MATERIAL", 1)
    bring(house, key, valid_to=soon, approval_id=house.agreed(end))
    gone = house.admin.ask_material_deletion(key, purpose="it is not needed")
    assert (gone.action, gone.key_version) == ("DELETE_KEY_MATERIAL", 1)
    with house.refusing("kms:DeleteImportedKeyMaterial", "APPROVAL_REQUIRED", approval=gone.approval_id):
        house.admin.delete_imported_key_material(key, approval_id=gone.approval_id)
    done = house.admin.delete_imported_key_material(key, approval_id=house.agreed(gone))

    assert done.state == "PENDING_IMPORT"
    house.audited("kms:DeleteImportedKeyMaterial", "OK", approval=gone.approval_id)
    assert house.admin.describe_approval(gone.approval_id).state == "EXECUTED"


def test_a_repeated_request_is_answered_as_it_stands_now(house: Cast, key: str, spki: bytes) -> None:
    wanted = {"public_key": spki, "purpose": "again", "request_id": f"again-{key}"}
    asked = house.alice.client.request_export(key, **wanted)  # type: ignore[arg-type]
    house.agreed(asked)

    again = house.alice.client.request_export(key, **wanted)  # type: ignore[arg-type]
    assert (again.approval_id, again.state, again.approved) == (asked.approval_id, "APPROVED", 2)
    done = house.alice.client.execute_export(asked.approval_id)

    over = house.alice.client.request_export(key, **wanted)  # type: ignore[arg-type]
    assert (over.state, over.receipt) == ("EXECUTED", done.receipt)


def test_a_request_of_a_role_session_is_no_other_sessions(house: Cast, spki: bytes) -> None:
    role = "arn:aws:iam::111122223333:role/exporters"
    people = {"AWS": [arn("alice"), arn("dave")]}
    trust = {"Effect": "Allow", "Principal": people, "Action": "sts:AssumeRole"}
    house.admin.create_principal(role, trust_policy=json.dumps({"Version": "2012-10-17", "Statement": trust}))
    actions = ["strongroom:RequestExport", "strongroom:ExecuteExport", "kms:DescribeKey"]
    may = {"Effect": "Allow", "Principal": {"AWS": role}, "Action": actions, "Resource": "*"}
    key = house.key(policy=house.policy(also=[may]))
    with (
        house.daemon.client("alice", timeout=30.0) as alice,
        house.daemon.client("dave", timeout=30.0) as dave,
    ):
        own = alice.with_session(alice.assume_role(role, "alice").session_token)
        others = dave.with_session(dave.assume_role(role, "dave").session_token)
        asked = own.request_export(key, public_key=spki, purpose="in a session")
        assert asked.behind == (arn("alice"),)
        assert house.alice.approve(asked).missing == 1  # as who asked, who never suffices alone
        assert house.bob.approve(asked).missing == 0

        with house.refusing("CancelRequest", "ACCESS_DENIED", approval=asked.approval_id, principal=role):
            others.cancel_request(asked.approval_id)
        with house.refusing("ExecuteExport", "APPROVAL_MISMATCH", approval=asked.approval_id, principal=role):
            others.execute_export(asked.approval_id)
        assert others.list_approvals(own=True).items == ()
        claims = json.loads(own.execute_export(asked.approval_id).receipt.payload)["claims"]

    assert claims["approved_by"] == [arn("bob"), arn("alice")]
    assert claims["requester"] == role
