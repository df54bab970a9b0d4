"""An ill token: what its callers are told, that others notice nothing, and that it is used again once it is well."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.faults import ill_token
from tests.faults.ill_token import IllToken, Rule, ill, steer
from tests.harness import Daemon, await_ready, make_folder, wait_until, within
from tests.hsmkeys import OpenedVault, altered, bind, make, make_gcm, soon
from tests.softhsm import TokenFactory

from strongroom.errors import StrongroomError as ClientError
from strongroom.retry import RetryPolicy
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode, HouseRecord
from strongroomd.hsm import device, further, housework, keystore
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.further import FurtherToken
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.observer import Silent
from strongroomd.hsm.renewals import Renewals
from strongroomd.hsm.vaults import Vaults

pytestmark = pytest.mark.softhsm
RECOVERY = 5.0  # seconds after which everything works again

DEVICE_ERROR, GENERAL_ERROR, SESSION_INVALID = 0x30, 0x5, 0xB3


@pytest.fixture
def token(own: OpenedVault) -> Iterator[IllToken]:
    with ill(own.vault) as token:
        yield token


async def works(vault: TokenVault | Vaults, key: BoundVersion) -> bool:
    try:
        sealed = await vault.seal(key, b"text", b"", deadline=soon())
        return await vault.open(key, sealed, b"", deadline=soon()) == b"text"
    except StrongroomError:
        return False


async def recovered(vault: TokenVault | Vaults, key: BoundVersion) -> bool:
    """Whether it works within the time for recovery."""
    end = time.monotonic() + within(RECOVERY)
    while time.monotonic() < end:
        if await works(vault, key):
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("rules", "closed"),
    [
        ([{"function": "C_EncryptInit", "code": DEVICE_ERROR}], True),
        ([{"function": "C_Encrypt", "code": DEVICE_ERROR}], True),
        ([{"function": "C_EncryptInit", "code": SESSION_INVALID}], True),
        ([{"function": "C_Encrypt", "code": GENERAL_ERROR}], True),
        ([{"code": GENERAL_ERROR}], False),
        ([{"code": DEVICE_ERROR}], False),
    ],
    ids=[
        "device error",
        "device error midway",
        "session invalid",
        "general error",
        "all general",
        "all device",
    ],
)
@pytest.mark.parametrize("inline", [True, False], ids=["on the loop", "on threads"])
async def test_callers_are_told_that_the_token_is_away_and_it_is_used_again_when_well(
    own: OpenedVault,
    token: IllToken,
    monkeypatch: pytest.MonkeyPatch,
    rules: list[Rule],
    closed: bool,
    inline: bool,
) -> None:
    monkeypatch.setattr(device, "FIRST_PAUSE", 0.3)
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    await vault.seal(key, b"warm", b"", deadline=soon())
    if not inline:
        vault._pace._leave(time.monotonic())
    token.be(*rules)

    for _ in range(5):
        with pytest.raises(StrongroomError) as refusal:
            await vault.seal(key, b"text", b"", deadline=soon())
        assert refusal.value.reason is Reason.HSM_UNAVAILABLE
        assert refusal.value.retry_after

    assert vault._parts.health.breaker.closed is closed
    token.be()
    assert await recovered(vault, key)
    assert vault.fatal is None


async def test_a_session_that_is_lost_now_and_then_is_no_callers_affair(
    own: OpenedVault, token: IllToken
) -> None:
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    token.be({"function": "C_EncryptInit", "code": SESSION_INVALID, "share": 0.1})

    assert all([await works(own.vault, key) for _ in range(50)])
    assert token.calls >= 5


async def test_a_tenth_of_the_calls_slow_fails_none_and_the_rest_is_done_meanwhile(
    own: OpenedVault, token: IllToken
) -> None:
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    await vault.seal(key, b"warm", b"", deadline=soon())
    vault._pace._leave(time.monotonic())
    token.be({"function": "C_Encrypt", "hang": True, "share": 0.1})
    calls = [asyncio.ensure_future(works(vault, key)) for _ in range(20)]

    done, slow = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(slow) > 2:
        done, slow = await asyncio.wait(slow, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert done, "two threads of four are left for the others"

    assert token.calls == 2
    token.be()
    assert all(await asyncio.gather(*calls))


async def test_ten_thousand_forgeries_trip_nothing_and_disturb_nobody(own: OpenedVault) -> None:
    """SoftHSM 2.6.1 says GENERAL_ERROR to each; the canary decides."""
    vault = own.vault
    key = await make_gcm(vault)
    sealed = await vault.seal(key, b"text", b"", deadline=soon())
    forged = [altered(sealed, position) for position in range(len(sealed))]

    for number in range(10_000):
        with pytest.raises(StrongroomError) as refusal:
            await vault.open(key, forged[number % len(forged)], b"", deadline=soon())
        assert refusal.value.reason is Reason.INVALID_CIPHERTEXT
        if number % 100 == 0:
            assert await vault.open(key, sealed, b"", deadline=soon()) == b"text"

    assert vault._parts.health.breaker.closed


async def test_forgeries_to_an_ill_token_are_not_called_forged(own: OpenedVault, token: IllToken) -> None:
    """While the canary fails nobody knows whose fault it is: a good ciphertext must not be called bad."""
    key = await make_gcm(own.vault)
    sealed = await own.vault.seal(key, b"text", b"", deadline=soon())
    token.be({"code": GENERAL_ERROR})

    for data in (sealed, altered(sealed, 20)):
        with pytest.raises(StrongroomError) as refusal:
            await own.vault.open(key, data, b"", deadline=soon())
        assert refusal.value.reason is Reason.HSM_UNAVAILABLE


# --- two tokens


@dataclass
class Two:
    """Two tokens of one module, of which the second is made ill."""

    vaults: Vaults
    further: FurtherToken
    ours: BoundVersion
    theirs: BoundVersion
    token: IllToken

    def be(self, *rules: Rule) -> None:
        self.token.be(*({**rule, "slot": self.slot} for rule in rules))

    slot: int = 0


@pytest.fixture
async def two(
    own: OpenedVault, fresh_token: TokenFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Two]:
    monkeypatch.setattr(device, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(further, "FIRST_PAUSE", 0.1)
    monkeypatch.setitem(keystore._LIMITS, "quick", 0.3)
    made = fresh_token()
    settings = replace(made.settings, name="second")
    house = initialise(settings, made.pin)

    async def read() -> Sequence[HouseRecord]:
        return house

    second = FurtherToken(settings, lambda: made.pin, read, Silent(), Renewals(settings.state / "renewed"))
    await second.tend()
    vaults = Vaults(own.vault, [second], [*own.house, *house])
    spec = KeySpec.SYMMETRIC_DEFAULT
    material = await vaults.generate(
        *(spec, KeyUsage.ENCRYPT_DECRYPT, CustodyMode.WRAPPED),
        exportable=False, hsm_id=os.urandom(16).hex(), deadline=soon(), token="second",
    )  # fmt: skip
    theirs = bind(material, spec, KeyUsage.ENCRYPT_DECRYPT)
    with ill(own.vault) as token:
        opened = second.place.use()
        ours = await make(own.vault, spec)
        slot = opened._parts.login.token.slot.slot_id
        two = Two(vaults, second, ours, theirs, token, slot)
        assert await works(vaults, ours)
        assert await works(vaults, theirs)
        yield two
        token.be()
        await asyncio.sleep(0.05)
    second.close()


@pytest.mark.parametrize("code", [DEVICE_ERROR, GENERAL_ERROR])
async def test_errors_of_one_token_are_not_the_others(two: Two, code: int) -> None:
    two.be({"code": code})

    for _ in range(5):
        assert not await works(two.vaults, two.theirs)
        assert await works(two.vaults, two.ours)

    two.be()
    assert await recovered(two.vaults, two.theirs)


async def test_a_token_that_hangs_is_given_up_and_taken_back_and_the_other_works_on(two: Two) -> None:
    vault = two.further.place.use()
    vault._pace._leave(time.monotonic())
    two.be({"function": "C_Encrypt", "hang": True})
    with pytest.raises(StrongroomError) as refusal:
        await vault.seal(two.theirs, b"text", b"", deadline=time.monotonic() + 0.4)
    assert refusal.value.reason is Reason.DEADLINE_EXCEEDED
    assert await works(two.vaults, two.ours)

    await two.further.tend()

    assert not two.vaults.usable("second")
    assert not await works(two.vaults, two.theirs)
    assert await works(two.vaults, two.ours)
    assert two.vaults.describe("second").startswith("SoftHSM")
    with pytest.raises(StrongroomError) as away:
        await two.vaults.exercise("second")
    assert away.value.reason is Reason.HSM_UNAVAILABLE
    two.be()
    end = time.monotonic() + within(RECOVERY)
    while not await works(two.vaults, two.theirs) and time.monotonic() < end:
        await two.further.tend()
        await asyncio.sleep(0.05)
    assert await works(two.vaults, two.theirs)


# --- a daemon

ONCE = RetryPolicy(max_attempts=1)


def serve(folder: Path) -> subprocess.Popen[bytes]:
    """Serve with a token that the file `ill` in the folder makes ill."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(Path(ill_token.__file__)), "supervise", str(folder / "strongroomd.toml")],
            stdout=log,
            stderr=log,
            env=os.environ | {ill_token.VARIABLE: str(folder / "ill")},
        )


@pytest.fixture(scope="module")
def running_sick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of one worker."""
    folder = make_folder(tmp_path_factory.mktemp("sick"), 1)
    daemon = Daemon(folder, serve(folder))
    await_ready(daemon)
    yield daemon
    steer(folder / "ill")
    daemon.kill()


@pytest.fixture
def sick(running_sick: Daemon) -> tuple[Daemon, Path]:
    """The same, well, and its worker ready, and the file; after a hang anew, since workers are wary then."""
    daemon, order = running_sick, running_sick.folder / "ill"
    steer(order)
    if "worker hangs" in daemon.log:
        daemon.stop()
        (daemon.folder / "log").write_text("")
        daemon.process = serve(daemon.folder)
    await_ready(daemon)
    return daemon, order


def gauge(daemon: Daemon, name: str) -> float:
    return float(next(line for line in daemon.metrics().splitlines() if line.startswith(name)).split()[-1])


@pytest.mark.daemon
@pytest.mark.timed
def test_a_daemons_token_is_made_ill_and_well_and_its_worker_lives_through_it(
    sick: tuple[Daemon, Path],
) -> None:
    daemon, order = sick
    before = daemon.workers()
    with daemon.client(timeout=10.0, retry=ONCE) as client:
        key = client.create_key().key_id

        def encrypts() -> bool:
            try:
                return bool(client.encrypt(key, b"plaintext").ciphertext)
            except ClientError:
                return False

        assert encrypts()
        steer(order, {"function": "C_Encrypt", "code": DEVICE_ERROR})
        with pytest.raises(ClientError) as refusal:
            client.encrypt(key, b"plaintext")
        assert (refusal.value.code, refusal.value.reason) == ("UNAVAILABLE", "HSM_UNAVAILABLE")
        steer(order)
        assert encrypts()

        steer(order, {"code": GENERAL_ERROR})
        assert not encrypts()
        steer(order)
        wait_until(encrypts, RECOVERY)

        # A busy machine may have looked like a slow token: short calls for a while bring the worker back to its loop.
        wait_until(lambda: encrypts() and gauge(daemon, "strongroom_hsm_inline") == 1, 20)
        steer(order, {"function": "C_Encrypt", "seconds": 0.15, "share": 0.5})
        assert all(encrypts() for _ in range(6))
        wait_until(lambda: gauge(daemon, "strongroom_hsm_inline") == 0, 10)
        steer(order)
        assert encrypts()
    assert daemon.workers() == before


@pytest.mark.daemon
def test_a_worker_whose_slow_token_hangs_is_replaced(sick: tuple[Daemon, Path]) -> None:
    daemon, order = sick
    before = set(daemon.workers())
    with daemon.client(timeout=10.0, retry=ONCE) as client:
        key = client.create_key().key_id
        steer(order, {"function": "C_Encrypt", "seconds": 0.15})
        client.encrypt(key, b"plaintext")

        steer(order, {"function": "C_Encrypt", "hang": True})
        with pytest.raises(ClientError):
            client.encrypt(key, b"plaintext")
        wait_until(lambda: not before & set(daemon.workers()), 6)
        steer(order)
        wait_until(lambda: daemon.state["state"] == "ready", 20)
    with daemon.client() as client:
        assert client.encrypt(key, b"plaintext").ciphertext
    assert "quick" in daemon.log


def test_rules_apply_in_turn_and_only_where_they_fit(own: OpenedVault, token: IllToken) -> None:
    calls: Any = own.vault._calls
    with own.vault._parts.pool.fresh() as session:
        token.be({"function": "C_Sign", "code": DEVICE_ERROR, "share": 0.25})
        results = []
        for _ in range(8):
            try:
                handle, mechanism = own.vault._house.row_mac, housework._ROW_MAC
                results.append(bool(calls.sign(session, handle, mechanism, b"data")))
            except Exception:  # noqa: BLE001
                results.append(False)
                session.close()
                session = own.vault._parts.pool.open()  # noqa: PLW2901
    assert results == [True, True, True, False] * 2
