"""Access keys used from new addresses, on a real token and store: told once, with the record, and not for each use."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.faults.core import Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.custody.accesskeys import Credentials
from strongroomd.custody.addresses import AddressBook
from strongroomd.custody.principals import NewPrincipal
from strongroomd.domain.addresses import KEPT_MS, AddressesRecord
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Event
from strongroomd.domain.limits import MAX_ADDRESSES

BLUE = "444455556666"
ALICE = f"arn:aws:iam::{BLUE}:user/alice"
NEW = "strongroom.access_key.used_from_new_address"
HERE, THERE = "192.0.2.1", "2001:db8::1"


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    await made.rooms.accounts.create(made.caller(), BLUE)
    await made.rooms.principals.create(made.caller(), NewPrincipal(ALICE))
    yield made
    await made.close()


@pytest.fixture
async def key(core: Core) -> str:
    return await new_key(core)


async def new_key(core: Core) -> str:
    made = await core.rooms.access_keys.create(core.caller(), ALICE)
    return made.record.access_key_id


async def use(core: Core, key_id: str, *addresses: str, book: AddressBook | None = None) -> None:
    """Use a key as a door will, and let the second pass in which that is written down."""
    book = book or core.addresses
    door = Credentials(core.directory, core.vault, core.gate.usage, book)
    for address in addresses:
        await door.find(key_id)
        door.used(key_id, address)
    await book.flush()


async def news(core: Core) -> list[Event]:
    return [event for event, _ in await core.store.outbox.events(0, 1_000) if event.type == NEW]


async def told(core: Core) -> list[str]:
    return [event.facts()["address"] for event in await news(core)]


async def test_the_first_use_of_all_is_an_event_that_says_so_and_every_new_address_is_one(
    core: Core, key: str
) -> None:
    await use(core, key, HERE)
    await use(core, key, THERE, HERE)

    first, second = await news(core)
    assert first.facts() == {"account": BLUE, "access_key": key, "address": HERE, "first": True}
    assert second.facts() == {"account": BLUE, "access_key": key, "address": "2001:db8::/64", "first": False}
    assert {(event.subject, event.principal) for event in (first, second)} == {(ALICE, ALICE)}


async def test_a_use_from_a_known_address_writes_nothing(core: Core, key: str) -> None:
    await use(core, key, HERE, THERE)
    before = core.ledger.sequence

    await use(core, key, HERE, THERE, "2001:db8::2", "", "unix:")

    assert core.ledger.sequence == before
    assert await told(core) == [HERE, "2001:db8::/64"]


async def test_many_new_addresses_of_a_key_are_one_transaction_and_its_etag_stays(
    core: Core, key: str
) -> None:
    before = core.ledger.sequence

    await use(core, key, *(f"192.0.2.{n}" for n in range(100)))

    assert core.ledger.sequence == before + 1
    assert len(await told(core)) == MAX_ADDRESSES
    await core.rooms.access_keys.deactivate(core.caller(), ALICE, key, etag="1")


async def test_a_key_of_a_large_fleet_is_not_news_without_end(core: Core, key: str) -> None:
    fleet = [f"192.0.2.{n}" for n in range(MAX_ADDRESSES + 8)]
    for _ in range(3):
        await use(core, key, *fleet)
    assert len(await told(core)) == MAX_ADDRESSES

    core.clock.pass_time(KEPT_MS / 1000 + 1)
    await use(core, key, "198.51.100.1")
    await use(core, key, fleet[0])

    assert (await told(core))[MAX_ADDRESSES:] == ["198.51.100.1", fleet[0]], "the oldest was forgotten"


async def test_another_worker_knows_what_this_one_wrote(
    core: Core, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = AddressBook(core.ledger, core.directory, core.clock)
    await use(core, key, HERE)

    with monkeypatch.context() as reading:
        reading.setattr(core.ledger, "change", None)  # not so much as a transaction
        await use(core, key, HERE, book=other)
    await use(core, key, THERE, book=other)
    await use(core, key, THERE)

    assert await told(core) == [HERE, "2001:db8::/64"]


async def test_what_another_worker_forgot_is_forgotten_here(core: Core, key: str) -> None:
    other = AddressBook(core.ledger, core.directory, core.clock)
    await use(core, key, HERE)
    core.clock.pass_time(KEPT_MS / 1000 + 1)

    await use(core, key, *(f"198.51.100.{n}" for n in range(MAX_ADDRESSES)), book=other)
    await use(core, key, HERE)
    assert (await told(core)).count(HERE) == 1, "there is no room before an hour has passed"
    core.clock.pass_time(KEPT_MS / 1000 + 1)
    await use(core, key, HERE)

    assert (await told(core)).count(HERE) == 2


async def test_a_key_that_another_worker_deleted_just_now_gets_no_record(core: Core, key: str) -> None:
    found = core.directory.access_key(key)
    stale: Any = SimpleNamespace(access_key=lambda _: found)
    book = AddressBook(core.ledger, stale, core.clock)
    book.used(key, HERE)
    await core.rooms.access_keys.delete(core.caller(), ALICE, key)

    await book.flush()

    assert await core.ledger.read(AddressesRecord, key) is None
    assert await news(core) == []


async def test_what_cannot_be_written_now_is_written_later_and_once(
    core: Core, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StrongroomError(Reason.STORE_UNAVAILABLE)

    with monkeypatch.context() as broken:
        broken.setattr(core.ledger.scribe, "write", away)
        with pytest.raises(StrongroomError):
            await use(core, key, HERE)
    assert await core.ledger.read(AddressesRecord, key) is None, "neither the event nor the record"
    await core.addresses.flush()
    await core.addresses.flush()

    assert await told(core) == [HERE]
    assert await core.ledger.read(AddressesRecord, key) is not None


@pytest.mark.parametrize("whole", [False, True], ids=["the key", "its principal"])
async def test_a_deleted_key_leaves_no_addresses_and_is_no_news(core: Core, key: str, whole: bool) -> None:
    await use(core, key, HERE)
    core.addresses.used(key, THERE)
    if whole:
        await core.rooms.principals.delete(core.caller(), ALICE)
    else:
        await core.rooms.access_keys.delete(core.caller(), ALICE, key)

    await core.addresses.flush()

    assert await core.ledger.read(AddressesRecord, key) is None
    assert await told(core) == [HERE]
    assert core.rows("SELECT * FROM access_key_addresses") == []


async def test_a_damaged_record_keeps_no_other_key_waiting(core: Core, key: str) -> None:
    await use(core, key, HERE)
    core.edit("UPDATE access_key_addresses SET addresses = '[]'")
    other = await new_key(core)

    core.addresses.used(key, THERE)
    await use(core, other, HERE)

    assert [event.facts()["access_key"] for event in await news(core)] == [key, other]


async def test_a_key_that_was_switched_off_is_not_found_and_so_no_news(core: Core, key: str) -> None:
    await core.rooms.access_keys.deactivate(core.caller(), ALICE, key)

    with pytest.raises(StrongroomError):
        await use(core, key, HERE)

    await core.addresses.flush()
    assert await news(core) == []
