"""A worker that behaves as its script file says: beats, falls silent, exits; started by the real supervisor.

The script is JSON beside the configuration, `behaviour.json`: for each start (by number, then "default") a
list of [seconds, act, value]. What happened is appended to `events.jsonl`.
"""

import argparse
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any


class Fake:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.folder = Path(arguments.config).parent
        self.script = json.loads((self.folder / "behaviour.json").read_text())
        self.value = b"S"
        self.silent = False

    def tell(self, event: str, **values: object) -> None:
        line = json.dumps({"event": event, "pid": os.getpid(), "at": time.monotonic(), **values})
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(line + "\n")

    def tell_start(self) -> int:
        """Starts are numbered from 1, in the order of their events."""
        with (self.folder / "events.jsonl").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            whole = (line for line in file if line.endswith(b"\n"))  # others write, too
            number = 1 + sum(json.loads(line)["event"] == "start" for line in whole)
            self.tell(
                "start",
                number=number,
                index=int(self.arguments.index),
                pin=os.read(int(self.arguments.pin_fd), 100).decode() if self.arguments.pin_fd else None,
                token_pins=[
                    (name, os.read(int(pin), 100).decode())
                    for name, _, pin in (each.rpartition(":") for each in self.arguments.token_pin)
                ],
                grpc_port=int(self.arguments.grpc_port),
                config=os.read(int(self.arguments.config_fd), 1 << 20).decode(),
                argv=sys.argv,
                notify=os.environ.get("NOTIFY_SOCKET"),
            )
        return number

    def on_term(self, _number: int, _frame: object) -> None:
        self.tell("term")
        if not self.script.get("deaf"):
            self.value = b"D"
            time.sleep(self.script.get("drain", 0.0))
            os._exit(0)

    def beat_for_ever(self) -> None:
        while True:
            if not self.silent:
                self.beat()
            time.sleep(0.05)

    def beat(self) -> None:
        try:
            os.write(int(self.arguments.heartbeat_fd), self.value)
        except BrokenPipeError:
            os._exit(0)

    def act_beat(self, value: str) -> None:
        self.tell("beat", value=value)  # first: the supervisor may kill for it
        self.value = value.encode()

    def act_silent(self, _value: object) -> None:
        self.silent = True
        self.tell("silent")

    def act_exit(self, value: int) -> None:
        self.tell("exit", code=value)
        os._exit(value)

    def act_kill(self, value: int) -> None:
        os.kill(os.getpid(), value)

    def act_listen(self, _value: object) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.listener.bind(("127.0.0.1", int(self.arguments.grpc_port)))
        self.listener.listen()

    def live(self) -> None:
        signal.signal(signal.SIGTERM, self.on_term)
        signal.signal(signal.SIGHUP, lambda _number, _frame: self.tell("hup"))
        acts: list[tuple[float, str, Any]] = self.script.get(str(self.tell_start()), self.script["default"])
        threading.Thread(target=self.beat_for_ever, daemon=True).start()
        for seconds, act, value in acts:
            time.sleep(seconds)
            getattr(self, f"act_{act}")(value)
        while True:
            signal.pause()


parser = argparse.ArgumentParser()
parser.add_argument("--token-pin", action="append", default=[])
parser.add_argument("--wary", action="store_true")
for name in (
    "config",
    "index",
    "parent",
    "grpc-port",
    "ops-port",
    "heartbeat-fd",
    "config-fd",
    "pin-fd",
    "xks-port",
):
    parser.add_argument(f"--{name}")
Fake(parser.parse_args()).live()
