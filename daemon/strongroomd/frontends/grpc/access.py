"""AccessService on the wire: who calls, roles, and the parts in `callers` and `credentials`."""

from dataclasses import dataclass

from strongroom.v1 import access_pb2 as pb
from strongroomd import __version__
from strongroomd.custody.access import Access
from strongroomd.custody.accesskeys import AccessKeys
from strongroomd.custody.accounts import Accounts
from strongroomd.custody.attachments import Attachments
from strongroomd.custody.identities import CertificateIdentities
from strongroomd.custody.principals import Principals
from strongroomd.domain.names import Realm
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.callers import AccountMethods, AttachmentMethods, PrincipalMethods
from strongroomd.frontends.grpc.credentials import AccessKeyMethods, IdentityMethods
from strongroomd.frontends.grpc.door import Call


@dataclass(frozen=True, slots=True)
class AccessRooms:
    """The use cases behind AccessService."""

    access: Access
    accounts: Accounts
    principals: Principals
    attachments: Attachments
    identities: CertificateIdentities
    access_keys: AccessKeys


class AccessServicer(AccountMethods, PrincipalMethods, AttachmentMethods, IdentityMethods, AccessKeyMethods):
    """Turns AccessService messages into use cases and back."""

    def __init__(self, rooms: AccessRooms, realm: Realm) -> None:
        AccountMethods.__init__(self, rooms.accounts)
        PrincipalMethods.__init__(self, rooms.principals)
        AttachmentMethods.__init__(self, rooms.attachments)
        IdentityMethods.__init__(self, rooms.identities)
        AccessKeyMethods.__init__(self, rooms.access_keys)
        self._access = rooms.access
        self._realm = realm

    async def GetCallerIdentity(
        self, _request: pb.GetCallerIdentityRequest, call: Call
    ) -> pb.GetCallerIdentityResponse:
        """Say who the caller is."""
        caller = await self._access.caller_identity(call.caller)
        principal, session, behalf = caller.principal, caller.session, caller.behalf
        return pb.GetCallerIdentityResponse(
            principal_arn=principal.arn,
            account=principal.account,
            certificate_sha256=call.peer.fingerprint,
            administrator=principal.administrator,
            daemon_version=__version__,
            region=self._realm.region,
            identity=caller.identity,
            operator=principal.operator,
            trusted=principal.trusted,
            session_arn=session.arn if session else "",
            session_source_arn=session.source if session else "",
            session_expire_time=convert.timestamp(session.expires_at) if session else None,
            via_service=behalf.via_service,
            caller_account=behalf.caller_account,
            source_principal=behalf.source_principal,
            source_arn=behalf.source_arn,
            source_account=behalf.source_account,
        )

    async def AssumeRole(self, request: pb.AssumeRoleRequest, call: Call) -> pb.AssumeRoleResponse:
        """Begin a role session."""
        assumed = await self._access.assume_role(
            call.caller, request.role, request.session_name, call.peer.fingerprint, request.duration_seconds
        )
        session = assumed.session
        return pb.AssumeRoleResponse(
            session_token=assumed.token,
            expire_time=convert.timestamp(session.expires_at),
            session_arn=session.arn,
            role_arn=session.role,
        )
