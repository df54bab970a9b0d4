"""Ciphertexts of AWS's sample proxy under a key that it shared with us: made here by its documented layout."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.harness import Daemon
from tests.kms import OK, Kms, b64, decryption, each_worker, encryption, everywhere, open_store, patiently
from tests.theirs import at_token
from tests.xksdoor import DECRYPT, ENCRYPT

from strongroom import Client

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]
INVALID_CIPHERTEXT = (400, "InvalidCiphertextException")
PLAINTEXT = b"what KMS has encrypted before"
CONSTANT = b"constant of its settings"[:20]
OURS = bytes.fromhex("0200000001")
FIELDS: dict[str, bytes | None] = {
    "no AAD": None,
    "empty AAD": b"",
    "AAD": b"project=nile",
    "much": bytes(8192),
}


def made_by_the_sample(secret: bytes, aad: bytes | None, metadata: bytes, iv: bytes = b"") -> dict[str, Any]:
    """A request to decrypt what it made: the AAD's length, its digest if the field was there, the metadata."""
    digest = b"" if aad is None else hashlib.sha256(aad).digest()
    bound = len(aad or b"").to_bytes(2) + digest + len(metadata).to_bytes(1) + metadata
    iv = iv or os.urandom(12)
    sealed = AESGCM(secret).encrypt(iv, PLAINTEXT, bound)
    parts = {"ciphertext": sealed[:-16], "initializationVector": iv, "authenticationTag": sealed[-16:]}
    given = {} if aad is None else {"additionalAuthenticatedData": b64(aad)}
    own = {"ciphertextMetadata": b64(metadata)} if metadata else {}
    return {**DECRYPT, **{name: b64(part) for name, part in parts.items()}, **given, **own}


@dataclass
class Shared:
    """A key of the sample proxy, adopted under two names: `old` opens what the sample made, `new` does not.

    Attributes:
        next_label: of an object that can be the key's next version.
    """

    secret: bytes
    key_id: str
    next_label: str
    kms: Kms


@pytest.fixture(scope="module")
def shared(daemon: Daemon, admin: Client) -> Iterator[Shared]:
    secret, label, next_label = os.urandom(32), *(f"theirs-{uuid.uuid4().hex}" for _ in range(2))
    planted = {"label": label, "value": secret.hex()}
    at_token(daemon.folder, ("plant", planted), ("plant", {"label": next_label}))
    store, kms = open_store(daemon, admin)
    key = patiently(admin.adopt_key, label=label).key_id
    for name, compatible in (("old", True), ("new", False)):
        patiently(admin.add_external_key, store.key_store_id, name, key, compatible=compatible)
    with ExitStack() as stack:
        stack.callback(kms.connection.close)
        workers = stack.enter_context(each_worker(kms, daemon))
        everywhere(workers, OK, key="new")
        yield Shared(secret, key, next_label, kms)


@pytest.mark.parametrize("metadata", [b"", b"\0", CONSTANT, OURS], ids=["none", "zero", "20", "ours"])
@pytest.mark.parametrize("field", FIELDS)
def test_what_the_sample_made_is_opened_by_a_compatible_key_only(
    shared: Shared, field: str, metadata: bytes
) -> None:
    document = made_by_the_sample(shared.secret, FIELDS[field], metadata)

    answer = shared.kms.ask("decrypt", document, "old")

    assert (answer.status, answer.json) == (200, {"plaintext": b64(PLAINTEXT)})
    same = FIELDS[field] is None and metadata == OURS  # without an AAD both forms are the same bytes
    assert shared.kms.outcome("decrypt", document, "new") == (OK if same else INVALID_CIPHERTEXT)


@pytest.mark.parametrize(
    ("made", "change"),
    [
        (None, {"additionalAuthenticatedData": ""}),
        (b"", {"additionalAuthenticatedData": None}),
        (b"a", {"additionalAuthenticatedData": b64(b"b")}),
        (b"a", {"additionalAuthenticatedData": b64(hashlib.sha256(b"a").digest())}),
        (b"a", {"ciphertextMetadata": None}),
        (b"a", {"ciphertextMetadata": b64(b"other")}),
        (b"a", {"authenticationTag": b64(bytes(16))}),
    ],
)
def test_what_was_changed_is_opened_by_no_key(
    shared: Shared, made: bytes | None, change: dict[str, str | None]
) -> None:
    document = {**made_by_the_sample(shared.secret, made, CONSTANT), **change}
    document = {name: value for name, value in document.items() if value is not None}

    assert shared.kms.outcome("decrypt", document, "old") == INVALID_CIPHERTEXT


def test_iv_of_16_bytes_is_none_that_the_sample_makes(shared: Shared) -> None:
    document = made_by_the_sample(shared.secret, None, CONSTANT, os.urandom(16))

    assert shared.kms.outcome("decrypt", document, "old") == INVALID_CIPHERTEXT


def test_compatible_key_encrypts_as_any_other(shared: Shared) -> None:
    asked = encryption(b"new", b"aad")
    sealed = shared.kms.ask("encrypt", asked, "old").json
    same = {"additionalAuthenticatedData": asked["additionalAuthenticatedData"]}

    for name in ("old", "new"):
        opened = shared.kms.ask("decrypt", decryption(sealed, **same), name)
        assert opened.json == {"plaintext": asked["plaintext"]}


def test_sample_s_ciphertexts_open_after_another_object_became_the_next_version(
    shared: Shared, daemon: Daemon, admin: Client
) -> None:
    before = shared.kms.ask("encrypt", ENCRYPT, "old").json
    patiently(admin.adopt_key, label=shared.next_label, key=shared.key_id)

    with each_worker(shared.kms, daemon) as workers:
        for each in workers:
            assert each.outcome("decrypt", made_by_the_sample(shared.secret, b"aad", CONSTANT), "old") == OK
            assert each.outcome("decrypt", decryption(before), "new") == OK
            after = each.ask("encrypt", ENCRYPT, "new").json
            assert each.outcome("decrypt", decryption(after), "new") == OK
