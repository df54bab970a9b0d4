"""Key stores and their credentials: who may, what is refused, what is told of a secret, what is announced."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.core import ACCOUNT, Core, make_core
from tests.faults.keystores import NEIGHBOUR, PREFIX, STRANGER, Shop, make_shop, reason, refusal
from tests.hsmkeys import OpenedVault

from strongroomd.custody.xks import credentials, stores
from strongroomd.custody.xks.stores import NO_RATE, StoreForm
from strongroomd.domain.accounts import AccountRecord
from strongroomd.domain.errors import Reason
from strongroomd.domain.principals import Caller
from strongroomd.domain.quota import Rate
from strongroomd.domain.xks.records import StoreRecord

pytestmark = pytest.mark.softhsm

UNKNOWN = "xks-0123456789abcdef"
POLICY = json.dumps({"Statement": [{"Effect": "Allow", "Action": "xks:*"}]})


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


@pytest.fixture
def shop(core: Core) -> Shop:
    return make_shop(core)


CALLS: dict[str, Callable[[Shop, Caller, str], Awaitable[Any]]] = {
    "describe": lambda shop, caller, store: shop.stores.describe(caller, store),
    "update": lambda shop, caller, store: shop.stores.update(caller, store, StoreForm(description="x")),
    "block": lambda shop, caller, store: shop.stores.block(caller, store),
    "unblock": lambda shop, caller, store: shop.stores.unblock(caller, store),
    "delete": lambda shop, caller, store: shop.stores.delete(caller, store),
    "create credential": lambda shop, caller, store: shop.credentials.create(caller, store),
    "list credentials": lambda shop, caller, store: shop.credentials.list_credentials(caller, store),
    "delete credential": lambda shop, caller, store: shop.credentials.delete(caller, store, "A" * 24),
}


async def test_a_store_is_made_with_what_was_said_and_is_at_once_on_the_shelf(shop: Shop) -> None:
    rates: dict[str, Any] = {
        "rate": Rate(1_800, 3_600),
        "key_rate": Rate(5, 10),
        "principal_rate": Rate(1, 1),
    }

    made = await shop.store(description="words", policy=POLICY, **rates)

    assert dataclasses.replace(made, created_at=0) == StoreRecord(
        made.store_id, ACCOUNT, PREFIX, "words", False, POLICY, 1_800, 3_600, 5, 10, 1, 1, 0
    )
    assert shop.shelved().record == made
    assert await shop.stores.describe(shop.caller(), made.store_id) == made


async def test_without_a_prefix_it_is_the_stores_own_and_an_empty_one_is_one(shop: Shop) -> None:
    made = await shop.stores.create(shop.caller(), "", None, StoreForm())
    bare = await shop.store("")

    assert made.uri_prefix == f"/{made.store_id}"
    assert shop.shelf.by_prefix("") is not None
    assert shop.shelf.by_prefix("") is not shop.shelf.by_prefix(made.uri_prefix)
    assert bare.uri_prefix == ""


async def test_another_accounts_store_is_one_that_there_is_not(shop: Shop) -> None:
    made = await shop.store()

    for call in CALLS.values():
        foreign = await refusal(call(shop, shop.caller(NEIGHBOUR), made.store_id))
        unknown = await refusal(call(shop, shop.caller(NEIGHBOUR), UNKNOWN))
        assert (foreign.reason, foreign.field) == (Reason.NOT_FOUND, "key_store")
        assert (foreign.message, foreign.field) == (unknown.message, unknown.field)
    assert await shop.stores.describe(shop.caller(), made.store_id) == made


async def test_who_may_not_manage_stores_is_refused_before_any_is_looked_for(shop: Shop) -> None:
    made = await shop.store()

    for call in CALLS.values():
        answers = [
            await refusal(call(shop, shop.caller(STRANGER), name)) for name in (made.store_id, UNKNOWN)
        ]
        assert {error.reason for error in answers} == {Reason.ACCESS_DENIED}
        assert answers[0].message == answers[1].message


async def test_who_may_not_make_or_list_stores_is_refused(shop: Shop) -> None:
    stranger = shop.caller(STRANGER)

    assert await reason(shop.stores.create(stranger, "", PREFIX, StoreForm())) == "ACCESS_DENIED"
    assert await reason(shop.stores.list_stores(stranger)) == "ACCESS_DENIED"
    assert await reason(shop.stores.create(shop.caller(NEIGHBOUR), ACCOUNT, PREFIX, StoreForm())) == (
        "ACCESS_DENIED"
    )


async def test_an_operator_makes_stores_in_accounts_that_there_are(shop: Shop) -> None:
    account = NEIGHBOUR.account
    assert (await refusal(shop.stores.create(shop.caller(), account, None, StoreForm()))).field == "account"
    async with shop.core.ledger.change() as change:
        await change.put(AccountRecord(account, "", 1, ()))

    made = await shop.stores.create(shop.caller(), account, None, StoreForm())

    assert made.account == account
    assert await shop.stores.describe(shop.caller(NEIGHBOUR), made.store_id) == made


async def test_lists_are_of_the_own_account_and_an_operators_are_whole(shop: Shop) -> None:
    neighbour = shop.caller(NEIGHBOUR)
    theirs = await shop.stores.create(neighbour, "", "/theirs", StoreForm())
    mine = [await shop.store(f"/{n}") for n in range(2)]

    page = await shop.stores.list_stores(shop.caller(), 2)
    rest = await shop.stores.list_stores(shop.caller(), 2, page.next_token)

    assert {*page.stores, *rest.stores} == {theirs, *mine}
    assert (len(page.stores), rest.next_token) == (2, "")
    assert (await shop.stores.list_stores(neighbour)).stores == [theirs]
    assert await reason(shop.stores.list_stores(neighbour, 2, page.next_token)) == "INVALID_PAGE_TOKEN"


async def test_a_prefix_is_taken_by_whomever_and_free_once_its_store_is_gone(shop: Shop) -> None:
    made = await shop.store()

    error = await refusal(shop.stores.create(shop.caller(NEIGHBOUR), "", PREFIX, StoreForm()))
    await shop.stores.delete(shop.caller(), made.store_id)
    again = await shop.stores.create(shop.caller(NEIGHBOUR), "", PREFIX, StoreForm())

    assert (error.reason, error.field) == (Reason.ALREADY_EXISTS, "uri_prefix")
    assert shop.shelved().record == again


async def test_of_two_who_want_one_prefix_at_once_one_gets_it(shop: Shop) -> None:
    answers = await asyncio.gather(*(reason(shop.store()) for _ in range(3)))

    assert sorted(answers) == ["ALREADY_EXISTS", "ALREADY_EXISTS", "OK"]


async def test_what_no_store_may_have_is_refused(shop: Shop) -> None:
    made = await shop.store()

    for form, field in (
        (StoreForm(description="\0"), "description"),
        (StoreForm(policy="{}"), "policy.Statement"),
        (StoreForm(description="x" * 9_000), "description"),
    ):
        assert (await refusal(shop.stores.create(shop.caller(), "", "/x", form))).field == field
        assert (await refusal(shop.stores.update(shop.caller(), made.store_id, form))).field == field


async def test_there_are_so_many_stores_and_no_more(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_STORES", 1)
    made = await shop.store()

    assert await reason(shop.store("/more")) == "LIMIT_EXCEEDED"
    await shop.stores.delete(shop.caller(), made.store_id)
    assert await reason(shop.store("/more")) == "OK"


async def test_an_update_changes_what_it_says_and_leaves_the_rest(shop: Shop) -> None:
    made = await shop.store(description="words", policy=POLICY, rate=Rate(5, 5), key_rate=Rate(6, 6))

    changed = await shop.stores.update(
        shop.caller(), made.store_id, StoreForm(policy="", key_rate=NO_RATE), etag="1"
    )

    expected = dataclasses.replace(made, policy="", key_per_second=0, key_burst=0, row_version=2)
    assert changed == expected
    assert shop.shelved().record == expected
    assert shop.shelved().policy.statements == ()
    same = await shop.stores.update(shop.caller(), made.store_id, StoreForm(policy=""))
    assert same == changed


async def test_a_change_since_the_etag_was_read_is_refused(shop: Shop) -> None:
    made = await shop.store()
    await shop.stores.update(shop.caller(), made.store_id, StoreForm(description="x"))
    caller, where = shop.caller(), made.store_id

    for work in (
        shop.stores.update(caller, where, StoreForm(description="y"), "1"),
        shop.stores.block(caller, where, "1"),
        shop.stores.unblock(caller, where, "1"),
        shop.stores.delete(caller, where, "1"),
    ):
        assert await reason(work) == "ETAG_MISMATCH"
    assert (await shop.stores.describe(caller, where)).row_version == 2


async def test_a_store_is_blocked_and_works_again(shop: Shop) -> None:
    made = await shop.store()

    blocked = await shop.stores.block(shop.caller(), made.store_id)
    assert (blocked.blocked, shop.shelved().record.blocked) == (True, True)
    assert await shop.stores.block(shop.caller(), made.store_id) == blocked
    assert not (await shop.stores.unblock(shop.caller(), made.store_id)).blocked


async def test_a_store_with_keys_is_not_deleted_and_one_without_goes_with_its_credentials(shop: Shop) -> None:
    made = await shop.open()
    await shop.credentials.create(shop.caller(), made.store_id)

    error = await refusal(shop.stores.delete(shop.caller(), made.store_id))
    assert (error.reason, error.field) == (Reason.INVALID_FIELD, "key_store")

    await shop.external_keys.remove(shop.caller(), made.store_id, "key")
    await shop.stores.delete(shop.caller(), made.store_id)
    assert shop.shelf.by_prefix(PREFIX) is None
    assert shop.core.rows("SELECT * FROM xks_credentials") == []
    assert await reason(shop.stores.describe(shop.caller(), made.store_id)) == "NOT_FOUND"


async def test_a_repeated_call_is_answered_as_the_first_and_changes_nothing(shop: Shop) -> None:
    caller = shop.caller()
    made = [await shop.stores.create(caller, "", PREFIX, StoreForm(), "r1") for _ in range(2)]
    where = made[0].store_id
    changed = [
        await shop.stores.update(caller, where, StoreForm(description=str(1)), request_id="r2")
        for _ in range(2)
    ]
    new = [await shop.credentials.create(caller, where, "r3") for _ in range(2)]
    name = new[0].record.access_key_id
    for _ in range(2):
        await shop.credentials.delete(caller, where, name, "r4")
    deleted = [await shop.stores.delete(caller, where, request_id="r5") for _ in range(2)]

    assert made[0] == made[1]
    assert changed[0] == changed[1]
    assert new[0].record.access_key_id == new[1].record.access_key_id
    assert [bool(each.secret) for each in new] == [True, False]
    assert deleted[0] == deleted[1] == changed[0]


async def test_a_request_id_is_of_one_request(shop: Shop) -> None:
    caller = shop.caller()
    made = await shop.stores.create(caller, "", PREFIX, StoreForm(), "r1")
    other = await shop.store("/other")

    reused = [
        shop.stores.create(caller, "", "/x", StoreForm(), "r1"),
        shop.stores.create(caller, "", PREFIX, StoreForm(description="x"), "r1"),
        shop.stores.block(caller, made.store_id, request_id="r1"),
    ]
    assert [await reason(work) for work in reused] == ["REQUEST_ID_REUSED"] * 3
    await shop.credentials.create(caller, made.store_id, "r2")
    assert await reason(shop.credentials.create(caller, other.store_id, "r2")) == "REQUEST_ID_REUSED"


async def test_the_record_of_a_repeated_creation_names_the_store_that_was_made(shop: Shop) -> None:
    for _ in range(2):
        made = await shop.stores.create(shop.caller(), "", PREFIX, StoreForm(), "r1")

    outcomes = [r for r in shop.core.audited(shop.caller().principal.arn) if r["kind"] == "outcome"]

    assert [record["key_store"] for record in outcomes] == [made.store_id] * 2


# --- credentials


async def test_a_secret_is_told_once_and_is_nowhere_else(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    made = await shop.store()

    new = await shop.credentials.create(shop.caller(), made.store_id)
    listed = await shop.credentials.list_credentials(shop.caller(), made.store_id)

    record, secret = new.record, new.secret
    assert len(secret) == 60
    assert new.uri_prefix == PREFIX
    assert [each.record.access_key_id for each in listed] == [record.access_key_id]
    signer = await shop.proxy.secrets(shop.shelved(), record.access_key_id)
    assert signer is not None
    assert signer.secret == secret.encode()
    for text in (repr(new), repr(signer), repr(shop.shelved()), caplog.text):
        assert secret not in text
    await shop.core.audit.close()
    for file in shop.core.folder.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


async def test_a_store_has_eight_credentials_at_most(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "MAX_CREDENTIALS", 2)
    made = await shop.store()
    first, _ = [await shop.credentials.create(shop.caller(), made.store_id) for _ in range(2)]

    assert await reason(shop.credentials.create(shop.caller(), made.store_id)) == "LIMIT_EXCEEDED"
    await shop.credentials.delete(shop.caller(), made.store_id, first.record.access_key_id)
    assert await reason(shop.credentials.create(shop.caller(), made.store_id)) == "OK"


async def test_a_deleted_credential_signs_nothing_and_is_deleted_once(shop: Shop) -> None:
    made, caller = await shop.store(), shop.caller()
    old, new = [(await shop.credentials.create(caller, made.store_id)).record for _ in range(2)]
    assert await shop.proxy.secrets(shop.shelved(), old.access_key_id) is not None

    await shop.credentials.delete(caller, made.store_id, old.access_key_id)

    assert await shop.proxy.secrets(shop.shelved(), old.access_key_id) is None
    assert await shop.proxy.secrets(shop.shelved(), new.access_key_id) is not None
    error = await refusal(shop.credentials.delete(caller, made.store_id, old.access_key_id))
    assert (error.reason, error.field) == (Reason.NOT_FOUND, "access_key_id")
    assert await reason(shop.credentials.delete(caller, made.store_id, "no id")) == "INVALID_FIELD"


async def test_a_credential_is_of_its_own_store_only(shop: Shop) -> None:
    made, other = await shop.store(), await shop.store("/other")
    name = (await shop.credentials.create(shop.caller(), made.store_id)).record.access_key_id

    assert await shop.proxy.secrets(shop.shelved("/other"), name) is None
    assert await reason(shop.credentials.delete(shop.caller(), other.store_id, name)) == "NOT_FOUND"


async def test_a_secret_that_was_sealed_for_another_credential_does_not_open(shop: Shop) -> None:
    made = await shop.store()
    one, two = [(await shop.credentials.create(shop.caller(), made.store_id)).record for _ in range(2)]
    moved = dataclasses.replace(one, sealed_secret=two.sealed_secret, row_version=2)
    async with shop.core.ledger.change() as change:
        await change.put(moved)
    await shop.shelf.refresh()

    assert await reason(shop.proxy.secrets(shop.shelved(), one.access_key_id)) == "INTEGRITY_FAILURE"


async def test_when_a_credential_was_used_is_told(shop: Shop) -> None:
    made = await shop.store()
    name = (await shop.credentials.create(shop.caller(), made.store_id)).record.access_key_id
    [before] = await shop.credentials.list_credentials(shop.caller(), made.store_id)

    shop.proxy.used(shop.shelved(), name)

    [after] = await shop.credentials.list_credentials(shop.caller(), made.store_id)
    assert before.last_used == 0
    assert abs(after.last_used - shop.core.clock.wall_ms()) < 60_000


async def test_every_change_is_announced_without_words_and_secrets(shop: Shop) -> None:
    await shop.core.store.outbox.register(["sink"])
    caller = shop.caller()
    made = await shop.store(description="words for people", policy=POLICY)
    new = await shop.credentials.create(caller, made.store_id)
    await shop.stores.update(caller, made.store_id, StoreForm(description="other words"))
    await shop.stores.block(caller, made.store_id)
    await shop.stores.block(caller, made.store_id)
    await shop.stores.unblock(caller, made.store_id)
    await shop.credentials.delete(caller, made.store_id, new.record.access_key_id)
    await shop.credentials.create(caller, made.store_id)
    await shop.stores.delete(caller, made.store_id)

    events = [event for event, _ in await shop.core.store.outbox.events(0, 100)]

    assert [event.type.removeprefix("strongroom.") for event in events] == [
        "key_store.created", "key_store.credential_created", "key_store.changed", "key_store.blocked",
        "key_store.unblocked", "key_store.credential_deleted", "key_store.credential_created",
        "key_store.credential_deleted", "key_store.deleted",
    ]  # fmt: skip
    assert {event.subject for event in events} == {f"arn:aws:iam::{ACCOUNT}:service/xks/{made.store_id}"}
    whole = repr(events)
    for hidden in ("words", "Effect", new.secret, new.record.sealed_secret.hex()):
        assert hidden not in whole
