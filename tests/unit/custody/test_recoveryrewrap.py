"""The re-wrap by recovery blobs, key by key: what it plans, what it leaves, and when it stops. Real token and store.

The recovery token itself is in tests/faults/test_rewrap_ceremony.py; here somebody stands in for both tokens' work.
"""

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.faults.core import ADMIN, Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.cli import rewrap
from strongroomd.custody.housekeys import HouseKeys
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.recoveryrewrap import ACTION, RecoveryRewrap, left_under, plan_rewrap
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.audit import Head
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import WrappingKeyKind, WrappingKeyRecord
from strongroomd.domain.housekeys import House
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.domain.names import Realm
from strongroomd.domain.records import KeyRecord, VersionRecord, VersionState
from strongroomd.domain.rewraps import RewrapPlan, RewrapReport, Stays
from strongroomd.hsm.faults import Fault, Refused

pytestmark = pytest.mark.softhsm
RECOVERY_BLOB = b"as at its birth"


class Audit:
    """Remembers records, or cannot take those of a kind."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.full: str = ""

    async def write(self, record: dict[str, Any]) -> Head:
        if record["kind"] == self.full:
            raise StrongroomError(Reason.AUDIT_UNAVAILABLE)
        self.records.append(dict(record))
        return Head("test", len(self.records), 0, bytes(32))

    def told(self) -> list[tuple[str, str]]:
        return [(each["kind"], each["outcome"]) for each in self.records]


@dataclass
class Carrier:
    """Stands in for the tokens: gives a blob under the KEK that it is told, or fails as it is told."""

    kek_id: str
    error: StrongroomError | None = None
    asked: list[str] = field(default_factory=list)

    def carry(self, bound: BoundVersion) -> Material:
        self.asked.append(bound.record.record_id)
        if self.error is not None:
            raise self.error
        record = bound.record
        return Material(
            self.kek_id,
            "",
            b"no such blob",
            record.length,
            b"",
            record.check_value,
            b"another",
            record.scheme,
        )


@dataclass
class Scene:
    """A core whose sealed KEK has a successor, with keys under the first."""

    core: Core
    audit: Audit
    keys: list[str]
    plan: RewrapPlan
    report: RewrapReport
    carrier: Carrier
    work: RecoveryRewrap

    async def version(self, number: int = 0) -> VersionRecord:
        found = await self.core.ledger.read(VersionRecord, f"{self.keys[number]}/1")
        assert found is not None
        return found

    async def change(self, kind: type[Any], name: str, **fields: Any) -> None:
        """Change a record as another process might."""
        async with self.core.ledger.change() as change:
            found = await change.get(kind, name)
            assert found is not None
            await change.put(dataclasses.replace(found, **fields, row_version=found.row_version + 1))


async def planned(core: Core) -> RewrapPlan:
    return await plan_rewrap(core.ledger, core.store, "")


@pytest.fixture
async def scene(tmp_path: Path, own: OpenedVault) -> AsyncIterator[Scene]:
    core = await make_core(tmp_path, own)
    wanted = [NewKey(KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC) for _ in range(2)]
    keys = [(await core.keys.create(core.caller(), each)).key_id for each in wanted]
    for key in keys:
        async with core.ledger.change() as change:
            found = await change.get(VersionRecord, f"{key}/1")
            assert found is not None
            assert found.recovery_blob == b"", "this token has no recovery key"
            await change.put(dataclasses.replace(found, recovery_blob=RECOVERY_BLOB, row_version=2))
    mutations = Mutations(core.ledger, core.store, core.vault, core.clock)
    operator = dataclasses.replace(core.caller(), principal=dataclasses.replace(ADMIN, operator=True))
    await HouseKeys(core.gate, mutations, core.store, own.vault).rotate(operator, House.KEK_SEALED.value)
    plan = await planned(core)
    audit, report, carrier = Audit(), RewrapReport(plan), Carrier(plan.sealed.hsm_id)
    realm = Realm("local", "111122223333")
    work = RecoveryRewrap(core.ledger, own.vault, carrier, audit, realm, report, {"approval": "a"})
    yield Scene(core, audit, keys, plan, report, carrier, work)
    await core.close()


# Plans.


async def test_a_plan_has_what_is_under_older_keks_and_counts_it(scene: Scene) -> None:
    plan = scene.plan

    assert plan.keys == dict.fromkeys(sorted(scene.keys), (1,))
    assert (plan.versions, len(plan.older), plan.pairs, dict(plan.stays)) == (2, 1, 0, {})
    assert plan.target(exportable=False) == plan.sealed.hsm_id not in plan.older
    assert plan.target(exportable=True) == plan.exportable.hsm_id
    assert await left_under(scene.core.store, scene.core.ledger, plan) == {plan.older[0]: 2}


async def test_what_has_no_recovery_blob_and_what_is_resident_is_named_and_not_planned(scene: Scene) -> None:
    await scene.change(VersionRecord, f"{scene.keys[0]}/1", recovery_blob=b"")
    edwards = NewKey(KeySpec.ECC_NIST_EDWARDS25519, KeyUsage.SIGN_VERIFY)
    resident = await scene.core.keys.create(scene.core.caller(), edwards)

    plan = await planned(scene.core)

    assert plan.keys == {scene.keys[1]: (1,)}
    assert dict(plan.stays) == {
        Stays.NO_RECOVERY_BLOB: (f"{scene.keys[0]}/1",),
        Stays.RESIDENT: (f"{resident.key_id}/1",),
    }


async def test_wrapping_keys_that_an_older_kek_still_wraps_are_named(scene: Scene) -> None:
    """They move by no re-wrap: nobody shall read that the KEK wraps nothing any more."""
    kinds = {"a": ("AES", scene.plan.older[0]), "b": ("AES", scene.plan.sealed.hsm_id), "c": ("RSA", "")}
    async with scene.core.ledger.change() as change:
        for digit, (kind, kek_id) in kinds.items():
            await change.put(
                WrappingKeyRecord(
                    f"wk-{digit * 16}", "111122223333", digit, WrappingKeyKind(kind), b"key", kek_id, b"blob",
                    b"", "admin", 1,
                )
            )  # fmt: skip

    plan = await planned(scene.core)

    assert plan.wrapping_keys == (f"wk-{'a' * 16}",)
    assert RewrapReport(plan).facts()["wrapping_keys"] == list(plan.wrapping_keys)
    assert f"wk-{'a' * 16}" in rewrap._readable(RewrapReport(plan))


async def test_a_key_under_the_newest_kek_is_left_alone(scene: Scene) -> None:
    await scene.core.keys.create(scene.core.caller(), NewKey(KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC))

    assert (await planned(scene.core)).keys == scene.plan.keys


async def test_a_token_without_keks_has_no_plan(scene: Scene) -> None:
    with pytest.raises(StrongroomError) as refusal:
        await plan_rewrap(scene.core.ledger, scene.core.store, "elsewhere")

    assert (refusal.value.reason, refusal.value.field) == (Reason.CONFIGURATION, "token")


# What somebody changed meanwhile stays as they left it.


KEY_CHANGES: dict[str, dict[str, Any]] = {
    "described": {"description": "new"},
    "exportable": {"exportable": True},
}


@pytest.mark.parametrize("fields", KEY_CHANGES.values(), ids=KEY_CHANGES)
async def test_a_key_that_changes_while_its_material_is_on_the_way_is_not_moved(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    await changed_before_commit(scene, monkeypatch, KeyRecord, scene.keys[0], **fields)


async def test_a_version_that_changes_while_its_material_is_on_the_way_is_not_moved(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await changed_before_commit(
        scene, monkeypatch, VersionRecord, f"{scene.keys[0]}/1", recovery_blob=b"a newer one"
    )


async def changed_before_commit(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: type[Any], name: str, **fields: Any
) -> None:
    commit = scene.work._commit

    async def late(*arguments: Any) -> bool:
        await scene.change(kind, name, **fields)
        return await commit(*arguments)

    monkeypatch.setattr(scene.work, "_commit", late)

    await scene.work.move(scene.keys[0])

    assert scene.carrier.asked == [f"{scene.keys[0]}/1"]
    assert scene.report.stays == {Stays.CHANGED: [f"{scene.keys[0]}/1"]}
    assert scene.report.moved == []
    assert (await scene.version()).kek_id == scene.plan.older[0]
    assert scene.audit.told() == [("intent", "PENDING"), ("outcome", "UNCHANGED")]


GONE: dict[str, dict[str, Any]] = {
    "moved by another": {"kek_id": "ab" * 16},
    "destroyed": {"state": VersionState.DESTROYED, "blob": b""},
    "material deleted": {"state": VersionState.AWAITING_IMPORT, "blob": b""},
}


@pytest.mark.parametrize("fields", GONE.values(), ids=GONE)
async def test_a_version_that_is_not_where_the_plan_found_it_is_not_even_tried(
    scene: Scene, fields: dict[str, Any]
) -> None:
    await scene.change(VersionRecord, f"{scene.keys[0]}/1", **fields)

    await scene.work.move(scene.keys[0])

    assert scene.carrier.asked == []
    assert scene.report.stays == {Stays.CHANGED: [f"{scene.keys[0]}/1"]}
    assert scene.audit.records == []


# What the tokens say.


async def test_a_blob_that_is_not_the_versions_keeps_its_key_and_no_other(scene: Scene) -> None:
    scene.carrier.error = StrongroomError(Reason.KEY_UNAVAILABLE)
    before = await scene.version()

    for key in scene.keys:
        await scene.work.move(key)

    assert scene.report.stays == {Stays.WRONG_BLOB: [f"{key}/1" for key in scene.keys]}
    assert await scene.version() == before
    assert scene.audit.told() == [("intent", "PENDING"), ("outcome", "UNCHANGED")] * 2


STOPPING: dict[str, StrongroomError] = {
    "away": StrongroomError(Reason.HSM_UNAVAILABLE),
    "another": StrongroomError(Reason.CONFIGURATION),
    "the store is": StrongroomError(Reason.STORE_UNAVAILABLE),
    # What is sound does not open there either (hsm/transport.py): no blob is to blame.
    "opens nothing any more": Refused("C_UnwrapKey", 0x40, Fault.DATA),
}


@pytest.mark.parametrize("error", STOPPING.values(), ids=STOPPING)
async def test_a_token_that_cannot_be_used_stops_the_ceremony_and_blames_no_key(
    scene: Scene, error: StrongroomError
) -> None:
    scene.carrier.error = error

    with pytest.raises(StrongroomError) as stopped:
        await scene.work.move(scene.keys[0])

    assert stopped.value is error
    assert scene.report.stays == {}
    assert scene.audit.told() == [("intent", "PENDING"), ("outcome", error.reason.value)]


async def test_nor_does_a_house_token_that_fails_while_a_version_is_proved(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise StrongroomError(Reason.INTERNAL)

    monkeypatch.setattr(scene.work._prover, "prove", fails)

    with pytest.raises(StrongroomError):
        await scene.work.move(scene.keys[0])

    assert (scene.report.stays, scene.carrier.asked) == ({}, [])


async def test_material_that_fails_its_check_value_already_is_not_carried(scene: Scene) -> None:
    await scene.change(VersionRecord, f"{scene.keys[0]}/1", check_value=b"\0" * 32)

    await scene.work.move(scene.keys[0])

    assert scene.carrier.asked == []
    assert scene.report.stays == {Stays.UNUSABLE: [f"{scene.keys[0]}/1"]}


async def test_material_under_another_kek_than_the_planned_one_is_not_stored(scene: Scene) -> None:
    scene.carrier.kek_id = scene.plan.older[0]
    before = await scene.version()

    with pytest.raises(StrongroomError) as stopped:
        await scene.work.move(scene.keys[0])

    assert stopped.value.reason is Reason.INTERNAL
    assert await scene.version() == before


async def test_what_does_not_load_from_the_store_stops_the_ceremony(scene: Scene) -> None:
    with pytest.raises(StrongroomError) as stopped:
        await scene.work.move(scene.keys[0])

    assert stopped.value.reason is Reason.KEY_UNAVAILABLE
    assert scene.report.moved == []
    assert scene.audit.told()[-1] == ("outcome", "KEY_UNAVAILABLE")
    assert scene.audit.records[-1]["moved"] == [1], "its row has changed: the log says so"
    assert (await scene.version()).kek_id == scene.plan.sealed.hsm_id


# What is written down.


async def test_a_record_says_whose_key_which_versions_by_whose_approval_and_at_what_level(
    scene: Scene,
) -> None:
    scene.carrier.error = StrongroomError(Reason.KEY_UNAVAILABLE)

    await scene.work.move(scene.keys[0])

    assert scene.audit.records[0] == {
        "approval": "a",
        "action": ACTION,
        "key": f"arn:aws:kms:local:111122223333:key/{scene.keys[0]}",
        "versions": [1],
        "token": "main",
        "house_key": scene.plan.sealed.hsm_id,
        "level": "token",
        "kind": "intent",
        "outcome": "PENDING",
    }


async def test_nothing_is_carried_before_the_intent_is_durable(scene: Scene) -> None:
    scene.audit.full = "intent"
    before = await scene.version()

    with pytest.raises(StrongroomError) as stopped:
        await scene.work.move(scene.keys[0])

    assert stopped.value.reason is Reason.AUDIT_UNAVAILABLE
    assert scene.carrier.asked == []
    assert await scene.version() == before


async def test_the_ceremony_stops_where_an_outcome_cannot_be_written(scene: Scene) -> None:
    scene.carrier.error = StrongroomError(Reason.KEY_UNAVAILABLE)
    scene.audit.full = "outcome"

    with pytest.raises(StrongroomError) as stopped:
        await scene.work.move(scene.keys[0])

    assert stopped.value.reason is Reason.AUDIT_UNAVAILABLE


async def test_a_bug_is_written_down_as_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Material:
        raise ZeroDivisionError

    monkeypatch.setattr(scene.carrier, "carry", broken)

    with pytest.raises(ZeroDivisionError):
        await scene.work.move(scene.keys[0])

    assert scene.audit.told()[-1] == ("outcome", "INTERNAL")


def test_a_report_lists_every_reason_and_begins_with_the_plans(scene: Scene) -> None:
    plan = dataclasses.replace(scene.plan, stays={Stays.RESIDENT: ("a/1",)})
    report = RewrapReport(plan)
    report.stay("b/1", Stays.RESIDENT)

    facts = report.facts()

    assert facts["stays"] == {**{why.value: [] for why in Stays}, "resident": ["a/1", "b/1"]}
    assert (facts["planned"], facts["level"], facts["token"]) == (2, "token", "main")
    assert RewrapReport(plan).stays == {Stays.RESIDENT: ["a/1"]}, "reports share nothing"
