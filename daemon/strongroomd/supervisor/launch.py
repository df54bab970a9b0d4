"""Starting a worker: a fresh program that is handed what it needs, and nothing of our memory."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from strongroomd.supervisor.fleet import Worker
from strongroomd.supervisor.holdings import reopened, sealed

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "strongroomd", "worker")
_OURS: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
_TUNABLES: Final = "GLIBC_TUNABLES"
_HUGE_PAGES: Final = "glibc.malloc.hugetlb"
"""Have the heap in huge pages where the kernel gives them on request (glibc 2.35; others do not know it).

The small pages of a thousand connections are more than the processor keeps the addresses of: calls that come
over them cost a fifth more (ADR 0043).
"""
_PIN: Final = "pin:"


def _pin_argument(token: str, descriptor: int) -> str:
    return f"--token-pin={token}:{descriptor}" if token else f"--pin-fd={descriptor}"


class Launcher:
    """Starts workers.

    Args:
        command: the program and its first arguments.
        source: the configuration file.
        metrics: the folder of the shared metric files.
        data: the configuration's bytes.

    Attributes:
        ports: the resolved port of each door.
        wary_until: `time.monotonic()` seconds until which workers are told that one before them hung.
        pins: the sealed PINs that came by descriptor, by the names of their tokens; the main one has none.
    """

    def __init__(self, command: Sequence[str], source: Path, metrics: Path, data: bytes) -> None:
        self._command = tuple(command)
        self._source = source
        self._metrics = metrics
        self._snapshot = sealed("strongroom-config", data)
        self.ports: dict[str, int] = {}
        self.pins: dict[str, int] = {}
        self.wary_until = 0.0

    def use(self, data: bytes) -> None:
        """Give later workers this configuration."""
        os.close(self._snapshot)
        self._snapshot = sealed("strongroom-config", data)

    def start(self, index: int) -> Worker:
        """Start one worker. Raises OSError if the system refuses."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        inherited = {"heartbeat": writer, "config": reopened(self._snapshot)}
        inherited |= {f"{_PIN}{token}": reopened(pin) for token, pin in self.pins.items()}
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, our own arguments
                self._arguments(index, inherited),
                stdin=subprocess.DEVNULL,
                pass_fds=tuple(inherited.values()),
                env=self._environment(),
                process_group=0,
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            for descriptor in inherited.values():
                os.close(descriptor)
        return Worker(index, process, reader, os.pidfd_open(process.pid), time.monotonic())

    def close(self) -> None:
        """Forget the configuration and the PIN."""
        for descriptor in (self._snapshot, *self.pins.values()):
            os.close(descriptor)

    def _arguments(self, index: int, inherited: dict[str, int]) -> list[str]:
        values: dict[str, object] = {"config": self._source, "index": index, "parent": os.getpid()}
        values |= {f"{door}-port": port for door, port in self.ports.items()}
        values |= {f"{name}-fd": descriptor for name, descriptor in inherited.items() if _PIN not in name}
        pins = [_pin_argument(name.removeprefix(_PIN), fd) for name, fd in inherited.items() if _PIN in name]
        wary = ["--wary"] if time.monotonic() < self.wary_until else []
        return [*self._command, *(f"--{name}={value}" for name, value in values.items()), *pins, *wary]

    def _environment(self) -> dict[str, str]:
        """Ours, without what systemd meant for the supervisor alone; with what the C library reads first."""
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        tunables = environment.get(_TUNABLES, "")
        if _HUGE_PAGES not in tunables:
            environment[_TUNABLES] = ":".join(filter(None, (tunables, f"{_HUGE_PAGES}=1")))
        return environment | {"PROMETHEUS_MULTIPROC_DIR": str(self._metrics)}
