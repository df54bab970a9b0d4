"""A load generator: calls one method in a closed loop and prints the microseconds of a call.

Messages are sent and received as bytes, so that the client costs as little as it can. It serves rounds: each line on
standard input is `TARGET METHOD HEX CALLERS SECONDS`, each line on standard output the calls made and the seconds.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

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
    if method.endswith("/Operate"):
        return await load_stream(channel, method, request, callers, seconds)
    call: Any = channel.unary_unary(method)
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


async def load_stream(
    channel: grpc.aio.Channel, method: str, request: bytes, window: int, seconds: float
) -> tuple[int, float]:
    """Keep `window` operations of one stream in flight for `seconds`."""
    call: Any = channel.stream_stream(method)()
    for _ in range(window):
        await call.write(request)
    made, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        await call.read()
        made += 1
        await call.write(request)
    took = time.perf_counter() - start
    await call.done_writing()
    for _ in range(window):
        await call.read()
    return made, took


if __name__ == "__main__":
    uvloop.run(rounds(Path(sys.argv[1])))
