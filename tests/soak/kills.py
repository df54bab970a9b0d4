"""Whole-daemon SIGKILLs during create, rotate and schedule deletion, in both custody modes, all six at once.

Each round: six clients work without retries until the supervisor and every worker are killed at a random moment.
After the restart each call that was not acknowledged is repeated under its idempotency key, and everything that
was ever acknowledged must be there, once, and work.
"""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon, make_folder, running
from tests.soak import folders
from tests.soak.hasty import Hasty, kill_amid
from tests.soak.promises import Promise, WrongResult, new_key

from strongroom import Client
from strongroom.errors import InvalidRequest
from strongroom.retry import RetryPolicy

SPECS = {
    "WRAPPED": ("SYMMETRIC_DEFAULT", "HMAC_256", "ECC_NIST_P256"),
    "RESIDENT": ("SYMMETRIC_DEFAULT", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"),
}
POOL = {"rotate": 3, "delete": 12}  # keys that such a client owns
ON_DEMAND = 25  # rotations of one key that the daemon makes on demand
SAMPLE = 10  # older keys looked at after each round; all of them after the last
_HASTY = RetryPolicy(max_attempts=1)


@dataclass
class Attempt:
    """A call that is under way: it may or may not have happened."""

    operation: str
    mode: str
    spec: str
    key: Promise | None
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class Book:
    """All that the daemon promised so far."""

    keys: list[Promise] = field(default_factory=list)
    fresh: list[Promise] = field(default_factory=list)
    under_way: list[Attempt] = field(default_factory=list)
    created: set[str] = field(default_factory=set)
    acknowledged: Counter[str] = field(default_factory=Counter)
    finished_late: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, attempt: Attempt) -> None:
        """Note a call before it is sent."""
        with self.lock:
            self.under_way.append(attempt)

    def acknowledge(self, attempt: Attempt, key: Promise) -> None:
        """Note a call's answer."""
        with self.lock:
            self.under_way.remove(attempt)
            self.acknowledged[f"{attempt.operation} {attempt.mode}"] += 1
            self.add(attempt, key)

    def add(self, attempt: Attempt, key: Promise) -> None:
        """Take over what an attempt led to."""
        if attempt.operation == "create":
            self.created.add(attempt.request_id)
            self.keys.append(key)
        self.fresh.append(key)


class Repeater(Hasty):
    """One client that repeats one operation in one custody mode until the daemon dies."""

    def __init__(self, daemon: Daemon, book: Book, operation: str, mode: str, pool: list[Promise]) -> None:
        super().__init__(daemon)
        self._book = book
        self._operation = operation
        self._mode = mode
        self._pool = pool
        self._choice = list(pool)

    def once(self, client: Client) -> None:
        """Do it once more."""
        key = random.choice(self._choice) if self._choice else None
        spec = key.spec if key else random.choice(SPECS[self._mode])
        attempt = Attempt(self._operation, self._mode, spec, key)
        self._book.begin(attempt)
        answer = perform(client, attempt)
        self._book.acknowledge(attempt, answer)
        if attempt.operation == "delete":
            self._choice.remove(answer)
            if not self._choice:
                self._bring_back(client)

    def _bring_back(self, client: Client) -> None:
        for key in self._pool:
            restore(client, key)
        self._choice = list(self._pool)


def perform(client: Client, attempt: Attempt) -> Promise:
    """Carry out an attempt, the first time or again; idempotent.

    Raises:
        WrongResult: the answer is not what this attempt asked for.
    """
    request_id, key = attempt.request_id, attempt.key
    if attempt.operation == "create" or key is None:
        return new_key(client, attempt.spec, attempt.mode, request_id, request_id)
    if attempt.operation == "rotate":
        try:
            client.rotate_key(key.key, request_id=request_id)
        except InvalidRequest as refused:
            if refused.reason != "LIMIT_EXCEEDED" or key.versions <= ON_DEMAND:
                raise
            return key  # it has been rotated as often as anybody may ask
        key.versions += 1
        return key
    state = client.schedule_key_deletion(key.key, pending_window_days=7, request_id=request_id).state
    if state != "PENDING_DELETION":
        raise WrongResult(f"scheduled for deletion, but {state}")
    return key


def restore(client: Client, key: Promise) -> None:
    """Bring a key back to use, from whatever step a kill left it at."""
    if client.describe_key(key.key).state == "PENDING_DELETION":
        client.cancel_key_deletion(key.key)
    if client.describe_key(key.key).state == "DISABLED":
        client.enable_key(key.key)


@dataclass
class Figures:
    """What a run of kill rounds showed."""

    rounds: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)
    finished_late: dict[str, int] = field(default_factory=dict)
    keys: int = 0
    repaired: int = 0
    seconds: float = 0.0
    ready_seconds: float = 0.0
    left_over: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        yield f"{self.rounds} kills of the whole daemon in {self.seconds:.0f} s; {self.keys} keys, each there once"
        yield f"acknowledged before a kill: {dict(sorted(self.acknowledged.items()))}"
        yield f"under way at a kill, then repeated: {dict(sorted(self.finished_late.items()))}"
        yield f"longest start {self.ready_seconds:.1f} s; token.object repaired {self.repaired} times"
        yield f"afterwards: {self.left_over}"


def run(folder: Path, rounds: int, seconds: float = float("inf"), workers: int = 2) -> Figures:
    """Run the kill rounds.

    Args:
        folder: an empty folder for the daemon.
        rounds: how many kills.
        seconds: stop early after this long.
        workers: of the daemon.

    Raises:
        WrongResult: something acknowledged is lost, changed, half there or there twice.
    """
    make_folder(folder, workers)
    book, figures, begun = Book(), Figures(), time.monotonic()
    with running(folder) as daemon:
        with daemon.client() as client:
            pools = {
                (operation, mode): [
                    new_key(client, random.choice(SPECS[mode]), mode, "pool") for _ in range(POOL[operation])
                ]
                for operation in ("rotate", "delete")
                for mode in SPECS
            }
            for pool in pools.values():
                book.keys.extend(pool)
            for key in book.keys:
                key.prove(client)
        while figures.rounds < rounds and time.monotonic() - begun < seconds:
            _round(daemon, book, pools)
            figures.rounds += 1
            restarted = time.monotonic()
            daemon.start()
            figures.ready_seconds = max(figures.ready_seconds, time.monotonic() - restarted)
            with daemon.client() as client:
                _settle(client, book)
        with daemon.client() as client:
            _all_kept(client, book.keys)
            figures.keys = _each_once(client, book)
        daemon.stop()
        figures.repaired = daemon.log.count("token_object_repaired")
    figures.left_over = folders.inspect(folder)
    figures.acknowledged, figures.finished_late = dict(book.acknowledged), dict(book.finished_late)
    figures.seconds = time.monotonic() - begun
    return figures


def _round(daemon: Daemon, book: Book, pools: dict[tuple[str, str], list[Promise]]) -> None:
    clients = [
        Repeater(daemon, book, operation, mode, pools.get((operation, mode), []))
        for operation in ("create", "rotate", "delete")
        for mode in SPECS
    ]
    kill_amid(daemon, clients, 0.02, 0.6)


def _settle(client: Client, book: Book) -> None:
    """Repeat what was not acknowledged, then look at what this round touched and at some of the rest."""
    attempts, book.under_way = book.under_way, []
    for attempt in attempts:
        book.add(attempt, perform(client, attempt))
        book.finished_late[f"{attempt.operation} {attempt.mode}"] += 1
    touched, book.fresh = {id(key): key for key in book.fresh}, []
    older = random.sample(book.keys, min(SAMPLE, len(book.keys)))
    _all_kept(client, [*touched.values(), *older])


def _all_kept(client: Client, keys: list[Promise]) -> None:
    for key in keys:
        restore(client, key)
        key.check_all(client)
        key.prove(client)
        versions = client.list_key_versions(key.key, page_size=1_000).items
        if len(versions) != key.versions:
            raise WrongResult(f"{key.key} has {len(versions)} versions, {key.versions} were asked for")


def _each_once(client: Client, book: Book) -> int:
    """Every idempotency key of a create made one key, and nothing else made any."""
    # What a kill left half made is no key yet: nobody was told of it, and upkeep undoes it after a minute.
    listed = [key for key in client.pages(client.list_keys, page_size=1_000) if key.state != "CREATING"]
    made = Counter(key.description for key in listed if key.description != "pool")
    twice = [request_id for request_id, count in made.items() if count != 1]
    if twice or made.keys() != book.created:
        raise WrongResult(f"{len(twice)} made twice, {len(made.keys() ^ book.created)} unknown or lost")
    half = [key for key in listed if key.state != "ENABLED"]
    if half:
        raise WrongResult(f"{len(half)} keys are {half[0].state}")
    return len(listed)
