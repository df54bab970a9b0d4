"""Two real tokens in one process, of one module: house keys, keys of both modes, and upkeep of each alone."""

import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.faults.core import ADMIN, Core, make_core
from tests.hsmkeys import MADE, OpenedVault, plant
from tests.softhsm import TestToken, TokenFactory

from strongroomd.custody.adoptions import NewAdoption
from strongroomd.custody.keyforms import NewKey
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import (
    CustodyMode,
    HouseRecord,
    KeyRecord,
    KeyState,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.tokens import MAIN, TokenNames
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.further import FurtherToken
from strongroomd.hsm.house import open_household
from strongroomd.hsm.observer import Silent
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.renewals import Renewals
from strongroomd.hsm.vaults import Vaults

pytestmark = pytest.mark.softhsm
DAY = 86_400.0


class Watcher(Silent):
    def __init__(self) -> None:
        self.alerts: list[str] = []

    def alert(self, event: str, text: str) -> None:
        self.alerts.append(event)


@dataclass
class Second:
    """A further token, prepared and not opened yet; the test may change its PIN and its house."""

    token: TestToken
    house: list[HouseRecord]
    further: FurtherToken
    pin: Pin
    watcher: Watcher

    def objects(self, softhsm: Path) -> Path:
        """The folder of its files."""
        folders = (softhsm.parent / "tokens").iterdir()
        return next(f for f in folders if f.name.replace("-", "")[-16:] == self.token.serial)


def prepare(made: TestToken, house: list[HouseRecord]) -> Second:
    token = replace(made, settings=replace(made.settings, name="second"))

    async def read() -> Sequence[HouseRecord]:
        return prepared.house

    watcher, renewals = Watcher(), Renewals(token.settings.state / "renewed")
    further = FurtherToken(token.settings, lambda: prepared.pin, read, watcher, renewals)
    prepared = Second(token, house, further, token.pin, watcher)
    return prepared


@pytest.fixture
def second(fresh_token: TokenFactory) -> Second:
    made = fresh_token()
    return prepare(made, initialise(replace(made.settings, name="second"), made.pin))


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault, second: Second) -> AsyncIterator[Core]:
    """A core on the shared token and a second one."""
    await second.further.tend()
    vaults = Vaults(opened.vault, [second.further], [*opened.house, *second.house])
    made = await make_core(tmp_path, opened, lambda _: vaults)
    made.keys._new._tokens = TokenNames(frozenset({"second"}))
    yield made
    await made.close()
    second.further.close()


async def create(core: Core, mode: CustodyMode, token: str) -> KeyRecord:
    return await core.keys.create(core.caller(), NewKey(KeySpec.SYMMETRIC_DEFAULT, mode=mode), token=token)


async def use(core: Core, key: KeyRecord) -> None:
    """Seal and open with the newest version, through the vault of all tokens."""
    bound = await core.catalog.version(await core.catalog.entry(key.key_id))
    vault, deadline = core.keys._births._vault, core.caller().deadline
    sealed = await vault.seal(bound, b"plaintext", b"", deadline=deadline)
    assert await vault.open(bound, sealed, b"", deadline=deadline) == b"plaintext"


async def version(core: Core, key: KeyRecord, number: int = 1) -> VersionRecord:
    found = await core.ledger.read(VersionRecord, f"{key.key_id}/{number}")
    assert found is not None
    return found


def test_a_further_token_gets_what_its_keys_need_and_nothing_of_what_a_house_has_once(second: Second) -> None:
    assert {record.role for record in second.house} == {"kek-sealed", "kek-exportable", "sentinel", "health"}
    assert {record.token for record in second.house} == {"second"}
    assert all(record.record_id.endswith("/second") for record in second.house)


def test_a_token_that_is_used_already_gets_no_house_keys(second: Second) -> None:
    with pytest.raises(StrongroomError) as caught:
        initialise(second.token.settings, second.token.pin)

    assert (caught.value.reason, caught.value.field) == (
        Reason.CONFIGURATION,
        "hsm.tokens.second.token_serial",
    )


def test_house_keys_of_a_further_token_do_not_make_it_a_main_one(opened: OpenedVault, second: Second) -> None:
    vault = opened.vault
    with vault._parts.pool.fresh() as session, pytest.raises(StrongroomError) as caught:
        open_household(session, second.house, vault._parts.login.module.quirks)

    assert caught.value.reason is Reason.CONFIGURATION


@pytest.mark.parametrize("mode", list(MADE))
async def test_keys_live_are_used_rotated_and_destroyed_in_the_token_that_was_asked_for(
    core: Core, second: Second, mode: CustodyMode
) -> None:
    theirs, ours = await create(core, mode, "second"), await create(core, mode, "main")
    for key in (theirs, ours):
        await use(core, key)
        await core.keys.rotate(core.caller(), key.key_id)
        await use(core, key)

    assert (theirs.token, ours.token) == ("second", MAIN)
    births = [record for record in core.audited(ADMIN.arn) if record["action"] == "kms:CreateKey"]
    assert {record.get("token") for record in births} == {"second", None}
    keks = {record.hsm_id for record in second.house}
    for number in (1, 2):
        made = await version(core, theirs, number)
        resident = mode is CustodyMode.RESIDENT
        assert (made.token, made.kek_id in keks) == (("second", False) if resident else (MAIN, True))
    listed = len(await second.further.place.use().list_resident())
    assert listed == (2 if mode is CustodyMode.RESIDENT else 0)

    await core.keys.schedule_deletion(core.caller(), theirs.key_id, 7)
    core.clock.pass_time(8 * DAY)
    await core.upkeep.settle()

    assert (await version(core, theirs, 2)).state is VersionState.DESTROYED
    assert await second.further.place.use().list_resident() == []
    await use(core, ours)


async def test_a_name_that_no_token_has_makes_no_key(core: Core) -> None:
    with pytest.raises(StrongroomError) as caught:
        await create(core, CustodyMode.WRAPPED, "third")

    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "token")
    assert core.rows("SELECT * FROM keys") == []


async def test_a_repeated_request_for_another_token_is_another_request(core: Core) -> None:
    wanted, caller = NewKey(KeySpec.SYMMETRIC_DEFAULT), core.caller()
    first = await core.keys.create(caller, wanted, "once", "second")

    assert (await core.keys.create(caller, wanted, "once", "second")).key_id == first.key_id
    with pytest.raises(StrongroomError) as caught:
        await core.keys.create(caller, wanted, "once", "main")
    assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_an_object_is_adopted_where_it_is_and_nowhere_else(core: Core, second: Second) -> None:
    vault = second.further.place.vault
    assert vault is not None
    plant(vault, "theirs")
    core.adoptions._tokens = core.keys._new._tokens
    for token in ("", "main"):
        with pytest.raises(StrongroomError) as caught:
            await core.adoptions.adopt(core.caller(), NewAdoption(label="theirs"), token=token)
        assert caught.value.reason is Reason.NOT_FOUND

    made = await core.adoptions.adopt(core.caller(), NewAdoption(label="theirs"), token="second")

    await use(core, made.key)
    assert (made.key.token, made.version.token) == ("second", "second")
    second.further.close()
    with pytest.raises(StrongroomError) as caught:
        await use(core, made.key)
    assert caught.value.reason is Reason.HSM_UNAVAILABLE
    told = [record for record in core.audited(ADMIN.arn) if record["action"] == "strongroom:AdoptKey"]
    assert told[-1]["token"] == "second"


@pytest.mark.parametrize("mode", list(MADE))
async def test_a_token_that_is_away_makes_and_rotates_nothing_and_leaves_nothing_behind(
    core: Core, second: Second, mode: CustodyMode
) -> None:
    key = await create(core, mode, "second")
    vault, second.further.place.vault = second.further.place.vault, None

    for attempt in (
        create(core, mode, "second"),
        core.keys.rotate(core.caller(), key.key_id),
        use(core, key),
    ):
        with pytest.raises(StrongroomError) as caught:
            await attempt
        assert caught.value.reason is Reason.HSM_UNAVAILABLE
    second.further.place.vault = vault

    assert [row["state"] for row in core.rows("SELECT state FROM versions")] == ["ACTIVE"]
    assert [row["state"] for row in core.rows("SELECT state FROM keys")] == [KeyState.ENABLED.value]
    await use(core, await core.keys.rotate(core.caller(), key.key_id))


async def test_upkeep_neither_works_nor_writes_about_a_token_that_is_away_and_catches_up(
    core: Core, second: Second
) -> None:
    key = await create(core, CustodyMode.RESIDENT, "second")
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    vault, second.further.place.vault = second.further.place.vault, None
    core.clock.pass_time(8 * DAY)
    await core.upkeep.settle()
    before = len(core.audited("upkeep"))
    for _ in range(5):
        await core.upkeep.settle()

    assert len(core.audited("upkeep")) == before
    assert (await version(core, key)).state is VersionState.DESTROYING
    second.further.place.vault = vault
    await core.upkeep.settle()
    assert (await version(core, key)).state is VersionState.DESTROYED
    assert await second.further.place.use().list_resident() == []


async def test_each_token_is_reconciled_with_its_own_keys_alone(core: Core, second: Second) -> None:
    ours, theirs = (
        await create(core, CustodyMode.RESIDENT, "main"),
        await create(core, CustodyMode.RESIDENT, "second"),
    )
    await second.further.place.use().destroy_resident((await version(core, theirs)).hsm_id)

    await core.upkeep.reconcile()

    assert (await version(core, theirs)).state is VersionState.MISSING
    assert (await version(core, ours)).state is VersionState.ACTIVE
    assert core.meter.found["missing"] == 1


async def test_a_token_that_shows_no_sentinel_is_not_believed_and_the_other_one_is_looked_at(
    core: Core, second: Second, softhsm: Path, tmp_path: Path
) -> None:
    ours, theirs = (
        await create(core, CustodyMode.RESIDENT, "main"),
        await create(core, CustodyMode.RESIDENT, "second"),
    )
    await core.opened.vault.destroy_resident((await version(core, ours)).hsm_id)
    files = [path for path in second.objects(softhsm).iterdir() if path.name != "token.object"]
    for path in files:
        shutil.move(path, tmp_path / path.name)
    with pytest.raises(StrongroomError) as caught:
        await core.upkeep.reconcile()
    for path in files:
        shutil.move(tmp_path / path.name, path)

    assert caught.value.reason is Reason.HSM_UNAVAILABLE
    assert (await version(core, theirs)).state is VersionState.ACTIVE
    assert (await version(core, ours)).state is VersionState.MISSING


async def test_a_wrong_pin_is_tried_once_and_the_right_one_opens_the_token(
    core: Core, second: Second, fresh_token: TokenFactory
) -> None:
    third = prepare(fresh_token(), [])
    third.house = initialise(third.token.settings, third.token.pin)
    right, third.pin = third.pin, Pin("0000wrong")
    marker = third.token.settings.state / "refused-pin-second"
    await third.further.tend()
    written = marker.stat().st_mtime_ns
    third.further._due = 0.0
    await third.further.tend()

    assert marker.stat().st_mtime_ns == written
    assert third.further.place.vault is None
    assert third.watcher.alerts.count("pin_refused") == 1
    await use(core, await create(core, CustodyMode.WRAPPED, "second"))

    third.pin, third.further._due = right, 0.0
    await third.further.tend()

    assert third.further.place.vault is not None
    assert not marker.exists()
    third.further.close()


async def test_a_token_without_house_keys_is_not_logged_in_to(second: Second) -> None:
    house, second.house = second.house, []
    await second.further.tend()
    assert "init --token" in second.further.place.trouble

    second.house, second.further._due = house, 0.0
    await second.further.tend()

    assert second.further.place.trouble == ""
    second.further.close()


@pytest.mark.parametrize("wrong", [{"token_label": "absent"}, {"token_serial": "0" * 16}])
async def test_a_label_or_serial_that_no_token_has_keeps_the_token_away_and_says_so(
    second: Second, wrong: dict[str, str]
) -> None:
    settings = replace(second.token.settings, **wrong)  # type: ignore[arg-type]
    lost = prepare(replace(second.token, settings=settings), second.house)
    await lost.further.tend()

    assert lost.further.place.vault is None
    assert "no single token has the configured serial and label: 0 have" in lost.further.place.trouble
    assert "token_away" in lost.watcher.alerts


async def test_another_tokens_house_keys_do_not_open_this_one(second: Second, opened: OpenedVault) -> None:
    second.house = [replace(record, token="second") for record in opened.house]
    await second.further.tend()

    assert second.further.place.vault is None


async def test_a_token_that_failed_for_good_is_logged_in_to_again_while_the_other_serves(
    core: Core, second: Second
) -> None:
    """Every session of the token is closed in between, and none of the other's."""
    keys = [await create(core, mode, token) for mode in MADE for token in ("main", "second")]
    lost = second.further.place.use()
    lost.give_up("the test says so")
    await second.further.tend()
    assert second.further.place.vault is None
    for key in keys:
        if key.token == MAIN:
            await use(core, key)

    second.further._due = 0.0
    await second.further.tend()

    assert second.further.place.vault not in {None, lost}
    for key in keys:
        await use(core, key)
