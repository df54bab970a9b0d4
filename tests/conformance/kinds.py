"""The kinds of callers that the matrix of test_matrix.py crosses with every RPC, as a table.

Each kind lacks one thing, and has what else it could have: so what it lacks is what it is refused for. A cell
of the matrix is ACCESS_DENIED, in the words for a key that does not exist, unless `expected` names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.kit import FOR_ANYONE, OF_A_STORE, OF_TWO_HOUSES
from tests.conformance.wire import METHODS
from tests.harness import ACCOUNT, ADMIN, NEIGHBOUR

from strongroomd.domain.actions import FOR_ANYONE as FREE_ACTIONS
from strongroomd.domain.actions import KEYLESS, ON_KEYS_OF_OURS, Action

HOME = ACCOUNT
ABROAD, ADMITTED, FENCED, SILENT = "ABROAD", "ADMITTED", "FENCED", "SILENT"
"""Accounts that no key policy names, that the keys' policies name, and whose guard rails deny or say nothing."""

CONTEXT = {"area": "x", "tenant": "7"}
MORE, LESS, OTHERWISE = CONTEXT | {"more": "x"}, {"area": "x"}, {"area": "x", "tenant": "8"}
ON_KEYS = sorted(
    {a for a in Action if a.startswith("kms:") and a not in KEYLESS | FREE_ACTIONS} | ON_KEYS_OF_OURS
)
Statement = Mapping[str, Any]


def allow(*actions: str, **more: object) -> Statement:
    """Make a statement about every key that is in question."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*", **more}


KEYS = allow(*ON_KEYS)
EVERYTHING = allow("*")
NOTHING = {**EVERYTHING, "Effect": "Deny"}
TAGGED = allow(*ON_KEYS, Condition={"StringEquals": {"aws:PrincipalTag/team": "blue"}})
VIA = "s3.local-1"
VIA_S3 = allow(*ON_KEYS, Condition={"StringEquals": {"kms:ViaService": VIA}})
FOR_TENANT = allow(*ON_KEYS, Condition={"StringEquals": {"kms:EncryptionContext:tenant": CONTEXT["tenant"]}})
FROM_ELSEWHERE = allow(*ON_KEYS, Condition={"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}})


FREE = dict.fromkeys(FOR_ANYONE, "OK")
"""What touches nobody's key, account or principal."""


@dataclass(frozen=True)
class Grants:
    """What each key lends to a kind: all that fits it, or what is named.

    A constraint (context_equals or context_subset) is on the context, and on the source where a key has none.
    """

    named: tuple[str, ...] = ()
    constrained: str = ""
    to_root: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of caller.

    Attributes:
        arn: if it is not made for the matrix.
        account: where it lives.
        noun: user or service.
        trusted: of a service.
        identity: its identity policy.
        key: what the keys' policies say of it.
        role: what they say of a role that trusts it.
        in_session: whether it calls as that role.
        grants: what the keys lend to it.
        says: whom it says it calls for.
        under: the encryption context of its requests.
        cure: how its Encrypt succeeds (cast.CURES); empty for a kind that has no right at all.
        ends: what is done to it then (cast.ENDS).
        expected: the RPCs whose answer is not the usual refusal, by the answer.
        words: the RPCs whose refusal has words of its own, which tell of caller and request only.
    """

    arn: str = ""
    account: str = HOME
    noun: str = "user"
    trusted: bool = False
    identity: tuple[Statement, ...] = ()
    key: tuple[Statement, ...] = ()
    role: tuple[Statement, ...] | None = None
    in_session: bool = False
    grants: Grants | None = None
    says: Mapping[str, str] = field(default_factory=dict)
    under: Mapping[str, str] = field(default_factory=dict)
    cure: str = ""
    ends: str = ""
    expected: Mapping[str, str] = field(default_factory=lambda: FREE)
    words: Mapping[str, str] = field(default_factory=dict)


RPCS = frozenset(METHODS) - OF_TWO_HOUSES
KNOWN_ONLY = dict.fromkeys(RPCS, "UNAUTHENTICATED_PEER")
"""Who is nobody to the daemon reaches no RPC, not even those for anyone."""
DENIED_ALL = {"GetCallerIdentity": "OK"}
"""An explicit deny, or a guard rail, takes away even what is for anyone, but for knowing who one is."""

OF_ITS_OWN_ACCOUNT = {
    **FREE,
    "CreateKey": "OK",  # a key of the caller's account
    "ListKeys": "OK",  # lists are of the caller's account
    "ListAliases": "OK",
    "ListLimits": "OK",
    "ListAccounts": "OK",
    "ListPrincipals": "OK",
    "ListAuditRecords": "OK",
    "TailAuditRecords": "OK",
    "GetDestructionCertificate": "NOT_FOUND",  # as of any key that was not destroyed
    "CreateKeyStore": "OK",  # a store of the caller's account
    "ListKeyStores": "OK",
    **dict.fromkeys(OF_A_STORE, "NOT_FOUND"),  # as any store that there is not
    "GetQuorum": "OK",  # without an account the caller's
    "ListWrappingKeys": "OK",
    "RemoveWrappingKey": "NOT_FOUND",  # as any wrapping key that there is not
    "GetLimit": "OK",  # of a class, which without an account means the caller's
    "GetQuotaUsage": "OK",
}
"""What an administrator of another account does in its own account with the same request."""
NAMES_ANOTHER_ACCOUNT = {
    "SimulatePolicy": "the principal is of another account",
    "ListRetirableGrants": "the key does not exist, or the caller may not do this with it",
    "RegisterWrappingKey": "the approval request does not exist, or the caller may not do this with it",
}
"""Who may do this in its own account, and names a principal of another, is told so, whether or not there is one."""
UNTRUSTED = dict.fromkeys(RPCS, "only a trusted service may say for whom it calls")
NOT_EVEN_FREE = dict.fromkeys(
    FOR_ANYONE - {"GetCallerIdentity"}, "neither the configuration nor an identity policy allows it"
)
"""What is said of what only a deny takes away: who has no rights at all is not refused it."""

KINDS: dict[str, Kind] = {
    "no rights": Kind(),
    "no rights, of another account": Kind(account=ABROAD),
    "administrator of another account": Kind(
        arn=NEIGHBOUR,
        # The checkpoint is over all chains and names no account; limits are of the own account's class.
        expected=OF_ITS_OWN_ACCOUNT
        | {"GetAuditCheckpoint": "OK", "PutLimit": "OK", "DeleteLimit": "NOT_FOUND", "RevokeApprover": "NOT_FOUND"},
        words=NAMES_ANOTHER_ACCOUNT | {"PutQuorum": NAMES_ANOTHER_ACCOUNT["RegisterWrappingKey"]},
    ),
    "administrator of another account by its policy": Kind(
        account=ABROAD, identity=(EVERYTHING,), expected=OF_ITS_OWN_ACCOUNT, words=NAMES_ANOTHER_ACCOUNT
    ),
    "service": Kind(noun="service"),
    "trusted service that calls for the administrator": Kind(
        noun="service", trusted=True, says={"source_principal": ADMIN, "caller_account": HOME}
    ),
    "service that nobody trusts and that says for whom it calls": Kind(
        noun="service", key=(KEYS,), says={"source_principal": ADMIN}, cure="saying nothing",
        expected={}, words=UNTRUSTED
    ),
    # Roles.
    "session of a role without rights, of who has them all": Kind(
        key=(KEYS,), identity=(EVERYTHING,), role=(), in_session=True
    ),
    "who may assume a role that has rights, outside of the session": Kind(role=(KEYS,), cure="in the session"),
    "session that was revoked": Kind(
        role=(KEYS,), in_session=True, cure="as it is", ends="revoke_role_sessions", expected=KNOWN_ONLY
    ),
    "session of a role that was disabled": Kind(
        role=(KEYS,), in_session=True, cure="as it is", ends="disable_role", expected=KNOWN_ONLY
    ),
    "somebody else's session": Kind(role=(KEYS,), in_session=True, cure="as it is", ends="steal", expected=KNOWN_ONLY),
    # Grants.
    "grantee of other operations": Kind(
        grants=Grants(("GenerateDataKeyWithoutPlaintext", "Verify", "VerifyMac", "DeriveSharedSecret")),
        expected=FREE
        | dict.fromkeys(("GenerateDataKeyWithoutPlaintext", "Verify", "VerifyMac", "DeriveSharedSecret"), "OK"),
    ),
    "grantee under more of a context": Kind(
        grants=Grants(constrained="context_equals"), under=MORE, cure="under the context"
    ),
    "grantee under less of a context, of another account": Kind(
        account=ABROAD, grants=Grants(constrained="context_subset"), under=LESS, cure="under the context"
    ),
    "grantee after the grant was revoked": Kind(grants=Grants(), cure="as it is", ends="revoke_grants"),
    "grantee after the grant was revoked, of another account": Kind(
        account=ABROAD, grants=Grants(), cure="as it is", ends="revoke_grants"
    ),
    "grantee after the grant was retired": Kind(grants=Grants(), cure="as it is", ends="retire_grants"),
    "member of an account whose root is the grantee": Kind(account=ABROAD, grants=Grants(to_root=True)),
    # One policy without the other.
    "allowed by its own policy, the key's does not delegate": Kind(identity=(KEYS,)),
    "allowed by its own policy, the key's names another account": Kind(account=ABROAD, identity=(KEYS,)),
    "of an account that the key's policy names, without a policy": Kind(account=ADMITTED),
    "named by the key's policy, of another account, without a policy": Kind(account=ABROAD, key=(KEYS,)),
    # Denied although allowed.
    "denied by its own policy": Kind(key=(KEYS,), identity=(NOTHING,), grants=Grants(), expected=DENIED_ALL, words=NOT_EVEN_FREE),
    "denied by the key's policy": Kind(
        key=(KEYS, {**KEYS, "Effect": "Deny"}), identity=(KEYS,), grants=Grants()
    ),
    "denied by a guard rail": Kind(
        account=FENCED, key=(KEYS,), identity=(EVERYTHING,), grants=Grants(), expected=DENIED_ALL, words=NOT_EVEN_FREE
    ),
    "not allowed by a guard rail": Kind(
        account=SILENT, key=(KEYS,), identity=(EVERYTHING,), grants=Grants(), expected=DENIED_ALL, words=NOT_EVEN_FREE
    ),
    # Conditions.
    "key's policy asks for another context": Kind(
        key=(FOR_TENANT,), under=OTHERWISE, cure="under the context"
    ),
    "key's policy asks for another service": Kind(
        noun="service", trusted=True, key=(VIA_S3,), cure="via the service"
    ),
    "key's policy asks for another tag": Kind(key=(TAGGED,), cure="as it is", ends="tag_otherwise"),
    "key's policy asks for another address": Kind(key=(FROM_ELSEWHERE,)),
    "its own policy asks for another tag": Kind(
        account=ADMITTED, identity=(TAGGED,), cure="as it is", ends="tag_otherwise"
    ),
    # Who is not let in any more.
    "disabled": Kind(key=(KEYS,), cure="as it is", ends="disable_principal", expected=KNOWN_ONLY),
    "deleted": Kind(key=(KEYS,), cure="as it is", ends="delete_principal", expected=KNOWN_ONLY),
}  # fmt: skip
