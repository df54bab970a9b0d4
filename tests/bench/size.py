"""Latency with many keys in the store against ten: two daemons side by side, the same calls in turns."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.bench import rig
from tests.bench.efficiency import SERVICE

from strongroom.v1 import crypto_pb2 as pb

AT_ONCE = 500


def run(folder: Path, *, rounds: int, seconds: float, keys: int) -> None:
    """Print the ratio of latencies."""
    configs = rig.found_two(folder)
    for config, number in zip(configs, (10, keys), strict=True):
        # A process of its own for each token: a PKCS#11 module is loaded once, for one SoftHSM configuration.
        subprocess.run([sys.executable, "-m", "tests.bench.size", str(config), str(number)], check=True)
    with (
        rig.daemon(configs[0]) as few,
        rig.daemon(configs[1]) as many,
        rig.helper("load", few.tls, wait=False) as load_few,
        rig.helper("load", many.tls, wait=False) as load_many,
    ):
        requests = [_request(daemon) for daemon in (few, many)]
        ratios = []
        for _ in range(rounds):
            a = load_few.ask(few.endpoint, SERVICE + "Encrypt", requests[0], 1, seconds)
            b = load_many.ask(many.endpoint, SERVICE + "Encrypt", requests[1], 1, seconds)
            ratios.append(b / a)
    print(f"Encrypt, latency with {keys} keys over latency with 10: {rig.spread(ratios)}  aim 1.1")


def _request(daemon: rig.Daemon) -> str:
    with daemon.client() as client:
        key = client.list_keys(page_size=10).items[0].arn
        return pb.EncryptRequest(key=key, plaintext=bytes(32)).SerializeToString().hex()


async def _fill(config: Path, keys: int) -> None:
    """Make keys in-process, many to a transaction, by the daemon's own rooms."""
    from tests.bench.inside import inside
    from tests.bench.keys import records

    from strongroomd.domain.algorithms import KeySpec, KeyUsage

    async with inside(config) as it:
        for start in range(0, keys, AT_ONCE):
            async with it.ledger.change() as change:
                for _ in range(start, min(start + AT_ONCE, keys)):
                    for record in await records(
                        it.vault, KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT
                    ):
                        await change.put(record)


if __name__ == "__main__":
    asyncio.run(_fill(Path(sys.argv[1]), int(sys.argv[2])))
