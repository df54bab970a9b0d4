"""What supervisor and workers agree on: beats, exit codes, a worker's place among the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path

from strongroomd.config.sections import Address, Settings


class Beat(Enum):
    """What a worker says to the supervisor each quarter second, one byte a beat."""

    STARTING = b"S"
    READY = b"R"
    DRAINING = b"D"
    TIRED = b"N"  # ready, and wants a successor
    HUNG = b"H"  # a call into the module does not return: kill me


class ExitCode(IntEnum):
    """How a process of the daemon ends; the numbers are those of sysexits(3)."""

    DONE = 0
    CRASHED = 1
    RESTART = 75  # EX_TEMPFAIL: a fresh worker can go on
    REFUSED = 78  # EX_CONFIG: a fresh worker would fail the same way, or do harm (wrong PIN)


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """What the supervisor tells one worker about its place among the others.

    Attributes:
        index: the lowest number free among living workers; also names its metric files.
        workers: how many workers the node runs.
        pid: the worker's own process id.
        started_at: milliseconds since the Unix epoch.
        grpc: the address to listen on, its port resolved, shared by SO_REUSEPORT.
        ops: the same for metrics and health.
        xks: the same for the XKS door, if there is one.
        pin_fd: a descriptor of its own from which this worker reads the PIN, if the PIN came by descriptor.
        token_pin_fds: the same for further tokens, by their names.
        daemon_file: where the supervisor publishes the workers' states (JSON).
        ready: to be called once, when the worker serves.
        wary: a worker was killed not long ago since it hung.
    """

    index: int
    workers: int
    pid: int
    started_at: int
    grpc: Address
    ops: Address
    pin_fd: int | None
    daemon_file: Path
    ready: Callable[[], None]
    token_pin_fds: Mapping[str, int] = field(default_factory=dict)
    xks: Address | None = None
    wary: bool = False


def daemon_file(settings: Settings) -> Path:
    """Name the file in which a running daemon publishes its ports, workers and states."""
    return settings.daemon.run_dir / "daemon.json"
