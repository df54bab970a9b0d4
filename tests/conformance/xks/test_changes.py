"""What changes while KMS calls: credentials, keys, certificate, switches, limits, policy, pins; on both workers."""

import base64
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Daemon, wait_until
from tests.kms import (
    AAD,
    CDIV,
    OK,
    Kms,
    audited,
    credential,
    decryption,
    each_worker,
    everywhere,
    open_store,
    patiently,
    request,
)
from tests.xksdoor import DESCRIBE, ENCRYPT, HEALTH, METADATA

from strongroom import Client
from strongroom.results import KeyStore, RequestLimit

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]
GONE = (401, "AuthenticationFailedException")
DENIED = (403, "AccessDeniedException")
NOT_FOUND = (404, "KeyNotFoundException")
INVALID_STATE = (400, "InvalidStateException")
THROTTLED = (429, "ThrottlingException")
OTHER_KMS_KEY = METADATA["kmsKeyArn"].replace("1234abcd", "4321dcba")


@dataclass
class Shop:
    """A store of the test's own, its manager, and a connection to each worker."""

    admin: Client
    store: KeyStore
    kms: Kms
    workers: list[Kms]

    @property
    def id(self) -> str:
        return self.store.key_store_id

    def update(self, **settings: Any) -> None:
        patiently(self.admin.update_key_store, self.id, **settings)

    def permit(self, *statements: dict[str, Any]) -> None:
        self.update(policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))


@pytest.fixture
def shop(daemon: Daemon, admin: Client) -> Iterator[Shop]:
    store, kms = open_store(daemon, admin)
    with closing(kms.connection), each_worker(kms, daemon) as workers:
        assert len(workers) == 2
        yield Shop(admin, store, kms, workers)


@contextmanager
def in_use(daemon: Daemon, kms: Kms) -> Iterator[list[tuple[int, str]]]:
    """Encrypt and decrypt without pause meanwhile, at every worker; gives the failures."""
    failures: list[tuple[int, str]] = []
    over, done = threading.Event(), [0]

    def use(kms: Kms) -> None:
        while not over.is_set():
            sealed = kms.ask("encrypt", ENCRYPT | AAD | CDIV)
            opened = kms.ask("decrypt", decryption(sealed.json, **AAD)) if sealed.status == 200 else sealed
            failures.extend([(opened.status, opened.error)] if opened.status != 200 else [])
            done[0] += 1

    with each_worker(kms, daemon) as workers:
        threads = [threading.Thread(target=use, args=[each], daemon=True) for each in workers]
        for thread in threads:
            thread.start()
        try:
            yield failures
        finally:
            over.set()
            for thread in threads:
                thread.join(30)
    assert done[0] > 10


# --- workers


def test_what_one_worker_encrypts_the_other_decrypts(shop: Shop) -> None:
    one, other = shop.workers

    sealed = one.ask("encrypt", ENCRYPT | AAD | CDIV).json

    assert other.ask("decrypt", decryption(sealed, **AAD)).json == {"plaintext": ENCRYPT["plaintext"]}


def test_load_balancer_asks_without_credentials(kms: Kms) -> None:
    for path in ("/ping", "/ready"):
        kms.connection.request("GET", path)
        reply = kms.connection.getresponse()
        reply.read()
        assert reply.status == 200


# --- credentials


def test_credentials_are_replaced_while_both_are_used_without_a_failed_call(
    shop: Shop, daemon: Daemon
) -> None:
    admin = shop.admin
    with ExitStack() as stack:
        new = credential(daemon, admin, shop.store)
        stack.callback(new.connection.close)
        failures = stack.enter_context(in_use(daemon, new))
        with in_use(daemon, shop.kms) as failures_of_old:
            third = credential(daemon, admin, shop.store)
            third.connection.close()
            time.sleep(0.2)
        patiently(admin.delete_key_store_credential, shop.id, shop.kms.access_key_id)

        everywhere(shop.workers, GONE)

        patiently(admin.delete_key_store_credential, shop.id, third.access_key_id)
        assert new.outcome("encrypt", ENCRYPT) == OK
        everywhere([third], GONE)
        third.connection.close()

    assert (failures, failures_of_old) == ([], [])


# --- keys


def test_key_rotates_while_it_is_used_and_opens_what_is_old(shop: Shop, daemon: Daemon) -> None:
    key = shop.admin.describe_external_key(shop.id, "key-1").key_id
    old = [each.ask("encrypt", ENCRYPT | AAD).json for each in shop.workers]

    with in_use(daemon, shop.kms) as failures:
        for _ in range(3):
            patiently(shop.admin.rotate_key, key)
        wait_until(lambda: all(_version(each) == 4 for each in shop.workers), 5)

    assert failures == []
    for each in shop.workers:
        for sealed in old:
            assert each.outcome("decrypt", decryption(sealed, **AAD)) == OK
    assert shop.kms.ask("metadata", DESCRIBE).json["keySpec"] == "AES_256"


def _version(kms: Kms) -> int:
    own = base64.b64decode(kms.ask("encrypt", ENCRYPT).json["ciphertextMetadata"])
    return int.from_bytes(own[1:5])


KINDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"spec": "RSA_2048", "usage": "ENCRYPT_DECRYPT"}, {"keySpec": "RSA_2048", "keyUsage": ["ENCRYPT", "DECRYPT"]}),
    ({"spec": "HMAC_256"}, {"keySpec": "HMAC_256", "keyUsage": ["SIGN", "VERIFY"]}),
    ({"spec": "ECC_NIST_P256", "usage": "SIGN_VERIFY"}, {"keySpec": "ECC_NIST_P256", "keyUsage": ["SIGN", "VERIFY"]}),
    ({"spec": "ECC_NIST_P256", "usage": "KEY_AGREEMENT"}, {"keySpec": "ECC_NIST_P256", "keyUsage": ["DERIVE"]}),
]  # fmt: skip


def test_metadata_tell_what_a_key_is_and_only_symmetric_ones_encrypt(shop: Shop) -> None:
    for number, (made, told) in enumerate(KINDS):
        key = patiently(shop.admin.create_key, **made).key_id
        name = f"kind-{number}"
        patiently(shop.admin.add_external_key, shop.id, name, key)
        everywhere(shop.workers, OK, "metadata", key=name)
        assert shop.kms.ask("metadata", DESCRIBE, key=name).json == {**told, "keyStatus": "ENABLED"}
        assert shop.kms.outcome("encrypt", ENCRYPT, key=name) == (400, "InvalidKeyUsageException")


def test_disabled_key_is_told_so_and_works_again_when_enabled(shop: Shop) -> None:
    key = shop.admin.describe_external_key(shop.id, "key-1").key_id
    patiently(shop.admin.disable_key, key)

    everywhere(shop.workers, INVALID_STATE)
    assert all(each.ask("metadata", DESCRIBE).json["keyStatus"] == "DISABLED" for each in shop.workers)

    patiently(shop.admin.enable_key, key)
    everywhere(shop.workers, OK)


# --- switches


def test_blocked_store_answers_nothing_and_works_again(shop: Shop) -> None:
    patiently(shop.admin.block_key_store, shop.id)
    everywhere(shop.workers, INVALID_STATE)
    everywhere(shop.workers, INVALID_STATE, "health")
    assert shop.kms.outcome("metadata", DESCRIBE) == INVALID_STATE

    patiently(shop.admin.unblock_key_store, shop.id)
    everywhere(shop.workers, OK)


def test_blocked_key_is_told_as_disabled_and_its_neighbour_is_used(shop: Shop) -> None:
    key = shop.admin.describe_external_key(shop.id, "key-1").key_id
    patiently(shop.admin.add_external_key, shop.id, "key-2", key)
    everywhere(shop.workers, OK, key="key-2")
    patiently(shop.admin.block_external_key, shop.id, "key-1")

    everywhere(shop.workers, INVALID_STATE)
    assert shop.kms.ask("metadata", DESCRIBE).json["keyStatus"] == "DISABLED"
    assert shop.kms.outcome("encrypt", ENCRYPT, key="key-2") == OK

    patiently(shop.admin.unblock_external_key, shop.id, "key-1")
    everywhere(shop.workers, OK)
    patiently(shop.admin.remove_external_key, shop.id, "key-1")
    everywhere(shop.workers, NOT_FOUND)


# --- limits


@pytest.mark.parametrize(
    ("limit", "free"),
    [
        ("limit", None),
        ("key_limit", {"key": "key-2"}),
        ("principal_limit", {"principal": "arn:aws:iam::123456789012:user/bob"}),
    ],
)
def test_over_a_limit_is_throttled_and_what_is_not_over_it_is_served(
    shop: Shop, limit: str, free: dict[str, str] | None
) -> None:
    key = shop.admin.describe_external_key(shop.id, "key-1").key_id
    patiently(shop.admin.add_external_key, shop.id, "key-2", key)
    everywhere(shop.workers, OK, key="key-2")
    shop.update(**{limit: RequestLimit(1, 5)})

    def is_throttled() -> bool:
        return all(each.outcome("encrypt", ENCRYPT, hasty=True) == THROTTLED for each in shop.workers)

    wait_until(is_throttled, 10)
    if free is not None:
        said = {"awsPrincipalArn": free["principal"]} if "principal" in free else {}
        name = free.get("key", "key-1")
        assert shop.kms.outcome("encrypt", request(ENCRYPT, **said), key=name) == OK
    else:
        assert shop.kms.outcome("health", HEALTH, hasty=True) == THROTTLED

    shop.update(**{limit: RequestLimit()})
    everywhere(shop.workers, OK)


# --- policy and pins


def test_denial_is_written_down_with_its_statement_and_the_id_of_kms(shop: Shop, daemon: Daemon) -> None:
    allow = {"Sid": "All", "Effect": "Allow", "Action": "xks:*"}
    deny = {
        "Sid": "NotAlice",
        "Effect": "Deny",
        "Action": "xks:Encrypt",
        "Condition": {"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/ali*"}},
    }
    elsewhere = {
        "Sid": "OnlyHere",
        "Effect": "Deny",
        "Action": "xks:*",
        "Condition": {"StringNotEquals": {"aws:RequestedRegion": "eu-central-1"}},
    }
    shop.permit(allow, deny, elsewhere)
    everywhere(shop.workers, DENIED)

    name = f"request-{uuid.uuid4()}"
    said = request(ENCRYPT, kmsRequestId=name)
    bob = request(ENCRYPT, awsPrincipalArn="arn:aws:iam::123456789012:user/bob")
    denied = shop.kms.ask("encrypt", said)

    assert (denied.status, denied.error) == DENIED
    assert shop.kms.outcome("encrypt", bob) == OK
    assert shop.kms.outcome("encrypt", bob, region="us-east-1") == DENIED
    assert shop.kms.outcome("metadata", DESCRIBE) == OK
    assert shop.kms.outcome("health", HEALTH, region="us-east-1") == OK
    (record,) = audited(daemon, name)
    assert (record["outcome"], record["store_policy"]) == ("ACCESS_DENIED", "NotAlice")
    assert record["aws_principal"] == METADATA["awsPrincipalArn"]
    assert record["request_id"] in denied.json["errorMessage"]

    shop.update(policy="")
    everywhere(shop.workers, OK)


def test_key_is_bound_to_the_kms_key_that_was_said_or_to_the_first_at_every_worker(shop: Shop) -> None:
    def pin(**how: str) -> None:
        patiently(shop.admin.update_external_key, shop.id, "key-1", **how)

    other = request(ENCRYPT, kmsKeyArn=OTHER_KMS_KEY)
    pin(pinning="FIXED", kms_key_arn=OTHER_KMS_KEY)
    everywhere(shop.workers, DENIED)
    assert shop.kms.outcome("encrypt", other) == OK

    pin(pinning="FIRST_USE")
    everywhere(shop.workers, OK)

    for each in shop.workers:
        assert each.outcome("encrypt", other) == DENIED
        assert each.outcome("encrypt", ENCRYPT) == OK
    assert shop.admin.describe_external_key(shop.id, "key-1").kms_key_arn == METADATA["kmsKeyArn"]


# --- certificate


def presented(port: int) -> bytes:
    """The certificate that a new connection is shown, whoever issued it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as peer,
    ):
        return peer.getpeercert(binary_form=True) or b""


def test_new_certificate_is_served_and_no_connection_is_cut(shop: Shop, daemon: Daemon) -> None:
    kms = shop.kms
    assert kms.outcome("health", HEALTH) == OK
    tls, before = daemon.folder / "tls", presented(kms.port)
    fresh = kms.authority.server(["localhost", "127.0.0.1"])
    stem = Path(tls / "next")
    fresh.write(stem.with_suffix(".pem"), stem.with_suffix(".key"))
    for suffix in (".key", ".pem"):
        stem.with_suffix(suffix).replace(tls / f"xks{suffix}")

    wait_until(lambda: all(presented(kms.port) != before for _ in range(6)), 8)

    assert kms.connection.sock is not None  # still the one from before
    assert kms.outcome("encrypt", ENCRYPT) == OK
