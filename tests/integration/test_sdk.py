"""The SDK against a real daemon: every kind of call, and workers that die under it."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import SERVICE, Daemon

from strongroom import AsyncClient, Client, Settings, decrypt_file, encrypt_file, errors
from strongroom.results import Encrypted, Key

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]


def settings_of(daemon: Daemon, name: str = "admin") -> Settings:
    tls = daemon.tls(name)
    return Settings(daemon.endpoint, tls["ca"], tls["cert"], tls["key"], timeout=30.0)


@pytest.fixture(scope="module")
def key(admin: Client) -> Iterator[Key]:
    made = admin.create_key(description="SDK tests", tags={"purpose": "test"})
    yield made
    admin.schedule_key_deletion(made.arn, pending_window_days=7)


def test_the_caller_learns_who_it_is(admin: Client, service: Client) -> None:
    assert admin.get_caller_identity().administrator
    assert service.get_caller_identity().principal_arn == SERVICE
    assert not service.get_caller_identity().administrator


def test_a_ciphertext_opens_with_its_context_and_no_other(admin: Client, key: Key) -> None:
    sealed = admin.encrypt(key.arn, b"4000 EUR", context={"employee": "17"})

    assert admin.decrypt(sealed.ciphertext, context={"employee": "17"}).plaintext == b"4000 EUR"
    with pytest.raises(errors.NotGenuine):
        admin.decrypt(sealed.ciphertext, context={"employee": "18"})


def test_who_may_not_is_told_nothing_more(service: Client, key: Key) -> None:
    with pytest.raises(errors.AccessDenied) as forbidden:
        service.describe_key(key.arn)
    with pytest.raises(errors.AccessDenied) as unknown:
        service.describe_key("alias/there-is-no-such-key")

    assert forbidden.value.message == unknown.value.message
    assert forbidden.value.request_id != unknown.value.request_id != ""


def test_a_repeated_request_id_makes_one_key(admin: Client) -> None:
    first = admin.create_key(request_id="sdk-test-once", description="once")

    assert admin.create_key(request_id="sdk-test-once", description="once").arn == first.arn
    with pytest.raises(errors.Conflict):
        admin.create_key(request_id="sdk-test-once", description="other")


def test_a_dry_run_says_that_it_would_work(admin: Client, key: Key) -> None:
    with pytest.raises(errors.DryRunSucceeded):
        admin.encrypt(key.arn, b"x", dry_run=True)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256"])
def test_signatures_verify_and_forgeries_do_not(admin: Client, spec: str) -> None:
    key = admin.create_key(spec=spec, usage="SIGN_VERIFY")
    algorithm = key.signing_algorithms[0]

    made = admin.sign(key.arn, b"message", algorithm=algorithm)

    assert admin.verify(key.arn, b"message", made.signature, algorithm=algorithm).key_version == 1
    with pytest.raises(errors.NotGenuine):
        admin.verify(key.arn, b"other", made.signature, algorithm=algorithm)
    assert b"PUBLIC KEY" in admin.get_public_key(key.arn).public_key_pem.encode()


def test_batches_and_streams_do_what_single_calls_do(admin: Client, key: Key) -> None:
    plaintexts = [b"%d" % number for number in range(600)]

    sealed = [
        each.ciphertext for each in admin.encrypt_many(key.arn, plaintexts) if isinstance(each, Encrypted)
    ]
    opened = admin.decrypt_many([*sealed, b"rubbish"])
    with admin.stream() as stream:
        futures = [stream.decrypt(each) for each in sealed]

    assert [getattr(each, "plaintext", None) for each in opened[:-1]] == plaintexts
    assert isinstance(opened[-1], errors.NotGenuine)
    assert [future.result(0).plaintext for future in futures] == plaintexts


async def test_asyncio_does_what_threads_do(daemon: Daemon, key: Key) -> None:
    async with AsyncClient(settings_of(daemon)) as client:
        sealed = await asyncio.gather(*(client.encrypt(key.arn, b"%d" % number) for number in range(50)))
        async with client.stream() as stream:
            opened = await asyncio.gather(*(stream.decrypt(each.ciphertext) for each in sealed))

    assert [each.plaintext for each in opened] == [b"%d" % number for number in range(50)]


def test_a_file_is_kept_under_a_data_key(admin: Client, key: Key, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(300_000))

    encrypt_file(admin, key.arn, tmp_path / "a", tmp_path / "b", context={"n": "1"})
    report = decrypt_file(admin, tmp_path / "b", tmp_path / "c", context={"n": "1"})

    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()
    assert report.key_arn == key.arn
    with pytest.raises(errors.NotGenuine):
        decrypt_file(admin, tmp_path / "b", tmp_path / "d", context={"n": "2"})
    assert not (tmp_path / "d").exists()


def test_a_throttled_client_loses_no_item(admin: Client) -> None:
    key = admin.create_key()
    admin.put_limit("KEY", key.arn, 40, burst=20)
    time.sleep(1.2)
    started = time.monotonic()

    opened = admin.encrypt_many(key.arn, [b"%d" % number for number in range(100)])
    single = [admin.encrypt(key.arn, b"x") for _ in range(20)]

    assert all(isinstance(each, Encrypted) for each in [*opened, *single])
    assert time.monotonic() - started > 1.5


@pytest.mark.slow
def test_workers_that_are_killed_cost_no_call(own_daemon: Daemon) -> None:
    failures: list[errors.StrongroomError] = []
    done = [0, 0, 0, 0]
    stop = threading.Event()
    with own_daemon.client("admin", timeout=20.0) as client:
        key = client.create_key().arn

        def work(place: int) -> None:
            while not stop.is_set():
                try:
                    data = b"%d" % done[place]
                    assert client.decrypt(client.encrypt(key, data).ciphertext).plaintext == data
                except errors.StrongroomError as failure:
                    failures.append(failure)
                done[place] += 1

        threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        for number in range(4):
            time.sleep(1.5)
            workers = own_daemon.workers()
            os.kill(workers[number % len(workers)], signal.SIGKILL)
        time.sleep(1.0)
        stop.set()
        for thread in threads:
            thread.join(30)

    assert failures == []
    assert all(count > 50 for count in done)
