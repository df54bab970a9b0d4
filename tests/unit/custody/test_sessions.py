"""Role sessions end: by the clock, with their role, and for everybody but whom they were given to."""

import dataclasses
import hashlib
import hmac
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from strongroomd.custody.sessions import Sessions
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.principals import Principal, RoleSession

ROLE = "arn:aws:iam::111122223333:role/night"
ALICE = Principal("arn:aws:iam::111122223333:user/alice", "111122223333")
BOB = Principal("arn:aws:iam::111122223333:user/bob", "111122223333")
ENDS = 1_000_000
SESSION = RoleSession(ROLE, "tonight", ALICE.arn, "c" * 64, ENDS, "unique", 3)


class Vault:
    async def row_mac(self, message: bytes) -> bytes:
        return hmac.digest(b"k", message, hashlib.sha256)


class Directory:
    """Knows one role, as a test says."""

    def __init__(self) -> None:
        self.record: Any = SimpleNamespace(unique_id="unique", session_epoch=3)
        self.enabled = True

    def principal(self, _arn: str) -> Any:
        return self.record

    def admit(self, arn: str) -> Principal | None:
        return Principal(arn, "111122223333") if self.enabled else None

    def require_fresh(self) -> None:
        """Nothing is stale."""

    async def catch_up(self) -> None:
        """Nothing changes elsewhere."""


class House:
    def __init__(self) -> None:
        self.now = ENDS - 1
        self.directory = Directory()
        clock: Any = SimpleNamespace(wall_ms=lambda: self.now)
        vault, directory = Vault(), self.directory
        self.sessions = Sessions(vault, directory, clock)  # type: ignore[arg-type]

    def role(
        self, session: RoleSession = SESSION, holder: Principal = ALICE, certificate: str = "c" * 64
    ) -> str:
        return self.sessions.role(session, holder, certificate).arn


@pytest.fixture
def house() -> House:
    return House()


def test_a_session_holds_until_the_millisecond_it_ends(house: House) -> None:
    assert house.role() == ROLE
    for house.now in (ENDS, ENDS + 1, 2 * ENDS):
        with pytest.raises(StrongroomError):
            house.role()


def _expire(house: House) -> None:
    house.now = ENDS


def _remove(house: House) -> None:
    house.directory.record = None


def _make_anew(house: House) -> None:
    house.directory.record.unique_id = "another"


def _revoke(house: House) -> None:
    house.directory.record.session_epoch = 4


def _disable(house: House) -> None:
    house.directory.enabled = False


def _nothing(_house: House) -> None:
    """The session is good, and somebody else brings it."""


@pytest.mark.parametrize(
    ("change", "holder", "certificate"),
    [
        *((change, ALICE, "c" * 64) for change in (_expire, _remove, _make_anew, _revoke, _disable)),
        (_nothing, BOB, "c" * 64),
        (_nothing, ALICE, "d" * 64),
    ],
)
def test_whatever_ended_a_session_the_answer_is_one(
    house: House, change: Callable[[House], None], holder: Principal, certificate: str
) -> None:
    change(house)

    with pytest.raises(StrongroomError) as caught:
        house.role(holder=holder, certificate=certificate)

    assert (caught.value.reason.value, caught.value.message) == (
        "UNAUTHENTICATED_PEER",
        "the role session is not valid",
    )


async def test_a_token_opens_to_its_session_and_no_other_end_can_be_written_into_it(house: House) -> None:
    token = await house.sessions.token(SESSION)
    longer = await House().sessions.token(dataclasses.replace(SESSION, expires_at=9 * ENDS))

    assert await house.sessions.open(token) == SESSION
    for forged in (longer[:-44] + token[-44:], token[:-1], token + "A", token[::-1], "", "é", "A" * 3_000):
        with pytest.raises(StrongroomError) as caught:
            await house.sessions.open(forged)
        assert caught.value.reason.value == "UNAUTHENTICATED_PEER"
