"""Loaded keys are bounded by count and age, and never destroyed under a call."""

import asyncio
import dataclasses

import pytest
from tests.hsmkeys import OpenedVault, make, soon

from strongroomd.domain.algorithms import KeySpec, KeyUsage, SigningAlgorithm
from strongroomd.hsm import handles
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.packing import pack
from strongroomd.hsm.publickeys import load_public_key, verifies

pytestmark = pytest.mark.softhsm

PSS = SigningAlgorithm.RSASSA_PSS_SHA_256


def session_objects(vault: object) -> int:
    """How many objects the token shows: all of the vault's own, wherever they live."""
    with vault._parts.pool.fresh() as session:  # type: ignore[attr-defined]
        return len(handles.find(session, pack({})))


async def test_no_more_keys_are_held_than_allowed(own: OpenedVault) -> None:
    own.vault.close()
    vault = open_vault(dataclasses.replace(own.token.settings, handles=3), own.token.pin, own.house)
    keys = [await make(vault, KeySpec.SYMMETRIC_DEFAULT) for _ in range(8)]
    empty = session_objects(vault)
    sealed = [await vault.seal(key, b"data", b"", deadline=soon()) for key in keys]

    assert vault.loaded()[0] == 3
    assert session_objects(vault) == empty + 3 * 2, "a root and a sub-key for each held key, nothing else"
    for key, each in zip(keys, sealed, strict=True):
        assert await vault.open(key, each, b"", deadline=soon()) == b"data"
    vault.close()


async def test_least_recently_used_key_goes_first(own: OpenedVault) -> None:
    own.vault.close()
    vault = open_vault(dataclasses.replace(own.token.settings, handles=2), own.token.pin, own.house)
    first, second, third = [await make(vault, KeySpec.HMAC_256) for _ in range(3)]
    for key in (first, second, first, third):
        await vault._load(key, soon()) if vault._keys.get(key) is None else None

    assert vault._keys.get(first) is not None
    assert vault._keys.get(second) is None
    vault.close()


async def test_old_keys_are_loaded_anew(own: OpenedVault) -> None:
    own.vault.close()
    settings = dataclasses.replace(own.token.settings, handle_seconds=0.05)
    vault = open_vault(settings, own.token.pin, own.house)
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await vault.seal(key, b"data", b"", deadline=soon())
    before = vault._keys.get(key)
    await asyncio.sleep(0.06)

    assert await vault.open(key, sealed, b"", deadline=soon()) == b"data"
    assert vault._keys.get(key) is not before
    vault.close()


async def test_key_evicted_during_a_call_finishes_the_call(own: OpenedVault) -> None:
    key = await make(own.vault, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    await own.vault.sign(key, PSS, bytes(32), deadline=soon())
    loaded = own.vault._keys.get(key)
    assert loaded is not None
    calls = [asyncio.ensure_future(own.vault.sign(key, PSS, bytes(32), deadline=soon())) for _ in range(6)]
    await asyncio.sleep(0)

    own.vault.forget(key.key_id)

    assert loaded.doomed
    assert loaded.pins > 0
    public = load_public_key(key.record.public_key)
    assert all(verifies(public, PSS, bytes(32), signature) for signature in await asyncio.gather(*calls))
    await asyncio.sleep(0.05)
    assert loaded.pins == 0


async def test_changed_row_does_not_evict_but_changed_material_does(own: OpenedVault) -> None:
    key, other = await make(own.vault, KeySpec.HMAC_256), await make(own.vault, KeySpec.HMAC_256)
    await own.vault._load(key, soon())
    renamed = dataclasses.replace(key, record=dataclasses.replace(key.record, row_version=2))
    swapped = dataclasses.replace(key, record=dataclasses.replace(key.record, blob=other.record.blob))

    assert own.vault._keys.get(renamed) is not None
    assert own.vault._keys.get(swapped) is None
