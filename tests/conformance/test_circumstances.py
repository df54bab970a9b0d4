"""No RPC leaves out what a condition may ask of it: under a policy that asks for everything, all succeed.

A condition key that an action has, and that its use case does not bring, refuses the request. So for each key
there is a Deny whose condition never holds, for all actions that have the key.
"""

import fnmatch
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.kit import KEYLESS, MUTATIONS, OF_TWO_HOUSES, Kit, make_kit, valid, with_import
from tests.conformance.test_default_deny import reason
from tests.conformance.wire import METHODS, Wire

from strongroom import Client
from strongroomd.domain.actions import KEYLESS as ACTIONS_WITHOUT_KEY
from strongroomd.domain.actions import ON_KEYS_OF_OURS, Action
from strongroomd.domain.policy.circumstances import to_bring
from strongroomd.domain.policy.keys import CONDITION_KEYS, PREFIXES, ConditionKey, Kind

_LAST = (
    "DisableKey",
    "ScheduleKeyDeletion",
    "CancelKeyDeletion",
    "EnableKey",
    "DeleteAlias",
    "PutKeyPolicy",
    "DeleteImportedKeyMaterial",
)
_TRUE_HERE = {"kms:ReEncryptOnSameKey", "aws:SecureTransport"}
_NEVER: dict[Kind, tuple[str, str]] = {
    Kind.STRING: ("StringEquals", "never"),
    Kind.TEXT: ("StringEquals", "never"),
    Kind.ARN: ("ArnEquals", "arn:aws:iam::000000000000:user/nobody"),
    Kind.NUMERIC: ("NumericEquals", "1"),
    Kind.DATE: ("DateLessThan", "2000-01-01T00:00:00Z"),
    Kind.EPOCH: ("DateLessThan", "2000-01-01T00:00:00Z"),
    Kind.IP: ("IpAddress", "203.0.113.7/32"),
}


def deny(key: ConditionKey, name: str) -> dict[str, Any]:
    """A Deny that asks for a condition key and never holds."""
    actions = [
        a
        for a in Action
        if (a.startswith("kms:") or a in ON_KEYS_OF_OURS)
        and key.exists_for(a)
        and a not in ACTIONS_WITHOUT_KEY
    ]
    if key.kind is Kind.BOOL:
        operator, value = "Bool", "false" if name in _TRUE_HERE else "true"
    else:
        operator, value = _NEVER[key.kind]
    condition = {f"ForAnyValue:{operator}" if key.many else operator: {name: value}}
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": spelled(actions),
        "Resource": "*",
        "Condition": condition,
    }


def spelled(actions: list[Action]) -> list[str]:
    """Spell exactly these actions in few words: a policy has 32 KiB at most."""
    words = set()
    for action in actions:
        (verb,) = re.findall(r"\A[a-z]+:[A-Z][a-z]*", action)
        family = {other for other in Action if other.startswith(verb)}
        words.add(f"{verb}*" if len(family) > 1 and family <= set(actions) else action.value)
    return sorted(words)


def policy_that_asks_for_everything() -> str:
    """A policy that allows everything, once every condition key was asked for."""
    wanted = [deny(key, key.name) for key in CONDITION_KEYS.values()]
    wanted += [deny(key, f"{key.name}never") for key in PREFIXES.values()]
    every = ["kms:*", *sorted(ON_KEYS_OF_OURS)]
    allow = {"Effect": "Allow", "Principal": "*", "Action": every, "Resource": "*"}
    statements = [statement for statement in wanted if statement["Action"]]
    return json.dumps({"Version": "2012-10-17", "Statement": [*statements, allow]}, separators=(",", ":"))


@pytest.fixture(scope="module")
def kit(admin: Client) -> Kit:
    made = with_import(make_kit(admin), admin)
    for key in (*made.key_ids(), made.external):
        admin.put_key_policy(key, policy_that_asks_for_everything(), bypass_policy_lockout_safety_check=True)
    # A protected key gets its policy when it is made: none is loosened without approval.
    leaving = admin.create_key(
        exportable=True,
        policy=policy_that_asks_for_everything(),
        bypass_policy_lockout_safety_check=True,
    )
    return replace(made, leaving=leaving.arn)


def test_every_rpc_brings_what_conditions_may_ask(wire: Wire, kit: Kit) -> None:
    names = sorted(
        set(METHODS) - KEYLESS - OF_TWO_HOUSES - set(_LAST), key=lambda name: (name in MUTATIONS, name)
    )

    refused = {n: why for n in [*names, *_LAST] if (why := reason(wire.call(n, valid(n, kit)))) != "OK"}

    assert refused == {}


def test_the_policy_asks_each_action_for_all_that_it_has_to_bring() -> None:
    asked = {
        (action, name.lower())
        for statement in json.loads(policy_that_asks_for_everything())["Statement"]
        for question in statement.get("Condition", {}).values()
        for name in question
        for pattern in statement["Action"]
        for action in fnmatch.filter(Action, pattern)
    }

    wanted = {
        (action.value, name)
        for action in Action
        if (action.startswith("kms:") or action in ON_KEYS_OF_OURS) and action not in ACTIONS_WITHOUT_KEY
        for name in to_bring(action)
    }
    assert wanted <= asked
    assert len({action for action, _ in wanted}) > 20
