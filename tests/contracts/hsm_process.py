"""A process that opens a vault, for tests of logging in: `python hsm_process.py FOLDER PIN ACTION`.

Prints one JSON line: the reason and detail of a refusal, or what the action gave.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from tests.hsmkeys import make
from tests.softhsm import module_path

from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.domain.records import CustodyMode, HouseRecord
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.module import load
from strongroomd.hsm.observer import Silent
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.privileges import drop_override_capability
from strongroomd.hsm.settings import HsmSettings


class Alerts(Silent):
    def __init__(self) -> None:
        self.events: list[str] = []

    def alert(self, event: str, text: str) -> None:
        self.events.append(event)


def settings_of(folder: Path) -> HsmSettings:
    return HsmSettings(
        module_path(),
        folder / "state",
        token_label="strongroom",
        softhsm_conf=folder / "softhsm2.conf",
        lock_seconds=float(os.environ.get("LOCK_SECONDS", "30")),
    )


def house_of(folder: Path) -> list[HouseRecord]:
    rows = json.loads((folder / "house.json").read_text())
    return [HouseRecord(r[0], r[1], bytes.fromhex(r[2]), bytes.fromhex(r[3])) for r in rows]


def init(folder: Path, pin: Pin) -> object:
    records = initialise(settings_of(folder), pin)
    rows = [(r.role, r.hsm_id, r.public_key.hex(), r.check_value.hex()) for r in records]
    (folder / "house.json").write_text(json.dumps(rows))
    return {"made": len(rows)}


def serve(folder: Path, pin: Pin) -> object:
    drop_override_capability()
    alerts = Alerts()
    start = time.monotonic()
    vault = open_vault(settings_of(folder), pin, house_of(folder), alerts)
    mac = asyncio.run(vault.row_mac(b"data"))
    return {
        "mac": mac.hex(),
        "alerts": alerts.events,
        "hook": load(settings_of(folder)).hook.calls,
        "seconds": time.monotonic() - start,
    }


def change(folder: Path, pin: Pin) -> object:
    """Write anchors and make resident keys beside other processes that do the same."""
    drop_override_capability()
    vault = open_vault(settings_of(folder), pin, house_of(folder))
    index = int(os.environ["INDEX"])

    async def work() -> int:
        for step in range(4):
            await vault.write_anchor(Anchor(step * 10 + index, bytes(32), 0, bytes(32)))
            await make(vault, KeySpec.HMAC_256, None, CustodyMode.RESIDENT)
        return len(await vault.list_resident())

    return {"seen": asyncio.run(work())}


def listing(folder: Path, pin: Pin) -> object:
    drop_override_capability()
    vault = open_vault(settings_of(folder), pin, house_of(folder))

    async def work() -> object:
        anchor = await vault.read_anchor()
        return {
            "resident": len(await vault.list_resident()),
            "sequence": anchor.sequence if anchor else None,
        }

    return asyncio.run(work())


def replace_anchor(folder: Path, pin: Pin) -> object:
    """Replace the anchor as often as the time allows."""
    drop_override_capability()
    vault = open_vault(settings_of(folder), pin, house_of(folder))
    end = time.monotonic() + float(os.environ["SECONDS"])

    async def work() -> int:
        written = 0
        while time.monotonic() < end:
            written += 1
            await vault.write_anchor(Anchor(1_000 + written, bytes(32), 0, bytes(32)))
        return written

    return {"written": asyncio.run(work())}


def watch_anchor(folder: Path, pin: Pin) -> object:
    """Read the anchor again and again; says how often it was not there."""
    drop_override_capability()
    vault = open_vault(settings_of(folder), pin, house_of(folder))
    end = time.monotonic() + float(os.environ["SECONDS"])

    async def work() -> dict[str, int]:
        seen = {"reads": 0, "missing": 0, "refused": 0}
        while time.monotonic() < end:
            seen["reads"] += 1
            try:
                seen["missing"] += await vault.read_anchor() is None
            except StrongroomError:
                seen["refused"] += 1
        return seen

    return asyncio.run(work())


def hold_lock(folder: Path, pin: Pin) -> object:
    with login_lock(settings_of(folder)):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(60)
    return {}


ACTIONS = {
    "init": init,
    "serve": serve,
    "hold": hold_lock,
    "change": change,
    "list": listing,
    "replace": replace_anchor,
    "watch": watch_anchor,
}


def main() -> None:
    folder, pin, action = Path(sys.argv[1]), Pin(sys.argv[2]), sys.argv[3]
    try:
        result = ACTIONS[action](folder, pin)
    except StrongroomError as error:
        result = {"reason": error.reason, "detail": error.detail}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    os._exit(0)


main()
