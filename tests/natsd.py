"""A real nats-server with JetStream, to be killed and started again; and what its stream holds."""

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import pytest
from tests.harness import within

STREAM = "STRONGROOM"


@dataclass
class NatsServer:
    """One server on loopback, with a stream over `strongroom.>`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = shutil.which("nats-server")
        assert program is not None, "nats-server is missing: apt-get install nats-server"
        command = [program, "-js", "-sd", str(self.folder), "-a", "127.0.0.1", "-p", str(self.port)]
        command += self.options
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + within(10)
        while time.monotonic() < deadline:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail("nats-server does not listen")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def make_stream(self) -> None:
        async def make() -> None:
            client = await nats.connect(self.url)
            await client.jetstream().add_stream(name=STREAM, subjects=["strongroom.>"])
            await client.close()

        asyncio.run(make())

    def messages(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Subject, message id and event of every message that the stream holds, in its order."""

        async def read() -> list[tuple[str, str, dict[str, Any]]]:
            client = await nats.connect(self.url)
            stream = client.jetstream()
            count = (await stream.stream_info(STREAM)).state.last_seq
            found = [await stream.get_msg(STREAM, number) for number in range(1, count + 1)]
            await client.close()
            return [
                (str(m.subject), (m.headers or {})["Nats-Msg-Id"], json.loads(m.data or b"")) for m in found
            ]

        return asyncio.run(read())


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path) -> Iterator[NatsServer]:
    folder.mkdir(exist_ok=True)
    server = NatsServer(folder, free_port())
    server.start()
    try:
        server.make_stream()
        yield server
    finally:
        server.kill()
