"""KeyStoreService: external key stores and their credentials."""

from typing import Any, Final

from strongroom import results
from strongroom._rpc import Call, Rpc, make
from strongroom.calls import _read
from strongroom.v1 import key_stores_pb2 as pb


def _rpc(method: str) -> Rpc[Any, Any]:
    return Rpc("KeyStoreService", method, getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response"))


_CREATE: Final = _rpc("CreateKeyStore")
_DESCRIBE: Final = _rpc("DescribeKeyStore")
_LIST: Final = _rpc("ListKeyStores")
_UPDATE: Final = _rpc("UpdateKeyStore")
_BLOCK: Final = _rpc("BlockKeyStore")
_UNBLOCK: Final = _rpc("UnblockKeyStore")
_DELETE: Final = _rpc("DeleteKeyStore")
_CREATE_CREDENTIAL: Final = _rpc("CreateKeyStoreCredential")
_LIST_CREDENTIALS: Final = _rpc("ListKeyStoreCredentials")
_DELETE_CREDENTIAL: Final = _rpc("DeleteKeyStoreCredential")


def create_key_store(  # noqa: PLR0913 - the fields of the request
    *,
    account: str = "",
    uri_prefix: str | None = None,
    description: str = "",
    policy: str = "",
    limit: results.RequestLimit | None = None,
    key_limit: results.RequestLimit | None = None,
    principal_limit: results.RequestLimit | None = None,
    request_id: str | None = None,
) -> Call[results.KeyStore]:
    """Make an external key store, without credentials and external keys.

    Args:
        account: whose; empty for the caller's own.
        uri_prefix: what stands before /kms/xks/v1 in its URIs; None for a slash and the store's id.
        description: words for people.
        policy: who among AWS's callers may do what, JSON; empty: whoever AWS KMS signs for.
        limit: of all requests together.
        key_limit: of the requests to each external key.
        principal_limit: of the requests that each AWS principal causes.
        request_id: idempotency key; a fresh one by default.
    """
    request = _CREATE.make(
        account=account,
        uri_prefix=uri_prefix,
        description=description,
        policy=policy,
        limit=_limit(limit),
        key_limit=_limit(key_limit),
        principal_limit=_limit(principal_limit),
        request_id=request_id,
    )
    return _CREATE.call(request, _store)


def describe_key_store(key_store: str) -> Call[results.KeyStore]:
    """Describe an external key store by its id."""
    return _DESCRIBE.call(_DESCRIBE.make(key_store=key_store), _store)


def list_key_stores(*, page_size: int = 0, page_token: str = "") -> Call[results.Page[results.KeyStore]]:
    """List the external key stores that the caller administers."""
    return _LIST.call(_LIST.make(page_size=page_size, page_token=page_token), _stores)


def update_key_store(  # noqa: PLR0913 - the fields of the request
    key_store: str,
    *,
    description: str | None = None,
    policy: str | None = None,
    limit: results.RequestLimit | None = None,
    key_limit: results.RequestLimit | None = None,
    principal_limit: results.RequestLimit | None = None,
    etag: str = "",
    request_id: str | None = None,
) -> Call[results.KeyStore]:
    """Change an external key store; what is None stays as it is.

    Args:
        key_store: its id.
        description: words for people.
        policy: who among AWS's callers may do what, JSON; empty takes the policy away.
        limit: of all requests together; RequestLimit() takes it away, as it does those below.
        key_limit: of the requests to each external key.
        principal_limit: of the requests that each AWS principal causes.
        etag: refuse if it changed since this etag was read.
        request_id: idempotency key; a fresh one by default.
    """
    request = _UPDATE.make(
        key_store=key_store,
        description=description,
        policy=policy,
        limit=_limit(limit),
        key_limit=_limit(key_limit),
        principal_limit=_limit(principal_limit),
        etag=etag,
        request_id=request_id,
    )
    return _UPDATE.call(request, _store)


def block_key_store(
    key_store: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.KeyStore]:
    """Have every request to an external key store refused, within a second: the kill switch."""
    return _BLOCK.call(_BLOCK.make(key_store=key_store, etag=etag, request_id=request_id), _store)


def unblock_key_store(
    key_store: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.KeyStore]:
    """Let an external key store work again."""
    return _UNBLOCK.call(_UNBLOCK.make(key_store=key_store, etag=etag, request_id=request_id), _store)


def delete_key_store(key_store: str, *, etag: str = "", request_id: str | None = None) -> Call[None]:
    """Remove an external key store, which has no external keys any more, with its credentials."""
    request = _DELETE.make(key_store=key_store, etag=etag, request_id=request_id)
    return _DELETE.call(request, lambda _: None)


def create_key_store_credential(
    key_store: str, *, request_id: str | None = None
) -> Call[results.NewKeyStoreCredential]:
    """Make a credential for AWS KMS; its secret is in this answer and nowhere else."""
    request = _CREATE_CREDENTIAL.make(key_store=key_store, request_id=request_id)
    return _CREATE_CREDENTIAL.call(request, _new_credential)


def list_key_store_credentials(key_store: str) -> Call[tuple[results.KeyStoreCredential, ...]]:
    """List a store's credentials, without secrets."""
    return _LIST_CREDENTIALS.call(
        _LIST_CREDENTIALS.make(key_store=key_store),
        lambda reply: tuple(map(_credential, reply.credentials)),
    )


def delete_key_store_credential(
    key_store: str, access_key_id: str, *, request_id: str | None = None
) -> Call[None]:
    """Remove a credential: within a second what it signs is refused."""
    request = _DELETE_CREDENTIAL.make(key_store=key_store, access_key_id=access_key_id, request_id=request_id)
    return _DELETE_CREDENTIAL.call(request, lambda _: None)


def _limit(limit: results.RequestLimit | None) -> pb.RequestLimit | None:
    return None if limit is None else make(pb.RequestLimit, per_second=limit.per_second, burst=limit.burst)


def _store(reply: Any) -> results.KeyStore:  # noqa: ANN401 - any answer that carries one store
    return _read_store(reply.key_store)


def _read_store(found: pb.KeyStore) -> results.KeyStore:
    return results.KeyStore(
        key_store_id=found.key_store_id,
        arn=found.arn,
        account=found.account,
        uri_prefix=found.uri_prefix,
        description=found.description,
        blocked=found.blocked,
        policy=found.policy,
        limit=_read_limit(found.limit),
        key_limit=_read_limit(found.key_limit),
        principal_limit=_read_limit(found.principal_limit),
        created_time=_read.time_of(found, "created_time"),
        etag=found.etag,
    )


def _read_limit(found: pb.RequestLimit) -> results.RequestLimit:
    return results.RequestLimit(found.per_second, found.burst)


def _stores(reply: pb.ListKeyStoresResponse) -> results.Page[results.KeyStore]:
    return results.Page(tuple(map(_read_store, reply.key_stores)), reply.next_page_token)


def _credential(found: pb.KeyStoreCredential) -> results.KeyStoreCredential:
    return results.KeyStoreCredential(
        access_key_id=found.access_key_id,
        key_store=found.key_store,
        created_time=_read.time_of(found, "created_time"),
        last_used_time=_read.time_of(found, "last_used_time"),
    )


def _new_credential(reply: pb.CreateKeyStoreCredentialResponse) -> results.NewKeyStoreCredential:
    return results.NewKeyStoreCredential(
        _credential(reply.credential), reply.uri_prefix, reply.secret_access_key
    )
