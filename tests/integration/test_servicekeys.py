"""A service's own key on a daemon with two workers, through certificates, metadata, SDK and wire."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from google.protobuf.message import Message
from tests.conformance.kit import MUTATIONS, Callers, KeyStores, Kit, fresh_account, valid
from tests.conformance.wire import METHODS, Wire, request
from tests.harness import (
    ACCOUNT,
    ADMIN,
    AUTHORITIES,
    Daemon,
    fresh_id,
    refused,
    wait_until,
)

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.v1 import quota_pb2

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

URI = "spiffe://strongroom.dev/"
ANYTHING = json.dumps({"Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]})


@dataclass(frozen=True)
class Service:
    """A trusted service with a client of its own."""

    name: str
    arn: str
    client: Client

    @property
    def alias(self) -> str:
        return f"alias/aws/{self.name}"

    def calling_for(self, account: str) -> Client:
        return self.client.on_behalf_of(via_service=self.name, caller_account=account)


@pytest.fixture(scope="module")
def trusted(daemon: Daemon, admin: Client) -> Iterator[Service]:
    name = f"s{fresh_id()}"
    arn = f"arn:aws:iam::{ACCOUNT}:service/{name}"
    admin.create_principal(arn, trusted=True)
    admin.put_identity_policy(arn, "all", ANYTHING)
    admin.add_identity(arn, uri=URI + name)
    credential, tls = AUTHORITIES[daemon.folder].client(name, URI + name), daemon.folder / "tls"
    credential.write(tls / f"{name}.pem", tls / f"{name}.key")
    with daemon.client(name) as client:
        wait_until(lambda: known(client), 3.0)
        yield Service(name, arn, client)


def known(client: Client) -> bool:
    try:
        client.get_caller_identity()
    except StrongroomError:
        return False
    return True


def test_the_first_use_makes_the_key_and_each_account_has_its_own(admin: Client, trusted: Service) -> None:
    tenant = fresh_account()
    with refused("ACCESS_DENIED"):
        trusted.calling_for(tenant).encrypt(trusted.alias, b"x")  # there is no such account
    admin.create_account(tenant)
    ours, theirs = trusted.calling_for(ACCOUNT), trusted.calling_for(tenant)

    first = ours.encrypt(trusted.alias, b"x")
    second, third = ours.generate_data_key(trusted.alias), theirs.encrypt(trusted.alias, b"y")

    assert first.key_arn == second.key_arn != third.key_arn
    assert (first.key_arn.split(":")[4], third.key_arn.split(":")[4]) == (ACCOUNT, tenant)
    assert ours.decrypt(first.ciphertext).plaintext == b"x"
    with refused("ACCESS_DENIED"):
        ours.decrypt(third.ciphertext)
    with refused("ACCESS_DENIED"):
        admin.decrypt(first.ciphertext)
    with refused("ACCESS_DENIED"):
        admin.encrypt(trusted.alias, b"x")
    listed = {key.arn: key.key_manager for key in admin.pages(admin.list_keys, key_manager="SERVICE")}
    assert listed[first.key_arn] == "SERVICE"
    assert set(listed.values()) == {"SERVICE"}
    assert first.key_arn not in {k.arn for k in admin.pages(admin.list_keys, key_manager="CUSTOMER")}


KEYED = sorted(n for n in MUTATIONS if "key" in METHODS[n].input_type.fields_by_name)
LIMITS = ("PutLimit", "DeleteLimit")


def naming(name: str, kit: Kit) -> Message:
    """Make the request of a mutation that names a key; where a key need not be named, it is."""
    return request(name, label="theirs", key=kit.seal) if name == "AdoptKey" else valid(name, kit)


def test_no_mutation_that_names_a_key_changes_it_whoever_asks(
    daemon: Daemon, admin: Client, trusted: Service
) -> None:
    """By the descriptor: a mutation that is invented later is tried here, too."""
    arn = trusted.calling_for(ACCOUNT).encrypt(trusted.alias, b"x").key_arn
    key, mine = arn.rpartition("/")[2], f"alias/{fresh_id()}"
    admin.create_alias(mine, admin.create_key().key_id)
    nobody = Callers("", "", "", "", "")
    stores = KeyStores(admin.create_key_store().key_store_id)
    names = {"external": key, "leaving": key}
    kit = Kit(key, key, key, key, mine, b"", b"", b"", "0" * 64, "0" * 64, nobody, stores, **names)  # type: ignore[arg-type]
    asked = {name: naming(name, kit) for name in KEYED}
    limit = {"scope": quota_pb2.LIMIT_SCOPE_KEY, "subject": key}
    asked["PutLimit"] = request("PutLimit", **limit, per_second=1)
    asked["DeleteLimit"] = request("DeleteLimit", **limit)
    unknown = replace(kit, seal=fresh_id(), external=fresh_id(), leaving=fresh_id())
    look = {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:PutKeyPolicy"], "Resource": arn}
    with Wire.connect(daemon, "admin") as wire:
        blind = {name: wire.call(name, asked[name]) for name in KEYED}
        ghost = {name: wire.call(name, naming(name, unknown)) for name in KEYED}
        admin.put_identity_policy(ADMIN, trusted.name, json.dumps({"Statement": [look]}))
        try:
            wait_until(lambda: wire.call("DescribeKey", request("DescribeKey", key=key)).ok, 3.0)
            before = admin.describe_key(arn)
            answers = {name: wire.call(name, message).reason for name, message in asked.items()}
            after = admin.describe_key(arn)
        finally:
            admin.delete_identity_policy(ADMIN, trusted.name)

    assert len(KEYED) >= 13
    assert answers == dict.fromkeys(asked, "SERVICE_MANAGED_KEY")
    assert {n: (a.reason, a.message) for n, a in blind.items()} == {
        n: (a.reason, a.message) for n, a in ghost.items()
    }
    assert {a.reason for a in blind.values()} == {"ACCESS_DENIED"}
    assert (before, before.key_manager) == (after, "SERVICE")
