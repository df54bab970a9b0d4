"""AccessService on the wire."""

from strongroom.v1 import access_pb2 as pb
from strongroomd import __version__
from strongroomd.custody.access import Access
from strongroomd.domain.names import Realm
from strongroomd.frontends.grpc.door import Call


class AccessServicer:
    """Turns AccessService messages into use cases and back."""

    def __init__(self, access: Access, realm: Realm) -> None:
        self._access = access
        self._realm = realm

    async def GetCallerIdentity(
        self, _request: pb.GetCallerIdentityRequest, call: Call
    ) -> pb.GetCallerIdentityResponse:
        """Say who the caller is."""
        principal = await self._access.caller_identity(call.caller)
        return pb.GetCallerIdentityResponse(
            principal_arn=principal.arn,
            account=principal.account,
            certificate_sha256=call.peer.fingerprint,
            administrator=principal.administrator,
            daemon_version=__version__,
            region=self._realm.region,
        )
