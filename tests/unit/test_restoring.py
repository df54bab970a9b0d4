"""What a restore believes of house keys that were replaced, and what it does with a key that is lost."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroomd.custody.offlineapprovals import Approvals, Wanted
from strongroomd.domain.audit import Checkpoint, next_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import HouseRecord, HouseState
from strongroomd.domain.restores import RestoreReport
from strongroomd.frontends.ops.signatures import public_key_pem
from strongroomd.hsm.statements import key_id
from strongroomd.storage.audit_chain import ARCHIVE
from strongroomd.storage.checkpoints import CheckpointFile, SignedCheckpoint
from strongroomd.wiring import recovering, rooms
from strongroomd.wiring.publishing import public_keys
from strongroomd.wiring.recovering import _bring, _Mover
from strongroomd.wiring.restoring import check_audit

KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
PUBLIC = [key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in KEYS]


def house(role: str, generation: int, state: HouseState = HouseState.ACTIVE) -> HouseRecord:
    public = PUBLIC[generation] if state is HouseState.ACTIVE else b""
    return HouseRecord(role, f"{9 - generation:02x}", public, b"", generation=generation, state=state)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / ARCHIVE).mkdir()
    return tmp_path


def checkpoints(directory: Path, signers: list[int], named: list[int | None]) -> None:
    """Write checkpoints, each by a key, some naming the key that comes next."""
    before: Checkpoint | None = None
    for signer, following in zip(signers, named, strict=True):
        made = next_checkpoint(before, (), time=1, journal_sequence=0, journal_head=bytes(32))
        made = dataclasses.replace(made, next_key=b"" if following is None else PUBLIC[following])
        signature = KEYS[signer].sign(made.message(), ec.ECDSA(hashes.SHA256()))
        CheckpointFile(directory).append(SignedCheckpoint(made, signature))
        before = made


async def checked(directory: Path, records: list[HouseRecord]) -> RestoreReport:
    report = RestoreReport("a", "")
    await check_audit(cast("Any", SimpleNamespace(audit=directory)), records, None, None, report)
    return report


async def test_an_audit_log_whose_checkpoint_key_was_replaced_is_whole(directory: Path) -> None:
    checkpoints(directory, [0, 0, 1], [None, 1, None])

    report = await checked(directory, [house("checkpoint", 1), house("checkpoint", 0)])

    assert report.checkpoints == 3


@pytest.mark.parametrize(
    ("signers", "named"),
    [
        ([0, 2, 1], [2, 1, None]),  # by a key that is not the house's
        ([0, 0, 0, 1], [None, 1, None, None]),  # by the old key after it handed over
        ([1, 1], [None, None]),  # by a key that none named
    ],
)
async def test_only_the_houses_keys_in_their_order_are_followed(
    directory: Path, signers: list[int], named: list[int | None]
) -> None:
    checkpoints(directory, signers, named)

    with pytest.raises(StrongroomError) as refusal:
        await checked(directory, [house("checkpoint", 0), house("checkpoint", 1)])

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


@pytest.mark.parametrize("unfinished", [HouseState.INTENT, HouseState.FAILED])
@pytest.mark.parametrize("order", [list, lambda records: records[::-1]])
def test_the_public_keys_are_those_that_verification_begins_with(
    unfinished: HouseState, order: Callable[[list[HouseRecord]], list[HouseRecord]]
) -> None:
    roles = ("checkpoint", "statement")
    records = [house(role, generation) for role in roles for generation in (0, 1)]
    records += [house(role, 2, unfinished) for role in roles]
    settings = SimpleNamespace(
        checkpoint_public_key=Path("c"), statement_public_key=Path("s"), retired_statement_key=Path
    )

    texts = public_keys(cast("Any", settings), order(records))

    assert texts == {
        Path("c"): public_key_pem(PUBLIC[0]),
        Path("s"): public_key_pem(PUBLIC[1]),
        Path(key_id(PUBLIC[0])): public_key_pem(PUBLIC[0]),
    }


def mover(report: RestoreReport, reason: Reason) -> _Mover:
    class Landing:
        def receive(self, blob: bytes, bound: BoundVersion) -> None:
            raise StrongroomError(reason)

    attached = SimpleNamespace(retarget=lambda blob: blob)
    return _Mover(*cast("Any", (None, None, None, report, Landing(), attached)))


def test_a_key_whose_recovery_blob_is_bad_is_lost_alone() -> None:
    report = RestoreReport("a", "")
    bound = cast("Any", SimpleNamespace(record=SimpleNamespace(record_id="k/1", recovery_blob=b"bad")))

    assert mover(report, Reason.KEY_UNAVAILABLE)._landed(bound) is bound.record
    assert report.lost == ["k/1"]


@pytest.mark.parametrize("reason", [Reason.HSM_UNAVAILABLE, Reason.INTERNAL, Reason.OVERLOADED])
def test_a_token_that_fails_is_not_taken_for_a_bad_blob(reason: Reason) -> None:
    bound = cast("Any", SimpleNamespace(record=SimpleNamespace(record_id="k/1", recovery_blob=b"good")))

    with pytest.raises(StrongroomError):
        mover(RestoreReport("a", ""), reason)._landed(bound)


class Asked(Approvals):
    """Approvers who sign whatever they are asked."""

    wanted: ClassVar[list[Wanted]] = []

    def demand(self, wanted: Wanted, approvers: Any, quorum: int) -> list[str]:
        self.wanted.append(wanted)
        raise StrongroomError(Reason.APPROVAL_REQUIRED)


@pytest.mark.parametrize(("held", "asked"), [(6, True), (5, False)])
async def test_recovery_of_a_set_older_than_the_held_checkpoint_needs_approval_for_that(
    monkeypatch: pytest.MonkeyPatch, held: int, asked: bool
) -> None:
    async def nothing(*_: Any) -> Any:
        return {}, 1

    async def audit(*_: Any) -> None:
        return

    async def old(*_: Any) -> Any:
        async def all_of(_: Any) -> list[HouseRecord]:
            return []

        return SimpleNamespace(all=all_of, close=audit)

    def begun(*_: Any) -> None:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    hsm = SimpleNamespace(recovery_public_key=b"key")
    monkeypatch.setattr(recovering, "approvers_in", nothing)
    monkeypatch.setattr(recovering, "check_audit", audit)
    monkeypatch.setattr(recovering, "_open_old", old)
    monkeypatch.setattr(recovering, "staged_hsm", lambda *_: hsm)
    monkeypatch.setattr(recovering, "token_plans", lambda _: [None])
    monkeypatch.setattr(rooms, "pin_source", begun)
    settings = SimpleNamespace(daemon=SimpleNamespace(account="1" * 12), identities=())
    claims = SimpleNamespace(name="a", checkpoint=5, journal_sequence=10, payload_sha256="00")
    opened = SimpleNamespace(claims=claims, statement=SimpleNamespace(time=0))
    kept = SimpleNamespace(number=held, journal_sequence=12)
    order = SimpleNamespace(held=kept, approvals=Asked())
    Asked.wanted.clear()

    with pytest.raises(StrongroomError) as refusal:
        await _bring(*cast("Any", (SimpleNamespace(settings=settings), opened, order, Path())))

    assert refusal.value.reason is (Reason.APPROVAL_REQUIRED if asked else Reason.HSM_UNAVAILABLE)
    assert [wanted.parameters["newer_sequence"] for wanted in Asked.wanted] == (["12"] if asked else [])
