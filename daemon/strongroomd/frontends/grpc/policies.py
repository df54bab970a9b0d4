"""PolicyService on the wire."""

from typing import Final

from strongroom.v1 import policies_pb2 as pb
from strongroomd.custody.policies import Policies, Supposition
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.policy import PolicyKind
from strongroomd.domain.policy.explain import Explanation, Trace
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call

_KINDS: Final = {
    pb.POLICY_KIND_UNSPECIFIED: PolicyKind.KEY,
    pb.POLICY_KIND_KEY: PolicyKind.KEY,
    pb.POLICY_KIND_IDENTITY: PolicyKind.IDENTITY,
    pb.POLICY_KIND_GUARD_RAIL: PolicyKind.GUARD_RAIL,
    pb.POLICY_KIND_TRUST: PolicyKind.TRUST,
}


class PolicyServicer:
    """Turns PolicyService messages into use cases and back; one method an RPC."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    async def CheckPolicy(self, request: pb.CheckPolicyRequest, call: Call) -> pb.CheckPolicyResponse:
        """List what is suspicious about a policy."""
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise StrongroomError(Reason.UNKNOWN_ENUM, field="kind")
        found = await self._policies.check(call.caller, request.policy, kind)
        findings = [
            pb.PolicyFinding(severity=each.severity, code=each.code, place=each.place, message=each.message)
            for each in found
        ]
        return pb.CheckPolicyResponse(findings=findings)

    async def SimulatePolicy(
        self, request: pb.SimulatePolicyRequest, call: Call
    ) -> pb.SimulatePolicyResponse:
        """Decide a request that is not made."""
        wanted = Supposition(
            request.principal,
            request.action,
            request.key,
            request.policy,
            convert.context(request.encryption_context),
            dict(request.circumstances),
        )
        return _explained(await self._policies.simulate(call.caller, wanted))


def _explained(found: Explanation) -> pb.SimulatePolicyResponse:
    decision = found.decision
    return pb.SimulatePolicyResponse(
        allowed=decision.allowed,
        basis=decision.basis,
        ground=decision.ground,
        policy=decision.policy,
        traces=[_trace(each) for each in found.traces],
    )


def _trace(trace: Trace) -> pb.PolicyTrace:
    return pb.PolicyTrace(
        source=trace.source,
        policy=trace.policy,
        statement=trace.statement,
        effect=trace.effect,
        applies=trace.applies,
        delegates=trace.delegates,
        failed=trace.failed,
        near_miss=trace.is_near_miss,
    )
