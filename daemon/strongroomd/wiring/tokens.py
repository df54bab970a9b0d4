"""Joining further tokens to the main one, without which nothing can be believed and which is open already."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from strongroomd.config import Settings, TokenPlan, WorkerPlace, token_plans
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.further import FurtherToken
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.renewals import Renewals
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.vaults import Vaults
from strongroomd.ports import Store
from strongroomd.telemetry import logs
from strongroomd.wiring import rooms
from strongroomd.wiring.meters import HsmMetrics

FIRST_TRY_SECONDS: Final = 3.0  # a worker waits so long for further tokens before it serves without them
_log = logs.get("wiring")


def records_in(token: str, house: Iterable[HouseRecord]) -> list[HouseRecord]:
    """Pick the house records of one token."""
    return [record for record in house if record.token == token]


def house_names(house: Iterable[HouseRecord], ledger: Ledger) -> set[str]:
    """Name the main token's house records: those that the store has, and those that it should have."""
    of_main = {
        name for name in ledger.known(HouseRecord) if name.count("/") == 1
    }  # others end in a token's name
    return of_main | {record.record_id for record in house}


async def further_house(store: Store, ledger: Ledger) -> list[HouseRecord]:
    """Read the house records of all further tokens; what cannot be believed is left out."""
    found = []
    for stored in await store.all(HouseRecord):
        if stored.record.token == MAIN:
            continue
        try:
            found.append(await ledger.verify(stored))
        except StrongroomError as error:
            _log.error("house record not verified", token=stored.record.token, detail=error.detail)
    return found


async def join_tokens(
    settings: Settings,
    place: WorkerPlace,
    main: TokenVault,
    mains: Iterable[HouseRecord],
    store: Store,
    ledger: Ledger,
    observers: dict[str, HsmMetrics],
) -> TokenVault | Vaults:
    """Give the vault of all tokens: the main one's own where there is no other and never was.

    Args:
        settings: name the tokens.
        place: the worker's, with the PINs that came by descriptor.
        main: the main token's vault.
        mains: its house records, verified.
        store: has the house records.
        ledger: verifies them, started.
        observers: one for each configured token.
    """
    house = await further_house(store, ledger)
    plans = token_plans(settings)[1:]
    if not plans and not house:
        return main

    async def read(token: str) -> list[HouseRecord]:
        return records_in(token, await further_house(store, ledger))

    further = [
        FurtherToken(
            known,
            pin_reader(settings, plan, place),
            partial(read, plan.name),
            observers[plan.name],
            Renewals(plan.state / f"renewed-{plan.name}-{place.index}"),
        )
        for plan in plans
        if (known := _known(settings, place, plan)) is not None
    ]
    vaults = Vaults(main, further, [*mains, *house])
    await _first_try(further)
    return vaults


def _known(settings: Settings, place: WorkerPlace, plan: TokenPlan) -> HsmSettings | None:
    """Settle a token's settings; None where a file of its own is amiss: no worker shall fail of that."""
    try:
        return rooms.hsm_settings(settings, plan, wary=place.wary)
    except StrongroomError as error:
        _log.error("token left out", token=plan.name, detail=error.detail or error.message)
        return None


async def _first_try(further: Iterable[FurtherToken]) -> None:
    """Open what is there; what takes its time goes on meanwhile."""
    tasks = [asyncio.create_task(token.tend()) for token in further]
    if tasks:
        await asyncio.wait(tasks, timeout=FIRST_TRY_SECONDS)


def pin_reader(settings: Settings, plan: TokenPlan, place: WorkerPlace) -> Callable[[], Pin]:
    """Read a further token's PIN each time anew, but from a descriptor once.

    That is the one that the supervisor passed on: the configuration's number means another file here.
    """
    if plan.pin_fd is None:
        return lambda: rooms.pin_source(settings, None, plan).read()
    inherited = place.token_pin_fds.get(plan.name)
    if inherited is None:
        return _no_pin
    try:
        pin = rooms.pin_source(settings, inherited, plan).read()
    except StrongroomError as error:
        return partial(_bad_pin, error)
    return lambda: pin


def _bad_pin(error: StrongroomError) -> Pin:
    raise StrongroomError(error.reason, error.message, field=error.field, detail=error.detail)


def _no_pin() -> Pin:
    detail = "its PIN comes by a descriptor that was not there when the daemon started: restart it"
    raise StrongroomError(Reason.CONFIGURATION, field="hsm.tokens", detail=detail)
