"""What becomes of requests by themselves: expiry by the daemon's clock, and old ones forgotten but for evidence."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.faults.core import ACCOUNT, Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.custody.approvalupkeep import KEPT_MS, ApprovalUpkeep
from strongroomd.custody.diary import Diary
from strongroomd.domain.approvalrecords import ApprovalRecord, ApprovalRequestRecord
from strongroomd.domain.approvals import ApprovalState, GuardedAction, request_id_at

pytestmark = pytest.mark.softhsm

HOUR, DAY = 3600, 86_400
_S = ApprovalState


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


@pytest.fixture
def upkeep(core: Core) -> ApprovalUpkeep:
    return tidier(core, believed=True)


def tidier(core: Core, *, believed: bool) -> ApprovalUpkeep:
    async def answer() -> bool:
        return believed

    return ApprovalUpkeep(core.control, core.store, Diary(core.ledger, core.catalog, core.audit), answer)


def written(core: Core) -> list[tuple[str, str, str]]:
    """What the audit log has of upkeep: action, kind and outcome."""
    found = core.audited("upkeep")
    return [(each["action"].removeprefix("strongroom:"), each["kind"], each["outcome"]) for each in found]


async def asked(core: Core, state: ApprovalState = _S.WAITING, hours: int = 2) -> ApprovalRequestRecord:
    """A request in some state, that somebody has approved."""
    now = core.clock.wall_ms()
    record = ApprovalRequestRecord(
        request_id_at(now, bytes(9) + bytes([len(state)])), ACCOUNT, GuardedAction.PUT_QUORUM, "", "", 0,
        (("quorum", "1"),), f"arn:aws:iam::{ACCOUNT}:user/a", "", "x", 2, now, now + hours * HOUR * 1000,
        "0" * 32, state, 0 if state in {_S.WAITING, _S.APPROVED} else now, "", "", b"", b"", "",
    )  # fmt: skip
    given = ApprovalRecord(record.approval_id, ACCOUNT, "", "arn:b", "1" * 32, "", b"", now)
    async with core.ledger.change() as change:
        await change.put(record)
        await change.put(given)
    return record


async def state_of(core: Core, record: ApprovalRequestRecord) -> ApprovalState | None:
    found = await core.ledger.read(ApprovalRequestRecord, record.approval_id)
    return found.state if found else None


@pytest.mark.parametrize("state", [_S.WAITING, _S.APPROVED])
async def test_what_is_over_expires_and_not_sooner(
    core: Core, upkeep: ApprovalUpkeep, state: ApprovalState
) -> None:
    record = await asked(core, state)
    core.clock.pass_time(2 * HOUR - 60)
    await upkeep.tidy()
    assert await state_of(core, record) is state

    core.clock.pass_time(61)
    await upkeep.tidy()
    assert await state_of(core, record) is _S.EXPIRED
    await upkeep.tidy()


async def test_a_clock_that_is_set_forward_expires_and_one_that_is_set_back_does_not(
    core: Core, upkeep: ApprovalUpkeep
) -> None:
    record = await asked(core)
    for days in (-40, 40):
        core.clock.wall_offset = days * DAY * 1000
        await upkeep.tidy()
        assert await state_of(core, record) is (_S.WAITING if days < 0 else _S.EXPIRED)


@pytest.mark.parametrize("state", [_S.EXPIRED, _S.CANCELLED, _S.REJECTED, _S.EXECUTED])
async def test_what_was_never_executed_is_forgotten_after_a_year_and_more(
    core: Core, upkeep: ApprovalUpkeep, state: ApprovalState
) -> None:
    record = await asked(core, state)
    core.clock.pass_time(KEPT_MS / 1000 - HOUR)
    await upkeep.tidy()
    assert await state_of(core, record) is state

    core.clock.pass_time(4 * HOUR)
    await upkeep.tidy()
    evidence = state is _S.EXECUTED
    assert await state_of(core, record) is (state if evidence else None)
    given = await core.store.page(
        ApprovalRecord, after="", limit=9, where={"approval_id": record.approval_id}
    )
    assert len(given) == evidence


async def test_a_damaged_row_keeps_the_upkeep_from_nothing_else(core: Core, upkeep: ApprovalUpkeep) -> None:
    whole = await asked(core)
    broken = dataclasses.replace(whole, approval_id="f" * 32)
    async with core.ledger.change() as change:
        await change.put(broken)
    core.edit("UPDATE approval_requests SET quorum = 'x' WHERE record_id = ?", broken.approval_id)
    core.clock.pass_time(3 * HOUR)

    await upkeep.tidy()

    assert await state_of(core, whole) is _S.EXPIRED


@pytest.mark.parametrize("state", [_S.WAITING, _S.APPROVED])
async def test_an_expiry_is_audited_once_with_what_expired(
    core: Core, upkeep: ApprovalUpkeep, state: ApprovalState
) -> None:
    record = await asked(core, state)
    core.clock.pass_time(3 * HOUR)

    await upkeep.tidy()
    await upkeep.tidy()

    assert written(core) == [("ExpireApproval", "intent", "PENDING"), ("ExpireApproval", "outcome", "OK")]
    (told,) = {(each["approval"], each["guarded"], each["requester"]) for each in core.audited("upkeep")}
    assert told == (record.approval_id, "PUT_QUORUM", record.requester)


async def test_what_is_forgotten_is_audited(core: Core, upkeep: ApprovalUpkeep) -> None:
    record = await asked(core, _S.REJECTED)
    core.clock.pass_time(KEPT_MS / 1000 + 3 * HOUR)

    await upkeep.tidy()

    assert written(core) == [("ForgetApproval", "intent", "PENDING"), ("ForgetApproval", "outcome", "OK")]
    assert {each["approval"] for each in core.audited("upkeep")} == {record.approval_id}


@pytest.mark.parametrize("state", [_S.WAITING, _S.APPROVED, _S.REJECTED])
async def test_while_the_clock_is_not_believed_nothing_expires_nor_is_forgotten(
    core: Core, state: ApprovalState
) -> None:
    record = await asked(core, state)
    core.clock.wall_offset = KEPT_MS + DAY * 1000

    await tidier(core, believed=False).tidy()

    assert await state_of(core, record) is state
    assert written(core) == []
    await tidier(core, believed=True).tidy()
    assert await state_of(core, record) is not state


async def test_after_a_jump_of_the_clock_requests_rest_for_a_day(core: Core) -> None:
    """As the worker has it wired: upkeep says whether the clock is believed."""
    record = await asked(core)
    await core.upkeep.clock_believed()
    core.clock.wall_offset = 40 * DAY * 1000
    diary = Diary(core.ledger, core.catalog, core.audit)
    upkeep = ApprovalUpkeep(core.control, core.store, diary, core.upkeep.clock_believed)

    await upkeep.tidy()
    assert await state_of(core, record) is _S.WAITING

    core.clock.pass_time(DAY + 60)
    await upkeep.tidy()
    assert await state_of(core, record) is _S.EXPIRED


DAMAGES = {
    "what cannot be read": "UPDATE approval_requests SET quorum = 'x' WHERE record_id = ?",
    "what was edited": "UPDATE approval_requests SET purpose = 'another' WHERE record_id = ?",
    "an action that there is not": "UPDATE approval_requests SET action = 'NONE' WHERE record_id = ?",
    "parameters that are none": "UPDATE approval_requests SET parameters = '[1]' WHERE record_id = ?",
}


@pytest.mark.parametrize("damage", list(DAMAGES))
async def test_one_broken_request_stops_no_other(core: Core, upkeep: ApprovalUpkeep, damage: str) -> None:
    """It is the first of all, so that it would hold up every other; nor does it fill the audit log."""
    whole = await asked(core)
    broken = dataclasses.replace(whole, approval_id="0" * 32, expires_at=whole.expires_at - HOUR * 1000)
    async with core.ledger.change() as change:
        await change.put(broken)
    assert core.edit(DAMAGES[damage], broken.approval_id) == 1
    core.clock.pass_time(3 * HOUR)

    await upkeep.tidy()
    await upkeep.tidy()

    assert await state_of(core, whole) is _S.EXPIRED
    assert {each["approval"] for each in core.audited("upkeep")} == {whole.approval_id}


async def test_a_broken_approval_keeps_its_request_and_no_other(core: Core, upkeep: ApprovalUpkeep) -> None:
    first, second = await asked(core, _S.REJECTED), await asked(core, _S.CANCELLED)
    name = f"{first.approval_id}/arn:b"
    assert core.edit("UPDATE approvals SET digest = 'x' WHERE record_id = ?", name) == 1
    core.clock.pass_time(KEPT_MS / 1000 + 3 * HOUR)

    await upkeep.tidy()

    assert await state_of(core, first) is _S.REJECTED
    assert await state_of(core, second) is None
    assert ("ForgetApproval", "outcome", "INTEGRITY_FAILURE") in written(core)
