"""How long it takes, from where the selftest runs."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final

from strongroom.xks.selftest.findings import Check, Doubt, Failure
from strongroom.xks.selftest.probe import AAD, PLAINTEXT, Probe

LIMIT: Final = 0.250  # seconds after which KMS gives up
_LEFT_AFTER_TRIPS: Final = 0.145  # of LIMIT after three round trips of 35 ms, the most that AWS advises
_OPENINGS: Final = 5


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least this share of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _openings(probe: Probe) -> str:
    """Connection set-up with the first call on it: what KMS waits for on a cold connection."""
    taken: list[float] = []
    for _ in range(_OPENINGS):
        with contextlib.closing(probe.fresh_link()) as link:
            opening = link.open()
            taken.append(opening.tcp + opening.tls)
    return _judged(taken)


def _health(probe: Probe) -> str:
    return _timed(probe, probe.client.health)


def _encrypt(probe: Probe) -> str:
    return _timed(probe, lambda: probe.client.encrypt(probe.key, PLAINTEXT, aad=AAD))


def _decrypt(probe: Probe) -> str:
    sealed = probe.sealed
    return _timed(probe, lambda: probe.client.decrypt(probe.key, sealed, aad=AAD))


def _timed(probe: Probe, call: Callable[[], object]) -> str:
    taken: list[float] = []
    for _ in range(probe.rounds):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return _judged(taken)


def _judged(taken: Sequence[float]) -> str:
    middle, late, worst = (percentile(taken, share) for share in (0.5, 0.99, 1.0))
    detail = f"p50 {middle * 1e3:.1f}, p99 {late * 1e3:.1f}, max {worst * 1e3:.1f} ms of {len(taken)}"
    if worst > LIMIT:
        raise Failure(f"{detail}: KMS gives up after 250 ms")
    if late > _LEFT_AFTER_TRIPS:
        raise Doubt(f"{detail}: 145 ms are left where KMS is 35 ms away")
    return detail


TIMING: Final = (
    Check("timing", "connection set-up", _openings),
    Check("timing", "health", _health),
    Check("timing", "encrypt with CDIV", _encrypt),
    Check("timing", "decrypt", _decrypt),
)
