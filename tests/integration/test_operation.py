"""A daemon of four workers in operation: quotas, reload, health, crashes, what it writes and what it never writes."""

import base64
import binascii
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conformance.kit import make_kit
from tests.conformance.wire import METHODS, Wire
from tests.harness import (
    ADMIN,
    AUTHORITIES,
    BUSY,
    SERVICE,
    Daemon,
    allow,
    make_folder,
    refused,
    running,
    wait_until,
    within,
)

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.v1 import crypto_pb2 as pb

WORKERS = 4
pytestmark = pytest.mark.daemon


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    def edit(text: str) -> str:
        return text + '\n[telemetry]\nlog_level = "debug"\n'

    with running(make_folder(tmp_path_factory.mktemp("busy"), WORKERS, edit)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def root(busy: Daemon) -> Iterator[Client]:
    with busy.client(timeout=30.0) as client:
        yield client


def _pressure(busy: Daemon, key: str, rate: float, seconds: float) -> tuple[int, float, set[str]]:
    """Call over eight channels at a joint rate; returns what was admitted, in how long, and other answers."""
    request = pb.EncryptRequest(key=key, plaintext=b"x")
    wires = [Wire.connect(busy, "admin") for _ in range(8)]
    for wire in wires:
        wire.call("GetCallerIdentity", b"")
    others: set[str] = set()
    began = time.monotonic()

    def push(wire: Wire) -> int:
        admitted, due = 0, began
        while (due := due + len(wires) / rate) < began + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            outcome = wire.call("Encrypt", request)
            admitted += outcome.ok
            others.update(() if outcome.ok else (outcome.reason or outcome.code.name,))
        return admitted

    with ThreadPoolExecutor(len(wires)) as pool:
        admitted = sum(pool.map(push, wires))
    taken = time.monotonic() - began
    for wire in wires:
        wire.channel.close()
    return admitted, taken, others


@pytest.mark.slow
@pytest.mark.timed
def test_a_quota_is_kept_jointly_by_all_workers(busy: Daemon, root: Client) -> None:
    limit, burst = 60, 30
    key = root.create_key().key_id
    root.put_limit("KEY", key, limit, burst=burst)
    time.sleep(1.0)  # in force everywhere

    for _ in range(3):
        admitted, taken, others = _pressure(busy, key, 5 * limit, 10.0)
        if not others & BUSY:  # a machine that stalls proves nothing
            break
        time.sleep(burst / limit)

    assert others == {"QUOTA_EXCEEDED"}
    assert admitted <= limit * taken + burst
    assert admitted >= 0.98 * (limit * 10.0 + burst)


def test_an_sdk_client_loops_through_throttling_and_loses_nothing(busy: Daemon, root: Client) -> None:
    key = root.create_key().key_id
    root.put_limit("KEY", key, 100, burst=10)
    time.sleep(1.0)

    with ThreadPoolExecutor(4) as pool:
        began = time.monotonic()
        sealed = list(pool.map(lambda n: root.encrypt(key, b"%d" % n), range(200)))
        taken = time.monotonic() - began
    many = root.encrypt_many(key, [b"%d" % n for n in range(40)])

    assert len({s.ciphertext for s in sealed}) == 200
    assert taken > 1.8
    assert not any(isinstance(made, StrongroomError) for made in many)


def test_a_refusal_carries_the_exact_wait(busy: Daemon, root: Client) -> None:
    key = root.create_key().key_id
    root.put_limit("KEY", key, 1, burst=1)
    time.sleep(1.0)
    with Wire.connect(busy, "admin") as wire:
        request = pb.EncryptRequest(key=key, plaintext=b"x")
        wire.call("Encrypt", request)
        refusal = wire.call("Encrypt", request)
        details = {type(d).__name__: d for d in refusal.details}
        wait = details["RetryInfo"].retry_delay.ToTimedelta().total_seconds()  # type: ignore[attr-defined]
        early = wire.call("Encrypt", request).reason
        time.sleep(wait)
        late = wire.call("Encrypt", request).ok

    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 0.5 < wait <= 1.0
    assert (early, late) == ("QUOTA_EXCEEDED", True)
    assert {"ErrorInfo", "RequestInfo", "QuotaFailure", "RetryInfo"} <= set(details)


def test_limits_are_read_listed_replaced_and_taken_away(root: Client) -> None:
    key = root.create_key().key_id

    with refused("NOT_FOUND", "subject"):
        root.get_limit("KEY", key)
    made = root.put_limit("KEY", key, 10)
    assert (made.per_second, made.burst, made.is_default) == (10, 10, False)
    with refused("ETAG_MISMATCH", "etag"):
        root.put_limit("KEY", key, 20, etag="99")
    assert root.put_limit("KEY", key, 20, etag=made.etag).per_second == 20
    assert key in str([limit.subject for limit in root.list_limits(scope="KEY").items])
    root.delete_limit("KEY", key)
    with refused("NOT_FOUND", "subject"):
        root.delete_limit("KEY", key)
    assert root.get_limit("CLASS", "RSA").is_default
    for scope, subject in (("CLASS", "OTHER"), ("CLASS", "1/RSA"), ("PRINCIPAL", "alice"), ("KEY", "alias/")):
        with refused("INVALID_FIELD", "subject"):
            root.put_limit(scope, subject, 1)


def test_a_principals_limit_counts_whatever_its_keys(busy: Daemon, root: Client) -> None:
    keys = [root.create_key(policy=allow(SERVICE, "kms:Encrypt")).key_id for _ in range(2)]
    root.put_limit("PRINCIPAL", SERVICE, 1, burst=2)
    time.sleep(1.0)

    with Wire.connect(busy, "service") as wire:
        ends = [
            wire.call("Encrypt", pb.EncryptRequest(key=keys[n % 2], plaintext=b"x")).reason for n in range(4)
        ]
    root.delete_limit("PRINCIPAL", SERVICE)

    assert ends == ["", "", "QUOTA_EXCEEDED", "QUOTA_EXCEEDED"]


def test_a_batch_costs_its_items(busy: Daemon, root: Client) -> None:
    key = root.create_key().key_id
    root.put_limit("KEY", key, 1, burst=5)
    time.sleep(1.0)
    items = [pb.BatchEncryptItem(plaintext=b"x")]

    with Wire.connect(busy, "admin") as wire:
        too_many = wire.call("BatchEncrypt", pb.BatchEncryptRequest(key=key, items=items * 6)).reason
        fits = wire.call("BatchEncrypt", pb.BatchEncryptRequest(key=key, items=items * 5)).ok
        spent = wire.call("BatchEncrypt", pb.BatchEncryptRequest(key=key, items=items * 2)).reason

    assert (too_many, fits, spent) == ("LIMIT_EXCEEDED", True, "QUOTA_EXCEEDED")
    assert root.get_quota_usage("KEY", key).available <= 1


def _served_certificate(busy: Daemon) -> bytes:
    files = busy.tls("admin")
    context = ssl.create_default_context(cafile=str(files["ca"]))
    context.load_cert_chain(files["cert"], files["key"])
    context.set_alpn_protocols(["h2"])
    host, _, port = busy.endpoint.rpartition(":")
    raw = socket.create_connection((host, int(port)), 5)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        return der


def test_reload_of_certificates_and_identities_drops_no_call(busy: Daemon, root: Client) -> None:
    key = root.create_key().key_id
    authority, tls = AUTHORITIES[busy.folder], busy.folder / "tls"
    before, config = _served_certificate(busy), busy.config.read_text()
    stop, done = threading.Event(), [0]
    failed: list[object] = []

    def call() -> None:
        while not stop.is_set():
            outcome = wire.call("Encrypt", pb.EncryptRequest(key=key, plaintext=b"x"))
            done[0] += outcome.ok
            failed.extend([] if outcome.ok else [outcome])

    with Wire.connect(busy, "admin") as wire:
        caller = threading.Thread(target=call)
        caller.start()
        for name in ("server.pem", "server.key"):
            (tls / name).unlink()
        authority.server(["localhost", "127.0.0.1"]).write(tls / "server.pem", tls / "server.key")
        authority.client("new", "spiffe://strongroom.dev/new").write(tls / "new.pem", tls / "new.key")
        identity = '\n[[identities]]\narn = "arn:aws:iam::111122223333:user/new"\nuri = "spiffe://strongroom.dev/new"\n'
        busy.config.write_text(config + identity)
        busy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: all(_served_certificate(busy) != before for _ in range(6)), 10.0)
        with Wire.connect(busy, "new") as new:
            known = wait_until(lambda: new.call("GetCallerIdentity", b"").ok, 5.0)
        stop.set()
        caller.join()

    assert failed == []
    assert done[0] > 0
    assert known < within(5.0)


def test_a_bad_new_configuration_is_refused_and_the_old_one_kept(busy: Daemon, root: Client) -> None:
    good, pids = busy.config.read_text(), busy.workers()
    busy.config.write_text(good.replace("[grpc]", "[grpc]\nnonsense = 1"))
    busy.process.send_signal(signal.SIGHUP)
    time.sleep(1.0)
    served = root.get_caller_identity().principal_arn
    busy.config.write_text(good)
    busy.process.send_signal(signal.SIGHUP)

    assert served == ADMIN
    assert busy.workers() == pids
    assert "nonsense" in busy.log


def test_health_is_told_over_grpc_and_http(busy: Daemon) -> None:
    with Wire.connect(busy, "service") as wire:
        stub = health_pb2_grpc.HealthStub(wire.channel)
        for name in ("", "strongroom.v1.KeyService", "strongroom.v1.CryptoService"):
            reply = stub.Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(service=name), timeout=5
            )
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
    for path in ("healthz", "readyz"):
        with urllib.request.urlopen(f"http://{busy.state['ops']}/{path}", timeout=5) as answer:
            assert answer.status == 200


def test_services_describe_themselves_where_configured(busy: Daemon) -> None:
    services = {method.containing_service.full_name for method in METHODS.values()}

    with Wire.connect(busy, "service") as wire:
        assert services <= wire.reflected()


def test_an_aborted_worker_is_replaced_and_leaves_no_core(busy: Daemon, root: Client, tmp_path: Path) -> None:
    victim = busy.workers()[0]
    limits = Path(f"/proc/{victim}/limits").read_text()
    environment = Path(f"/proc/{victim}/cwd").resolve()

    os.kill(victim, signal.SIGABRT)
    wait_until(
        lambda: (
            victim not in busy.workers() and len(busy.workers()) == WORKERS and busy.state["state"] == "ready"
        ),
        20.0,
    )

    assert re.search(r"Max core file size +0 +0 ", limits)
    for folder in (environment, busy.folder, busy.folder / "run", busy.folder / "state"):
        assert [p.name for p in folder.glob("core*") if p.is_file()] == []
    assert root.create_key().enabled


def _forms(secret: bytes) -> set[bytes]:
    """A secret as it may be written: bare, hexadecimal, base64 at each offset, escaped."""
    forms = {secret, secret.hex().encode(), secret.hex().upper().encode(), str(list(secret))[1:-1].encode()}
    forms.add(repr(secret)[2:-1].encode())
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + secret)[4 if offset else 0 : -4]
        forms |= {coded, coded.translate(bytes.maketrans(b"+/", b"-_"))}
    return forms


def _written(busy: Daemon) -> dict[str, bytes]:
    """Everything that the daemon wrote anywhere but into its token."""
    places = (busy.folder / "log", *(busy.folder / "state").rglob("*"), *(busy.folder / "run").rglob("*"))
    found = {
        str(p): p.read_bytes()
        for p in places
        if p.is_file() and not p.is_socket() and "token" not in p.parts[-2:]
    }
    return found | {"metrics": busy.metrics().encode()}


def test_no_secret_is_found_in_anything_that_the_daemon_writes(busy: Daemon, root: Client) -> None:
    kit = make_kit(root)
    marker, message = os.urandom(32), os.urandom(32)
    texts: list[str] = []
    pair = root.generate_data_key_pair(kit.seal, "ECC_NIST_P256")
    private = serialization.load_der_private_key(pair.private_key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    agreed = root.derive_shared_secret(kit.agree, peer.public_bytes(serialization.Encoding.DER, form))
    sealed = root.encrypt(kit.seal, marker).ciphertext
    root.decrypt(sealed)
    root.re_encrypt(sealed, kit.seal)
    root.batch_encrypt(kit.seal, [marker, marker * 200])
    root.sign(kit.sign, message)
    root.generate_mac(kit.mac, message)
    for name in METHODS:  # secret fields of every request, wherever they make a call fail
        for request in _with_secrets(name, marker):
            with Wire.connect(busy, "admin") as wire:
                outcome = wire.call(name, request, 0.5)
                texts.append(outcome.message + str(outcome.details))
    secrets = {
        "PIN": (busy.folder / "token" / "pin").read_bytes().strip(),
        "plaintext": marker,
        "message": message,
        "data key": root.generate_data_key(kit.seal, spec="AES_256").plaintext,
        "shared secret": agreed.secret,
        "private key": private.private_numbers().private_value.to_bytes(32),
        "random bytes": root.generate_random(32).data,
        "key store's secret": root.create_key_store_credential(kit.stores.store).secret_access_key.encode(),
    }
    time.sleep(0.3)

    written = _written(busy) | {"errors": "".join(texts).encode()}
    found = [
        (w, s)
        for w, body in written.items()
        for s, secret in secrets.items()
        for f in _forms(secret)
        if f in body
    ]

    assert found == []
    assert any(path.endswith(".sqlite") for path in written)
    assert kit.seal.encode() in b"".join(written.values())  # what is looked through is really there


_KEPT = {"description", "request_id", "cka_id", "label"}
"""Texts that the daemon is asked to keep; what an operator looked for in a token is in the audit log."""


def _with_secrets(name: str, marker: bytes) -> Iterator[bytes]:
    """Requests with a marker in each secret field, which fail for want of all else; and one in every text."""
    kind = METHODS[name].input_type
    for field in kind.fields:
        made = message_factory.GetMessageClass(kind)()
        if field.GetOptions().debug_redact:
            setattr(made, field.name, marker)
            yield made.SerializeToString()
        elif field.type == field.TYPE_STRING and not field.is_repeated and field.name not in _KEPT:
            setattr(made, field.name, binascii.hexlify(marker).decode())
            yield made.SerializeToString()


def test_every_mutation_is_audited_before_and_after_and_every_use_once(root: Client) -> None:
    key = root.create_key()
    root.disable_key(key.key_id)
    root.enable_key(key.key_id)
    root.rotate_key(key.key_id)
    root.encrypt(key.key_id, b"x", context={"tenant": "blue"})
    with refused("INVALID_FIELD"):
        root.encrypt(key.key_id, b"")
    with refused("ETAG_MISMATCH"):
        root.disable_key(key.key_id, etag="1")

    records = list(Client.pages(root.list_audit_records, key=key.arn))

    assert [(r.action, r.kind, r.outcome) for r in records] == [
        ("kms:CreateKey", "intent", "PENDING"),
        ("kms:CreateKey", "outcome", "OK"),
        ("kms:DisableKey", "intent", "PENDING"),
        ("kms:DisableKey", "outcome", "OK"),
        ("kms:EnableKey", "intent", "PENDING"),
        ("kms:EnableKey", "outcome", "OK"),
        ("kms:RotateKeyOnDemand", "intent", "PENDING"),
        ("kms:RotateKeyOnDemand", "outcome", "OK"),
        ("kms:Encrypt", "outcome", "OK"),
        ("kms:DisableKey", "intent", "PENDING"),
        ("kms:DisableKey", "outcome", "ETAG_MISMATCH"),
    ]
    use = json.loads(records[8].canonical_json)
    assert (use["version"], list(use["context_hmac"]), use["principal"]) == (2, ["tenant"], ADMIN)
    assert "blue" not in json.dumps(use)
    assert {r.principal for r in records} == {ADMIN}


def test_refusals_are_audited_with_their_reason_and_request_id(busy: Daemon, root: Client) -> None:
    key = root.create_key()
    with busy.client("service") as service, pytest.raises(StrongroomError) as caught:
        service.encrypt(key.key_id, b"x")

    (record,) = root.list_audit_records(key=key.arn, principal=SERVICE).items

    assert (record.outcome, record.request_id) == ("ACCESS_DENIED", caught.value.request_id)
    decided = json.loads(record.canonical_json)["decision"]
    assert decided == {"basis": "no-identity-policy", "ground": "key-default-1"}
    assert '"key-default-1"' in busy.log


def test_records_are_a_chain_of_hashes(root: Client) -> None:
    by_chain: dict[str, list[tuple[int, bytes, bytes]]] = {}
    for record in Client.pages(root.list_audit_records, page_size=1_000):
        by_chain.setdefault(record.origin, []).append((record.sequence, record.hash, record.canonical_json))

    for chain in by_chain.values():
        for (n, before, _), (m, after, body) in pairwise(chain):
            assert m == n + 1
            assert after == hashlib.sha256(before + body).digest()
    assert len(by_chain) >= WORKERS


def test_the_log_can_be_followed(root: Client) -> None:
    key = root.create_key()
    seen: list[str] = []

    def follow() -> None:
        for record in root.tail_audit_records(key=key.arn):
            seen.append(record.action)
            if len(seen) == 2:
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    for _ in range(20):
        root.encrypt(key.key_id, b"x")
        follower.join(0.3)
        if not follower.is_alive():
            break

    assert seen == ["kms:Encrypt", "kms:Encrypt"]


def test_the_newest_checkpoint_is_signed_by_the_pinned_key(busy: Daemon, root: Client) -> None:
    first = root.get_audit_checkpoint()
    pinned = serialization.load_pem_public_key(
        (busy.folder / "state" / "checkpoint-public-key.pem").read_bytes()
    )
    assert isinstance(pinned, ec.EllipticCurvePublicKey)

    pinned.verify(first.signature, first.canonical_json, ec.ECDSA(hashes.SHA256()))
    assert serialization.load_der_public_key(first.public_key) == pinned
    wait_until(lambda: root.get_audit_checkpoint().number > first.number, 5.0)


def test_certificates_and_keys_are_those_of_the_folder(busy: Daemon) -> None:
    served = x509.load_der_x509_certificate(_served_certificate(busy))

    assert served == x509.load_pem_x509_certificate((busy.folder / "tls" / "server.pem").read_bytes())


def test_after_all_this_the_log_verifies_and_nothing_failed_inside(busy: Daemon) -> None:
    verified = busy.command("audit", "verify")

    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "call failed" not in busy.log
    assert "use case failed" not in busy.log
    assert busy.stop() == 0
