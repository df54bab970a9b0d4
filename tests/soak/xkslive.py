"""Everything about the XKS door that may change while it is open, changed while KMS calls."""

import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.soak.promises import WrongResult
from tests.soak.xksstage import Stage

from strongroom.results import RequestLimit

_BEFORE = _AFTER = 0.7  # seconds of load on either side of a change
_PATIENCE = 40.0
_SPREAD = 1.2  # seconds in which every worker hears of a change
_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "xks:*",
                "Resource": "*",
                "Condition": {"StringLike": {"aws:PrincipalArn": "arn:aws:sts::111122223333:*"}},
            }
        ],
    }
)


def _until(true: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > ends:
            raise WrongResult(f"{what} did not happen")
        time.sleep(0.05)


def _presented(stage: Stage) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    where = stage.healthy.address
    with (
        socket.create_connection((where.host, where.port), timeout=5) as plain,
        context.wrap_socket(plain) as peer,
    ):
        return peer.getpeercert(binary_form=True) or b""


def certificate(stage: Stage) -> None:
    """Replace the TLS certificate and its key."""
    tls, before = stage.stores.daemon.tls, _presented(stage)
    files = {name: tls / f"next-{name}" for name in ("server.key", "server.pem")}
    stage.authority.server(["localhost", "127.0.0.1", "::1"]).write(files["server.pem"], files["server.key"])
    for name, new in files.items():
        new.replace(tls / name)
    _until(lambda: all(_presented(stage) != before for _ in range(6)), "the new certificate")


def _reloads(stage: Stage, text: str, said: str) -> None:
    """Write a configuration, have it read, and wait for the supervisor's word."""
    daemon = stage.stores.daemon
    log, config = daemon.folder / "log", daemon.folder / "strongroomd.toml"
    begins = log.stat().st_size
    config.write_text(text)
    os.kill(daemon.pid, signal.SIGHUP)
    _until(lambda: said in log.read_text()[begins:], said)


def configuration(stage: Stage) -> None:
    """Reload a configuration with other values for the door, then the one from before."""
    config = Path(stage.stores.daemon.folder / "strongroomd.toml")
    text = config.read_text()
    _reloads(stage, text.replace("[xks]\n", "[xks]\ndeadline_ms = 230\n"), "configuration reloaded")
    _reloads(stage, text, "configuration reloaded")


def bad_configuration(stage: Stage) -> None:
    """Offer a configuration that must be refused."""
    config = Path(stage.stores.daemon.folder / "strongroomd.toml")
    text = config.read_text()
    _reloads(stage, text.replace("[xks]\n", "[xks]\ndeadline_ms = 5\n"), "configuration refused")
    _reloads(stage, text, "configuration reloaded")


def store(stage: Stage) -> None:
    """Change a store's policy and limits in ways that let the callers in, and back."""
    client = stage.stores.client
    for limit in (100_000, 0):
        bound = RequestLimit(limit, limit) if limit else RequestLimit()
        policy = _POLICY if limit else ""
        client.update_key_store(
            stage.store, limit=bound, key_limit=bound, principal_limit=bound, policy=policy
        )
        time.sleep(_SPREAD)


def credential(stage: Stage) -> None:
    """Add a credential, let callers change over, take the old one away."""
    client, old = stage.stores.client, stage.healthy
    new = stage.stores.target(stage.store, "blue", len(old.keys))
    time.sleep(_SPREAD)
    stage.healthy, asked = new, stage.asked
    _until(lambda: stage.asked > asked, "the change of credentials")
    client.delete_key_store_credential(stage.store, old.access_key_id)
    time.sleep(_SPREAD)


def successors(stage: Stage) -> None:
    """Let every worker be replaced by a fresh one."""
    config = Path(stage.stores.daemon.folder / "strongroomd.toml")
    text, before = config.read_text(), set(stage.workers.pids())
    _reloads(stage, text + "\n[workers]\nmax_age_seconds = 1\n", "configuration reloaded")
    _until(lambda: stage.workers.state["restarts"]["recycle"] >= 1, "a successor")
    _reloads(stage, text, "configuration reloaded")
    _until(
        lambda: stage.workers.state["state"] == "ready" and len(stage.workers.pids()) == len(before),
        "the end of the change",
    )


def drain(stage: Stage) -> None:
    """Stop the daemon: what it took it answers."""
    os.kill(stage.stores.daemon.pid, signal.SIGTERM)
    log = stage.stores.daemon.folder / "log"
    _until(lambda: '"stopped"' in log.read_text(), "the end")


CHANGES: dict[str, Callable[[Stage], None]] = {
    "certificate replaced": certificate,
    "configuration reloaded": configuration,
    "bad configuration refused": bad_configuration,
    "store updated": store,
    "credential replaced": credential,
    "worker replaced": successors,
    "daemon drained": drain,
}
"""Each change; the daemon's end is the last."""


def run(stage: Stage, changes: tuple[str, ...]) -> None:
    """Make the changes, each under load.

    Raises:
        WrongResult: one of them had no effect.
    """
    for name in changes:
        change = CHANGES[name]
        with _called_meanwhile(stage, name, ending=change is drain):
            began = time.monotonic()
            change(stage)
            stage.figures.changes[name] = time.monotonic() - began


@contextmanager
def _called_meanwhile(stage: Stage, when: str, *, ending: bool) -> Iterator[None]:
    """Let the healthy call before, during and after, second by second, on new connections each."""
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            stage.figures.take(when, stage.ask(3.0 if ending else 1.0), ending=ending)

    calling = threading.Thread(target=call, daemon=True)
    calling.start()
    time.sleep(_BEFORE)
    try:
        yield
        time.sleep(_AFTER)
    finally:
        over.set()
        calling.join(_PATIENCE)
