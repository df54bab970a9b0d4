"""What becomes of keys: versions, states, deletion, names, tags, policies, use counts."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from tests.harness import (
    ADMIN,
    OTHER,
    SERVICE,
    Daemon,
    allow,
    entitled,
    fresh_id,
    refused,
    wait_until,
    within,
)

from strongroom import Client
from strongroom.errors import StrongroomError

GHOST = str(uuid.uuid4())


@pytest.fixture
def key(admin: Client) -> str:
    return admin.create_key().key_id


@pytest.fixture(scope="module")
def crowd(daemon: Daemon) -> Iterator[list[Client]]:
    """Eight connections: with two workers, all on one once in 128 runs."""
    clients = [daemon.client() for _ in range(8)]
    yield clients
    for client in clients:
        client.close()


def test_a_new_key_is_enabled_at_version_1_with_the_defaults(admin: Client) -> None:
    key = admin.create_key(description="pay", tags={"team": "blue"})

    assert (key.spec, key.usage, key.custody_mode) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "WRAPPED")
    assert (key.state, key.enabled, key.current_version, key.exportable) == ("ENABLED", True, 1, False)
    assert key.arn == f"arn:aws:kms:local-1:111122223333:key/{key.key_id}"
    assert admin.describe_key(key.arn) == key
    assert admin.list_tags(key.key_id).tags == {"team": "blue"}


def test_old_versions_still_decrypt_and_verify(admin: Client) -> None:
    seal = admin.create_key().key_id
    sign = admin.create_key(spec="ECC_NIST_P256", usage="SIGN_VERIFY").key_id
    mac = admin.create_key(spec="HMAC_256").key_id
    sealed, signature, tag = (
        admin.encrypt(seal, b"x").ciphertext,
        admin.sign(sign, b"x").signature,
        admin.generate_mac(mac, b"x").mac,
    )
    public = admin.get_public_key(sign).public_key

    for key in (seal, sign, mac):
        assert admin.rotate_key(key).current_version == 2

    assert admin.decrypt(sealed).key_version == 1
    assert admin.encrypt(seal, b"x").key_version == 2
    assert admin.verify(sign, b"x", signature, key_version=1).key_version == 1
    assert admin.verify_mac(mac, b"x", tag, key_version=1).key_version == 1
    assert (
        admin.get_public_key(sign, key_version=1).public_key
        == public
        != admin.get_public_key(sign).public_key
    )
    with refused("INVALID_SIGNATURE"):
        admin.verify(sign, b"x", signature)
    with refused("INVALID_MAC"):
        admin.verify_mac(mac, b"x", tag)
    with refused("INVALID_FIELD", "key_version"):
        admin.sign(sign, b"x", key_version=3)
    with refused("INVALID_FIELD", "key_version"):
        admin.sign(sign, b"x", key_version=3, dry_run=True)
    assert [(v.version, v.current) for v in admin.list_key_versions(seal).items] == [(1, False), (2, True)]


def test_a_rotated_rsa_key_decrypts_by_version(admin: Client) -> None:
    key, oaep = admin.create_key(spec="RSA_2048", usage="ENCRYPT_DECRYPT").key_id, "RSAES_OAEP_SHA_256"
    sealed = admin.encrypt(key, b"x", algorithm=oaep).ciphertext
    admin.rotate_key(key)

    assert admin.decrypt(sealed, key=key, algorithm=oaep, key_version=1).plaintext == b"x"
    with refused("INVALID_CIPHERTEXT"):
        admin.decrypt(sealed, key=key, algorithm=oaep)


def test_a_resident_key_rotates_too(admin: Client) -> None:
    key = admin.create_key(custody_mode="RESIDENT").key_id
    sealed = admin.encrypt(key, b"x").ciphertext

    admin.rotate_key(key)

    assert admin.decrypt(sealed).key_version == 1
    assert admin.decrypt(admin.encrypt(key, b"x").ciphertext).key_version == 2


def test_versions_come_in_pages(admin: Client, key: str) -> None:
    for _ in range(4):
        admin.rotate_key(key)

    seen = [v.version for v in Client.pages(admin.list_key_versions, key, page_size=2)]

    assert seen == [1, 2, 3, 4, 5]


def _until_all_refuse(crowd: list[Client], reason: str, call: Callable[[Client], object]) -> float:
    def refuses(client: Client) -> bool:
        try:
            call(client)
        except StrongroomError as error:
            return error.reason == reason
        return False

    return wait_until(lambda: sum(map(refuses, crowd)) == len(crowd), 3.0)


@pytest.mark.timed
def test_a_disabled_key_stops_in_every_worker_within_a_second(
    admin: Client, crowd: list[Client], key: str
) -> None:
    sealed = admin.encrypt(key, b"x").ciphertext
    for client in crowd:
        client.decrypt(sealed)

    admin.disable_key(key)

    assert _until_all_refuse(crowd, "KEY_DISABLED", lambda c: c.decrypt(sealed)) < within(1.0)
    assert admin.describe_key(key).state == "DISABLED"
    assert admin.enable_key(key).enabled
    wait_until(lambda: _works(crowd, sealed), 1.0)


def _works(crowd: list[Client], sealed: bytes) -> bool:
    try:
        return all(c.decrypt(sealed).plaintext for c in crowd)
    except StrongroomError:
        return False


@pytest.mark.timed
def test_a_replaced_policy_is_in_force_in_every_worker_within_a_second(
    daemon: Daemon, admin: Client, key: str
) -> None:
    services = [daemon.client("service") for _ in range(8)]
    admin.put_key_policy(key, allow(SERVICE, "kms:Encrypt"))
    wait_until(lambda: _all_encrypt(services, key), 1.0)

    admin.put_key_policy(key, allow(SERVICE, "kms:Decrypt"))

    assert _until_all_refuse(services, "ACCESS_DENIED", lambda c: c.encrypt(key, b"x")) < within(1.0)
    for client in services:
        client.close()


def _all_encrypt(clients: list[Client], key: str) -> bool:
    try:
        return all(c.encrypt(key, b"x").ciphertext for c in clients)
    except StrongroomError:
        return False


def test_a_policy_is_read_back_as_it_was_put(admin: Client, key: str) -> None:
    text = allow(SERVICE, "kms:Sign") + "  "

    etag = admin.put_key_policy(key, text).etag

    assert (admin.get_key_policy(key).policy, admin.get_key_policy(key).etag) == (text, etag)


def test_a_policy_that_locks_its_author_out_is_refused_unless_wanted(admin: Client, key: str) -> None:
    lockout = json.dumps(
        {"Statement": {"Effect": "Allow", "Principal": {"AWS": SERVICE}, "Action": "kms:*", "Resource": "*"}}
    )

    with refused("POLICY_LOCKOUT"):
        admin.put_key_policy(key, lockout)
    with refused("POLICY_LOCKOUT"):
        admin.create_key(policy=lockout)
    with refused("MALFORMED_POLICY", "policy"):
        admin.put_key_policy(key, "{")
    with refused("MALFORMED_POLICY", "policy.Statement[0].Effect"):
        admin.create_key(policy='{"Statement": [{"Condition": {}}]}')
    admin.put_key_policy(key, lockout, bypass_policy_lockout_safety_check=True)
    with refused("ACCESS_DENIED"):
        admin.get_key_policy(key)


def test_rights_are_those_of_the_policy_and_no_more(admin: Client, service: Client, key: str) -> None:
    admin.put_key_policy(key, allow(SERVICE, "kms:Encrypt", "kms:GenerateDataKey"))

    def encrypts() -> bool:
        return _all_encrypt([service], key)

    wait_until(encrypts, 1.0)
    service.generate_data_key(key, number_of_bytes=16)
    sealed = service.encrypt(key, b"x").ciphertext
    for refusal in (
        lambda: service.decrypt(sealed),
        lambda: service.re_encrypt(sealed, key),
        lambda: service.generate_data_key_without_plaintext(key, number_of_bytes=16),
        lambda: service.describe_key(key),
        lambda: service.put_key_policy(key, allow(SERVICE, "kms:*")),
        lambda: service.disable_key(key),
    ):
        with refused("ACCESS_DENIED"):
            refusal()


def test_re_encryption_needs_a_right_on_each_key(admin: Client, service: Client) -> None:
    source = admin.create_key(policy=allow(SERVICE, "kms:ReEncryptFrom")).key_id
    target = admin.create_key(policy=allow(SERVICE, "kms:ReEncryptTo")).key_id
    sealed = admin.encrypt(source, b"x").ciphertext

    moved = service.re_encrypt(sealed, target)

    assert admin.decrypt(moved.ciphertext).key_arn.endswith(target)
    with refused("ACCESS_DENIED"):
        service.re_encrypt(moved.ciphertext, source)


def test_another_account_reaches_a_key_by_its_arn_where_both_sides_allow(
    daemon: Daemon, admin: Client
) -> None:
    key = admin.create_key(policy=allow(OTHER, "kms:Encrypt", "kms:Decrypt"))
    closed = admin.create_key()

    with daemon.client("other") as other, refused("ACCESS_DENIED"):
        other.encrypt(key.arn, b"x")
    with daemon.client("other") as other, entitled(admin, OTHER, "kms:Encrypt", "kms:Decrypt"):
        sealed = other.encrypt(key.arn, b"x").ciphertext
        assert other.decrypt(sealed).plaintext == b"x"
        assert other.decrypt(sealed, key=key.arn).plaintext == b"x"
        with refused("ACCESS_DENIED"):
            other.encrypt(key.key_id, b"x")  # bare ids are of one's own account
        with refused("ACCESS_DENIED"):
            other.encrypt(key.arn.replace("111122223333", "999988887777"), b"x")
        with refused("KEY_MISMATCH"):
            other.decrypt(sealed, key=key.key_id)
        with refused("ACCESS_DENIED"):
            other.encrypt(closed.arn, b"x")


def test_every_change_moves_the_etag_and_old_etags_are_refused(admin: Client, key: str) -> None:
    old = admin.describe_key(key).etag
    new = admin.update_key_description(key, "words", etag=old).etag

    assert new != old
    for change in (
        lambda: admin.update_key_description(key, "other", etag=old),
        lambda: admin.disable_key(key, etag=old),
        lambda: admin.enable_key(key, etag=old),
        lambda: admin.rotate_key(key, etag=old),
        lambda: admin.schedule_key_deletion(key, etag=old),
        lambda: admin.tag_key(key, {"a": "b"}, etag=old),
        lambda: admin.untag_key(key, ["a"], etag=old),
        lambda: admin.put_key_policy(key, allow(SERVICE, "kms:Sign"), etag=old),
        lambda: admin.disable_key(key, etag="nonsense"),
    ):
        with refused("ETAG_MISMATCH", "etag"):
            change()
    assert admin.describe_key(key).etag == new
    admin.disable_key(key, etag=new)


def test_deletion_waits_can_be_called_off_and_leaves_the_key_disabled(admin: Client, key: str) -> None:
    sealed = admin.encrypt(key, b"x").ciphertext

    pending = admin.schedule_key_deletion(key, pending_window_days=7)

    assert pending.state == "PENDING_DELETION"
    assert pending.deletion_time is not None
    assert 6.99 < (pending.deletion_time - _now()).total_seconds() / 86_400 < 7.01
    with refused("KEY_PENDING_DELETION"):
        admin.decrypt(sealed)
    with refused("KEY_PENDING_DELETION"):
        admin.enable_key(key)
    kept = admin.cancel_key_deletion(key)
    assert (kept.state, kept.deletion_time) == ("DISABLED", None)
    with refused("INVALID_KEY_STATE"):
        admin.cancel_key_deletion(key)
    admin.enable_key(key)
    assert admin.decrypt(sealed).plaintext == b"x"


def _now() -> datetime:
    return datetime.now(UTC)


def test_the_default_window_is_30_days(admin: Client, key: str) -> None:
    due = admin.schedule_key_deletion(key).deletion_time

    assert due is not None
    assert 29.99 < (due - _now()).total_seconds() / 86_400 < 30.01


def test_aliases_name_move_and_go(admin: Client, key: str) -> None:
    alias, second = f"alias/{uuid.uuid4()}", admin.create_key().key_id

    made = admin.create_alias(alias, key)

    assert (made.name, made.key_arn.endswith(key)) == (alias, True)
    for name in (alias, made.arn):
        assert admin.describe_key(name).key_id == key
        assert admin.encrypt(name, b"x").key_arn.endswith(key)
    with refused("ALREADY_EXISTS", "alias"):
        admin.create_alias(alias, second)
    moved = admin.update_alias(alias, second, etag=made.etag)
    assert (moved.key_arn.endswith(second), moved.created_time) == (True, made.created_time)
    wait_until(lambda: admin.describe_key(alias).key_id == second, 1.0)
    with refused("ETAG_MISMATCH", "etag"):
        admin.delete_alias(alias, etag=made.etag)
    assert [a.name for a in admin.list_aliases(second).items] == [alias]
    admin.delete_alias(alias, etag=moved.etag)
    with refused("ACCESS_DENIED"):
        admin.describe_key(alias)
    assert admin.list_aliases(second).items == ()


def test_an_alias_is_made_for_a_key_that_is_named_itself(admin: Client, key: str) -> None:
    alias = f"alias/{uuid.uuid4()}"
    admin.create_alias(alias, key)

    with refused("INVALID_FIELD", "key"):
        admin.create_alias(f"alias/{uuid.uuid4()}", alias)
    with refused("INVALID_FIELD", "key"):
        admin.update_alias(alias, alias)


def test_an_alias_moves_only_to_a_key_of_its_kind(admin: Client, key: str) -> None:
    alias = f"alias/{uuid.uuid4()}"
    admin.create_alias(alias, key)

    for spec in ("HMAC_256", "ECC_SECG_P256K1"):
        with refused("INVALID_KEY_USAGE"):
            admin.update_alias(alias, admin.create_key(spec=spec).key_id)
    with refused("INVALID_KEY_USAGE"):
        admin.update_alias(alias, admin.create_key(spec="RSA_2048", usage="ENCRYPT_DECRYPT").key_id)


def test_aliases_are_of_their_account(daemon: Daemon, admin: Client) -> None:
    key = admin.create_key(policy=allow(OTHER, "kms:*"))
    alias = f"alias/{uuid.uuid4()}"
    made = admin.create_alias(alias, key.key_id)

    with daemon.client("other") as other, entitled(admin, OTHER, "kms:DescribeKey"):
        with refused("ACCESS_DENIED"):
            other.describe_key(alias)
        assert other.describe_key(made.arn).key_id == key.key_id


def test_tags_are_set_replaced_and_taken_off(admin: Client, key: str) -> None:
    admin.tag_key(key, {"a": "1", "b": "2"})
    tagged = admin.tag_key(key, {"b": "3"})

    assert tagged.tags == {"a": "1", "b": "3"}
    assert admin.untag_key(key, ["a", "never"]).tags == {"b": "3"}
    with refused("INVALID_FIELD", "tags"):
        admin.tag_key(key, {})
    with refused("INVALID_FIELD", "tag_keys"):
        admin.untag_key(key, [])


def test_lists_filter_page_and_bind_their_tokens(admin: Client, service: Client) -> None:
    mark = str(uuid.uuid4())
    made = sorted(admin.create_key(spec="HMAC_224", tags={mark: str(n % 2)}).key_id for n in range(5))

    found = [k.key_id for k in Client.pages(admin.list_keys, tag_key=mark, page_size=2)]
    odd = admin.list_keys(tag_key=mark, tag_value="1").items
    token = admin.list_keys(tag_key=mark, page_size=2).next_page_token

    assert found == made
    assert len(odd) == 2
    assert admin.list_keys(tag_key=mark, spec="RSA_2048").items == ()
    assert len(admin.list_keys(tag_key=mark, state="ENABLED").items) == 5
    assert token
    for other in (
        lambda: admin.list_keys(tag_key="other", page_token=token),
        lambda: admin.list_keys(tag_key=mark, tag_value="", page_token=token),
        lambda: admin.list_aliases(page_token=token),
        lambda: admin.list_limits(page_token=token),
        lambda: admin.list_audit_records(page_token=token),
        lambda: admin.list_key_versions(made[0], page_token=token),
        lambda: admin.list_keys(page_token="nonsense"),
    ):
        with refused("INVALID_PAGE_TOKEN", "page_token"):
            other()
    with refused("INVALID_FIELD", "tag_value"):
        admin.list_keys(tag_value="x")
    with refused("ACCESS_DENIED"):
        service.list_keys()


def test_uses_are_counted_by_operation_and_item(admin: Client, key: str) -> None:
    fresh = admin.get_key_usage(key)
    sealed = admin.encrypt(key, b"x").ciphertext
    admin.decrypt(sealed)
    admin.batch_encrypt(key, [b"x", b"", b"y"])
    admin.batch_decrypt([sealed, b"nonsense", sealed, sealed])
    admin.re_encrypt(sealed, key)
    with refused("DRY_RUN_SUCCEEDED"):
        admin.encrypt(key, b"x", dry_run=True)

    expected = {"Encrypt": 3, "Decrypt": 4, "ReEncryptFrom": 1, "ReEncryptTo": 1}
    wait_until(lambda: admin.get_key_usage(key).operation_counts == expected, 8.0)

    used = admin.get_key_usage(key)
    assert (fresh.operation_counts, fresh.last_used_time, fresh.last_operation) == ({}, None, "")
    assert used.last_used_time is not None
    assert used.last_operation in expected
    assert used.tracking_start_time == admin.describe_key(key).created_time


def test_repeating_a_mutation_gives_the_first_answer_and_other_arguments_an_error(
    admin: Client, service: Client
) -> None:
    once = fresh_id()
    first = admin.create_key(description="one", request_id=once)

    assert admin.create_key(description="one", request_id=once) == first
    with refused("REQUEST_ID_REUSED", "request_id"):
        admin.create_key(description="two", request_id=once)
    with refused("REQUEST_ID_REUSED", "request_id"):
        admin.disable_key(first.key_id, request_id=once)
    rotate = fresh_id()
    assert admin.rotate_key(first.key_id, request_id=rotate).current_version == 2
    assert admin.rotate_key(first.key_id, request_id=rotate).current_version == 2
    assert admin.describe_key(first.key_id).current_version == 2


def test_every_kind_of_mutation_can_be_repeated(admin: Client, key: str) -> None:
    alias, other = f"alias/{uuid.uuid4()}", admin.create_key().key_id
    policy = allow(SERVICE, "kms:Sign")
    calls: list[Callable[[str], object]] = [
        lambda once: admin.create_key(custody_mode="RESIDENT", request_id=once),
        lambda once: admin.update_key_description(key, "x", request_id=once),
        lambda once: admin.create_alias(alias, key, request_id=once),
        lambda once: admin.update_alias(alias, other, request_id=once),
        lambda once: admin.delete_alias(alias, request_id=once),
        lambda once: admin.tag_key(key, {"a": "b"}, request_id=once),
        lambda once: admin.untag_key(key, ["a"], request_id=once),
        lambda once: admin.put_key_policy(key, policy, request_id=once),
        lambda once: admin.put_limit("KEY", key, 7, request_id=once),
        lambda once: admin.delete_limit("KEY", key, request_id=once),
        lambda once: admin.disable_key(key, request_id=once),
        lambda once: admin.enable_key(key, request_id=once),
        lambda once: admin.schedule_key_deletion(key, request_id=once),
        lambda once: admin.cancel_key_deletion(key, request_id=once),
    ]
    for call in calls:
        once = fresh_id()
        first = call(once)
        etag = admin.describe_key(key).etag
        assert call(once) == first
        assert admin.describe_key(key).etag == etag


def test_idempotency_keys_are_the_callers_own(daemon: Daemon, admin: Client, key: str) -> None:
    once = fresh_id()
    admin.put_key_policy(key, allow(SERVICE, "kms:*", also=ADMIN), request_id=once)
    with daemon.client("service") as service:
        wait_until(lambda: _all_encrypt([service], key), 1.0)
        assert service.update_key_description(key, "mine", request_id=once).description == "mine"


def test_answers_survive_a_restart(own_daemon: Daemon) -> None:
    once, resident = fresh_id(), fresh_id()
    with own_daemon.client() as admin:
        first = admin.create_key(request_id=once)
        second = admin.create_key(custody_mode="RESIDENT", request_id=resident)
    own_daemon.kill()
    own_daemon.start()
    with own_daemon.client() as admin:
        assert admin.create_key(request_id=once) == first
        assert admin.create_key(custody_mode="RESIDENT", request_id=resident) == second
        with refused("REQUEST_ID_REUSED"):
            admin.create_key(description="other", request_id=once)
        assert {k.key_id for k in admin.list_keys().items} == {first.key_id, second.key_id}
        verified = own_daemon.command("audit", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
