"""The gate's answers to conditions: addresses out of peers, aliases out of names, and what use cases bring."""

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from tests.policy_cases import ALICE, HOME, KEY, allow, deny, document

from strongroomd.custody.asking import Brought, call_of, make_request, pairs, source_ip
from strongroomd.custody.clock import Clock
from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.context import parse_context
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.policy import Request
from strongroomd.domain.policy.evaluation import NO_STANDING, Authority
from strongroomd.domain.principals import Behalf, Caller, Principal


class Noon(Clock):
    """A clock that stands."""

    def wall_ms(self) -> int:
        return 1_780_315_200_000


def request(named: str = "", peer: str = "ipv4:192.0.2.1:1234", brought: Brought | None = None) -> Request:
    entry: Any = SimpleNamespace(arn=KEY, key=SimpleNamespace(account=HOME), aliases=None)
    caller = Caller(Principal(ALICE, HOME), "id", time.monotonic(), peer)
    return make_request(Noon(), caller, Action.ENCRYPT, entry, brought or Brought(), named)


def decide(compiled: policy.Policy) -> policy.Decision:
    asking = request()
    return Authority(compiled, asking.resource).decide(asking, NO_STANDING)


def test_policies_hear_for_which_resource_a_service_calls() -> None:
    behalf = Behalf("s3", "444455556666", source_arn="arn:aws:s3:::b", source_account="777788889999")
    call = call_of(Noon(), Caller(Principal(ALICE, HOME, trusted=True), "id", 0.0, behalf=behalf))

    assert (call.via_service, call.caller_account) == ("s3", "444455556666")
    assert (call.source_arn, call.source_account) == ("arn:aws:s3:::b", "777788889999")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:1234", "192.0.2.1"),
        ("ipv6:[2001:db8::1]:1234", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:1234", "2001:db8::1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:1", "::ffff:192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1"),
        ("unix:", ""),
        ("unix:/run/x:1", ""),
        ("peer", ""),
        ("", ""),
    ],
)
def test_the_address_is_taken_out_of_the_peer(peer: str, address: str) -> None:
    assert source_ip(peer) == address
    assert request(peer=peer).context.get("aws:sourceip") == (address or None)


@pytest.mark.parametrize(
    ("named", "alias"),
    [
        ("alias/pay", "alias/pay"),
        (f"arn:aws:kms:eu-test-1:{HOME}:alias/pay", "alias/pay"),
        (KEY, None),
        (KEY.rpartition("/")[2], None),
        ("", None),
    ],
)
def test_the_alias_is_what_the_caller_named(named: str, alias: str | None) -> None:
    assert request(named).context.get("kms:requestalias") == alias


def test_the_time_is_the_clocks_in_seconds() -> None:
    assert request().context.get("aws:currenttime") == 1_780_315_200.0


def test_what_a_use_case_brings_is_asked() -> None:
    context = parse_context({"Tenant": "7"})
    brought = Brought({"kms:encryptionalgorithm": "SYMMETRIC_DEFAULT"}, pairs(context))

    found = request(brought=brought)

    assert found.context.get("kms:encryptionalgorithm") == "SYMMETRIC_DEFAULT"
    assert found.context.get("kms:encryptioncontext:tenant") == "7"
    assert found.encryption_context == {"Tenant": "7"}


def test_a_policy_that_asks_for_what_was_not_brought_refuses() -> None:
    condition = {"StringNotEquals": {"kms:EncryptionAlgorithm": "x"}}
    compiled = policy.parse(json.dumps(document(allow(ALICE, Condition=condition))))

    with pytest.raises(StrongroomError):
        decide(compiled)


def test_what_decides_without_asking_comes_first() -> None:
    """A statement that asks for what the request lacks must not refuse what another allows anyway."""
    asking = allow(ALICE, Condition={"StringEquals": {"kms:EncryptionAlgorithm": "x"}})
    quiet = allow(ALICE, Condition={"StringEquals": {"aws:PrincipalAccount": HOME}})
    compiled = policy.parse(json.dumps(document(asking, allow(ALICE))))
    denying = policy.parse(json.dumps(document(asking, deny(ALICE), quiet)))

    assert decide(compiled).allowed
    assert not decide(denying).allowed
