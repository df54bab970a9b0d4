"""What an audit record says of a call: names of keys and decisions, never secrets."""

from typing import Any, Final

from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.policy.request import Decision
from strongroomd.domain.principals import Caller

GROUNDS: Final = 10
"""Decisions that one audit record tells of."""


def told_of(kind: str, action: Action, caller: Caller, result: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Give the record of what is about to be tried (`intent`), or of how a call ended (`outcome`)."""
    return {
        "kind": kind,
        "action": action.value,
        "principal": caller.principal.arn,
        "request_id": caller.request_id,
        "source": caller.source,
        "door": caller.door,
        **caller.told(),
        "outcome": result,
        **facts,
    }


def note_key(facts: dict[str, Any], arn: str) -> None:
    """Put a key into the audit record: the first as `key`, further ones as `other_keys`."""
    if facts.setdefault("key", arn) != arn:
        others = facts.setdefault("other_keys", [])
        if arn not in others:
            others.append(arn)


def note_name(facts: dict[str, Any], error: StrongroomError, name: str) -> None:
    """Put the name of a key that was refused into the audit record, as the caller gave it.

    The caller's account reads the record as well: of a key of another account it must not tell whether
    there is one, which the alias means, or what its policy says.
    """
    if error.reason is Reason.ACCESS_DENIED and "key" not in facts:
        facts["named"] = name


def note_decision(facts: dict[str, Any], decision: Decision) -> None:
    """Put a decision and its ground into the audit record, further ones as `other_decisions`."""
    made = {"basis": decision.basis.value, "ground": decision.ground}
    if decision.policy:
        made["policy"] = decision.policy
    if facts.setdefault("decision", made) != made:
        others = facts.setdefault("other_decisions", [])
        if made not in others and len(others) < GROUNDS:
            others.append(made)
