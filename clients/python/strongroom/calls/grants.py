"""GrantService: what a key lends to one principal, besides its policy."""

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom import results
from strongroom._rpc import Call, Rpc, make
from strongroom.calls import _read
from strongroom.v1 import grants_pb2 as pb

_SERVICE: Final = "GrantService"
_CREATE: Final = Rpc(_SERVICE, "CreateGrant", pb.CreateGrantRequest, pb.CreateGrantResponse)
_LIST: Final = Rpc(_SERVICE, "ListGrants", pb.ListGrantsRequest, pb.ListGrantsResponse)
_LIST_RETIRABLE: Final = Rpc(
    _SERVICE, "ListRetirableGrants", pb.ListRetirableGrantsRequest, pb.ListRetirableGrantsResponse
)
_RETIRE: Final = Rpc(_SERVICE, "RetireGrant", pb.RetireGrantRequest, pb.RetireGrantResponse)
_REVOKE: Final = Rpc(_SERVICE, "RevokeGrant", pb.RevokeGrantRequest, pb.RevokeGrantResponse)


def create_grant(  # noqa: PLR0913 - the fields of the request
    key: str,
    grantee_principal: str,
    operations: Sequence[str],
    *,
    retiring_principal: str = "",
    context_equals: Mapping[str, str] | None = None,
    context_subset: Mapping[str, str] | None = None,
    source_arn: str = "",
    source_account: str = "",
    name: str = "",
    grant_tokens: Sequence[str] = (),
    dry_run: bool = False,
    request_id: str | None = None,
) -> Call[results.CreatedGrant]:
    """Lend operations of a key to a principal, of any account.

    Args:
        key: key id, key ARN, alias or alias ARN.
        grantee_principal: ARN of who may use the key.
        operations: AWS's names of grant operations, such as Decrypt, that fit the key.
        retiring_principal: ARN of who may retire the grant, besides those who always may.
        context_equals: what the encryption context must be; or else
        context_subset: pairs that it must have among others.
        source_arn: what aws:SourceArn must be.
        source_account: what aws:SourceAccount must be.
        name: while a grant of this name is there, the same request answers that one.
        grant_tokens: tokens of grants that allow this, at most 10.
        dry_run: make the checks only; raises DryRunSucceeded if they pass.
        request_id: None makes a fresh one, so that a repeated attempt never makes a second grant.
    """
    request = _CREATE.make(
        key=key,
        grantee_principal=grantee_principal,
        operations=operations,
        retiring_principal=retiring_principal,
        constraints=make(
            pb.GrantConstraints,
            encryption_context_equals=context_equals or {},
            encryption_context_subset=context_subset or {},
            source_arn=source_arn,
            source_account=source_account,
        ),
        name=name,
        grant_tokens=grant_tokens,
        dry_run=dry_run,
        request_id=request_id,
    )
    return _CREATE.call(request, _created)


def list_grants(
    key: str,
    *,
    grant_id: str = "",
    grantee_principal: str = "",
    page_size: int = 0,
    page_token: str = "",
) -> Call[results.Page[results.Grant]]:
    """List the grants of a key: all, one, or those to one principal."""
    request = _LIST.make(
        key=key,
        grant_id=grant_id,
        grantee_principal=grantee_principal,
        page_size=page_size,
        page_token=page_token,
    )
    return _LIST.call(request, _grants)


def list_retirable_grants(
    retiring_principal: str, *, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.Grant]]:
    """List the grants of all keys that name a retiring principal: yourself, or one of your account."""
    request = _LIST_RETIRABLE.make(
        retiring_principal=retiring_principal, page_size=page_size, page_token=page_token
    )
    return _LIST_RETIRABLE.call(request, _grants)


def retire_grant(
    grant_token: str = "",
    *,
    key: str = "",
    grant_id: str = "",
    dry_run: bool = False,
    request_id: str | None = None,
) -> Call[None]:
    """End a grant that is not needed any more, named by a token of it, or by key and grant id."""
    request = _RETIRE.make(
        grant_token=grant_token, key=key, grant_id=grant_id, dry_run=dry_run, request_id=request_id
    )
    return _RETIRE.call(request, _nothing)


def revoke_grant(
    key: str, grant_id: str, *, dry_run: bool = False, request_id: str | None = None
) -> Call[None]:
    """Take back what a key lends by a grant; its grantee is refused everywhere within a second."""
    request = _REVOKE.make(key=key, grant_id=grant_id, dry_run=dry_run, request_id=request_id)
    return _REVOKE.call(request, _nothing)


def _created(reply: pb.CreateGrantResponse) -> results.CreatedGrant:
    return results.CreatedGrant(_grant(reply.grant), reply.grant_token)


def _grants(reply: pb.ListGrantsResponse | pb.ListRetirableGrantsResponse) -> results.Page[results.Grant]:
    return results.Page(tuple(_grant(found) for found in reply.grants), reply.next_page_token)


def _grant(message: pb.Grant) -> results.Grant:
    constraints = message.constraints
    return results.Grant(
        grant_id=message.grant_id,
        key_arn=message.key_arn,
        grantee_principal=message.grantee_principal,
        operations=tuple(message.operations),
        retiring_principal=message.retiring_principal,
        context_equals=dict(constraints.encryption_context_equals),
        context_subset=dict(constraints.encryption_context_subset),
        source_arn=constraints.source_arn,
        source_account=constraints.source_account,
        name=message.name,
        issuing_principal=message.issuing_principal,
        parent_grant_id=message.parent_grant_id,
        created_time=_read.time_of(message, "created_time"),
    )


def _nothing(_: pb.RetireGrantResponse | pb.RevokeGrantResponse) -> None:
    return None
