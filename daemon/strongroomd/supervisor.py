"""Starts the workers as fresh processes, watches them, replaces them, drains them.

A worker that crashes is noticed at once (its pidfd), one that hangs within two seconds (its heartbeat pipe
falls silent); it is replaced while its siblings serve. The supervisor imports neither gRPC nor PKCS#11 and
runs no threads, so nothing that a caller sends and no module's fault can reach it. It owns three things that
must outlive a worker: the ports (as bound sockets that never listen), the PIN when it came by descriptor
(sealed in memory), and the last good configuration, so that a replacement starts even while a bad one is
being edited.
"""

import ctypes
import fcntl
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from strongroomd.config import Address, Beat, ConfigurationErrors, ExitCode, Settings, daemon_file, load, read
from strongroomd.telemetry import logs

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "strongroomd", "worker")
_PR_SET_DUMPABLE: Final = 4  # prctl(2)
_MAX_PIN: Final = 4_096  # bytes; tokens allow far fewer
_STATES: Final = {
    Beat.STARTING: "starting",
    Beat.READY: "ready",
    Beat.TIRED: "ready",
    Beat.DRAINING: "draining",
}
_log = logs.get("supervisor")


@dataclass(frozen=True, slots=True)
class Timing:
    """The supervisor's patience, in seconds.

    Attributes:
        tick: how often it looks around without being woken.
        start: silence allowed before a worker is ready: imports, the login lock, a slow module. A kill during
            a login can damage a SoftHSM token, so this is generous.
        silence: silence allowed of a serving worker; with a tick it stays under the two seconds promised.
        first_backoff, longest_backoff: pause before the second replacement in a row that died before it was
            ready, doubled for each one more.
        reload: how often the configuration file is looked at.
    """

    tick: float = 0.2
    start: float = 30.0
    silence: float = 1.75
    first_backoff: float = 0.25
    longest_backoff: float = 10.0
    reload: float = 1.0


class Cause(StrEnum):
    """Why a worker was replaced; the label of a metric."""

    CRASH = "crash"
    HANG = "hang"
    FATAL = "fatal"
    RECYCLE = "recycle"


@dataclass(slots=True)
class _Worker:
    index: int
    process: subprocess.Popen[bytes]
    pipe: int
    pidfd: int
    last_beat: float
    state: str = "starting"
    was_ready: bool = False
    outdated: bool = False
    retiring: bool = False
    told_to_stop_at: float | None = None
    killed_as: Cause | None = None


@dataclass(slots=True)
class _Stop:
    deadline: float
    code: int


@dataclass(slots=True)
class _Fleet:
    """Which workers there are and which are missing: arithmetic only."""

    wanted: int
    workers: dict[int, _Worker] = field(default_factory=dict)
    due: list[float] = field(default_factory=list)
    early_deaths: int = 0

    def free_index(self) -> int:
        return next(index for index in range(len(self.workers) + 1) if index not in self.workers)

    def missing(self) -> int:
        return self.wanted - len(self.due) - sum(not worker.retiring for worker in self.workers.values())

    def may_retire(self) -> bool:
        """One worker at a time, and only while nothing else is missing."""
        return not any(worker.retiring for worker in self.workers.values()) and not self.due

    def dispensable(self) -> list[_Worker]:
        """List retiring workers whose successors are ready."""
        fresh = sum(w.state == "ready" and not w.retiring for w in self.workers.values())
        leaving = [w for w in self.workers.values() if w.retiring and w.told_to_stop_at is None]
        return leaving[: max(0, len(leaving) - (self.wanted - fresh))]


class Supervisor:
    """One daemon's supervisor.

    Args:
        settings: as loaded from `data`.
        data: the bytes of the configuration file, handed to each worker as they are.
        command: how to start a worker; arguments are appended.
        timing: the supervisor's patience.
    """

    def __init__(
        self,
        settings: Settings,
        data: bytes,
        command: Sequence[str] = WORKER_COMMAND,
        timing: Timing = Timing(),
    ) -> None:
        self._settings = settings
        self._command = tuple(command)
        self._timing = timing
        self._fleet = _Fleet(settings.daemon.workers)
        self._selector = selectors.DefaultSelector()
        self._snapshot = _sealed("strongroom-config", data)
        self._pin: int | None = None
        self._held: list[socket.socket] = []
        self._addresses: dict[str, Address] = {}
        self._metrics = settings.daemon.run_dir / "metrics"
        self._restarts = dict.fromkeys((cause.value for cause in Cause), 0)
        self._stop: _Stop | None = None
        self._announced = False
        self._published = b""
        self._stamp = _stamp(settings.source)
        self._looked_at = 0.0
        self._notify = _Notifier()
        self._lock: int | None = None

    def run(self) -> int:
        """Serve until told to stop; returns the process's exit code."""
        try:
            self._prepare()
        except (OSError, _RefusalError) as error:
            _log.error("cannot start", cause=str(error))
            self._close()
            return ExitCode.REFUSED
        _log.info("starting", workers=self._fleet.wanted, grpc=str(self._addresses["grpc"]))
        try:
            while not self._finished():
                self._turn()
        finally:
            self._kill_all()
            self._close()
        code = self._stop.code if self._stop else ExitCode.CRASHED
        _log.info("stopped", code=int(code))
        return code

    def _prepare(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        run_dir = self._settings.daemon.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _only_one(run_dir / "daemon.lock")
        shutil.rmtree(self._metrics, ignore_errors=True)
        self._metrics.mkdir(mode=0o700)
        self._reserve("grpc", self._settings.grpc.address)
        self._reserve("ops", self._settings.ops.address)
        if self._settings.hsm.pin_fd is not None:
            self._pin = _seal_pin(self._settings.hsm.pin_fd)
        self._listen_to_signals()

    def _reserve(self, door: str, address: Address) -> None:
        holder = _reserve(address)
        self._held.append(holder)
        self._addresses[door] = Address(address.host, holder.getsockname()[1])

    def _listen_to_signals(self) -> None:
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)  # noqa: FBT003 - its only argument
            self._held.append(end)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, lambda: self._on_signals(reader))

    def _turn(self) -> None:
        """Wait for something to happen, hear everybody, and only then judge."""
        for key, _events in self._selector.select(self._timing.tick):
            key.data()
        now = time.monotonic()
        self._judge(now)
        if self._stop is None:
            self._staff(now)
            self._watch_configuration(now)
        self._publish()
        self._notify.alive(now)

    def _finished(self) -> bool:
        return self._stop is not None and not self._fleet.workers

    # --- signals

    def _on_signals(self, reader: socket.socket) -> None:
        for number in reader.recv(64):
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._stop_all(ExitCode.DONE, again=True)
            elif number == signal.SIGHUP and self._stop is None:
                self._reload()

    def _stop_all(self, code: int, *, again: bool = False) -> None:
        """Ask every worker to drain; asked a second time by the operator, stop waiting."""
        now = time.monotonic()
        if self._stop is not None:
            self._stop.deadline = now if again else self._stop.deadline
            return
        self._stop = _Stop(now + self._settings.daemon.drain_seconds, code)
        self._notify.send("STOPPING=1")
        for worker in self._fleet.workers.values():
            self._tell_to_stop(worker, now)

    def _tell_to_stop(self, worker: _Worker, now: float) -> None:
        if worker.told_to_stop_at is None:
            worker.told_to_stop_at = now
            worker.process.send_signal(signal.SIGTERM)

    # --- configuration

    def _watch_configuration(self, now: float) -> None:
        if now - self._looked_at < self._timing.reload:
            return
        self._looked_at = now
        if _stamp(self._settings.source) != self._stamp:
            self._reload()

    def _reload(self) -> None:
        """Take a good new configuration and tell the workers; keep the old one instead of a bad one."""
        source = self._settings.source
        self._stamp = _stamp(source)
        self._notify.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            data = read(source)
            settings = load(source, data)
        except ConfigurationErrors as errors:
            mistakes = [str(mistake) for mistake in errors.mistakes]
            _log.error("configuration refused, the old one stays", mistakes=mistakes)
        else:
            self._adopt(settings, data)
        self._notify.send("READY=1")

    def _adopt(self, settings: Settings, data: bytes) -> None:
        fixed = _fixed_changes(self._settings, settings)
        if fixed:
            _log.warning("these settings change with a restart only", settings=fixed)
        os.close(self._snapshot)
        self._snapshot = _sealed("strongroom-config", data)
        for worker in self._fleet.workers.values():
            # A worker that still starts would die of the signal; it hears of the change once it is ready.
            worker.outdated = not worker.was_ready
            if worker.was_ready:
                worker.process.send_signal(signal.SIGHUP)
        _log.info("configuration reloaded")

    # --- workers

    def _staff(self, now: float) -> None:
        """Start what is missing, now or after a pause, and let go whoever has a successor."""
        fleet = self._fleet
        fleet.due.extend(now + self._pause() for _ in range(fleet.missing()))
        starting = sum(when <= now for when in fleet.due)
        fleet.due = [when for when in fleet.due if when > now]
        for _ in range(starting):
            self._start()
        for worker in fleet.dispensable():
            self._restarts[Cause.RECYCLE] += 1
            self._tell_to_stop(worker, now)

    def _pause(self) -> float:
        repeats = self._fleet.early_deaths - 1
        if repeats < 1:
            return 0.0
        return float(
            min(self._timing.first_backoff * 2 ** min(repeats - 1, 16), self._timing.longest_backoff)
        )

    def _start(self) -> None:
        """Start one worker as a fresh program: never a fork that goes on with our memory."""
        index = self._fleet.free_index()
        for stale in self._metrics.glob(f"gauge_live*_{index}.db"):
            stale.unlink(missing_ok=True)
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        inherited = {"heartbeat": writer, "config": _reopened(self._snapshot)}
        if self._pin is not None:
            inherited["pin"] = _reopened(self._pin)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, our own arguments
                self._arguments(index, inherited),
                stdin=subprocess.DEVNULL,
                pass_fds=tuple(inherited.values()),
                env=_environment(self._metrics),
                process_group=0,
            )
        except OSError as error:
            os.close(reader)
            self._fleet.early_deaths += 1
            _log.error("worker cannot be started", errno=error.errno)
            return
        finally:
            for descriptor in inherited.values():
                os.close(descriptor)
        self._enlist(_Worker(index, process, reader, os.pidfd_open(process.pid), time.monotonic()))

    def _arguments(self, index: int, inherited: dict[str, int]) -> list[str]:
        values: dict[str, object] = {
            "config": self._settings.source,
            "index": index,
            "parent": os.getpid(),
            "grpc-port": self._addresses["grpc"].port,
            "ops-port": self._addresses["ops"].port,
        }
        values |= {f"{name}-fd": descriptor for name, descriptor in inherited.items()}
        return [*self._command, *(f"--{name}={value}" for name, value in values.items())]

    def _enlist(self, worker: _Worker) -> None:
        self._fleet.workers[worker.index] = worker
        self._selector.register(worker.pipe, selectors.EVENT_READ, lambda: self._hear(worker))
        self._selector.register(worker.pidfd, selectors.EVENT_READ, lambda: self._bury(worker))
        _log.info("worker started", index=worker.index, pid=worker.process.pid)

    def _hear(self, worker: _Worker) -> None:
        """Take in a worker's beats; the newest tells its state."""
        if self._fleet.workers.get(worker.index) is not worker:
            return  # its death was noticed in the same turn
        try:
            beats = os.read(worker.pipe, 65_536)
        except BlockingIOError:
            return
        if not beats:
            # Its end is closed: it is dying, and the pidfd will say so.
            with suppress(KeyError):
                self._selector.unregister(worker.pipe)
            return
        worker.last_beat = time.monotonic()
        with suppress(ValueError):
            self._note(worker, Beat(beats[-1:]))

    def _note(self, worker: _Worker, beat: Beat) -> None:
        if beat is Beat.HUNG:
            self._kill(worker, "a call into the module does not return")
            return
        worker.state = _STATES[beat]
        if worker.state == "ready" and not worker.was_ready:
            worker.was_ready = True
            self._fleet.early_deaths = 0
            _log.info("worker ready", index=worker.index, pid=worker.process.pid)
            if worker.outdated:
                worker.process.send_signal(signal.SIGHUP)
        if beat is Beat.TIRED and not worker.retiring and self._fleet.may_retire():
            worker.retiring = True
            _log.info("worker wants a successor", index=worker.index, pid=worker.process.pid)

    def _judge(self, now: float) -> None:
        """Kill whoever is silent for too long or does not stop in time."""
        for worker in list(self._fleet.workers.values()):
            if worker.killed_as is None and self._is_silent(worker, now):
                self._kill(worker, "no heartbeat")
            elif worker.told_to_stop_at is not None and now > self._stop_deadline(worker.told_to_stop_at):
                worker.process.kill()

    def _is_silent(self, worker: _Worker, now: float) -> bool:
        """Look into the pipe once more before blaming: it may be the supervisor that was paused."""
        patience = self._timing.silence if worker.was_ready else self._timing.start
        if now - worker.last_beat > patience:
            self._hear(worker)
        return now - worker.last_beat > patience

    def _stop_deadline(self, told_at: float) -> float:
        deadline = told_at + self._settings.daemon.drain_seconds
        return deadline if self._stop is None else min(deadline, self._stop.deadline)

    def _kill(self, worker: _Worker, why: str) -> None:
        if worker.killed_as is None:
            worker.killed_as = Cause.HANG
            worker.process.kill()
            _log.error("worker hangs and is killed", index=worker.index, pid=worker.process.pid, cause=why)

    def _bury(self, worker: _Worker) -> None:
        """Take note of a worker's death and of what it means for the others."""
        code = worker.process.wait()
        for descriptor in (worker.pipe, worker.pidfd):
            with suppress(KeyError):
                self._selector.unregister(descriptor)
            os.close(descriptor)
        del self._fleet.workers[worker.index]
        if worker.told_to_stop_at is not None:
            _log.info("worker stopped", index=worker.index, pid=worker.process.pid, code=code)
        elif code == ExitCode.REFUSED:
            _log.error(
                "worker refuses to run, so the daemon stops; its own log lines say why", index=worker.index
            )
            self._stop_all(ExitCode.REFUSED)
        else:
            self._mourn(worker, code)

    def _mourn(self, worker: _Worker, code: int) -> None:
        cause = worker.killed_as or (Cause.FATAL if code == ExitCode.RESTART else Cause.CRASH)
        self._restarts[cause] += 1
        if not worker.was_ready:
            self._fleet.early_deaths += 1
        _log.error("worker died", index=worker.index, pid=worker.process.pid, code=code, cause=cause)

    # --- what others see

    def _publish(self) -> None:
        """Write daemon.json when something in it changed, and tell systemd once when the daemon serves."""
        workers = sorted(self._fleet.workers.values(), key=lambda worker: worker.index)
        ready = sum(worker.state == "ready" for worker in workers)
        document = {
            "pid": os.getpid(),
            "state": self._state(ready),
            "config": str(self._settings.source),
            "grpc": str(self._addresses["grpc"]),
            "grpc_port": self._addresses["grpc"].port,
            "ops": str(self._addresses["ops"]),
            "ops_port": self._addresses["ops"].port,
            "workers": [{"index": w.index, "pid": w.process.pid, "state": w.state} for w in workers],
            "restarts": self._restarts,
        }
        content = json.dumps(document, indent=1).encode()
        if content != self._published:
            self._published = content
            _replace(daemon_file(self._settings), content)
            self._notify.send(f"STATUS={ready} of {self._fleet.wanted} workers ready")
        if ready and not self._announced:
            self._announced = True
            self._notify.send("READY=1")

    def _state(self, ready: int) -> str:
        if self._stop is not None:
            return "stopping"
        if ready >= self._fleet.wanted:
            return "ready"
        return "degraded" if self._announced else "starting"

    # --- the end

    def _kill_all(self) -> None:
        for worker in self._fleet.workers.values():
            worker.process.kill()
            worker.process.wait()

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        if self._lock is not None:
            daemon_file(self._settings).unlink(missing_ok=True)
            os.close(self._lock)
        for held in self._held:
            held.close()
        for descriptor in (self._snapshot, self._pin):
            if descriptor is not None:
                os.close(descriptor)
        self._selector.close()


class _RefusalError(Exception):
    """The daemon cannot start here; the text says why."""


class _Notifier:
    """Speaks sd_notify(3) to systemd, if it listens."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        usec = os.environ.get("WATCHDOG_USEC", "")
        self._interval = int(usec) / 2_000_000 if usec.isascii() and usec.isdigit() else 0.0
        self._last = 0.0

    def send(self, message: str) -> None:
        """Send one message; systemd's absence is no error."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto(message.encode(), socket.MSG_DONTWAIT, address)

    def alive(self, now: float) -> None:
        """Feed the watchdog twice in its period."""
        if self._interval and now - self._last >= self._interval:
            self._last = now
            self.send("WATCHDOG=1")


def _environment(metrics: Path) -> dict[str, str]:
    """What a worker inherits: ours, without what systemd meant for the supervisor alone."""
    own = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    return environment | {"PROMETHEUS_MULTIPROC_DIR": str(metrics)}


def _sealed(name: str, data: bytes | bytearray) -> int:
    """Keep bytes in memory that no longer change and reach no disk but swap (memfd_create(2))."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _seal_pin(descriptor: int) -> int:
    """Read the PIN's descriptor to its end, once, so that every worker can be given the PIN anew."""
    pin = bytearray()
    try:
        while chunk := os.read(descriptor, _MAX_PIN + 1 - len(pin)):
            pin += chunk
        os.close(descriptor)
    except OSError as error:
        raise _RefusalError(f"[hsm] pin_fd: cannot be read: {error.strerror}") from error
    if not 0 < len(pin) <= _MAX_PIN:
        raise _RefusalError(f"[hsm] pin_fd: must give 1 to {_MAX_PIN} bytes")
    sealed = _sealed("strongroom-pin", pin)
    pin[:] = bytes(len(pin))
    return sealed


def _reopened(descriptor: int) -> int:
    """Open the same memory again: descriptors that are merely inherited would share one read position."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def _reserve(address: Address) -> socket.socket:
    """Hold a port by a socket that never listens; workers join it by SO_REUSEPORT.

    The kernel would let a second daemon of the same user join too, so first ask for the port alone.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        if address.port:
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
        holder = socket.socket(family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:
        raise _RefusalError(f"{address} cannot be bound: {error.strerror}") from error
    return holder


def _only_one(path: Path) -> int:
    """Hold the run folder for this daemon alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise _RefusalError("another daemon runs with the same [daemon] run_dir") from error
    return descriptor


def _replace(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old one or the new one."""
    fresh = path.with_suffix(".new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        _log.warning("cannot publish the daemon's state", errno=error.errno)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


_FIXED: Final[dict[str, Callable[[Settings], object]]] = {
    "[daemon]": lambda settings: settings.daemon,
    "[grpc] address": lambda settings: settings.grpc.address,
    "[ops] address": lambda settings: settings.ops.address,
    "[hsm]": lambda settings: settings.hsm,
    "[store]": lambda settings: settings.store,
    "[audit] directory": lambda settings: settings.audit.directory,
}


def _fixed_changes(old: Settings, new: Settings) -> list[str]:
    return [name for name, value in _FIXED.items() if value(old) != value(new)]
