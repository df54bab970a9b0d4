"""A load generator: calls one method in a closed loop and prints the microseconds of a call.

Messages are sent and received as bytes, so that the client costs as little as it can. It serves rounds: each line on
standard input is `TARGET METHOD HEX CALLERS SECONDS`, each line on standard output the calls made and the seconds.
"""

import asyncio
import sys
import time
from pathlib import Path

import grpc
import grpc.aio
import uvloop


async def rounds(tls: Path) -> None:
    """Serve rounds until standard input ends."""
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(), (tls / "admin.key").read_bytes(), (tls / "admin.pem").read_bytes()
    )
    channels: dict[str, grpc.aio.Channel] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        target, method, request, callers, seconds = line.split()
        channel = channels.get(target) or grpc.aio.secure_channel(target, credentials)
        channels[target] = channel
        made, took = await load(channel, method, bytes.fromhex(request), int(callers), float(seconds))
        print(made, took, flush=True)


async def load(
    channel: grpc.aio.Channel, method: str, request: bytes, callers: int, seconds: float
) -> tuple[int, float]:
    """Call from `callers` tasks for `seconds`; the first calls are not counted."""
    call = channel.unary_unary(method)
    for _ in range(5):
        await call(request, timeout=30)
    made = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal made
        while time.perf_counter() < end:
            await call(request, timeout=30)
            made += 1

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return made, time.perf_counter() - start


if __name__ == "__main__":
    uvloop.run(rounds(Path(sys.argv[1])))
