"""Several tokens as one vault: each key goes to the token that holds it, and one that is away fails alone."""

import asyncio
from typing import Any, cast

import pytest

from strongroomd.domain.algorithms import (
    EncryptionAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode, HouseRecord, VersionRecord, VersionState
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.places import Place
from strongroomd.hsm.vaults import Vaults

SPEC, USAGE = KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT


class FakeVault:
    """Answers each call with its own name, and remembers what it was asked."""

    fatal = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    def __getattr__(self, call: str) -> Any:
        if call in {"placement", "forget", "sweep", "close"}:
            return lambda *_, **__: self._note(call)

        async def answer(*_: Any, **__: Any) -> str:
            return self._note(call)

        return answer

    def loaded(self) -> tuple[int, int]:
        return 2, 3

    def _note(self, call: str) -> str:
        self.asked.append(call)
        return self.name


class FakeFurther:
    """A further token that the test brings and takes away."""

    def __init__(self, name: str) -> None:
        self.fake = FakeVault(name)
        self.place = Place(name, "", cast("Any", self.fake))
        self.tell: Any = None

    def leave(self) -> None:
        self.place.vault, self.place.trouble = None, "gone"

    def close(self) -> None:
        self.fake.asked.append("close")


def house(token: str, kek: str, role: str = "kek-sealed") -> HouseRecord:
    return HouseRecord(role, kek, b"", b"", token)


def version(kek: str = "", token: str = MAIN) -> BoundVersion:
    record = VersionRecord(
        *("key", 1, VersionState.ACTIVE, 0, kek, "" if kek else "ab", b"", 0, b"", b"", b""), token=token
    )
    mode = CustodyMode.WRAPPED if kek else CustodyMode.RESIDENT
    return BoundVersion("key", SPEC, USAGE, mode, exportable=False, record=record)


class Tokens:
    """A main token and two further ones; `shared` is a KEK that both of these have."""

    def __init__(self) -> None:
        self.main, self.one, self.two = FakeVault("main"), FakeFurther("one"), FakeFurther("two")
        records = [house(MAIN, "k0"), house("one", "k1"), house("two", "k2", "kek-exportable")]
        records += [house("one", "shared"), house("two", "shared"), house("one", "mac", "health")]
        further: Any = [self.one, self.two]
        self.vaults = Vaults(cast("Any", self.main), further, records)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


def uses(vaults: Vaults, key: BoundVersion) -> list[Any]:
    """Every call that uses a key."""
    return [
        lambda: vaults.seal(key, b"", b"", deadline=1),
        lambda: vaults.open(key, b"", b"", deadline=1),
        lambda: vaults.mac(key, MacAlgorithm.HMAC_SHA_256, b"", deadline=1),
        lambda: vaults.sign(key, SigningAlgorithm.ECDSA_SHA_256, b"", deadline=1),
        lambda: vaults.rsa_decrypt(key, EncryptionAlgorithm.RSAES_OAEP_SHA_1, b"", deadline=1),
        lambda: vaults.agree(key, b"", deadline=1),
    ]


@pytest.mark.parametrize(
    ("key", "token"),
    [
        (version("k0"), "main"),
        (version("k1"), "one"),
        (version("k2"), "two"),
        (version("k2", token="one"), "two"),  # what wraps it decides, not what its record names besides
        (version(token=MAIN), "main"),
        (version(token="two"), "two"),
        (version("shared"), "one"),
    ],
)
async def test_a_key_is_used_where_it_lives_whatever_is_done_with_it(
    tokens: Tokens, key: BoundVersion, token: str
) -> None:
    answers = [await call() for call in uses(tokens.vaults, key)]

    assert answers == [token] * 6


@pytest.mark.parametrize("key", [version("k1"), version(token="one")])
async def test_a_token_that_is_away_refuses_its_own_keys_and_no_others(
    tokens: Tokens, key: BoundVersion
) -> None:
    tokens.one.leave()

    for call in uses(tokens.vaults, key):
        with pytest.raises(StrongroomError) as caught:
            await call()
        assert (caught.value.reason, caught.value.detail) == (Reason.HSM_UNAVAILABLE, "token one: gone")
        assert caught.value.retry_after
    for other in (version("k0"), version("k2"), version(), version(token="two")):
        assert [await call() for call in uses(tokens.vaults, other)] != []
    assert tokens.one.fake.asked == []


async def test_any_token_that_holds_the_kek_will_do(tokens: Tokens) -> None:
    tokens.one.leave()

    assert await cast("Any", tokens.vaults.seal(version("shared"), b"", b"", deadline=1)) == "two"


async def test_a_kek_that_nobody_knows_is_asked_of_the_main_token_when_all_are_there(tokens: Tokens) -> None:
    assert await cast("Any", tokens.vaults.seal(version("unheard"), b"", b"", deadline=1)) == "main"


def test_a_kek_that_nobody_knows_may_be_that_of_a_token_that_is_away(tokens: Tokens) -> None:
    tokens.two.leave()

    with pytest.raises(StrongroomError) as caught:
        _ = tokens.vaults.seal(version("unheard"), b"", b"", deadline=1)
    assert caught.value.reason is Reason.HSM_UNAVAILABLE


async def test_house_keys_that_a_token_got_meanwhile_are_learnt(tokens: Tokens) -> None:
    tokens.two.tell([house("two", "new")])

    assert await cast("Any", tokens.vaults.seal(version("new"), b"", b"", deadline=1)) == "two"


def test_a_token_that_is_not_configured_any_more_is_away(tokens: Tokens) -> None:
    tokens.vaults.learn([house("old", "k9")])

    for key in (version("k9"), version(token="old"), version(token="never")):
        with pytest.raises(StrongroomError) as caught:
            _ = tokens.vaults.seal(key, b"", b"", deadline=1)
        assert caught.value.reason is Reason.HSM_UNAVAILABLE
    assert tokens.vaults.tokens() == (MAIN, "one", "two", "old")
    assert "configuration" in tokens.vaults.states()["old"]


@pytest.mark.parametrize(("token", "name"), [(MAIN, "main"), ("one", "one"), ("two", "two")])
async def test_births_and_token_objects_are_of_the_token_that_is_named(
    tokens: Tokens, token: str, name: str
) -> None:
    vaults = cast("Any", tokens.vaults)
    mode = CustodyMode.RESIDENT
    assert vaults.placement(SPEC, USAGE, mode, exportable=False, token=token) == name
    born = vaults.generate(SPEC, USAGE, mode, exportable=False, hsm_id="", deadline=1, token=token)
    assert await born == name
    assert await vaults.list_resident(token) == name
    await vaults.destroy_resident("ab", token)

    asked = {"main": tokens.main, "one": tokens.one.fake, "two": tokens.two.fake}
    assert asked.pop(name).asked[-1] == "destroy_resident"
    assert all(other.asked == [] for other in asked.values())


async def test_nothing_is_born_listed_or_destroyed_in_a_token_that_is_away(tokens: Tokens) -> None:
    tokens.one.leave()
    vaults, mode = tokens.vaults, CustodyMode.WRAPPED

    for call in (
        lambda: vaults.placement(SPEC, USAGE, mode, exportable=False, token="one"),
        lambda: vaults.generate(SPEC, USAGE, mode, exportable=False, hsm_id="", deadline=1, token="one"),
        lambda: asyncio.ensure_future(vaults.list_resident("one")),
        lambda: asyncio.ensure_future(vaults.destroy_resident("ab", "one")),
    ):
        with pytest.raises(StrongroomError) as caught:
            await cast("Any", call())
        assert caught.value.reason is Reason.HSM_UNAVAILABLE


async def test_what_a_house_has_once_is_the_main_tokens_alone(tokens: Tokens) -> None:
    vaults = tokens.vaults
    await vaults.row_mac(b"")
    await vaults.sign_checkpoint(b"")
    await vaults.random(16)
    await vaults.read_anchor()
    await vaults.write_anchor(cast("Any", None))
    await vaults.data_key_pair(KeySpec.RSA_2048, deadline=1)
    await vaults.probe()

    assert len(tokens.main.asked) == 7
    assert (tokens.one.fake.asked, tokens.two.fake.asked) == ([], [])


def test_all_tokens_that_are_there_forget_a_key_are_swept_and_counted(tokens: Tokens) -> None:
    tokens.two.leave()
    tokens.vaults.forget("key")
    tokens.vaults.sweep()

    assert tokens.main.asked == tokens.one.fake.asked == ["forget", "sweep"]
    assert tokens.two.fake.asked == []
    assert tokens.vaults.loaded() == (4, 6)


def test_no_further_token_ends_the_worker(tokens: Tokens) -> None:
    tokens.one.fake.fatal = "gone for good"  # type: ignore[assignment]

    assert tokens.vaults.fatal is None


def test_states_name_every_further_token_and_say_which_can_be_used(tokens: Tokens) -> None:
    tokens.one.leave()

    assert tokens.vaults.states() == {"one": "gone", "two": ""}
    assert [tokens.vaults.usable(name) for name in ("", "one", "two", "three")] == [True, False, True, False]


def test_the_main_token_is_let_go_last(tokens: Tokens) -> None:
    tokens.vaults.close()

    assert [tokens.main.asked, tokens.one.fake.asked, tokens.two.fake.asked] == [["close"]] * 3


async def test_where_a_new_kek_is_follows_from_the_id_of_its_record(tokens: Tokens) -> None:
    for record_id in ("kek-sealed/k9/two", "kek-exportable/k8", "health/k7/two", "kek-sealed/k6/nowhere"):
        tokens.vaults.expect(record_id)
        tokens.vaults.expect(record_id)

    found: list[Any] = [
        await tokens.vaults.seal(version(kek), b"", b"", deadline=1) for kek in ("k9", "k8", "k7", "k6")
    ]

    assert found == ["two", "main", "main", "main"]  # what nobody knows is the main one's to refuse
