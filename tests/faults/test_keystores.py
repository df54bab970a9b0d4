"""Key stores in a second worker, and after somebody edited the database: what is not believed serves nobody."""

import dataclasses

import pytest
from tests.faults.core import Core
from tests.faults.keystores import PREFIX, Shop, make_shop, reason
from tests.faults.test_invocations import other as other  # noqa: PLC0414 - a fixture

from strongroomd.custody.ledger import Ledger
from strongroomd.custody.xks.externalkeys import KeyForm
from strongroomd.custody.xks.stores import StoreForm
from strongroomd.domain.accounts import AccountRecord
from strongroomd.domain.quota import Rate
from strongroomd.domain.xks.records import Pinning

pytestmark = pytest.mark.softhsm


@pytest.fixture
def mine(core: Core) -> Shop:
    """The worker that changes things."""
    return make_shop(core)


@pytest.fixture
async def theirs(core: Core, other: Ledger) -> Shop:
    """The worker that hears of them."""
    shop = make_shop(core, other)
    await shop.shelf.start()
    return shop


async def follow(shop: Shop, ledger: Ledger) -> None:
    """What a worker does every 200 ms."""
    await ledger.follow()
    await shop.core.ledger.follow()
    await shop.shelf.refresh()


async def test_every_change_is_in_force_in_the_other_worker(mine: Shop, theirs: Shop, other: Ledger) -> None:
    store = await mine.open(pinning=Pinning.FIRST_USE)
    name = (await mine.credentials.create(mine.caller(), store.store_id)).record.access_key_id
    assert theirs.shelf.by_prefix(PREFIX) is None
    await follow(theirs, other)

    parts = await theirs.encrypt()
    signer = await theirs.proxy.secrets(theirs.shelved(), name)
    await follow(mine, mine.core.ledger)
    assert signer == await mine.proxy.secrets(mine.shelved(), name)
    assert mine.shelved().keys == theirs.shelved().keys  # the pin of the first use, too
    assert mine.shelved().keys["key"].kms_key_arn

    changes = {
        "BLOCKED": mine.stores.block(mine.caller(), store.store_id),
        "OK": mine.stores.unblock(mine.caller(), store.store_id),
        "INVALID_KEY_USAGE": mine.external_keys.update(
            mine.caller(), store.store_id, "key", KeyForm(decrypts=False)
        ),
        "ACCESS_DENIED": mine.stores.update(
            mine.caller(),
            store.store_id,
            StoreForm(policy='{"Statement": [{"Effect": "Deny", "Action": "xks:*"}]}', rate=Rate(5, 5)),
        ),
    }
    for answer, change in changes.items():
        await change
        await follow(theirs, other)
        assert await reason(theirs.decrypt(parts)) == answer
    await mine.credentials.delete(mine.caller(), store.store_id, name)
    await mine.external_keys.remove(mine.caller(), store.store_id, "key")
    await mine.stores.update(mine.caller(), store.store_id, StoreForm(policy=""))
    await follow(theirs, other)
    assert await theirs.proxy.secrets(theirs.shelved(), name) is None
    assert await reason(theirs.decrypt(parts)) == "KEY_NOT_FOUND"

    await mine.stores.delete(mine.caller(), store.store_id)
    await follow(theirs, other)
    assert theirs.shelf.by_prefix(PREFIX) is None
    assert theirs.shelf.stores() == ()


async def test_a_prefix_that_changed_hands_between_two_looks_is_the_new_stores(
    mine: Shop, theirs: Shop, other: Ledger
) -> None:
    old = await mine.store()
    await follow(theirs, other)
    await mine.stores.delete(mine.caller(), old.store_id)
    new = await mine.store()

    await follow(theirs, other)

    assert theirs.shelved().record == new
    assert mine.shelved().record == new


async def test_a_first_use_elsewhere_binds_before_it_is_heard_of(
    mine: Shop, theirs: Shop, other: Ledger
) -> None:
    await mine.open(pinning=Pinning.FIRST_USE)
    await follow(theirs, other)
    await mine.encrypt()

    late = theirs.encrypt(kms_key_arn="arn:aws:kms:eu-west-1:777788889999:key/other")

    assert await reason(late) == "ACCESS_DENIED"
    assert await reason(theirs.encrypt()) == "OK"


RAIL = '{"Statement": [{"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*"}]}'
EDITS = [
    "UPDATE xks_stores SET blocked = 1",
    "UPDATE xks_stores SET policy = ''",
    "UPDATE xks_stores SET account = '999988887777'",
    "DELETE FROM xks_stores",
    "UPDATE xks_keys SET encrypts = 0",
    "UPDATE xks_keys SET kms_key_arn = ''",
    "UPDATE xks_keys SET pinning = 'nonsense'",
    "DELETE FROM xks_keys",
]


async def stocked(shop: Shop) -> str:
    """A store with a policy, a pinned key and a credential; gives the credential's id."""
    store = await shop.open(pinning=Pinning.FIRST_USE)
    policy = '{"Statement": [{"Effect": "Allow", "Action": "xks:*"}]}'
    await shop.stores.update(shop.caller(), store.store_id, StoreForm(policy=policy))
    await shop.encrypt()
    return (await shop.credentials.create(shop.caller(), store.store_id)).record.access_key_id


async def touch(shop: Shop) -> None:
    """Have every worker read the store's records again, as after any change of them."""
    for kind, record_id in [(kind, name) for kind, held in shop.shelf._mirror.held.items() for name in held]:
        shop.shelf._mirror._unread[kind, record_id] = 0
    await shop.shelf.refresh()


@pytest.mark.parametrize("edit", EDITS)
async def test_what_was_edited_serves_nobody_once_it_is_read(mine: Shop, edit: str) -> None:
    await stocked(mine)
    parts = await mine.encrypt()
    assert mine.core.edit(edit) == 1

    await touch(mine)

    answers = [await reason(work) for work in (mine.encrypt(), mine.decrypt(parts), mine.metadata())]
    assert answers == ["INTEGRITY_FAILURE"] * 3


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE xks_credentials SET sealed_secret = x'00'",
        "UPDATE xks_credentials SET access_key_id = 'B'",
        "DELETE FROM xks_credentials",
    ],
)
async def test_an_edited_credential_signs_nothing_and_the_others_do(mine: Shop, edit: str) -> None:
    whole = await stocked(mine)
    store = mine.shelved().store_id
    name = (await mine.credentials.create(mine.caller(), store)).record.access_key_id
    mine.core.edit(f"{edit} WHERE record_id = ?", f"{store}/{name}")

    await touch(mine)

    assert await reason(mine.proxy.secrets(mine.shelved(), name)) == "INTEGRITY_FAILURE"
    assert await mine.proxy.secrets(mine.shelved(), whole) is not None


async def test_a_new_worker_does_not_believe_what_was_edited_and_serves_the_rest(
    core: Core, mine: Shop
) -> None:
    await stocked(mine)
    other = await mine.store("/other")
    await mine.add(other, await core.create())
    core.edit("UPDATE xks_stores SET policy = '' WHERE uri_prefix = ?", PREFIX)
    core.edit("UPDATE xks_keys SET encrypts = 0 WHERE store_id = ?", other.store_id)
    ledger = core.reborn()
    await ledger.start()
    fresh = make_shop(core, ledger)

    await fresh.shelf.start()

    assert fresh.shelf.by_prefix(PREFIX) is None
    assert await reason(fresh.encrypt(prefix="/other")) == "INTEGRITY_FAILURE"
    assert await reason(fresh.metadata(prefix="/other", name="nothing")) == "KEY_NOT_FOUND"


async def test_a_lifted_guard_rail_of_its_account_shuts_a_store_out(core: Core, mine: Shop) -> None:
    store = await mine.open()
    await core.rooms.accounts.create(core.caller(), store.account, "blue")
    await core.rooms.accounts.put_guard_rail(core.caller(), store.account, "rail", RAIL)
    assert await reason(mine.encrypt()) == "ACCESS_DENIED"
    core.edit("UPDATE accounts SET guard_rails = '[]'")

    core.directory._mirror._unread[AccountRecord, store.account] = 0
    await core.directory.refresh()

    answers = [await reason(work) for work in (mine.encrypt(), mine.metadata())]
    assert answers == ["INTEGRITY_FAILURE"] * 2


async def test_a_policy_that_this_version_cannot_read_allows_nothing_and_stops_no_other_store(
    core: Core, mine: Shop, theirs: Shop, other: Ledger
) -> None:
    store = await mine.open()
    await mine.add(await mine.store("/other"), await core.create())
    newer = dataclasses.replace(store, policy='{"Version": "2039-01-01"}', row_version=store.row_version + 1)
    async with core.ledger.change() as change:
        await change.put(newer)

    await follow(theirs, other)

    assert await reason(theirs.encrypt()) == "ACCESS_DENIED"
    assert await reason(theirs.encrypt(prefix="/other")) == "OK"


async def test_while_news_of_others_do_not_come_nothing_is_answered(mine: Shop) -> None:
    await mine.open()
    mine.core.ledger.bound_staleness(0.0)

    assert await reason(mine.encrypt()) == "STORE_UNAVAILABLE"
