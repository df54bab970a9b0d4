"""PolicyService: policies checked and tried before they are put."""

from collections.abc import Mapping
from typing import Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.v1 import policies_pb2 as pb

_SERVICE: Final = "PolicyService"
_CHECK: Final = Rpc(_SERVICE, "CheckPolicy", pb.CheckPolicyRequest, pb.CheckPolicyResponse)
_SIMULATE: Final = Rpc(_SERVICE, "SimulatePolicy", pb.SimulatePolicyRequest, pb.SimulatePolicyResponse)


def check_policy(policy: str, *, kind: str = "") -> Call[tuple[results.PolicyFinding, ...]]:
    """Have a policy read as putting it would, and list what is suspicious about it.

    Args:
        policy: AWS policy JSON.
        kind: what it is to be attached to: KEY (the default), IDENTITY, GUARD_RAIL or TRUST.
    """
    request = _CHECK.make(policy=policy, kind=enums.POLICY_KIND.number(kind, "kind"))
    return _CHECK.call(request, lambda reply: tuple(_finding(each) for each in reply.findings))


def simulate_policy(
    action: str,
    *,
    principal: str = "",
    key: str = "",
    policy: str = "",
    context: Mapping[str, str] | None = None,
    circumstances: Mapping[str, str] | None = None,
) -> Call[results.Simulation]:
    """Say how a request would be decided, and what each statement says of it. Nothing is done.

    Args:
        action: such as kms:Encrypt.
        principal: ARN of who would ask; default the caller.
        key: the key; empty for an action without one, or with `policy` for a key that is to be.
        policy: a key policy to ask instead of the key's own.
        context: the encryption context.
        circumstances: further values by condition key, as text.
    """
    request = _SIMULATE.make(
        action=action,
        principal=principal,
        key=key,
        policy=policy,
        encryption_context=context or {},
        circumstances=circumstances or {},
    )
    return _SIMULATE.call(request, _simulation)


def _finding(message: pb.PolicyFinding) -> results.PolicyFinding:
    return results.PolicyFinding(message.severity, message.code, message.place, message.message)


def _simulation(reply: pb.SimulatePolicyResponse) -> results.Simulation:
    traces = tuple(_trace(each) for each in reply.traces)
    return results.Simulation(reply.allowed, reply.basis, reply.ground, reply.policy, traces)


def _trace(message: pb.PolicyTrace) -> results.PolicyTrace:
    return results.PolicyTrace(
        source=message.source,
        policy=message.policy,
        statement=message.statement,
        effect=message.effect,
        applies=message.applies,
        delegates=message.delegates,
        failed=tuple(message.failed),
        near_miss=message.near_miss,
    )
