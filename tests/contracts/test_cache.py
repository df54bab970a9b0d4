"""Loaded keys are bounded by count and age, and never destroyed under a call."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pkcs11.exceptions import ObjectHandleInvalid
from tests.hsmkeys import OpenedVault, adopt, make, plant, soon

from strongroomd.domain.algorithms import KeySpec, KeyUsage, MacAlgorithm, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.hsm import handles
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.packing import pack
from strongroomd.hsm.publickeys import load_public_key, verifies

pytestmark = pytest.mark.softhsm

PSS = SigningAlgorithm.RSASSA_PSS_SHA_256


def session_objects(vault: object) -> int:
    """How many objects the token shows: all of the vault's own, wherever they live."""
    while True:
        with (
            contextlib.suppress(ObjectHandleInvalid),  # another thread destroyed one that was just found
            vault._parts.pool.fresh() as session,  # type: ignore[attr-defined]
        ):
            return len(handles.find(session, pack({})))


async def until(condition: Callable[[], bool]) -> bool:
    """Wait for what other threads do, five seconds at most."""
    end = time.monotonic() + 5.0
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    return condition()


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
        await vault._held.load(key, soon()) if vault._keys.get(key) is None else None

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
    await own.vault._held.load(key, soon())
    renamed = dataclasses.replace(key, record=dataclasses.replace(key.record, row_version=2))
    swapped = dataclasses.replace(key, record=dataclasses.replace(key.record, blob=other.record.blob))

    assert own.vault._keys.get(renamed) is not None
    assert own.vault._keys.get(swapped) is None


async def test_one_callers_short_deadline_does_not_fail_the_others_who_wait_for_the_same_key(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make(own.vault, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    load = own.vault._held.loader.load

    def slow(*arguments: Any) -> Any:
        time.sleep(0.1)
        return load(*arguments)

    monkeypatch.setattr(own.vault._held, "loader", SimpleNamespace(load=slow))
    now = time.monotonic()
    deadlines = (now + 0.002, now + 30.0, now + 30.0)
    outcomes = await asyncio.gather(
        *(own.vault.sign(key, PSS, bytes(32), deadline=deadline) for deadline in deadlines),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], StrongroomError)
    assert outcomes[0].reason is Reason.DEADLINE_EXCEEDED
    assert [type(outcome) for outcome in outcomes[1:]] == [bytes, bytes]


@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.ECC_NIST_P256, KeySpec.HMAC_256])
async def test_a_cache_that_thrashes_is_slow_but_fails_no_call(own: OpenedVault, spec: KeySpec) -> None:
    own.vault.close()
    vault = open_vault(dataclasses.replace(own.token.settings, handles=1), own.token.pin, own.house)
    usage = KeyUsage.GENERATE_VERIFY_MAC if spec is KeySpec.HMAC_256 else KeyUsage.SIGN_VERIFY
    keys = [await make(vault, spec, usage) for _ in range(6)]
    before = session_objects(vault)

    async def use(key: BoundVersion) -> bytes:
        if spec is KeySpec.HMAC_256:
            return await vault.mac(key, MacAlgorithm.HMAC_SHA_256, b"m", deadline=soon())
        algorithm = PSS if spec is KeySpec.RSA_2048 else SigningAlgorithm.ECDSA_SHA_256
        return await vault.sign(key, algorithm, bytes(32), deadline=soon())

    outcomes = await asyncio.gather(*(use(keys[n % 6]) for n in range(60)), return_exceptions=True)

    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    assert vault.loaded()[0] == 1
    assert await until(lambda: session_objects(vault) == before + 1), "what was evicted is gone"
    vault.close()


async def test_a_key_forgotten_while_it_loads_serves_those_who_wait_and_nobody_after_them(
    own: OpenedVault,
) -> None:
    key = await make(own.vault, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    before = session_objects(own.vault)
    waiting = asyncio.ensure_future(own.vault.sign(key, PSS, bytes(32), deadline=soon()))
    await asyncio.sleep(0)

    own.vault.forget(key.key_id)

    assert verifies(load_public_key(key.record.public_key), PSS, bytes(32), await waiting)
    assert own.vault._keys.get(key) is None
    assert await until(lambda: session_objects(own.vault) == before)


async def test_a_key_whose_only_caller_left_while_it_loaded_is_not_pinned_for_ever(own: OpenedVault) -> None:
    key = await make(own.vault, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    waiting = asyncio.ensure_future(own.vault.sign(key, PSS, bytes(32), deadline=soon()))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await until(lambda: own.vault.loaded()[0] == 1)

    loaded = own.vault._keys.get(key)

    assert loaded is not None
    assert loaded.pins == 0


async def test_old_keys_leave_the_token_though_nobody_asks_for_them(own: OpenedVault) -> None:
    key, young = [await make(own.vault, KeySpec.SYMMETRIC_DEFAULT) for _ in range(2)]
    before = session_objects(own.vault)
    for each in (key, young):
        await own.vault.seal(each, b"data", b"", deadline=soon())
    old = own.vault._keys.get(key)
    assert old is not None
    old.born -= own.token.settings.handle_seconds + 1.0

    own.vault.sweep()

    assert own.vault.loaded()[0] == 1
    assert own.vault._keys.get(young) is not None
    assert session_objects(own.vault) == before + 2, "the old root and its sub-key are gone"


async def test_an_old_object_of_the_token_serves_while_it_is_looked_for_again(own: OpenedVault) -> None:
    """A search in a token of 10,000 objects takes longer than AWS KMS waits."""
    plant(own.vault, label="theirs")
    key = await adopt(own.vault, label="theirs")
    await own.vault.seal(key, b"data", b"", deadline=soon())
    old = own.vault._keys.get(key)
    assert old is not None
    old.born -= own.token.settings.handle_seconds + 1.0

    assert own.vault._keys.get(key) is old
    own.vault.sweep()
    assert own.vault._keys.get(key) is old
    assert await until(lambda: own.vault._keys.get(key) not in {None, old})
    assert len(own.vault._held._loads) == 0


async def test_an_old_object_that_is_gone_is_found_out_while_it_serves(own: OpenedVault) -> None:
    theirs = plant(own.vault, label="theirs")
    key = await adopt(own.vault, label="theirs")
    await own.vault.seal(key, b"data", b"", deadline=soon())
    old = own.vault._keys.get(key)
    assert old is not None
    theirs.destroy()
    old.born -= own.token.settings.handle_seconds + 1.0

    assert own.vault._keys.get(key) is old
    assert await until(lambda: (key.key_id, 1) not in own.vault._keys._keys)


async def test_an_object_of_the_token_serves_no_longer_than_twice_its_age(own: OpenedVault) -> None:
    plant(own.vault, label="theirs")
    key = await adopt(own.vault, label="theirs")
    await own.vault.seal(key, b"data", b"", deadline=soon())
    old = own.vault._keys.get(key)
    assert old is not None
    old.born -= 2 * own.token.settings.handle_seconds + 1.0

    assert own.vault._keys.get(key) is None
