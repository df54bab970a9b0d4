"""ops/runbooks/ReplicateKey.md, run as it stands: two houses get to know each other, and one key is in both."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.people import Cast
from tests.regions import THERE, Houses

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

RUNBOOK = Path(__file__).parents[2] / "ops" / "runbooks" / "ReplicateKey.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
(PAIR, STATE, ASK, ADD, CREATE, BRING, ACKNOWLEDGE, SYNC, LOOK, PROMOTE, ASK_LOST, MOVE) = BLOCKS


class Desk:
    """A folder in which administrators of both houses run what stands in the runbook."""

    def __init__(self, houses: Houses, folder: Path) -> None:
        self.houses = houses
        self.folder = folder
        (public,) = houses.there.daemon.folder.rglob("statement-public-key.pem")
        (folder / "local-2.statement.pem").write_bytes(public.read_bytes())
        (folder / "there-policy.json").write_text(houses.there.policy("bob"))
        (folder / "handover").mkdir()
        there = self.connection(houses.there)
        lines = [f'{name.removeprefix("STRONGROOM_").lower()} = "{value}"' for name, value in there.items()]
        (folder / "client.toml").write_text("[profiles.there]\n" + "\n".join(lines) + "\n")

    def connection(self, cast: Cast) -> dict[str, str]:
        tls = {f"STRONGROOM_{name.upper()}": str(path) for name, path in cast.daemon.tls("admin").items()}
        return {"STRONGROOM_ENDPOINT": cast.daemon.endpoint, "STRONGROOM_TIMEOUT": "30", **tls}

    def run(self, cast: Cast, block: str, **variables: str) -> str:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "STRONGROOM_CLIENT_CONFIG": str(self.folder / "client.toml"),
            **self.connection(cast),
            **variables,
        }
        command = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def agreed(self, cast: Cast) -> str:
        """Bob and Carol approve what was asked last."""
        waiting = cast.admin.list_approvals(own=True, page_size=1000).items
        return cast.agreed(cast.admin.describe_approval(waiting[-1].approval_id))


def test_one_key_comes_to_two_houses(houses: Houses, tmp_path: Path) -> None:
    desk = Desk(houses, tmp_path)
    here, there = houses.here, houses.there
    desk.run(there, PAIR)
    desk.run(there, STATE)
    desk.run(here, ASK)
    desk.run(here, ADD, ID=desk.agreed(here))
    assert THERE in desk.run(here, "strongroom peer list")

    desk.run(here, CREATE)
    desk.run(there, BRING)
    desk.run(here, ACKNOWLEDGE)
    key = houses.primary.describe_key("alias/orders").key_id
    sealed = houses.primary.encrypt(key, b"an order").ciphertext
    assert houses.replica.decrypt(sealed).plaintext == b"an order"

    houses.primary.rotate_key(key)
    desk.run(here, SYNC)
    assert {house.describe_key(key).current_version for house in (houses.primary, houses.replica)} == {2}
    desk.run(here, SYNC)  # once more, it changes nothing
    seen = json.loads(desk.run(here, LOOK.splitlines()[0]))
    assert seen["multi_region"]["replicas"][0]["acknowledged_version"] == 2

    desk.run(here, PROMOTE)
    assert [path.name for path in sorted((tmp_path / "handover").iterdir())] == [
        f"{THERE}.json",
        f"{THERE}.json.sig",
    ]
    desk.run(there, f"strongroom replica import handover/{THERE}.json --receipt handover/receipt.json")
    found = houses.replica.describe_key(key).multi_region
    assert found is not None
    assert found.type == "PRIMARY"


def test_a_lost_primary_is_moved(houses: Houses, tmp_path: Path) -> None:
    desk = Desk(houses, tmp_path)
    key = houses.replicated()

    desk.run(houses.there, ASK_LOST, KEY=key)
    desk.run(houses.there, MOVE, KEY=key, ID=desk.agreed(houses.there))

    found = houses.replica.describe_key(key).multi_region
    assert found is not None
    assert (found.type, found.primary_region) == ("PRIMARY", THERE)
