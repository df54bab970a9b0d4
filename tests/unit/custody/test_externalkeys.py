"""External keys: who may lend a key to a store, what is refused, what is announced."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.core import ACCOUNT, ADMIN, Core, make_core
from tests.faults.keystores import (
    KMS_KEY,
    NEIGHBOUR,
    OTHER_KMS_KEY,
    PREFIX,
    STRANGER,
    Shop,
    make_shop,
    reason,
    refusal,
)
from tests.hsmkeys import OpenedVault

from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.xks import externalkeys
from strongroomd.custody.xks.externalkeys import KeyForm
from strongroomd.custody.xks.stores import StoreForm
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason
from strongroomd.domain.principals import Caller
from strongroomd.domain.records import KeyManager, KeyRecord
from strongroomd.domain.xks.names import store_arn
from strongroomd.domain.xks.records import ExternalKeyRecord, Pinning, StoreRecord

pytestmark = pytest.mark.softhsm

UNKNOWN = "xks-0123456789abcdef"


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


@pytest.fixture
def shop(core: Core) -> Shop:
    return make_shop(core)


def statement(who: str, action: str, effect: str = "Allow", **more: object) -> dict[str, object]:
    return {"Effect": effect, "Principal": {"AWS": who}, "Action": action, "Resource": "*", **more}


async def key_with(core: Core, *statements: dict[str, object]) -> KeyRecord:
    """A key that the administrator may manage, with more statements."""
    policy = json.dumps({"Statement": [statement(ADMIN.arn, "kms:*"), *statements]})
    wanted = NewKey(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, None, policy=policy)
    return await core.keys.create(core.caller(), wanted)


Call = Callable[[Shop, Caller, str, str], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "describe": lambda shop, caller, store, key: shop.external_keys.describe(caller, store, key),
    "update": lambda shop, caller, store, key: shop.external_keys.update(
        caller, store, key, KeyForm(encrypts=False)
    ),
    "block": lambda shop, caller, store, key: shop.external_keys.block(caller, store, key),
    "unblock": lambda shop, caller, store, key: shop.external_keys.unblock(caller, store, key),
    "remove": lambda shop, caller, store, key: shop.external_keys.remove(caller, store, key),
}
OF_STORES: dict[str, Call] = CALLS | {
    "list": lambda shop, caller, store, key: shop.external_keys.list_keys(caller, store),
    "add": lambda shop, caller, store, key: shop.external_keys.add(
        caller, store, key, "alias/nothing", KeyForm()
    ),
}


async def test_a_key_is_added_as_was_said(shop: Shop) -> None:
    store, key = await shop.store(), await shop.core.create()
    form = KeyForm(decrypts=False, pinning=Pinning.FIXED, kms_key_arn=KMS_KEY, compatible=True)

    added = await shop.external_keys.add(shop.caller(), store.store_id, "key", key.key_id, form)

    expected = ExternalKeyRecord(
        store.store_id, "key", ACCOUNT, key.key_id, "", False, True, False, Pinning.FIXED, KMS_KEY, True, 0
    )
    assert dataclasses.replace(added.record, created_at=0) == expected
    assert added.key_arn == f"arn:aws:kms:eu-test-1:{ACCOUNT}:key/{key.key_id}"
    assert await shop.external_keys.describe(shop.caller(), store.store_id, "key") == added
    assert shop.shelved().keys == {"key": added.record}


async def test_another_accounts_store_is_one_that_there_is_not(shop: Shop) -> None:
    store = await shop.open()

    for call in OF_STORES.values():
        foreign = await refusal(call(shop, shop.caller(NEIGHBOUR), store.store_id, "key"))
        unknown = await refusal(call(shop, shop.caller(NEIGHBOUR), UNKNOWN, "key"))
        assert (foreign.reason, foreign.field) == (Reason.NOT_FOUND, "key_store")
        assert (foreign.message, foreign.field) == (unknown.message, unknown.field)


async def test_who_may_not_manage_stores_is_refused_before_any_is_looked_for(shop: Shop) -> None:
    store = await shop.open()

    for call in OF_STORES.values():
        for where in (store.store_id, UNKNOWN):
            assert await reason(call(shop, shop.caller(STRANGER), where, "key")) == "ACCESS_DENIED"


async def test_what_the_store_does_not_have_is_not_found(shop: Shop) -> None:
    store = await shop.open()

    for call in CALLS.values():
        error = await refusal(call(shop, shop.caller(), store.store_id, "Key"))
        assert (error.reason, error.field) == (Reason.KEY_NOT_FOUND, "external_key_id")
        assert await reason(call(shop, shop.caller(), store.store_id, "a/b")) == "INVALID_FIELD"


async def test_a_name_is_taken_once_in_a_store_and_again_in_another(shop: Shop) -> None:
    store, other, key = await shop.store(), await shop.store("/other"), await shop.core.create()

    answers = await asyncio.gather(*(reason(shop.add(store, key)) for _ in range(2)))

    assert sorted(answers) == ["ALREADY_EXISTS", "OK"]
    assert await reason(shop.add(other, key)) == "OK"
    assert await reason(shop.add(store, key, "key2")) == "OK"


async def test_a_store_has_so_many_keys_and_no_more(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(externalkeys, "MAX_EXTERNAL_KEYS", 1)
    store, key = await shop.store(), await shop.core.create()
    await shop.add(store, key)

    assert await reason(shop.add(store, key, "more")) == "LIMIT_EXCEEDED"


async def test_only_who_may_lend_a_key_adds_it(shop: Shop) -> None:
    """To an administrator of the store's account, too, a key that they may not lend is one that there is not."""
    core, caller = shop.core, shop.caller(NEIGHBOUR)
    store = await shop.stores.create(caller, "", "/theirs", StoreForm())
    lent = await key_with(core, statement(NEIGHBOUR.arn, "kms:*"))
    lookers = await key_with(core, statement(NEIGHBOUR.arn, "kms:Describe*"))
    denied = await key_with(core, statement(ADMIN.arn, "kms:CreateGrant", "Deny"))
    mine = await shop.store()

    async def add(who: Caller, where: StoreRecord, key: str) -> str:
        return await reason(shop.external_keys.add(who, where.store_id, "key", key, KeyForm()))

    await core.rooms.accounts.create(core.caller(), NEIGHBOUR.account)
    arns = [f"arn:aws:kms:eu-test-1:{ACCOUNT}:key/{key.key_id}" for key in (lookers, denied)]
    assert [await add(caller, store, arn) for arn in arns] == ["ACCESS_DENIED", "ACCESS_DENIED"]
    assert await add(shop.caller(), mine, denied.key_id) == "ACCESS_DENIED"
    assert await add(shop.caller(), mine, lent.key_id) == "OK"
    assert shop.shelved("/theirs").keys == {}


async def test_the_keys_policy_sees_to_whom_it_would_be_lent(shop: Shop) -> None:
    store, other = await shop.store(), await shop.store("/other")
    arn = store_arn(ACCOUNT, store.store_id)
    wish = {"StringNotEquals": {"kms:GranteePrincipal": arn}}
    key = await key_with(shop.core, statement(ADMIN.arn, "kms:CreateGrant", "Deny", Condition=wish))

    assert await reason(shop.add(other, key)) == "ACCESS_DENIED"
    assert await reason(shop.add(store, key)) == "OK"


async def test_a_services_own_key_is_in_no_store(shop: Shop) -> None:
    store, key = await shop.store(), await shop.core.create()
    async with shop.core.ledger.change() as change:
        await change.put(dataclasses.replace(key, manager=KeyManager.SERVICE, row_version=2))

    assert await reason(shop.add(store, key)) == "SERVICE_MANAGED_KEY"


async def test_a_key_that_is_to_be_deleted_is_not_added_and_a_disabled_one_is(shop: Shop) -> None:
    store, core = await shop.store(), shop.core
    pending, disabled = await core.create(), await core.create()
    await core.keys.schedule_deletion(core.caller(), pending.key_id, 7)
    await core.keys.disable(core.caller(), disabled.key_id)

    assert await reason(shop.add(store, pending)) == "KEY_PENDING_DELETION"
    assert await reason(shop.add(store, disabled)) == "OK"


NO_PINNINGS = [
    KeyForm(pinning=Pinning.FIXED),
    KeyForm(pinning=Pinning.NONE, kms_key_arn=KMS_KEY),
    KeyForm(pinning=Pinning.FIRST_USE, kms_key_arn=KMS_KEY),
    KeyForm(kms_key_arn=KMS_KEY),
    KeyForm(pinning=Pinning.FIXED, kms_key_arn="arn:aws:kms:eu-west-1:777788889999:alias/a"),
    KeyForm(pinning=Pinning.FIXED, kms_key_arn="x" * 3_000),
]


async def test_a_pinning_and_its_arn_belong_together(shop: Shop) -> None:
    store, key = await shop.store(), await shop.core.create()

    for form in NO_PINNINGS:
        for work in (
            shop.external_keys.add(shop.caller(), store.store_id, "key", key.key_id, form),
            shop.external_keys.update(shop.caller(), store.store_id, "key", form),
        ):
            assert (await refusal(work)).field == "kms_key_arn"


async def test_an_update_changes_what_it_says_and_setting_a_pinning_anew_forgets_the_first_use(
    shop: Shop,
) -> None:
    store = await shop.open(pinning=Pinning.FIRST_USE)
    await shop.encrypt()
    bound = (await shop.external_keys.describe(shop.caller(), store.store_id, "key")).record
    caller, where = shop.caller(), (store.store_id, "key")

    less = await shop.external_keys.update(caller, *where, KeyForm(encrypts=False), etag="2")
    again = await shop.external_keys.update(caller, *where, KeyForm(pinning=Pinning.FIRST_USE))

    assert (bound.kms_key_arn, bound.row_version) == (KMS_KEY, 2)
    assert less.record == dataclasses.replace(bound, encrypts=False, row_version=3)
    assert again.record.kms_key_arn == ""
    assert await reason(shop.external_keys.update(caller, *where, KeyForm(), etag="2")) == "ETAG_MISMATCH"
    assert await reason(shop.external_keys.block(caller, *where, etag="2")) == "ETAG_MISMATCH"
    assert await reason(shop.external_keys.remove(caller, *where, etag="2")) == "ETAG_MISMATCH"


async def test_a_repeated_call_is_answered_as_the_first_and_a_request_id_is_of_one_request(
    shop: Shop,
) -> None:
    store, key, caller = await shop.store(), await shop.core.create(), shop.caller()

    async def add(name: str = "key") -> Any:
        return await shop.external_keys.add(caller, store.store_id, name, key.key_id, KeyForm(), "r1")

    first = await add()
    assert await add() == first
    assert await reason(add("other")) == "REQUEST_ID_REUSED"
    removed = [await shop.external_keys.remove(caller, store.store_id, "key", "", "r2") for _ in range(2)]
    assert removed == [first, first]
    assert await add() == first
    assert shop.shelved().keys == {}


async def test_lists_go_page_by_page_and_a_token_is_of_one_store(shop: Shop) -> None:
    store, other, key = await shop.store(), await shop.store("/other"), await shop.core.create()
    for name in ("b", "a", "c"):
        await shop.add(store, key, name)

    page = await shop.external_keys.list_keys(shop.caller(), store.store_id, 2)
    rest = await shop.external_keys.list_keys(shop.caller(), store.store_id, 2, page.next_token)

    assert [each.record.external_key_id for each in (*page.keys, *rest.keys)] == ["a", "b", "c"]
    elsewhere = shop.external_keys.list_keys(shop.caller(), other.store_id, 2, page.next_token)
    assert await reason(elsewhere) == "INVALID_PAGE_TOKEN"


async def test_a_damaged_key_has_no_arn_stops_no_list_and_can_be_taken_out(shop: Shop) -> None:
    store, core = await shop.store(), shop.core
    whole, damaged = await core.create(), await core.create()
    await shop.add(store, whole, "whole")
    await shop.add(store, damaged, "damaged")
    core.edit("UPDATE keys SET description = 'edited' WHERE key_id = ?", damaged.key_id)
    core.catalog._entries.clear()

    page = await shop.external_keys.list_keys(shop.caller(), store.store_id)

    told = {each.record.external_key_id: each.key_arn.rpartition("/")[2] for each in page.keys}
    assert told == {"whole": whole.key_id, "damaged": ""}
    assert await reason(shop.external_keys.remove(shop.caller(), store.store_id, "damaged")) == "OK"


async def test_every_change_is_announced(shop: Shop) -> None:
    store, key, caller = await shop.store(), await shop.core.create(), shop.caller()
    await shop.core.store.outbox.register(["sink"])
    where = (store.store_id, "key")
    await shop.add(store, key, pinning=Pinning.FIRST_USE)
    await shop.encrypt()
    await shop.external_keys.block(caller, *where)
    await shop.external_keys.unblock(caller, *where)
    await shop.external_keys.update(caller, *where, KeyForm(decrypts=False))
    fixed = KeyForm(pinning=Pinning.FIXED, kms_key_arn=OTHER_KMS_KEY)
    await shop.external_keys.update(caller, *where, fixed)
    await shop.external_keys.remove(caller, *where)

    happened = [event for event, _ in await shop.core.store.outbox.events(0, 100)]
    events = [event for event in happened if event.type.startswith("strongroom.external_key.")]

    assert [event.type.removeprefix("strongroom.external_key.") for event in events] == [
        "added", "pinned", "blocked", "unblocked", "changed", "pinned", "changed", "removed",
    ]  # fmt: skip
    assert events[1].principal == store_arn(ACCOUNT, store.store_id)
    assert {json.loads(event.data)["external_key"] for event in events} == {"key"}
    assert shop.shelf.by_prefix(PREFIX) is not None
