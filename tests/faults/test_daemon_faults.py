"""Faults of a running daemon: noticed in time, reported as what they are, and over when they are over."""

import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness import Daemon, await_ready, make_folder, running, wait_until, within

from strongroom import Client
from strongroom.errors import StrongroomError, Unavailable
from strongroom.retry import RetryPolicy
from strongroomd.config import ExitCode

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose faults each test mends again."""
    with running(make_folder(tmp_path_factory.mktemp("faulty"))) as daemon:
        yield daemon


@pytest.fixture
def client(faulty: Daemon) -> Iterator[Client]:
    wait_until(lambda: faulty.state["state"] == "ready", 30)
    with faulty.client() as client:
        yield client


@contextmanager
def in_use(daemon: Daemon) -> Iterator[list[StrongroomError]]:
    """Encrypt without pause meanwhile; gives the failures that a client of the SDK sees."""
    failures: list[StrongroomError] = []
    over = threading.Event()

    def use() -> None:
        with daemon.client(timeout=20.0) as client:
            key = client.create_key().key_id
            while not over.is_set():
                try:
                    client.decrypt(client.encrypt(key, b"plaintext").ciphertext)
                except StrongroomError as failure:
                    failures.append(failure)

    threads = [threading.Thread(target=use, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


@pytest.mark.timed
def test_crash_is_noticed_within_a_second_while_siblings_serve(faulty: Daemon, client: Client) -> None:
    victim = faulty.workers()[0]

    with in_use(faulty) as failures:
        time.sleep(0.5)
        os.kill(victim, signal.SIGKILL)
        noticed = wait_until(lambda: victim not in faulty.workers(), 5)
        wait_until(lambda: faulty.state["state"] == "ready", 15)

    assert noticed < within(1.0)
    assert failures == []


@pytest.mark.timed
def test_hang_is_noticed_within_two_seconds_and_the_successor_ready_within_five(
    faulty: Daemon, client: Client
) -> None:
    victim = faulty.workers()[0]

    with in_use(faulty) as failures:
        time.sleep(0.5)
        os.kill(victim, signal.SIGSTOP)
        noticed = wait_until(lambda: victim not in faulty.workers(), 5)
        replaced = wait_until(lambda: faulty.state["state"] == "ready", 15)

    assert noticed < within(2.3)
    assert replaced < within(5.0)
    assert failures == []


@pytest.mark.timed
def test_busy_database_refuses_changes_within_two_seconds_and_heals(faulty: Daemon, client: Client) -> None:
    key = client.create_key().key_id
    with faulty.client(retry=ONCE) as hasty:
        blocker = sqlite3.connect(faulty.folder / "state" / "strongroom.sqlite", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        try:
            for _ in range(
                5
            ):  # what is to be done is written down first, and a busy disk may be in the way of that
                started = time.monotonic()
                with pytest.raises(Unavailable) as caught:
                    hasty.disable_key(key)
                if caught.value.reason != "AUDIT_UNAVAILABLE":
                    break
            took = time.monotonic() - started
            assert client.decrypt(client.encrypt(key, b"served meanwhile").ciphertext).plaintext
        finally:
            blocker.execute("ROLLBACK")
            blocker.close()

    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert took < within(2.5)
    assert client.disable_key(key).state == "DISABLED"


def test_audit_log_that_cannot_grow_refuses_every_call_at_once_and_heals(
    faulty: Daemon, client: Client
) -> None:
    """The file size limit stands for a full disk: whatever is appended past it is refused by the kernel."""
    key = client.create_key().key_id
    client.encrypt(key, b"before")
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in faulty.workers()}
    with faulty.client(retry=ONCE) as hasty:
        hasty.encrypt(key, b"connected")
        for pid, (_, hard) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
        try:
            refusals = [_refusal(hasty, key) for _ in range(5)]
        finally:
            for pid, limits in before.items():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

        def healed() -> bool:
            try:
                return bool(hasty.encrypt(key, b"after").ciphertext)
            except StrongroomError:
                return False

        wait_until(healed, 15)

    assert {reason for reason, _ in refusals} == {"AUDIT_UNAVAILABLE"}
    assert sorted(seconds for _, seconds in refusals)[2] < 0.25
    verified = faulty.command("audit", "verify")
    assert verified.returncode == 0, verified.stdout


def _refusal(client: Client, key: str) -> tuple[str, float]:
    started = time.monotonic()
    with pytest.raises(StrongroomError) as caught:
        client.encrypt(key, b"refuse me")
    return caught.value.reason, time.monotonic() - started


def test_lost_token_file_is_repaired_at_the_next_login_with_an_alert(faulty: Daemon, client: Client) -> None:
    key = client.create_key(custody_mode="RESIDENT").key_id
    sealed = client.encrypt(key, b"plaintext").ciphertext
    file = token_file(faulty.folder)
    os.truncate(file, 0)

    victim = faulty.workers()[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in faulty.workers(), 5)
    wait_until(lambda: faulty.state["state"] == "ready", 30)

    assert file.stat().st_size > 200
    assert "token_object_repaired" in faulty.log
    for _ in range(4):
        with faulty.client() as fresh:
            assert fresh.decrypt(sealed).plaintext == b"plaintext"


def test_resident_key_works_in_every_worker_at_once(faulty: Daemon, client: Client) -> None:
    """SoftHSM must show each process what the others made."""
    for _ in range(5):
        key = client.create_key(spec="ECC_NIST_EDWARDS25519").key_id
        for _ in range(4):
            with faulty.client() as fresh:
                signed = fresh.sign(key, b"message")
                fresh.verify(key, b"message", signed.signature)


# --- starts that are refused


def token_file(folder: Path) -> Path:
    return next((folder / "token" / "tokens").glob("*/token.object"))


def serve(folder: Path) -> tuple[int, str]:
    """Start a daemon, expecting it to end by itself."""
    command = [sys.executable, "-m", "strongroomd", "serve", "--config", str(folder / "strongroomd.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=40)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three workers that nobody serves from yet."""
    return make_folder(tmp_path_factory.mktemp("stopped"), 3)


def generation(file: Path) -> int:
    """SoftHSM counts each time that it writes the file."""
    return int(struct.unpack_from(">Q", file.read_bytes())[0])


def test_wrong_pin_is_tried_once_by_all_workers_and_respawns_together(stopped: Path) -> None:
    pin, right, file = stopped / "token" / "pin", (stopped / "token" / "pin").read_text(), token_file(stopped)
    file.chmod(0o600)  # so that SoftHSM can note a failed try in it, by which this test counts
    tries = []
    try:
        pin.write_text("not the pin")
        for _ in range(2):
            before = generation(file)
            code, log = serve(stopped)
            tries.append(generation(file) - before)
            assert code == ExitCode.REFUSED, log
            assert "refused the PIN" in log
            assert "not the pin" not in log
    finally:
        pin.write_text(right)

    assert tries == [1, 0]
    with running(stopped) as daemon:
        assert daemon.stop() == 0


def test_pin_file_that_others_can_read_is_refused(stopped: Path) -> None:
    pin = stopped / "token" / "pin"
    pin.chmod(0o644)
    try:
        code, log = serve(stopped)
    finally:
        pin.chmod(0o600)

    assert code == ExitCode.REFUSED, log
    assert "pin_file" in log


def test_another_token_in_its_place_is_refused(stopped: Path, tmp_path: Path) -> None:
    """The store's house keys are not in it."""
    other = make_folder(tmp_path, 1)
    conf = stopped / "token" / "softhsm2.conf"
    original, pin = conf.read_text(), (stopped / "token" / "pin").read_text()
    try:
        conf.write_text((other / "token" / "softhsm2.conf").read_text())
        (stopped / "token" / "pin").write_text((other / "token" / "pin").read_text())
        code, log = serve(stopped)
    finally:
        conf.write_text(original)
        (stopped / "token" / "pin").write_text(pin)

    assert code == ExitCode.REFUSED, log
    assert "do not belong together" in log


# --- a call into the module that does not return


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose workers' C_Sign hangs while the file `hang` names the thread that shall."""
    folder = make_folder(tmp_path_factory.mktemp("hanging"))
    program = Path(__file__).with_name("run_hanging.py")
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(program), str(folder / "strongroomd.toml")],
            stdout=log,
            stderr=log,
            env=os.environ | {"STRONGROOM_TEST_HANG": str(folder / "hang")},
        )
    daemon = Daemon(folder, process)
    await_ready(daemon)
    yield daemon
    daemon.kill()


@pytest.mark.timed
def test_call_that_does_not_return_is_noticed_and_its_worker_replaced(hanging: Daemon) -> None:
    """RSA is signed on a lane of threads, HMAC on the loop itself, until a worker has hung."""
    for thread in ("loop", "lane"):
        _hangs(hanging, thread)


def _hangs(hanging: Daemon, thread: str) -> None:
    wait_until(lambda: hanging.state["state"] == "ready", 30)
    order = hanging.folder / "hang"
    with hanging.client(timeout=20.0) as client, hanging.client(timeout=20.0, retry=ONCE) as hasty:
        rsa = client.create_key(spec="RSA_2048", usage="SIGN_VERIFY").key_id
        mac = client.create_key(spec="HMAC_256").key_id
        hasty.describe_key(rsa)
        before = set(hanging.workers())
        calls: dict[str, Callable[[], object]] = {
            "lane": lambda: hasty.sign(rsa, b"message", algorithm="RSASSA_PSS_SHA_256"),
            "loop": lambda: hasty.generate_mac(mac, b"message", algorithm="HMAC_SHA_256"),
        }
        order.write_text(thread)
        started = time.monotonic()
        try:
            with pytest.raises(StrongroomError) as caught:
                calls[thread]()
            wait_until(lambda: not before <= set(hanging.workers()), 5)
            noticed = time.monotonic() - started
        finally:
            order.unlink()
        replaced = wait_until(lambda: hanging.state["state"] == "ready", 20)

    assert caught.value.code == "UNAVAILABLE"
    assert noticed < within(2.6)
    assert replaced < within(5.0)
    with hanging.client() as client:
        assert client.sign(rsa, b"message", algorithm="RSASSA_PSS_SHA_256").signature
