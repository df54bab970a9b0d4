"""Encryption, data keys, checksums, dry runs, batches and the stream, as a caller meets them."""

import queue
import threading
from collections.abc import Iterator

import google_crc32c
import pytest
from cryptography.hazmat.primitives import serialization
from tests.conformance.kit import Kit, make_kit, valid
from tests.conformance.wire import METHODS, Wire
from tests.harness import BUSY, Daemon, refused

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.v1 import crypto_pb2 as pb
from strongroom.v1 import crypto_pb2_grpc

CONTEXT = {"tenant": "blue", "app": "pay"}
DRY = sorted(n for n, m in METHODS.items() if "dry_run" in m.input_type.fields_by_name)
CHECKED = sorted(
    (n, f.name)
    for n, m in METHODS.items()
    for f in m.input_type.fields
    if f.name.endswith("_crc32c") and m.containing_service.name == "CryptoService"
)  # fmt: skip


@pytest.fixture(scope="module")
def kit(admin: Client) -> Kit:
    return make_kit(admin)


@pytest.fixture(scope="module")
def wire(daemon: Daemon) -> Iterator[Wire]:
    with Wire.connect(daemon, "admin") as wire:
        yield wire


def test_what_was_encrypted_decrypts_with_its_context_only(admin: Client, kit: Kit) -> None:
    sealed = admin.encrypt(kit.seal, b"x", context=CONTEXT).ciphertext

    assert admin.decrypt(sealed, context=dict(reversed(CONTEXT.items()))).plaintext == b"x"
    for wrong in ({}, {"tenant": "blue"}, CONTEXT | {"tenant": "Blue"}, CONTEXT | {"x": ""}):
        with refused("INVALID_CIPHERTEXT"):
            admin.decrypt(sealed, context=wrong)


def test_every_flipped_byte_of_a_ciphertext_is_one_and_the_same_refusal(admin: Client, kit: Kit) -> None:
    sealed = admin.encrypt(kit.seal, b"secret").ciphertext
    seen = set()
    for place in range(len(sealed)):
        with pytest.raises(StrongroomError) as caught:
            admin.decrypt(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
        seen.add((caught.value.reason, place in range(3, 20)))

    # Bytes 3 to 19 are the key id and its kind: another one names a key that does not exist.
    assert seen == {("INVALID_CIPHERTEXT", False), ("ACCESS_DENIED", True)}


def test_cut_lengthened_and_spliced_ciphertexts_are_refused(admin: Client, kit: Kit) -> None:
    one, two = (admin.encrypt(kit.seal, b"secret").ciphertext for _ in range(2))
    other = admin.encrypt(admin.create_key().key_id, b"secret").ciphertext

    for bad in (one[:-1], one + b"\0", one[:48] + two[48:], other[:24] + one[24:], one[:24], b"x", one[24:]):
        with refused("INVALID_CIPHERTEXT"):
            admin.decrypt(bad)


def test_a_ciphertext_of_a_version_that_never_was_is_refused_as_any_other(admin: Client, kit: Kit) -> None:
    sealed = kit.ciphertext
    with refused("INVALID_CIPHERTEXT"):
        admin.decrypt(sealed[:20] + (9).to_bytes(4) + sealed[24:])
    with refused("INVALID_CIPHERTEXT"):
        admin.decrypt(sealed[:20] + bytes(4) + sealed[24:])


def test_a_named_key_must_be_the_ciphertexts_by_any_of_its_names(admin: Client, kit: Kit) -> None:
    key = admin.describe_key(kit.seal)
    for name in (key.key_id, key.arn, kit.alias, key.arn.rpartition(":")[0] + ":" + kit.alias):
        assert admin.decrypt(kit.ciphertext, key=name).plaintext
    with refused("KEY_MISMATCH", "key"):
        admin.decrypt(kit.ciphertext, key=kit.mac)
    with refused("KEY_MISMATCH", "source_key"):
        admin.re_encrypt(kit.ciphertext, kit.seal, source_key=kit.mac)
    with refused("INVALID_FIELD", "key_version"):
        admin.decrypt(kit.ciphertext, key_version=1)


def test_re_encryption_changes_key_and_context(admin: Client, kit: Kit) -> None:
    target = admin.create_key().key_id
    sealed = admin.encrypt(kit.seal, b"x", context=CONTEXT).ciphertext

    moved = admin.re_encrypt(sealed, target, source_context=CONTEXT, destination_context={"new": "yes"})

    assert admin.decrypt(moved.ciphertext, context={"new": "yes"}).key_arn.endswith(target)
    assert moved.source_key_arn.endswith(kit.seal)
    with refused("INVALID_CIPHERTEXT"):
        admin.re_encrypt(sealed, target)


def test_data_keys_come_in_both_forms(admin: Client, kit: Kit) -> None:
    for length, made in (
        (16, admin.generate_data_key(kit.seal, spec="AES_128", context=CONTEXT)),
        (32, admin.generate_data_key(kit.seal, spec="AES_256", context=CONTEXT)),
        (100, admin.generate_data_key(kit.seal, number_of_bytes=100, context=CONTEXT)),
    ):
        assert len(made.plaintext) == length
        assert admin.decrypt(made.ciphertext, context=CONTEXT).plaintext == made.plaintext
    hidden = admin.generate_data_key_without_plaintext(kit.seal, spec="AES_256")
    assert len(admin.decrypt(hidden.ciphertext).plaintext) == 32


@pytest.mark.parametrize(
    "spec",
    [
        "RSA_2048",
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "ECC_NIST_EDWARDS25519",
    ],
)
def test_the_private_half_of_a_data_key_pair_matches_the_public_half(
    admin: Client, kit: Kit, spec: str
) -> None:
    made = admin.generate_data_key_pair(kit.seal, spec, context=CONTEXT)
    hidden = admin.generate_data_key_pair_without_plaintext(kit.seal, spec)

    for private, public in (
        (made.private_key, made.public_key),
        (admin.decrypt(made.sealed_private_key, context=CONTEXT).plaintext, made.public_key),
        (admin.decrypt(hidden.sealed_private_key).plaintext, hidden.public_key),
    ):
        key = serialization.load_der_private_key(private, None)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        assert key.public_key().public_bytes(serialization.Encoding.DER, form) == public


def test_random_bytes_differ(admin: Client) -> None:
    assert len({admin.generate_random(32).data for _ in range(50)}) == 50


@pytest.mark.parametrize("name", DRY)
def test_a_dry_run_answers_so_and_does_nothing(wire: Wire, kit: Kit, name: str) -> None:
    request = valid(name, kit)
    request.dry_run = True  # type: ignore[attr-defined]

    outcome = wire.call(name, request)

    assert (outcome.reason, outcome.reply) == ("DRY_RUN_SUCCEEDED", None)


def test_a_dry_run_does_not_look_at_what_only_the_key_can_tell(admin: Client, kit: Kit) -> None:
    forged = kit.ciphertext[:-1] + bytes([kit.ciphertext[-1] ^ 1])
    with refused("DRY_RUN_SUCCEEDED"):
        admin.decrypt(forged, dry_run=True)
    with refused("DRY_RUN_SUCCEEDED"):
        admin.verify(kit.sign, b"other", kit.signature, dry_run=True)


def test_a_dry_run_of_a_batch_answers_item_by_item_where_one_fails(admin: Client, kit: Kit) -> None:
    with refused("DRY_RUN_SUCCEEDED"):
        admin.batch_encrypt(kit.seal, [b"x", b"y"], dry_run=True)
    with refused("DRY_RUN_SUCCEEDED"):
        admin.batch_decrypt([kit.ciphertext], dry_run=True)
    with refused("DRY_RUN_SUCCEEDED"):
        admin.batch_sign(kit.sign, [b"x"], dry_run=True)
    for results in (
        admin.batch_encrypt(kit.seal, [b"x", b""], dry_run=True),
        admin.batch_decrypt([kit.ciphertext, b""], dry_run=True),
        admin.batch_sign(kit.sign, [b"x", bytes(4_097)], dry_run=True),
    ):
        reasons = [r.reason for r in results if isinstance(r, StrongroomError)]
        assert reasons[0] == "DRY_RUN_SUCCEEDED"
        assert reasons[1] in {"INVALID_FIELD", "FIELD_TOO_LARGE"}


@pytest.mark.parametrize(("name", "field"), CHECKED)
def test_checksums_are_checked_and_said_to_be(wire: Wire, kit: Kit, name: str, field: str) -> None:
    data = field.removesuffix("_crc32c")
    good, bad = valid(name, kit), valid(name, kit)
    right = google_crc32c.value(getattr(good, data))
    setattr(good, field, right)
    setattr(bad, field, right ^ 1)

    assert getattr(wire.call(name, good).reply, f"verified_{field}") is True
    assert getattr(wire.call(name, valid(name, kit)).reply, f"verified_{field}") is False
    refusal = wire.call(name, bad)
    assert (refusal.reason, refusal.field) == ("CHECKSUM_MISMATCH", data)


def test_answers_carry_right_checksums(wire: Wire, kit: Kit) -> None:
    for name in METHODS:
        if METHODS[name].containing_service.name != "CryptoService" or name == "Operate":
            continue
        reply = wire.call(name, valid(name, kit)).reply
        assert reply is not None
        for field in reply.DESCRIPTOR.fields:
            if field.name.endswith("_crc32c") and not field.name.startswith("verified_"):
                data = getattr(reply, field.name.removesuffix("_crc32c"))
                assert getattr(reply, field.name) == google_crc32c.value(data), (name, field.name)


def test_a_batch_gives_each_item_its_own_end(admin: Client, kit: Kit) -> None:
    sealed = admin.batch_encrypt(kit.seal, [b"a", b"", bytes(4_097), b"b"])

    ends = [getattr(r, "reason", "OK") for r in sealed]
    fields = [getattr(r, "field", "") for r in sealed]
    assert ends == ["OK", "INVALID_FIELD", "FIELD_TOO_LARGE", "OK"]
    assert fields == ["", "plaintext", "plaintext", ""]
    first = sealed[0]
    assert not isinstance(first, StrongroomError)
    opened = admin.batch_decrypt([first.ciphertext, b"x", kit.unknown().ciphertext])
    assert [getattr(r, "reason", "OK") for r in opened] == ["OK", "INVALID_CIPHERTEXT", "ACCESS_DENIED"]


def test_a_batch_checks_checksums_item_by_item(wire: Wire, kit: Kit) -> None:
    items = [pb.BatchSignItem(message=b"x"), pb.BatchSignItem(message=b"x", message_crc32c=1)]

    reply = wire.call("BatchSign", pb.BatchSignRequest(key=kit.sign, items=items)).reply

    assert isinstance(reply, pb.BatchSignResponse)
    assert reply.results[0].success.signature
    assert (reply.results[1].error.reason, reply.results[1].error.field) == ("CHECKSUM_MISMATCH", "message")


def test_a_batch_under_a_disabled_key_fails_as_a_whole_or_by_item(admin: Client) -> None:
    off, on = make_kit(admin), make_kit(admin)
    admin.disable_key(off.seal)

    with refused("KEY_DISABLED"):
        admin.batch_encrypt(off.seal, [b"x"])
    ends = admin.batch_decrypt([on.ciphertext, off.ciphertext, on.ciphertext])
    assert [getattr(r, "reason", "OK") for r in ends] == ["OK", "KEY_DISABLED", "OK"]


def test_thousands_of_operations_on_one_stream_each_get_their_answer(admin: Client, kit: Kit) -> None:
    count = 3_000
    waiting = {
        n: pb.OperateRequest(id=n, encrypt=pb.EncryptRequest(key=kit.seal, plaintext=b"%d" % n))
        if n % 100
        else pb.OperateRequest(id=n, decrypt=pb.DecryptRequest(ciphertext=b"nonsense"))
        for n in range(count)
    }
    answers: dict[int, pb.OperateResponse] = {}
    for _ in range(5):
        stream = crypto_pb2_grpc.CryptoServiceStub(admin._channel).Operate(iter(waiting.values()), timeout=60)
        got = {answer.id: answer for answer in stream}
        assert got.keys() == waiting.keys()
        answers |= got
        waiting = {n: waiting[n] for n, answer in got.items() if answer.error.reason in BUSY}
        if not waiting:
            break

    failed = {n: a.error.reason for n, a in answers.items() if a.WhichOneof("result") == "error"}
    assert failed == dict.fromkeys(range(0, count, 100), "INVALID_CIPHERTEXT")
    assert admin.decrypt(answers[2_999].encrypt.ciphertext).plaintext == b"2999"


def test_a_stream_answers_each_request_before_the_next_is_sent(admin: Client, kit: Kit) -> None:
    wanted: queue.Queue[pb.OperateRequest | None] = queue.Queue()
    answers = crypto_pb2_grpc.CryptoServiceStub(admin._channel).Operate(iter(wanted.get, None), timeout=30)

    for number in range(50):
        wanted.put(pb.OperateRequest(id=7, sign=pb.SignRequest(key=kit.sign, message=b"%d" % number)))
        answer = next(answers)
        assert (answer.id, answer.WhichOneof("result")) == (7, "sign")
    wanted.put(pb.OperateRequest(id=2**64 - 1))
    last = next(answers)
    wanted.put(None)

    assert (last.id, last.error.reason, last.error.field) == (2**64 - 1, "INVALID_FIELD", "operation")
    assert list(answers) == []


def test_a_caller_that_does_not_read_stops_the_stream_from_reading(admin: Client, kit: Kit) -> None:
    sent = 0

    def requests() -> Iterator[pb.OperateRequest]:
        nonlocal sent
        for sent in range(100_000):
            yield pb.OperateRequest(id=sent, encrypt=pb.EncryptRequest(key=kit.seal, plaintext=bytes(4_096)))

    answers = crypto_pb2_grpc.CryptoServiceStub(admin._channel).Operate(requests(), timeout=30)
    next(answers)
    threading.Event().wait(0.7)
    far = sent
    answers.cancel()

    assert far < 20_000
    assert admin.encrypt(kit.seal, b"x").ciphertext


def test_the_stream_of_a_stranger_is_refused_request_by_request(service: Client, kit: Kit) -> None:
    requests = [
        pb.OperateRequest(id=n, encrypt=pb.EncryptRequest(key=kit.seal, plaintext=b"x")) for n in range(3)
    ]

    answers = list(crypto_pb2_grpc.CryptoServiceStub(service._channel).Operate(iter(requests), timeout=30))

    assert {a.error.reason for a in answers} == {"ACCESS_DENIED"}
    assert len(answers) == 3


def test_the_sdk_streams(admin: Client, kit: Kit) -> None:
    with admin.stream() as stream:
        pending = [stream.encrypt(kit.seal, b"%d" % n) for n in range(300)]
        sealed = [p.result() for p in pending]

    assert len({s.ciphertext for s in sealed}) == 300
