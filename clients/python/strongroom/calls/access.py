"""AccessService: accounts, principals and the policies attached to them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.calls.keys import tag_messages
from strongroom.v1 import access_pb2 as pb


def _rpc(method: str) -> Rpc[Any, Any]:
    return Rpc("AccessService", method, getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response"))


_CREATE_ACCOUNT: Final = _rpc("CreateAccount")
_DESCRIBE_ACCOUNT: Final = _rpc("DescribeAccount")
_LIST_ACCOUNTS: Final = _rpc("ListAccounts")
_PUT_GUARD_RAIL: Final = _rpc("PutGuardRail")
_GET_GUARD_RAIL: Final = _rpc("GetGuardRail")
_LIST_GUARD_RAILS: Final = _rpc("ListGuardRails")
_DELETE_GUARD_RAIL: Final = _rpc("DeleteGuardRail")
_CREATE: Final = _rpc("CreatePrincipal")
_DESCRIBE: Final = _rpc("DescribePrincipal")
_LIST: Final = _rpc("ListPrincipals")
_DELETE: Final = _rpc("DeletePrincipal")
_ENABLE: Final = _rpc("EnablePrincipal")
_DISABLE: Final = _rpc("DisablePrincipal")
_TAG: Final = _rpc("TagPrincipal")
_UNTAG: Final = _rpc("UntagPrincipal")
_PUT_POLICY: Final = _rpc("PutIdentityPolicy")
_GET_POLICY: Final = _rpc("GetIdentityPolicy")
_LIST_POLICIES: Final = _rpc("ListIdentityPolicies")
_DELETE_POLICY: Final = _rpc("DeleteIdentityPolicy")
_PUT_TRUST: Final = _rpc("PutTrustPolicy")
_REVOKE: Final = _rpc("RevokeRoleSessions")


def create_account(
    account: str, *, description: str = "", request_id: str | None = None
) -> Call[results.Account]:
    """Make an account (12 digits) and its root principal; for operators."""
    request = _CREATE_ACCOUNT.make(account=account, description=description, request_id=request_id)
    return _CREATE_ACCOUNT.call(request, _account)


def describe_account(account: str) -> Call[results.Account]:
    """Describe an account."""
    return _DESCRIBE_ACCOUNT.call(_DESCRIBE_ACCOUNT.make(account=account), _account)


def list_accounts(*, page_size: int = 0, page_token: str = "") -> Call[results.Page[results.Account]]:
    """List the accounts that the caller administers."""
    return _LIST_ACCOUNTS.call(_LIST_ACCOUNTS.make(page_size=page_size, page_token=page_token), _accounts)


def put_guard_rail(
    account: str, name: str, policy: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Account]:
    """Attach a guard rail to an account, AWS policy JSON; for operators."""
    request = _PUT_GUARD_RAIL.make(
        account=account, name=name, policy=policy, etag=etag, request_id=request_id
    )
    return _PUT_GUARD_RAIL.call(request, _account)


def get_guard_rail(account: str, name: str) -> Call[results.AttachedPolicy]:
    """Read a guard rail."""
    return _GET_GUARD_RAIL.call(_GET_GUARD_RAIL.make(account=account, name=name), _policy)


def list_guard_rails(account: str) -> Call[results.PolicyNames]:
    """List the names of an account's guard rails."""
    return _LIST_GUARD_RAILS.call(_LIST_GUARD_RAILS.make(account=account), _names)


def delete_guard_rail(
    account: str, name: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Account]:
    """Take a guard rail away; for operators."""
    request = _DELETE_GUARD_RAIL.make(account=account, name=name, etag=etag, request_id=request_id)
    return _DELETE_GUARD_RAIL.call(request, _account)


def create_principal(
    principal: str,
    *,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    trusted: bool = False,
    trust_policy: str = "",
    max_session_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.Principal]:
    """Make a user, role or service (an ARN)."""
    request = _CREATE.make(
        principal=principal,
        description=description,
        tags=tag_messages(tags or {}),
        trusted=trusted,
        trust_policy=trust_policy,
        max_session_seconds=max_session_seconds,
        request_id=request_id,
    )
    return _CREATE.call(request, _principal)


def describe_principal(principal: str) -> Call[results.Principal]:
    """Describe a principal."""
    return _DESCRIBE.call(_DESCRIBE.make(principal=principal), _principal)


def list_principals(
    account: str = "", *, kind: str = "", page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.Principal]]:
    """List an account's principals, by default those of the caller's; `kind` is a PrincipalKind."""
    request = _LIST.make(
        account=account,
        kind=enums.PRINCIPAL_KIND.number(kind, "kind"),
        page_size=page_size,
        page_token=page_token,
    )
    return _LIST.call(request, _principals)


def delete_principal(principal: str, *, etag: str = "", request_id: str | None = None) -> Call[None]:
    """Remove a principal with its identities and access keys."""
    return _DELETE.call(_DELETE.make(principal=principal, etag=etag, request_id=request_id), _nothing)


def enable_principal(
    principal: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Principal]:
    """Let a disabled principal call again."""
    return _ENABLE.call(_ENABLE.make(principal=principal, etag=etag, request_id=request_id), _principal)


def disable_principal(
    principal: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Principal]:
    """Shut a principal out within a second."""
    return _DISABLE.call(_DISABLE.make(principal=principal, etag=etag, request_id=request_id), _principal)


def tag_principal(
    principal: str, tags: Mapping[str, str], *, etag: str = "", request_id: str | None = None
) -> Call[results.Principal]:
    """Set tags on a principal."""
    request = _TAG.make(principal=principal, tags=tag_messages(tags), etag=etag, request_id=request_id)
    return _TAG.call(request, _principal)


def untag_principal(
    principal: str, tag_keys: Sequence[str], *, etag: str = "", request_id: str | None = None
) -> Call[results.Principal]:
    """Take tags off a principal."""
    request = _UNTAG.make(principal=principal, tag_keys=tag_keys, etag=etag, request_id=request_id)
    return _UNTAG.call(request, _principal)


def put_identity_policy(
    principal: str, name: str, policy: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Principal]:
    """Attach an identity policy to a principal, AWS policy JSON."""
    request = _PUT_POLICY.make(
        principal=principal, name=name, policy=policy, etag=etag, request_id=request_id
    )
    return _PUT_POLICY.call(request, _principal)


def get_identity_policy(principal: str, name: str) -> Call[results.AttachedPolicy]:
    """Read an identity policy."""
    return _GET_POLICY.call(_GET_POLICY.make(principal=principal, name=name), _policy)


def list_identity_policies(principal: str) -> Call[results.PolicyNames]:
    """List the names of a principal's identity policies."""
    return _LIST_POLICIES.call(_LIST_POLICIES.make(principal=principal), _names)


def delete_identity_policy(
    principal: str, name: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Principal]:
    """Take an identity policy away."""
    request = _DELETE_POLICY.make(principal=principal, name=name, etag=etag, request_id=request_id)
    return _DELETE_POLICY.call(request, _principal)


def put_trust_policy(
    principal: str,
    policy: str,
    *,
    max_session_seconds: int = 0,
    etag: str = "",
    request_id: str | None = None,
) -> Call[results.Principal]:
    """Say who may assume a role, AWS policy JSON; 0 seconds leave its longest session as it is."""
    request = _PUT_TRUST.make(
        principal=principal,
        policy=policy,
        max_session_seconds=max_session_seconds,
        etag=etag,
        request_id=request_id,
    )
    return _PUT_TRUST.call(request, _principal)


def revoke_role_sessions(
    principal: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Principal]:
    """End every session of a role that was begun before."""
    return _REVOKE.call(_REVOKE.make(principal=principal, etag=etag, request_id=request_id), _principal)


def _read_account(found: pb.Account) -> results.Account:
    return results.Account(
        account=found.account,
        description=found.description,
        created_time=_read.time_of(found, "created_time"),
        root_arn=found.root_arn,
        guard_rails=tuple(found.guard_rails),
        etag=found.etag,
    )


def _read_principal(found: pb.Principal) -> results.Principal:
    return results.Principal(
        arn=found.arn,
        account=found.account,
        kind=enums.PRINCIPAL_KIND.name(found.kind),
        unique_id=found.unique_id,
        enabled=found.enabled,
        trusted=found.trusted,
        description=found.description,
        created_time=_read.time_of(found, "created_time"),
        tags={tag.key: tag.value for tag in found.tags},
        identity_policies=tuple(found.identity_policies),
        trust_policy=found.trust_policy,
        max_session_seconds=found.max_session_seconds,
        etag=found.etag,
    )


def _account(reply: pb.DescribeAccountResponse) -> results.Account:
    return _read_account(reply.account)


def _accounts(reply: pb.ListAccountsResponse) -> results.Page[results.Account]:
    return results.Page(tuple(map(_read_account, reply.accounts)), reply.next_page_token)


def _principal(reply: pb.DescribePrincipalResponse) -> results.Principal:
    return _read_principal(reply.principal)


def _principals(reply: pb.ListPrincipalsResponse) -> results.Page[results.Principal]:
    return results.Page(tuple(map(_read_principal, reply.principals)), reply.next_page_token)


def _policy(reply: pb.GetIdentityPolicyResponse) -> results.AttachedPolicy:
    return results.AttachedPolicy(reply.policy, reply.etag)


def _names(reply: pb.ListIdentityPoliciesResponse) -> results.PolicyNames:
    return results.PolicyNames(tuple(reply.names), reply.etag)


def _nothing(_: pb.DeletePrincipalResponse) -> None:
    return None
