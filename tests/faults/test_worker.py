"""One worker's life, seen from its heartbeat pipe and its exit code; only its assembly is made up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.harness import within

CONFIG = """
[daemon]
account = "111122223333"
allow_root = true
drain_seconds = 5
[grpc]
certificate_file = "server.pem"
key_file = "server.key"
client_ca_file = "ca.pem"
[hsm]
module = "module.so"
token_label = "t"
pin_file = "pin"
"""


class Worker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.beats = b""
        self.pipe = -1

    def start(self, config: str = CONFIG, *, parent: int | None = None, **behaviour: Any) -> None:
        for name in ("server.pem", "server.key", "ca.pem"):
            (self.folder / name).write_bytes(b"1")
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))
        (self.folder / "c.toml").write_text(config)
        (self.folder / "events.jsonl").touch()
        self.pipe, beat = os.pipe2(os.O_NONBLOCK)
        data = os.open(self.folder / "c.toml", os.O_RDONLY)
        arguments = {
            "config": str(self.folder / "c.toml"),
            "index": 4,
            "parent": parent or os.getpid(),
            "grpc_port": 7443,
            "ops_port": 9464,
            "heartbeat_fd": beat,
            "config_fd": data,
        }
        script = Path(__file__).with_name("run_worker.py")
        with (self.folder / "log").open("wb") as log:
            command = [sys.executable, str(script), json.dumps(arguments)]
            self.process = subprocess.Popen(command, pass_fds=(beat, data), stderr=log)
        os.close(beat)
        os.close(data)

    def read(self) -> bytes:
        with suppress(BlockingIOError):
            self.beats += os.read(self.pipe, 65_536)
        return self.beats

    def until_beat(self, beat: bytes, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + within(seconds)
        while beat not in self.read():
            assert time.monotonic() < deadline, (self.beats, self.log())
            time.sleep(0.02)

    def until_event(self, name: str, count: int = 1, seconds: float = 20.0) -> list[dict[str, Any]]:
        deadline = time.monotonic() + within(seconds)
        while len(found := [event for event in self.events() if event["event"] == name]) < count:
            assert time.monotonic() < deadline, (self.events(), self.log())
            time.sleep(0.02)
        return found

    def events(self) -> list[dict[str, Any]]:
        *lines, _ = (self.folder / "events.jsonl").read_text().split("\n")  # the last one may be half written
        return [json.loads(line) for line in lines]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(20)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait(20)
    if made.pipe >= 0:
        os.close(made.pipe)


def test_a_worker_beats_while_it_starts_and_says_when_it_is_ready(worker: Worker) -> None:
    worker.start(start=1.0)

    worker.until_beat(b"R")

    assert worker.beats.startswith(b"SSS")
    assert set(worker.beats) == set(b"SR")


def test_sigterm_drains_within_the_supervisors_patience_and_exits_0(worker: Worker) -> None:
    worker.start()
    worker.until_beat(b"R")

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0
    assert b"D" in worker.read()
    assert 0 < worker.until_event("drain")[0]["grace"] < 5


def test_sigterm_during_the_start_does_not_cut_it_short(worker: Worker) -> None:
    worker.start(start=1.5)
    worker.until_beat(b"S")

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0
    assert [event["event"] for event in worker.events()] == ["assemble", "started", "drain"]


def test_sigint_of_a_terminal_is_left_to_the_supervisor(worker: Worker) -> None:
    worker.start()
    worker.until_beat(b"R")

    worker.signal(signal.SIGINT)
    time.sleep(0.5)

    assert worker.process is not None
    assert worker.process.poll() is None


def test_a_blocked_loop_falls_silent(worker: Worker) -> None:
    worker.start(block=True)
    worker.until_beat(b"R")
    time.sleep(1.2)
    before = worker.read()

    time.sleep(1.0)

    assert worker.read() == before


@pytest.mark.parametrize(("behaviour", "beat"), [({"hang": True}, b"H"), ({"tired": True}, b"N")])
def test_hangs_and_tiredness_are_told(worker: Worker, behaviour: dict[str, Any], beat: bytes) -> None:
    worker.start(**behaviour)

    worker.until_beat(beat)

    assert b"R" in worker.beats


def test_a_worker_that_cannot_go_on_drains_shortly_and_asks_to_be_replaced(worker: Worker) -> None:
    worker.start(fatal=True)

    assert worker.wait() == 75
    assert worker.until_event("drain")[0]["grace"] <= 1
    assert "the token is gone" in worker.log()


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("CONFIGURATION", 78),
        ("INTEGRITY_FAILURE", 78),
        ("HSM_UNAVAILABLE", 75),
        ("STORE_UNAVAILABLE", 75),
        ("AUDIT_UNAVAILABLE", 75),
    ],
)
def test_a_refusal_is_told_from_a_trouble_that_may_pass(worker: Worker, reason: str, code: int) -> None:
    worker.start(refuse=reason)

    assert worker.wait() == code
    assert reason in worker.log()


def test_a_bug_is_logged_without_the_values_it_speaks_of(worker: Worker) -> None:
    worker.start(bug=True)

    assert worker.wait() == 1
    assert "ZeroDivisionError" in worker.log()
    assert "canary-8841" not in worker.log()


def test_a_bad_configuration_is_refused_with_its_mistakes(worker: Worker) -> None:
    worker.start(CONFIG + "nonsense = 1\n")

    assert worker.wait() == 78
    assert "[hsm] nonsense" in worker.log()


def test_changed_certificates_are_reloaded(worker: Worker) -> None:
    worker.start()
    worker.until_beat(b"R")

    (worker.folder / "new").write_bytes(b"22")
    (worker.folder / "new").replace(worker.folder / "server.pem")

    worker.until_event("reload", seconds=5)


def test_sighup_takes_a_good_configuration_and_keeps_the_old_one_instead_of_a_bad_one(worker: Worker) -> None:
    worker.start()
    worker.until_beat(b"R")
    config = worker.folder / "c.toml"

    config.write_text(CONFIG + "[limits]\nmax_plaintext = 0\n")
    worker.signal(signal.SIGHUP)
    time.sleep(0.5)
    config.write_text(CONFIG + "[limits]\nmax_plaintext = 5000\n")
    worker.signal(signal.SIGHUP)

    assert [event["max_plaintext"] for event in worker.until_event("reload")] == [5000]
    assert "the old one stays" in worker.log()


def test_a_failed_reload_does_not_end_the_worker(worker: Worker) -> None:
    worker.start(reload_fails=True)
    worker.until_beat(b"R")

    worker.signal(signal.SIGHUP)
    worker.until_event("reload")
    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0
    assert "the old state stays" in worker.log()


def test_a_worker_is_hardened_before_anything_is_assembled(worker: Worker) -> None:
    worker.start()
    worker.until_beat(b"R")
    assembled = worker.until_event("assemble")[0]

    assert "NoNewPrivs:\t1" in assembled["status"]
    capabilities = int(assembled["status"].split("CapEff:\t")[1].split()[0], 16)
    assert not capabilities & (1 << 1)
    core = next(line for line in assembled["limits"].splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


def test_an_abort_leaves_no_core(worker: Worker) -> None:
    worker.start()
    worker.until_beat(b"R")

    worker.signal(signal.SIGABRT)
    assert worker.process is not None
    _, status = os.waitpid(worker.process.pid, 0)
    worker.process.returncode = -signal.SIGABRT

    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)


def test_a_worker_does_not_start_for_a_supervisor_that_is_gone(worker: Worker) -> None:
    worker.start(parent=1)

    assert worker.wait() == 75
    assert "the supervisor is gone" in worker.log()
