"""Events under fire: a webhook and a JetStream, one of them or the daemon taken away again and again.

Clients change their keys all the while. At the end every event that the store holds must be at both sinks, in
the order of each key; whatever came twice has the same id and the same content; and no change that was
acknowledged is without its event.
"""

import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness import SERVICE, Daemon, allow, make_folder, running
from tests.natsd import NatsServer, serving
from tests.receiver import SECRET, Receiver, in_order, receiving
from tests.soak.promises import WrongResult

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.retry import RetryPolicy

_HASTY = RetryPolicy(max_attempts=1)
_SETTLE = 60.0
SINKS = """
[[events.sinks]]
name = "hook"
kind = "webhook"
url = "{url}"
secret_file = {secret}
allow_networks = ["127.0.0.0/8"]
allow_plain_http = true
timeout_seconds = 2

[[events.sinks]]
name = "bus"
kind = "nats"
servers = ["{nats}"]
timeout_seconds = 2
"""


@dataclass
class Figures:
    """What a run showed."""

    seconds: float = 0.0
    blows: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    unacknowledged: int = 0
    events: int = 0
    hook_requests: int = 0
    hook_duplicates: int = 0
    bus_duplicates: int = 0
    settle_seconds: float = 0.0

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.seconds:.0f} s; blows {dict(self.blows)}"
        yield f"{self.acknowledged} changes acknowledged, {self.unacknowledged} cut off; {self.events} events"
        yield f"webhook: every event, in order of its key; {self.hook_requests} requests, {self.hook_duplicates} twice"
        yield f"stream: every event, in order of its key; {self.bus_duplicates} twice"
        yield f"all delivered {self.settle_seconds:.1f} s after the last blow"


def _describe(client: Client, key: str) -> None:
    client.update_key_description(key, str(random.random()))


def _rule(client: Client, key: str) -> None:
    policy = json.loads(allow(SERVICE, "kms:Encrypt"))
    policy["Id"] = str(random.random())
    client.put_key_policy(key, json.dumps(policy))


def _lend(client: Client, key: str) -> None:
    client.create_grant(key, SERVICE, ["Encrypt"])


CHANGES: dict[str, Callable[[Client, str], None]] = {
    "strongroom.key.description_changed": _describe,
    "strongroom.key.policy_changed": _rule,
    "strongroom.grant.created": _lend,
}
"""Changes of a key, by the type of the event that each is."""


class Changer(threading.Thread):
    """One client that changes its own key until it is told to stop."""

    def __init__(self, daemon: Daemon, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._daemon = daemon
        self._stop_now = stop
        self.acknowledged: Counter[tuple[str, str]] = Counter()
        self.unacknowledged = 0

    def run(self) -> None:
        """Change, and connect again whenever the daemon was away."""
        key = ""
        while not self._stop_now.is_set():
            try:
                with self._daemon.client(retry=_HASTY, timeout=3.0) as client:
                    while not self._stop_now.is_set():
                        key = key or client.create_key().arn
                        self._change(client, key)
            except (StrongroomError, OSError, ValueError, KeyError):
                self.unacknowledged += 1
                time.sleep(0.1)

    def _change(self, client: Client, key: str) -> None:
        kind = random.choice(list(CHANGES))
        CHANGES[kind](client, key)
        self.acknowledged[key, kind] += 1
        time.sleep(0.02)


Blow = Callable[[Daemon, Receiver, NatsServer, float], None]


def _receiver_away(_daemon: Daemon, receiver: Receiver, _nats: NatsServer, seconds: float) -> None:
    receiver.stop()
    time.sleep(seconds)
    receiver.start()


def _receiver_unwell(_daemon: Daemon, receiver: Receiver, _nats: NatsServer, seconds: float) -> None:
    # It has taken the event, but says otherwise.
    receiver.judge = lambda _: (random.choice([204, 500, 502, 503]), {})
    time.sleep(seconds)
    receiver.judge = lambda _: (204, {})


def _nats_away(_daemon: Daemon, _receiver: Receiver, nats: NatsServer, seconds: float) -> None:
    nats.kill()
    time.sleep(seconds)
    nats.start()


def _worker_killed(daemon: Daemon, _receiver: Receiver, _nats: NatsServer, seconds: float) -> None:
    workers = daemon.workers()
    if workers:
        os.kill(random.choice(workers), signal.SIGKILL)
    time.sleep(seconds)


def _daemon_killed(daemon: Daemon, _receiver: Receiver, _nats: NatsServer, seconds: float) -> None:
    daemon.kill()
    daemon.start()
    time.sleep(seconds)


BLOWS: dict[str, Blow] = {
    "receiver": _receiver_away,
    "unwell": _receiver_unwell,
    "nats": _nats_away,
    "worker": _worker_killed,
    "daemon": _daemon_killed,
}


def run(
    folder: Path, seconds: float, blows: tuple[str, ...] = tuple(BLOWS), away: float = 2.0, workers: int = 2
) -> Figures:
    """Run under fire.

    Args:
        folder: an empty folder.
        seconds: how long blows fall.
        blows: which, each once a round, in random order.
        away: how long each lasts.
        workers: of the daemon.

    Raises:
        WrongResult: an event is lost, doubled under another id, changed, or out of order.
    """
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    home = folder / "daemon"
    home.mkdir()
    figures, begun = Figures(), time.monotonic()
    with receiving() as receiver, serving(folder / "nats") as nats:
        text = SINKS.format(url=receiver.url, secret=json.dumps(str(secret)), nats=nats.url)
        make_folder(home, workers, lambda config: config + text)
        with running(home) as daemon:
            _under_fire(daemon, receiver, nats, figures, seconds, blows, away)
            settled = time.monotonic()
            truth = _settle(daemon, receiver, nats)
            figures.settle_seconds = time.monotonic() - settled
            daemon.stop()
        _judge_hook(truth, receiver, figures)
        _judge_bus(truth, nats, figures)
    figures.events, figures.seconds = len(truth), time.monotonic() - begun
    return figures


def _under_fire(
    daemon: Daemon,
    receiver: Receiver,
    nats: NatsServer,
    figures: Figures,
    seconds: float,
    blows: tuple[str, ...],
    away: float,
) -> None:
    stop = threading.Event()
    changers = [Changer(daemon, stop) for _ in range(3)]
    for changer in changers:
        changer.start()
    end = time.monotonic() + seconds
    due: list[str] = []
    while due or time.monotonic() < end:
        due = due or random.sample(blows, len(blows))
        name = due.pop()
        time.sleep(random.uniform(0.1, 0.6))
        BLOWS[name](daemon, receiver, nats, away)
        figures.blows[name] += 1
    time.sleep(0.5)
    stop.set()
    for changer in changers:
        changer.join(20)
        if changer.is_alive():
            raise WrongResult("a client hangs")
    figures.acknowledged = sum(sum(c.acknowledged.values()) for c in changers)
    figures.unacknowledged = sum(c.unacknowledged for c in changers)
    written = Counter((row["subject"], row["type"]) for row in _events(daemon))
    for changer in changers:
        for change, count in changer.acknowledged.items():
            if written[change] < count:
                raise WrongResult(f"{count} of {change} were acknowledged, {written[change]} have an event")


def _events(daemon: Daemon) -> list[dict[str, Any]]:
    path = daemon.folder / "state" / "strongroom.sqlite"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute("SELECT * FROM events ORDER BY position")]
    finally:
        connection.close()


def _settle(daemon: Daemon, receiver: Receiver, nats: NatsServer) -> list[dict[str, Any]]:
    """Wait until both sinks have all that the store has; gives that."""
    deadline = time.monotonic() + _SETTLE
    while time.monotonic() < deadline:
        truth = _events(daemon)
        ids = {row["id"] for row in truth}
        if ids <= {event["id"] for event in receiver.accepted()} and ids <= {m[1] for m in nats.messages()}:
            return truth
        time.sleep(0.3)
    hook, bus = {event["id"] for event in receiver.accepted()}, {m[1] for m in nats.messages()}
    raise WrongResult(
        f"lost: {len(ids - hook)} at the webhook, {len(ids - bus)} at the stream, of {len(ids)}"
    )


def _judge_hook(truth: list[dict[str, Any]], receiver: Receiver, figures: Figures) -> None:
    ids = {row["id"] for row in truth}
    firsts = receiver.firsts()
    if {event["id"] for event in firsts} != ids:
        raise WrongResult("the webhook got an event that the store does not have")
    _same(receiver.accepted())
    if not in_order(firsts):
        raise WrongResult("the webhook got events out of order")
    figures.hook_requests = len(receiver.requests)
    figures.hook_duplicates = len(receiver.accepted()) - len(firsts)


def _judge_bus(truth: list[dict[str, Any]], nats: NatsServer, figures: Figures) -> None:
    messages = nats.messages()
    events = [event for _, _, event in messages]
    if any(message_id != event["id"] for _, message_id, event in messages):
        raise WrongResult("a message id is not its event's")
    _same(events)
    firsts = list({event["id"]: event for event in reversed(events)}.values())[::-1]
    if {event["id"] for event in firsts} != {row["id"] for row in truth}:
        raise WrongResult("the stream and the store have different events")
    if not in_order(firsts):
        raise WrongResult("the stream has events out of order")
    figures.bus_duplicates = len(events) - len(firsts)


def _same(events: list[dict[str, Any]]) -> None:
    """Whatever has the same id, or the same place, is the same event."""
    by_id: dict[str, dict[str, Any]] = {}
    places: dict[tuple[str, str], str] = {}
    for event in events:
        if by_id.setdefault(event["id"], event) != event:
            raise WrongResult("two events have one id")
        place = (event["subject"], event["sequence"])
        if places.setdefault(place, event["id"]) != event["id"]:
            raise WrongResult("two events have one place")
