"""Key policies that callers put: checked, and by default such that their maker can change them again."""

from strongroomd.custody import bringing
from strongroomd.custody.asking import Brought
from strongroomd.custody.judging import Judge
from strongroomd.domain import policy
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.policy import Resource
from strongroomd.domain.policy.circumstances import Target
from strongroomd.domain.principals import Caller


def settle_policy(
    judge: Judge, caller: Caller, text: str, target: Target | Resource, brought: Brought
) -> str:
    """Check a policy, and that the caller could still change it (AWS: lockout safety check).

    Args:
        judge: says whether the caller could.
        caller: who puts it.
        text: policy JSON, or empty for the default policy.
        target: the key, or only its name before there is one.
        brought: what the use case knows; whether the check is to be skipped among it.

    Raises:
        StrongroomError: MALFORMED_POLICY, POLICY_LOCKOUT.
    """
    principal = caller.principal
    chosen = text or policy.default_policy(f"arn:aws:iam::{principal.account}:root", principal.arn)
    policy.parse(chosen)
    if not brought.facts[bringing.BYPASS] and not judge.leaves_a_way_back(caller, chosen, target, brought):
        raise StrongroomError(Reason.POLICY_LOCKOUT, field="policy")
    return chosen
