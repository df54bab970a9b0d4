"""Who may approve a restore, as its store has it: of enrolled keys, those whose principal may call."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.faults.core import ACCOUNT, Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.custody.principals import NewPrincipal
from strongroomd.domain.accounts import PrincipalState
from strongroomd.domain.approvalrecords import ApproverRecord, QuorumRecord
from strongroomd.wiring.approvers import Found, approvers_in, approvers_of

pytestmark = pytest.mark.softhsm
LISTED, OFF, GONE, CONFIGURED, NOBODY = (
    f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("listed", "off", "gone", "configured", "nobody")
)


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


async def verified(core: Core) -> Found:
    return await approvers_of(core.ledger, ACCOUNT, {CONFIGURED, OFF})


async def as_signed(core: Core) -> Found:
    return await approvers_in(core.store, ACCOUNT, {CONFIGURED, OFF})


@pytest.mark.parametrize("ask", [verified, as_signed])
async def test_only_principals_that_may_call_count(
    core: Core, ask: Callable[[Core], Awaitable[Found]]
) -> None:
    principals = core.rooms.principals
    await core.rooms.accounts.create(core.caller(), ACCOUNT)
    for arn in (LISTED, OFF, GONE):
        await principals.create(core.caller(), NewPrincipal(arn))
    await principals.disable(core.caller(), OFF)
    await principals.delete(core.caller(), GONE)
    async with core.ledger.change() as change:
        for number, arn in enumerate((LISTED, OFF, GONE, CONFIGURED, NOBODY)):
            revoked = 1 if arn is LISTED else 0
            record = ApproverRecord(f"{number:032x}", ACCOUNT, arn, b"key", 1, "a", revoked, "")
            await change.put(record)
        await change.put(QuorumRecord(ACCOUNT, 3, 1, "a"))

    found, quorum = await ask(core)

    assert quorum == 3
    assert {key.principal: key.admitted for key in found.values()} == {
        LISTED: True,
        OFF: False,  # though the configuration knows it
        GONE: False,
        CONFIGURED: True,
        NOBODY: False,
    }
    assert {key.principal for key in found.values() if key.revoked} == {LISTED}
    off = core.directory.principal(OFF)
    assert off is None or off.state is PrincipalState.DISABLED
