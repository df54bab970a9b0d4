"""Asking for exports in the core, on a real token: what is refused before anybody has approved anything."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.faults.core import ACCOUNT, Core
from tests.harness import allow
from tests.records import sample

from strongroomd.custody.dualcontrol import DualControl, Wish
from strongroomd.custody.exports import Exports, WantedExport
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.notary import Notary
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import ExportLevel, WrappingKeyKind, WrappingKeyRecord, require_token
from strongroomd.domain.records import KeyRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.statements import HouseSigner

WISH = Wish("a test", 3_600_000)


class Meter:
    def exported(self, level: ExportLevel) -> None:
        raise AssertionError("nothing may leave")


def exports(core: Core) -> Exports:
    control = DualControl(core.mutations, core.directory, core.vault)
    notary = Notary(HouseSigner(core.opened.vault), "/strongroom/test", core.clock)
    return Exports(core.gate, core.catalog, control, core.vault, notary, Meter(), ExportLevel.HOST)


async def exportable(core: Core, token: str) -> KeyRecord:
    """An exportable key whose versions are said to live in a token."""
    caller = core.caller()
    arn = caller.principal.arn
    policy = allow(arn, "strongroom:*", also=arn)
    wanted = NewKey(KeySpec.SYMMETRIC_DEFAULT, exportable=True, policy=policy)
    key = await core.keys.create(caller, wanted)
    async with core.ledger.change() as change:
        current = await change.get(KeyRecord, key.key_id)
        assert current is not None
        moved = dataclasses.replace(current, token=token, row_version=current.row_version + 1)
        await change.put(moved)
    return moved


async def registered(core: Core, kind: WrappingKeyKind) -> str:
    name = f"wk-{'1' if kind is WrappingKeyKind.AES else '2'}" + "0" * 15
    public = rsa.generate_private_key(65_537, 2_048).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    blob = b"blob" if kind is WrappingKeyKind.AES else b""
    record = dataclasses.replace(
        sample(WrappingKeyRecord),
        wrapping_key_id=name,
        account=ACCOUNT,
        kind=kind,
        public_key=spki,
        blob=blob,
    )
    async with core.ledger.change() as change:
        await change.put(record)
    return name


@pytest.mark.softhsm
async def test_an_aes_wrapping_key_is_refused_for_a_key_of_another_token_when_it_is_asked_for(
    core: Core,
) -> None:
    key = await exportable(core, "second")
    shared = WantedExport(
        key.key_id, 0, ExportLevel.TOKEN, wrapping_key_id=await registered(core, WrappingKeyKind.AES)
    )

    with pytest.raises(StrongroomError) as refusal:
        await exports(core).request(core.caller(), shared, WISH)

    assert (refusal.value.reason, refusal.value.field) == (Reason.UNSUPPORTED_BY_TOKEN, "wrapping_key_id")
    assert "main token" in refusal.value.message
    assert core.rows("SELECT * FROM approval_requests") == []
    assert core.audited(core.caller().principal.arn)[-1]["outcome"] == "UNSUPPORTED_BY_TOKEN"


@pytest.mark.softhsm
@pytest.mark.parametrize(
    ("kind", "token"),
    [(WrappingKeyKind.RSA, "second"), (WrappingKeyKind.RSA, MAIN), (WrappingKeyKind.AES, MAIN)],
)
async def test_what_goes_together_waits_for_approvals(core: Core, kind: WrappingKeyKind, token: str) -> None:
    key = await exportable(core, token)
    wanted = WantedExport(key.key_id, 0, ExportLevel.TOKEN, wrapping_key_id=await registered(core, kind))

    standing = await exports(core).request(core.caller(), wanted, WISH)

    assert standing.record.key_id == key.key_id


@pytest.mark.parametrize("kind", list(WrappingKeyKind))
@pytest.mark.parametrize("token", [MAIN, "second"])
def test_only_a_shared_key_is_bound_to_its_token(kind: WrappingKeyKind, token: str) -> None:
    if kind is WrappingKeyKind.AES and token != MAIN:
        with pytest.raises(StrongroomError):
            require_token(kind, token)
    else:
        require_token(kind, token)
