"""A slow token: its short calls go to threads, honour deadlines there, and come back when it is quick again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pkcs11.constants import Attribute
from pkcs11.exceptions import ObjectHandleInvalid
from tests.faults.ill_token import IllToken, ill
from tests.hsmkeys import OpenedVault, altered, make, make_gcm, soon

from strongroomd.domain.algorithms import KeySpec, KeyUsage, MacAlgorithm, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import SUBKEY_MESSAGES
from strongroomd.hsm import pace
from strongroomd.hsm.keystore import TokenVault

pytestmark = pytest.mark.softhsm
SLOW = {"function": "C_Encrypt", "seconds": 1.2 * pace.VERY_LONG}


@pytest.fixture
def token(own: OpenedVault) -> Iterator[IllToken]:
    with ill(own.vault) as token:
        yield token


@pytest.fixture
def away(own: OpenedVault, token: IllToken) -> TokenVault:
    """A vault whose calls are on threads."""
    own.vault._pace._leave(time.monotonic())
    own.vault._pace._settle = 1_000.0
    return own.vault


class Ticker:
    """Counts turns of the loop, at most one a millisecond."""

    def __init__(self) -> None:
        self.turns = 0
        self._task = asyncio.ensure_future(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self.turns += 1

    def stop(self) -> None:
        self._task.cancel()


@pytest.fixture
async def ticker() -> AsyncIterator[Ticker]:
    ticker = Ticker()
    await asyncio.sleep(0.005)
    yield ticker
    ticker.stop()


async def emptied(vault: TokenVault) -> None:
    """Wait until no thread has anything to do, and the loop has heard of it."""
    while vault._quick.lane.load:  # noqa: ASYNC110 - threads count it
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)


async def refusal(work: Any) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        await work
    return caught.value


async def test_the_first_slow_call_holds_the_loop_up_and_no_other_does(
    own: OpenedVault, token: IllToken, ticker: Ticker
) -> None:
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    await vault.seal(key, b"warm", b"", deadline=soon())
    token.be({"function": "C_Encrypt", "seconds": 0.3})
    ticker.turns = 0
    await vault.seal(key, b"first", b"", deadline=soon())
    assert not vault._pace.inline
    assert ticker.turns == 0

    sealed = await asyncio.gather(*(vault.seal(key, b"next", b"", deadline=soon()) for _ in range(4)))

    assert ticker.turns > 10
    assert [await vault.open(key, each, b"", deadline=soon()) for each in sealed] == [b"next"] * 4


async def test_calls_of_a_few_milliseconds_leave_the_loop_together(own: OpenedVault, token: IllToken) -> None:
    vault = own.vault
    key = await make(vault, KeySpec.HMAC_256)
    token.be({"function": "C_Sign", "seconds": 2 * pace.LONG})
    modes = []
    for _ in range(pace.MANY + 1):
        modes.append(vault._pace.inline)
        await vault.mac(key, MacAlgorithm.HMAC_SHA_256, b"m", deadline=soon())

    assert modes == [True] * pace.MANY + [False]


async def test_calls_come_back_once_the_token_is_quick_again(
    own: OpenedVault, token: IllToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SETTLED", 0.1)
    monkeypatch.setattr(pace, "_WINDOW", 0.05)
    vault = own.vault
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT)
    token.be(SLOW)
    await vault.seal(key, b"slow", b"", deadline=soon())
    assert not vault._pace.inline
    token.be()

    async with asyncio.timeout(10):
        while not vault._pace.inline:
            await vault.seal(key, b"quick", b"", deadline=soon())

    sealed = await vault.seal(key, b"inline", b"", deadline=soon())
    assert await vault.open(key, sealed, b"", deadline=soon()) == b"inline"


@pytest.mark.parametrize("scheme", ["xaes", "aes-gcm"])
async def test_threads_seal_and_open_as_the_loop_does(own: OpenedVault, token: IllToken, scheme: str) -> None:
    vault = own.vault
    key = await (make(vault, KeySpec.SYMMETRIC_DEFAULT) if scheme == "xaes" else make_gcm(vault))
    here = await vault.seal(key, b"here", b"aad", deadline=soon())
    vault._pace._leave(time.monotonic())
    there = await vault.seal(key, b"there", b"aad", deadline=soon())

    assert await vault.open(key, here, b"aad", deadline=soon()) == b"here"
    vault.forget(key.key_id)
    assert await vault.open(key, there, b"aad", deadline=soon()) == b"there"
    vault._pace.inline = True
    vault.forget(key.key_id)
    assert await vault.open(key, there, b"aad", deadline=soon()) == b"there"
    for position in range(0, len(there), 7):
        vault._pace.inline = False
        work = vault.open(key, altered(there, position), b"aad", deadline=soon())
        assert (await refusal(work)).reason is Reason.INVALID_CIPHERTEXT
    short = vault.open(key, there[:30], b"aad", deadline=soon())
    assert (await refusal(short)).reason is Reason.INVALID_CIPHERTEXT
    assert vault._parts.health.breaker.closed


async def test_everything_short_works_on_threads(away: TokenVault) -> None:
    mac = await make(away, KeySpec.HMAC_256)
    pair = await make(away, KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY)
    digest, algorithm = bytes(32), SigningAlgorithm.ECDSA_SHA_256

    first = await away.mac(mac, MacAlgorithm.HMAC_SHA_256, b"m", deadline=soon())
    row = await away.row_mac(b"record")
    assert await away.sign(pair, algorithm, digest, deadline=soon())
    assert await away.sign_checkpoint(b"heads")
    assert len(await away.random(16)) == 16
    await away.probe()
    away._pace.inline = True

    assert await away.mac(mac, MacAlgorithm.HMAC_SHA_256, b"m", deadline=soon()) == first
    assert await away.row_mac(b"record") == row


async def test_a_caller_whose_time_passes_is_let_go_and_the_thread_ends_alone(
    away: TokenVault, token: IllToken
) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    await away.seal(key, b"warm", b"", deadline=soon())
    opened = away._parts.pool._opened
    token.be({"function": "C_Encrypt", "hang": True})
    started = time.monotonic()

    running = [away.seal(key, b"text", b"", deadline=started + 0.05) for _ in range(4)]
    waiting = away.seal(key, b"text", b"", deadline=started + 0.05)
    results = await asyncio.gather(*running, waiting, return_exceptions=True)

    assert {r.reason for r in results if isinstance(r, StrongroomError)} == {Reason.DEADLINE_EXCEEDED}
    assert len(results) == 5
    assert token.calls == 4, "what waited was never begun"
    loaded: Any = away._keys.get(key)
    assert (loaded.pins, loaded.sealing.pins) == (4, 4)
    away.forget(key.key_id)
    assert loaded.sealing, "a key that threads still use stays in the token"

    token.be()
    await emptied(away)
    assert loaded.pins == 0
    assert loaded.sealing is None
    assert len(away._parts.pool._idle) == away._parts.pool._opened <= opened + 4
    assert await away.seal(key, b"text", b"", deadline=soon())


async def test_a_call_that_hangs_is_reported(
    away: TokenVault, token: IllToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("strongroomd.hsm.keystore").hsm.keystore._LIMITS, "quick", 0.05)
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    await away.seal(key, b"warm", b"", deadline=soon())
    assert away.hanging() is None
    token.be({"function": "C_Encrypt", "hang": True})

    error = await refusal(away.seal(key, b"text", b"", deadline=time.monotonic() + 0.1))

    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert away.hanging() == "quick"
    assert away.longest_call()[0] == "quick"
    assert not away.idle


async def test_a_full_lane_refuses_at_once(
    away: TokenVault, token: IllToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    await away.seal(key, b"warm", b"", deadline=soon())
    monkeypatch.setattr(away._quick.lane, "_capacity", 5)
    token.be({"function": "C_Encrypt", "hang": True})
    held = [asyncio.ensure_future(away.seal(key, b"text", b"", deadline=soon())) for _ in range(5)]
    await asyncio.sleep(0.02)

    error = await refusal(away.seal(key, b"text", b"", deadline=soon()))

    assert (error.reason, error.retry_after) == (Reason.OVERLOADED, 0.5)
    token.be()
    assert len(await asyncio.gather(*held)) == 5


async def test_one_sub_key_is_made_however_many_wait_for_it(away: TokenVault, token: IllToken) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    await away.seal(key, b"warm", b"", deadline=soon())
    loaded: Any = away._keys.get(key)
    loaded.sealing.messages = SUBKEY_MESSAGES
    token.be({"function": "C_DeriveKey", "seconds": 0.02})

    sealed = await asyncio.gather(*(away.seal(key, b"text", b"", deadline=soon()) for _ in range(20)))

    assert len({each[:12] for each in sealed}) == 1
    assert token.calls == 1
    assert loaded.sealing.messages == 20


async def test_a_key_that_is_forgotten_meanwhile_keeps_its_next_sub_key_for_those_who_wait_for_it(
    away: TokenVault, token: IllToken
) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    await away.seal(key, b"warm", b"", deadline=soon())
    loaded: Any = away._keys.get(key)
    loaded.sealing.messages = SUBKEY_MESSAGES
    token.be({"function": "C_DeriveKey", "seconds": 0.1})
    sealing = [asyncio.ensure_future(away.seal(key, b"text", b"", deadline=soon())) for _ in range(4)]
    while not token.calls:  # noqa: ASYNC110 - a thread counts them
        await asyncio.sleep(0.001)

    away.forget(key.key_id)
    sealed = await asyncio.gather(*sealing)

    assert token.calls == 1, "nobody found the sub-key destroyed, and had to begin anew"
    token.be()
    assert [await away.open(key, each, b"", deadline=soon()) for each in sealed] == [b"text"] * 4
    await emptied(away)
    assert loaded.sealing is None, "the last one who used the forgotten key took it out of the token"


async def test_many_who_open_the_same_prefix_leave_one_sub_key_behind(away: TokenVault) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await away.seal(key, b"text", b"", deadline=soon())
    away.forget(key.key_id)

    opened = await asyncio.gather(*(away.open(key, sealed, b"", deadline=soon()) for _ in range(12)))

    assert opened == [b"text"] * 12
    await emptied(away)
    assert away.loaded()[1] == 1


async def test_forgeries_leave_no_sub_key_behind_on_threads(away: TokenVault, token: IllToken) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await away.seal(key, b"text", b"", deadline=soon())
    token.be({"function": "C_DestroyObject", "code": 0})

    for position in range(12):
        work = away.open(key, altered(sealed, position), b"", deadline=soon())
        assert (await refusal(work)).reason is Reason.INVALID_CIPHERTEXT

    assert away.loaded()[1] == 0
    assert token.calls == 12, "each derived sub-key was destroyed"


async def test_a_sub_key_that_is_pushed_out_while_a_thread_uses_it_lives_until_then(
    away: TokenVault, token: IllToken
) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await away.seal(key, b"text", b"", deadline=soon())
    away.forget(key.key_id)
    assert await away.open(key, sealed, b"", deadline=soon()) == b"text"
    await emptied(away)
    (subkey,) = away._symmetric._subkeys._order
    token.be({"function": "C_DecryptInit", "hang": True})
    opening = asyncio.ensure_future(away.open(key, sealed, b"", deadline=soon()))
    while not token.calls:  # noqa: ASYNC110 - a thread counts them
        await asyncio.sleep(0.001)

    away._symmetric._subkeys.drop(subkey)
    while away._quick.lane.load > 1:  # noqa: ASYNC110 - what was posted would be done by now
        await asyncio.sleep(0.001)

    assert subkey.held[Attribute.SENSITIVE] == b"\x01", "it is still there"
    token.be()
    assert await opening == b"text"
    await emptied(away)
    with pytest.raises(ObjectHandleInvalid):
        subkey.held[Attribute.SENSITIVE]


async def test_an_invalid_handle_is_loaded_anew_on_threads_too(away: TokenVault) -> None:
    key = await make(away, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await away.seal(key, b"text", b"", deadline=soon())
    loaded: Any = away._keys.get(key)
    loaded.sealing.held.destroy()

    assert await away.open(key, sealed, b"", deadline=soon()) == b"text"


async def test_the_loop_never_waits_for_a_thread_that_has_the_keepers_session(
    own: OpenedVault, token: IllToken, ticker: Ticker
) -> None:
    vault = own.vault
    keys = [await make(vault, KeySpec.SYMMETRIC_DEFAULT) for _ in range(2)]
    for key in keys:
        await vault.seal(key, b"warm", b"", deadline=soon())
        used_up: Any = vault._keys.get(key)
        used_up.sealing.messages = SUBKEY_MESSAGES
    vault._pace._leave(time.monotonic())
    token.be({"function": "C_DeriveKey", "seconds": 0.4})
    first = asyncio.ensure_future(vault.seal(keys[0], b"text", b"", deadline=soon()))
    await asyncio.sleep(0.1)
    assert token.calls == 1
    vault._pace.inline = True
    ticker.turns, meanwhile = 0, []
    first.add_done_callback(lambda _: meanwhile.append(ticker.turns))

    await vault.seal(keys[1], b"text", b"", deadline=soon())
    await first

    assert meanwhile[0] > 10


async def test_a_slow_canary_sends_calls_away_too(own: OpenedVault, token: IllToken) -> None:
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    sealed = await own.vault.seal(key, b"text", b"", deadline=soon())
    token.be({"function": "C_Sign", "seconds": 1.2 * pace.VERY_LONG})

    error = await refusal(own.vault.open(key, altered(sealed, 30), b"", deadline=soon()))

    assert error.reason is Reason.INVALID_CIPHERTEXT
    assert not own.vault._pace.inline


# --- exercise


async def test_exercise_gives_its_seconds_and_leaves_one_key(own: OpenedVault, token: IllToken) -> None:
    times = [await own.vault.exercise() for _ in range(3)]

    assert all(0 < seconds < 1 for seconds in times)
    token.be({"function": "C_Decrypt", "seconds": 0.05}, {"function": "C_GenerateKey", "code": 5})
    assert await own.vault.exercise() >= 0.05, "the key is there already"
    assert own.vault._pace.inline, "it holds no loop up"


@pytest.mark.parametrize(
    "rule",
    [
        {"function": "C_GenerateKey", "code": 0x30},
        {"function": "C_Encrypt", "code": 0x30},
        {"function": "C_Decrypt", "code": 0x5},
        {"function": "C_EncryptInit", "code": 0x2},
        {"code": 0x5},
    ],
    ids=lambda rule: "-".join(str(value) for value in rule.values()),
)
async def test_exercise_says_that_the_token_is_away_whatever_is_wrong(
    own: OpenedVault, token: IllToken, rule: dict[str, Any]
) -> None:
    token.be(rule)

    error = await refusal(own.vault.exercise())

    assert error.reason is Reason.HSM_UNAVAILABLE
    assert error.retry_after


async def test_exercise_of_a_token_that_hangs_ends(
    own: OpenedVault, token: IllToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroomd.hsm.keystore.EXERCISE_SECONDS", 0.05)
    token.be({"function": "C_Encrypt", "hang": True})

    assert (await refusal(own.vault.exercise())).reason is Reason.HSM_UNAVAILABLE
    token.be()


async def test_exercise_finds_a_token_that_decrypts_wrongly(
    own: OpenedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own.vault._released, "decrypt_gcm", lambda *_: bytes(32))

    assert (await refusal(own.vault.exercise())).reason is Reason.HSM_UNAVAILABLE


async def test_exercise_makes_its_key_anew_when_it_is_gone(own: OpenedVault) -> None:
    vault = own.vault
    await vault.exercise()
    key: Any = vault._exerciser._key
    key.destroy()
    assert await vault.exercise() > 0

    vault._parts.keeper.discard(vault._parts.keeper.take(), "test")
    assert await vault.exercise() > 0


async def test_another_token_is_not_exercised(own: OpenedVault) -> None:
    assert (await refusal(own.vault.exercise("second"))).reason is Reason.HSM_UNAVAILABLE


def test_a_token_says_what_it_is(own: OpenedVault) -> None:
    said = own.vault.describe()

    assert said.startswith("SoftHSM project SoftHSM v2 2.")
    assert len(said) <= 64


async def test_the_exercise_key_never_leaves_the_token(own: OpenedVault) -> None:
    await own.vault.exercise()
    key: Any = own.vault._exerciser._key

    flags = [key[flag] for flag in (Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.TOKEN)]
    assert flags == [b"\x01", b"\x00", b"\x00"]
