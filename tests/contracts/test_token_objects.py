"""What stays in the token: anchors and resident keys."""

import dataclasses
import os

import pytest
from pkcs11.constants import Attribute
from tests.hsmkeys import OpenedVault, make, soon

from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm import anchors, handles, resident
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.packing import pack

pytestmark = pytest.mark.softhsm


def anchor(sequence: int, checkpoint: int = 0) -> Anchor:
    return Anchor(sequence, os.urandom(32), checkpoint, os.urandom(32))


def count(vault: TokenVault) -> int:
    with vault._parts.pool.fresh() as session:
        return len(handles.find(session, anchors._SEARCH))


async def test_token_without_anchor_says_so(own: OpenedVault) -> None:
    assert await own.vault.read_anchor() is None


async def test_newest_anchor_is_read_and_older_ones_go(own: OpenedVault) -> None:
    written = [anchor(n) for n in (1, 2, 3)]
    for each in written:
        await own.vault.write_anchor(each)

    assert await own.vault.read_anchor() == written[-1]
    assert count(own.vault) == 1


async def test_checkpoint_alone_makes_an_anchor_newer(own: OpenedVault) -> None:
    await own.vault.write_anchor(anchor(5, 1))
    newer = anchor(5, 2)
    await own.vault.write_anchor(newer)

    assert await own.vault.read_anchor() == newer


async def test_late_writer_never_takes_the_anchor_back(own: OpenedVault) -> None:
    newest = anchor(9)
    await own.vault.write_anchor(newest)
    await own.vault.write_anchor(anchor(8))

    assert await own.vault.read_anchor() == newest


async def test_kill_between_making_and_destroying_leaves_the_newest_readable(own: OpenedVault) -> None:
    await own.vault.write_anchor(anchor(1))
    newest = anchor(2)
    own.vault._objects.change("C_CreateObject", anchors.write, newest)

    assert count(own.vault) == 2
    assert await own.vault.read_anchor() == newest


async def test_malformed_anchor_is_an_integrity_failure(own: OpenedVault) -> None:
    with own.vault._parts.pool.fresh(writable=True) as session:
        session.create_object({**anchors._SEARCH, **pack({Attribute.TOKEN: True, Attribute.VALUE: b"short"})})

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.read_anchor()
    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


async def test_resident_keys_are_listed_and_destroyed(own: OpenedVault) -> None:
    vault = own.vault
    keys = [
        await make(vault, KeySpec.SYMMETRIC_DEFAULT, None, CustodyMode.RESIDENT),
        await make(vault, KeySpec.ECC_NIST_EDWARDS25519, None, CustodyMode.RESIDENT),
        await make(vault, KeySpec.ECC_NIST_P256, None, CustodyMode.RESIDENT),
    ]
    listed = await vault.list_resident()
    assert {(o.hsm_id, o.count) for o in listed} == {(k.record.hsm_id, 1) for k in keys}

    await vault.destroy_resident(keys[0].record.hsm_id)
    await vault.destroy_resident(keys[0].record.hsm_id)

    assert {o.hsm_id for o in await vault.list_resident()} == {k.record.hsm_id for k in keys[1:]}
    with pytest.raises(StrongroomError) as refusal:
        await vault.seal(keys[0], b"data", b"", deadline=soon())
    assert refusal.value.reason is Reason.KEY_UNAVAILABLE


async def test_resident_id_is_not_given_twice(own: OpenedVault) -> None:
    hsm_id = os.urandom(16).hex()
    arguments = (KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC, CustodyMode.RESIDENT)
    await own.vault.generate(*arguments, exportable=False, hsm_id=hsm_id, deadline=soon())

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.generate(*arguments, exportable=False, hsm_id=hsm_id, deadline=soon())

    assert refusal.value.reason is Reason.ALREADY_EXISTS
    assert [o.count for o in await own.vault.list_resident()] == [1]


async def test_house_keys_are_neither_listed_nor_destroyed(own: OpenedVault) -> None:
    for record in own.house:
        await own.vault.destroy_resident(record.hsm_id)

    assert await own.vault.list_resident() == []
    await own.vault.probe()


async def test_empty_answer_without_the_sentinel_is_no_answer(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the token's files are away: every search is empty and no error is raised."""
    hsm_id = (await make(own.vault, KeySpec.HMAC_256, None, CustodyMode.RESIDENT)).record.hsm_id
    monkeypatch.setattr(handles, "find", lambda *_: [])

    for call in (own.vault.list_resident(), own.vault.destroy_resident(hsm_id), own.vault.read_anchor()):
        with pytest.raises(StrongroomError) as refusal:
            await call
        assert refusal.value.reason is Reason.HSM_UNAVAILABLE


async def test_destruction_that_did_not_happen_is_noticed(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm_id = (await make(own.vault, KeySpec.HMAC_256, None, CustodyMode.RESIDENT)).record.hsm_id
    monkeypatch.setattr(resident, "destroy", lambda *_: None)

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.destroy_resident(hsm_id)

    assert refusal.value.reason is Reason.HSM_UNAVAILABLE


async def test_resident_key_of_wrong_shape_is_not_used(own: OpenedVault) -> None:
    key = await make(own.vault, KeySpec.HMAC_256, None, CustodyMode.RESIDENT)
    other = await make(own.vault, KeySpec.HMAC_256, None, CustodyMode.RESIDENT)
    swapped = dataclasses.replace(key, record=dataclasses.replace(key.record, hsm_id=other.record.hsm_id))

    with pytest.raises(StrongroomError) as refusal:
        await own.vault._held.load(swapped, soon())
    assert refusal.value.reason is Reason.KEY_UNAVAILABLE


async def test_wrapped_births_leave_nothing_in_the_token(own: OpenedVault) -> None:
    with own.vault._parts.pool.fresh() as session:
        before = len(handles.find(session, {}))
        for spec in (KeySpec.SYMMETRIC_DEFAULT, KeySpec.ECC_NIST_P256, KeySpec.HMAC_512, KeySpec.RSA_2048):
            await make(own.vault, spec)
        await own.vault.data_key_pair(KeySpec.ECC_NIST_P384, deadline=soon())
        assert len(handles.find(session, {})) == before
