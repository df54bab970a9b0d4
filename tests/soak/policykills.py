"""Whole-daemon SIGKILLs while key policies and identity policies change.

Each client has a key and an identity policy's name of its own. It works without retries until the supervisor
and every worker are killed at a random moment. After the restart the call that was not acknowledged is
repeated under its idempotency key. Then each policy is the last one that was put, to the byte, and what it
says holds: the service is let in where one of the two lets it in, and nowhere else.
"""

import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import ACCOUNT, SERVICE, Daemon, allow, make_folder, running
from tests.soak.hasty import Hasty, kill_amid
from tests.soak.promises import WrongResult

from strongroom import Client
from strongroom.errors import AccessDenied, NotFound

CLIENTS = 4
_EVERYWHERE = 1.1  # seconds after which a change that was repeated is in force at both workers
_ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@dataclass
class Rules:
    """What the policies of one client say, as far as it knows.

    Attributes:
        key: the key's ARN.
        name: of the identity policy.
        key_policy: the policy of the key.
        identity_policy: the identity policy; empty for none.
    """

    key: str
    key_policy: str
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    identity_policy: str = ""

    def let_in(self) -> bool:
        """Say whether the service may encrypt: by the key's policy, or by its own where the key's delegates."""
        return SERVICE in self.key_policy or (_ROOT in self.key_policy and bool(self.identity_policy))


@dataclass
class Attempt:
    """A call that is under way: it may or may not have happened."""

    operation: str
    rules: Rules
    policy: str = ""
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def perform(self, client: Client) -> None:
        """Carry it out, the first time or again."""
        rules, once = self.rules, self.request_id
        match self.operation:
            case "key policy":
                client.put_key_policy(rules.key, self.policy, request_id=once)
                rules.key_policy = self.policy
            case "attach":
                client.put_identity_policy(SERVICE, rules.name, self.policy, request_id=once)
                rules.identity_policy = self.policy
            case _:
                client.delete_identity_policy(SERVICE, rules.name, request_id=once)
                rules.identity_policy = ""


@dataclass
class Figures:
    """What a run showed."""

    rounds: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)
    finished_late: Counter[str] = field(default_factory=Counter)
    let_in: Counter[bool] = field(default_factory=Counter)
    seconds: float = 0.0

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.rounds} kills of the whole daemon in {self.seconds:.0f} s"
        yield f"acknowledged before a kill: {dict(sorted(self.acknowledged.items()))}"
        yield f"under way at a kill, then repeated: {dict(sorted(self.finished_late.items()))}"
        yield f"after the kills rightly let in {self.let_in[True]} times, rightly refused {self.let_in[False]}"


class Ruler(Hasty):
    """One client that changes its two policies until the daemon dies."""

    def __init__(self, daemon: Daemon, figures: Figures, rules: Rules) -> None:
        super().__init__(daemon)
        self._figures = figures
        self._rules = rules
        self.under_way: Attempt | None = None

    def once(self, client: Client) -> None:
        """Change a policy."""
        attempt = self._next()
        self.under_way = attempt
        attempt.perform(client)
        self.under_way = None
        self._figures.acknowledged[attempt.operation] += 1

    def _next(self) -> Attempt:
        if random.random() < 0.5:
            return Attempt("key policy", self._rules, _key_policy())
        if self._rules.identity_policy and random.random() < 0.5:
            return Attempt("detach", self._rules)
        return Attempt("attach", self._rules, _identity_policy(self._rules.key))


def _key_policy() -> str:
    """Write a policy that lets the service in, leaves it to the account, or does neither; none twice."""
    named = random.choice([SERVICE, _ROOT, f"arn:aws:iam::{ACCOUNT}:user/nobody"])
    return json.dumps({**json.loads(allow(named, "kms:Encrypt")), "Id": uuid.uuid4().hex})


def _identity_policy(key: str) -> str:
    statement = {"Sid": uuid.uuid4().hex, "Effect": "Allow", "Action": "kms:Encrypt", "Resource": key}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def run(folder: Path, rounds: int, seconds: float = float("inf"), workers: int = 2) -> Figures:
    """Run the kill rounds.

    Raises:
        WrongResult: a policy is not the last that was put, or does not hold.
    """
    make_folder(folder, workers)
    figures, begun = Figures(), time.monotonic()
    with running(folder) as daemon:
        with daemon.client() as client:
            client.create_principal(SERVICE)
            everyone = [_begin(client) for _ in range(CLIENTS)]
        while figures.rounds < rounds and time.monotonic() - begun < seconds:
            clients = _round(daemon, figures, everyone)
            figures.rounds += 1
            daemon.start()
            with daemon.client() as client, daemon.client("service") as service:
                for hasty in clients:
                    if hasty.under_way is not None:
                        hasty.under_way.perform(client)
                        figures.finished_late[hasty.under_way.operation] += 1
                _stand(client, everyone)
                time.sleep(_EVERYWHERE)
                _hold(service, everyone, figures)
        daemon.stop()
    figures.seconds = time.monotonic() - begun
    return figures


def _begin(client: Client) -> Rules:
    policy = _key_policy()
    return Rules(client.create_key(policy=policy).arn, policy)


def _round(daemon: Daemon, figures: Figures, everyone: list[Rules]) -> list[Ruler]:
    clients = [Ruler(daemon, figures, rules) for rules in everyone]
    kill_amid(daemon, clients, 0.1, 0.8)
    return clients


def _stand(client: Client, everyone: list[Rules]) -> None:
    for rules in everyone:
        if json.loads(client.get_key_policy(rules.key).policy) != json.loads(rules.key_policy):
            raise WrongResult("a key policy is not the last that was put")
        try:
            attached = client.get_identity_policy(SERVICE, rules.name).policy
        except NotFound:
            attached = ""
        if json.loads(attached or "null") != json.loads(rules.identity_policy or "null"):
            raise WrongResult("an identity policy is not the last that was put")


def _hold(service: Client, everyone: list[Rules], figures: Figures) -> None:
    for rules in everyone:
        try:
            service.encrypt(rules.key, b"x")
            came_in = True
        except AccessDenied:
            came_in = False
        if came_in != rules.let_in():
            raise WrongResult("a policy that was put does not hold")
        figures.let_in[came_in] += 1
