"""The supervisor replaces what dies, kills what hangs, drains what is told to stop; nothing of it is mocked."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import within

READY = [[0.1, "beat", "R"]]
CONFIG = """
[daemon]
account = "111122223333"
allow_root = true
workers = {workers}
run_dir = "run"
drain_seconds = 2
[grpc]
address = "127.0.0.1:{port}"
certificate_file = "file"
key_file = "file"
client_ca_file = "file"
[ops]
address = "127.0.0.1:0"
[hsm]
module = "file"
token_label = "t"
{pin}
"""


class Daemon:
    """A supervisor in a folder of its own, with fake workers that follow a script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "strongroomd.toml"
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        behaviour: dict[str, Any],
        *,
        workers: int = 2,
        port: int = 0,
        pin: str = 'pin_file = "file"',
        **more: Any,
    ) -> None:
        (self.folder / "file").write_bytes(b"x")
        (self.folder / "file").chmod(0o600)
        (self.folder / "events.jsonl").touch()
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))
        self.config.write_text(CONFIG.format(workers=workers, port=port, pin=pin))
        self.config.chmod(0o600)
        script = Path(__file__).with_name("run_supervisor.py")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), str(self.config)], stderr=log, **more
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def events(self, *names: str) -> list[dict[str, Any]]:
        *lines, _ = (self.folder / "events.jsonl").read_text().split("\n")  # the last one may be half written
        found = [json.loads(line) for line in lines]
        return [event for event in found if not names or event["event"] in names]

    def state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "run" / "daemon.json").read_text())
        except FileNotFoundError:
            return {"state": None, "workers": [], "restarts": {}}

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def until(self, condition: Callable[[], Any], seconds: float = 15.0) -> float:
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < within(seconds), (self.state(), self.events(), self.log())
            time.sleep(0.02)
        return time.monotonic() - start

    def ready(self) -> None:
        self.until(lambda: self.state()["state"] == "ready")

    def wait(self, seconds: float = 15.0) -> int:
        assert self.process is not None
        return self.process.wait(within(seconds))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(within(15))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_become_ready_and_sigterm_drains_them(daemon: Daemon) -> None:
    daemon.start({"default": READY, "drain": 0.3})
    daemon.ready()
    state = daemon.state()

    os.kill(daemon.pid, signal.SIGTERM)

    assert daemon.wait() == 0
    assert [worker["index"] for worker in state["workers"]] == [0, 1]
    assert len(daemon.events("term")) == 2
    assert not any(alive(worker["pid"]) for worker in state["workers"])
    assert not (daemon.folder / "run" / "daemon.json").exists()


def test_a_crashed_worker_is_replaced_within_a_second_while_its_sibling_stays(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    first, second = daemon.state()["workers"]

    os.kill(first["pid"], signal.SIGKILL)
    noticed = daemon.until(lambda: len(daemon.events("start")) == 3)
    daemon.until(lambda: daemon.state()["state"] == "ready" and daemon.state()["restarts"]["crash"] == 1)

    assert noticed < 1.0
    after = daemon.state()
    assert second in after["workers"]
    assert {worker["index"] for worker in after["workers"]} == {0, 1}


@pytest.mark.timed
def test_a_silent_worker_is_killed_within_two_seconds_and_replaced(daemon: Daemon) -> None:
    daemon.start({"1": [*READY, [1.0, "silent", None]], "default": READY})

    daemon.until(lambda: len(daemon.events("start")) == 3)
    daemon.until(lambda: daemon.state()["state"] == "ready")

    silent = daemon.events("silent")[0]
    assert daemon.events("start")[2]["at"] - silent["at"] < 2.5
    assert not alive(silent["pid"])
    assert daemon.state()["restarts"] == {"crash": 0, "hang": 1, "fatal": 0, "recycle": 0}
    assert ["--wary" in start["argv"] for start in daemon.events("start")] == [False, False, True]


def test_a_stopped_worker_counts_as_hanging(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    victim = daemon.state()["workers"][0]["pid"]

    os.kill(victim, signal.SIGSTOP)
    daemon.until(lambda: daemon.state()["restarts"]["hang"] == 1, 4)

    assert not alive(victim)


def test_a_worker_that_says_it_hangs_is_killed_at_once(daemon: Daemon) -> None:
    daemon.start({"1": [*READY, [0.5, "beat", "H"]], "default": READY})

    daemon.until(lambda: len(daemon.events("start")) == 3)

    said = next(event for event in daemon.events("beat") if event["value"] == "H")
    assert daemon.events("start")[2]["at"] - said["at"] < 1.0


def test_a_worker_that_never_becomes_ready_is_given_up_after_its_grace(daemon: Daemon) -> None:
    daemon.start({"1": [[0.1, "silent", None]], "default": READY}, workers=1)

    daemon.until(lambda: daemon.state()["state"] == "ready")

    starts = daemon.events("start")
    assert 2.5 < starts[1]["at"] - starts[0]["at"] < 5.0


def test_a_slow_start_with_heartbeats_is_waited_for(daemon: Daemon) -> None:
    daemon.start({"default": [[4.0, "beat", "R"]]}, workers=1)

    daemon.ready()

    assert len(daemon.events("start")) == 1


def test_a_paused_supervisor_does_not_blame_its_workers(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()

    os.kill(daemon.pid, signal.SIGSTOP)
    time.sleep(3.0)
    os.kill(daemon.pid, signal.SIGCONT)
    time.sleep(1.0)

    assert daemon.state()["restarts"] == {"crash": 0, "hang": 0, "fatal": 0, "recycle": 0}


def test_repeated_deaths_before_ready_are_slowed_down(daemon: Daemon) -> None:
    daemon.start({"default": [[0.0, "exit", 1]]}, workers=1)

    daemon.until(lambda: len(daemon.events("start")) >= 5)
    pauses = [
        b["at"] - a["at"] for a, b in zip(daemon.events("exit"), daemon.events("start")[1:], strict=False)
    ]

    assert pauses[3] > pauses[0] + 0.5


@pytest.mark.parametrize("when", [0.0, 0.8])
def test_a_refusing_worker_stops_the_whole_daemon(daemon: Daemon, when: float) -> None:
    daemon.start({"2": [*READY, [when, "exit", 78]], "default": READY})

    assert daemon.wait() == 78
    assert len(daemon.events("start")) == 2
    assert not any(alive(event["pid"]) for event in daemon.events("start"))
    assert "refuses to run" in daemon.log()


def test_a_worker_that_asks_to_be_restarted_is(daemon: Daemon) -> None:
    daemon.start({"1": [*READY, [0.5, "exit", 75]], "default": READY})

    daemon.until(lambda: len(daemon.events("start")) == 3)
    daemon.until(lambda: daemon.state()["state"] == "ready")

    assert daemon.state()["restarts"]["fatal"] == 1


def test_a_tired_worker_leaves_only_when_its_successor_is_ready(daemon: Daemon) -> None:
    daemon.start({"1": [*READY, [0.5, "beat", "N"]], "3": [[1.0, "beat", "R"]], "default": READY})

    daemon.until(lambda: len(daemon.events("term")) == 1)
    daemon.until(lambda: len(daemon.state()["workers"]) == 2)

    term = daemon.events("term")[0]
    ready = next(e for e in daemon.events("beat") if e["pid"] == daemon.events("start")[2]["pid"])
    assert term["pid"] == daemon.events("start")[0]["pid"]
    assert ready["at"] <= term["at"]
    assert daemon.events("start")[2]["index"] == 2
    assert daemon.state()["restarts"] == {"crash": 0, "hang": 0, "fatal": 0, "recycle": 1}


def test_tired_workers_are_replaced_one_after_the_other(daemon: Daemon) -> None:
    tired = [*READY, [0.3, "beat", "N"]]
    daemon.start({"1": tired, "2": tired, "default": [[0.5, "beat", "R"]]})

    most = 0

    def both_gone() -> bool:
        nonlocal most
        most = max(most, len(daemon.state()["workers"]))
        return len(daemon.events("term")) == 2

    daemon.until(both_gone)

    assert most == 3


def test_a_dying_successor_does_not_take_the_tired_worker_with_it(daemon: Daemon) -> None:
    daemon.start(
        {
            "1": [*READY, [0.3, "beat", "N"]],
            "2": [[0.2, "exit", 1]],
            "3": [[0.1, "exit", 1]],
            "default": READY,
        },
        workers=1,
    )

    daemon.until(lambda: len(daemon.events("term")) == 1)

    assert daemon.events("term")[0]["pid"] == daemon.events("start")[0]["pid"]
    assert daemon.events("start")[3]["at"] < daemon.events("term")[0]["at"]


def test_a_deaf_worker_is_killed_when_its_drain_time_is_over(daemon: Daemon) -> None:
    daemon.start({"default": READY, "deaf": True})
    daemon.ready()

    os.kill(daemon.pid, signal.SIGTERM)
    start = time.monotonic()

    assert daemon.wait() == 0
    assert 1.8 < time.monotonic() - start < within(4.0)
    assert not any(alive(event["pid"]) for event in daemon.events("start"))


def test_asked_twice_the_supervisor_stops_waiting(daemon: Daemon) -> None:
    daemon.start({"default": READY, "deaf": True})
    daemon.ready()

    os.kill(daemon.pid, signal.SIGTERM)
    daemon.until(lambda: len(daemon.events("term")) == 2)
    start = time.monotonic()
    os.kill(daemon.pid, signal.SIGINT)

    assert daemon.wait() == 0
    assert time.monotonic() - start < within(1.0)


def test_sighup_reaches_the_workers_with_a_good_configuration_only(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    good = daemon.config.read_text()

    daemon.config.write_text(good + "nonsense = 1\n")
    daemon.until(lambda: "the old one stays" in daemon.log())
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.until(lambda: daemon.log().count("the old one stays") == 2)
    assert daemon.events("hup") == []

    daemon.config.write_text(good + "[limits]\nmax_plaintext = 5000\n")
    daemon.until(lambda: len(daemon.events("hup")) == 2)


def test_a_change_that_needs_a_restart_is_refused_with_its_name(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    good = daemon.config.read_text()

    daemon.config.write_text(good + "sessions = 9\n")
    daemon.until(lambda: "change with a restart only" in daemon.log())
    os.kill(daemon.state()["workers"][0]["pid"], signal.SIGKILL)
    daemon.until(lambda: len(daemon.events("start")) == 3)

    assert '"[hsm]"' in daemon.log()
    assert daemon.events("hup") == []
    assert daemon.events("start")[2]["config"] == good


def test_a_worker_that_starts_while_the_configuration_changes_hears_of_it(daemon: Daemon) -> None:
    daemon.start({"default": [[1.5, "beat", "R"]]}, workers=1)
    daemon.until(lambda: daemon.events("start"))

    daemon.config.write_text(daemon.config.read_text() + "[limits]\nmax_plaintext = 5000\n")
    daemon.until(lambda: daemon.events("hup"))

    assert [event["event"] for event in daemon.events("beat", "hup")] == ["beat", "hup"]


def test_a_dead_workers_gauges_go_with_it_and_its_counters_stay(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    metrics = daemon.folder / "run" / "metrics"
    for name in ("gauge_livesum_0.db", "gauge_livesum_1.db", "counter_0.db"):
        (metrics / name).touch()

    os.kill(daemon.state()["workers"][0]["pid"], signal.SIGKILL)
    daemon.until(lambda: daemon.state()["restarts"]["crash"] == 1)

    assert {file.name for file in metrics.iterdir()} == {"gauge_livesum_1.db", "counter_0.db"}


def test_a_worker_dies_with_its_killed_supervisor_at_the_latest_with_the_next_beat(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    workers = [worker["pid"] for worker in daemon.state()["workers"]]

    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()

    daemon.until(lambda: not any(alive(pid) for pid in workers))


def test_a_replacement_starts_with_the_last_good_configuration(daemon: Daemon) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    good = daemon.config.read_text()
    daemon.config.write_text("rubbish")
    daemon.until(lambda: "the old one stays" in daemon.log())

    os.kill(daemon.state()["workers"][0]["pid"], signal.SIGKILL)
    daemon.until(lambda: len(daemon.events("start")) == 3)

    assert daemon.events("start")[2]["config"] == good


def test_every_worker_reads_the_whole_pin_from_a_descriptor_and_nothing_else_shows_it(daemon: Daemon) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"canary-pin-4711")
    os.close(writer)
    other, writer = os.pipe()
    os.write(writer, b"canary-pin-second")
    os.close(writer)
    token = f'[[hsm.tokens]]\nname = "second"\ntoken_label = "s"\npin_fd = {other}'
    daemon.start(
        {"1": [*READY, [0.3, "kill", 9]], "default": READY},
        pin=f"pin_fd = {reader}\n{token}",
        pass_fds=(reader, other),
    )
    os.close(reader)
    os.close(other)

    daemon.until(lambda: len(daemon.events("start")) == 3)

    assert [event["pin"] for event in daemon.events("start")] == ["canary-pin-4711"] * 3
    pins = [["second", "canary-pin-second"]]
    assert [event["token_pins"] for event in daemon.events("start")] == [pins] * 3
    assert "canary-pin" not in daemon.log()
    assert all("canary-pin" not in " ".join(event["argv"]) for event in daemon.events("start"))
    for file in (daemon.folder / "run").rglob("*"):
        assert not file.is_file() or b"canary-pin" not in file.read_bytes()


def test_an_unreadable_pin_descriptor_is_refused(daemon: Daemon) -> None:
    daemon.start({"default": READY}, pin="pin_fd = 999")

    assert daemon.wait() == 78
    assert "[hsm] pin_fd: cannot be read" in daemon.log()


def test_an_unreadable_pin_descriptor_of_a_further_token_is_refused_by_its_name(daemon: Daemon) -> None:
    token = '[[hsm.tokens]]\nname = "second"\ntoken_label = "s"\npin_fd = 999'
    daemon.start({"default": READY}, pin=f'pin_file = "file"\n{token}')

    assert daemon.wait() == 78
    assert "[hsm] tokens second pin_fd: cannot be read" in daemon.log()


def test_a_free_port_is_chosen_once_and_kept_for_replacements(daemon: Daemon) -> None:
    daemon.start({"1": [*READY, [0.3, "kill", 9]], "default": [[0.0, "listen", None], *READY]})
    daemon.until(lambda: len(daemon.events("start")) == 3)
    daemon.ready()
    port = daemon.state()["grpc_port"]

    assert {event["grpc_port"] for event in daemon.events("start")} == {port}
    with socket.create_connection(("127.0.0.1", port), 2):
        pass


def test_a_port_in_use_is_refused_with_its_name(daemon: Daemon) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        daemon.start({"default": READY}, port=other.getsockname()[1])

        assert daemon.wait() == 78
    assert "cannot be bound: Address already in use" in daemon.log()
    assert daemon.events() == []


def test_one_run_folder_serves_one_daemon(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start({"default": READY})
    daemon.ready()
    second = Daemon(tmp_path)

    second.start({"default": READY})

    assert second.wait() == 78
    assert "another daemon runs" in daemon.log()
    assert daemon.state()["pid"] == daemon.pid


def test_systemd_is_told_of_readiness_reload_and_stop_and_workers_are_not_asked_to(
    daemon: Daemon, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        daemon.start({"default": READY}, env=environment)
        heard: set[str] = set()

        def hear(*wanted: str) -> None:
            while not heard.issuperset(wanted):
                heard.update(
                    line.split("=")[0] + "=" + line.split("=")[1][:1]
                    for line in listener.recv(4096).decode().splitlines()
                )

        hear("READY=1", "WATCHDOG=1", "STATUS=2")
        os.kill(daemon.pid, signal.SIGHUP)
        hear("RELOADING=1")
        os.kill(daemon.pid, signal.SIGTERM)
        hear("STOPPING=1")

    assert daemon.wait() == 0
    assert all(event["notify"] is None for event in daemon.events("start"))
