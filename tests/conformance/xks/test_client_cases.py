"""All that AWS's own test client asks of a proxy, with its oddities, and the status of each answer besides.

Its restricted keys are real ones here: objects of the token whose attributes let them do only so much.
"""

import base64
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.harness import Daemon
from tests.kms import (
    AAD,
    CDIV,
    OK,
    PARTS,
    Kms,
    b64,
    decoded,
    decryption,
    each_worker,
    encryption,
    everywhere,
    open_store,
    patiently,
    request,
)
from tests.theirs import at_token
from tests.xksdoor import DECRYPT, DESCRIBE, ENCRYPT, HEALTH

from strongroom import Client

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]
ACTS: dict[str, dict[str, Any]] = {
    "health": HEALTH,
    "metadata": DESCRIBE,
    "encrypt": ENCRYPT,
    "decrypt": DECRYPT,
}
OF_KEYS = ("metadata", "encrypt", "decrypt")
UNAUTHENTICATED = (401, "AuthenticationFailedException")
INVALID_USAGE = (400, "InvalidKeyUsageException")
INVALID_CIPHERTEXT = (400, "InvalidCiphertextException")
INVALID = (400, "ValidationException")


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("document", [{}, {"requestMetadata": {}}], ids=["absent", "empty"])
def test_without_request_metadata_a_request_is_invalid(kms: Kms, act: str, document: dict[str, Any]) -> None:
    whole = {**ACTS[act], **document} if document else {"plaintext": "", **document}

    assert kms.outcome(act, whole) == INVALID


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"access_key_id": "BETWEEN2TENAND3TENCHARACTERS"}, UNAUTHENTICATED),
        ({"access_key_id": "This_Is_An_Invalid_Access_Key_Id_35"}, UNAUTHENTICATED),
        ({"secret": "x" * 43}, UNAUTHENTICATED),
        ({"prefix": "/no/such/prefix"}, (404, "InvalidUriPathException")),
        ({"prefix": "/no/such/prefix", "secret": "x" * 43}, (404, "InvalidUriPathException")),
    ],
    ids=["unknown id", "impossible id", "wrong secret", "unknown prefix", "unknown prefix, wrong secret"],
)
def test_path_and_credentials_are_looked_at_in_this_order(
    kms: Kms, act: str, wrong: dict[str, str], refusal: tuple[int, str]
) -> None:
    assert kms.outcome(act, ACTS[act], **wrong) == refusal


@pytest.mark.parametrize("act", OF_KEYS)
def test_key_that_the_store_does_not_have_is_not_found(kms: Kms, act: str) -> None:
    assert kms.outcome(act, ACTS[act], key="non_existing_key") == (404, "KeyNotFoundException")


@pytest.mark.parametrize("operation", ["CreateKey", "DescribeKey", "SomethingOfNextYear"])
def test_metadata_are_told_whatever_kms_does_and_however_it_spells_its_key(kms: Kms, operation: str) -> None:
    odd = request(
        DESCRIBE,
        kmsOperation=operation,
        kmsKeyArn="arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
        kmsViaService="ebs",
        kmsRequestId="",
        sourceIdentity={"not": "known yet"},
    )

    answer = kms.ask("metadata", odd, region="us-east-1")

    assert answer.status == 200
    assert answer.json == {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}


def test_health_tells_of_the_fleet(kms: Kms) -> None:
    told = kms.ask("health", HEALTH).json

    assert told["xksProxyFleetSize"] == 3
    assert all(told[name] for name in ("xksProxyVendor", "xksProxyModel", "ekmVendor"))
    assert 1 <= len(told["ekmFleetDetails"]) <= 10
    assert {hsm["healthStatus"] for hsm in told["ekmFleetDetails"]} == {"ACTIVE"}
    assert all(hsm["id"] and hsm["model"] for hsm in told["ekmFleetDetails"])


LENGTHS = [0, 1, 15, 16, 17, 256, 4096, 4300, 8192]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("aad", [None, 0, 33, 8192], ids=str)
def test_what_is_encrypted_is_decrypted_and_every_part_has_its_length(
    kms: Kms, length: int, aad: int | None
) -> None:
    plaintext, given = os.urandom(length), None if aad is None else os.urandom(aad)
    asked = encryption(plaintext, given, **CDIV)

    sealed = kms.ask("encrypt", asked).json

    parts = decoded(sealed)
    assert len(parts["ciphertext"]) == length
    assert len(parts["initializationVector"]) in {12, 16}
    assert len(parts["authenticationTag"]) == 16
    assert len(parts["ciphertextMetadata"]) <= 20
    whole = b"".join(
        parts[name]
        for name in ("ciphertextMetadata", "initializationVector", "ciphertext", "authenticationTag")
    )
    assert parts["ciphertextDataIntegrityValue"] == hashlib.sha256((given or b"") + whole).digest()
    same = {name: asked[name] for name in AAD if name in asked}
    assert kms.ask("decrypt", decryption(sealed, **same)).json == {"plaintext": b64(plaintext)}


def test_integrity_value_is_given_where_it_is_asked_for_and_no_two_ivs_are_the_same(kms: Kms) -> None:
    many = [kms.ask("encrypt", ENCRYPT | AAD).json for _ in range(20)]

    assert not any("ciphertextDataIntegrityValue" in sealed for sealed in many)
    assert len({sealed["ciphertextMetadata"] + sealed["initializationVector"] for sealed in many}) == 20


CHANGES: dict[str, dict[str, Any]] = {
    "AAD gone": {"additionalAuthenticatedData": None},
    "AAD empty": {"additionalAuthenticatedData": ""},
    "AAD other": {"additionalAuthenticatedData": b64(b"other context")},
    "metadata gone": {"ciphertextMetadata": None},
    "metadata longer": {"ciphertextMetadata": lambda was: was + b"\0"},
    "metadata of another layout": {"ciphertextMetadata": lambda was: b"\2" + was[1:5]},
    "metadata of a layout to come": {"ciphertextMetadata": lambda was: b"\3" + was[1:]},
    "metadata of a version to come": {"ciphertextMetadata": lambda was: was[:4] + b"\2" + was[5:]},
    "metadata in the AAD": {
        "additionalAuthenticatedData": lambda was: was + b"\x11",
        "ciphertextMetadata": lambda was: was[:-1],
    },
    "IV of 16": {"initializationVector": lambda was: was + bytes(4)},
    "ciphertext shorter": {"ciphertext": lambda was: was[:-1]},
    "ciphertext empty": {"ciphertext": ""},
    **{
        f"{name} flipped at {at}": {name: lambda was, at=at: _flipped(was, at)}
        for name in ("ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata")
        for at in (0, -1)
    },
}


def _flipped(was: bytes, at: int) -> bytes:
    changed = bytearray(was)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_the_ciphertext_is_invalid(kms: Kms, change: str) -> None:
    whole = decryption(kms.ask("encrypt", ENCRYPT | AAD).json, **AAD)
    for name, new in CHANGES[change].items():
        if callable(new):
            whole[name] = b64(new(base64.b64decode(whole[name])))
        elif new is None:
            del whole[name]
        else:
            whole[name] = new

    assert kms.outcome("decrypt", whole) == INVALID_CIPHERTEXT


# --- restricted keys

FORGED: dict[str, Any] = {name: DECRYPT[name] for name in PARTS if name in DECRYPT} | {
    "ciphertextMetadata": b64(bytes.fromhex("0200000001"))  # AES-GCM, version 1
}
ASKED = {"bare": {}, "AAD": AAD, "CDIV": CDIV, "AAD and CDIV": AAD | CDIV}


@pytest.fixture(scope="module")
def restricted(daemon: Daemon, admin: Client) -> Iterator[Kms]:
    """A store of adopted keys that may encrypt, decrypt, both or neither, and a made one cut down by the store."""
    store, kms = open_store(daemon, admin)
    uses = {
        "whole": ["ENCRYPT", "DECRYPT"],
        "encrypt_only_key": ["ENCRYPT"],
        "decrypt_only_key": ["DECRYPT"],
        "impotent_key": ["WRAP", "UNWRAP"],
    }
    labels = {name: f"theirs-{uuid.uuid4().hex}" for name in uses}
    at_token(daemon.folder, *(("plant", {"label": labels[name], "uses": may}) for name, may in uses.items()))
    for name, label in labels.items():
        key = patiently(admin.adopt_key, label=label).key_id
        patiently(admin.add_external_key, store.key_store_id, name, key)
    cut = patiently(admin.create_key).key_id
    patiently(admin.add_external_key, store.key_store_id, "cut", cut, encrypts=True, decrypts=False)
    with closing(kms.connection), each_worker(kms, daemon) as workers:
        everywhere(workers, OK, "metadata", key="cut")  # the last that was added
        yield kms


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    ("key", "may_encrypt", "may_decrypt"),
    [
        ("whole", True, True),
        ("encrypt_only_key", True, False),
        ("decrypt_only_key", False, True),
        ("impotent_key", False, False),
        ("cut", True, False),
    ],
)
def test_key_does_what_it_may_and_a_checked_encryption_needs_both(
    restricted: Kms, key: str, asked: str, *, may_encrypt: bool, may_decrypt: bool
) -> None:
    given = ASKED[asked]
    encrypted = restricted.ask("encrypt", ENCRYPT | given, key)
    checks = "CDIV" in asked
    sealed = encrypted.json if encrypted.status == 200 else FORGED
    same = {name: given[name] for name in AAD if name in given}
    decrypted = restricted.outcome("decrypt", decryption(sealed, **same), key)

    expected = OK if may_encrypt and (may_decrypt or not checks) else INVALID_USAGE
    assert (encrypted.status, encrypted.error) == expected
    if not may_decrypt:
        assert decrypted == INVALID_USAGE
    elif not may_encrypt:
        assert decrypted == INVALID_CIPHERTEXT
    else:
        assert decrypted == OK


@pytest.mark.parametrize(
    ("key", "usage"),
    [
        ("whole", ["ENCRYPT", "DECRYPT"]),
        ("encrypt_only_key", ["ENCRYPT"]),
        ("decrypt_only_key", ["DECRYPT"]),
        ("impotent_key", []),
        ("cut", ["ENCRYPT"]),
    ],
)
def test_metadata_tell_what_a_restricted_key_may(restricted: Kms, key: str, usage: list[str]) -> None:
    assert restricted.ask("metadata", DESCRIBE, key).json == {
        "keySpec": "AES_256",
        "keyUsage": usage,
        "keyStatus": "ENABLED",
    }
