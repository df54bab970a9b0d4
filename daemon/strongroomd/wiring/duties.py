"""What the elected worker does without being called: for keys, for the house's own keys, for requests."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from strongroomd.custody.approvalupkeep import ApprovalUpkeep
from strongroomd.custody.destructions import Certifier
from strongroomd.custody.diary import Diary
from strongroomd.custody.houseupkeep import HouseUpkeep
from strongroomd.custody.rewrapper import Rewrapper
from strongroomd.custody.rotation import Rotation
from strongroomd.custody.upkeep import Upkeep
from strongroomd.wiring.ground import Ground
from strongroomd.wiring.meters import RewrapMetrics, UpkeepMetrics, WearMetrics

Believed = Callable[[], Awaitable[bool]]
"""Says whether the wall clock may be acted upon."""


@dataclass(frozen=True, slots=True)
class HouseTasks:
    """What is done for the house's own keys."""

    upkeep: HouseUpkeep
    rewrapper: Rewrapper


@dataclass(frozen=True, slots=True)
class Duties:
    """The tasks. `upkeep` also knows who is elected."""

    upkeep: Upkeep
    rotation: Rotation
    house: HouseTasks
    approvals: ApprovalUpkeep
    certifier: Certifier


def build_duties(ground: Ground, holder: str) -> Duties:
    """Build the tasks; `holder` names this worker, as it stands for election."""
    upkeep = _upkeep(ground, holder)
    believed = upkeep.clock_believed
    return Duties(
        upkeep,
        _rotation(ground, believed),
        _house(ground),
        ApprovalUpkeep(ground.control, ground.store, _diary(ground), believed),
        _certifier(ground),
    )


def _upkeep(ground: Ground, holder: str) -> Upkeep:
    rim, meter = ground.rim, UpkeepMetrics(ground.metrics)
    return Upkeep(
        ground.ledger,
        ground.catalog,
        rim.store,
        rim.vault,
        rim.audit,
        rim.trail,
        ground.clock,
        meter,
        holder,
        rim.checkpoint_key,
    )


def _rotation(ground: Ground, believed: Believed) -> Rotation:
    return Rotation(
        ground.gate,
        ground.births,
        ground.catalog,
        ground.ledger,
        ground.store,
        WearMetrics(ground.metrics),
        ground.clock,
        believed,
        service_days=ground.settings.service_keys.rotation_days,
    )


def _house(ground: Ground) -> HouseTasks:
    ledger, rim, clock = ground.ledger, ground.rim, ground.clock
    meter, moved = UpkeepMetrics(ground.metrics), RewrapMetrics(ground.metrics)
    return HouseTasks(
        HouseUpkeep(ledger, rim.store, rim.vault, rim.audit, clock, meter),
        Rewrapper(ledger, rim.store, rim.vault, rim.audit, clock, moved, asyncio.sleep),
    )


def _certifier(ground: Ground) -> Certifier:
    rim = ground.rim
    return Certifier(
        ground.ledger, ground.catalog, rim.store, rim.vault, rim.trail, ground.notary, _diary(ground)
    )


def _diary(ground: Ground) -> Diary:
    return Diary(ground.ledger, ground.catalog, ground.rim.audit)
