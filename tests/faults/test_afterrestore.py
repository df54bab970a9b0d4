"""What was open when a set was made is closed by every restore of it: nobody can tell whether it was used since."""

import dataclasses
import os
from typing import Any

import pytest
from tests.faults.core import Core
from tests.faults.test_imports import bring, external, parameters, refused
from tests.records import sample

from strongroomd.custody.inventory import verify_records
from strongroomd.domain.approvalrecords import ApprovalRequestRecord
from strongroomd.domain.approvals import OPEN, ApprovalState
from strongroomd.domain.errors import Reason
from strongroomd.domain.materials import WrappingPairRecord
from strongroomd.domain.records import RECORD_KINDS, Record
from strongroomd.wiring.afterrestore import NOTE, close_rights, closed

NOW = 1_800_000_000_000
UNTOUCHED = [
    kind for kind in RECORD_KINDS.values() if kind not in {ApprovalRequestRecord, WrappingPairRecord}
]


def request(state: ApprovalState) -> ApprovalRequestRecord:
    return dataclasses.replace(
        sample(ApprovalRequestRecord), approval_id=state.value, state=state, closed_at=5
    )


@pytest.mark.parametrize("kind", UNTOUCHED, ids=lambda kind: kind.KIND)
def test_nothing_else_is_touched(kind: type[Record]) -> None:
    record = sample(kind)

    assert closed(record, NOW) is record


@pytest.mark.parametrize("state", list(ApprovalState))
def test_requests_are_closed_while_they_are_open(state: ApprovalState) -> None:
    record = request(state)

    after: Any = closed(record, NOW)

    if state in OPEN:
        expected = (ApprovalState.CANCELLED, NOW, NOTE)
        assert (after.state, after.closed_at, after.note) == expected
        assert after.request == record.request, "what was signed stays what it was"
    else:
        assert after is record


@pytest.mark.softhsm
async def test_a_restored_store_has_no_open_request_and_no_import_token(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    given = [await parameters(core, key) for _ in range(2)]
    async with core.ledger.change() as change:
        for state in ApprovalState:
            await change.put(request(state))

    count = await close_rights(core.ledger, NOW)

    assert count == len(given) + len(OPEN)
    assert await core.store.all(WrappingPairRecord) == []
    for state in ApprovalState:
        found = await core.ledger.read(ApprovalRequestRecord, state.value)
        assert found is not None
        assert found.state is (ApprovalState.CANCELLED if state in OPEN else state)
    for one in given:
        await refused(bring(core, key, material, one), Reason.INVALID_IMPORT_TOKEN)
    await verify_records(core.ledger, core.store)
    assert await close_rights(core.ledger, NOW) == 0


@pytest.mark.softhsm
@pytest.mark.parametrize("table", ["wrapping_pairs", "approval_requests"])
async def test_an_edited_row_closes_nothing(core: Core, table: str) -> None:
    await parameters(core, await external(core))
    async with core.ledger.change() as change:
        await change.put(request(ApprovalState.APPROVED))
    core.edit(f"UPDATE {table} SET expires_at = 9")

    await refused(close_rights(core.ledger, NOW), Reason.INTEGRITY_FAILURE)

    (row,) = core.rows("SELECT state FROM approval_requests")
    assert row["state"] == ApprovalState.APPROVED.value
