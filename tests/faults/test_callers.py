"""Callers on a real token: secrets stay sealed, sessions end, and whoever edits a record shuts its subject out."""

import asyncio
import base64
import dataclasses
import json
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.faults.core import ACCOUNT, ADMIN, Core

from strongroomd.custody import accounts, principals
from strongroomd.custody.access import Assumed
from strongroomd.custody.accesskeys import Credentials, NewAccessKey
from strongroomd.custody.directory import Directory
from strongroomd.custody.principals import NewPrincipal
from strongroomd.custody.secrets import SecretBox
from strongroomd.domain.accounts import PrincipalRecord, uri_fact
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller, Principal, RoleSession
from strongroomd.domain.protection import Record
from strongroomd.ports import Stored

pytestmark = pytest.mark.softhsm

BLUE = "444455556666"
ALICE = f"arn:aws:iam::{BLUE}:user/alice"
ROLE = f"arn:aws:iam::{BLUE}:role/ops"
URI = "spiffe://example.org/alice"
CERTIFICATE = "ab" * 32
RAIL = json.dumps({"Statement": [{"Effect": "Deny", "Action": "kms:*", "Resource": "*"}]})


def trusting(*arns: str) -> str:
    """A trust policy that names some principals."""
    statement = {"Effect": "Allow", "Principal": {"AWS": list(arns)}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def settle(core: Core) -> None:
    """An account with a user, its certificate and a role that trusts it."""
    caller, rooms = core.caller(), core.rooms
    await rooms.accounts.create(caller, BLUE)
    await rooms.principals.create(caller, NewPrincipal(ALICE, tags=(("team", "blue"),)))
    await rooms.identities.add(caller, ALICE, uri_fact(URI))
    role = NewPrincipal(ROLE, trust_policy=trusting(ALICE), max_session_seconds=3_600)
    await rooms.principals.create(caller, role)


def alice(core: Core) -> Caller:
    found = core.directory.admit(ALICE)
    assert found is not None
    return Caller(found, "test", core.clock.monotonic() + 60.0)


async def reason(work: Awaitable[object]) -> Reason | None:
    try:
        await work
    except StrongroomError as error:
        return error.reason
    return None


async def reborn(core: Core) -> Directory:
    """The directory as a new worker has it."""
    ledger = core.reborn()
    await ledger.start()
    directory = Directory(ledger, core.store)
    directory.use_configured([ADMIN])
    await directory.start()
    return directory


async def test_a_new_worker_knows_everybody(core: Core) -> None:
    await settle(core)

    fresh = await reborn(core)

    assert fresh.admit(ALICE) == Principal(ALICE, BLUE, tags=(("team", "blue"),))
    assert fresh.holder(["DNS::x", uri_fact(URI).record_id]) == ALICE
    assert fresh.admit(ADMIN.arn) == ADMIN
    assert fresh.admit(f"arn:aws:iam::{BLUE}:user/bob") is None


@pytest.mark.parametrize("statement", [
    "UPDATE principals SET state = 'DISABLED' WHERE arn = ?",
    "UPDATE principals SET trusted = 1 WHERE arn = ?",
    "UPDATE principals SET tags = 'nonsense' WHERE arn = ?",
    "DELETE FROM principals WHERE arn = ?",
])  # fmt: skip
async def test_an_edited_principal_is_shut_out_by_a_new_worker_and_nobody_else_is(
    core: Core, statement: str
) -> None:
    await settle(core)
    core.edit(statement, ALICE)

    fresh = await reborn(core)

    with pytest.raises(StrongroomError) as caught:
        fresh.admit(ALICE)
    assert caught.value.reason is Reason.INTEGRITY_FAILURE
    assert fresh.admit(ROLE) is not None


async def test_a_disabled_administrator_of_the_configuration_is_not_enabled_by_damage(core: Core) -> None:
    await core.rooms.accounts.create(core.caller(), ACCOUNT)
    other = dataclasses.replace(ADMIN, arn=f"arn:aws:iam::{ACCOUNT}:user/other")
    await core.rooms.principals.create(core.caller(), NewPrincipal(other.arn))
    await core.rooms.principals.disable(core.caller(), other.arn)
    core.edit("UPDATE principals SET state = 'ENABLED' WHERE arn = ?", other.arn)

    fresh = await reborn(core)
    fresh.use_configured([ADMIN, other])

    with pytest.raises(StrongroomError) as caught:
        fresh.admit(other.arn)
    assert caught.value.reason is Reason.INTEGRITY_FAILURE


async def test_the_daemon_acts_for_nobody_who_is_disabled_or_damaged(core: Core) -> None:
    await settle(core)
    plain = Principal(f"arn:aws:iam::{BLUE}:role/guard", BLUE)
    assert core.directory.acting(plain) is plain  # the configuration names it, and no record says more
    assert core.directory.acting(Principal(ALICE, BLUE)).tags == (("team", "blue"),)

    await core.rooms.principals.disable(core.caller(), ALICE)
    with pytest.raises(StrongroomError) as disabled:
        core.directory.acting(Principal(ALICE, BLUE))
    core.edit("UPDATE principals SET state = 'ENABLED' WHERE arn = ?", ALICE)
    with pytest.raises(StrongroomError) as damaged:
        (await reborn(core)).acting(Principal(ALICE, BLUE))

    assert disabled.value.reason is Reason.ACCESS_DENIED
    assert damaged.value.reason is Reason.INTEGRITY_FAILURE


async def test_the_daemon_acts_for_nobody_who_was_deleted_unless_the_configuration_names_them(
    core: Core,
) -> None:
    await settle(core)
    gone = Principal(ALICE, BLUE)
    await core.rooms.principals.delete(core.caller(), ALICE)

    for directory in (core.directory, await reborn(core)):
        with pytest.raises(StrongroomError) as caught:
            directory.acting(gone)
        assert caught.value.reason is Reason.ACCESS_DENIED
        directory.use_configured([ADMIN, gone])
        assert directory.acting(gone) is gone


async def test_a_lifted_guard_rail_shuts_the_whole_account_out(core: Core) -> None:
    await settle(core)
    await core.rooms.accounts.put_guard_rail(core.caller(), BLUE, "rail", RAIL)
    core.edit("UPDATE accounts SET guard_rails = '[]' WHERE account = ?", BLUE)

    fresh = await reborn(core)

    with pytest.raises(StrongroomError) as caught:
        fresh.admit(ALICE)
    assert caught.value.reason is Reason.INTEGRITY_FAILURE
    assert fresh.admit(ADMIN.arn) == ADMIN


async def test_an_identity_that_was_pointed_elsewhere_speaks_for_nobody(core: Core) -> None:
    await settle(core)
    core.edit("UPDATE identities SET arn = ?", ADMIN.arn)

    assert (await reborn(core)).holder([uri_fact(URI).record_id]) == ""


async def test_policies_and_guard_rails_are_compiled_into_the_standing(core: Core) -> None:
    await settle(core)
    before = core.directory.standing(ALICE)
    await core.rooms.attachments.put_policy(core.caller(), ALICE, "deny", RAIL)
    await core.rooms.accounts.put_guard_rail(core.caller(), BLUE, "rail", RAIL)

    standing = core.directory.standing(ALICE)

    assert (before.identity, before.guard_rails) == ((), ())
    assert [policy.name for policy in (*standing.identity, *standing.guard_rails)] == ["deny", "rail"]
    assert core.directory.standing(ALICE) is standing


async def test_changes_that_are_known_but_cannot_be_read_end_in_refusals(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(core)
    core.ledger.bound_staleness(0.05)
    fresh = await reborn(core)
    ledger = fresh._ledger
    ledger.bound_staleness(0.05)
    await core.rooms.principals.disable(core.caller(), ALICE)

    async def away(*_: object) -> None:
        raise StrongroomError(Reason.HSM_UNAVAILABLE)

    monkeypatch.setattr(ledger, "read", away)
    await ledger.follow()
    assert await reason(fresh.refresh()) is Reason.HSM_UNAVAILABLE
    fresh.require_fresh()  # for a while
    await asyncio.sleep(0.06)
    await ledger.follow()
    with pytest.raises(StrongroomError) as caught:
        fresh.require_fresh()
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    monkeypatch.undo()
    await fresh.refresh()
    fresh.require_fresh()
    assert fresh.admit(ALICE) is None


async def test_a_change_while_one_is_read_makes_nobody_fresh_again(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(core)
    fresh = await reborn(core)
    ledger = fresh._ledger
    started, may_go, read = asyncio.Event(), asyncio.Event(), ledger.read

    async def slowly(kind: type[PrincipalRecord], record_id: str) -> PrincipalRecord | None:
        found = await read(kind, record_id)
        started.set()
        await may_go.wait()
        return found

    monkeypatch.setattr(ledger, "read", slowly)
    await core.rooms.principals.tag(core.caller(), ALICE, (("team", "red"),))
    await ledger.follow()
    since, reading = fresh._mirror._behind_since, asyncio.ensure_future(fresh.refresh())
    await started.wait()
    await core.rooms.principals.disable(core.caller(), ALICE)
    await ledger.follow()

    assert fresh._mirror._behind_since == since
    may_go.set()
    await reading
    assert fresh.admit(ALICE) is None, "the change that came meanwhile is read as well"


async def test_a_row_that_goes_while_its_page_is_verified_is_left_out(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(core)
    page, rooms, caller = core.store.page, core.rooms, core.caller
    await core.aliases.create(caller(), "alias/gone", (await core.create()).key_id)
    await rooms.access_keys.create(caller(), ALICE)

    async def then_it_goes(kind: type[Record], **wanted: Any) -> list[Stored[Any]]:
        found = await page(kind, **wanted)
        for stored in found:
            async with core.ledger.change() as change:
                await change.delete(stored.record)
        return found

    monkeypatch.setattr(core.store, "page", then_it_goes)

    assert (await rooms.identities.list_identities(caller(), ALICE)) == []
    assert (await rooms.access_keys.list_keys(caller(), ALICE)) == []
    assert (await core.aliases.list_aliases(caller())).aliases == []
    assert (await rooms.principals.list_principals(caller(), BLUE)).principals == []


async def test_racing_calls_make_no_more_than_there_may_be(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(core)
    there = core.directory.population(BLUE)
    monkeypatch.setattr(principals, "MAX_PRINCIPALS", there + 2)
    monkeypatch.setattr(accounts, "MAX_ACCOUNTS", core.directory.accounts() + 1)
    users = [NewPrincipal(f"arn:aws:iam::{BLUE}:user/u{number}") for number in range(6)]

    made = [reason(core.rooms.principals.create(core.caller(), user)) for user in users]
    founded = [reason(core.rooms.accounts.create(core.caller(), f"{number:012}")) for number in range(4)]

    assert sorted(map(str, await asyncio.gather(*made))) == ["LIMIT_EXCEEDED"] * 4 + ["None"] * 2
    assert sorted(map(str, await asyncio.gather(*founded))) == ["LIMIT_EXCEEDED"] * 3 + ["None"]
    await core.rooms.principals.delete(core.caller(), ALICE)
    assert await reason(core.rooms.principals.create(core.caller(), NewPrincipal(ALICE))) is None
    assert (await reborn(core)).population(BLUE) == there + 2


# --- access keys


async def made(core: Core, request_id: str = "") -> NewAccessKey:
    return await core.rooms.access_keys.create(core.caller(), ALICE, request_id)


def credentials(core: Core) -> Credentials:
    return Credentials(core.directory, core.vault, core.gate.usage, core.addresses)


async def test_a_secret_comes_back_from_memory_and_token_alone(core: Core) -> None:
    await settle(core)
    key = await made(core)

    found = await credentials(core).find(key.record.access_key_id)

    assert (found.principal.arn, found.secret.decode()) == (ALICE, key.secret)
    assert len(key.secret) == 40
    assert "secret" not in repr(found)


async def test_a_repeated_answer_names_the_same_key_and_shows_no_secret(core: Core) -> None:
    await settle(core)
    first, again = await made(core, "once"), await made(core, "once")

    assert again.record.access_key_id == first.record.access_key_id
    assert (again.secret, again.record.sealed_secret) == ("", b"")
    assert first.secret.encode() not in core.database.read_bytes()


async def test_a_third_key_is_refused_until_one_is_deleted(core: Core) -> None:
    await settle(core)
    first, _ = await made(core), await made(core)

    assert await reason(made(core)) is Reason.LIMIT_EXCEEDED
    await core.rooms.access_keys.delete(core.caller(), ALICE, first.record.access_key_id)
    assert await reason(made(core)) is None


async def test_an_access_key_ends_with_its_switch_its_principal_or_itself(core: Core) -> None:
    await settle(core)
    key, keys, found = await made(core), core.rooms.access_keys, credentials(core)
    key_id = key.record.access_key_id

    await keys.deactivate(core.caller(), ALICE, key_id)
    assert await reason(found.find(key_id)) is Reason.UNAUTHENTICATED_PEER
    await keys.activate(core.caller(), ALICE, key_id)
    assert await reason(found.find(key_id)) is None
    await core.rooms.principals.disable(core.caller(), ALICE)
    assert await reason(found.find(key_id)) is Reason.UNAUTHENTICATED_PEER
    await core.rooms.principals.enable(core.caller(), ALICE)
    await core.rooms.principals.delete(core.caller(), ALICE)
    assert await reason(found.find(key_id)) is Reason.UNAUTHENTICATED_PEER
    assert await reason(found.find("AKIA" + "A" * 16)) is Reason.UNAUTHENTICATED_PEER


async def test_the_last_use_of_a_key_is_remembered_beside_its_record(core: Core) -> None:
    await settle(core)
    key = await made(core)
    before = await core.rooms.access_keys.list_keys(core.caller(), ALICE)
    credentials(core).used(key.record.access_key_id, "192.0.2.1")

    after = await core.rooms.access_keys.list_keys(core.caller(), ALICE)

    assert [used.last_used for used in before] == [0]
    assert after[0].last_used > 0
    assert after[0].record == key.record


async def test_a_secret_that_was_exchanged_does_not_open(core: Core) -> None:
    box = SecretBox(core.vault)
    sealed = await box.seal(b"secret", "AKIA1")

    assert await box.open(sealed, "AKIA1") == b"secret"
    for other in (
        b"",
        b"\x02" + sealed[1:],
        sealed[:-1],
        sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:],
    ):
        assert await reason(box.open(other, "AKIA1")) is Reason.INTEGRITY_FAILURE
    assert await reason(box.open(sealed, "AKIA2")) is Reason.INTEGRITY_FAILURE


# --- role sessions


async def assume(core: Core, seconds: int = 0) -> Assumed:
    return await core.rooms.access.assume_role(alice(core), ROLE, "session", CERTIFICATE, seconds)


async def as_role(core: Core, token: str, certificate: str = CERTIFICATE, holder: str = ALICE) -> Principal:
    session = await core.sessions.open(token)
    return core.sessions.role(session, Principal(holder, BLUE), certificate)


async def test_a_session_is_the_role_until_it_ends(core: Core) -> None:
    await settle(core)
    assumed = await assume(core, 900)

    assert (await as_role(core, assumed.token)).arn == ROLE
    assert assumed.session.arn == f"arn:aws:sts::{BLUE}:assumed-role/ops/session"
    core.clock.pass_time(899)
    assert await reason(as_role(core, assumed.token)) is None
    core.clock.pass_time(2)
    assert await reason(as_role(core, assumed.token)) is Reason.UNAUTHENTICATED_PEER


async def test_a_session_belongs_to_one_certificate_of_one_principal(core: Core) -> None:
    await settle(core)
    token = (await assume(core)).token

    assert await reason(as_role(core, token, "cd" * 32)) is Reason.UNAUTHENTICATED_PEER
    assert await reason(as_role(core, token, holder=ROLE)) is Reason.UNAUTHENTICATED_PEER


async def test_a_session_ends_when_it_is_revoked_or_its_role_is_disabled_or_made_anew(core: Core) -> None:
    await settle(core)
    rooms, caller = core.rooms, core.caller
    revoked = (await assume(core)).token
    await rooms.attachments.revoke_sessions(caller(), ROLE)
    assert await reason(as_role(core, revoked)) is Reason.UNAUTHENTICATED_PEER

    held = (await assume(core)).token
    await rooms.principals.disable(caller(), ROLE)
    assert await reason(as_role(core, held)) is Reason.UNAUTHENTICATED_PEER
    assert await reason(assume(core)) is Reason.ACCESS_DENIED
    await rooms.principals.enable(caller(), ROLE)
    assert await reason(as_role(core, held)) is None

    await rooms.principals.delete(caller(), ROLE)
    again = NewPrincipal(ROLE, trust_policy=trusting(ALICE), max_session_seconds=3_600)
    await rooms.principals.create(caller(), again)
    for old in (held, revoked):
        assert await reason(as_role(core, old)) is Reason.UNAUTHENTICATED_PEER


async def test_no_bit_of_a_token_can_be_changed(core: Core) -> None:
    await settle(core)
    token = (await assume(core)).token
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))

    for place in range(len(raw)):
        forged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        text = base64.urlsafe_b64encode(forged).decode().rstrip("=")
        assert await reason(core.sessions.open(text)) is Reason.UNAUTHENTICATED_PEER


async def test_what_the_row_mac_key_signed_for_something_else_is_no_session(core: Core) -> None:
    session = RoleSession(ROLE, "s", ALICE, CERTIFICATE, 1 << 60, "", 0)
    body = json.dumps(dataclasses.astuple(session)).encode()

    for label in (b"", b"strongroom.record.v1", b"strongroom.answer.v1", b"strongroom.secret-key.v1"):
        forged = base64.urlsafe_b64encode(body + await core.vault.row_mac(label + body)).decode().rstrip("=")
        assert await reason(core.sessions.open(forged)) is Reason.UNAUTHENTICATED_PEER


@pytest.mark.parametrize("token", ["", "x", "=", "é", "A" * 43, "A" * 2_049, "../..", "QUJD\n"])
async def test_what_is_no_token_is_refused_alike(core: Core, token: str) -> None:
    assert await reason(core.sessions.open(token)) is Reason.UNAUTHENTICATED_PEER


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, None),
        (900, None),
        (3_600, None),
        (899, Reason.INVALID_FIELD),
        (3_601, Reason.INVALID_FIELD),
        (43_201, Reason.INVALID_FIELD),
    ],
)
async def test_a_session_is_bounded_by_its_role(core: Core, seconds: int, expected: Reason | None) -> None:
    await settle(core)

    assert await reason(assume(core, seconds)) is expected


async def test_who_may_assume_a_role_is_for_its_trust_policy(core: Core) -> None:
    await settle(core)
    rooms, caller = core.rooms, core.caller
    bob = Caller(Principal(f"arn:aws:iam::{BLUE}:user/bob", BLUE), "test", core.clock.monotonic() + 60)

    def by(who: Caller, role: str = ROLE) -> Awaitable[object]:
        return rooms.access.assume_role(who, role, "session", CERTIFICATE)

    assert await reason(by(bob)) is Reason.ACCESS_DENIED
    assert await reason(by(caller())) is Reason.ACCESS_DENIED  # an operator is nobody special here
    assert await reason(by(alice(core), f"arn:aws:iam::{BLUE}:role/none")) is Reason.ACCESS_DENIED
    assert await reason(by(alice(core), ALICE)) is Reason.INVALID_FIELD
    assumed = await assume(core)
    chained = Caller(Principal(ROLE, BLUE), "test", core.clock.monotonic() + 60, session=assumed.session)
    await rooms.attachments.put_trust_policy(caller(), ROLE, trusting(ROLE))
    assert await reason(by(chained)) is Reason.ACCESS_DENIED
    assert await reason(by(alice(core))) is Reason.ACCESS_DENIED


async def test_a_role_may_trust_an_account_whose_own_policies_then_decide(core: Core) -> None:
    await settle(core)
    attachments, caller = core.rooms.attachments, core.caller
    await attachments.put_trust_policy(caller(), ROLE, trusting(BLUE))
    refused = await reason(assume(core))
    assuming = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": ROLE}
    text = json.dumps({"Version": "2012-10-17", "Statement": [assuming]})
    await attachments.put_policy(caller(), ALICE, "assume", text)

    assert (refused, await reason(assume(core))) == (Reason.ACCESS_DENIED, None)
    await core.rooms.accounts.put_guard_rail(caller(), BLUE, "rail", RAIL)
    assert await reason(assume(core)) is Reason.ACCESS_DENIED  # the rail allows nothing


async def test_a_trust_policy_may_ask_for_tags(core: Core) -> None:
    await settle(core)
    statement = json.loads(trusting(ALICE))["Statement"][0]
    statement["Condition"] = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await core.rooms.attachments.put_trust_policy(core.caller(), ROLE, text)
    as_blue = await reason(assume(core))
    await core.rooms.principals.tag(core.caller(), ALICE, (("team", "red"),))

    assert (as_blue, await reason(assume(core))) == (Reason.ACCESS_DENIED, None)


# --- changes


async def test_a_principal_takes_what_speaks_for_it_along(core: Core) -> None:
    await settle(core)
    await made(core)
    await core.rooms.principals.delete(core.caller(), ALICE)

    assert core.rows("SELECT * FROM identities") == core.rows("SELECT * FROM access_keys") == []
    assert core.directory.holder([uri_fact(URI).record_id]) == ""
    assert await core.ledger.read(PrincipalRecord, ALICE) is None
    await core.upkeep.scan()


async def test_an_identity_speaks_for_one_principal_only(core: Core) -> None:
    await settle(core)
    bob = f"arn:aws:iam::{BLUE}:user/bob"
    await core.rooms.principals.create(core.caller(), NewPrincipal(bob))

    again = core.rooms.identities.add(core.caller(), bob, uri_fact(URI))
    foreign = core.rooms.identities.remove(core.caller(), bob, uri_fact(URI))

    assert await reason(again) is Reason.ALREADY_EXISTS
    assert await reason(foreign) is Reason.NOT_FOUND
    assert core.directory.holder([uri_fact(URI).record_id]) == ALICE


async def test_etags_and_repeated_calls(core: Core) -> None:
    await settle(core)
    principals, caller = core.rooms.principals, core.caller
    first = await principals.disable(caller(), ALICE, "1", "once")
    await principals.enable(caller(), ALICE)

    assert await principals.disable(caller(), ALICE, "1", "once") == first
    assert core.directory.admit(ALICE) is not None  # a repeated answer changes nothing
    assert await reason(principals.disable(caller(), ALICE, "1")) is Reason.ETAG_MISMATCH
    assert await reason(principals.enable(caller(), ALICE, "", "once")) is Reason.REQUEST_ID_REUSED


async def test_nobody_shuts_themselves_out(core: Core) -> None:
    await core.rooms.accounts.create(core.caller(), ACCOUNT)
    await core.rooms.principals.create(core.caller(), NewPrincipal(ADMIN.arn))

    assert await reason(core.rooms.principals.disable(core.caller(), ADMIN.arn)) is Reason.INVALID_FIELD
    assert await reason(core.rooms.principals.delete(core.caller(), ADMIN.arn)) is Reason.INVALID_FIELD


async def test_nobody_is_made_who_would_be_taken_for_a_key_store(core: Core) -> None:
    await settle(core)
    for name in ("xks/xks-0123456789abcdef", "xks/x"):
        wanted = NewPrincipal(f"arn:aws:iam::{BLUE}:service/{name}")
        assert await reason(core.rooms.principals.create(core.caller(), wanted)) is Reason.INVALID_FIELD
    await core.rooms.principals.create(core.caller(), NewPrincipal(f"arn:aws:iam::{BLUE}:service/xksx"))


@pytest.mark.parametrize("verb", ["delete", "disable"])
async def test_an_accounts_root_stays(core: Core, verb: str) -> None:
    await settle(core)
    root = f"arn:aws:iam::{BLUE}:root"

    assert await reason(getattr(core.rooms.principals, verb)(core.caller(), root)) is Reason.INVALID_FIELD
    assert await reason(core.rooms.identities.add(core.caller(), root, uri_fact(URI))) is Reason.INVALID_FIELD
    assert await reason(core.rooms.access_keys.create(core.caller(), root)) is Reason.INVALID_FIELD
