"""Adopted keys at a daemon: by the command line and the SDK, at every worker, across a restart."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Daemon, Shell, make_folder, refused, running, wait_until
from tests.theirs import at_token, plant_in

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.retry import RetryPolicy

pytestmark = pytest.mark.daemon
ONCE = RetryPolicy(max_attempts=1)


def works(client: Client, key: str, sealed: bytes) -> bool:
    """Whether a key encrypts, and opens what it sealed before."""
    with suppress(StrongroomError):
        client.encrypt(key, b"x")
        return client.decrypt(sealed).plaintext == b"plaintext"
    return False


def test_the_command_line_adopts_reports_and_leaves_the_object_as_it_was(
    daemon: Daemon, admin: Client, shell: Shell
) -> None:
    first, second = f"theirs-{uuid.uuid4().hex}", f"theirs-{uuid.uuid4().hex}"
    cka_id, alias = uuid.uuid4().hex, f"alias/{uuid.uuid4()}"
    plants = [
        ("plant", {"label": first, "EXTRACTABLE": True, "uses": ["ENCRYPT", "DECRYPT", "WRAP"]}),
        ("plant", {"label": second, "cka_id": cka_id}),
    ]
    *_, before, before_too = at_token(daemon.folder, *plants, ("look", first), ("look", second))

    adopted = shell("--json", "key", "adopt", "--label", first, "--alias", alias, "--tag", "team=blue")
    assert adopted.returncode == 0, adopted.stderr
    made: dict[str, Any] = json.loads(adopted.stdout)
    sealed = admin.encrypt(alias, b"plaintext").ciphertext
    next_ = shell("--json", "key", "adopt", "--cka-id", cka_id, "--key", alias)
    assert next_.returncode == 0, next_.stderr
    with refused("ALREADY_EXISTS"):
        admin.adopt_key(label=first)
    with refused("INVALID_KEY_STATE"):
        admin.rotate_key(alias)
    described = admin.describe_key(alias).adopted_object

    assert (made["custody_mode"], made["origin"], made["exportable"]) == (
        "ADOPTED",
        "EXTERNAL_KEY_STORE",
        False,
    )
    found = made["adopted_object"]
    assert (found["label"], found["spec"], found["extractable"], found["never_extractable"], found["proved"]) == (
        first, "AES_256", True, False, True,
    )  # fmt: skip
    assert found["uses"] == ["ENCRYPT", "DECRYPT", "WRAP"]
    assert any("extractable" in text for text in found["warnings"])
    assert json.loads(next_.stdout)["adopted_object"]["cka_id"] == cka_id
    assert described is not None
    assert (described.cka_id, described.label, described.extractable) == (cka_id, second, False)
    assert admin.decrypt(sealed).plaintext == b"plaintext"
    versions = admin.list_key_versions(alias).items
    assert [v.adopted_object and v.adopted_object.label for v in versions] == [first, second]
    assert at_token(daemon.folder, ("look", first), ("look", second)) == [before, before_too]


def test_two_workers_use_one_object_and_a_stranger_adopts_nothing(
    daemon: Daemon, admin: Client, service: Client
) -> None:
    label = plant_in(daemon.folder)
    with refused("ACCESS_DENIED"):
        service.adopt_key(label=label)
    key = admin.adopt_key(label=label).key_id

    def round_trip(_: int) -> bytes:
        with daemon.client("admin", timeout=30.0) as client:
            return client.decrypt(client.encrypt(key, b"x").ciphertext).plaintext

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(round_trip, range(12))) == {b"x"}


@pytest.mark.slow
def test_an_adopted_key_works_after_a_restart_and_only_while_its_object_is_there(tmp_path: Path) -> None:
    with running(make_folder(tmp_path, workers=1)) as own_daemon:
        comes_and_goes(own_daemon)


def comes_and_goes(own_daemon: Daemon) -> None:
    value = uuid.uuid4().hex * 2
    label = plant_in(own_daemon.folder, value=value)
    with own_daemon.client("admin", timeout=30.0, retry=ONCE) as admin:
        key, other = admin.adopt_key(label=label).key_id, admin.create_key().key_id
        sealed = admin.encrypt(key, b"plaintext").ciphertext

    assert own_daemon.stop() == 0
    own_daemon.start()
    with own_daemon.client("admin", timeout=30.0, retry=ONCE) as admin:
        assert works(admin, key, sealed)

        assert at_token(own_daemon.folder, ("destroy", label)) == [1]
        with refused("KEY_UNAVAILABLE"):
            admin.decrypt(sealed)
        assert admin.encrypt(other, b"x").ciphertext

        plant_in(own_daemon.folder, label, value=uuid.uuid4().hex * 2)  # another key of the same name
        with refused("KEY_UNAVAILABLE"):
            admin.decrypt(sealed)

        at_token(own_daemon.folder, ("destroy", label), ("plant", {"label": label, "value": value}))
        wait_until(lambda: works(admin, key, sealed), 10)
