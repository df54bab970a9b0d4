"""Kills, each in processes of its own: `python -m tests.faults.mortals`.

One process is killed at a step of a scenario (scenarios.py, housescenarios.py), another looks what it left. Each is a
fork of one process that has loaded everything and no PKCS#11 module: it opens store and token as a worker does, in a
tenth of a second. Token, store and one wrapping pair are made once, and copied for each kill.

Reads a JSON line for each kill, `folder` (empty), `scenario` and `step`, and answers with one: the exit codes of both
(negative for a signal), and what they said.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

from tests.faults.core import Core, make_core
from tests.faults.housescenarios import Destruction, Reseal, Rewrap, Succession
from tests.faults.scenarios import OAEP, Deletion, Expiry, Import, Parameters, Rotation, Scenario, Turn
from tests.hsmkeys import OpenedVault
from tests.softhsm import TestToken, make_token_by_tool, module_path

from strongroomd.domain.importing import WrappingKeySpec
from strongroomd.domain.keys import Anchor, WrappingPair
from strongroomd.domain.records import (
    CustodyMode,
    HouseRecord,
)
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.settings import HsmSettings
from strongroomd.ports import Vault
from strongroomd.storage import audit_log
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import open_store
from strongroomd.telemetry import failpoints

SCENARIOS: dict[str, Scenario] = {
    "rotation, wrapped": Rotation(CustodyMode.WRAPPED),
    "rotation, resident": Rotation(CustodyMode.RESIDENT),
    "parameters": Parameters(),
    "import": Import(repeated=True),
    "import, given up": Import(repeated=False),
    "deletion of material": Deletion(),
    "expiry of material": Expiry(),
    "rotation, imported": Turn(),
    "succession": Succession(),
    "re-wrap": Rewrap(),
    "reseal": Reseal(),
    "destruction": Destruction(),
}


def token_of(folder: Path) -> TestToken:
    """Make the folder's token, or find it again."""
    pin = folder / "pin"
    if not pin.exists():
        token = make_token_by_tool(folder / "hsm")
        pin.write_text(token.pin.reveal())
        return token
    conf, state = folder / "hsm" / "softhsm2.conf", folder / "hsm" / "state"
    settings = HsmSettings(module_path(), state, token_label="strongroom", softhsm_conf=conf)
    return TestToken(settings, Pin(pin.read_text()), Pin("unused"), "")


async def core_of(folder: Path) -> Core:
    """Open store and token, founding them if they are fresh."""
    token, database = token_of(folder), folder / "strongroom.db"
    house: list[HouseRecord] = []
    if database.exists():
        store = open_store(StoreSettings(f"sqlite:///{database}"))
        house = [stored.record for stored in await store.all(HouseRecord)]
        await store.close()
    fresh = not house
    house = house or initialise(token.settings, token.pin)
    vault = open_vault(token.settings, token.pin, house)
    core = await make_core(folder, OpenedVault(vault, token, house))
    if fresh:
        await vault.write_anchor(Anchor(core.ledger.sequence, core.ledger.head, 0, bytes(32)))
    return core


def main() -> None:
    """Serve until the input ends."""
    patch.object(
        audit_log, "DURABLE_WITHIN", 30.0
    ).start()  # as for all fault tests (conftest.py): a busy disk proves nothing here
    with tempfile.TemporaryDirectory() as made:
        template = Path(made)
        assert forked(template, lambda: found(template)) == 0, (template / "said").read_text()
        serve(template)


async def found(folder: Path) -> None:
    """Make what every kill begins with."""
    core = await core_of(folder)
    bits, deadline = WrappingKeySpec.RSA_2048, time.monotonic() + 60
    pair = await core.vault.make_wrapping_pair(bits, OAEP, deadline=deadline)
    told = {"kek_id": pair.kek_id, "blob": pair.blob.hex(), "public_key": pair.public_key.hex()}
    (folder / "pair").write_text(json.dumps(told))
    await core.close()


def copied(template: Path, folder: Path) -> None:
    """Copy the template's token and store."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    conf = folder / "hsm" / "softhsm2.conf"
    conf.write_text(conf.read_text().replace(str(template), str(folder)))


def reuse_pair(folder: Path, vault: Vault) -> None:
    """Have every import use the pair that is there: making one takes longer than all else."""
    told = json.loads((folder / "pair").read_text())
    pair = WrappingPair(told["kek_id"], bytes.fromhex(told["blob"]), bytes.fromhex(told["public_key"]))

    async def make(*_: object, **__: object) -> WrappingPair:
        return pair

    patch.object(type(vault), "make_wrapping_pair", make).start()


def serve(template: Path) -> None:
    for line in sys.stdin:
        job = json.loads(line)
        folder, scenario = Path(job["folder"]), SCENARIOS[job["scenario"]]
        copied(template, folder)
        died = forked(folder, lambda: begin(folder, scenario, job["step"]))  # noqa: B023 - called at once
        checked = forked(folder, lambda: finish(folder, scenario, job["step"]))  # noqa: B023 - likewise
        said = (folder / "said").read_text()
        sys.stdout.write(json.dumps({"died": died, "checked": checked, "said": said}) + "\n")
        sys.stdout.flush()


def forked(folder: Path, work: Callable[[], Awaitable[None]]) -> int:
    """Do something in a process of its own; gives how it ended."""
    child = os.fork()
    if child == 0:
        be(folder, work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def be(folder: Path, work: Callable[[], Awaitable[None]]) -> NoReturn:
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    code = 1
    try:
        asyncio.run(_awaited(work))
        code = 0
    except BaseException:  # noqa: BLE001 - told as any program's end is
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def opened(folder: Path, scenario: Scenario) -> Core:
    """Open a folder's store and token."""
    core = await core_of(folder)
    if not scenario.own_pairs:
        reuse_pair(folder, core.vault)
    return core


async def begin(folder: Path, scenario: Scenario, step: str) -> None:
    """Be killed at a step of a scenario."""
    core = await opened(folder, scenario)
    state = await scenario.prepare(core)
    (folder / "state").write_text(json.dumps(state))
    failpoints.arm(lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == step else None)
    await scenario.act(core, state)
    raise AssertionError(f"{step} was not reached")


async def finish(folder: Path, scenario: Scenario, step: str) -> None:
    """Be the process after it."""
    core = await opened(folder, scenario)
    await scenario.check(core, json.loads((folder / "state").read_text()), step)
    await core.close()


if __name__ == "__main__":
    main()
