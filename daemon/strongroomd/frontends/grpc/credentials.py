"""AccessService on the wire: what principals prove themselves by."""

from strongroom.v1 import access_pb2 as pb
from strongroomd.custody.accesskeys import AccessKeys
from strongroomd.custody.identities import CertificateIdentities
from strongroomd.domain import names
from strongroomd.domain.accounts import (
    AccessKeyRecord,
    Fact,
    IdentityKind,
    IdentityRecord,
    dns_fact,
    subject_fact,
    uri_fact,
)
from strongroomd.domain.errors import invalid
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class IdentityMethods:
    """The methods about certificates."""

    def __init__(self, identities: CertificateIdentities) -> None:
        self._identities = identities

    async def AddIdentity(self, request: pb.AddIdentityRequest, call: Call) -> pb.AddIdentityResponse:
        """Add an identity."""
        request_id = names.request_id(request.request_id)
        added = await self._identities.add(call.caller, request.principal, _fact(request), request_id)
        return pb.AddIdentityResponse(identity=identity(added))

    async def RemoveIdentity(
        self, request: pb.RemoveIdentityRequest, call: Call
    ) -> pb.RemoveIdentityResponse:
        """Take an identity away."""
        request_id = names.request_id(request.request_id)
        await self._identities.remove(call.caller, request.principal, _fact(request), request_id)
        return pb.RemoveIdentityResponse()

    async def ListIdentities(
        self, request: pb.ListIdentitiesRequest, call: Call
    ) -> pb.ListIdentitiesResponse:
        """List identities."""
        found = await self._identities.list_identities(call.caller, request.principal)
        return pb.ListIdentitiesResponse(identities=[identity(record) for record in found])


class AccessKeyMethods:
    """The methods about access keys."""

    def __init__(self, access_keys: AccessKeys) -> None:
        self._access_keys = access_keys

    async def CreateAccessKey(
        self, request: pb.CreateAccessKeyRequest, call: Call
    ) -> pb.CreateAccessKeyResponse:
        """Make an access key."""
        request_id = names.request_id(request.request_id)
        made = await self._access_keys.create(call.caller, request.principal, request_id)
        return pb.CreateAccessKeyResponse(access_key=access_key(made.record), secret_access_key=made.secret)

    async def ListAccessKeys(
        self, request: pb.ListAccessKeysRequest, call: Call
    ) -> pb.ListAccessKeysResponse:
        """List access keys."""
        found = await self._access_keys.list_keys(call.caller, request.principal)
        return pb.ListAccessKeysResponse(access_keys=[access_key(k.record, k.last_used) for k in found])

    async def ActivateAccessKey(
        self, request: pb.ActivateAccessKeyRequest, call: Call
    ) -> pb.ActivateAccessKeyResponse:
        """Let an access key work."""
        request_id = names.request_id(request.request_id)
        changed = await self._access_keys.activate(
            call.caller, request.principal, request.access_key_id, request.etag, request_id
        )
        return pb.ActivateAccessKeyResponse(access_key=access_key(changed))

    async def DeactivateAccessKey(
        self, request: pb.DeactivateAccessKeyRequest, call: Call
    ) -> pb.DeactivateAccessKeyResponse:
        """Stop an access key."""
        request_id = names.request_id(request.request_id)
        changed = await self._access_keys.deactivate(
            call.caller, request.principal, request.access_key_id, request.etag, request_id
        )
        return pb.DeactivateAccessKeyResponse(access_key=access_key(changed))

    async def DeleteAccessKey(
        self, request: pb.DeleteAccessKeyRequest, call: Call
    ) -> pb.DeleteAccessKeyResponse:
        """Remove an access key."""
        request_id = names.request_id(request.request_id)
        await self._access_keys.delete(
            call.caller, request.principal, request.access_key_id, request.etag, request_id
        )
        return pb.DeleteAccessKeyResponse()


def _fact(request: pb.AddIdentityRequest | pb.RemoveIdentityRequest) -> Fact:
    match request.WhichOneof("fact"):
        case "uri":
            return uri_fact(request.uri)
        case "dns":
            return dns_fact(request.dns)
        case "subject":
            return subject_fact(request.subject.name, request.subject.issuer_spki_sha256, "subject.name")
    raise invalid("fact", "must be set")


def identity(record: IdentityRecord) -> pb.CertificateIdentity:
    """Describe an identity."""
    made = pb.CertificateIdentity(principal=record.arn, created_time=convert.timestamp(record.created_at))
    match record.identity_kind:
        case IdentityKind.URI:
            made.uri = record.value
        case IdentityKind.DNS:
            made.dns = record.value
        case IdentityKind.SUBJECT:
            made.subject.name, made.subject.issuer_spki_sha256 = record.value, record.issuer
    return made


def access_key(record: AccessKeyRecord, last_used: int = 0) -> pb.AccessKey:
    """Describe an access key, without its secret."""
    return pb.AccessKey(
        access_key_id=record.access_key_id,
        principal=record.arn,
        active=record.active,
        created_time=convert.timestamp(record.created_at),
        last_used_time=convert.timestamp(last_used),
        etag=str(record.row_version),
    )
