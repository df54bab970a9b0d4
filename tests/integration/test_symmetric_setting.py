"""A daemon whose symmetric keys are AES-GCM: made, used, evicted, restarted, rotated, and the setting changed."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Daemon, make_folder, refused, running, wait_until

from strongroom import Client
from strongroomd.domain.envelope import Format, parse

pytestmark = [pytest.mark.daemon, pytest.mark.slow]

GCM, XAES = Format.AES_256_GCM, Format.XAES_256_GCM
CONTEXT = {"tenant": "blue"}


def set_to(symmetric: str) -> str:
    return f'[hsm]\nhandles = 2\nsymmetric = "{symmetric}"'


@dataclass
class Life:
    """A daemon and what it wrote so far."""

    daemon: Daemon
    written: list[tuple[bytes, bytes, dict[str, str]]] = field(default_factory=list)

    def write(self, client: Client, key: str, form: Format, plaintext: bytes = b"plaintext") -> bytes:
        """Encrypt in some of the ways there are; every ciphertext must have the format."""
        many = client.encrypt_many(key, [plaintext] * 3)
        with client.stream() as stream:
            streamed = stream.encrypt(key, plaintext).result()
        data_key = client.generate_data_key(key, number_of_bytes=32, context=CONTEXT)
        first = client.encrypt(key, plaintext, context=CONTEXT).ciphertext
        moved = client.re_encrypt(first, key, source_context=CONTEXT).ciphertext
        self.written += [
            (first, plaintext, CONTEXT),
            (moved, plaintext, {}),
            (streamed.ciphertext, plaintext, {}),
            (data_key.ciphertext, data_key.plaintext, CONTEXT),
            *((item.ciphertext, plaintext, {}) for item in many),  # type: ignore[union-attr]
        ]
        assert {parse(ciphertext).format for ciphertext, _, _ in self.written[-7:]} == {form}
        return first

    def all_open(self, client: Client) -> None:
        for ciphertext, plaintext, context in self.written:
            assert client.decrypt(ciphertext, context=context).plaintext == plaintext

    def change(self, before: str, after: str) -> None:
        """Stop, change the setting, and start again."""
        self.daemon.stop()
        config = self.daemon.config
        config.write_text(config.read_text().replace(set_to(before), set_to(after)))
        self.daemon.start()

    def schemes(self, key: str) -> list[str]:
        with sqlite3.connect(self.daemon.folder / "state" / "strongroom.sqlite") as connection:
            rows = connection.execute("SELECT scheme FROM versions WHERE key_id = ? ORDER BY version", (key,))
            return [scheme for (scheme,) in rows]

    def reserved(self, key: str, version: int = 1) -> int:
        with sqlite3.connect(self.daemon.folder / "state" / "strongroom.sqlite") as connection:
            rows = connection.execute(
                "SELECT reserved FROM invocations WHERE record_id = ?", (f"{key}/{version}",)
            ).fetchall()
            return int(rows[0][0]) if rows else 0


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    folder = tmp_path / "gcm"
    folder.mkdir()
    made = make_folder(folder, 2, lambda text: text.replace("[hsm]", set_to("aes-gcm")))
    with running(made) as daemon:
        yield Life(daemon)


def test_keys_of_both_schemes_live_through_restarts_rotations_and_changes_of_the_setting(life: Life) -> None:
    places: list[dict[str, Any]] = [{}, {"exportable": True}, {"custody_mode": "RESIDENT"}]
    with life.daemon.client(timeout=30.0) as client:
        keys = [client.create_key(**place).key_id for place in places]
        assert [life.schemes(key) for key in keys] == [["AES_GCM"]] * 3
        for _ in range(2):  # with two handles, each key pushes another out
            for key in keys:
                life.write(client, key, GCM)
        life.all_open(client)
        with refused("INVALID_CIPHERTEXT"):
            client.decrypt(life.written[0][0], context={"tenant": "red"})

    life.daemon.stop()
    life.daemon.start()
    with life.daemon.client(timeout=30.0) as client:
        life.all_open(client)
        for key in keys:
            life.write(client, key, GCM)
            client.rotate_key(key)
            life.write(client, key, GCM)
            assert life.schemes(key) == ["AES_GCM", "AES_GCM"]

    life.change("aes-gcm", "auto")
    with life.daemon.client(timeout=30.0) as client:
        life.all_open(client)
        for key in keys:
            life.write(client, key, GCM)  # the version keeps its scheme
            client.rotate_key(key)
            life.write(client, key, XAES)
            assert life.schemes(key) == ["AES_GCM", "AES_GCM", "DEFAULT"]
        born = client.create_key().key_id
        life.write(client, born, XAES)

    life.change("auto", "aes-gcm")
    with life.daemon.client(timeout=30.0) as client:
        life.all_open(client)
        life.write(client, born, XAES)
        client.rotate_key(born)
        life.write(client, born, GCM)
        assert life.schemes(born) == ["DEFAULT", "AES_GCM"]
        assert [v.ciphertext_format for v in client.list_key_versions(born).items] == [1, 2]
        signing = client.create_key(spec="ECC_NIST_P256", usage="SIGN_VERIFY").key_id
        assert [v.ciphertext_format for v in client.list_key_versions(signing).items] == [0]
        life.all_open(client)
        assert "strongroom_invocation_blocks_total" in life.daemon.metrics()
        # The elected worker looks every ten seconds, and after a restart waits for the lease to end.
        wait_until(lambda: 'strongroom_worn_keys{percent="80"} 0.0' in life.daemon.metrics(), 40)


def test_workers_reserve_blocks_and_a_kill_loses_only_the_rest_of_them(life: Life) -> None:
    with life.daemon.client(timeout=30.0) as client:
        key = client.create_key().key_id
        life.write(client, key, GCM)
    before = life.reserved(key)
    life.daemon.kill()
    life.daemon.start()
    with life.daemon.client(timeout=30.0) as client:
        life.all_open(client)
        life.write(client, key, GCM)

    after = life.reserved(key)
    assert before > 1
    assert (before - 1) % 65_536 == (after - 1) % 65_536 == 0
    assert after > before
