"""Whether time tells what the answer does not: a key that is forbidden against one that is not there.

Many callers without any right ask in turns, in random order, for a key that exists and for one that does not; each
pays for its refusals from its own bucket, so that none is throttled. Means of both times, and their difference block by
block; the aim is a difference below one millisecond.
"""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import grpc
from google.protobuf.message import Message
from tests.bench import rig

from strongroom import Client
from strongroom.v1 import crypto_pb2 as crypto
from strongroom.v1 import keys_pb2 as keys
from strongroomd.frontends.grpc.pki import Authority

CALLERS = 40
BLOCKS = 10
_ACCOUNT = "111122223333"
_IDENTITY = '\n[[identities]]\narn = "arn:aws:iam::{account}:service/{name}"\nuri = "spiffe://strongroom.dev/{name}"\n'


@dataclass(frozen=True)
class Case:
    """One way to ask: the method, and how a request names a key that is there, or another that is not."""

    name: str
    method: str
    forbidden: Message
    unknown: Callable[[], Message]


def run(folder: Path, *, samples: int) -> None:
    """Print a line for each way to ask."""
    config = rig.found(folder, 1)
    authority = _certificates(folder / "tls", config)
    with rig.daemon(config) as daemon, daemon.client() as client:
        channels = [_channel(daemon.endpoint, authority, number) for number in range(CALLERS)]
        print(f"{samples} samples of each, {CALLERS} callers, {BLOCKS} blocks")
        print(
            f"{'asked':24}{'forbidden':>12}{'unknown':>12} us   "
            "difference of means, us (least - greatest of blocks)"
        )
        for case in _cases(client):
            _measure(case, channels, samples)


def _cases(client: Client) -> list[Case]:
    key = client.create_key()
    client.create_alias("alias/there", key.key_id)
    sealed = client.encrypt(key.key_id, b"data").ciphertext
    arn = key.arn.rpartition("/")[0]
    return [
        Case(
            "Encrypt, key id",
            "/strongroom.v1.CryptoService/Encrypt",
            crypto.EncryptRequest(key=key.key_id, plaintext=b"data"),
            lambda: crypto.EncryptRequest(key=str(uuid.uuid4()), plaintext=b"data"),
        ),
        Case(
            "Decrypt, ciphertext",
            "/strongroom.v1.CryptoService/Decrypt",
            crypto.DecryptRequest(ciphertext=sealed),
            lambda: crypto.DecryptRequest(ciphertext=sealed[:4] + uuid.uuid4().bytes + sealed[20:]),
        ),
        Case(
            "DescribeKey, ARN",
            "/strongroom.v1.KeyService/DescribeKey",
            keys.DescribeKeyRequest(key=key.arn),
            lambda: keys.DescribeKeyRequest(key=f"{arn}/{uuid.uuid4()}"),
        ),
        Case(
            "DescribeKey, alias",
            "/strongroom.v1.KeyService/DescribeKey",
            keys.DescribeKeyRequest(key="alias/there"),
            lambda: keys.DescribeKeyRequest(key=f"alias/{random.randrange(100_000):05}"),
        ),
    ]


def _measure(case: Case, channels: list[Any], samples: int) -> None:
    calls = [channel.unary_unary(case.method) for channel in channels]
    forbidden = case.forbidden.SerializeToString()
    for call in calls:
        _time(call, forbidden)
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(samples):
        call = calls[number % len(calls)]
        for exists in random.sample((True, False), 2):
            body = forbidden if exists else case.unknown().SerializeToString()
            times[exists].append(_time(call, body))
    size = samples // BLOCKS
    differences = [
        mean(times[False][n * size : (n + 1) * size]) - mean(times[True][n * size : (n + 1) * size])
        for n in range(BLOCKS)
    ]
    means = mean(times[True]), mean(times[False])
    verdict = "ok" if abs(means[1] - means[0]) < 1_000 else "aim 1000"
    spread = f"{means[1] - means[0]:+8.0f}  ({min(differences):+.0f} - {max(differences):+.0f})"
    print(f"{case.name:24}{means[0]:12.0f}{means[1]:12.0f} us   {spread}  {verdict}", flush=True)


def _time(call: Any, body: bytes) -> float:
    """Microseconds until the refusal; any other answer is a failure of the benchmark."""
    started = time.perf_counter()
    try:
        call(body, timeout=10)
    except grpc.RpcError as refused:
        if refused.code() is grpc.StatusCode.PERMISSION_DENIED:
            return (time.perf_counter() - started) * 1e6
        raise
    raise RuntimeError("a call without any right was allowed")


def _certificates(tls: Path, config: Path) -> Authority:
    """Make certificates whose authority is known, and configure the callers' identities."""
    authority = Authority.make()
    (tls / "ca.pem").write_bytes(authority.certificate)
    for name in ("server", "admin", "service"):
        for kind in ("pem", "key"):
            (tls / f"{name}.{kind}").unlink()
    authority.server(["localhost", "127.0.0.1", "::1"]).write(tls / "server.pem", tls / "server.key")
    for name in ("admin", "service"):
        uri = f"spiffe://strongroom.dev/{name}"
        authority.client(name, uri).write(tls / f"{name}.pem", tls / f"{name}.key")
    text = "".join(_IDENTITY.format(account=_ACCOUNT, name=f"caller-{n}") for n in range(CALLERS))
    config.write_text(config.read_text() + text)
    return authority


def _channel(endpoint: str, authority: Authority, number: int) -> Any:
    name = f"caller-{number}"
    own = authority.client(name, f"spiffe://strongroom.dev/{name}")
    credentials = grpc.ssl_channel_credentials(authority.certificate, own.key.reveal(), own.certificate)
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(endpoint, credentials, options)
