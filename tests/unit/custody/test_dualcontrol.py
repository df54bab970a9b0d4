"""Whose a request is, what counts at the moment that it is spent, and what a list costs."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.faults.core import ACCOUNT, Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.custody.approvals import ApprovalFilter, Approvals
from strongroomd.custody.dualcontrol import DualControl, Receipt, Wanted, is_askers
from strongroomd.custody.passage import Passage
from strongroomd.custody.principals import NewPrincipal
from strongroomd.custody.standings import Standing, approvers_of
from strongroomd.domain.actions import Action
from strongroomd.domain.approvalrecords import ApprovalRecord, ApprovalRequestRecord, ApproverRecord
from strongroomd.domain.approvals import (
    ApprovalState,
    FrozenRequest,
    GuardedAction,
    approver_id,
    request_id_at,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Behalf, Caller, Principal, RoleSession

pytestmark = pytest.mark.softhsm
ALICE, BOB, CAROL, DAVE, EVE = (
    f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("alice", "bob", "carol", "dave", "eve")
)
ROLE, SERVICE = f"arn:aws:iam::{ACCOUNT}:role/exporters", f"arn:aws:iam::{ACCOUNT}:service/desk"
KEYS = {arn: ed25519.Ed25519PrivateKey.generate() for arn in (ALICE, BOB, CAROL, DAVE, EVE, ROLE)}
QUORUM = (("quorum", "1"),)
WANTED = Wanted(GuardedAction.PUT_QUORUM, ACCOUNT, 2, QUORUM)


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    made.directory.use_configured(
        [made.caller().principal, *(Principal(arn, ACCOUNT) for arn in (*KEYS, SERVICE) if arn != EVE)]
    )
    async with made.ledger.change() as change:
        for arn, private in KEYS.items():
            public = _public(private)
            await change.put(ApproverRecord(approver_id(public), ACCOUNT, arn, public, 1, "a", 0, ""))
    yield made
    await made.close()


def _public(private: ed25519.Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def caller(core: Core, arn: str, session: str = "", behalf: str = "", name: str = "s1") -> Caller:
    """Somebody; in a session of a role, if told who assumed it."""
    made = Caller(Principal(arn, ACCOUNT), "test", core.clock.monotonic() + 60.0)
    if session:
        made.session = RoleSession(arn, name, session, "0" * 64, 1 << 50, "u", 1)
    if behalf:
        made.behalf = Behalf(source_principal=behalf)
    return made


async def asked(core: Core, requester: str = ALICE, behind: str = "", *people: str) -> ApprovalRequestRecord:
    """A request for another quorum that some people have approved."""
    now = core.clock.wall_ms()
    name = request_id_at(now, await core.vault.random(10))
    record = ApprovalRequestRecord(
        name, ACCOUNT, GuardedAction.PUT_QUORUM, "", "", 0, QUORUM, requester, behind, "x", 2, now,
        now + 3_600_000, "0" * 32, ApprovalState.WAITING, 0, "", "", b"", b"", "",
    )  # fmt: skip
    async with core.ledger.change() as change:
        await change.put(record)
        for arn in people:
            await change.put(_approval(record, arn, now))
    return record


def _approval(record: ApprovalRequestRecord, arn: str, now: int) -> ApprovalRecord:
    signature, key = KEYS[arn].sign(record.request.file), approver_id(_public(KEYS[arn]))
    return ApprovalRecord(record.approval_id, ACCOUNT, "", arn, key, record.request.digest, signature, now)


async def spend(core: Core, who: Caller, record: ApprovalRequestRecord, **more: Any) -> Standing:
    passage = Passage(core.gate, who, Action.PUT_QUORUM)
    async with core.ledger.change() as change:
        return await core.control.spend(passage, change, record.approval_id, WANTED, **more)


async def refused(job: Any, reason: Reason) -> None:
    with pytest.raises(StrongroomError) as caught:
        await job
    assert caught.value.reason is reason


# --- whose a request is


OTHERS = {
    "the role itself": (ROLE, "", ""),
    "another's session of the role": (ROLE, BOB, ""),
    "who was behind it, as itself": (ALICE, "", ""),
    "a service that speaks for who was behind it": (SERVICE, "", ALICE),
    "another role of who was behind it": (f"arn:aws:iam::{ACCOUNT}:role/others", ALICE, ""),
    "the session, by a service that speaks for another": (ROLE, ALICE, BOB),
}


@pytest.mark.parametrize("who", list(OTHERS))
async def test_what_was_asked_in_a_session_is_no_other_callers(core: Core, who: str) -> None:
    record = await asked(core, ROLE, ALICE, BOB, CAROL)
    other = caller(core, *OTHERS[who])
    use = Approvals(core.gate, core.control)

    assert not is_askers(record, other)
    await refused(spend(core, other, record), Reason.APPROVAL_MISMATCH)
    await refused(use.cancel(other, record.approval_id), Reason.ACCESS_DENIED)
    await refused(use.describe(other, record.approval_id), Reason.ACCESS_DENIED)
    assert (await use.list_approvals(other, ApprovalFilter(own=True))).standings == []
    told = [each["outcome"] for each in core.audited(other.principal.arn)]
    assert told.count("ACCESS_DENIED") >= 2


async def test_it_is_whoevers_asked_in_any_session_of_theirs(core: Core) -> None:
    record = await asked(core, ROLE, ALICE, BOB, CAROL)
    again = caller(core, ROLE, ALICE, name="tomorrow")
    use = Approvals(core.gate, core.control)

    assert [
        s.record.approval_id for s in (await use.list_approvals(again, ApprovalFilter(own=True))).standings
    ] == [record.approval_id]
    assert (await use.describe(again, record.approval_id)).record.state is ApprovalState.WAITING
    assert (await spend(core, again, record)).record.state is ApprovalState.EXECUTED
    other = await asked(core, ROLE, ALICE)
    assert (await use.cancel(again, other.approval_id)).record.state is ApprovalState.CANCELLED


async def test_a_request_of_a_person_is_not_a_roles_that_they_assume(core: Core) -> None:
    record = await asked(core, ALICE, "", BOB, CAROL)

    await refused(spend(core, caller(core, ROLE, ALICE), record), Reason.APPROVAL_MISMATCH)
    assert (await spend(core, caller(core, ALICE), record)).record.state is ApprovalState.EXECUTED


async def test_who_is_behind_who_asked_counts_as_who_asked(core: Core) -> None:
    record = await asked(core, ROLE, ALICE, ALICE)
    assert (await core.control.standings.look(record)).count.missing == 1
    record = await asked(core, ROLE, ALICE, ALICE, BOB)
    standing = await core.control.standings.look(record)

    assert (standing.count.own, standing.count.others, standing.count.missing) == (True, (BOB,), 0)
    assert approvers_of(standing) == [BOB, ALICE]


@pytest.mark.parametrize("requester", [ALICE, ROLE])
async def test_a_role_counts_nowhere_for_it_may_be_anybody(core: Core, requester: str) -> None:
    record = await asked(core, requester, ALICE if requester == ROLE else "", BOB, ROLE)
    role = Caller(Principal(ROLE, ACCOUNT, administrator=True), "test", core.clock.monotonic() + 60.0)
    use = Approvals(core.gate, core.control)

    assert (await core.control.standings.look(record)).count.others == (BOB,)
    await refused(
        spend(core, caller(core, ALICE), await asked(core, ALICE, "", BOB, ROLE)), Reason.APPROVAL_REQUIRED
    )
    signature = KEYS[ROLE].sign(record.request.file)
    await refused(use.approve(role, record.approval_id, "", signature), Reason.ACCESS_DENIED)


async def test_where_the_configuration_says_so_who_asked_does_not_count(core: Core) -> None:
    control = DualControl(core.mutations, core.directory, core.vault, requester_counts=False)
    record = await asked(core, ALICE, "", ALICE, BOB)

    strict = await control.standings.look(record)
    assert (strict.count.own, strict.count.missing, approvers_of(strict)) == (False, 1, [BOB])
    assert (await core.control.standings.look(record)).count.missing == 0


# --- what counts when it is spent


async def test_a_receipt_is_of_what_is_counted_in_the_change_and_not_of_what_was_looked_at(
    core: Core,
) -> None:
    """Dave's key is revoked and Carol's signature edited since; Alice asked, and approved."""
    record = await asked(core, ALICE, "", ALICE, BOB, CAROL, DAVE)
    assert len((await core.control.standings.look(record)).counted) == 4
    name = approver_id(_public(KEYS[DAVE]))
    async with core.ledger.change() as change:
        key = await change.get(ApproverRecord, name)
        assert key is not None
        await change.put(dataclasses.replace(key, revoked_at=1, row_version=key.row_version + 1))
        given = await change.get(ApprovalRecord, f"{record.approval_id}/{CAROL}")
        assert given is not None
        await change.put(dataclasses.replace(given, signature=bytes(64), row_version=2))
    signed: list[list[str]] = []

    async def receive(standing: Standing) -> Receipt:
        signed.append([each.principal for each in standing.counted])
        return Receipt(b"statement", b"signature", "key")

    done = await spend(core, caller(core, ALICE), record, receive=receive)

    assert signed == [[BOB, ALICE]]
    assert len(done.given) == 4
    assert (done.record.statement, done.record.signature) == (b"statement", b"signature")


@pytest.mark.parametrize("end", ["disable", "delete"])
async def test_who_is_shut_out_does_not_count_even_where_memory_is_behind(core: Core, end: str) -> None:
    await core.rooms.accounts.create(core.caller(), ACCOUNT)
    await core.rooms.principals.create(core.caller(), NewPrincipal(EVE))
    await core.directory.catch_up()
    record = await asked(core, ALICE, "", BOB, EVE)
    assert (await core.control.standings.look(record)).count.missing == 0

    known = core.directory.principal(EVE)
    await getattr(core.rooms.principals, end)(core.caller(), EVE)
    core.directory._mirror.held[type(known)][EVE] = known  # type: ignore[index]  # another worker's, a second ago

    assert core.directory.admit(EVE) is not None
    await refused(spend(core, caller(core, ALICE), record), Reason.APPROVAL_REQUIRED)


async def test_a_refused_receipt_spends_nothing(core: Core) -> None:
    record = await asked(core, ALICE, "", BOB, CAROL)

    async def fail(_: Standing) -> Receipt:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    await refused(spend(core, caller(core, ALICE), record, receive=fail), Reason.HSM_UNAVAILABLE)
    assert (await core.control.standings.look_again(record)).record.state is ApprovalState.WAITING


# --- lists


async def test_a_list_computes_no_request_file_and_counts_as_a_look_does(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [await asked(core, ALICE, "", *KEYS), await asked(core), await asked(core, ALICE, "", BOB)]
    looked = {r.approval_id: (await core.control.standings.look(r)).count for r in records}
    written: list[str] = []
    real = FrozenRequest.file.fget  # type: ignore[attr-defined]

    def count(self: FrozenRequest) -> bytes:
        written.append(self.id)
        made: bytes = real(self)
        return made

    monkeypatch.setattr(FrozenRequest, "file", property(count))
    page = await Approvals(core.gate, core.control).list_approvals(core.caller(), ApprovalFilter())

    assert {each.record.approval_id: each.count for each in page.standings} == looked
    assert written == []
    await core.control.standings.look(records[0])
    assert len(written) == 1
