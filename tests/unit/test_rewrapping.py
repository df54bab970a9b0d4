"""Who must agree before the recovery token is attached to move keys: two living people, whatever the quorum says."""

import dataclasses
import re
from collections.abc import Callable, Collection
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.databases import make_database
from tests.unit.custody.test_offlineapprovals import ACCOUNT, ADA, GRACE, JOAN, Person

from strongroomd.cli import rewrap
from strongroomd.cli.app import app
from strongroomd.custody.offlineapprovals import Approvals
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import House
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.rewraps import RewrapPlan, RewrapReport
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import open_store
from strongroomd.wiring import rewrapping

SEALED, EXPORTABLE = (
    HouseRecord(role.value, digit * 32, b"", b"", generation=1)
    for role, digit in ((House.KEK_SEALED, "a"), (House.KEK_EXPORTABLE, "b"))
)
PLAN = RewrapPlan("", SEALED, EXPORTABLE, ("c" * 32,), {"k": (1,)}, {}, 0)
Approve = Callable[..., Any]


@pytest.fixture
def approve(monkeypatch: pytest.MonkeyPatch) -> Approve:
    """Demand approvals of a house with these people and this quorum, of whom some may still call."""

    async def run(
        approvals: Approvals,
        *enrolled: Person,
        quorum: int = 2,
        disabled: tuple[Person, ...] = (),
        recovery_key: bytes = b"recovery",
    ) -> list[str]:
        off = {person.arn for person in disabled}

        async def approvers(_: object, account: str, configured: Collection[str]) -> Any:
            assert (account, configured) == (ACCOUNT, {ADA.arn})
            keys = [
                dataclasses.replace(person.enrolled, admitted=person.arn not in off) for person in enrolled
            ]
            return {key.id: key for key in keys}, quorum

        monkeypatch.setattr(rewrapping, "approvers_of", approvers)
        house = SimpleNamespace(
            settings=SimpleNamespace(
                daemon=SimpleNamespace(account=ACCOUNT), identities=[SimpleNamespace(arn=ADA.arn)]
            ),
            ledger=None,
            store=None,
            vault=SimpleNamespace(serial="0123456789abcdef"),
            hsm=SimpleNamespace(recovery_public_key=recovery_key),
        )
        return (await rewrapping._approved(cast("Any", house), PLAN, approvals))[1]

    return run


async def asked(approve: Approve, *enrolled: Person, **how: Any) -> bytes:
    """Have the request written that such a house needs."""
    written: list[bytes] = []
    with pytest.raises(StrongroomError) as refusal:
        await approve(Approvals(ask=written.append, requester=ADA.arn, purpose="KEK"), *enrolled, **how)
    assert refusal.value.reason is Reason.APPROVAL_REQUIRED
    return written[0]


def brought(file: bytes, *people: Person) -> Approvals:
    return Approvals(request=file, signatures=tuple(person.sign(file) for person in people))


@pytest.mark.parametrize("quorum", [1, 2])
async def test_two_people_suffice(approve: Approve, quorum: int) -> None:
    file = await asked(approve, ADA, GRACE, quorum=quorum)

    assert await approve(brought(file, ADA, GRACE), ADA, GRACE, quorum=quorum) == sorted([ADA.arn, GRACE.arn])


async def test_one_person_does_not_even_where_the_account_asks_for_one(approve: Approve) -> None:
    file = await asked(approve, ADA, GRACE, quorum=1)

    assert b'"quorum": 2' in file
    for alone in (ADA, GRACE):
        with pytest.raises(StrongroomError) as refusal:
            await approve(brought(file, alone), ADA, GRACE, quorum=1)
        assert refusal.value.reason is Reason.APPROVAL_REQUIRED


async def test_a_higher_quorum_counts_that_was_set_since_the_request(approve: Approve) -> None:
    file = await asked(approve, ADA, GRACE, JOAN)

    with pytest.raises(StrongroomError) as refusal:
        await approve(brought(file, ADA, GRACE, JOAN), ADA, GRACE, JOAN, quorum=3)

    assert refusal.value.reason is Reason.APPROVAL_MISMATCH


TWICE = Person("ada")  # another key of the same person
ELSEWHERE = Person("eve", account="999988887777")
TOO_FEW: dict[str, tuple[tuple[Person, ...], tuple[Person, ...]]] = {
    "one": ((ADA,), ()),
    "one with two keys": ((ADA, TWICE), ()),
    "one of this account": ((ADA, ELSEWHERE), ()),
    "one living": ((ADA, JOAN), (JOAN,)),
}


@pytest.mark.parametrize(("enrolled", "disabled"), TOO_FEW.values(), ids=TOO_FEW)
async def test_a_house_without_two_living_approvers_holds_no_ceremony_whoever_signs(
    approve: Approve, enrolled: tuple[Person, ...], disabled: tuple[Person, ...]
) -> None:
    file = await asked(approve, ADA, GRACE)

    with pytest.raises(StrongroomError) as refusal:
        await approve(brought(file, *enrolled), *enrolled, quorum=1, disabled=disabled)

    assert refusal.value.reason is Reason.APPROVAL_REQUIRED


async def test_who_could_not_approve_does_not_ask_either(approve: Approve) -> None:
    written: list[bytes] = []
    asking = Approvals(ask=written.append, requester=ADA.arn, purpose="KEK")

    for enrolled, disabled in (((GRACE, JOAN), ()), ((ADA, GRACE, JOAN), (ADA,))):
        with pytest.raises(StrongroomError) as refusal:
            await approve(asking, *enrolled, disabled=disabled)
        assert (refusal.value.reason, refusal.value.field) == (Reason.INVALID_FIELD, "requester")

    assert written == []


async def test_a_signature_of_somebody_who_was_disabled_since_counts_no_more(approve: Approve) -> None:
    file = await asked(approve, ADA, GRACE, JOAN)

    with pytest.raises(StrongroomError) as refusal:
        await approve(brought(file, GRACE, JOAN), ADA, GRACE, JOAN, disabled=(JOAN,))

    assert refusal.value.reason is Reason.APPROVAL_REQUIRED


async def test_a_house_without_a_recovery_key_has_nothing_to_attach(approve: Approve) -> None:
    with pytest.raises(StrongroomError) as refusal:
        await approve(Approvals(), ADA, GRACE, recovery_key=b"")

    assert (refusal.value.reason, refusal.value.field) == (Reason.CONFIGURATION, "hsm.recovery_public_key")


@pytest.mark.parametrize("counts", [True, False])
def test_the_configuration_says_whether_who_asked_is_one_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counts: bool
) -> None:
    """As at a restore: what one command demands the other does not give away."""
    settings = SimpleNamespace(
        telemetry=SimpleNamespace(log_level="info"), approvals=SimpleNamespace(requester_counts=counts)
    )
    held: list[Approvals] = []

    async def hold(_: object, order: rewrapping.RewrapOrder) -> RewrapReport:
        held.append(order.approvals)
        return RewrapReport(PLAN)

    monkeypatch.setattr(rewrap, "settings_of", lambda *_, **__: settings)
    monkeypatch.setattr(rewrap, "demand_settled", lambda _: None)
    monkeypatch.setattr(rewrapping, "rewrap", hold)
    monkeypatch.setattr("strongroomd.telemetry.logs.configure", lambda _: None)

    rewrap.rewrap(request_approval=tmp_path / "request", requester=ADA.arn, purpose="KEK")

    assert [approvals.requester_counts for approvals in held] == [counts]


async def test_of_two_ceremonies_with_their_own_run_folders_one_is_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The lock of a run folder keeps another out that has the same; whoever begins again there is no other."""
    make_database(url := f"sqlite:///{tmp_path / 'strongroom.db'}")
    store = open_store(StoreSettings(url))
    monkeypatch.setattr(rewrapping, "_PATIENCE", 0.0)
    first, second = (
        cast(
            "Any",
            SimpleNamespace(
                store=store,
                settings=SimpleNamespace(daemon=SimpleNamespace(node="node-1", run_dir=tmp_path / name)),
            ),
        )
        for name in ("run", "other-run")
    )

    await rewrapping._claim(first)
    await rewrapping._claim(first)
    with pytest.raises(StrongroomError) as refusal:
        await rewrapping._claim(second)

    assert (refusal.value.reason, refusal.value.field) == (Reason.CONFIGURATION, "store")
    await store.close()


RUNBOOK = (Path(__file__).parents[2] / "ops" / "runbooks" / "RewrapCeremony.md").read_text()


def test_the_runbooks_commands_have_the_options_that_the_command_has() -> None:
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL)).replace("\\\n", " ")
    said = {option for line in shell.splitlines() if "strongroomd rewrap" in line for option in line.split()}
    named = {option for option in said if option.startswith("--")}

    (command,) = (each for each in app.registered_commands if each.name == "rewrap")
    has = {f"--{name.replace('_', '-')}" for name in signature(command.callback or (lambda: None)).parameters}

    assert len(named) == 8
    assert named - has == set()


def test_the_runbook_says_what_each_reason_to_stay_means() -> None:
    for meaning in rewrap._MEANING.values():
        assert re.split(r"[:,]", meaning)[0] in RUNBOOK
