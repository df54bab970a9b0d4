"""Efficiency of each operation: what echo and token alone cost, over what the daemon costs (design, section 10).

E = (echo + raw) / ours, each in microseconds of one call, taken in turns within one run. Echo, load and daemon use the
same mutual TLS; raw is one thread of python-pkcs11 on the same token with keys held as session objects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message
from tests.bench import rig

from strongroom import Client
from strongroom.v1 import crypto_pb2 as pb
from strongroom.v1 import types_pb2 as types

SERVICE = "/strongroom.v1.CryptoService/"
BATCH = 200


@dataclass(frozen=True)
class Case:
    """One operation to measure: the RPC, its request, and the raw work of one item."""

    name: str
    method: str
    request: Message
    raw: str
    items: int = 1
    aim: float = 0.8


def cases(client: Client) -> list[Case]:
    """Make the keys and the requests."""
    aes = client.create_key(spec="SYMMETRIC_DEFAULT").arn
    rsa = client.create_key(spec="RSA_2048", usage="SIGN_VERIFY").arn
    ecc = client.create_key(spec="ECC_NIST_P256", usage="SIGN_VERIFY").arn
    sealed = client.encrypt(aes, bytes(32)).ciphertext
    items = [pb.BatchEncryptItem(plaintext=bytes(32)) for _ in range(BATCH)]
    pkcs1 = types.SIGNING_ALGORITHM_RSASSA_PKCS1_V1_5_SHA_256
    return [
        Case("Encrypt", "Encrypt", pb.EncryptRequest(key=aes, plaintext=bytes(32)), "encrypt"),
        Case("Decrypt", "Decrypt", pb.DecryptRequest(ciphertext=sealed), "decrypt"),
        Case(
            "GenerateDataKey",
            "GenerateDataKey",
            pb.GenerateDataKeyRequest(key=aes, data_key_spec=pb.DATA_KEY_SPEC_AES_256),
            "data_key",
        ),
        Case(
            "Sign RSA_2048",
            "Sign",
            pb.SignRequest(key=rsa, message=b"message", signing_algorithm=pkcs1),
            "sign_rsa",
            aim=0.9,
        ),
        Case("Sign ECC_NIST_P256", "Sign", pb.SignRequest(key=ecc, message=b"message"), "sign_ecc", aim=0.9),
        Case(
            f"BatchEncrypt x{BATCH}",
            "BatchEncrypt",
            pb.BatchEncryptRequest(key=aes, items=items),
            "encrypt",
            BATCH,
            0.7,
        ),
        Case(
            "Operate (stream)",
            "Operate",
            pb.OperateRequest(id=1, encrypt=pb.EncryptRequest(key=aes, plaintext=bytes(32))),
            "encrypt",
        ),
    ]


def run(folder: Path, *, rounds: int, seconds: float, callers: int, workers: int) -> None:
    """Measure every case and print a line for each."""
    config = rig.found(folder, workers)
    with (
        rig.daemon(config) as daemon,
        rig.echo(daemon.tls, workers, 200) as echo,
        rig.helper("load", daemon.tls, wait=False) as load,
        rig.raw(config) as raw,
        daemon.client() as client,
    ):
        print(f"callers {callers}, workers {workers}, {rounds} rounds of {seconds} s each, taken in turns")
        print(f"{'operation':22}{'E: median (least - greatest)':34}{'echo':>7}{'raw':>8}{'ours':>9} us")
        for case in cases(client):
            _measure(case, daemon.endpoint, echo, load, raw, rounds, seconds, callers)


def _measure(
    case: Case,
    endpoint: str,
    echo: str,
    load: rig.Rounds,
    raw: rig.Rounds,
    rounds: int,
    seconds: float,
    callers: int,
) -> None:
    request, method = case.request.SerializeToString().hex(), SERVICE + case.method
    in_flight = callers if case.items == 1 else 2
    turns: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        ours = load.ask(endpoint, method, request, in_flight, seconds)
        bare = load.ask(echo, method, request, in_flight, seconds)
        alone = raw.ask(case.raw, min(seconds, 1.0))
        turns.append((bare, alone, ours))
    _print(case, turns, lambda t: (t[0] + t[1] * case.items) / t[2])


def _print(
    case: Case,
    turns: list[tuple[float, float, float]],
    efficiency: Callable[[tuple[float, float, float]], float],
) -> None:
    values = [efficiency(turn) for turn in turns]
    bare, alone, ours = (rig.median([turn[n] for turn in turns]) for n in range(3))
    verdict = "ok" if rig.median(values) >= case.aim else f"aim {case.aim:.2f}"
    line = f"{case.name:22}{rig.spread(values):34}{bare:7.0f}{alone:8.1f}{ours:9.1f}  {verdict}"
    print(line, flush=True)
    if case.items > 1:
        share = rig.spread([t[1] * case.items / t[2] for t in turns])
        print(
            f"{'':22}items against the raw loop: {share}, {case.items / ours * 1e6:.0f} items/s", flush=True
        )
    else:
        print(f"{'':22}plain ratio to the echo: {rig.spread([t[0] / t[2] for t in turns])}", flush=True)
