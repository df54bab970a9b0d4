"""House keys that are replaced while a backup is made: what is saved belongs together, or nothing is saved."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.commands import command
from tests.harness import Daemon, running
from tests.houses import House, make_house, told

from strongroom import Client

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
WAYS = {
    "a KEK between token and store": ("backup.2", "kek-sealed"),
    "the checkpoint key between store and audit log": ("backup.3", "checkpoint"),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return make_house(tmp_path_factory.mktemp("rotations") / "house")


@pytest.fixture(scope="module")
def daemon(house: House) -> Iterator[Daemon]:
    with running(house.folder) as daemon:
        yield daemon


def rotating(client: Client, role: str, times: int) -> tuple[Callable[[], None], list[str]]:
    """Replace a house key, so many times at most; make a key under a KEK, have a checkpoint key sign."""
    made: list[str] = []

    def work() -> None:
        if len(made) < times:
            client.rotate_house_key(role)
            made.append(client.create_key().key_id)
            if role == "checkpoint":
                time.sleep(1.5)  # it signs each second

    return work, made


@pytest.mark.parametrize(("step", "role"), WAYS.values(), ids=WAYS)
def test_a_set_whose_house_changed_meanwhile_is_restored_whole(
    house: House, daemon: Daemon, tmp_path: Path, step: str, role: str
) -> None:
    with daemon.client(timeout=30.0) as client:
        work, made = rotating(client, role, times=1)

        saved = house.backup(meanwhile=(step, work))

        keys = client.list_keys().items
    assert len(made) == 1
    report = told(house.restore(saved, house.target(tmp_path / "target")))
    assert report["path"] == "token copy"
    assert (report["wrong"], report["missing"]) == ([], [])
    assert report["keys"] == {"WRAPPED": len(keys)}
    shutil.rmtree(house.sets)


def test_there_is_no_set_while_there_is_no_end_of_it(house: House, daemon: Daemon) -> None:
    with daemon.client(timeout=30.0) as client:
        work, made = rotating(client, "kek-sealed", times=10)

        done = command("backup", "--config", str(house.config), meanwhile=("backup.2", work))

    assert done.returncode != 0
    assert "STORE_UNAVAILABLE" in done.stderr
    assert "house keys" in done.stderr
    assert len(made) == 3
    assert list(house.sets.glob("*Z-*")) == []
    assert not (house.state / "backup.staging").exists()
