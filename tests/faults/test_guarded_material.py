"""Imported material of protected keys: nobody alone takes it away, neither at once nor by a near date."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.faults.core import ACCOUNT, Core
from tests.imports import wrapped

from strongroomd.custody.approvals import Approvals
from strongroomd.custody.dualcontrol import Wish
from strongroomd.custody.importedkeys import shortens
from strongroomd.custody.importparameters import Parameters
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.materials import NewMaterial
from strongroomd.custody.standings import Standing
from strongroomd.custody.subjects import MaterialDeletion, MaterialExpiry, Subject
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.approvalrecords import ApprovalRecord, ApproverRecord
from strongroomd.domain.approvals import ApprovalState, approver_id
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.importing import (
    ExpirationModel,
    ImportLevel,
    ImportType,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from strongroomd.domain.materials import MaterialRecord
from strongroomd.domain.principals import Principal
from strongroomd.domain.records import KeyRecord, KeyState, Origin

pytestmark = pytest.mark.softhsm
HOUR = 3600 * 1000
DAY = 24 * HOUR
OAEP = WrappingAlgorithm.RSAES_OAEP_SHA_1
NEVER = ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE
NEW = ImportType.NEW_KEY_MATERIAL
WISH = Wish("it has served", HOUR)
PEOPLE = {
    f"arn:aws:iam::{ACCOUNT}:user/{name}": ed25519.Ed25519PrivateKey.generate() for name in ("bob", "carol")
}


@pytest.fixture(autouse=True)
async def _people(core: Core) -> None:
    """Two people with enrolled keys, whom the configuration knows."""
    core.directory.use_configured([core.caller().principal, *(Principal(arn, ACCOUNT) for arn in PEOPLE)])
    async with core.ledger.change() as change:
        for arn, private in PEOPLE.items():
            public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            await change.put(ApproverRecord(approver_id(public), ACCOUNT, arn, public, 1, "a", 0, ""))


async def asked(core: Core, subject: Subject, *, approved: bool = True) -> Standing:
    """Have a change asked for, and approved by both."""
    made = await Approvals(core.gate, core.control).ask(core.caller(), subject, WISH)
    for arn, private in PEOPLE.items() if approved else ():
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        request = made.record.request
        given = ApprovalRecord(
            request.id, ACCOUNT, made.record.key_id, arn, approver_id(public), request.digest,
            private.sign(request.file), 1,
        )  # fmt: skip
        async with core.ledger.change() as change:
            await change.put(given)
    return made


async def protected(core: Core, spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT, quorum: int = 2) -> KeyRecord:
    return await core.keys.create(core.caller(), NewKey(spec), quorum=quorum, origin=Origin.EXTERNAL)


_given: dict[str, Parameters] = {}


async def bring(
    core: Core, key: KeyRecord, material: bytes, valid_to: int = 0, approval: str = "", **more: Any
) -> MaterialRecord:
    """Import material until a time in ms, or for ever; parameters that were not used up are used again."""
    given = _given.get(key.key_id) or await core.parameters.give(
        core.caller(), key.key_id, OAEP, WrappingKeySpec.RSA_2048
    )
    _given[key.key_id] = given
    sent = wrapped(material, OAEP, given.pair.public_key)
    wanted = NewMaterial(
        given.token, sent, None if valid_to else NEVER, valid_to, approval_id=approval, **more
    )
    made = await core.materials.import_material(core.caller(), key.key_id, wanted)
    del _given[key.key_id]
    return made


async def refused(job: Any, reason: Reason, field: str = "") -> None:
    with pytest.raises(StrongroomError) as caught:
        await job
    assert (caught.value.reason, caught.value.field or "") == (reason, field)


async def state_of(core: Core, key: KeyRecord) -> KeyState:
    return (await core.keys.describe(core.caller(), key.key_id)).state


def outcomes(core: Core, action: str) -> list[str]:
    found = core.audited(core.caller().principal.arn)
    return [each["outcome"] for each in found if each["action"] == action and each["kind"] == "outcome"]


async def test_material_of_a_protected_key_is_deleted_with_approval_only_and_once(core: Core) -> None:
    key, material = await protected(core), os.urandom(32)
    await bring(core, key, material)
    delete = core.materials.delete

    await refused(delete(core.caller(), key.key_id), Reason.APPROVAL_REQUIRED, "approval_id")
    waiting = await asked(core, MaterialDeletion(key.key_id), approved=False)
    name = waiting.record.approval_id
    await refused(
        delete(core.caller(), key.key_id, approval_id=name), Reason.APPROVAL_REQUIRED, "approval_id"
    )
    assert await state_of(core, key) is KeyState.ENABLED
    await core.use(key.key_id)
    name = (await asked(core, MaterialDeletion(key.key_id))).record.approval_id

    after = await delete(core.caller(), key.key_id, approval_id=name)

    assert after.state is KeyState.PENDING_IMPORT
    assert outcomes(core, "kms:DeleteImportedKeyMaterial") == ["APPROVAL_REQUIRED"] * 2 + ["OK"]
    told = core.audited(core.caller().principal.arn)[-1]
    assert (told["approval"], told["approved_by"]) == (name, sorted(PEOPLE))
    await bring(core, key, material)
    await refused(delete(core.caller(), key.key_id, approval_id=name), Reason.APPROVAL_CLOSED, "approval_id")


async def test_what_is_not_there_needs_no_approval_and_spends_none(core: Core) -> None:
    key = await protected(core)
    assert (await core.materials.delete(core.caller(), key.key_id)).state is KeyState.PENDING_IMPORT


async def test_a_key_that_waits_for_its_deletion_keeps_its_material_until_then(core: Core) -> None:
    """Otherwise whoever may not delete it at once could do just that."""
    key = await protected(core)
    await bring(core, key, os.urandom(32))
    async with core.ledger.change() as change:
        now = await change.get(KeyRecord, key.key_id)
        assert now is not None
        pending = dataclasses.replace(
            now,
            state=KeyState.PENDING_DELETION,
            deletion_at=core.clock.wall_ms() + 7 * DAY,
            row_version=now.row_version + 1,
        )
        await change.put(pending)

    await refused(core.materials.delete(core.caller(), key.key_id), Reason.APPROVAL_REQUIRED, "approval_id")


async def test_an_approval_is_of_one_version_and_one_key(core: Core) -> None:
    key, other = await protected(core), await protected(core)
    for each in (key, other):
        await bring(core, each, os.urandom(32))
    await bring(core, key, os.urandom(32), kind=NEW)
    first = (await asked(core, MaterialDeletion(key.key_id, 1))).record.approval_id
    theirs = (await asked(core, MaterialDeletion(other.key_id))).record.approval_id
    delete = core.materials.delete

    for version, name in ((2, first), (1, theirs)):
        await refused(
            delete(core.caller(), key.key_id, version, approval_id=name),
            Reason.APPROVAL_MISMATCH,
            "approval_id",
        )
    end = core.clock.wall_ms() + DAY
    expiry = (await asked(core, MaterialExpiry(key.key_id, 1, end))).record.approval_id
    await refused(
        delete(core.caller(), key.key_id, 1, approval_id=expiry), Reason.APPROVAL_MISMATCH, "approval_id"
    )
    await delete(core.caller(), key.key_id, 1, approval_id=first)


async def test_a_request_id_is_of_one_version(core: Core) -> None:
    """Approvers would sign for the version that was asked about first."""
    key, now = await protected(core), core.clock.wall_ms()
    await bring(core, key, os.urandom(32))
    await bring(core, key, os.urandom(32), kind=NEW)
    ask = Approvals(core.gate, core.control).ask
    subjects: list[tuple[Subject, Subject]] = [
        (MaterialDeletion(key.key_id, 1), MaterialDeletion(key.key_id, 2)),
        (MaterialExpiry(key.key_id, 1, now + DAY), MaterialExpiry(key.key_id, 2, now + DAY)),
    ]
    for first, second in subjects:
        name = f"once-{type(first).__name__}"
        made = await ask(core.caller(), first, WISH, name)

        again = await ask(core.caller(), first, WISH, name)
        await refused(ask(core.caller(), second, WISH, name), Reason.REQUEST_ID_REUSED, "request_id")

        assert (again.record.approval_id, again.record.version) == (made.record.approval_id, 1)


async def test_a_protected_keys_material_gets_a_near_date_with_approval_only(core: Core) -> None:
    key, material = await protected(core), os.urandom(32)
    await bring(core, key, material)
    soon = core.clock.wall_ms() + HOUR

    await refused(bring(core, key, material, soon), Reason.APPROVAL_REQUIRED, "approval_id")
    other = (await asked(core, MaterialExpiry(key.key_id, 1, soon + DAY))).record.approval_id
    await refused(bring(core, key, material, soon, other), Reason.APPROVAL_MISMATCH, "approval_id")
    core.clock.pass_time(0.5)
    assert await core.store.next_expiry() == 0
    name = (await asked(core, MaterialExpiry(key.key_id, 0, soon))).record.approval_id

    made = await bring(core, key, material, soon, name)

    assert (made.version, made.expires_at) == (1, soon)
    assert outcomes(core, "kms:ImportKeyMaterial") == [
        "OK", "APPROVAL_REQUIRED", "APPROVAL_MISMATCH", "OK",
    ]  # fmt: skip
    # Later, or never: nobody loses anything by it.
    await bring(core, key, material, soon + DAY)
    await bring(core, key, material)
    await refused(bring(core, key, material, soon + DAY), Reason.APPROVAL_REQUIRED, "approval_id")


async def test_new_material_that_goes_before_the_other_would_end_the_key_too(core: Core) -> None:
    key, second = await protected(core), os.urandom(32)
    far = core.clock.wall_ms() + 300 * DAY
    await bring(core, key, os.urandom(32), far)

    await refused(bring(core, key, second, far - DAY, kind=NEW), Reason.APPROVAL_REQUIRED, "approval_id")
    name = (await asked(core, MaterialExpiry(key.key_id, 2, far - DAY))).record.approval_id
    assert (await bring(core, key, second, far - DAY, name, kind=NEW)).version == 2


async def test_first_material_and_what_comes_back_may_have_any_end(core: Core) -> None:
    key, material = await protected(core), os.urandom(32)
    soon = core.clock.wall_ms() + HOUR
    await bring(core, key, material, soon)
    await bring(core, key, material)
    name = (await asked(core, MaterialDeletion(key.key_id))).record.approval_id
    await core.materials.delete(core.caller(), key.key_id, approval_id=name)

    assert (await bring(core, key, material, soon)).expires_at == soon


async def test_a_key_that_is_not_protected_is_its_administrators_alone(core: Core) -> None:
    key, material = await protected(core, quorum=0), os.urandom(32)
    await bring(core, key, material)
    await bring(core, key, material, core.clock.wall_ms() + HOUR)
    ask = Approvals(core.gate, core.control).ask
    for subject in (MaterialDeletion(key.key_id), MaterialExpiry(key.key_id, 1, core.clock.wall_ms() + DAY)):
        await refused(ask(core.caller(), subject, WISH), Reason.INVALID_FIELD, "key")
    assert (await core.materials.delete(core.caller(), key.key_id)).state is KeyState.PENDING_IMPORT


WRONG: dict[str, tuple[Callable[[str, int], Subject], Reason, str]] = {
    "no such version": (lambda key, _: MaterialDeletion(key, 2), Reason.INVALID_FIELD, "key_version"),
    "no version that can be": (
        lambda key, now: MaterialExpiry(key, 1_001, now + DAY), Reason.INVALID_FIELD, "key_version",
    ),
    "no end": (lambda key, _: MaterialExpiry(key, 1, 0), Reason.INVALID_FIELD, "valid_to"),
    "an end that is past": (lambda key, now: MaterialExpiry(key, 1, now), Reason.INVALID_FIELD, "valid_to"),
    "too late an end": (
        lambda key, now: MaterialExpiry(key, 1, now + 366 * DAY), Reason.INVALID_FIELD, "valid_to",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", list(WRONG))
async def test_what_would_be_refused_anyway_is_not_asked(core: Core, wrong: str) -> None:
    key = await protected(core)
    await bring(core, key, os.urandom(32))
    make, reason, field = WRONG[wrong]
    ask = Approvals(core.gate, core.control).ask

    await refused(ask(core.caller(), make(key.key_id, core.clock.wall_ms()), WISH), reason, field)


async def test_of_a_key_that_was_made_here_nothing_is_asked(core: Core) -> None:
    key = await core.keys.create(core.caller(), NewKey(KeySpec.SYMMETRIC_DEFAULT), quorum=2)
    ask = Approvals(core.gate, core.control).ask

    for subject in (MaterialDeletion(key.key_id), MaterialExpiry(key.key_id, 1, core.clock.wall_ms() + DAY)):
        await refused(ask(core.caller(), subject, WISH), Reason.INVALID_KEY_USAGE)


async def test_a_spent_request_says_so_and_a_failed_import_spends_none(core: Core) -> None:
    key, material = await protected(core), os.urandom(32)
    await bring(core, key, material)
    soon = core.clock.wall_ms() + HOUR
    made = await asked(core, MaterialExpiry(key.key_id, 1, soon))
    name = made.record.approval_id

    await refused(
        bring(core, key, os.urandom(32), soon, name), Reason.INCORRECT_KEY_MATERIAL, "encrypted_key_material"
    )
    assert (await core.control.standings.look_again(made.record)).record.state in {
        ApprovalState.WAITING,
        ApprovalState.APPROVED,
    }
    await bring(core, key, material, soon, name)
    assert (await core.control.standings.look_again(made.record)).record.state is ApprovalState.EXECUTED


ENDS: dict[str, tuple[dict[int, int], int, int, int, bool]] = {
    "first material": ({}, 1, 1, 5, False),
    "an end where there was none": ({1: 0}, 1, 2, 5, True),
    "an earlier end": ({1: 9}, 1, 2, 5, True),
    "the same end": ({1: 5}, 1, 2, 5, False),
    "a later end": ({1: 4}, 1, 2, 5, False),
    "no end any more": ({1: 4}, 1, 2, 0, False),
    "other material goes earlier still": ({1: 9, 2: 3}, 1, 2, 5, True),
    "new material, earlier than all": ({1: 9, 2: 0}, 3, 1, 5, True),
    "new material, later than some": ({1: 4, 2: 0}, 3, 1, 5, False),
    "new material without an end": ({1: 4}, 2, 1, 0, False),
    "what was away comes back": ({1: 0}, 2, 4, 5, False),
}


@pytest.mark.parametrize("case", list(ENDS))
def test_what_makes_a_key_end_sooner(case: str) -> None:
    ends, version, row_version, expires_at, sooner = ENDS[case]
    level = ImportLevel.TOKEN
    stored = MaterialRecord(
        "k", version, ACCOUNT, 1, expires_at, 0, OAEP, level, b"", row_version=row_version
    )
    assert shortens(ends, stored) is sooner
