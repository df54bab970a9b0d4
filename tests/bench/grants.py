"""Many grants against none: the start of a daemon, and decisions of callers with and without grants.

Of the grants, all of one key, a fifth lend to one principal, each under an encryption context of its own; the
others lend to a principal each.
"""

import asyncio
import dataclasses
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import rig
from tests.bench.keys import ACCOUNT, records

AT_ONCE = 1_000
CALLS = 20_000
CROWDED = f"arn:aws:iam::{ACCOUNT}:user/crowded"
STRANGER = f"arn:aws:iam::{ACCOUNT}:user/stranger"
FRIEND = f"arn:aws:iam::{ACCOUNT}:user/admin"


def run(folder: Path, *, rounds: int, grants: int) -> None:
    """Print the figures."""
    empty, full = (folder / name for name in ("empty", "full"))
    for place in (empty, full):
        place.mkdir()
    configs = [rig.found(empty, 1), rig.found(full, 1)]
    measure = [sys.executable, "-m", "tests.bench.grants", str(configs[1]), str(grants), str(rounds)]
    subprocess.run(measure, check=True)
    starts: list[list[float]] = [[], []]
    for _ in range(min(rounds, 3)):
        for config, times in zip(configs, starts, strict=True):
            begun = time.perf_counter()
            with rig.daemon(config):
                times.append(time.perf_counter() - begun)
    for number, times in zip((0, grants), starts, strict=True):
        print(f"daemon ready with {number} grants, s: {rig.spread(times)}  aim 5")


async def _measure(config: Path, grants: int, rounds: int) -> None:  # noqa: PLR0915 - one run, step by step
    from strongroomd import config as configuration
    from strongroomd.custody import bringing
    from strongroomd.custody.catalog import Catalog
    from strongroomd.custody.clock import Clock
    from strongroomd.custody.judging import Judge, Nobody
    from strongroomd.custody.ledger import Ledger
    from strongroomd.custody.lending import Lending
    from strongroomd.domain.actions import Action
    from strongroomd.domain.algorithms import KeySpec, KeyUsage
    from strongroomd.domain.context import parse_context
    from strongroomd.domain.principals import Caller, Principal
    from strongroomd.domain.records import GrantRecord, HouseRecord
    from strongroomd.hsm.opening import open_vault
    from strongroomd.storage.store import open_store
    from strongroomd.wiring import rooms

    settings = configuration.load(config)
    store = open_store(rooms.store_settings(settings))
    house = [stored.record for stored in await store.all(HouseRecord)]
    vault = open_vault(rooms.hsm_settings(settings), rooms.pin_source(settings).read(), house)
    ledger = Ledger(store, vault)
    await ledger.start()
    keys = []
    for _ in range(2):
        made = await records(vault, KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT)
        keys.append(made[0].record_id)
        async with ledger.change() as change:
            for record in made:
                await change.put(record)
    plain = GrantRecord(
        keys[1], ACCOUNT, "", "", "", FRIEND, "Encrypt", "", (), "", "", "", "", 0
    )  # fmt: skip
    for start in range(0, grants, AT_ONCE):
        async with ledger.change() as change:
            for number in range(start, min(start + AT_ONCE, grants)):
                await change.put(_grant(plain, number))

    begun, busy = time.perf_counter(), time.process_time()
    reborn = Ledger(store, vault)
    await reborn.follow()
    lending = Lending(reborn)
    print(
        f"journal and grants read by a new worker, s: {time.perf_counter() - begun:.2f}, of CPU: {time.process_time() - busy:.2f}"
    )
    catalog = Catalog(reborn, vault, rooms.realm(settings))
    judge = Judge(Clock(), catalog, Nobody(), lending)
    few, many = [await catalog.entry(key) for key in keys]

    async def decide(entry: Any, arn: str, context: dict[str, str]) -> bool:
        caller = Caller(Principal(arn, ACCOUNT), "", 0.0)
        settled = judge.recall(entry, caller, Action.ENCRYPT)
        if settled is not None:
            return settled.allowed
        bring = partial(bringing.encryption, None, parse_context(context))
        return (await judge.decide(entry, caller, Action.ENCRYPT, bring)).allowed

    nothing: dict[str, str] = {}
    for title, arn, context, allowed in (
        ("a user of the key policy", FRIEND, nothing, True),
        ("a stranger, refused", STRANGER, nothing, False),
    ):
        ratios, times = [], []
        for _ in range(rounds):
            base = await _timed(partial(decide, few, arn, context), allowed)
            times.append(await _timed(partial(decide, many, arn, context), allowed))
            ratios.append(times[-1] / base)
        print(f"decision, {title}, us: {rig.spread(times)}; over no grants: {rig.spread(ratios)}  aim 1.2")
    begun, busy = time.perf_counter(), time.process_time()
    assert await decide(many, CROWDED, {"volume": "0"})
    print(
        f"first decision of a principal with {grants // 5} grants, s: {time.perf_counter() - begun:.2f}, of CPU: {time.process_time() - busy:.2f}"
    )
    for title, arn, context in (
        ("a grantee of one grant", f"{STRANGER}1", nothing),
        (f"a grantee of {grants // 5} grants", CROWDED, {"volume": "0", "more": "x"}),
    ):
        times = [await _timed(partial(decide, many, arn, context), True) for _ in range(rounds)]
        print(f"decision, {title}, us: {rig.spread(times)}")
    vault.close()
    await store.close()


def _grant(plain: Any, number: int) -> Any:
    crowded = number % 5 == 0
    return dataclasses.replace(
        plain,
        grant_id=f"{number:064x}",
        grantee=CROWDED if crowded else f"{STRANGER}{number}",
        constraint_type="EncryptionContextSubset" if crowded else "",
        context=(("volume", str(number)),) if crowded else (),
    )


async def _timed(decide: Callable[[], Awaitable[bool]], allowed: bool) -> float:
    """The microseconds of CPU of one decision, which others on the machine do not change much."""
    assert await decide() is allowed
    begun = time.process_time()
    for _ in range(CALLS):
        await decide()
    return (time.process_time() - begun) / CALLS * 1e6


if __name__ == "__main__":
    asyncio.run(_measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
