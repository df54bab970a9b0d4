"""Named policies attached to a principal or an account: checked when put, kept as the text that was put."""

from strongroomd.domain import policy
from strongroomd.domain.accounts import Pairs
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_POLICIES, MAX_POLICIES_BYTES
from strongroomd.domain.policy import PolicyKind


def check_policy(text: str, kind: PolicyKind, field: str = "policy") -> str:
    """Check a policy document. Raises FIELD_TOO_LARGE, or MALFORMED_POLICY naming the place."""
    policy.parse(text, field, kind)
    return text


def with_policy(policies: Pairs, name: str, text: str) -> Pairs:
    """Put a policy among others. Raises LIMIT_EXCEEDED."""
    named = dict(policies) | {name: text}
    if len(named) > MAX_POLICIES:
        raise StrongroomError(Reason.LIMIT_EXCEEDED, f"at most {MAX_POLICIES} policies can be attached")
    if sum(len(each.encode()) for each in named.values()) > MAX_POLICIES_BYTES:
        text = f"the policies have more than {MAX_POLICIES_BYTES} bytes together"
        raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
    return tuple(sorted(named.items()))


def without_policy(policies: Pairs, name: str) -> Pairs:
    """Take a policy away. Raises NOT_FOUND."""
    policy_named(policies, name)
    return tuple(pair for pair in policies if pair[0] != name)


def policy_named(policies: Pairs, name: str) -> str:
    """Give a policy's text. Raises NOT_FOUND."""
    text = dict(policies).get(name)
    if text is None:
        raise StrongroomError(Reason.NOT_FOUND, field="name")
    return text
