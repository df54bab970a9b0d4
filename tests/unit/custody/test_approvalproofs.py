"""Signatures under request files: which keys, which signatures, and verifying without a daemon."""

import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroomd.custody import approvalproofs as proofs
from strongroomd.domain.approvals import (
    Approval,
    Enrolled,
    FrozenRequest,
    GuardedAction,
    approver_id,
)
from strongroomd.domain.errors import Reason, StrongroomError

ACCOUNT, NOW = "111122223333", 2_000_000_000_000
WHAT = {"state_sha256": "ab" * 32}
REQUEST = FrozenRequest(
    "0" * 32, GuardedAction.RESTORE_OLDER_STATE, ACCOUNT, "", 0, tuple(WHAT.items()),
    f"arn:aws:iam::{ACCOUNT}:user/ops", (), "the disk is gone", 2, NOW - 60_000, NOW + 60_000, "1" * 32,
)  # fmt: skip
BOB, CAROL = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())


def der(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: Any, file: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(file)
    return key.sign(file, ec.ECDSA(hashes.SHA256()))


def enrolled(name: str, key: Any, **changes: Any) -> Enrolled:
    public = der(key)
    found = Enrolled(approver_id(public), ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/{name}", public)
    return dataclasses.replace(found, **changes)


OPS = ed25519.Ed25519PrivateKey.generate()
PEOPLE = (enrolled("bob", BOB), enrolled("carol", CAROL), enrolled("ops", OPS))
FILE = REQUEST.file


def verified(
    file: bytes = FILE,
    signatures: list[bytes] | None = None,
    people: tuple[Enrolled, ...] = PEOPLE,
    action: GuardedAction = REQUEST.action,
    what: dict[str, str] | None = None,
    quorum: int = 2,
    now: int = NOW,
) -> Any:
    given = [sign(BOB, FILE), sign(CAROL, FILE)] if signatures is None else signatures
    return proofs.require_offline(file, given, people, action, what or WHAT, quorum, now)


def test_files_alone_prove_an_approval() -> None:
    assert verified().missing == 0


TWO = dataclasses.replace(REQUEST, nonce="2" * 32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signatures": []}, Reason.APPROVAL_REQUIRED),
        ({"signatures": [sign(BOB, FILE)]}, Reason.APPROVAL_REQUIRED),
        ({"signatures": [sign(BOB, FILE)] * 2}, Reason.APPROVAL_REQUIRED),
        ({"signatures": [sign(BOB, FILE), sign(CAROL, TWO.file)]}, Reason.INVALID_SIGNATURE),
        ({"signatures": [sign(BOB, FILE), b""]}, Reason.INVALID_SIGNATURE),
        ({"people": (PEOPLE[0], PEOPLE[2])}, Reason.INVALID_SIGNATURE),
        (
            {"people": (PEOPLE[0], PEOPLE[2], enrolled("carol", CAROL, revoked=True))},
            Reason.APPROVAL_REQUIRED,
        ),
        (
            {"people": (PEOPLE[0], PEOPLE[2], enrolled("carol", CAROL, account="9" * 12))},
            Reason.APPROVAL_REQUIRED,
        ),
        ({"people": (PEOPLE[0], PEOPLE[2], enrolled("bob", CAROL))}, Reason.APPROVAL_REQUIRED),
        (
            {"people": (PEOPLE[0], PEOPLE[2], enrolled("carol", CAROL, admitted=False))},
            Reason.APPROVAL_REQUIRED,
        ),
        ({"people": PEOPLE[:2]}, Reason.INVALID_FIELD),
        ({"file": TWO.file}, Reason.INVALID_SIGNATURE),
        ({"file": FILE[:-1]}, Reason.INVALID_FIELD),
        ({"action": GuardedAction.ATTACH_RECOVERY_TOKEN}, Reason.APPROVAL_MISMATCH),
        ({"what": {"state_sha256": "cd" * 32}}, Reason.APPROVAL_MISMATCH),
        ({"what": WHAT | {"more": "x"}}, Reason.APPROVAL_MISMATCH),
        ({"quorum": 3}, Reason.APPROVAL_MISMATCH),
        ({"now": NOW + 60_000}, Reason.APPROVAL_CLOSED),
        ({"now": NOW - 40 * 86_400_000}, Reason.APPROVAL_CLOSED),
    ],
)
def test_what_files_do_not_prove(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(StrongroomError) as caught:
        verified(**changes)
    assert caught.value.reason is reason


def test_a_forged_approval_of_a_record_does_not_count() -> None:
    keys = {key.id: key for key in PEOPLE}
    given = [
        Approval(REQUEST.digest, PEOPLE[0].id, PEOPLE[0].principal, sign(BOB, FILE)),
        Approval(REQUEST.digest, PEOPLE[1].id, PEOPLE[1].principal, sign(BOB, FILE)),
    ]
    with pytest.raises(StrongroomError) as caught:
        proofs.require_approved(REQUEST, given, keys)
    assert caught.value.reason is Reason.APPROVAL_REQUIRED


@pytest.mark.parametrize(
    "public",
    [
        b"",
        b"not DER",
        der(rsa.generate_private_key(65_537, 2_048)),
        der(ec.generate_private_key(ec.SECP384R1())),
        der(ec.generate_private_key(ec.SECP256K1())),
        der(x25519.X25519PrivateKey.generate()),
        der(BOB) + b"\x00",
        CAROL.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    ],
    ids=["empty", "no DER", "RSA", "P-384", "secp256k1", "X25519", "with more behind it", "a point alone"],
)
def test_only_ed25519_and_p256_in_their_one_encoding_are_approvers_keys(public: bytes) -> None:
    with pytest.raises(StrongroomError) as caught:
        proofs.read_key(public)
    assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("key", [BOB, CAROL], ids=["Ed25519", "P-256"])
def test_a_signature_is_of_one_file_and_one_key(key: Any) -> None:
    proofs.require(der(key), FILE, sign(key, FILE))
    other = CAROL if key is BOB else BOB
    for signature in (sign(key, TWO.file), sign(other, FILE), b"", bytes(64)):
        with pytest.raises(StrongroomError) as caught:
            proofs.require(der(key), FILE, signature)
        assert caught.value.reason is Reason.INVALID_SIGNATURE
    with pytest.raises(StrongroomError) as caught:
        proofs.require(der(key), FILE, bytes(129))
    assert caught.value.reason is Reason.FIELD_TOO_LARGE
