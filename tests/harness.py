"""A real daemon under test: SoftHSM token, certificates, supervisor, workers; and ways to talk to it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.commands import command

from strongroom import Client
from strongroom.errors import Conflict, StrongroomError
from strongroomd.frontends.grpc.pki import Authority

READY_SECONDS = 60.0
SLACK = float(os.environ.get("STRONGROOM_TEST_SLACK", "1"))
"""How often longer than alone anything may take: `scripts/test` knows how much runs at the same time."""
ACCOUNT = "111122223333"
ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"
SERVICE = f"arn:aws:iam::{ACCOUNT}:user/service"
OTHER_ACCOUNT = "999988887777"
OTHER = f"arn:aws:iam::{OTHER_ACCOUNT}:user/other"
NEIGHBOUR = "arn:aws:iam::222233334444:user/neighbour"
"""An administrator of another account, no operator, at the shared daemon; tests issue the certificate."""

# Tests make many calls of management in a short time; those that are about quotas set their own.
ROOMY = """
[quota]
symmetric = { per_second = 100000, burst = 100000 }
rsa = { per_second = 100000, burst = 100000 }
ecc = { per_second = 100000, burst = 100000 }
management = { per_second = 100000, burst = 100000 }
"""
OTHER_IDENTITY = f"""
[[identities]]
arn = "{OTHER}"
uri = "spiffe://strongroom.dev/other"
"""
BIRTH_PATIENCE = "crypto_deadline_ms = 20000\nmanagement_deadline_ms = 20000\nreflection = true"


Shell = Callable[..., subprocess.CompletedProcess[bytes]]
"""Runs `strongroom` with arguments, as an identity (`who`), with input (`stdin`)."""


@dataclass
class Daemon:
    """A running daemon and how to reach it."""

    folder: Path
    process: subprocess.Popen[bytes]
    authority: Authority | None = field(default=None, repr=False)

    @property
    def state(self) -> dict[str, Any]:
        """What the supervisor publishes."""
        state: dict[str, Any] = json.loads((self.folder / "run" / "daemon.json").read_bytes())
        return state

    @property
    def endpoint(self) -> str:
        """Where the gRPC door is."""
        return str(self.state["grpc"])

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "strongroomd.toml"

    @property
    def log(self) -> str:
        """What the daemon logged so far."""
        return (self.folder / "log").read_text()

    def tls(self, name: str) -> dict[str, Path]:
        """File arguments of a client for an identity: `admin` or `service`."""
        tls = self.folder / "tls"
        return {"ca": tls / "ca.pem", "cert": tls / f"{name}.pem", "key": tls / f"{name}.key"}

    def client(self, name: str = "admin", **options: object) -> Client:
        """Connect as an identity."""
        return Client.connect(self.endpoint, **self.tls(name), **options)  # type: ignore[arg-type]

    def metrics(self) -> str:
        """Scrape."""
        with urllib.request.urlopen(f"http://{self.state['ops']}/metrics", timeout=5) as reply:
            return str(reply.read().decode())

    def workers(self) -> list[int]:
        """Process ids of the living workers."""
        return [int(worker["pid"]) for worker in self.state["workers"] if worker["pid"]]

    def stop(self) -> int:
        """Drain and stop; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within(30))

    def kill(self) -> None:
        """SIGKILL supervisor and workers."""
        pids = self.workers()
        self.process.kill()
        self.process.wait(10)
        for pid in pids:
            _kill(pid)

    def start(self) -> None:
        """Start again after `stop` or `kill`."""
        self.process = _serve(self.folder)
        await_ready(self)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `strongroomd` on this daemon's configuration."""
        command = [sys.executable, "-m", "strongroomd", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + within(5)
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "strongroomd", "serve", "--config", str(folder / "strongroomd.toml")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def await_ready(daemon: Daemon) -> None:
    """Wait until every worker serves."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if daemon.process.poll() is not None:
            break
        try:
            if daemon.state["pid"] == daemon.process.pid and daemon.state["state"] == "ready":
                return
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.05)
    pytest.fail(f"the daemon is not ready:\n{daemon.log[-4000:]}")


def make_folder(folder: Path, workers: int = 2, edit: Callable[[str], str] | None = None) -> Path:
    """Make token, certificates, configuration and house keys in an empty folder.

    The quotas are roomy, deadlines patient, and `other` is a third identity, of another account.
    """
    _done(command("prepare-folder", str(folder), str(workers)))
    reissue(folder)
    config = folder / "strongroomd.toml"
    text = config.read_text().replace("reflection = true", BIRTH_PATIENCE) + ROOMY + OTHER_IDENTITY
    config.write_text(text if edit is None else edit(text))
    _done(command("init", "--config", str(config)))
    return folder


def _done(made: subprocess.CompletedProcess[str]) -> None:
    assert made.returncode == 0, made.stderr


BUSY = frozenset({"AUDIT_UNAVAILABLE", "OVERLOADED", "DEADLINE_EXCEEDED"})
"""What a daemon may answer on a machine that stalls; callers come again."""

AUTHORITIES: dict[Path, Authority] = {}
"""The certificate authority of each folder, for tests that issue certificates of their own."""


def reissue(folder: Path) -> Authority:
    """Replace a folder's certificates by those of a new authority, whose key is kept in AUTHORITIES."""
    authority, tls = Authority.make(), folder / "tls"
    for path in tls.iterdir():
        path.unlink()
    (tls / "ca.pem").write_bytes(authority.certificate)
    server = authority.server(["localhost", "127.0.0.1", "::1"])
    server.write(tls / "server.pem", tls / "server.key")
    server.write(tls / "xks.pem", tls / "xks.key")
    for name in ("admin", "service", "other"):
        credential = authority.client(name, f"spiffe://strongroom.dev/{name}")
        credential.write(tls / f"{name}.pem", tls / f"{name}.key")
    AUTHORITIES[folder] = authority
    return authority


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    """Serve from a folder made by `make_folder`."""
    daemon = Daemon(folder, _serve(folder), AUTHORITIES.get(folder))
    try:
        await_ready(daemon)
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.kill()


XKS = """
[xks]
address = "127.0.0.1:0"
certificate_file = "tls/xks.pem"
key_file = "tls/xks.key"
fleet_size = 3
"""


def _as_shared(text: str) -> str:
    alone = f'administrators = ["{ADMIN}"]'
    assert alone in text
    text = text.replace(alone, f'administrators = ["{ADMIN}", "{NEIGHBOUR}"]')
    return text + f'\n[[identities]]\narn = "{NEIGHBOUR}"\nuri = "spiffe://strongroom.dev/neighbour"\n' + XKS


_SHARED = pytest.StashKey[Daemon]()


def shared_daemon(config: pytest.Config, folder: Callable[[], Path]) -> Daemon:
    """Give the one daemon of this test process, starting it for the first that asks."""
    if _SHARED not in config.stash:
        stack = ExitStack()
        config.add_cleanup(stack.close)
        config.stash[_SHARED] = stack.enter_context(running(make_folder(folder(), edit=_as_shared)))
    return config.stash[_SHARED]


@contextmanager
def refused(reason: str, field: str | None = None) -> Iterator[None]:
    """Expect a call to be refused with a reason, at a field if one is given."""
    with pytest.raises(StrongroomError) as caught:
        yield
    assert (caught.value.reason, caught.value.message) == (reason, caught.value.message)
    if field is not None:
        assert caught.value.field == field, caught.value


def within(seconds: float) -> float:
    """How long (seconds) something may take here that may take `seconds` where nothing else runs."""
    return seconds * SLACK


def wait_until(true: Callable[[], bool], seconds: float) -> float:
    """Wait for something that takes no longer than `seconds` alone; returns how long it took, or fails."""
    started, patience = time.monotonic(), within(seconds)
    while not true():
        assert time.monotonic() - started < patience, "it did not become true in time"
        time.sleep(0.01)
    return time.monotonic() - started


@contextmanager
def entitled(admin: Client, principal: str, *actions: str) -> Iterator[None]:
    """Let a principal's own account allow it some actions on every key, for a while."""
    for make in (
        lambda: admin.create_account(principal.split(":")[4]),
        lambda: admin.create_principal(principal),
    ):
        with suppress(Conflict):
            make()
    name, statement = fresh_id(), {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    admin.put_identity_policy(principal, name, policy)
    try:
        yield
    finally:
        admin.delete_identity_policy(principal, name)


def fresh_id() -> str:
    """An idempotency key that nobody used."""
    return str(uuid.uuid4())


def allow(principal: str, *actions: str, also: str = ADMIN) -> str:
    """Write a key policy: everything for `also`, and some actions for a principal."""
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": also}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions), "Resource": "*"},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
