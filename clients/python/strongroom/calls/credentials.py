"""AccessService: what principals prove themselves by, and the roles that they assume."""

from typing import Any, Final

from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.errors import invalid
from strongroom.v1 import access_pb2 as pb


def _rpc(method: str) -> Rpc[Any, Any]:
    return Rpc("AccessService", method, getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response"))


_ADD: Final = _rpc("AddIdentity")
_REMOVE: Final = _rpc("RemoveIdentity")
_LIST: Final = _rpc("ListIdentities")
_CREATE_KEY: Final = _rpc("CreateAccessKey")
_LIST_KEYS: Final = _rpc("ListAccessKeys")
_ACTIVATE: Final = _rpc("ActivateAccessKey")
_DEACTIVATE: Final = _rpc("DeactivateAccessKey")
_DELETE_KEY: Final = _rpc("DeleteAccessKey")
_ASSUME: Final = _rpc("AssumeRole")


def add_identity(
    principal: str,
    *,
    uri: str = "",
    dns: str = "",
    subject: str = "",
    issuer_spki_sha256: str = "",
    request_id: str | None = None,
) -> Call[results.CertificateIdentity]:
    """Let certificates speak for a principal: by a URI, a DNS name, or a subject and its issuer's key."""
    fact = _fact(uri, dns, subject, issuer_spki_sha256)
    request = _ADD.make(principal=principal, request_id=request_id, **fact)
    return _ADD.call(request, lambda reply: _identity(reply.identity))


def remove_identity(
    principal: str,
    *,
    uri: str = "",
    dns: str = "",
    subject: str = "",
    issuer_spki_sha256: str = "",
    request_id: str | None = None,
) -> Call[None]:
    """Take an identity away; within a second certificates with it are nobody's."""
    fact = _fact(uri, dns, subject, issuer_spki_sha256)
    return _REMOVE.call(_REMOVE.make(principal=principal, request_id=request_id, **fact), lambda _: None)


def list_identities(principal: str) -> Call[tuple[results.CertificateIdentity, ...]]:
    """List a principal's identities, without those of the daemon's configuration."""
    return _LIST.call(_LIST.make(principal=principal), lambda reply: tuple(map(_identity, reply.identities)))


def create_access_key(principal: str, *, request_id: str | None = None) -> Call[results.NewAccessKey]:
    """Make an access key; its secret is in this answer and nowhere else."""
    request = _CREATE_KEY.make(principal=principal, request_id=request_id)
    return _CREATE_KEY.call(request, _new_key)


def list_access_keys(principal: str) -> Call[tuple[results.AccessKey, ...]]:
    """List a principal's access keys, without secrets."""
    return _LIST_KEYS.call(
        _LIST_KEYS.make(principal=principal), lambda reply: tuple(map(_key, reply.access_keys))
    )


def activate_access_key(
    principal: str, access_key_id: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.AccessKey]:
    """Let an access key work again."""
    request = _ACTIVATE.make(
        principal=principal, access_key_id=access_key_id, etag=etag, request_id=request_id
    )
    return _ACTIVATE.call(request, lambda reply: _key(reply.access_key))


def deactivate_access_key(
    principal: str, access_key_id: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.AccessKey]:
    """Stop an access key."""
    request = _DEACTIVATE.make(
        principal=principal, access_key_id=access_key_id, etag=etag, request_id=request_id
    )
    return _DEACTIVATE.call(request, lambda reply: _key(reply.access_key))


def delete_access_key(
    principal: str, access_key_id: str, *, etag: str = "", request_id: str | None = None
) -> Call[None]:
    """Remove an access key for ever."""
    request = _DELETE_KEY.make(
        principal=principal, access_key_id=access_key_id, etag=etag, request_id=request_id
    )
    return _DELETE_KEY.call(request, lambda _: None)


def assume_role(role: str, session_name: str, *, duration_seconds: int = 0) -> Call[results.RoleSession]:
    """Begin a session of a role; `Client.with_session` uses its token. 0 seconds mean an hour at most."""
    request = _ASSUME.make(role=role, session_name=session_name, duration_seconds=duration_seconds)
    return _ASSUME.call(request, _session)


def _fact(uri: str, dns: str, subject: str, issuer: str) -> dict[str, object]:
    given = [name for name, value in (("uri", uri), ("dns", dns), ("subject", subject)) if value]
    if len(given) != 1 or bool(subject) != bool(issuer):
        raise invalid("fact", "must be one of uri, dns, and subject with issuer_spki_sha256")
    if subject:
        return {"subject": pb.CertificateSubject(name=subject, issuer_spki_sha256=issuer)}
    return {"uri": uri} if uri else {"dns": dns}


def _identity(found: pb.CertificateIdentity) -> results.CertificateIdentity:
    return results.CertificateIdentity(
        principal=found.principal,
        uri=found.uri,
        dns=found.dns,
        subject=found.subject.name,
        issuer_spki_sha256=found.subject.issuer_spki_sha256,
        created_time=_read.time_of(found, "created_time"),
    )


def _key(found: pb.AccessKey) -> results.AccessKey:
    return results.AccessKey(
        access_key_id=found.access_key_id,
        principal=found.principal,
        active=found.active,
        created_time=_read.time_of(found, "created_time"),
        last_used_time=_read.time_of(found, "last_used_time"),
        etag=found.etag,
    )


def _new_key(reply: pb.CreateAccessKeyResponse) -> results.NewAccessKey:
    return results.NewAccessKey(_key(reply.access_key), reply.secret_access_key)


def _session(reply: pb.AssumeRoleResponse) -> results.RoleSession:
    return results.RoleSession(
        session_token=reply.session_token,
        expire_time=_read.time_of(reply, "expire_time"),
        session_arn=reply.session_arn,
        role_arn=reply.role_arn,
    )
