"""The supervisor's loop: wait, hear, judge, staff, publish."""

import ctypes
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from strongroomd.config import (
    Address,
    Beat,
    ConfigurationErrors,
    ExitCode,
    Settings,
    daemon_file,
    load,
    read,
    stamp,
    token_plans,
)
from strongroomd.supervisor.fleet import DEFAULT_TIMING, Cause, Fleet, Timing, Worker
from strongroomd.supervisor.holdings import RefusalError, only_one, reserve, seal_pin
from strongroomd.supervisor.launch import WORKER_COMMAND, Launcher
from strongroomd.supervisor.notices import Notifier, replace
from strongroomd.telemetry import logs

WARY_SECONDS: Final = 600.0  # after a worker hung, workers are told for so long
_PR_SET_DUMPABLE: Final = 4  # prctl(2)
_STATES: Final = {
    Beat.STARTING: "starting",
    Beat.READY: "ready",
    Beat.TIRED: "ready",
    Beat.DRAINING: "draining",
}
_log = logs.get("supervisor")


@dataclass(slots=True)
class _Stop:
    deadline: float
    code: int


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
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self._settings = settings
        self._timing = timing
        self._fleet = Fleet(settings.daemon.workers)
        self._selector = selectors.DefaultSelector()
        self._held: list[socket.socket] = []
        self._addresses: dict[str, Address] = {}
        self._metrics = settings.daemon.run_dir / "metrics"
        self._launcher = Launcher(command, settings.source, self._metrics, data)
        self._refused_reloads = 0
        self._restarts = dict.fromkeys((cause.value for cause in Cause), 0)
        self._stop: _Stop | None = None
        self._announced = False
        self._published = b""
        self._stamp = stamp(settings.source)
        self._looked_at = 0.0
        self._notify = Notifier()
        self._lock: int | None = None

    def run(self) -> int:
        """Serve until told to stop; returns the process's exit code."""
        try:
            self._prepare()
        except (OSError, RefusalError) as error:
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
        self._lock = only_one(run_dir / "daemon.lock")
        shutil.rmtree(self._metrics, ignore_errors=True)
        self._metrics.mkdir(mode=0o700)
        self._hold("grpc", self._settings.grpc.address)
        self._hold("ops", self._settings.ops.address)
        if self._settings.xks.address is not None:
            self._hold("xks", self._settings.xks.address)
        for token in token_plans(self._settings):
            if token.pin_fd is not None:
                self._launcher.pins[token.name] = seal_pin(token.pin_fd, token.name)
        self._launcher.ports = {door: address.port for door, address in self._addresses.items()}
        self._listen_to_signals()

    def _hold(self, door: str, address: Address) -> None:
        holder = reserve(address)
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

    def _tell_to_stop(self, worker: Worker, now: float) -> None:
        if worker.told_to_stop_at is None:
            worker.told_to_stop_at = now
            worker.process.send_signal(signal.SIGTERM)

    # --- configuration

    def _watch_configuration(self, now: float) -> None:
        if now - self._looked_at < self._timing.reload:
            return
        self._looked_at = now
        if stamp(self._settings.source) != self._stamp:
            self._reload()

    def _reload(self) -> None:
        """Take a good new configuration and tell the workers; keep the old one instead of a bad one."""
        source = self._settings.source
        self._stamp = stamp(source)
        if self._announced:
            self._notify.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            data = read(source)
            settings = load(source, data)
        except ConfigurationErrors as errors:
            mistakes = [str(mistake) for mistake in errors.mistakes]
            _log.error("configuration refused, the old one stays", mistakes=mistakes)
            self._refused_reloads += 1
        else:
            self._adopt(settings, data)
        if self._announced:
            self._notify.send("READY=1")

    def _adopt(self, settings: Settings, data: bytes) -> None:
        if fixed := _fixed_changes(self._settings, settings):
            _log.error("these change with a restart only, so the old configuration stays", settings=fixed)
            self._refused_reloads += 1
            return
        self._launcher.use(data)
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
        fleet.due.extend(now + fleet.pause(self._timing) for _ in range(fleet.missing()))
        starting = sum(when <= now for when in fleet.due)
        fleet.due = [when for when in fleet.due if when > now]
        for _ in range(starting):
            self._start()
        for worker in fleet.dispensable():
            self._restarts[Cause.RECYCLE] += 1
            self._tell_to_stop(worker, now)

    def _start(self) -> None:
        try:
            worker = self._launcher.start(self._fleet.free_index())
        except OSError as error:
            self._fleet.early_deaths += 1
            _log.error("worker cannot be started", errno=error.errno)
        else:
            self._enlist(worker)

    def _enlist(self, worker: Worker) -> None:
        self._fleet.workers[worker.index] = worker
        self._selector.register(worker.pipe, selectors.EVENT_READ, lambda: self._hear(worker))
        self._selector.register(worker.pidfd, selectors.EVENT_READ, lambda: self._bury(worker))
        _log.info("worker started", index=worker.index, pid=worker.process.pid)

    def _hear(self, worker: Worker) -> None:
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

    def _note(self, worker: Worker, beat: Beat) -> None:
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

    def _is_silent(self, worker: Worker, now: float) -> bool:
        """Look into the pipe once more before blaming: it may be the supervisor that was paused."""
        patience = self._timing.silence if worker.was_ready else self._timing.start
        if now - worker.last_beat > patience:
            self._hear(worker)
        return now - worker.last_beat > patience

    def _stop_deadline(self, told_at: float) -> float:
        deadline = told_at + self._settings.daemon.drain_seconds
        return deadline if self._stop is None else min(deadline, self._stop.deadline)

    def _kill(self, worker: Worker, why: str) -> None:
        if worker.killed_as is None:
            worker.killed_as = Cause.HANG
            worker.process.kill()
            self._launcher.wary_until = time.monotonic() + WARY_SECONDS
            _log.error("worker hangs and is killed", index=worker.index, pid=worker.process.pid, cause=why)

    def _bury(self, worker: Worker) -> None:
        """Take note of a worker's death and of what it means for the others."""
        code = worker.process.wait()
        for descriptor in (worker.pipe, worker.pidfd):
            with suppress(KeyError):
                self._selector.unregister(descriptor)
            os.close(descriptor)
        del self._fleet.workers[worker.index]
        for gauge in self._metrics.glob(f"gauge_live*_{worker.index}.db"):
            gauge.unlink(missing_ok=True)  # what a dead worker last measured is no longer so
        if worker.told_to_stop_at is not None:
            _log.info("worker stopped", index=worker.index, pid=worker.process.pid, code=code)
        elif code == ExitCode.REFUSED:
            _log.error(
                "worker refuses to run, so the daemon stops; its own log lines say why", index=worker.index
            )
            self._stop_all(ExitCode.REFUSED)
        else:
            self._mourn(worker, code)

    def _mourn(self, worker: Worker, code: int) -> None:
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
            **{door: str(address) for door, address in self._addresses.items()},
            **{f"{door}_port": address.port for door, address in self._addresses.items()},
            "workers": [{"index": w.index, "pid": w.process.pid, "state": w.state} for w in workers],
            "restarts": self._restarts,
            "refused_reloads": self._refused_reloads,
        }
        content = json.dumps(document, indent=1).encode()
        if content != self._published:
            self._published = content
            replace(daemon_file(self._settings), content)
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
        self._launcher.close()
        self._selector.close()


_FIXED: Final[dict[str, Callable[[Settings], object]]] = {
    "[daemon]": lambda settings: settings.daemon,
    "[grpc] address": lambda settings: settings.grpc.address,
    "[ops] address": lambda settings: settings.ops.address,
    "[xks] address": lambda settings: settings.xks.address,
    "[xks] plain_http": lambda settings: settings.xks.plain_http,
    "[hsm]": lambda settings: settings.hsm,
    "[store]": lambda settings: settings.store,
    "[audit] directory": lambda settings: settings.audit.directory,
}


def _fixed_changes(old: Settings, new: Settings) -> list[str]:
    return [name for name, value in _FIXED.items() if value(old) != value(new)]
