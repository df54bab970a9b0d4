"""Examines an XKS proxy from end to end, as its caller: `examine(client, key)`.

The checks are tables in the modules beside this one. They use one external key and leave nothing behind but
the key's use. A key that a store pins to the first kmsKeyArn it sees is pinned to the client's: use a key
that is there for tests, or give the ARN it is meant for.
"""

from collections.abc import Callable
from typing import Final

from strongroom.xks.client import ProxyClient
from strongroom.xks.selftest import answering, connecting, findings, refusing, sealing, timing
from strongroom.xks.selftest.findings import Finding as Finding
from strongroom.xks.selftest.findings import Report as Report
from strongroom.xks.selftest.findings import Verdict as Verdict
from strongroom.xks.selftest.probe import Probe

DEFAULT_ROUNDS: Final = 50
CHECKS: Final = (
    *connecting.OPENING,
    *answering.ANSWERING,
    *connecting.KEEPING,
    *sealing.SEALING,
    *refusing.REFUSING,
    *timing.TIMING,
)


def examine(
    client: ProxyClient,
    key: str,
    *,
    rounds: int = DEFAULT_ROUNDS,
    seen: Callable[[Finding], None] = lambda _: None,
) -> Report:
    """Run all checks.

    Args:
        client: of the proxy.
        key: an external key that may be used for tests.
        rounds: calls of each timing.
        seen: told of each finding as it comes.
    """
    found = findings.examine(CHECKS, Probe(client, key, rounds), seen)
    where = client.address
    return Report(f"{where.scheme}://{where.authority}{where.path}", tuple(found))
