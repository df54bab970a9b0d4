"""What may be killed, step by step: scenarios for the processes of mortals.py.

Each prepares something, acts, and is killed at a step of that; in the next process, as the worker that comes after it,
it repeats what a caller repeats, and looks.
"""

from abc import ABC, abstractmethod
from typing import Any

from tests.faults.core import Core
from tests.faults.test_imports import NEVER, NEW, bring, external, parameters, refused, seal, state_of, unseal
from tests.imports import wrapped

from strongroomd.custody.births import INTENT_GRACE_MS
from strongroomd.custody.materials import NewMaterial
from strongroomd.domain.errors import Reason
from strongroomd.domain.importing import WrappingAlgorithm
from strongroomd.domain.records import (
    CustodyMode,
    KeyRecord,
    KeyState,
    VersionRecord,
)
from strongroomd.domain.rotations import RotationType

MATERIAL, SECOND = b"\x21" * 32, b"\x22" * 32
OAEP = WrappingAlgorithm.RSAES_OAEP_SHA_1
AGAIN = "the same request"
State = dict[str, Any]


class Scenario(ABC):
    """One action, as the process that dies in it and the one after it see it.

    Attributes:
        own_pairs: it makes wrapping pairs, and does not take the one that is there.
    """

    own_pairs = False

    @abstractmethod
    async def prepare(self, core: Core) -> State:
        """Do what comes before; what it gives is plain JSON."""

    @abstractmethod
    async def act(self, core: Core, state: State) -> None:
        """Do what is killed."""

    @abstractmethod
    async def check(self, core: Core, state: State, step: str) -> None:
        """Repeat what a caller repeats; see that it happened, once and as a whole."""


async def key_of(core: Core, state: State) -> KeyRecord:
    found = await core.ledger.read(KeyRecord, state["key"])
    assert found is not None
    return found


async def numbers(core: Core, key: KeyRecord) -> list[int]:
    return [v.version for v in (await core.keys.versions(core.caller(), key.key_id)).versions]


class Rotation(Scenario):
    """RotateKey of a key that is made here."""

    def __init__(self, mode: CustodyMode) -> None:
        self.mode = mode

    async def prepare(self, core: Core) -> State:
        key = await core.create(self.mode)
        return {"key": key.key_id, "sealed": (await seal(core, key)).hex()}

    async def act(self, core: Core, state: State) -> None:
        await core.keys.rotate(core.caller(), state["key"], request_id=AGAIN)

    async def check(self, core: Core, state: State, step: str) -> None:
        rotated = await core.keys.rotate(core.caller(), state["key"], request_id=AGAIN)
        assert len(await numbers(core, rotated)) == 2
        assert rotated.current_version == (await numbers(core, rotated))[-1]
        current = await core.ledger.read(VersionRecord, f"{rotated.key_id}/{rotated.current_version}")
        assert current is not None
        assert current.rotation is RotationType.ON_DEMAND
        assert await unseal(core, rotated, bytes.fromhex(state["sealed"]), 1) == b"plaintext"
        await core.use(rotated.key_id)
        core.clock.pass_time(INTENT_GRACE_MS / 1000 + 60)
        await core.upkeep.settle()
        await core.upkeep.reconcile()
        residents = len(await core.vault.list_resident())
        assert residents == (2 if self.mode is CustodyMode.RESIDENT else 0), "what is half made is gone"


class Parameters(Scenario):
    """GetParametersForImport."""

    own_pairs = True

    async def prepare(self, core: Core) -> State:
        return {"key": (await external(core)).key_id}

    async def act(self, core: Core, state: State) -> None:
        await parameters(core, await key_of(core, state), request_id=AGAIN)

    async def check(self, core: Core, state: State, step: str) -> None:
        key = await key_of(core, state)
        given = await parameters(core, key, request_id=AGAIN)
        assert len(core.rows("SELECT * FROM wrapping_pairs")) == 1
        assert (await bring(core, key, MATERIAL, given)).version == 1
        await refused(bring(core, key, MATERIAL, given), Reason.INVALID_IMPORT_TOKEN)


class Import(Scenario):
    """ImportKeyMaterial, which is repeated, or given up by its caller."""

    def __init__(self, *, repeated: bool) -> None:
        self.repeated = repeated

    async def prepare(self, core: Core) -> State:
        key = await external(core)
        given = await parameters(core, key)
        sent = wrapped(MATERIAL, OAEP, given.pair.public_key)
        return {"key": key.key_id, "token": given.token.hex(), "sent": sent.hex()}

    async def act(self, core: Core, state: State) -> None:
        await self._bring(core, state)

    async def check(self, core: Core, state: State, step: str) -> None:
        key = await key_of(core, state)
        if not self.repeated:
            assert await state_of(core, key) is KeyState.PENDING_IMPORT
            assert core.rows("SELECT * FROM versions") == core.rows("SELECT * FROM materials") == []
        assert (await self._bring(core, state)).version == 1
        assert await state_of(core, key) is KeyState.ENABLED
        await core.use(key.key_id)
        await refused(self._bring(core, state, "another request"), Reason.INVALID_IMPORT_TOKEN)
        assert await numbers(core, key) == [1]

    @staticmethod
    async def _bring(core: Core, state: State, request_id: str = AGAIN) -> Any:
        wanted = NewMaterial(bytes.fromhex(state["token"]), bytes.fromhex(state["sent"]), NEVER)
        return await core.materials.import_material(core.caller(), state["key"], wanted, request_id)


class Imported(Scenario):
    """What comes after an import: a key with its material."""

    async def prepare(self, core: Core) -> State:
        key = await external(core)
        await bring(core, key, MATERIAL, days=self.days)
        return {"key": key.key_id, "sealed": (await seal(core, key)).hex()}

    days = 0.0


class Deletion(Imported):
    """DeleteImportedKeyMaterial."""

    async def act(self, core: Core, state: State) -> None:
        await core.materials.delete(core.caller(), state["key"], request_id=AGAIN)

    async def check(self, core: Core, state: State, step: str) -> None:
        gone = await core.materials.delete(core.caller(), state["key"], request_id=AGAIN)
        assert gone.state is await state_of(core, gone) is KeyState.PENDING_IMPORT
        (row,) = core.rows("SELECT blob, recovery_blob FROM versions")
        assert row == {"blob": b"", "recovery_blob": b""}
        await bring(core, gone, MATERIAL)
        assert await unseal(core, gone, bytes.fromhex(state["sealed"])) == b"plaintext"


class Expiry(Imported):
    """Upkeep takes material away whose time is over."""

    days = 0.01  # a quarter of an hour: within what a clock may move at once

    async def act(self, core: Core, state: State) -> None:
        core.clock.pass_time(1_000)
        await core.upkeep.settle()

    async def check(self, core: Core, state: State, step: str) -> None:
        await self.act(core, state)
        key = await key_of(core, state)
        assert await state_of(core, key) is KeyState.PENDING_IMPORT
        await bring(core, key, MATERIAL)
        assert await unseal(core, key, bytes.fromhex(state["sealed"])) == b"plaintext"


class Turn(Imported):
    """RotateKey of an imported key."""

    async def prepare(self, core: Core) -> State:
        state = await super().prepare(core)
        await bring(core, await key_of(core, state), SECOND, kind=NEW)
        return state

    async def act(self, core: Core, state: State) -> None:
        await core.keys.rotate(core.caller(), state["key"], request_id=AGAIN)

    async def check(self, core: Core, state: State, step: str) -> None:
        rotated = await core.keys.rotate(core.caller(), state["key"], request_id=AGAIN)
        assert rotated.current_version == 2
        rows = core.rows("SELECT state, rotation FROM versions ORDER BY version")
        assert [(row["state"], row["rotation"]) for row in rows] == [("ACTIVE", ""), ("ACTIVE", "ON_DEMAND")]
        assert await unseal(core, rotated, bytes.fromhex(state["sealed"]), 1) == b"plaintext"
        await core.use(rotated.key_id, 2)
