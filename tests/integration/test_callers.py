"""Callers on a daemon with two workers: accounts apart, changes within a second, roles, trusted services."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.kit import Callers, Kit, make_callers, valid
from tests.conformance.wire import METHODS, Wire
from tests.harness import (
    ACCOUNT,
    ADMIN,
    AUTHORITIES,
    OTHER,
    OTHER_ACCOUNT,
    SERVICE,
    Daemon,
    allow,
    fresh_id,
    make_folder,
    refused,
    running,
    wait_until,
    within,
)

from strongroom import Client
from strongroom.errors import StrongroomError

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

IN_FORCE = 1.0  # seconds until every worker knows of a change
USER = f"arn:aws:iam::{ACCOUNT}:user/"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
URI = "spiffe://strongroom.dev/"
ADMINISTRATORS = f'administrators = ["{ADMIN}"]'


SECOND = f"arn:aws:iam::{ACCOUNT}:user/second"
OPERATING = f"arn:aws:iam::{ACCOUNT}:role/operating"
ANYTHING = json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


def more_administrators(text: str) -> str:
    """Make `other` an administrator of its own account, `second` another one of ours, and a role an operator."""
    assert ADMINISTRATORS in text
    named = f'administrators = ["{ADMIN}", "{OTHER}", "{SECOND}", "{OPERATING}"]'
    text = text.replace(ADMINISTRATORS, named)
    text = text.replace(f'operators = ["{ADMIN}"]', f'operators = ["{ADMIN}", "{OPERATING}"]')
    for arn, name in ((SECOND, "second"), (OPERATING, "operating")):
        text += f'\n[[identities]]\narn = "{arn}"\nuri = "{URI}{name}"\n'
    return text


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with two workers and administrators of two accounts, of whom one is an operator."""
    folder = make_folder(tmp_path_factory.mktemp("callers"), edit=more_administrators)
    with running(folder) as daemon:
        certify(daemon, "second")
        yield daemon


@pytest.fixture
def admin(house: Daemon) -> Iterator[Client]:
    with house.client("admin", timeout=30.0) as client:
        yield client


@pytest.fixture
def other(house: Daemon) -> Iterator[Client]:
    with house.client("other", timeout=30.0) as client:
        yield client


def certify(daemon: Daemon, name: str) -> None:
    """Issue a certificate for `spiffe://strongroom.dev/<name>`."""
    credential = AUTHORITIES[daemon.folder].client(name, URI + name)
    tls = daemon.folder / "tls"
    credential.write(tls / f"{name}.pem", tls / f"{name}.key")


def settle(daemon: Daemon, admin: Client, arn: str, **options: Any) -> str:
    """Make a principal with a certificate; gives the certificate's name. Every worker knows it then."""
    name = f"c{fresh_id()}"
    admin.create_principal(arn, **options)
    admin.add_identity(arn, uri=URI + name)
    certify(daemon, name)
    time.sleep(IN_FORCE)
    return name


def reason(call: Callable[[], object]) -> str:
    try:
        call()
    except StrongroomError as error:
        return error.reason
    return "OK"


def crowd(stack: ExitStack, daemon: Daemon, name: str) -> list[Client]:
    """So many connections of one identity that both workers have some of them."""
    return [stack.enter_context(daemon.client(name)) for _ in range(12)]


def test_init_makes_the_first_account_its_root_and_its_administrator(admin: Client) -> None:
    principals = {p.arn: p.kind for p in admin.pages(admin.list_principals)}
    identities = admin.list_identities(ADMIN)

    assert admin.describe_account(ACCOUNT).root_arn == f"arn:aws:iam::{ACCOUNT}:root"
    assert (principals[f"arn:aws:iam::{ACCOUNT}:root"], principals[ADMIN]) == ("ROOT", "USER")
    assert [identity.uri for identity in identities] == [URI + "admin"]
    assert OTHER not in principals


# --- accounts apart


def access_rpcs() -> list[str]:
    services = {n: m.containing_service.name for n, m in METHODS.items()}
    return sorted(n for n, service in services.items() if service == "AccessService")


@pytest.fixture(scope="module")
def callers(house: Daemon) -> Callers:
    with house.client("admin", timeout=30.0) as client:
        return make_callers(client)


def kit_of(callers: Callers) -> Kit:
    return Kit("", "", "", "", "", b"", b"", b"", "", "", callers)


FREE = {"GetCallerIdentity", "ListAccounts"}
"""What says nothing of another account; ListPrincipals is asked for another account below."""


def test_an_administrator_does_nothing_in_another_account(house: Daemon, callers: Callers) -> None:
    kit, ghost = kit_of(callers), kit_of(Callers(
        "123412341234", f"{USER}none", f"{ROLE}none", URI + "none", "AKIA" + "A" * 16
    ))  # fmt: skip
    with Wire.connect(house, "other") as wire:
        answers = {
            n: wire.call(n, valid(n, kit)) for n in access_rpcs() if n not in FREE | {"ListPrincipals"}
        }
        unknown = {n: wire.call(n, valid(n, ghost)) for n in answers}

    assert {n: a.reason for n, a in answers.items()} == dict.fromkeys(answers, "ACCESS_DENIED")
    assert {n: (a.code, a.message) for n, a in unknown.items()} == {
        n: (a.code, a.message) for n, a in answers.items()
    }


def test_lists_show_the_callers_own_account_only(admin: Client, other: Client, callers: Callers) -> None:
    name = f"arn:aws:iam::{OTHER_ACCOUNT}:user/{fresh_id()}"
    if reason(lambda: admin.describe_account(OTHER_ACCOUNT)) != "OK":
        admin.create_account(OTHER_ACCOUNT)
    other.create_principal(name)

    seen = {principal.account for principal in other.pages(other.list_principals)}

    assert seen == {OTHER_ACCOUNT}
    assert [account.account for account in other.pages(other.list_accounts)] == [OTHER_ACCOUNT]
    assert {ACCOUNT, OTHER_ACCOUNT, callers.account} <= {
        account.account for account in admin.pages(admin.list_accounts)
    }
    with refused("ACCESS_DENIED"):
        other.list_principals(ACCOUNT)
    assert name in {principal.arn for principal in admin.pages(admin.list_principals, OTHER_ACCOUNT)}


def test_what_is_the_operators_alone(admin: Client, other: Client) -> None:
    if reason(lambda: admin.describe_account(OTHER_ACCOUNT)) != "OK":
        admin.create_account(OTHER_ACCOUNT)
    own = f"arn:aws:iam::{OTHER_ACCOUNT}:service/{fresh_id()}"
    rail = ANYTHING
    admin.put_guard_rail(OTHER_ACCOUNT, "rail", rail)

    with refused("ACCESS_DENIED"):
        other.create_principal(own, trusted=True)
    other.create_principal(own)
    for call in (
        lambda: other.create_account("121212121212"),
        lambda: other.put_guard_rail(OTHER_ACCOUNT, "rail", rail),
        lambda: other.delete_guard_rail(OTHER_ACCOUNT, "rail"),
        lambda: other.add_identity(own, uri=URI + "service"),
        other.list_sinks,
        other.list_dead_letters,
        other.redrive_dead_letter,
        other.get_compliance_report,
        lambda: next(iter(other.watch_events())),
    ):
        assert reason(call) == "ACCESS_DENIED"
    assert other.get_guard_rail(OTHER_ACCOUNT, "rail").policy == rail
    assert other.list_guard_rails(OTHER_ACCOUNT).names == ("rail",)


def test_limits_and_audit_of_another_account_are_not_seen(admin: Client, other: Client) -> None:
    key = admin.create_key().key_id
    arn = admin.describe_key(key).arn
    admin.put_limit("KEY", key, 100_000)
    admin.put_limit("PRINCIPAL", SERVICE, 100_000)
    own = f"{OTHER_ACCOUNT}/RSA"
    other.put_limit("CLASS", "RSA", 100_000)

    for scope, subject in (("KEY", arn), ("PRINCIPAL", SERVICE), ("CLASS", f"{ACCOUNT}/RSA")):
        for call in (
            lambda s=scope, t=subject: other.get_limit(s, t),
            lambda s=scope, t=subject: other.put_limit(s, t, 1),
            lambda s=scope, t=subject: other.delete_limit(s, t),
            lambda s=scope, t=subject: other.get_quota_usage(s, t),
        ):
            assert reason(call) == "ACCESS_DENIED"
    subjects = {limit.subject for limit in other.pages(other.list_limits)}
    assert own in subjects
    assert all(subject.startswith(f"{OTHER_ACCOUNT}/") for subject in subjects)
    assert {key, SERVICE, own} <= {limit.subject for limit in admin.pages(admin.list_limits)}

    alias = f"alias/{fresh_id()}"
    admin.create_alias(alias, key)
    named = [arn, arn.replace(key, fresh_id())]
    named += [arn.replace(f"key/{key}", name) for name in (alias, f"alias/{fresh_id()}")]
    assert {reason(partial(other.get_limit, "KEY", name)) for name in named} == {"ACCESS_DENIED"}

    seen = [json.loads(record.canonical_json) for record in other.pages(other.list_audit_records)]
    assert {record["principal"] for record in seen} >= {OTHER}
    assert all(OTHER_ACCOUNT in json.dumps(record) for record in seen)
    # The log tells no more than the answer: not whether there is such a key, nor which one an alias means.
    told = [
        record for record in seen if record.get("named") in named and record["action"].endswith("GetLimit")
    ]
    assert {record["named"] for record in told} == set(named)
    assert {frozenset(record) for record in told} == {frozenset(told[0])}
    assert not any("key" in record for record in told)
    admin.delete_limit("KEY", key)
    admin.delete_limit("PRINCIPAL", SERVICE)


def test_an_administrator_does_not_become_an_operator_or_a_trusted_service(
    house: Daemon, admin: Client
) -> None:
    service = f"arn:aws:iam::{ACCOUNT}:service/{fresh_id()}"
    admin.create_principal(service, trusted=True)
    key = admin.create_access_key(service).access_key.access_key_id
    with house.client("second", timeout=30.0) as second:
        assert second.get_caller_identity().administrator
        for arn in (ADMIN, service):
            for call in (
                lambda a=arn: second.create_access_key(a),
                lambda a=arn: second.disable_principal(a),
                lambda a=arn: second.delete_principal(a),
                lambda a=arn: second.tag_principal(a, {"a": "b"}),
                lambda a=arn: second.put_identity_policy(a, "p", ANYTHING),
            ):
                assert reason(call) == "ACCESS_DENIED"
        for attempt in (
            lambda: second.create_principal(OPERATING, trust_policy=trust(SECOND)),
            lambda: second.deactivate_access_key(service, key),
            lambda: second.remove_identity(ADMIN, uri=URI + "admin"),
        ):
            assert reason(attempt) == "ACCESS_DENIED"
        ordinary = f"{USER}{fresh_id()}"
        second.create_principal(ordinary)
        assert len(second.create_access_key(ordinary).secret_access_key) == 40


def test_a_policy_makes_nobody_master_of_an_administrator(house: Daemon, admin: Client) -> None:
    deputy, ordinary = f"{USER}{fresh_id()}", f"{USER}{fresh_id()}"
    name = settle(house, admin, deputy)
    admin.create_principal(ordinary)
    with suppress(StrongroomError):
        admin.create_principal(SECOND)
    admin.put_identity_policy(deputy, "all", ANYTHING)
    time.sleep(IN_FORCE)
    with house.client(name, timeout=30.0) as client:

        def answers(arn: str) -> set[str]:
            return {
                reason(lambda: client.tag_principal(arn, {"a": "b"})),
                reason(lambda: client.put_identity_policy(arn, "p", ANYTHING)),
                reason(lambda: client.create_access_key(arn)),
                reason(lambda: client.disable_principal(arn)),
            }

        assert answers(ordinary) == {"OK"}
        assert answers(SECOND) == {"ACCESS_DENIED"}


# --- changes are in force within a second


@pytest.mark.timed
def test_a_new_identity_speaks_at_every_worker_and_a_removed_one_at_none(
    house: Daemon, admin: Client
) -> None:
    arn, name = f"{USER}{fresh_id()}", f"c{fresh_id()}"
    admin.create_principal(arn)
    certify(house, name)
    with ExitStack() as stack:
        clients = crowd(stack, house, name)
        assert {reason(c.get_caller_identity) for c in clients} == {"UNAUTHENTICATED_PEER"}

        admin.add_identity(arn, uri=URI + name)
        wait_until(lambda: all(reason(c.get_caller_identity) == "OK" for c in clients), IN_FORCE)
        assert {c.get_caller_identity().principal_arn for c in clients} == {arn}

        admin.remove_identity(arn, uri=URI + name)
        gone = {"UNAUTHENTICATED_PEER"}
        wait_until(lambda: {reason(c.get_caller_identity) for c in clients} == gone, IN_FORCE)


@pytest.mark.parametrize("verb", ["disable_principal", "delete_principal"])
@pytest.mark.timed
def test_a_principal_that_is_shut_out_loses_calls_and_streams(
    house: Daemon, admin: Client, verb: str
) -> None:
    arn = f"{USER}{fresh_id()}"
    name = settle(house, admin, arn)
    key = admin.create_key(policy=allow(arn, "kms:Encrypt")).key_id
    with ExitStack() as stack:
        clients = crowd(stack, house, name)
        streams = [stack.enter_context(client.stream()) for client in clients[:4]]
        assert all(stream.encrypt(key, b"x").result().ciphertext for stream in streams)

        getattr(admin, verb)(arn)
        started = time.monotonic()
        calls = [lambda c=c: c.encrypt(key, b"x") for c in clients]
        calls += [lambda s=s: s.encrypt(key, b"x").result() for s in streams]
        wait_until(lambda: {reason(call) for call in calls} == {"UNAUTHENTICATED_PEER"}, 3 * IN_FORCE)

        assert time.monotonic() - started < within(3 * IN_FORCE)
        if verb == "disable_principal":
            admin.enable_principal(arn)
            wait_until(lambda: {reason(call) for call in calls[:12]} == {"OK"}, IN_FORCE)


def test_a_principal_of_the_configuration_can_be_disabled_and_enabled(house: Daemon, admin: Client) -> None:
    with house.client("service") as service:
        admin.create_principal(SERVICE, tags={"team": "blue"})
        assert reason(service.get_caller_identity) == "OK"
        admin.disable_principal(SERVICE)
        wait_until(lambda: reason(service.get_caller_identity) == "UNAUTHENTICATED_PEER", IN_FORCE)
        admin.enable_principal(SERVICE)
        wait_until(lambda: reason(service.get_caller_identity) == "OK", IN_FORCE)
        admin.delete_principal(SERVICE)  # what the configuration says of it stays
        time.sleep(IN_FORCE)
        assert service.get_caller_identity().principal_arn == SERVICE


# --- roles


def trust(*arns: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": list(arns)}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def role(admin: Client) -> str:
    """A role that trusts the ordinary service."""
    arn = ROLE + fresh_id()
    admin.create_principal(arn, trust_policy=trust(SERVICE))
    return arn


def test_a_session_has_the_roles_rights_and_not_its_sources(house: Daemon, admin: Client, role: str) -> None:
    for_role = admin.create_key(policy=allow(role, "kms:Encrypt")).key_id
    for_service = admin.create_key(policy=allow(SERVICE, "kms:Encrypt")).key_id
    with house.client("service") as service:
        session = service.assume_role(role, "night-shift", duration_seconds=900)
        as_role = service.with_session(session.session_token)

        assert as_role.encrypt(for_role, b"x").ciphertext
        with refused("ACCESS_DENIED"):
            as_role.encrypt(for_service, b"x")
        with refused("ACCESS_DENIED"):
            service.encrypt(for_role, b"x")
        with as_role.stream() as stream:
            assert stream.encrypt(for_role, b"x").result().ciphertext
        me = as_role.get_caller_identity()

    account, name = role.split(":")[4], role.partition("/")[2]
    arn = f"arn:aws:sts::{account}:assumed-role/{name}/night-shift"
    assert (me.principal_arn, me.session_arn, me.session_source_arn) == (role, arn, SERVICE)
    assert me.session_expire_time == session.expire_time
    records = list(admin.pages(admin.list_audit_records, principal=role))
    told = json.loads(records[-1].canonical_json)
    assert (told["session"], told["session_source"]) == (arn, SERVICE)
    assert told["identity"] == f"certificate:{me.certificate_sha256}"


def test_a_session_may_be_named_in_a_key_policy(house: Daemon, admin: Client, role: str) -> None:
    name = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.partition('/')[2]}/"
    key = admin.create_key(policy=allow(name + "one", "kms:Encrypt")).key_id
    with house.client("service") as service:
        one = service.with_session(service.assume_role(role, "one").session_token)
        two = service.with_session(service.assume_role(role, "two").session_token)

        assert one.encrypt(key, b"x").ciphertext
        with refused("ACCESS_DENIED"):
            two.encrypt(key, b"x")


def test_a_session_is_of_no_use_to_another_certificate(house: Daemon, admin: Client, role: str) -> None:
    again = AUTHORITIES[house.folder].client("service", URI + "service")
    tls = house.folder / "tls"
    again.write(tls / "again.pem", tls / "again.key")
    with house.client("service") as service, house.client("again") as renewed:
        token = service.assume_role(role, "mine").session_token

        assert reason(service.with_session(token).get_caller_identity) == "OK"
        for thief in (admin, renewed):  # not even to another certificate of the same principal
            with refused("UNAUTHENTICATED_PEER"):
                thief.with_session(token).get_caller_identity()
        for forged in (token[:-2] + "AA", token[1:], "x", "A" * 500):
            with refused("UNAUTHENTICATED_PEER"):
                service.with_session(forged).get_caller_identity()


@pytest.mark.parametrize("how", ["revoke_role_sessions", "disable_principal", "delete_principal"])
@pytest.mark.timed
def test_a_session_ends_at_every_worker_and_on_streams(
    house: Daemon, admin: Client, role: str, how: str
) -> None:
    key = admin.create_key(policy=allow(role, "kms:Encrypt")).key_id
    with ExitStack() as stack:
        clients = crowd(stack, house, "service")
        token = clients[0].assume_role(role, "mine").session_token
        views = [client.with_session(token) for client in clients]
        stream = stack.enter_context(views[0].stream())
        assert stream.encrypt(key, b"x").result().ciphertext
        assert {reason(view.get_caller_identity) for view in views} == {"OK"}

        getattr(admin, how)(role)
        ended = {"UNAUTHENTICATED_PEER"}
        wait_until(lambda: {reason(view.get_caller_identity) for view in views} == ended, IN_FORCE)
        assert reason(lambda: stream.encrypt(key, b"x").result()) == "UNAUTHENTICATED_PEER"
        assert reason(clients[0].get_caller_identity) == "OK"


def test_roles_that_do_not_exist_and_roles_that_do_not_trust_are_one_answer(
    house: Daemon, admin: Client
) -> None:
    closed = ROLE + fresh_id()
    admin.create_principal(closed)
    said = set()
    with house.client("service") as service:
        for name in (closed, ROLE + fresh_id(), f"arn:aws:iam::{OTHER_ACCOUNT}:role/x"):
            with pytest.raises(StrongroomError) as caught:
                service.assume_role(name, "mine")
            said.add((caught.value.reason, caught.value.message))

    assert [reason for reason, _ in said] == ["ACCESS_DENIED"]


# --- trusted services


@pytest.fixture
def trusted(house: Daemon, admin: Client) -> Iterator[Client]:
    arn = f"arn:aws:iam::{ACCOUNT}:service/{fresh_id()}"
    name = settle(house, admin, arn, trusted=True)
    with house.client(name) as client:
        yield client


def test_a_trusted_service_says_for_whom_it_calls_and_policies_can_ask(
    admin: Client, trusted: Client
) -> None:
    me = trusted.get_caller_identity()
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": me.principal_arn},
        "Action": "kms:Encrypt",
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:ViaService": "s3.local-1", "kms:CallerAccount": OTHER_ACCOUNT}},
    }
    own = {"Effect": "Allow", "Principal": {"AWS": ADMIN}, "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [own, statement]})
    key = admin.create_key(policy=policy).key_id
    behalf = trusted.on_behalf_of(
        via_service="s3.local-1", caller_account=OTHER_ACCOUNT, source_principal=OTHER
    )

    assert behalf.encrypt(key, b"x").ciphertext
    for view in (trusted, trusted.on_behalf_of(via_service="s3.local-1")):
        with refused("ACCESS_DENIED"):
            view.encrypt(key, b"x")
    records = list(admin.pages(admin.list_audit_records, principal=me.principal_arn))
    told = [json.loads(record.canonical_json) for record in records if record.action == "kms:Encrypt"]
    assert (told[0]["via_service"], told[0]["caller_account"], told[0]["source_principal"]) == (
        "s3.local-1", OTHER_ACCOUNT, OTHER,
    )  # fmt: skip


BUCKET = "arn:aws:s3:::payroll"


def test_a_policy_can_ask_for_the_resource_that_a_service_calls_for(admin: Client, trusted: Client) -> None:
    me = trusted.get_caller_identity().principal_arn
    condition = {
        "ArnLike": {"aws:SourceArn": "arn:aws:s3:::pay*"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }
    policy = json.loads(allow(me, "kms:Encrypt"))
    next(s for s in policy["Statement"] if me in s["Principal"]["AWS"])["Condition"] = condition
    key = admin.create_key(policy=json.dumps(policy)).key_id

    view = trusted.on_behalf_of(source_arn=BUCKET, source_account=ACCOUNT)
    assert view.encrypt(key, b"x").ciphertext
    identity = view.get_caller_identity()
    assert (identity.source_arn, identity.source_account) == (BUCKET, ACCOUNT)
    for said in (
        {},
        {"source_arn": BUCKET},
        {"source_account": ACCOUNT},
        {"source_arn": "arn:aws:s3:::other", "source_account": ACCOUNT},
        {"source_arn": BUCKET, "source_account": OTHER_ACCOUNT},
    ):
        with refused("ACCESS_DENIED"):
            trusted.on_behalf_of(**said).encrypt(key, b"x")
    with refused("INVALID_FIELD", "strongroom-source-arn"):
        trusted.on_behalf_of(source_arn="arn:aws:s3:::pay*").encrypt(key, b"x")


def test_a_grant_that_asks_for_a_source_counts_only_for_who_may_say_it(
    house: Daemon, admin: Client, trusted: Client
) -> None:
    me, key = trusted.get_caller_identity().principal_arn, admin.create_key().key_id
    source = {"source_arn": BUCKET, "source_account": ACCOUNT}
    operations = ["Encrypt", "CreateGrant"]
    token = [admin.create_grant(key, me, operations, **source).grant_token]  # type: ignore[arg-type]
    untrusted = [admin.create_grant(key, SERVICE, operations, **source).grant_token]  # type: ignore[arg-type]
    view = trusted.on_behalf_of(**source)

    assert view.encrypt(key, b"x", grant_tokens=token).ciphertext
    with view.stream() as stream:
        assert stream.encrypt(key, b"x").result().ciphertext
    for said in ({}, {"source_arn": BUCKET}, source | {"source_account": OTHER_ACCOUNT}):
        assert reason(partial(trusted.on_behalf_of(**said).encrypt, key, b"x")) == "ACCESS_DENIED"
    with house.client("service") as service:
        for client in (service, service.on_behalf_of(**source)):
            assert reason(partial(client.encrypt, key, b"x", grant_tokens=untrusted)) == "ACCESS_DENIED"
    child = partial(view.create_grant, key, SERVICE, ["Encrypt"], grant_tokens=token)
    assert reason(partial(child, **source)) == "OK"
    for narrower in ({}, {"source_arn": BUCKET}, source | {"source_arn": BUCKET + "2"}):
        assert reason(partial(child, **narrower)) == "ACCESS_DENIED"
    told = [json.loads(each.canonical_json) for each in admin.pages(admin.list_audit_records, principal=me)]
    assert [t["source_arn"] for t in told if t["outcome"] == "OK" and t["action"] == "kms:Encrypt"] == [
        BUCKET
    ] * 2


def test_nobody_else_may_say_so_not_even_an_operator(house: Daemon, admin: Client, role: str) -> None:
    with house.client("service") as service:
        session = service.with_session(service.assume_role(role, "mine").session_token)
        for view in (admin, service, session):
            for said in (
                {"via_service": "s3"},
                {"caller_account": ACCOUNT},
                {"source_principal": ADMIN},
                {"source_arn": BUCKET},
                {"source_account": ACCOUNT},
            ):
                with refused("ACCESS_DENIED"):
                    view.on_behalf_of(**said).get_caller_identity()
        refusal = json.loads(
            list(admin.pages(admin.list_audit_records, principal=SERVICE))[-1].canonical_json
        )

    assert (refusal["action"], refusal["outcome"]) == ("strongroom:Door", "ACCESS_DENIED")
    assert refusal["identity"].startswith("certificate:")


def test_a_stream_of_a_service_ends_with_its_trust(house: Daemon, admin: Client) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:service/{fresh_id()}"
    name = settle(house, admin, arn, trusted=True)
    key = admin.create_key(policy=allow(arn, "kms:Encrypt")).key_id
    with house.client(name) as client, client.on_behalf_of(via_service="s3").stream() as stream:
        assert stream.encrypt(key, b"x").result().ciphertext
        admin.delete_principal(arn)
        admin.create_principal(arn)
        admin.add_identity(arn, uri=URI + name)
        wait_until(
            lambda: reason(lambda: stream.encrypt(key, b"x").result()) == "ACCESS_DENIED", 3 * IN_FORCE
        )


# --- what is kept, and what is not


def test_callers_outlive_a_kill_and_their_secrets_are_nowhere_in_clear(tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    folder = make_folder(tmp_path / "house")
    with running(folder) as daemon:
        arn, role = f"{USER}alice", f"{ROLE}ops"
        with daemon.client("admin", timeout=30.0) as admin:
            name = settle(daemon, admin, arn, tags={"team": "blue"})
            admin.create_principal(role, trust_policy=trust(arn))
            made = admin.create_access_key(arn, request_id="once")
            assert admin.create_access_key(arn, request_id="once").secret_access_key == ""
        with daemon.client(name) as alice:
            token = alice.assume_role(role, "before").session_token

        daemon.kill()
        daemon.start()

        with daemon.client("admin", timeout=30.0) as admin, daemon.client(name) as alice:
            assert alice.get_caller_identity().principal_arn == arn
            assert alice.with_session(token).get_caller_identity().principal_arn == role
            assert dict(admin.describe_principal(arn).tags) == {"team": "blue"}
            assert [key.access_key_id for key in admin.list_access_keys(arn)] == [
                made.access_key.access_key_id
            ]
        daemon.stop()
        held = [path for path in folder.rglob("*") if path.is_file()]
        found = [str(path) for path in held for canary in (made.secret_access_key, token)
                 if canary.encode() in path.read_bytes()]  # fmt: skip
        assert len(held) > 10
        assert found == []
