"""AccessService on the wire: accounts, principals and the policies attached to them."""

from strongroom.v1 import access_pb2 as pb
from strongroomd.custody.accounts import Accounts, root_arn
from strongroomd.custody.attachments import Attachments
from strongroomd.custody.principals import NewPrincipal, Principals
from strongroomd.domain import names
from strongroomd.domain.accounts import AccountRecord, PrincipalKind, PrincipalRecord, PrincipalState
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class AccountMethods:
    """The methods about accounts and guard rails."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def CreateAccount(self, request: pb.CreateAccountRequest, call: Call) -> pb.CreateAccountResponse:
        """Make an account."""
        request_id = names.request_id(request.request_id)
        made = await self._accounts.create(call.caller, request.account, request.description, request_id)
        return pb.CreateAccountResponse(account=account(made))

    async def DescribeAccount(
        self, request: pb.DescribeAccountRequest, call: Call
    ) -> pb.DescribeAccountResponse:
        """Describe an account."""
        found = await self._accounts.describe(call.caller, request.account)
        return pb.DescribeAccountResponse(account=account(found))

    async def ListAccounts(self, request: pb.ListAccountsRequest, call: Call) -> pb.ListAccountsResponse:
        """List accounts."""
        page = await self._accounts.list_accounts(call.caller, request.page_size, request.page_token)
        accounts = [account(record) for record in page.accounts]
        return pb.ListAccountsResponse(accounts=accounts, next_page_token=page.next_token)

    async def PutGuardRail(self, request: pb.PutGuardRailRequest, call: Call) -> pb.PutGuardRailResponse:
        """Attach a guard rail."""
        changed = await self._accounts.put_guard_rail(
            call.caller,
            request.account,
            request.name,
            request.policy,
            request.etag,
            names.request_id(request.request_id),
        )
        return pb.PutGuardRailResponse(account=account(changed))

    async def GetGuardRail(self, request: pb.GetGuardRailRequest, call: Call) -> pb.GetGuardRailResponse:
        """Read a guard rail."""
        found = await self._accounts.get_guard_rail(call.caller, request.account, request.name)
        return pb.GetGuardRailResponse(policy=found.policy, etag=found.etag)

    async def ListGuardRails(
        self, request: pb.ListGuardRailsRequest, call: Call
    ) -> pb.ListGuardRailsResponse:
        """List guard rails."""
        found = await self._accounts.list_guard_rails(call.caller, request.account)
        rails = [name for name, _ in found.guard_rails]
        return pb.ListGuardRailsResponse(names=rails, etag=str(found.row_version))

    async def DeleteGuardRail(
        self, request: pb.DeleteGuardRailRequest, call: Call
    ) -> pb.DeleteGuardRailResponse:
        """Take a guard rail away."""
        request_id = names.request_id(request.request_id)
        changed = await self._accounts.delete_guard_rail(
            call.caller, request.account, request.name, request.etag, request_id
        )
        return pb.DeleteGuardRailResponse(account=account(changed))


class PrincipalMethods:
    """The methods about principals."""

    def __init__(self, principals: Principals) -> None:
        self._principals = principals

    async def CreatePrincipal(
        self, request: pb.CreatePrincipalRequest, call: Call
    ) -> pb.CreatePrincipalResponse:
        """Make a principal."""
        wanted = NewPrincipal(
            arn=request.principal,
            description=request.description,
            tags=tuple((tag.key, tag.value) for tag in request.tags),
            trusted=request.trusted,
            trust_policy=request.trust_policy,
            max_session_seconds=request.max_session_seconds,
        )
        request_id = names.request_id(request.request_id)
        made = await self._principals.create(call.caller, wanted, request_id)
        return pb.CreatePrincipalResponse(principal=principal(made))

    async def DescribePrincipal(
        self, request: pb.DescribePrincipalRequest, call: Call
    ) -> pb.DescribePrincipalResponse:
        """Describe a principal."""
        found = await self._principals.describe(call.caller, request.principal)
        return pb.DescribePrincipalResponse(principal=principal(found))

    async def ListPrincipals(
        self, request: pb.ListPrincipalsRequest, call: Call
    ) -> pb.ListPrincipalsResponse:
        """List principals."""
        kind = convert.from_wire(PrincipalKind, request.kind, "kind")
        page = await self._principals.list_principals(
            call.caller, request.account, kind, request.page_size, request.page_token
        )
        principals = [principal(record) for record in page.principals]
        return pb.ListPrincipalsResponse(principals=principals, next_page_token=page.next_token)

    async def DeletePrincipal(
        self, request: pb.DeletePrincipalRequest, call: Call
    ) -> pb.DeletePrincipalResponse:
        """Remove a principal."""
        request_id = names.request_id(request.request_id)
        await self._principals.delete(call.caller, request.principal, request.etag, request_id)
        return pb.DeletePrincipalResponse()

    async def EnablePrincipal(
        self, request: pb.EnablePrincipalRequest, call: Call
    ) -> pb.EnablePrincipalResponse:
        """Let a principal call."""
        request_id = names.request_id(request.request_id)
        changed = await self._principals.enable(call.caller, request.principal, request.etag, request_id)
        return pb.EnablePrincipalResponse(principal=principal(changed))

    async def DisablePrincipal(
        self, request: pb.DisablePrincipalRequest, call: Call
    ) -> pb.DisablePrincipalResponse:
        """Shut a principal out."""
        request_id = names.request_id(request.request_id)
        changed = await self._principals.disable(call.caller, request.principal, request.etag, request_id)
        return pb.DisablePrincipalResponse(principal=principal(changed))

    async def TagPrincipal(self, request: pb.TagPrincipalRequest, call: Call) -> pb.TagPrincipalResponse:
        """Set tags."""
        tags = tuple((tag.key, tag.value) for tag in request.tags)
        request_id = names.request_id(request.request_id)
        changed = await self._principals.tag(call.caller, request.principal, tags, request.etag, request_id)
        return pb.TagPrincipalResponse(principal=principal(changed))

    async def UntagPrincipal(
        self, request: pb.UntagPrincipalRequest, call: Call
    ) -> pb.UntagPrincipalResponse:
        """Remove tags."""
        unwanted = tuple(request.tag_keys)
        request_id = names.request_id(request.request_id)
        changed = await self._principals.untag(
            call.caller, request.principal, unwanted, request.etag, request_id
        )
        return pb.UntagPrincipalResponse(principal=principal(changed))


class AttachmentMethods:
    """The methods about identity policies, trust policies and a role's sessions."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments

    async def PutIdentityPolicy(
        self, request: pb.PutIdentityPolicyRequest, call: Call
    ) -> pb.PutIdentityPolicyResponse:
        """Attach an identity policy."""
        changed = await self._attachments.put_policy(
            call.caller,
            request.principal,
            request.name,
            request.policy,
            request.etag,
            names.request_id(request.request_id),
        )
        return pb.PutIdentityPolicyResponse(principal=principal(changed))

    async def GetIdentityPolicy(
        self, request: pb.GetIdentityPolicyRequest, call: Call
    ) -> pb.GetIdentityPolicyResponse:
        """Read an identity policy."""
        found = await self._attachments.get_policy(call.caller, request.principal, request.name)
        return pb.GetIdentityPolicyResponse(policy=found.policy, etag=found.etag)

    async def ListIdentityPolicies(
        self, request: pb.ListIdentityPoliciesRequest, call: Call
    ) -> pb.ListIdentityPoliciesResponse:
        """List identity policies."""
        found = await self._attachments.list_policies(call.caller, request.principal)
        policies = [name for name, _ in found.policies]
        return pb.ListIdentityPoliciesResponse(names=policies, etag=str(found.row_version))

    async def DeleteIdentityPolicy(
        self, request: pb.DeleteIdentityPolicyRequest, call: Call
    ) -> pb.DeleteIdentityPolicyResponse:
        """Take an identity policy away."""
        request_id = names.request_id(request.request_id)
        changed = await self._attachments.delete_policy(
            call.caller, request.principal, request.name, request.etag, request_id
        )
        return pb.DeleteIdentityPolicyResponse(principal=principal(changed))

    async def PutTrustPolicy(
        self, request: pb.PutTrustPolicyRequest, call: Call
    ) -> pb.PutTrustPolicyResponse:
        """Say who may assume a role."""
        changed = await self._attachments.put_trust_policy(
            call.caller,
            request.principal,
            request.policy,
            request.max_session_seconds,
            request.etag,
            names.request_id(request.request_id),
        )
        return pb.PutTrustPolicyResponse(principal=principal(changed))

    async def RevokeRoleSessions(
        self, request: pb.RevokeRoleSessionsRequest, call: Call
    ) -> pb.RevokeRoleSessionsResponse:
        """End a role's sessions."""
        request_id = names.request_id(request.request_id)
        changed = await self._attachments.revoke_sessions(
            call.caller, request.principal, request.etag, request_id
        )
        return pb.RevokeRoleSessionsResponse(principal=principal(changed))


def account(record: AccountRecord) -> pb.Account:
    """Describe an account."""
    return pb.Account(
        account=record.account,
        description=record.description,
        created_time=convert.timestamp(record.created_at),
        root_arn=root_arn(record.account),
        guard_rails=[name for name, _ in record.guard_rails],
        etag=str(record.row_version),
    )


def principal(record: PrincipalRecord) -> pb.Principal:
    """Describe a principal."""
    return pb.Principal(
        arn=record.arn,
        account=record.account,
        kind=convert.to_wire(record.kind),
        unique_id=record.unique_id,
        enabled=record.state is PrincipalState.ENABLED,
        trusted=record.trusted,
        description=record.description,
        created_time=convert.timestamp(record.created_at),
        tags=convert.tags(record.tags),
        identity_policies=[name for name, _ in record.policies],
        trust_policy=record.trust_policy,
        max_session_seconds=record.max_session_seconds,
        etag=str(record.row_version),
    )
