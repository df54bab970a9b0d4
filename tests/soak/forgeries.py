"""A flood of forged ciphertexts at the XKS door: its sender's trouble alone.

SoftHSM says of a wrong tag what it says of a token that is broken. So each forgery could look like a fault of the
HSM, and a sender of many could have the key store taken for unavailable.
"""

import base64
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness import XKS, Daemon, make_folder, running
from tests.kms import AAD, PARTS, Kms, decryption, each_worker, open_store
from tests.xksdoor import ENCRYPT, HEALTH

FORGED = (400, "InvalidCiphertextException")
GOOD_EACH = 50  # forgeries between two honest calls


@dataclass
class Figures:
    """What a flood showed."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    health: Counter[str] = field(default_factory=Counter)
    honest: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        forged = self.answers[FORGED]
        yield f"{forged} forgeries refused in {self.seconds:.1f} s ({forged / self.seconds:.0f}/s)"
        yield f"{self.honest} honest decryptions meanwhile, the slowest in {self.slowest * 1000:.0f} ms"
        yield f"health: {dict(self.health)}; other answers: {dict(self.answers - Counter({FORGED: forged}))}"
        yield from (f"FAILED: {line}" for line in self.failed)


def run(folder: Path, count: int) -> Figures:
    """Send so many to a daemon of its own."""
    with running(make_folder(folder, 2, edit=lambda text: text + XKS)) as daemon:
        with daemon.client(timeout=30.0) as owner:
            _, kms = open_store(daemon, owner)
        with closing(kms.connection):
            return flood(daemon, kms, count)


def flood(daemon: Daemon, kms: Kms, count: int) -> Figures:
    """Send so many, evenly to each worker, and honest calls between them."""
    figures, before = Figures(), daemon.workers()
    began = time.monotonic()
    with each_worker(kms, daemon) as workers:
        whole = decryption(kms.ask("encrypt", ENCRYPT | AAD).json, **AAD)
        share = count // len(workers)
        threads = [threading.Thread(target=_send, args=[each, whole, share, figures]) for each in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    figures.seconds = time.monotonic() - began
    if daemon.workers() != before:
        figures.failed.append("a worker was replaced")
    if 'hsm_breaker_state{token="main"} 0.0' not in daemon.metrics():
        figures.failed.append("the breaker is not closed")
    return figures


def _send(kms: Kms, whole: dict[str, Any], count: int, figures: Figures) -> None:
    for number in range(count):
        figures.answers[kms.outcome("decrypt", _forged(whole))] += 1
        if number % GOOD_EACH == 0:
            _honest(kms, whole, figures)


def _forged(whole: dict[str, Any]) -> dict[str, Any]:
    """The same with one bit of one part flipped, or with other bytes altogether."""
    part = random.choice((*PARTS, "additionalAuthenticatedData"))
    was = bytearray(base64.b64decode(whole[part]))
    was[random.randrange(len(was))] ^= 1 << random.randrange(8)
    new = bytes(was) if random.random() < 0.8 else random.randbytes(len(was))
    return {**whole, part: base64.b64encode(new).decode()}


def _honest(kms: Kms, whole: dict[str, Any], figures: Figures) -> None:
    began = time.monotonic()
    answer = kms.ask("decrypt", whole)
    figures.slowest = max(figures.slowest, time.monotonic() - began)
    figures.honest += answer.status == 200
    if answer.status != 200:
        figures.failed.append(f"an honest call: {answer.status} {answer.error}")
    elif answer.json["plaintext"] != ENCRYPT["plaintext"]:
        figures.failed.append("a wrong plaintext")
    for hsm in kms.ask("health", HEALTH).json["ekmFleetDetails"]:
        figures.health[hsm["healthStatus"]] += 1
