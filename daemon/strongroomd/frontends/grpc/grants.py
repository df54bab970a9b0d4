"""GrantService on the wire."""

from strongroom.v1 import grants_pb2 as pb
from strongroomd.custody.grants import GrantPage, Grants, ToRetire
from strongroomd.domain import grants as granting
from strongroomd.domain import names
from strongroomd.domain.grants import ConstraintType, NewGrant
from strongroomd.domain.names import Realm
from strongroomd.domain.records import GrantRecord
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class GrantServicer:
    """Turns GrantService messages into use cases and back; one method an RPC."""

    def __init__(self, grants: Grants, realm: Realm) -> None:
        self._grants = grants
        self._realm = realm

    async def CreateGrant(self, request: pb.CreateGrantRequest, call: Call) -> pb.CreateGrantResponse:
        """Make a grant."""
        made = await self._grants.create(
            call.caller,
            request.key,
            _wanted(request),
            names.request_id(request.request_id),
            dry_run=request.dry_run,
        )
        return pb.CreateGrantResponse(grant=self._grant(made.grant), grant_token=made.token)

    async def ListGrants(self, request: pb.ListGrantsRequest, call: Call) -> pb.ListGrantsResponse:
        """List a key's grants."""
        page = await self._grants.list_grants(
            call.caller,
            request.key,
            request.grant_id,
            request.grantee_principal,
            request.page_size,
            request.page_token,
        )
        return pb.ListGrantsResponse(grants=self._all(page), next_page_token=page.next_token)

    async def ListRetirableGrants(
        self, request: pb.ListRetirableGrantsRequest, call: Call
    ) -> pb.ListRetirableGrantsResponse:
        """List the grants that a principal may retire."""
        page = await self._grants.list_retirable(
            call.caller, request.retiring_principal, request.page_size, request.page_token
        )
        return pb.ListRetirableGrantsResponse(grants=self._all(page), next_page_token=page.next_token)

    async def RetireGrant(self, request: pb.RetireGrantRequest, call: Call) -> pb.RetireGrantResponse:
        """Retire a grant."""
        wanted = ToRetire(request.grant_token, request.key, request.grant_id)
        request_id = names.request_id(request.request_id)
        await self._grants.retire(call.caller, wanted, request_id, dry_run=request.dry_run)
        return pb.RetireGrantResponse()

    async def RevokeGrant(self, request: pb.RevokeGrantRequest, call: Call) -> pb.RevokeGrantResponse:
        """Revoke a grant."""
        request_id = names.request_id(request.request_id)
        await self._grants.revoke(
            call.caller, request.key, request.grant_id, request_id, dry_run=request.dry_run
        )
        return pb.RevokeGrantResponse()

    def _all(self, page: GrantPage) -> list[pb.Grant]:
        return [self._grant(record) for record in page.grants]

    def _grant(self, record: GrantRecord) -> pb.Grant:
        return pb.Grant(
            grant_id=record.grant_id,
            key_arn=self._realm.key_arn(record.key_id, record.account),
            grantee_principal=record.grantee,
            operations=record.operations.split(","),
            retiring_principal=record.retiring,
            constraints=_constraints(record),
            name=record.name,
            issuing_principal=record.issuer,
            parent_grant_id=record.parent,
            created_time=convert.timestamp(record.created_at),
        )


def _wanted(request: pb.CreateGrantRequest) -> NewGrant:
    constraints = request.constraints
    return NewGrant(
        grantee=request.grantee_principal,
        operations=granting.parse_operations(tuple(request.operations)),
        constraints=granting.parse_constraints(
            constraints.encryption_context_equals,
            constraints.encryption_context_subset,
            source_arn=constraints.source_arn,
            source_account=constraints.source_account,
        ),
        retiring=request.retiring_principal,
        name=request.name,
    )


def _constraints(record: GrantRecord) -> pb.GrantConstraints:
    pairs = dict(record.context)
    return pb.GrantConstraints(
        encryption_context_equals=pairs if record.constraint_type == ConstraintType.EQUALS else {},
        encryption_context_subset=pairs if record.constraint_type == ConstraintType.SUBSET else {},
        source_arn=record.source_arn,
        source_account=record.source_account,
    )
