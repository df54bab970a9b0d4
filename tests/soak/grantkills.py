"""Whole-daemon SIGKILLs while grants are made, revoked and retired.

Each round: clients work without retries until the supervisor and every worker are killed at a random moment.
After the restart each call that was not acknowledged is repeated under its idempotency key. Then the keys lend
exactly what was promised: each grant that was made and not ended, once, and nothing else; and the grantee may
do what these grants lend, and no more.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import SERVICE, Daemon, make_folder, running
from tests.soak.hasty import Hasty, kill_amid
from tests.soak.promises import WrongResult

from strongroom import Client
from strongroom.errors import AccessDenied

KEYS = 3
CLIENTS = 4


@dataclass
class Lent:
    """A grant that was asked for, under a context of its own."""

    key: str
    tenant: str = field(default_factory=lambda: uuid.uuid4().hex)
    grant_id: str = ""
    token: str = ""
    ended: bool = False


@dataclass
class Attempt:
    """A call that is under way: it may or may not have happened."""

    operation: str
    grant: Lent
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def perform(self, client: Client) -> None:
        """Carry it out, the first time or again."""
        grant = self.grant
        match self.operation:
            case "create":
                made = client.create_grant(
                    grant.key,
                    SERVICE,
                    ["Encrypt"],
                    context_equals={"tenant": grant.tenant},
                    request_id=self.request_id,
                )
                grant.grant_id, grant.token = made.grant.grant_id, made.grant_token
            case "revoke":
                client.revoke_grant(grant.key, grant.grant_id, request_id=self.request_id)
                grant.ended = True
            case _:
                client.retire_grant(grant.token, request_id=self.request_id)
                grant.ended = True


@dataclass
class Figures:
    """What a run showed."""

    rounds: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)
    finished_late: Counter[str] = field(default_factory=Counter)
    grants: int = 0
    seconds: float = 0.0

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.rounds} kills of the whole daemon in {self.seconds:.0f} s; {self.grants} grants in force"
        yield f"acknowledged before a kill: {dict(sorted(self.acknowledged.items()))}"
        yield f"under way at a kill, then repeated: {dict(sorted(self.finished_late.items()))}"


class Lender(Hasty):
    """One client that makes grants and ends some of its own, until the daemon dies."""

    def __init__(self, daemon: Daemon, figures: Figures, keys: list[str]) -> None:
        super().__init__(daemon)
        self._figures = figures
        self._keys = keys
        self.grants: list[Lent] = []
        self.under_way: Attempt | None = None

    def once(self, client: Client) -> None:
        """Make a grant, or end one."""
        living = [grant for grant in self.grants if not grant.ended]
        if living and random.random() < 0.4:
            attempt = Attempt(random.choice(["revoke", "retire"]), random.choice(living))
        else:
            attempt = Attempt("create", Lent(random.choice(self._keys)))
            self.grants.append(attempt.grant)
        self.under_way = attempt
        attempt.perform(client)
        self.under_way = None
        self._figures.acknowledged[attempt.operation] += 1


def run(folder: Path, rounds: int, seconds: float = float("inf"), workers: int = 2) -> Figures:
    """Run the kill rounds.

    Raises:
        WrongResult: a grant is lost, there twice, or still there; or it lets in whom it must not.
    """
    make_folder(folder, workers)
    figures, grants, begun = Figures(), [], time.monotonic()
    with running(folder) as daemon:
        with daemon.client() as client:
            keys = [client.create_key().key_id for _ in range(KEYS)]
        while figures.rounds < rounds and time.monotonic() - begun < seconds:
            clients = _round(daemon, figures, keys)
            figures.rounds += 1
            daemon.start()
            with daemon.client() as client, daemon.client("service") as grantee:
                for hasty in clients:
                    _settle(client, figures, hasty)
                    grants += hasty.grants
                _lent_exactly(client, keys, grants)
                _lets_in(grantee, random.sample(grants, min(30, len(grants))))
        daemon.stop()
    figures.grants = sum(not grant.ended for grant in grants)
    figures.seconds = time.monotonic() - begun
    return figures


def _round(daemon: Daemon, figures: Figures, keys: list[str]) -> list[Lender]:
    clients = [Lender(daemon, figures, keys) for _ in range(CLIENTS)]
    kill_amid(daemon, clients, 0.1, 0.8)
    return clients


def _settle(client: Client, figures: Figures, hasty: Lender) -> None:
    if hasty.under_way is not None:
        hasty.under_way.perform(client)
        figures.finished_late[hasty.under_way.operation] += 1


def _lent_exactly(client: Client, keys: list[str], grants: list[Lent]) -> None:
    found = Counter(
        (key, grant.grant_id, grant.context_equals["tenant"])
        for key in keys
        for grant in client.pages(client.list_grants, key, page_size=1_000)
    )
    promised = Counter((grant.key, grant.grant_id, grant.tenant) for grant in grants if not grant.ended)
    if found != promised:
        raise WrongResult(
            f"{len(promised - found)} grants are lost, {len(found - promised)} were not asked for"
        )


def _lets_in(grantee: Client, grants: list[Lent]) -> None:
    for grant in grants:
        tokens = [grant.token] if grant.token else []
        try:
            grantee.encrypt(grant.key, b"x", context={"tenant": grant.tenant}, grant_tokens=tokens)
        except AccessDenied:
            if not grant.ended:
                raise WrongResult("a grant in force lets its grantee not in") from None
        else:
            if grant.ended:
                raise WrongResult("a grant that ended still lets its grantee in")
