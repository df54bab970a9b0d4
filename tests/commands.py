"""Commands of `strongroomd` and `strongroom`, each in a fork of a process that has loaded them (faults/run_commands.py)."""

import atexit
import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _Runner:
    """The process that runs commands (faults/run_commands.py), started for the first of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self,
        arguments: tuple[str, ...],
        step: str = "",
        enrolled: Path | None = None,
        meanwhile: tuple[str, Callable[[], object]] | None = None,
        failing: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run one of `strongroomd`, to its end."""
        with tempfile.TemporaryDirectory() as out:
            job = {"argv": arguments, "out": out, "step": step, "enrolled": str(enrolled) if enrolled else ""}
            job |= {"pause": meanwhile[0] if meanwhile else "", "failing": failing}
            with _doing(Path(out), meanwhile[1] if meanwhile else None):
                code = self._do(job)
            said = [(Path(out) / name).read_text() for name in ("out", "err")]
        return subprocess.CompletedProcess(arguments, code, *said)

    def run_client(
        self, arguments: tuple[str, ...], environment: dict[str, str], stdin: bytes
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of `strongroom`, to its end."""
        with tempfile.TemporaryDirectory() as out:
            (Path(out) / "in").write_bytes(stdin)
            code = self._do({"argv": arguments, "out": out, "environment": environment})
            said = [(Path(out) / name).read_bytes() for name in ("out", "err")]
        return subprocess.CompletedProcess(arguments, code, *said)

    def _do(self, job: dict[str, Any]) -> int:
        if self._process is None:
            program = [sys.executable, str(Path(__file__).parent / "faults" / "run_commands.py")]
            self._process = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            atexit.register(self._process.kill)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def _doing(out: Path, work: Callable[[], object] | None) -> Iterator[None]:
    """Do something each time that a command waits at its step; a failure of that is the block's."""
    if work is None:
        yield
        return
    over = threading.Event()

    def serve() -> None:
        while not over.wait(0.01):
            if (out / "reached").exists():
                (out / "reached").unlink()
                try:
                    work()
                finally:
                    (out / "go").touch()

    with ThreadPoolExecutor(1) as executor:
        served = executor.submit(serve)
        try:
            yield
        finally:
            over.set()
        served.result()


RUNNER = _Runner()


def command(
    *arguments: str, meanwhile: tuple[str, Callable[[], object]] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of `strongroomd`; `meanwhile`: a step, and what is done each time that it is reached."""
    return RUNNER.run(arguments, meanwhile=meanwhile)


def stopped(step: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `strongroomd` that is killed at a step."""
    done = RUNNER.run(arguments, step, None)
    assert done.returncode == -signal.SIGKILL, f"{step} was not reached: {done.stderr}"
    return done
