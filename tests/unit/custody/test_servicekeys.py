"""Services' own keys on a real token and store: who gets one, who changes one, when it rotates."""

import asyncio
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from tests.faults.core import ACCOUNT, ADMIN, Core, make_core
from tests.faults.test_invocations import Worker, worker
from tests.hsmkeys import OpenedVault

from strongroomd.custody import mutations
from strongroomd.custody.adoptions import NewAdoption
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.grants import ToRetire
from strongroomd.custody.keyforms import KeyFilter
from strongroomd.custody.lostprimaries import LostPrimaries
from strongroomd.custody.materials import NewMaterial
from strongroomd.custody.notary import Notary
from strongroomd.custody.principals import NewPrincipal
from strongroomd.custody.quotarequests import Wanted
from strongroomd.custody.quotas import Rate
from strongroomd.custody.replicas import Replicas
from strongroomd.custody.schedules import Schedules
from strongroomd.custody.sealing import Ciphertext
from strongroomd.custody.servicekeys import ServiceKeys
from strongroomd.domain import servicekeys
from strongroomd.domain.accounts import AccountRecord
from strongroomd.domain.actions import MUTATIONS, NOT_ON_SERVICE_KEYS, ON_KEYS_OF_OURS, Action
from strongroomd.domain.algorithms import KeySpec, QuotaClass
from strongroomd.domain.compliance import judge
from strongroomd.domain.errors import MESSAGES, Reason, StrongroomError
from strongroomd.domain.grants import NewGrant
from strongroomd.domain.importing import WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.principals import NO_BEHALF, Behalf, Caller, Principal, RoleSession
from strongroomd.domain.records import AliasRecord, KeyManager, KeyRecord, LimitScope

pytestmark = pytest.mark.softhsm

DAY = 86_400
TENANT = "444455556666"
ALIAS = "alias/aws/vault"
ARN = f"arn:aws:iam::{ACCOUNT}:service/vault"
SERVICE = Principal(ARN, ACCOUNT, trusted=True)
LOOKING = json.dumps({"Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]})


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    made = await make_core(tmp_path, opened)
    async with made.ledger.change() as change:
        for account in (ACCOUNT, TENANT):
            await change.put(AccountRecord(account, "", 1, ()))
    made.directory.use_configured([ADMIN, SERVICE])
    await made.directory.refresh()
    yield made
    await made.close()


def calling(core: Core, account: str = ACCOUNT, *, via: str = "vault", who: Principal = SERVICE) -> Caller:
    return Caller(who, "test", core.clock.monotonic() + 60.0, behalf=Behalf(via, account))


async def reason(work: Awaitable[Any]) -> str:
    try:
        await work
    except StrongroomError as error:
        return error.reason.value
    return "OK"


async def own_key(core: Core, account: str = ACCOUNT) -> KeyRecord:
    alias = await core.ledger.read(AliasRecord, f"{account}/{ALIAS}")
    assert alias is not None
    key = await core.ledger.read(KeyRecord, alias.key_id)
    assert key is not None
    return key


def keys_in_store(core: Core) -> int:
    return len(core.rows("SELECT record_id FROM keys"))


async def identity(core: Core, arn: str, text: str) -> None:
    await core.rooms.principals.create(core.caller(), NewPrincipal(arn))
    await core.rooms.attachments.put_policy(core.caller(), arn, "p", text)
    await core.directory.refresh()


USES: dict[str, Callable[[Worker, Caller], Awaitable[Any]]] = {
    "Encrypt": lambda w, c: w.crypto.encrypt(c, ALIAS, b"x"),
    "BatchEncrypt": lambda w, c: w.batches.encrypt(c, ALIAS, [(b"x", ())]),
    "GenerateDataKey": lambda w, c: w.crypto.generate_data_key(c, ALIAS, 32),
    "GenerateDataKeyWithoutPlaintext": lambda w, c: w.crypto.generate_data_key_without_plaintext(
        c, ALIAS, 32
    ),
    "GenerateDataKeyPair": lambda w, c: w.crypto.generate_data_key_pair(c, ALIAS, KeySpec.ECC_NIST_P256),
    "GenerateDataKeyPairWithoutPlaintext": lambda w, c: w.crypto.generate_data_key_pair_without_plaintext(
        c, ALIAS, KeySpec.ECC_NIST_P256
    ),
}


@pytest.mark.parametrize("use", USES)
async def test_the_first_use_makes_the_key_and_the_second_finds_it(core: Core, use: str) -> None:
    mine = worker(core)

    await USES[use](mine, calling(core))
    await USES[use](mine, calling(core))

    key = await own_key(core)
    assert (key.manager, key.account, keys_in_store(core)) == (KeyManager.SERVICE, ACCOUNT, 1)
    assert key.policy == servicekeys.fixed_policy("vault", ACCOUNT)
    made = [(r["kind"], r["outcome"]) for r in core.audited(ARN) if r["action"] == "kms:CreateKey"]
    assert made == [("intent", "PENDING"), ("outcome", "OK")]
    told = core.rows("SELECT type FROM events WHERE subject LIKE ?", f"%{key.key_id}")
    assert {row["type"] for row in told} >= {"strongroom.key.created", "strongroom.alias.created"}
    with pytest.raises(StrongroomError):
        await mine.crypto.generate_data_key(core.caller(), key.key_id, 32)


async def test_the_key_is_made_in_the_token_where_new_keys_go(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, placement = [], core.vault.placement

    def placing(*wanted: Any, token: str, **more: Any) -> Any:
        asked.append(token)
        return placement(*wanted, **more)

    monkeypatch.setattr(core.service_keys, "_home", "second")
    monkeypatch.setattr(core.vault, "placement", placing)

    await worker(core).crypto.encrypt(calling(core), ALIAS, b"x")

    assert (await own_key(core)).token == "second"
    assert set(asked) == {"second"}


async def test_who_may_not_have_the_key_made_learns_nothing_of_its_token(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    monkeypatch.setattr(core.vault, "placement", away)
    mine, nobody = worker(core), "121212121212"

    assert await reason(mine.crypto.encrypt(calling(core, nobody), ALIAS, b"x")) == "ACCESS_DENIED"
    assert await reason(mine.crypto.encrypt(calling(core), ALIAS, b"x")) == "HSM_UNAVAILABLE"


async def test_re_encryption_makes_the_key_that_it_encrypts_under_once_it_may_decrypt(core: Core) -> None:
    mine, source = worker(core), await core.create()
    sealed = (await mine.crypto.encrypt(core.caller(), source.key_id, b"secret")).ciphertext

    again = mine.crypto.re_encrypt(calling(core), Ciphertext(sealed), ALIAS)
    assert await reason(again) == "ACCESS_DENIED"  # the source is not the service's
    assert keys_in_store(core) == 1

    text = json.dumps({"Statement": [
        {"Effect": "Allow", "Principal": {"AWS": [ARN, ADMIN.arn]}, "Action": "kms:*", "Resource": "*"}
    ]})  # fmt: skip
    await core.keys.put_policy(core.caller(), source.key_id, text)
    made = await mine.crypto.re_encrypt(calling(core), Ciphertext(sealed), ALIAS)
    opened = await mine.crypto.decrypt(calling(core), Ciphertext(made.sealed.ciphertext))
    assert (opened.plaintext, keys_in_store(core)) == (b"secret", 2)


async def test_each_account_has_its_own_and_the_service_needs_the_right_of_its_own_account_elsewhere(
    core: Core,
) -> None:
    mine = worker(core)
    assert await reason(mine.crypto.encrypt(calling(core, TENANT), ALIAS, b"x")) == "ACCESS_DENIED"
    assert keys_in_store(core) == 0

    await identity(core, ARN, LOOKING)
    for account in (ACCOUNT, TENANT):
        await mine.crypto.encrypt(calling(core, account), ALIAS, b"x")

    theirs, ours = await own_key(core, TENANT), await own_key(core)
    assert (theirs.account, ours.account) == (TENANT, ACCOUNT)
    sealed = (await mine.crypto.encrypt(calling(core, TENANT), ALIAS, b"x")).ciphertext
    assert await reason(mine.crypto.decrypt(calling(core), Ciphertext(sealed))) == "ACCESS_DENIED"
    assert await reason(mine.crypto.decrypt(calling(core, TENANT), Ciphertext(sealed))) == "OK"


SESSION = RoleSession(f"arn:aws:iam::{ACCOUNT}:role/vault", "s", ARN, "", 0, "", 0)
OTHERS: dict[str, Callable[[Core], Caller]] = {
    "an administrator": lambda core: core.caller(),
    "a service that is not trusted": lambda c: calling(c, who=Principal(ARN, ACCOUNT)),
    "another service": lambda c: calling(c, who=Principal(ARN + "2", ACCOUNT, trusted=True)),
    "a user of the name": lambda c: calling(
        c, who=Principal(f"arn:aws:iam::{ACCOUNT}:user/vault", ACCOUNT, trusted=True)
    ),
    "without saying via whom": lambda c: calling(c, via=""),
    "by another name": lambda c: calling(c, via="disk"),
    "without saying for whom": lambda c: calling(c, ""),
    "for no account": lambda c: calling(c, "999999999999"),
    "saying nothing": lambda c: dataclasses.replace(calling(c), behalf=NO_BEHALF),
    "in a session": lambda c: dataclasses.replace(calling(c), session=SESSION),
}


async def test_nobody_elses_use_makes_anything_and_is_refused_as_for_an_unknown_key(core: Core) -> None:
    mine = worker(core)
    said: dict[str, set[tuple[Any, ...]]] = {who: set() for who in OTHERS}
    for who, name in itertools.product(OTHERS, (ALIAS, "alias/unknown")):
        with pytest.raises(StrongroomError) as caught:
            await mine.crypto.encrypt(OTHERS[who](core), name, b"x")
        said[who].add((caught.value.reason, caught.value.message, caught.value.field))

    one = {(Reason.ACCESS_DENIED, MESSAGES[Reason.ACCESS_DENIED], None)}
    assert said == dict.fromkeys(OTHERS, one)
    assert keys_in_store(core) == 0


async def test_another_name_of_the_own_service_makes_nothing(core: Core) -> None:
    mine = worker(core)
    names = ["alias/aws/vault2", "alias/aws/disk", "alias/xaws/vault", "alias/vault", "xalias/aws/vault"]
    names.append(f"arn:aws:kms:eu-test-1:{TENANT}:{ALIAS}")  # not the account that it calls for

    answers = [await reason(mine.crypto.encrypt(calling(core), name, b"x")) for name in names]

    assert (set(answers), keys_in_store(core)) == ({"ACCESS_DENIED", "INVALID_FIELD"}, 0)
    whole = f"arn:aws:kms:eu-test-1:{ACCOUNT}:{ALIAS}"
    assert await reason(mine.crypto.encrypt(calling(core), whole, b"x")) == "OK"


async def test_what_reads_makes_nothing(core: Core) -> None:
    assert await reason(core.keys.describe(calling(core), ALIAS)) == "ACCESS_DENIED"
    assert keys_in_store(core) == 0


@pytest.mark.parametrize("denied", ["kms:Encrypt", "kms:CreateKey"])
async def test_nothing_is_made_for_a_call_that_is_denied(core: Core, denied: str) -> None:
    text = json.dumps({"Statement": [{"Effect": "Deny", "Action": denied, "Resource": "*"}]})
    await identity(core, ARN, text)

    assert await reason(worker(core).crypto.encrypt(calling(core), ALIAS, b"x")) == "ACCESS_DENIED"
    assert keys_in_store(core) == 0


async def test_a_dry_run_says_yes_and_makes_nothing(core: Core) -> None:
    mine = worker(core)
    for _ in range(2):
        tried = mine.crypto.encrypt(calling(core), ALIAS, b"x", dry_run=True)
        assert await reason(tried) == "DRY_RUN_SUCCEEDED"
    assert keys_in_store(core) == 0


async def test_no_key_where_the_material_cannot_be_made(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    monkeypatch.setattr(core.vault, "generate", broken)
    assert await reason(worker(core).crypto.encrypt(calling(core), ALIAS, b"x")) == "HSM_UNAVAILABLE"
    monkeypatch.undo()

    assert keys_in_store(core) == 0
    assert await reason(worker(core).crypto.encrypt(calling(core), ALIAS, b"x")) == "OK"


async def test_a_birth_is_paid_for_and_its_refusal_is_the_calls_own(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, spend = worker(core), core.gate.quotas.spend

    def used_up(principal: Principal, key_id: str, class_: QuotaClass, cost: int) -> None:
        if class_ is QuotaClass.MANAGEMENT:
            raise StrongroomError(Reason.QUOTA_EXCEEDED, retry_after=1.0)
        spend(principal, key_id, class_, cost)

    monkeypatch.setattr(core.gate.quotas, "spend", used_up)
    assert await reason(mine.crypto.encrypt(calling(core), ALIAS, b"x")) == "QUOTA_EXCEEDED"

    assert {r["action"] for r in core.audited(ARN)} == {"kms:Encrypt"}
    assert keys_in_store(core) == 0


# --- two at once


async def test_calls_at_once_in_one_worker_make_one_key(core: Core) -> None:
    mine = worker(core)

    made = await asyncio.gather(*(mine.crypto.encrypt(calling(core), ALIAS, b"x") for _ in range(8)))

    assert (len({each.key_arn for each in made}), keys_in_store(core)) == (1, 1)


async def test_two_workers_at_once_make_one_key_and_the_second_uses_the_firsts(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second worker looks before the first commits; its transaction finds the alias, and is undone."""
    mine, keys = worker(core), core.service_keys
    rival = ServiceKeys(core.gate, core.catalog, keys._mutations, keys._births, core.vault, core.directory)
    both = asyncio.Barrier(2)
    generate = core.vault.generate

    async def together(*args: Any, **kwargs: Any) -> Any:
        made = await generate(*args, **kwargs)
        await both.wait()  # neither has committed when the other looked
        return made

    monkeypatch.setattr(core.vault, "generate", together)
    other = worker(core)
    other.crypto._service_keys = rival
    one, two = await asyncio.gather(
        mine.crypto.encrypt(calling(core), ALIAS, b"x"), other.crypto.encrypt(calling(core), ALIAS, b"x")
    )

    assert one.key_arn == two.key_arn
    assert (keys_in_store(core), len(core.rows("SELECT record_id FROM versions"))) == (1, 1)
    ends = [r["outcome"] for r in core.audited(ARN) if r["action"] == "kms:CreateKey"]
    assert sorted(ends) == ["OK", "PENDING", "PENDING", "UNCHANGED"]


async def test_a_birth_that_ends_half_way_leaves_nothing_and_the_next_use_makes_it(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three records are in one transaction: whatever ends it, none of them is there."""
    commit = ServiceKeys._commit

    async def killed(self: ServiceKeys, *args: Any) -> KeyRecord:
        await commit(self, *args)
        raise RuntimeError("killed")

    monkeypatch.setattr(ServiceKeys, "_commit", killed)
    assert await reason(worker(core).crypto.encrypt(calling(core), ALIAS, b"x")) == "INTERNAL"
    monkeypatch.undo()

    left = [len(core.rows(f"SELECT record_id FROM {table}")) for table in ("keys", "versions", "aliases")]
    assert left == [0, 0, 0]
    assert await reason(worker(core).crypto.encrypt(calling(core), ALIAS, b"x")) == "OK"


# --- nobody changes it


LOOKER = Principal(f"arn:aws:iam::{ACCOUNT}:user/looker", ACCOUNT, administrator=True, operator=True)
LOOKING_AT_ALL = json.dumps({"Statement": [
    {"Effect": "Allow", "Principal": {"AWS": LOOKER.arn}, "Action": "kms:*", "Resource": "*"}
]})  # fmt: skip


def schedules(core: Core) -> Schedules:
    return Schedules(core.gate, core.keys._mutations, core.store)


def replicas(core: Core) -> Replicas:
    return Replicas(
        core.gate, core.mutations, core.store, Notary(Mock(), "/strongroom/x", core.mutations.clock)
    )


GRANT = NewGrant(LOOKER.arn, frozenset({Action.ENCRYPT}))
CHANGES: dict[Action, Callable[[Core, Caller, str], Awaitable[Any]]] = {
    Action.UPDATE_KEY_DESCRIPTION: lambda c, who, key: c.keys.update_description(who, key, "mine"),
    Action.ENABLE_KEY: lambda c, who, key: c.keys.enable(who, key),
    Action.DISABLE_KEY: lambda c, who, key: c.keys.disable(who, key),
    Action.SCHEDULE_KEY_DELETION: lambda c, who, key: c.keys.schedule_deletion(who, key),
    Action.CANCEL_KEY_DELETION: lambda c, who, key: c.keys.cancel_deletion(who, key),
    Action.ROTATE_KEY: lambda c, who, key: c.keys.rotate(who, key),
    Action.GET_PARAMETERS_FOR_IMPORT: lambda c, who, key: c.parameters.give(
        who, key, WrappingAlgorithm.RSAES_OAEP_SHA_1, WrappingKeySpec.RSA_2048
    ),
    Action.IMPORT_KEY_MATERIAL: lambda c, who, key: c.materials.import_material(
        who, key, NewMaterial(b"token", b"wrapped")
    ),
    Action.DELETE_KEY_MATERIAL: lambda c, who, key: c.materials.delete(who, key),
    Action.ENABLE_KEY_ROTATION: lambda c, who, key: schedules(c).enable(who, key),
    Action.DISABLE_KEY_ROTATION: lambda c, who, key: schedules(c).disable(who, key),
    Action.REPLICATE_KEY: lambda c, who, key: replicas(c).replicate(who, key, "local-2"),
    Action.GET_REPLICA_BUNDLE: lambda c, who, key: replicas(c).bundle(who, key, "local-2"),
    Action.ACKNOWLEDGE_REPLICA: lambda c, who, key: replicas(c).acknowledge(who, key, b"{}", b""),
    Action.REMOVE_REPLICA: lambda c, who, key: replicas(c).remove(who, key, "local-2"),
    Action.MOVE_LOST_PRIMARY: lambda c, who, key: LostPrimaries(
        c.gate, DualControl(c.mutations, c.directory, c.vault)
    ).move(who, key, "local-2", "0" * 32),
    Action.UPDATE_PRIMARY_REGION: lambda c, who, key: replicas(c).hand_over(who, key, "local-2"),
    Action.ADOPT_KEY: lambda c, who, key: c.adoptions.adopt(who, NewAdoption(label="theirs", key=key)),
    Action.TAG_KEY: lambda c, who, key: c.keys.tag(who, key, (("a", "b"),)),
    Action.UNTAG_KEY: lambda c, who, key: c.keys.untag(who, key, ("a",)),
    Action.PUT_KEY_POLICY: lambda c, who, key: c.keys.put_policy(who, key, LOOKING_AT_ALL, bypass=True),
    Action.CREATE_ALIAS: lambda c, who, key: c.aliases.create(who, "alias/mine", key),
    Action.UPDATE_ALIAS: lambda c, who, key: c.aliases.update(who, "alias/mine", key),
    Action.CREATE_GRANT: lambda c, who, key: c.grants.create(who, key, GRANT),
    Action.RETIRE_GRANT: lambda c, who, key: c.grants.retire(who, ToRetire(key=key, grant_id="0" * 64)),
    Action.REVOKE_GRANT: lambda c, who, key: c.grants.revoke(who, key, "0" * 64),
    Action.REQUEST_QUOTA: lambda c, who, key: c.requests.request(
        who, Wanted(LimitScope.KEY, key, Rate(9, 9), "j")
    ),
    Action.PUT_LIMIT: lambda c, who, key: c.limits.put(who, LimitScope.KEY, key, 1),
    Action.DELETE_LIMIT: lambda c, who, key: c.limits.delete(who, LimitScope.KEY, key),
}
BY_NAME = {
    Action.DELETE_ALIAS,
    Action.REQUEST_QUOTA,
    Action.ANSWER_QUOTA_REQUEST,
    Action.CANCEL_QUOTA_REQUEST,
    *ON_KEYS_OF_OURS,  # of requests about exportable or protected keys, which a service's own is not
}
"""What names no key but an alias (and alias/aws/ is refused as a name), or a quota or approval request."""


def test_every_change_that_names_a_key_is_tried_here() -> None:
    """A change that is invented later is refused by default, and has to be tried here."""
    assert CHANGES.keys() | BY_NAME == NOT_ON_SERVICE_KEYS
    assert NOT_ON_SERVICE_KEYS < MUTATIONS
    of_keys = {a for a in MUTATIONS if a.startswith("kms:") and a is not Action.CREATE_KEY}
    assert of_keys <= NOT_ON_SERVICE_KEYS


@pytest.fixture
async def served(core: Core) -> Core:
    """A core with a service's key, and an operator who may do everything by identity policy."""
    await worker(core).crypto.encrypt(calling(core), ALIAS, b"x")
    core.directory.use_configured([ADMIN, SERVICE, LOOKER])
    await identity(core, LOOKER.arn, LOOKING)
    return core


LIMITS = {Action.PUT_LIMIT, Action.DELETE_LIMIT, Action.ADOPT_KEY}
"""The administrators' or operators' alone: whoever is none hears so before anything of the key."""


async def test_nobody_changes_it_not_even_an_operator_who_may_do_everything_nor_its_service(
    served: Core,
) -> None:
    key = await own_key(served)
    who = Caller(LOOKER, "test", served.clock.monotonic() + 60.0)
    await served.aliases.create(served.caller(), "alias/mine", (await served.create()).key_id)
    journal = served.ledger.sequence

    by_operator = {each: await reason(CHANGES[each](served, who, key.key_id)) for each in CHANGES}
    by_service = {
        each: await reason(CHANGES[each](served, calling(served), key.key_id))
        for each in CHANGES.keys() - LIMITS
    }

    assert by_operator == dict.fromkeys(CHANGES, "SERVICE_MANAGED_KEY")
    assert by_service == dict.fromkeys(CHANGES.keys() - LIMITS, "SERVICE_MANAGED_KEY")
    assert (served.ledger.sequence, await own_key(served)) == (journal, key)


async def test_who_may_not_see_it_is_told_nothing(served: Core) -> None:
    key = await own_key(served)
    said: dict[Action, set[tuple[Any, ...]]] = {each: set() for each in CHANGES.keys() - LIMITS}
    strangers = [Principal(f"arn:aws:iam::{account}:user/x", account) for account in (ACCOUNT, TENANT)]
    names = (key.key_id, "00000000-0000-4000-8000-000000000000")
    for change, who, name in itertools.product(said, strangers, names):
        with pytest.raises(StrongroomError) as caught:
            await CHANGES[change](served, Caller(who, "t", served.clock.monotonic() + 60), name)
        said[change].add((caught.value.reason, caught.value.message))

    one = {(Reason.ACCESS_DENIED, MESSAGES[Reason.ACCESS_DENIED])}
    assert said == dict.fromkeys(said, one)


async def test_its_alias_is_nobodys_to_move(served: Core) -> None:
    who = Caller(LOOKER, "test", served.clock.monotonic() + 60.0)
    mine = (await served.create()).key_id

    answers = {
        await reason(served.aliases.create(who, ALIAS, mine)),
        await reason(served.aliases.update(who, ALIAS, mine)),
        await reason(served.aliases.delete(who, ALIAS)),
    }

    assert answers == {"INVALID_FIELD"}
    assert (await own_key(served)).manager is KeyManager.SERVICE


async def test_the_account_reads_about_it_and_uses_it_only_through_the_service(served: Core) -> None:
    who, mine = Caller(LOOKER, "test", served.clock.monotonic() + 60.0), worker(served)
    sealed = (await mine.crypto.encrypt(calling(served), ALIAS, b"x")).ciphertext

    assert (await served.keys.describe(who, ALIAS)).manager is KeyManager.SERVICE
    assert json.loads((await served.keys.get_policy(who, ALIAS)).policy)["Id"] == "service-key-1"
    assert (await served.grants.list_grants(who, ALIAS)).grants == []
    for work in (mine.crypto.encrypt(who, ALIAS, b"x"), mine.crypto.decrypt(who, Ciphertext(sealed))):
        assert await reason(work) == "ACCESS_DENIED"
    assert (await mine.crypto.decrypt(calling(served), Ciphertext(sealed))).plaintext == b"x"
    listed = await served.keys.list_keys(who, KeyFilter(manager=KeyManager.SERVICE))
    assert [key.key_id for key in listed.keys] == [(await own_key(served)).key_id]


async def test_another_trusted_service_does_not_use_it_by_saying_its_name(served: Core) -> None:
    other = Principal(f"arn:aws:iam::{ACCOUNT}:service/disk", ACCOUNT, trusted=True)

    answer = await reason(worker(served).crypto.encrypt(calling(served, who=other), ALIAS, b"x"))

    assert answer == "ACCESS_DENIED"


async def test_it_is_no_finding_of_an_open_policy(served: Core) -> None:
    assert list(judge(await own_key(served), 0, served.clock.wall_ms(), 0)) == []


async def test_its_manager_is_protected(served: Core) -> None:
    key = await own_key(served)
    served.edit("UPDATE keys SET manager = 'CUSTOMER' WHERE record_id = ?", key.key_id)

    with pytest.raises(StrongroomError) as caught:
        await served.ledger.read(KeyRecord, key.key_id)
    assert caught.value.reason is Reason.INTEGRITY_FAILURE


# --- it rotates by itself


async def test_it_rotates_when_it_is_old_enough_and_old_versions_go_on_decrypting(core: Core) -> None:
    mine, customers = worker(core), await core.create()
    old = (await mine.crypto.encrypt(calling(core), ALIAS, b"x")).ciphertext

    core.clock.pass_time(365 * DAY - 60)
    await mine.rotation.renew()
    assert (await own_key(core)).current_version == 1
    core.clock.pass_time(120)
    for _ in range(2):
        await mine.rotation.renew()

    key = await own_key(core)
    assert (key.current_version, (await core.ledger.read(KeyRecord, customers.key_id))) == (2, customers)
    assert (await mine.crypto.encrypt(calling(core), ALIAS, b"x")).version == 2
    assert (await mine.crypto.decrypt(calling(core), Ciphertext(old))).version == 1
    told = [(r["kind"], r["action"], r["outcome"], r["aged"]) for r in core.audited("upkeep")]
    action, aged = "kms:RotateKeyOnDemand", {"version": 1}
    assert told == [("intent", action, "PENDING", aged), ("outcome", action, "OK", aged)]
    rows = core.rows("SELECT type FROM events WHERE subject LIKE ?", f"%{key.key_id}")
    assert [row["type"] for row in rows].count("strongroom.key.rotated") == 1


async def test_while_its_token_is_away_it_is_not_rotated_and_nothing_is_written_of_that(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = worker(core)
    await mine.crypto.encrypt(calling(core), ALIAS, b"x")
    core.clock.wall_offset += 366 * DAY * 1000
    monkeypatch.setattr(core.vault, "usable", lambda token: False)

    await mine.rotation.renew()

    assert ((await own_key(core)).current_version, core.audited("upkeep")) == (1, [])
    monkeypatch.undo()
    await mine.rotation.renew()
    assert (await own_key(core)).current_version == 2


async def test_two_leaders_at_once_rotate_it_once(core: Core) -> None:
    mine, other = worker(core), worker(core)
    await mine.crypto.encrypt(calling(core), ALIAS, b"x")
    mine.rotation.service_days = other.rotation.service_days = 1
    core.clock.wall_offset += 2 * DAY * 1000

    await asyncio.gather(mine.rotation.renew(), other.rotation.renew())

    assert (await own_key(core)).current_version == 2


# --- before there were managers


async def test_an_answer_from_before_managers_is_read_as_a_customers_key(core: Core) -> None:
    key = await core.create()
    answer = json.loads(mutations.encode(key))
    del answer["manager"]

    assert mutations.decode(KeyRecord, json.dumps(answer).encode()) == key
