"""What becomes of keys that do not prove themselves: said by where they live, and a wrapped one ends the restore."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from strongroomd.custody import inventory
from strongroomd.custody.inventory import Holding, Proofs, prove_keys
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode, KeyRecord, KeyState, Origin, VersionRecord, VersionState
from strongroomd.domain.restores import RestoreReport
from strongroomd.wiring import restoring

SPEC, USAGE = KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT
FATES = ("right", "wrong")


def holding(mode: CustodyMode, fate: str) -> Holding:
    """A key version whose id says what its token will say of it."""
    key = KeyRecord(
        key_id=f"{mode.value}-{fate}", account="1", spec=SPEC, usage=USAGE, mode=mode, custody_note="",
        origin=Origin.HSM, exportable=False, state=KeyState.ENABLED, description="", created_at=0, deletion_at=0,
        current_version=1, policy="", tags=(),
    )  # fmt: skip
    version = VersionRecord(
        key_id=key.key_id, version=1, state=VersionState.ACTIVE, created_at=0, kek_id="", hsm_id="", blob=b"secret",
        length=32, public_key=b"", check_value=b"12345678", recovery_blob=b"",
    )  # fmt: skip
    return Holding(key, version)


class Token:
    """Says of each version what its id says."""

    async def prove(self, key: BoundVersion, *, deadline: float) -> None:
        if key.key_id.endswith("wrong"):
            raise StrongroomError(Reason.KEY_UNAVAILABLE)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Holding]:
    every = [holding(mode, fate) for mode in CustodyMode for fate in FATES]

    async def holdings(*_: Any) -> AsyncIterator[Holding]:
        for one in every:
            yield one

    monkeypatch.setattr(inventory, "holdings", holdings)
    return every


async def prove(prover: Any) -> Proofs:
    nothing: Any = None
    return await prove_keys(nothing, nothing, prover)


async def test_each_key_is_named_by_where_it_should_have_been(held: list[Holding]) -> None:
    proofs = await prove(lambda _: Token())

    assert proofs.right == {"WRAPPED": 1, "RESIDENT": 1, "ADOPTED": 1}
    assert proofs.wrong == ["WRAPPED-wrong/1"]
    assert proofs.missing == ["RESIDENT-wrong/1"]
    assert proofs.elsewhere == ["ADOPTED-wrong/1"]
    assert proofs.away == []


async def test_a_token_that_is_not_open_proves_nothing(held: list[Holding]) -> None:
    proofs = await prove(lambda _: None)

    assert proofs == Proofs(away=[one.version.record_id for one in held])


@pytest.mark.parametrize("reason", [Reason.HSM_UNAVAILABLE, Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED])
async def test_a_token_that_fails_meanwhile_ends_it_and_is_no_keys_fault(
    held: list[Holding], reason: Reason
) -> None:
    class Failing:
        async def prove(self, key: BoundVersion, *, deadline: float) -> None:
            raise StrongroomError(reason)

    with pytest.raises(StrongroomError) as failure:
        await prove(lambda _: Failing())

    assert failure.value.reason is reason


async def test_one_wrapped_key_that_cannot_be_used_ends_the_restore(held: list[Holding]) -> None:
    nothing: Any = None

    with pytest.raises(StrongroomError) as refusal:
        await restoring.take_proofs(RestoreReport("a", "b"), nothing, nothing, lambda _: Token())

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE
    assert "WRAPPED-wrong/1" in (refusal.value.detail or "")


async def test_resident_and_adopted_keys_that_are_gone_are_reported_and_end_nothing(
    held: list[Holding],
) -> None:
    held[:] = [one for one in held if one.key.mode is not CustodyMode.WRAPPED]
    nothing: Any = None
    report = RestoreReport("a", "b")

    await restoring.take_proofs(report, nothing, nothing, lambda _: Token())

    assert (report.missing, report.elsewhere) == (["RESIDENT-wrong/1"], ["ADOPTED-wrong/1"])


def test_what_a_set_lists_of_a_key_is_nothing_that_opens_it() -> None:
    line = holding(CustodyMode.WRAPPED, "right").line()

    assert line["check_value"] == b"12345678".hex()
    assert "secret" not in str(line)
    assert b"secret".hex() not in str(line)


def test_no_restore_report_says_what_only_the_log_may() -> None:
    names = {field.name for field in dataclasses.fields(RestoreReport)}

    assert set(RestoreReport("a", "b").facts()) == names
