"""One worker's life: harden, load, assemble, serve, drain.

The worker tells the supervisor each quarter second that its loop runs, from the loop itself, so that a loop
caught in C code falls silent; and it says so when a thread is caught there (`Assembly.hung`). What it serves
is made by `wiring.assemble`; this module only runs it, reloads it and ends it.
"""

import asyncio
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import uvloop

from strongroomd.config import (
    Address,
    Beat,
    ConfigurationErrors,
    ExitCode,
    Settings,
    WorkerPlace,
    daemon_file,
    load,
    stamp,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.privileges import drop_override_capability
from strongroomd.telemetry import logs

BEAT_SECONDS: Final = 0.25
SWITCH_SECONDS: Final = 0.0005  # that a thread back from the token waits for a busy loop; Python's are 5 ms
WATCH_SECONDS: Final = 1.0
FATAL_DRAIN_SECONDS: Final = 1.0  # a worker without its HSM has nothing worth waiting for
_MOST_DESCRIPTORS: Final = 65_536
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 131_072  # bytes, glibc's threshold at the start
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_MCL_CURRENT_FUTURE_ONFAULT: Final = 7  # lock pages when they are first touched: thread stacks stay small
_REFUSALS: Final = frozenset({Reason.CONFIGURATION, Reason.INTEGRITY_FAILURE})
_log = logs.get("worker")


class Assembly(Protocol):
    """A worker's whole object graph, as `wiring.assemble` makes it. Every method is called on the loop."""

    async def start(self) -> None:
        """Log in, verify, open the doors; returns when calls are served.

        Raises:
            StrongroomError: CONFIGURATION or INTEGRITY_FAILURE if no worker may serve, others to be replaced.
        """
        ...

    async def drain(self, grace_seconds: float) -> None:
        """Take no new calls, finish those in flight within the grace, make everything durable, close."""
        ...

    async def reload(self, settings: Settings) -> None:
        """Take over what may change while serving; raises and changes nothing if it cannot."""
        ...

    def hung(self) -> str | None:
        """Say which call into the module does not return, if one does not."""
        ...

    def wants_successor(self) -> bool:
        """Say whether this worker should be replaced by a fresh one when convenient."""
        ...

    def fatal(self) -> str | None:
        """Say why this worker cannot go on, if it cannot."""
        ...


Assemble = Callable[[Settings, WorkerPlace], Assembly]


@dataclass(frozen=True, slots=True)
class WorkerArguments:
    """What the supervisor passes on the command line; descriptors are inherited.

    Attributes:
        config: the configuration file, for relative paths and reloads.
        index: the worker's number.
        parent: the supervisor's process id.
        grpc_port, ops_port: resolved ports of the configured addresses.
        heartbeat_fd: the heartbeat pipe's writing end.
        config_fd: the configuration's bytes, as the supervisor accepted them.
        pin_fd: the PIN, if it came by descriptor.
        token_pin_fds: those of further tokens that came so, by name.
        xks_port: resolved like the other ports, if the door is open.
        wary: a worker was killed not long ago since it hung.
    """

    config: Path
    index: int
    parent: int
    grpc_port: int
    ops_port: int
    heartbeat_fd: int
    config_fd: int
    pin_fd: int | None = None
    token_pin_fds: dict[str, int] = field(default_factory=dict)
    xks_port: int | None = None
    wary: bool = False


def run(arguments: WorkerArguments, assemble: Assemble) -> int:
    """Live a worker's life; returns its exit code. Call it from the main thread, before any other exists."""
    logs.configure("info", arguments.index)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        harden(arguments.parent)
        with os.fdopen(arguments.config_fd, "rb") as file:
            # The supervisor looked at the files; a replacement must not stumble over a later change.
            settings = load(arguments.config, file.read(), check_files=False)
        logs.configure(settings.telemetry.log_level, arguments.index)
        return int(uvloop.run(_Life(settings, arguments, assemble).run()))
    except ConfigurationErrors as errors:
        _log.error("configuration refused", mistakes=[str(mistake) for mistake in errors.mistakes])
        return ExitCode.REFUSED
    except StrongroomError as error:
        _log.error(
            "cannot serve", reason=error.reason, field=error.field, text=error.message, detail=error.detail
        )
        return ExitCode.REFUSED if error.reason in _REFUSALS else ExitCode.RESTART
    except Exception as error:  # noqa: BLE001 - the last line of defence tells the log why
        _log.error("worker failed", exc_info=error)
        return ExitCode.CRASHED


def _allow_descriptors() -> None:
    """Open as many descriptors as may be: connections must leave some for the audit log and the store."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _give_back_memory(libc: ctypes.CDLL) -> None:
    """Have large blocks mapped one by one, so that each goes back to the kernel when it is freed.

    Each TLS connection has a block of 256 KiB. glibc would soon take them from the heap, where what is small
    lies between them, and the memory of a flood of connections would stay with the process.
    """
    if hasattr(libc, "mallopt"):  # glibc; to set the threshold ends its growth (mallopt(3))
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def harden(parent: int) -> None:
    """Keep secrets in this process's memory there, and end with the supervisor.

    No core files, no ptrace or /proc/self/mem by others of the same user, no privileges by exec, memory
    locked if the limits allow it, SIGKILL when the supervisor dies, no power to overwrite read-only token
    files.

    Args:
        parent: the supervisor's process id.

    Raises:
        StrongroomError: INTERNAL when the kernel refuses, or when the supervisor died already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _allow_descriptors()
    _give_back_memory(libc)
    for option, value in (
        (_PR_SET_PDEATHSIG, signal.SIGKILL),
        (_PR_SET_DUMPABLE, 0),
        (_PR_SET_NO_NEW_PRIVS, 1),
    ):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise StrongroomError(
                Reason.INTERNAL, detail=f"prctl {option} failed, errno {ctypes.get_errno()}"
            )
    if os.getppid() != parent:
        raise StrongroomError(Reason.INTERNAL, detail="the supervisor is gone")
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if unlimited and libc.mlockall(_MCL_CURRENT_FUTURE_ONFAULT) != 0:
        _log.warning("memory is not locked", errno=ctypes.get_errno())
    drop_override_capability()


class _Life:
    """The part that needs a loop."""

    def __init__(self, settings: Settings, arguments: WorkerArguments, assemble: Assemble) -> None:
        self._settings = settings
        self._arguments = arguments
        self._assemble = assemble
        self._assembly: Assembly | None = None
        self._beat = Beat.STARTING
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> ExitCode:
        """Serve until told to stop or unable to go on."""
        self._listen_to_signals()
        self._spawn(self._beating())
        self._assembly = self._assemble(self._settings, self._place())
        # A start is never cut short: it may be in the middle of a login. The supervisor's patience bounds it.
        await self._assembly.start()
        self._ready()
        self._spawn(self._watching(_files(self._settings)))
        reason = await self._until_the_end(self._assembly)
        self._beat = Beat.DRAINING
        await self._assembly.drain(
            FATAL_DRAIN_SECONDS if reason else self._settings.daemon.drain_seconds * 0.8
        )
        return ExitCode.RESTART if reason else ExitCode.DONE

    def _place(self) -> WorkerPlace:
        arguments, settings = self._arguments, self._settings
        return WorkerPlace(
            index=arguments.index,
            workers=settings.daemon.workers,
            pid=os.getpid(),
            started_at=time.time_ns() // 1_000_000,
            grpc=Address(settings.grpc.address.host, arguments.grpc_port),
            ops=Address(settings.ops.address.host, arguments.ops_port),
            pin_fd=arguments.pin_fd,
            daemon_file=daemon_file(settings),
            ready=self._ready,
            token_pin_fds=arguments.token_pin_fds,
            xks=_address(settings.xks.address, arguments.xks_port),
            wary=arguments.wary,
        )

    def _ready(self) -> None:
        if self._beat is Beat.STARTING:
            self._beat = Beat.READY

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_configuration()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- heartbeat

    async def _beating(self) -> None:
        """Say each quarter second, from the loop itself, that the loop runs."""
        while True:
            with suppress(BlockingIOError):
                os.write(self._arguments.heartbeat_fd, self._current_beat().value)
            await asyncio.sleep(BEAT_SECONDS)

    def _current_beat(self) -> Beat:
        if self._assembly is None:
            return self._beat
        if (call := self._assembly.hung()) is not None:
            _log.error("a call into the module does not return", call=call)
            return Beat.HUNG
        if self._beat is Beat.READY and self._assembly.wants_successor():
            return Beat.TIRED
        return self._beat

    async def _until_the_end(self, assembly: Assembly) -> str | None:
        """Wait for SIGTERM (None) or for the assembly's end (why)."""
        while not self._stopping.is_set():
            if (reason := assembly.fatal()) is not None:
                _log.error("this worker cannot go on", cause=reason)
                return reason
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), BEAT_SECONDS)
        return None

    # --- reload

    async def _watching(self, before: "_Stamps") -> None:
        """Reload when a certificate, key or CA file changes; the supervisor watches the configuration."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = await asyncio.to_thread(_files, self._settings)
            if now != before:
                before = now
                await self._reload(self._settings, "files")

    async def _reload_configuration(self) -> None:
        try:
            settings = await asyncio.to_thread(partial(load, self._settings.source, check_files=False))
        except ConfigurationErrors as errors:
            mistakes = [str(mistake) for mistake in errors.mistakes]
            _log.error("configuration refused, the old one stays", mistakes=mistakes)
            return
        await self._reload(settings, "configuration")

    async def _reload(self, settings: Settings, what: str) -> None:
        if self._assembly is None or self._beat is not Beat.READY:
            return
        async with self._reloading:
            try:
                await self._assembly.reload(settings)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the new, the old goes on
                _log.error("reload failed, the old state stays", what=what, exc_info=error)
                return
            self._settings = settings
            logs.configure(settings.telemetry.log_level, self._arguments.index)
            _log.info("reloaded", what=what)


def _address(configured: Address | None, port: int | None) -> Address | None:
    return None if configured is None or port is None else Address(configured.host, port)


_Stamps = tuple[tuple[int, int, int] | None, ...]


def _files(settings: Settings) -> _Stamps:
    """Tell the versions of the files that may change while the worker serves."""
    grpc, xks = settings.grpc, settings.xks
    files = [grpc.certificate_file, grpc.key_file, grpc.client_ca_file]
    optional = (xks.certificate_file, xks.key_file, xks.client_ca_file)
    return tuple(stamp(path) for path in (*files, *(path for path in optional if path is not None)))
