"""Who has no right gets nowhere: every RPC of the service, as a stranger of the account and of another."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.harness import ACCOUNT, refused
from tests.people import arn
from tests.regions import HERE, THERE, Houses, statement_key

from strongroom import Client
from strongroom.errors import AccessDenied
from strongroom.v1 import replicas_pb2
from strongroomd.domain.actions import Action
from strongroomd.domain.policy.circumstances import to_bring

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

RPCS = {
    method.name for service in replicas_pb2.DESCRIPTOR.services_by_name.values() for method in service.methods
}
FOR_ANYONE = {"GetPeerStatement"}


def attempts(houses: Houses, key: str, region: str = THERE) -> dict[str, Callable[[Client], Any]]:
    stated = houses.replica.get_peer_statement()
    given = (stated.payload, stated.signature, statement_key(houses.replica))
    return {
        "GetPeerStatement": lambda c: c.get_peer_statement(),
        "RegisterPeer": lambda c: c.register_peer(*given, "0" * 32),
        "ListPeers": lambda c: c.list_peers(),
        "RemovePeer": lambda c: c.remove_peer(region),
        "ReplicateKey": lambda c: c.replicate_key(key, region),
        "GetReplicaBundle": lambda c: c.get_replica_bundle(key, region),
        "ImportReplica": lambda c: c.import_replica(b"{}", b"x"),
        "AcknowledgeReplica": lambda c: c.acknowledge_replica(key, b"{}", b"x"),
        "RemoveReplica": lambda c: c.remove_replica(key, region),
        "UpdatePrimaryRegion": lambda c: c.update_primary_region(key, region),
        "MoveLostPrimary": lambda c: c.move_lost_primary(key, region, "0" * 32),
    }


@pytest.mark.parametrize("who", ["dave", "mallory"])
def test_every_rpc_refuses_who_has_no_right(houses: Houses, who: str) -> None:
    key = houses.primary.describe_key(houses.replicated()).arn
    nothing = f"{key[:-32]}{'0' * 32}"
    with houses.here.daemon.client(who, timeout=30.0) as client:
        heard: dict[str, set[str]] = {}
        for named, region in ((key, THERE), (nothing, THERE), (key, "local-3"), (key, "no region")):
            tried = attempts(houses, named, region)
            assert tried.keys() == RPCS
            for name in RPCS - FOR_ANYONE:
                with pytest.raises(AccessDenied) as caught:
                    tried[name](client)
                heard.setdefault(name, set()).add(caught.value.message)
        assert {name: words for name, words in heard.items() if len(words) > 1} == {}  # nothing is given away
        assert tried["GetPeerStatement"](client).payload


def test_the_right_to_replicate_lets_send_acknowledge_and_forget_and_no_more(houses: Houses) -> None:
    may = {
        "Effect": "Allow",
        "Principal": {"AWS": arn("dave")},
        "Action": "kms:ReplicateKey",
        "Resource": "*",
    }
    key = houses.key(policy=houses.here.policy(also=[may]))
    dave = houses.here.dave.client

    done = houses.bring(dave.replicate_key(key, THERE))
    assert dave.get_replica_bundle(key, THERE).last_version == 1
    dave.acknowledge_replica(key, done.receipt.payload, done.receipt.signature)
    with pytest.raises(AccessDenied):
        dave.update_primary_region(key, THERE)
    with pytest.raises(AccessDenied):
        dave.encrypt(key, b"x")
    dave.remove_replica(key, THERE)


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringEquals": {"kms:ReplicaRegion": THERE}}, True),
        ({"StringEquals": {"kms:ReplicaRegion": "local-3"}}, False),
        ({"StringEquals": {"kms:MultiRegionKeyType": "PRIMARY"}}, True),
        ({"StringEquals": {"kms:MultiRegionKeyType": "REPLICA"}}, False),
        ({"Bool": {"kms:MultiRegion": "true"}}, True),
    ],
)
def test_policies_ask_for_region_and_kind(houses: Houses, condition: dict[str, Any], allowed: bool) -> None:
    may = {
        "Effect": "Allow",
        "Principal": {"AWS": arn("dave")},
        "Action": "kms:ReplicateKey",
        "Resource": "*",
        "Condition": condition,
    }
    key = houses.key(policy=houses.here.policy(also=[may]))
    if allowed:
        assert houses.here.dave.client.replicate_key(key, THERE).region == THERE
        return
    with pytest.raises(AccessDenied):
        houses.here.dave.client.replicate_key(key, THERE)


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringEquals": {"kms:PrimaryRegion": HERE, "kms:KeySpec": "SYMMETRIC_DEFAULT"}}, True),
        ({"StringEquals": {"kms:PrimaryRegion": "local-3"}}, False),
        ({"StringEquals": {"kms:KeySpec": "RSA_2048"}}, False),
        ({"StringEquals": {"kms:MultiRegionKeyType": "REPLICA"}}, True),
        ({"StringEquals": {"aws:RequestTag/team": "blue"}}, False),
    ],
)
def test_identity_policies_let_bring_in(houses: Houses, condition: dict[str, Any], allowed: bool) -> None:
    bundle = houses.primary.replicate_key(houses.key(), THERE).statement
    statement = {
        "Effect": "Allow",
        "Action": "strongroom:ImportReplica",
        "Resource": "*",
        "Condition": condition,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    houses.replica.put_identity_policy(arn("bob"), "bring", policy)
    bob = houses.there.bob.client
    try:
        if allowed:
            assert bob.import_replica(bundle.payload, bundle.signature).newest_version == 1
            return
        with pytest.raises(AccessDenied):
            bob.import_replica(bundle.payload, bundle.signature)
    finally:
        houses.replica.delete_identity_policy(arn("bob"), "bring")


def test_replicate_and_update_bring_what_conditions_may_ask_of_them() -> None:
    assert "kms:replicaregion" in to_bring(Action.REPLICATE_KEY)
    assert "kms:primaryregion" in to_bring(Action.UPDATE_PRIMARY_REGION)
    assert "kms:primaryregion" in to_bring(Action.IMPORT_REPLICA)


def test_another_accounts_key_is_one_that_there_is_not(houses: Houses) -> None:
    key = houses.primary.describe_key(houses.replicated()).arn
    assert ACCOUNT in key
    with refused("ACCESS_DENIED"):
        houses.here.mallory.client.replicate_key(key, THERE)
