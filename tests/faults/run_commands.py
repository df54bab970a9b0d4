"""Runs commands of `strongroomd` and `strongroom`, each in a fork of its own: loading takes longer than most commands.

Reads one JSON line for each:

- `argv`: the command; `prepare-folder FOLDER WORKERS` is what `strongroomd dev` does first.
- `out`: a folder for standard output and error.
- `step`: a failpoint at which it is killed.
- `pause`: one at which it waits, having made `reached` in `out`, until `go` is there.
- `failing`: a function of the restore that fails.
- `environment`: of a command of `strongroom`, whose standard input is the file `in` in `out`; without it the
  command is one of `strongroomd`.
- `enrolled`: a file that maps ARNs to approvers' public keys (hexadecimal DER), as if enrolled in the set.

Answers with the exit code, negative for a signal. Everything else is the commands' own: no fork has loaded
a PKCS#11 module or started a thread before.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from strongroom.cli.main import main as strongroom
from strongroomd.cli.app import app
from strongroomd.cli.dev import prepare
from strongroomd.domain.approvals import Enrolled, approver_id
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.telemetry import failpoints
from strongroomd.wiring import ceremonies, recovering, restoring

LOADED = (ceremonies,)  # here, once


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            run(job)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


def run(job: dict[str, Any]) -> NoReturn:
    """Be one command."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(job["out"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    environment = job.get("environment")
    os.dup2(os.open(os.devnull if environment is None else Path(job["out"]) / "in", os.O_RDONLY), 0)
    if environment is not None:
        sys.stdin = os.fdopen(0)
        os.environ.clear()
        os.environ.update(environment)
    arm(job)
    code: Any = 1
    try:
        code = act(*job["argv"]) if environment is None else strongroom(job["argv"])
    except Exception:  # noqa: BLE001 - told as any program's end is
        traceback.print_exc()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def arm(job: dict[str, Any]) -> None:
    """Prepare what is to go wrong."""
    if job.get("step"):
        failpoints.arm(lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == job["step"] else None)
    if job.get("pause"):
        failpoints.arm(lambda step: pause(Path(job["out"])) if step == job["pause"] else None)
    if job.get("failing"):
        patch.object(restoring, job["failing"], fail).start()
    if job.get("enrolled"):
        keys = json.loads(Path(job["enrolled"]).read_text())
        enrolled = _enrolled({arn: bytes.fromhex(key) for arn, key in keys.items()})
        patch.object(restoring, "approvers_of", enrolled).start()
        patch.object(recovering, "approvers_in", enrolled).start()


def act(*arguments: str) -> Any:
    """Do what the command is about; gives its exit code."""
    if arguments[0] == "prepare-folder":
        prepare(Path(arguments[1]), 0, 0, int(arguments[2]))
        return 0
    return app(list(arguments), standalone_mode=True) or 0


def pause(out: Path) -> None:
    """Let the test do something now; for a minute at most, and each time that the step is reached."""
    (out / "go").unlink(missing_ok=True)
    (out / "reached").touch()
    deadline = time.monotonic() + 60
    while not (out / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


async def fail(*_: object) -> NoReturn:
    """Be a part of a restore whose disk is full."""
    raise StrongroomError(Reason.STORE_UNAVAILABLE, detail="the test says so")


def _enrolled(keys: dict[str, bytes]) -> Any:
    async def ask(_: Any, account: str, configured: Any) -> tuple[dict[str, Enrolled], int]:
        found = [Enrolled(approver_id(key), account, arn, key) for arn, key in keys.items()]
        return {one.id: one for one in found}, 2

    return ask


if __name__ == "__main__":
    main()
