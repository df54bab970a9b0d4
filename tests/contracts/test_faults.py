"""Token errors: the table is total, forgeries harm nobody, an ill token is found out and left alone."""

import asyncio
import dataclasses
import inspect
import itertools
import threading
import time
from contextlib import suppress
from typing import Any

import pkcs11
import pytest
from pkcs11 import exceptions
from tests import leftovers
from tests.hsmkeys import OpenedVault, altered, make, soon

from strongroomd.domain.algorithms import KeySpec, KeyUsage, MacAlgorithm, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm import device, handles
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.faults import (
    CODES,
    RULES,
    UNKNOWN,
    UNMAPPED,
    Fault,
    Refused,
    code_of,
    exception_of,
    fault_of,
)
from strongroomd.hsm.opening import open_vault

ALL = [
    e
    for _, e in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(e, pkcs11.PKCS11Error) and e is not pkcs11.PKCS11Error
]


def test_every_exception_of_the_library_is_classified() -> None:
    assert set(CODES) == set(ALL)
    assert set(RULES) == set(Fault)


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_code_and_class_of_every_exception(error: Any) -> None:
    assert code_of(error()) == CODES[error][0]
    assert fault_of(error(), doubtful=False) is CODES[error][1]


@pytest.mark.parametrize("code", [c for c, _ in CODES.values() if c != UNKNOWN] + [*UNMAPPED, 0x80000017])
def test_direct_call_raises_what_the_library_would(code: int) -> None:
    error = exception_of(code)

    assert code_of(error) == code
    assert (type(error) is pkcs11.PKCS11Error) == (code not in {c for c, _ in CODES.values()})


@pytest.mark.parametrize("code", UNMAPPED)
def test_unmapped_code_is_read_from_the_text(code: int) -> None:
    error = pkcs11.PKCS11Error(f"Unmapped error code {hex(code)}")

    assert code_of(error) == code
    assert fault_of(error, doubtful=True) is UNMAPPED[code]


def test_unknown_vendor_code_counts_as_the_tokens() -> None:
    error = pkcs11.PKCS11Error("Unmapped error code 0x80000017")

    assert code_of(error) == 0x80000017
    assert fault_of(error, doubtful=True) is Fault.TOKEN


def test_texts_without_code_are_known() -> None:
    assert (
        code_of(pkcs11.PKCS11Error("Initialisation error (not initialized). Should never see this.")) == 0x190
    )
    assert code_of(pkcs11.PKCS11Error("Buffer was too small. Should never see this.")) == 0x150
    assert fault_of(pkcs11.PKCS11Error("whatever"), doubtful=False) is Fault.TOKEN


def test_general_error_is_doubtful_only_for_bytes_from_outside() -> None:
    for error in (exceptions.GeneralError(), exceptions.FunctionFailed()):
        assert fault_of(error, doubtful=True) is Fault.DOUBTFUL
        assert fault_of(error, doubtful=False) is Fault.TOKEN


def test_errors_carry_no_caller_visible_detail() -> None:
    error = Refused("C_Sign", 0x5, Fault.TOKEN)

    assert "0x5" in str(error.detail)
    assert "0x5" not in str(error)


softhsm = pytest.mark.softhsm


@softhsm
async def test_flood_of_forgeries_leaves_the_breaker_closed(own: OpenedVault) -> None:
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await vault.seal(key, b"secret", b"", deadline=soon())

    for i in range(1_000):
        with pytest.raises(StrongroomError) as refusal:
            await vault.open(key, altered(sealed, i % len(sealed)), b"", deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT

    assert vault._parts.health.breaker.closed
    assert vault.loaded()[1] == 0, "forgeries must not fill the cache of sub-keys"
    assert await vault.open(key, sealed, b"", deadline=soon()) == b"secret"


@softhsm
async def test_forgeries_leave_nothing_to_the_garbage_collector(own: OpenedVault) -> None:
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await vault.seal(key, b"secret", b"", deadline=soon())

    with leftovers.counted() as left:
        for place in range(len(sealed)):
            with suppress(StrongroomError):
                await vault.open(key, altered(sealed, place), b"", deadline=soon())

    assert not left


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, times: int | None = None
) -> list[int]:
    """Make a direct call into the token fail, for ever or a number of times; returns the count of failures."""
    original = getattr(DirectCalls, name)
    failures: list[int] = []

    def fail(*args: Any, **kwargs: Any) -> Any:
        if times is not None and len(failures) >= times:
            return original(*args, **kwargs)
        failures.append(1)
        raise error

    monkeypatch.setattr(DirectCalls, name, fail)
    return failures


@softhsm
@pytest.mark.parametrize(
    "error",
    [
        exceptions.SessionHandleInvalid(),
        exceptions.SessionClosed(),
        exceptions.OperationActive(),
        exceptions.OperationNotInitialized(),
    ],
    ids=lambda e: type(e).__name__,
)
async def test_lost_session_is_replaced_and_the_call_repeated(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    await own.vault.seal(key, b"warm", b"", deadline=soon())
    failures = failing(monkeypatch, "encrypt_gcm", error, times=1)

    sealed = await own.vault.seal(key, b"secret", b"", deadline=soon())

    assert len(failures) == 1
    assert await own.vault.open(key, sealed, b"", deadline=soon()) == b"secret"


@softhsm
@pytest.mark.parametrize("error", [exceptions.KeyHandleInvalid(), exceptions.ObjectHandleInvalid()])
async def test_invalid_handle_is_loaded_anew_once(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    await own.vault.seal(key, b"warm", b"", deadline=soon())
    failures = failing(monkeypatch, "encrypt_gcm", error, times=1)

    assert await own.vault.seal(key, b"secret", b"", deadline=soon())
    assert len(failures) == 1

    failures = failing(monkeypatch, "encrypt_gcm", error)
    with pytest.raises(StrongroomError) as refusal:
        await own.vault.seal(key, b"secret", b"", deadline=soon())
    assert refusal.value.reason is Reason.HSM_UNAVAILABLE
    assert len(failures) == 2


@softhsm
async def test_really_destroyed_objects_are_loaded_anew(own: OpenedVault) -> None:
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await own.vault.seal(key, b"secret", b"", deadline=soon())
    loaded: Any = own.vault._keys.get(key)
    loaded.sealing.held.destroy()
    assert await own.vault.open(key, sealed, b"", deadline=soon()) == b"secret"

    loaded = own.vault._keys.get(key)
    loaded.held.destroy()
    own.vault.forget(key.key_id)
    assert await own.vault.open(key, sealed, b"", deadline=soon()) == b"secret"


@softhsm
async def test_lost_keeper_session_loses_no_key(own: OpenedVault) -> None:
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    pair = await make(own.vault, KeySpec.RSA_2048, None)
    sealed = await own.vault.seal(key, b"secret", b"", deadline=soon())
    await own.vault._held.load(pair, soon())
    for keeper in (own.vault._parts.keeper, own.vault._parts.slow_keeper):
        keeper.discard(keeper.take(), "test")

    assert await own.vault.open(key, sealed, b"", deadline=soon()) == b"secret"


@softhsm
@pytest.mark.parametrize("error", [exceptions.DeviceError(), exceptions.GeneralError()])
async def test_one_token_error_with_a_well_canary_fails_one_call_only(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    await own.vault.seal(key, b"warm", b"", deadline=soon())
    failing(monkeypatch, "encrypt_gcm", error, times=1)

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.seal(key, b"secret", b"", deadline=soon())
    assert refusal.value.reason is Reason.HSM_UNAVAILABLE

    assert own.vault._parts.health.breaker.closed
    assert await own.vault.seal(key, b"secret", b"", deadline=soon())


@softhsm
async def test_ill_token_opens_the_breaker_and_a_well_one_closes_it(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "FIRST_PAUSE", 0.05)
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    await vault.seal(key, b"warm", b"", deadline=soon())
    health = vault._parts.health
    well = health.canary
    health.canary = lambda _: False
    with monkeypatch.context() as ill:
        failures = failing(ill, "encrypt_gcm", exceptions.DeviceError())
        with pytest.raises(StrongroomError) as refusal:
            await vault.seal(key, b"secret", b"", deadline=soon())
        assert refusal.value.reason is Reason.HSM_UNAVAILABLE
        assert (refusal.value.retry_after or 0) > 0
        with pytest.raises(StrongroomError):
            await vault.row_mac(b"data")
        assert len(failures) == 1, "an open breaker keeps calls away from the token"
    health.canary = well
    await asyncio.sleep(0.06)

    assert await vault.seal(key, b"secret", b"", deadline=soon())
    assert health.breaker.closed
    assert vault.fatal is None


@softhsm
async def test_token_that_stays_ill_is_given_up(own: OpenedVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "FIRST_PAUSE", 0.01)
    own.vault._parts.health.canary = lambda _: False

    for _ in range(device.MAX_FAILURES):
        assert own.vault.fatal is None
        with pytest.raises(StrongroomError):
            await own.vault.probe()
        await asyncio.sleep(0.1)

    assert own.vault.fatal is not None
    with pytest.raises(StrongroomError) as refusal:
        await own.vault.row_mac(b"data")
    assert refusal.value.reason is Reason.HSM_UNAVAILABLE


@softhsm
@pytest.mark.parametrize(
    "error",
    [
        exceptions.UserNotLoggedIn(),
        exceptions.DeviceRemoved(),
        exceptions.TokenNotPresent(),
        exceptions.PinExpired(),
        pkcs11.PKCS11Error("Initialisation error (not initialized). Should never see this."),
    ],
    ids=lambda e: type(e).__name__,
)
async def test_what_no_retry_can_mend_asks_for_a_new_process(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    failing(monkeypatch, "sign", error)

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.row_mac(b"data")

    assert refusal.value.reason is Reason.HSM_UNAVAILABLE
    assert own.vault.fatal is not None


@softhsm
async def test_logged_out_process_asks_for_a_new_one(own: OpenedVault) -> None:
    """What closing a session with a PIN does to every other."""
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    vault._parts.login.session.close()

    with pytest.raises(StrongroomError) as refusal:
        await vault.row_mac(b"data")
    assert refusal.value.reason is Reason.HSM_UNAVAILABLE
    assert vault.fatal is not None
    with pytest.raises(StrongroomError):
        await vault.seal(key, b"data", b"", deadline=soon())


@softhsm
async def test_mistake_of_ours_is_internal_and_trips_nothing(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "sign", exceptions.MechanismInvalid())

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.row_mac(b"data")

    assert refusal.value.reason is Reason.INTERNAL
    assert own.vault._parts.health.breaker.closed


@softhsm
async def test_capacity_errors_shed_load(own: OpenedVault, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "sign", exceptions.DeviceMemory(), times=1)

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.row_mac(b"data")

    assert refusal.value.reason is Reason.OVERLOADED
    assert refusal.value.retry_after
    assert own.vault._parts.health.breaker.closed


@softhsm
async def test_wrong_rsa_signature_is_never_released(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make(own.vault, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    await own.vault._held.load(key, soon())
    original = handles.sign
    monkeypatch.setattr(handles, "sign", lambda *a: altered(original(*a), 5))

    with pytest.raises(StrongroomError) as refusal:
        await own.vault.sign(key, SigningAlgorithm.RSASSA_PKCS1_V1_5_SHA_256, bytes(32), deadline=soon())

    assert refusal.value.reason is Reason.HSM_UNAVAILABLE


@softhsm
@pytest.mark.timed
async def test_full_lane_refuses_at_once(own: OpenedVault) -> None:
    own.vault.close()
    small = dataclasses.replace(own.token.settings, slow_threads=1, slow_queue=1)
    vault = open_vault(small, own.token.pin, own.house)
    release = threading.Event()
    first = asyncio.ensure_future(vault._slow.run(soon(), release.wait, 10))
    second = asyncio.ensure_future(vault._slow.run(soon(), release.wait, 10))
    await asyncio.sleep(0.05)

    with pytest.raises(StrongroomError) as refusal:
        await vault.data_key_pair(KeySpec.ECC_NIST_P256, deadline=soon())
    assert refusal.value.reason is Reason.OVERLOADED
    assert refusal.value.retry_after
    kind, seconds = vault.longest_call()
    assert kind == "slow"
    assert seconds >= 0.04

    release.set()
    await asyncio.gather(first, second)
    assert vault._slow.load == 0
    vault.close()


@softhsm
@pytest.mark.slow
async def test_threads_and_loop_together_give_no_wrong_result(  # noqa: C901 - one scenario, five actors
    own: OpenedVault,
) -> None:
    """Four kinds of work at once for a few seconds; `scripts/soak` does it for long."""
    vault = own.vault
    seconds = time.monotonic() + 5.0
    small = [await make(vault, KeySpec.SYMMETRIC_DEFAULT) for _ in range(6)]
    macs = [await make(vault, KeySpec.HMAC_256) for _ in range(3)]
    rsa = await make(vault, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    curve = await make(vault, KeySpec.ECC_NIST_P521)
    counts = dict.fromkeys(("seal", "mac", "rsa", "curve", "born"), 0)

    async def seal(lane: int) -> None:
        for i in itertools.count():
            if time.monotonic() > seconds:
                return
            key = small[(i + lane) % len(small)]
            text = i.to_bytes(8, "big")
            assert (
                await vault.open(key, await vault.seal(key, text, b"", deadline=soon()), b"", deadline=soon())
                == text
            )
            if i % 50 == 0:
                vault.forget(key.key_id)
            counts["seal"] += 1
            await asyncio.sleep(0)

    async def mac() -> None:
        expected = [await vault.mac(k, MacAlgorithm.HMAC_SHA_256, b"m", deadline=soon()) for k in macs]
        while time.monotonic() < seconds:
            for key, value in zip(macs, expected, strict=True):
                assert await vault.mac(key, MacAlgorithm.HMAC_SHA_256, b"m", deadline=soon()) == value
                counts["mac"] += 1
            vault.forget(macs[0].key_id)
            await asyncio.sleep(0)

    async def sign(name: str, key: Any, algorithm: SigningAlgorithm, size: int) -> None:
        while time.monotonic() < seconds:
            await vault.sign(key, algorithm, bytes(size), deadline=soon())
            counts[name] += 1
            if counts[name] % 20 == 0:
                vault.forget(key.key_id)

    async def born() -> None:
        while time.monotonic() < seconds:
            await make(vault, KeySpec.ECC_NIST_P256)
            await make(vault, KeySpec.SYMMETRIC_DEFAULT, None, CustodyMode.WRAPPED, exportable=True)
            counts["born"] += 2

    await asyncio.gather(
        seal(0),
        seal(3),
        mac(),
        *(sign("rsa", rsa, SigningAlgorithm.RSASSA_PSS_SHA_256, 32) for _ in range(3)),
        *(sign("curve", curve, SigningAlgorithm.ECDSA_SHA_512, 64) for _ in range(3)),
        born(),
    )

    assert all(counts.values()), counts
    assert vault._parts.health.breaker.closed
