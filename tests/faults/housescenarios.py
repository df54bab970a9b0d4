"""What may be killed that is about the house itself: its keys, what they protect, and the end of customers' keys."""

import dataclasses

from tests.faults.core import ADMIN, Core
from tests.faults.scenarios import Scenario, State
from tests.faults.test_destruction import DAY, Rig

from strongroomd.custody.births import INTENT_GRACE_MS
from strongroomd.custody.housekeys import HouseKeys, house_records
from strongroomd.custody.houseupkeep import HouseUpkeep
from strongroomd.custody.inventory import verify_records
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.rewrapper import Rewrapper
from strongroomd.custody.rewraps import Rewraps
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.housekeys import House
from strongroomd.domain.principals import Caller
from strongroomd.domain.records import (
    CustodyMode,
    HouseState,
    KeyRecord,
    KeyState,
    RewrapState,
    VersionRecord,
    VersionState,
)


class Housed(Scenario):
    """What operators do with the daemon's own keys."""

    role = House.KEK_EXPORTABLE

    async def prepare(self, core: Core) -> State:
        wanted = NewKey(KeySpec.SYMMETRIC_DEFAULT, exportable=True)
        keys = [(await core.keys.create(core.caller(), wanted)).key_id for _ in range(3)]
        return {"keys": keys}

    async def rotate(self, core: Core) -> None:
        keys = HouseKeys(core.gate, core.mutations, core.store, core.vault)
        await keys.rotate(operator(core), self.role.value)

    async def whole(self, core: Core, state: State) -> None:
        """Every record verifies, and every key works."""
        assert await verify_records(core.ledger, core.store) > 0
        await core.ledger.recheck()
        for key in state["keys"]:
            await core.use(key)


def operator(core: Core) -> Caller:
    return dataclasses.replace(core.caller(), principal=ADMIN)


def upkeep_of(core: Core) -> HouseUpkeep:
    return HouseUpkeep(core.ledger, core.store, core.vault, core.audit, core.clock, core.meter)


class Succession(Housed):
    """RotateHouseKey: there is another key in use, or what is half made is settled."""

    async def act(self, core: Core, state: State) -> None:
        await self.rotate(core)

    async def check(self, core: Core, state: State, step: str) -> None:
        core.clock.pass_time(INTENT_GRACE_MS / 1000 + 60)
        await upkeep_of(core).settle()
        house = [r for r in await house_records(core.ledger, core.store) if r.role == self.role.value]
        made = step != "rotate-kek.1"
        assert [r.state for r in house if r.generation == 1] == [
            HouseState.ACTIVE if made else HouseState.FAILED
        ]
        await upkeep_of(core).reconcile()
        assert core.meter.found["orphan"] == 0
        await self.whole(core, {"keys": [*state["keys"], *(await self.prepare(core))["keys"]]})


class Rewrap(Housed):
    """Exportable keys move to a newer KEK."""

    async def prepare(self, core: Core) -> State:
        state = await super().prepare(core)
        await self.rotate(core)
        job = await Rewraps(core.gate, core.mutations).start(operator(core))
        return state | {"target": job.target}

    async def act(self, core: Core, state: State) -> None:
        async def at_once(_: float) -> None: ...

        moved = _Moved()
        await Rewrapper(core.ledger, core.store, core.vault, core.audit, core.clock, moved, at_once).round()

    async def check(self, core: Core, state: State, step: str) -> None:
        await self.act(core, state)
        job = await Rewraps(core.gate, core.mutations).get(operator(core))
        assert (job.state, job.total, job.rewrapped, job.failed) == (RewrapState.DONE, 3, 3, 0)
        for key in state["keys"]:
            version = await core.ledger.read(VersionRecord, f"{key}/1")
            assert version is not None
            assert (version.kek_id, version.state) == (state["target"], VersionState.ACTIVE)
        await self.whole(core, state)


class _Moved:
    def moved(self, versions: int) -> None:
        """Nobody counts here."""


class Reseal(Housed):
    """Records get MACs by a newer key."""

    role = House.ROW_MAC

    async def prepare(self, core: Core) -> State:
        state = await super().prepare(core)
        await self.rotate(core)
        return state

    async def act(self, core: Core, state: State) -> None:
        upkeep = upkeep_of(core)
        while await upkeep.reseal():
            pass

    async def check(self, core: Core, state: State, step: str) -> None:
        await self.act(core, state)
        tag = core.vault.mac_tag
        assert tag
        for table in ("keys", "versions", "house"):
            macs = [row["mac"] for row in core.rows(f"SELECT mac FROM {table}")]
            assert macs
            assert all(mac.startswith(tag) for mac in macs), table
        await self.whole(core, state)


class Destruction(Scenario):
    """Keys whose deletion is due are destroyed, with all that belongs to them, and certified."""

    async def prepare(self, core: Core) -> State:
        keys = []
        for mode in (CustodyMode.WRAPPED, CustodyMode.RESIDENT):
            key = (await core.create(mode)).key_id
            await core.aliases.create(core.caller(), f"alias/{key}", key)
            await core.keys.schedule_deletion(core.caller(), key, 7)
            keys.append(key)
        return {"keys": keys}

    async def act(self, core: Core, state: State) -> None:
        core.clock.pass_time(8 * DAY)
        await core.upkeep.settle()
        await Rig(core).certifier.certify()

    async def check(self, core: Core, state: State, step: str) -> None:
        """The successor lives eight days after the one that died, so that its clock does not go back."""
        core.clock.pass_time(8 * DAY)
        await self.act(core, state)
        for key_id in state["keys"]:
            key = await core.ledger.read(KeyRecord, key_id)
            version = await core.ledger.read(VersionRecord, f"{key_id}/1")
            assert key is not None
            assert version is not None
            assert (key.state, version.state, version.blob) == (
                KeyState.DESTROYED,
                VersionState.DESTROYED,
                b"",
            )
            assert len((await Rig(core).certificate(key_id))["versions"]) == 1
        assert core.rows("SELECT * FROM aliases") == []
        assert await core.vault.list_resident() == []
        await core.upkeep.reconcile()
        assert core.meter.found["orphan"] == core.meter.found["resurrected"] == 0
