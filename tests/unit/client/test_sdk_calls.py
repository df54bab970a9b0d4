"""The clients against a daemon that answers, refuses, lies and dies over real mTLS."""

import asyncio
import datetime as dt
import inspect
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tests.unit.client.fake_daemon import (
    ARN,
    FILES,
    KEY_ID,
    QUICK,
    FakeDaemon,
    Pems,
    issue,
    pem_of,
    refusal,
    reply_of,
    slowly,
)

import strongroom
from strongroom import AsyncClient, Client, RetryPolicy, Settings, errors, names, results
from strongroom import _enums as enums
from strongroom._operations import Operations, StreamOperations
from strongroom.v1 import crypto_pb2, events_pb2, key_stores_pb2, keys_pb2, quota_pb2
from strongroomd.domain.errors import Reason

UNARY = [
    (service.name, method.name)
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming and not method.server_streaming
]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "create_key": (),
    "adopt_key": (),
    "list_keys": (),
    "list_aliases": (),
    "list_limits": (),
    "list_audit_records": (),
    "get_audit_checkpoint": (),
    "get_caller_identity": (),
    "update_key_description": ("k", "text"),
    "create_alias": ("alias/a", "k"),
    "update_alias": ("alias/a", "k"),
    "delete_alias": ("alias/a",),
    "tag_key": ("k", {"a": "b"}),
    "untag_key": ("k", ["a"]),
    "put_key_policy": ("k", "{}"),
    "encrypt": ("alias/k", b"x"),
    "decrypt": (b"x",),
    "re_encrypt": (b"x", "alias/k"),
    "sign": ("alias/k", b"x"),
    "verify": ("alias/k", b"x", b"y"),
    "generate_mac": ("alias/k", b"x"),
    "verify_mac": ("alias/k", b"x", b"y"),
    "derive_shared_secret": ("alias/k", b"x"),
    "generate_random": (32,),
    "generate_data_key_pair": ("alias/k", "RSA_2048"),
    "generate_data_key_pair_without_plaintext": ("alias/k", "RSA_2048"),
    "batch_encrypt": ("alias/k", [b"x"]),
    "batch_decrypt": ([b"x"],),
    "batch_sign": ("alias/k", [b"x"]),
    "create_grant": ("k", "arn", ["Decrypt"]),
    "list_retirable_grants": ("arn",),
    "retire_grant": ("token",),
    "revoke_grant": ("k", "id"),
    "get_limit": ("CLASS", "RSA"),
    "put_limit": ("CLASS", "RSA", 5),
    "delete_limit": ("CLASS", "RSA"),
    "get_quota_usage": ("CLASS", "RSA"),
    "request_quota": ("CLASS", "RSA", 5),
    "get_quota_request": ("id",),
    "list_quota_requests": (),
    "answer_quota_request": ("id", "DENY"),
    "cancel_quota_request": ("id",),
    "list_sinks": (),
    "list_dead_letters": (),
    "redrive_dead_letter": (),
    "get_compliance_report": (),
    "list_accounts": (),
    "put_guard_rail": ("111122223333", "rail", "{}"),
    "get_guard_rail": ("111122223333", "rail"),
    "delete_guard_rail": ("111122223333", "rail"),
    "list_principals": (),
    "tag_principal": ("arn", {"a": "b"}),
    "untag_principal": ("arn", ["a"]),
    "put_identity_policy": ("arn", "policy", "{}"),
    "get_identity_policy": ("arn", "policy"),
    "delete_identity_policy": ("arn", "policy"),
    "put_trust_policy": ("arn", "{}"),
    "activate_access_key": ("arn", "AKIA"),
    "deactivate_access_key": ("arn", "AKIA"),
    "delete_access_key": ("arn", "AKIA"),
    "list_house_keys": (),
    "rotate_house_key": ("kek-sealed",),
    "start_rewrap": (),
    "get_rewrap": (),
    "cancel_rewrap": (),
    "create_key_store": (),
    "list_key_stores": (),
    "delete_key_store_credential": ("store", "id"),
    "add_external_key": ("store", "id", "alias/k"),
    "describe_external_key": ("store", "id"),
    "update_external_key": ("store", "id"),
    "block_external_key": ("store", "id"),
    "unblock_external_key": ("store", "id"),
    "remove_external_key": ("store", "id"),
    "assume_role": ("arn", "session"),
    "import_key_material": ("alias/k", b"token", b"wrapped"),
    "list_statement_keys": (),
    "enrol_approver": ("arn", b"key", b"proof"),
    "list_approvers": (),
    "get_quorum": (),
    "put_quorum": (2, "id"),
    "ask_policy_change": ("alias/k", "{}"),
    "list_approvals": (),
    "approve_request": ("id", b"signature"),
    "register_wrapping_key": ("name", "RSA", b"key", "id"),
    "list_wrapping_keys": (),
    "get_peer_statement": (),
    "register_peer": (b"statement", b"signature", b"key", "id"),
    "list_peers": (),
    "replicate_key": ("alias/k", "local-2"),
    "get_replica_bundle": ("alias/k", "local-2"),
    "import_replica": (b"bundle", b"signature"),
    "acknowledge_replica": ("alias/k", b"receipt", b"signature"),
    "remove_replica": ("alias/k", "local-2"),
    "update_primary_region": ("alias/k", "local-2"),
    "move_lost_primary": ("alias/k", "local-2", "id"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "ask_policy_change": {"purpose": "x"},
    "request_export": {"purpose": "x", "public_key": b"key"},
    "add_identity": {"uri": "spiffe://example.org/a"},
    "get_parameters_for_import": {
        "wrapping_algorithm": "RSAES_OAEP_SHA_1",
        "wrapping_key_spec": "RSA_2048",
    },
    "remove_identity": {"subject": "CN=a", "issuer_spki_sha256": "0" * 64},
}


NAMES = {"AskApproval": "ask_policy_change"}
"""One RPC, a method for each thing that can be asked; this stands for them all."""


def python_name(method: str) -> str:
    return NAMES.get(method) or re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


def call(client: Any, method: str) -> Any:
    name = python_name(method)
    return getattr(client, name)(*ARGUMENTS.get(name, ("alias/k",)), **OPTIONS.get(name, {}))


@pytest.mark.parametrize(("service", "method"), UNARY)
def test_every_unary_rpc_is_a_method_with_a_docstring(service: str, method: str) -> None:
    operation = getattr(Operations, python_name(method))

    assert operation.__doc__
    assert inspect.signature(operation.build).parameters is not None


@pytest.mark.parametrize(("service", "method"), UNARY)
def test_every_method_calls_its_own_rpc(
    client: Client, daemon: FakeDaemon, service: str, method: str
) -> None:
    call(client.with_timeout(5.0), method)

    assert daemon.methods == [method]


async def test_every_method_works_the_same_from_asyncio(daemon: FakeDaemon) -> None:
    async with AsyncClient(daemon.settings, retry=QUICK) as client:
        for _, method in UNARY:
            await call(client, method)

    assert daemon.methods == [method for _, method in UNARY]


def test_every_stream_operation_is_one_of_operate() -> None:
    carried = {
        field.name for field in crypto_pb2.OperateRequest.DESCRIPTOR.oneofs_by_name["operation"].fields
    }

    assert {name for name in vars(StreamOperations) if not name.startswith("_")} == carried


@pytest.mark.parametrize(
    ("codec", "vocabulary"),
    [
        (enums.KEY_SPEC, names.KeySpec),
        (enums.KEY_USAGE, names.KeyUsage),
        (enums.KEY_STATE, names.KeyState),
        (enums.CUSTODY_MODE, names.CustodyMode),
        (enums.KEY_MANAGER, names.KeyManager),
        (enums.ENCRYPTION, names.EncryptionAlgorithm),
        (enums.SIGNING, names.SigningAlgorithm),
        (enums.MAC, names.MacAlgorithm),
        (enums.KEY_AGREEMENT, names.KeyAgreementAlgorithm),
        (enums.MESSAGE_TYPE, names.MessageType),
        (enums.DATA_KEY_SPEC, names.DataKeySpec),
        (enums.DATA_KEY_PAIR_SPEC, names.DataKeyPairSpec),
        (enums.LIMIT_SCOPE, names.LimitScope),
        (enums.PINNING, names.Pinning),
        (enums.GUARDED_ACTION, names.GuardedAction),
        (enums.APPROVAL_STATE, names.ApprovalState),
        (enums.WRAPPING_KEY_KIND, names.WrappingKeyKind),
        (enums.EXPORT_LEVEL, names.ExportLevel),
        (enums.EXPORT_ALGORITHM, names.ExportAlgorithm),
        (enums.PRINCIPAL_KIND, names.PrincipalKind),
        (enums.WRAPPING, names.WrappingAlgorithm),
        (enums.WRAPPING_KEY_SPEC, names.WrappingKeySpec),
        (enums.EXPIRATION_MODEL, names.ExpirationModel),
        (enums.IMPORT_TYPE, names.ImportType),
        (enums.IMPORT_LEVEL, names.ImportLevel),
        (enums.MATERIAL_STATE, names.MaterialState),
        (enums.MULTI_REGION_KEY_TYPE, names.MultiRegionKeyType),
    ],
)
def test_vocabularies_are_those_of_the_protos(codec: enums.Codec, vocabulary: Any) -> None:
    assert set(codec.names) == {str(member) for member in vocabulary}
    assert all(codec.name(codec.number(name, "field")) == name for name in codec.names)


def test_names_of_a_newer_daemon_do_not_break_an_answer() -> None:
    assert enums.KEY_STATE.name(99) == "UNKNOWN_99"


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(strongroom, name) is not None for name in dir(strongroom))
    with pytest.raises(AttributeError):
        _ = strongroom.nothing_of_this_name


def test_every_reason_of_the_daemon_has_a_class_of_its_own_kind() -> None:
    assert all(errors.class_of(reason) is not errors.StrongroomError for reason in Reason)
    assert set(errors.KNOWN_REASONS) == {*map(str, Reason), *errors.CLIENT_REASONS}


@pytest.mark.parametrize("reason", list(Reason))
def test_errors_of_the_daemon_arrive_whole(daemon: FakeDaemon, reason: Reason) -> None:
    error = refusal(
        reason,
        message="what went wrong",
        field="plaintext",
        retry_after=1.5,
        violations=(("KEY/k", "too often"),),
    )
    daemon.faults.extend([error] * 3)

    with (
        Client(daemon.settings, retry=RetryPolicy(max_attempts=1)) as client,
        pytest.raises(errors.class_of(reason)) as raised,
    ):
        client.encrypt("alias/k", b"x")

    found = raised.value
    assert (found.reason, found.message, found.field) == (reason, "what went wrong", "plaintext")
    assert (found.retry_after, found.request_id) == (1.5, "req-1")
    assert ("KEY/k", "too often") in found.violations
    assert found.code in {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.INTERNAL, errors.Unavailable),
        (grpc.StatusCode.UNIMPLEMENTED, errors.OperatorError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.InvalidRequest),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequest),
    ],
)
def test_statuses_without_details_are_errors_as_well(
    daemon: FakeDaemon, code: grpc.StatusCode, kind: type[errors.StrongroomError]
) -> None:
    daemon.faults.append(code)

    with (
        Client(daemon.settings, retry=RetryPolicy(max_attempts=1)) as client,
        pytest.raises(kind) as raised,
    ):
        client.describe_key("alias/k")

    assert raised.value.reason in errors.KNOWN_REASONS


@pytest.mark.parametrize("fault", ["HSM_UNAVAILABLE", "STORE_UNAVAILABLE", "OVERLOADED", "QUOTA_EXCEEDED"])
def test_passing_trouble_is_ridden_out(client: Client, daemon: FakeDaemon, fault: str) -> None:
    daemon.faults.extend([refusal(fault, retry_after=0.001), refusal(fault)])

    assert client.encrypt("alias/k", b"x").ciphertext == b"SR:x"
    assert len(daemon.calls) == 3


def test_a_repeated_mutation_keeps_its_request_id(client: Client, daemon: FakeDaemon) -> None:
    daemon.faults.extend([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE])

    client.create_key(description="payroll")
    client.create_key(description="payroll")

    ids = [getattr(request, "request_id", "") for _, request in daemon.calls]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", ids[0])


def test_a_mutation_with_an_empty_request_id_is_sent_once(client: Client, daemon: FakeDaemon) -> None:
    daemon.faults.append(grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(errors.Unavailable):
        client.create_key(request_id="")

    assert len(daemon.calls) == 1


def test_quota_waits_end_with_the_deadline(daemon: FakeDaemon) -> None:
    daemon.faults.extend([refusal("QUOTA_EXCEEDED", retry_after=0.2)] * 100)
    started = time.monotonic()

    with Client(daemon.settings, retry=QUICK) as client, pytest.raises(errors.Throttled) as raised:
        client.with_timeout(0.7).encrypt("alias/k", b"x")

    assert time.monotonic() - started < 1.5
    assert raised.value.retry_after == 0.2
    assert 3 <= len(daemon.calls) <= 4


def test_a_hanging_daemon_is_left_at_the_deadline(client: Client, daemon: FakeDaemon) -> None:
    daemon.answers["DescribeKey"] = slowly("DescribeKey", 1.0)

    with pytest.raises(errors.DeadlineExceeded):
        client.with_timeout(0.2).describe_key("alias/k")


def test_checksums_of_the_request_are_sent_and_their_check_is_demanded(
    client: Client, daemon: FakeDaemon
) -> None:
    def forget(reply: Any) -> None:
        reply.verified_plaintext_crc32c = False

    daemon.damage = forget
    client.encrypt("alias/k", b"123456789")

    # The check value of CRC-32/ISCSI (RFC 3720) over "123456789".
    assert {request.plaintext_crc32c for _, request in daemon.calls} == {0xE3069283}  # type: ignore[attr-defined]
    assert len(daemon.calls) == 2


@pytest.mark.parametrize(
    "method", ["Encrypt", "Decrypt", "Sign", "GenerateMac", "GenerateDataKey", "GenerateRandom"]
)
def test_an_answer_damaged_twice_is_an_integrity_error(
    client: Client, daemon: FakeDaemon, method: str
) -> None:
    def damaged(request: Any) -> Any:
        reply: Any = reply_of(method, request)
        name = next(
            field.name
            for field in reply.DESCRIPTOR.fields
            if field.name + "_crc32c" in reply.DESCRIPTOR.fields_by_name
        )
        payload = bytearray(getattr(reply, name))
        payload[0] ^= 1
        setattr(reply, name, bytes(payload))
        return reply

    daemon.answers[method] = damaged

    with pytest.raises(errors.IntegrityError) as raised:
        call(client, method)

    assert raised.value.reason == "REPLY_DAMAGED"
    assert len(daemon.calls) == 2


@pytest.mark.parametrize("key", [KEY_ID.replace("1", "2"), ARN.replace("1", "2")])
def test_an_answer_about_another_key_is_refused(client: Client, key: str) -> None:
    with pytest.raises(errors.IntegrityError):
        client.encrypt(key, b"x")


@pytest.mark.parametrize("key", [KEY_ID, ARN, "alias/k", ARN.replace(f"key/{KEY_ID}", "alias/k")])
def test_an_answer_about_the_key_that_was_named_is_taken(client: Client, key: str) -> None:
    assert client.encrypt(key, b"x").key_arn == ARN


def test_an_answer_about_another_version_is_refused(client: Client, daemon: FakeDaemon) -> None:
    def other(reply: Any) -> None:
        reply.key_version = 8

    daemon.damage = other
    assert client.sign("alias/k", b"x", key_version=7).key_version == 7
    assert len(daemon.calls) == 2


def test_secrets_are_in_no_repr(client: Client) -> None:
    canary = b"canary-of-a-secret"

    answers = [
        client.decrypt(b"SR:" + canary),
        client.generate_data_key("alias/k"),
        client.generate_data_key_pair("alias/k", "RSA_2048"),
        client.derive_shared_secret("alias/k", b"point"),
        client.generate_random(32),
    ]

    text = repr(answers)
    assert "canary" not in text
    assert (
        "\\x07\\x07" not in text.replace("ciphertext=b'SR:" + "\\x07" * 32, "").split("sealed_private_key")[0]
    )
    assert "canary" not in repr(Operations.encrypt.build("alias/k", canary))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (lambda client: client.encrypt(5, b"x"), "key"),
        (lambda client: client.encrypt("alias/k", "text"), "plaintext"),
        (lambda client: client.encrypt("alias/\udcff", b"x"), "key"),
        (lambda client: client.encrypt("alias/k", b"x", context={"a": 5}), "encryption_context"),
        (lambda client: client.encrypt("alias/k", b"x", context={"\ud800": ""}), "encryption_context"),
        (lambda client: client.encrypt("alias/k", b"x", context=[1]), "encryption_context"),
        (lambda client: client.encrypt("alias/k", b"x", algorithm="ROT13"), "encryption_algorithm"),
        (lambda client: client.sign("alias/k", b"x", key_version=-1), "key_version"),
        (lambda client: client.sign("alias/k", b"x", key_version=1 << 32), "key_version"),
        (lambda client: client.generate_random(2.5), "number_of_bytes"),
        (lambda client: client.generate_data_key("alias/k", spec="AES_256", number_of_bytes=32), "length"),
        (lambda client: client.create_key(spec=7), "key_spec"),
        (lambda client: client.create_key(spec=["RSA_2048"]), "key_spec"),
        (lambda client: client.create_key(tags={"a": 5}), "value"),
        (lambda client: client.create_key(request_id=7), "request_id"),
        (lambda client: client.encrypt_many("alias/k", ["text"]), "items"),
        (lambda client: client.encrypt_many("alias/k", [(b"x", 5)]), "items"),
        (lambda client: client.encrypt_many("alias/k", [bytearray(b"x")]), "items"),
        (lambda client: client.sign_many("alias/k", [memoryview(b"x")]), "items"),
        (lambda client: client.encrypt("alias/k", bytearray(b"x")), "plaintext"),
        (lambda client: client.list_audit_records(since="2020"), "since"),
        (lambda client: client.list_audit_records(until=dt.datetime(2027, 1, 1)), "until"),  # noqa: DTZ001
        (lambda client: client.with_timeout("a"), "timeout"),
        (lambda client: client.with_timeout(float("nan")), "timeout"),
        (lambda client: client.with_timeout(0), "timeout"),
        (lambda client: client.with_timeout(-1), "timeout"),
    ],
)
def test_wrong_arguments_are_refused_by_name_before_anything_is_sent(
    client: Client, daemon: FakeDaemon, wrong: Callable[[Any], Any], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        wrong(client)

    assert raised.value.field == field
    assert daemon.calls == []


def test_lists_go_through_all_pages(client: Client, daemon: FakeDaemon) -> None:
    def page(request: Any) -> Any:
        number = int(request.page_token or "0")
        reply = keys_pb2.ListKeysResponse(next_page_token=str(number + 1) if number < 2 else "")
        # An empty page may have a successor.
        if number != 1:
            reply.keys.add().key_id = f"key-{number}"
        return reply

    daemon.answers["ListKeys"] = page

    found = [key.key_id for key in client.pages(client.list_keys, state="ENABLED")]

    assert found == ["key-0", "key-2"]
    assert {request.state for _, request in daemon.calls} == {2}  # type: ignore[attr-defined]


async def test_lists_go_through_all_pages_from_asyncio(daemon: FakeDaemon) -> None:
    daemon.answers["ListLimits"] = lambda request: quota_pb2.ListLimitsResponse(
        limits=[quota_pb2.Limit(subject="s")], next_page_token="" if request.page_token else "next"
    )

    async with AsyncClient(daemon.settings) as client:
        found = [limit.subject async for limit in client.pages(client.list_limits)]

    assert found == ["s", "s"]


def test_the_audit_log_can_be_followed(client: Client, daemon: FakeDaemon) -> None:
    assert len(list(client.tail_audit_records())) == 2

    daemon.faults.append(refusal("ACCESS_DENIED"))
    with pytest.raises(errors.AccessDenied):
        list(client.tail_audit_records())


def test_events_can_be_followed(client: Client, daemon: FakeDaemon) -> None:
    daemon.answers["WatchEvents"] = lambda request: events_pb2.WatchEventsResponse(
        event=events_pb2.Event(type=request.types[0], data_json='{"state":"Disabled"}'), cursor="7"
    )

    seen = list(client.watch_events(types=["strongroom.key.*"], cursor="3"))

    assert [(each.event.type, each.event.data["state"], each.cursor) for each in seen] == [
        ("strongroom.key.*", "Disabled", "7")
    ] * 2
    daemon.faults.append(refusal("NOT_FOUND"))
    with pytest.raises(errors.NotFound):
        list(client.watch_events())


async def test_events_can_be_followed_from_asyncio(daemon: FakeDaemon) -> None:
    async with AsyncClient(daemon.settings) as client:
        assert len([each async for each in client.watch_events()]) == 2
        daemon.faults.append(refusal("ACCESS_DENIED"))
        with pytest.raises(errors.AccessDenied):
            _ = [each async for each in client.watch_events()]


def test_a_closed_client_says_so(daemon: FakeDaemon) -> None:
    client = Client(daemon.settings)
    client.close()

    with pytest.raises(errors.StrongroomError) as raised:
        client.get_caller_identity()

    assert raised.value.reason == "CLOSED"


async def test_a_closed_async_client_says_so(daemon: FakeDaemon) -> None:
    client = AsyncClient(daemon.settings)
    await client.get_caller_identity()
    await client.close()

    with pytest.raises(errors.StrongroomError) as raised:
        await client.get_caller_identity()

    assert raised.value.reason == "CLOSED"


def test_a_daemon_that_comes_back_within_the_deadline_is_waited_for(daemon: FakeDaemon) -> None:
    with Client(daemon.settings) as client:
        client.get_caller_identity()
        daemon.stop()
        again = threading.Timer(0.7, daemon.start)
        again.start()

        identity = client.with_timeout(10.0).get_caller_identity()

        again.join()
    assert identity is not None


def test_a_daemon_that_stays_away_is_reported_quickly_if_so_wanted(daemon: FakeDaemon) -> None:
    daemon.stop()
    started = time.monotonic()

    with (
        Client(daemon.settings, retry=RetryPolicy(wait_for_connection=False)) as client,
        pytest.raises(errors.Unavailable) as raised,
    ):
        client.get_caller_identity()

    assert raised.value.reason == "CONNECTION_FAILED"
    assert time.monotonic() - started < 3.0


def test_a_daemon_of_another_authority_is_not_talked_to(
    daemon: FakeDaemon, pems: Pems, tmp_path: Any
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(pem_of(*issue("another authority"))[0])
    settings = Settings(daemon.endpoint, other, pems.cert, pems.key)

    with Client(settings, retry=RetryPolicy(max_attempts=1)) as client, pytest.raises(errors.Unavailable):
        client.encrypt("alias/k", b"secret")

    assert daemon.calls == []


def test_a_certificate_of_another_authority_is_not_accepted(
    daemon: FakeDaemon, pems: Pems, tmp_path: Any
) -> None:
    stranger = pem_of(*issue("stranger", issue("another authority")))
    (tmp_path / "cert.pem").write_bytes(stranger[0])
    (tmp_path / "key.pem").write_bytes(stranger[1])
    settings = Settings(daemon.endpoint, pems.ca, tmp_path / "cert.pem", tmp_path / "key.pem")

    with Client(settings, retry=RetryPolicy(max_attempts=1)) as client, pytest.raises(errors.Unavailable):
        client.encrypt("alias/k", b"secret")


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [None, b"", b"not a PEM", b"\xff\xfe"])
def test_unusable_pem_files_are_named(
    daemon: FakeDaemon, tmp_path: Any, name: str, content: bytes | None
) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    files = {"ca": daemon.pems.ca, "cert": daemon.pems.cert, "key": daemon.pems.key, name: path}

    with pytest.raises(errors.ConfigurationError) as raised:
        Client.connect(daemon.endpoint, **files)

    assert raised.value.field == name


def test_a_certificate_and_a_key_that_do_not_belong_together_are_told_at_once(
    daemon: FakeDaemon, tmp_path: Any
) -> None:
    (tmp_path / "other.key").write_bytes(pem_of(*issue("other"))[1])

    with pytest.raises(errors.ConfigurationError) as raised:
        Client.connect(daemon.endpoint, ca=daemon.pems.ca, cert=daemon.pems.cert, key=tmp_path / "other.key")

    assert raised.value.field == "key"
    assert "not that of the certificate" in raised.value.message


@pytest.mark.parametrize("label", ["PRIVATE KEY", "CERTIFICATE"])
def test_pem_files_with_nothing_usable_in_them_are_named(
    daemon: FakeDaemon, tmp_path: Any, label: str
) -> None:
    name = "key" if label == "PRIVATE KEY" else "cert"
    (tmp_path / "file").write_text(f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    files = {"ca": daemon.pems.ca, "cert": daemon.pems.cert, "key": daemon.pems.key, name: tmp_path / "file"}

    with pytest.raises(errors.ConfigurationError) as raised:
        Client.connect(daemon.endpoint, **files)

    assert raised.value.field == name


@pytest.mark.parametrize("role", ["source", "destination"])
def test_a_re_encryption_by_another_key_is_refused(client: Client, daemon: FakeDaemon, role: str) -> None:
    other = ARN.replace("1234abcd", "4321dcba")
    keys = {"source": ARN, "destination": ARN} | {role: other}

    with pytest.raises(errors.IntegrityError) as raised:
        client.re_encrypt(b"SR:x", keys["destination"], source_key=keys["source"])

    assert raised.value.field == f"{role}_key_arn"


def test_threads_share_one_client(client: Client, daemon: FakeDaemon) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(20):
                data = b"%d" % number
                assert client.decrypt(client.encrypt("alias/k", data).ciphertext).plaintext == data
        except BaseException as failure:  # noqa: BLE001 - told to the main thread
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(daemon.calls) == 320


def test_calls_carry_the_name_of_the_client(client: Client, daemon: FakeDaemon) -> None:
    client.get_caller_identity()

    assert daemon.metadata[0]["user-agent"].startswith("strongroom-python/")


async def test_asyncio_calls_are_cancelled_cleanly(daemon: FakeDaemon) -> None:
    daemon.answers["DescribeKey"] = slowly("DescribeKey", 0.5)

    async with AsyncClient(daemon.settings) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.describe_key("alias/k"), 0.1)
        assert (await client.encrypt("alias/k", b"x")).ciphertext == b"SR:x"


def test_a_request_over_the_size_of_one_message_is_refused_here(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        client.encrypt("alias/k", b"x" * 262_144)

    assert raised.value.reason == "FIELD_TOO_LARGE"
    assert daemon.calls == []


def test_a_proxy_of_the_environment_is_not_asked(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    with Client(daemon.settings, retry=RetryPolicy(max_attempts=1)) as client:
        client.get_caller_identity()

    assert daemon.methods == ["GetCallerIdentity"]


def test_a_limit_of_a_wrong_range_is_refused_by_name(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        client.create_key_store(limit=results.RequestLimit(per_second=-1))

    assert (caught.value.field, daemon.calls) == ("per_second", [])


def test_a_new_credentials_secret_has_no_repr(client: Client, daemon: FakeDaemon) -> None:
    made = key_stores_pb2.CreateKeyStoreCredentialResponse(secret_access_key="s" * 60)
    daemon.answers["CreateKeyStoreCredential"] = lambda _: made

    answer = client.create_key_store_credential("xks-0123456789abcdef")

    assert answer.secret_access_key == "s" * 60
    assert "sss" not in repr(answer)
