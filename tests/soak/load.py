"""Mixed operations by many clients while workers are killed: nothing may fail, nothing may come back wrong."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tests.harness import Daemon, make_folder, running
from tests.soak import folders
from tests.soak.promises import CONTEXT, Promise, WrongResult, new_key

from strongroom.errors import InvalidRequest, KeyNotUsable, NotGenuine, StrongroomError

Result = TypeVar("Result")
PAGE = os.sysconf("SC_PAGE_SIZE")
ON_DEMAND = 25  # rotations of one key that the daemon makes on demand
STALE_SECONDS = 1.0  # a change is in force in every worker within a second


@dataclass
class Figures:
    """What a run of mixed load showed; seconds, milliseconds for latencies, MiB for memory."""

    seconds: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    kills: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    rss: list[tuple[float, float]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    left_over: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        total = sum(self.calls.values())
        yield f"{total} calls in {self.seconds:.0f} s ({total / max(self.seconds, 1):.0f}/s), failed: {len(self.failed)}"
        yield "  " + ", ".join(f"{name} {count}" for name, count in sorted(self.calls.items()))
        if len(self.latencies) > 1:
            cuts = quantiles(self.latencies, n=1000)
            yield f"latency ms: p50 {cuts[499]:.1f}, p99 {cuts[989]:.1f}, p99.9 {cuts[998]:.1f}, max {max(self.latencies):.0f}"
        yield f"workers killed: {self.kills}; restarts: {self.restarts}"
        if self.rss:
            half = [size for at, size in self.rss if at > self.seconds / 2] or [0.0]
            first = [size for at, size in self.rss if at <= self.seconds / 2] or [0.0]
            yield f"largest worker MiB: {max(first):.0f} in the first half, {max(half):.0f} in the second"
        yield f"afterwards: {self.left_over}"
        yield from self.failed[:10]


class Worker(threading.Thread):
    """One client thread with keys of its own, so that it knows what every answer must be."""

    def __init__(self, daemon: Daemon, stop: threading.Event, number: int) -> None:
        super().__init__(daemon=True)
        self._stop_asked = stop
        self._client = daemon.client(timeout=30.0)
        self._number = number
        self.calls: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.failed: list[str] = []

    def prepare(self) -> None:
        """Make this thread's keys."""
        made = [
            ("SYMMETRIC_DEFAULT", "WRAPPED"),
            ("SYMMETRIC_DEFAULT", "RESIDENT"),
            ("HMAC_256", "WRAPPED"),
            ("ECC_NIST_P256", "WRAPPED"),
            ("ECC_NIST_EDWARDS25519", "RESIDENT"),
            ("RSA_2048", "WRAPPED"),
        ]
        self._keys = [new_key(self._client, spec, mode, f"load {self._number}") for spec, mode in made]
        self._alias = f"alias/load-{self._number}"
        self._client.create_alias(self._alias, self._keys[0].key)
        self._agreement = self._client.create_key(spec="ECC_NIST_P256", usage="KEY_AGREEMENT").key_id
        self._switched = new_key(self._client, "SYMMETRIC_DEFAULT", "", "switched")
        self._switched.prove(self._client)
        self._tags = 0

    def run(self) -> None:
        """Do one operation after the other until told to stop."""
        operations: list[tuple[Callable[[], None], int]] = [
            (self._use, 40),
            (self._check, 30),
            (self._data_key, 10),
            (self._re_encrypt, 5),
            (self._forged, 5),
            (self._batch, 5),
            (self._agree, 3),
            (self._random, 3),
            (self._describe, 5),
            (self._tag, 2),
            (self._rotate, 1),
            (self._switch, 1),
            (self._create_and_delete, 1),
        ]
        work, weights = [operation for operation, _ in operations], [weight for _, weight in operations]
        while not self._stop_asked.is_set():
            operation = random.choices(work, weights)[0]
            name, started = operation.__name__.strip("_"), time.perf_counter()
            try:
                operation()
            except (StrongroomError, WrongResult) as error:
                self.failed.append(f"{name}: {error!r} {getattr(error, 'code', '')}")
            self.calls[name] += 1
            self.latencies.append((time.perf_counter() - started) * 1000)

    def final_check(self) -> None:
        """Everything this thread's keys ever made is still good."""
        for key in [*self._keys, self._switched]:
            try:
                key.check_all(self._client)
            except (StrongroomError, WrongResult) as error:
                self.failed.append(f"final check: {error!r}")
        self._client.close()

    def _any(self) -> Promise:
        return random.choice(self._keys)

    def _use(self) -> None:
        key = self._any()
        version = key.prove(self._client).version
        if version > key.versions:
            raise WrongResult(f"version {version} answered, {key.versions} is the newest")

    def _check(self) -> None:
        self._any().check_one(self._client)

    def _data_key(self) -> None:
        made = self._client.generate_data_key(self._alias, context=CONTEXT)
        if self._client.decrypt(made.ciphertext, context=CONTEXT).plaintext != made.plaintext:
            raise WrongResult("a data key came back different")

    def _re_encrypt(self) -> None:
        source, target, message = self._keys[0], self._keys[1], random.randbytes(32)
        sealed = self._client.encrypt(source.key, message, context=CONTEXT)
        moved = self._client.re_encrypt(
            sealed.ciphertext, target.key, source_context=CONTEXT, destination_context=CONTEXT
        )
        if self._client.decrypt(moved.ciphertext, key=target.key, context=CONTEXT).plaintext != message:
            raise WrongResult("re-encryption changed the plaintext")

    def _forged(self) -> None:
        sealed = bytearray(self._client.encrypt(self._keys[0].key, b"forge me", context=CONTEXT).ciphertext)
        sealed[-1 - random.randrange(20)] ^= 1 << random.randrange(8)
        with _expected(NotGenuine):
            self._client.decrypt(bytes(sealed), context=CONTEXT)
        with _expected(NotGenuine):
            self._client.verify_mac(
                self._keys[2].key, b"message", random.randbytes(32), algorithm="HMAC_SHA_256"
            )

    def _batch(self) -> None:
        key, messages = self._keys[0].key, [random.randbytes(50) for _ in range(20)]
        sealed = self._client.encrypt_many(key, messages, context=CONTEXT)
        opened = self._client.decrypt_many([s.ciphertext for s in map(_good, sealed)], context=CONTEXT)
        if [_good(o).plaintext for o in opened] != messages:
            raise WrongResult("a batch came back different")

    def _agree(self) -> None:
        own = ec.generate_private_key(ec.SECP256R1())
        public = own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        theirs = self._client.derive_shared_secret(self._agreement, public).secret
        der = self._client.get_public_key(self._agreement).public_key
        peer = load_der_public_key(der)
        if not isinstance(peer, ec.EllipticCurvePublicKey) or own.exchange(ec.ECDH(), peer) != theirs:
            raise WrongResult("the two sides agree on different secrets")

    def _random(self) -> None:
        if len(self._client.generate_random(32).data) != 32:
            raise WrongResult("random bytes are missing")

    def _describe(self) -> None:
        key = self._any()
        found = self._client.describe_key(key.key)
        if (found.spec, found.state) != (key.spec, "ENABLED"):
            raise WrongResult(f"described as {found.spec} {found.state}")

    def _tag(self) -> None:
        self._tags += 1
        key = self._keys[0].key
        tags = self._client.tag_key(key, {"count": str(self._tags)})
        if tags.tags.get("count") != str(self._tags):
            raise WrongResult("a tag is not what was just put")

    def _rotate(self) -> None:
        """A killed attempt may have used up a number, so the version rises by one or a few; 25 times at most."""
        key = random.choice(self._keys[:2])
        if self._client.get_key_rotation_status(key.key).on_demand_rotations >= ON_DEMAND:
            with _expected(InvalidRequest):
                self._client.rotate_key(key.key)
            return
        before = key.versions
        key.versions = self._client.rotate_key(key.key).current_version
        if not before < key.versions <= before + 3:
            raise WrongResult(f"rotated from version {before} to {key.versions}")

    def _switch(self) -> None:
        """Disabling holds in every worker within a second, and so does enabling."""
        key = self._switched
        self._client.disable_key(key.key)
        time.sleep(STALE_SECONDS)
        with _expected(KeyNotUsable):
            self._client.encrypt(key.key, b"refuse me")
        self._client.enable_key(key.key)
        time.sleep(STALE_SECONDS)
        key.prove(self._client)

    def _create_and_delete(self) -> None:
        spec = random.choice(["SYMMETRIC_DEFAULT", "HMAC_256", "ECC_NIST_P256"])
        key = new_key(self._client, spec, "WRAPPED", "passing")
        key.prove(self._client)
        state = self._client.schedule_key_deletion(key.key, pending_window_days=7).state
        if state != "PENDING_DELETION":
            raise WrongResult(f"scheduled for deletion, but {state}")


def _good(result: Result | StrongroomError) -> Result:
    if isinstance(result, StrongroomError):
        raise result
    return result


@contextmanager
def _expected(refusal: type[StrongroomError]) -> Iterator[None]:
    with contextlib.suppress(refusal):
        yield
        raise WrongResult(f"{refusal.__name__} was expected, the call succeeded")


def run(
    folder: Path, seconds: float, *, threads: int = 8, workers: int = 4, kill_every: float = 5.0
) -> Figures:
    """Run the mixed load.

    Args:
        folder: an empty folder for the daemon.
        seconds: how long.
        threads: clients, each on a connection of its own.
        workers: of the daemon.
        kill_every: mean seconds between two kills of a random worker; 0 for none.
    """
    make_folder(folder, workers)
    figures, stop = Figures(), threading.Event()
    with running(folder) as daemon:
        clients = [Worker(daemon, stop, number) for number in range(threads)]
        for client in clients:
            client.prepare()
        begun = time.monotonic()
        for client in clients:
            client.start()
        _disturb(daemon, figures, begun, seconds, kill_every)
        stop.set()
        for client in clients:
            client.join(60)
            if client.is_alive():
                figures.failed.append("a client hangs")
        figures.seconds = time.monotonic() - begun
        for client in clients:
            client.final_check()
            figures.calls += client.calls
            figures.latencies += client.latencies
            figures.failed += client.failed
        figures.restarts = dict(daemon.state["restarts"])
        if daemon.stop() != 0:
            figures.failed.append("the daemon did not stop in order")
    try:
        figures.left_over = folders.inspect(folder)
    except RuntimeError as problem:
        figures.failed.append(str(problem))
    return figures


def _disturb(daemon: Daemon, figures: Figures, begun: float, seconds: float, kill_every: float) -> None:
    """Measure memory each second; kill a random worker now and then, as long as another one serves."""
    next_kill = begun + random.uniform(0.2, 2 * kill_every)
    while (now := time.monotonic()) < begun + seconds:
        ready = [worker["pid"] for worker in daemon.state["workers"] if worker["state"] == "ready"]
        figures.rss.extend((now - begun, size) for size in map(_rss, ready) if size)
        if kill_every and now >= next_kill and len(ready) > 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(ready), signal.SIGKILL)
            figures.kills += 1
            next_kill = now + random.uniform(0.2, 2 * kill_every)
        time.sleep(min(1.0, max(0.05, next_kill - now)) if kill_every else 1.0)


def _rss(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / (1 << 20)
    except (OSError, IndexError):
        return 0.0
