"""What a benchmark needs running: a daemon, an echo beside it, a load generator, a raw PKCS#11 loop."""

import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import apart
from tests.faults import ill_token

from strongroom import Client

ROOT = Path(__file__).parents[2]
UNLIMITED = "\n".join(
    f"[quota.{name}]\nper_second = 1000000\nburst = 1000000"
    for name in ("symmetric", "rsa", "ecc", "management")
)


@dataclass
class Rounds:
    """A helper process that serves rounds over its standard streams."""

    process: "subprocess.Popen[str]"

    def ask(self, *words: object) -> float:
        """Run one round; returns the microseconds of one operation."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if len(answer) != 2:
            raise RuntimeError("a helper of the benchmark ended")
        return float(answer[1]) / int(answer[0]) * 1e6


@contextmanager
def helper(
    module: str,
    *arguments: object,
    env: dict[str, str] | None = None,
    wait: bool = True,
    package: str = "tests.bench",
) -> Iterator[Rounds]:
    """Run a module as a helper."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"{package}.{module}", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        if wait:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
        yield Rounds(process)
    finally:
        process.kill()
        process.communicate()


@dataclass
class Daemon:
    """A daemon of the benchmark's own."""

    folder: Path

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return str(json.loads((self.folder / "run" / "daemon.json").read_bytes())["grpc"])

    @property
    def pid(self) -> int:
        """Its supervisor."""
        return int(json.loads((self.folder / "run" / "daemon.json").read_bytes())["pid"])

    @property
    def tls(self) -> Path:
        """Its certificates."""
        return self.folder / "tls"

    def client(self) -> Client:
        """Connect as its administrator."""
        return Client.connect(
            self.endpoint, ca=self.tls / "ca.pem", cert=self.tls / "admin.pem", key=self.tls / "admin.key"
        )


def found(folder: Path, workers: int) -> Path:
    """Make token, certificates, house keys, and a configuration without practical quotas."""
    from strongroomd.cli.dev import prepare

    config = prepare(folder, 0, 0, workers)
    config.write_text(UNLIMITED + "\n" + config.read_text())
    run = [sys.executable, "-m", "strongroomd", "init", "--config", str(config)]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    return config


def found_two(folder: Path) -> tuple[Path, Path]:
    """Found a small and a large store, each with a token of its own; one worker each."""
    small, large = (folder / name for name in ("small", "large"))
    for place in (small, large):
        place.mkdir()
    return found(small, 1), found(large, 1)


@contextmanager
def daemon(config: Path, rules: Path | None = None) -> Iterator[Daemon]:
    """Serve; ready when this returns. A token whose rules a file says is an ill one (tests/faults/ill_token.py)."""
    folder = config.parent
    serve = [sys.executable, "-m", "strongroomd", "serve", "--config", str(config)]
    env = dict(os.environ)
    if rules is not None:
        serve = [sys.executable, str(ROOT / "tests/faults/ill_token.py"), "supervise", str(config)]
        env[ill_token.VARIABLE] = str(rules)
    with (folder / "log").open("ab") as log, apart.daemons():
        process = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
    try:
        deadline = time.monotonic() + 60
        while not _ready(folder, process.pid):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError((folder / "log").read_text()[-2000:])
            time.sleep(0.05)
        yield Daemon(folder)
    finally:
        process.terminate()
        process.wait(30)


def _ready(folder: Path, pid: int) -> bool:
    try:
        state = json.loads((folder / "run" / "daemon.json").read_bytes())
    except (OSError, ValueError):
        return False
    return bool(state["pid"] == pid and state["state"] == "ready")


@contextmanager
def echo(tls: Path, workers: int, reply: int) -> Iterator[str]:
    """Serve as many echo processes as the daemon has workers; gives their endpoint."""
    with ExitStack() as stack, socket.socket() as placeholder:
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        for _ in range(workers):
            stack.enter_context(helper("echo", tls, port, reply))
        yield f"127.0.0.1:{port}"


@contextmanager
def raw(config: Path) -> Iterator[Rounds]:
    """Run the raw PKCS#11 loop on the token of a daemon."""
    folder, hsm = config.parent, tomllib.loads(config.read_text())["hsm"]
    env = {"SOFTHSM2_CONF": str(folder / "token" / "softhsm2.conf")}
    with helper("raw", hsm["module"], hsm["token_label"], folder / hsm["pin_file"], env=env) as rounds:
        yield rounds


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return sorted(values)[len(values) // 2]


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Median, least and greatest of a series."""
    low, middle, high = min(values), median(values), max(values)
    return f"{form.format(middle)}  ({form.format(low)} - {form.format(high)})"
