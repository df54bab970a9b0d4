"""KeyStoreService: which keys an external key store uses, under which ids."""

from typing import Any, Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.v1 import key_stores_pb2 as pb


def _rpc(method: str) -> Rpc[Any, Any]:
    return Rpc("KeyStoreService", method, getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response"))


_ADD: Final = _rpc("AddExternalKey")
_DESCRIBE: Final = _rpc("DescribeExternalKey")
_LIST: Final = _rpc("ListExternalKeys")
_UPDATE: Final = _rpc("UpdateExternalKey")
_BLOCK: Final = _rpc("BlockExternalKey")
_UNBLOCK: Final = _rpc("UnblockExternalKey")
_REMOVE: Final = _rpc("RemoveExternalKey")


def add_external_key(  # noqa: PLR0913 - the fields of the request
    key_store: str,
    external_key_id: str,
    key: str,
    *,
    encrypts: bool = True,
    decrypts: bool = True,
    pinning: str = "",
    kms_key_arn: str = "",
    compatible: bool = False,
    request_id: str | None = None,
) -> Call[results.ExternalKey]:
    """Let an external key store use a key.

    Args:
        key_store: the store's id.
        external_key_id: AWS's XksKeyId, unique in the store.
        key: the key, which the caller must be allowed to make grants of.
        encrypts: whether the store may encrypt with it.
        decrypts: whether it may decrypt.
        pinning: a Pinning; empty for NONE.
        kms_key_arn: the KMS key, for the pinning FIXED.
        compatible: open ciphertexts of AWS's sample proxy, too.
        request_id: idempotency key; a fresh one by default.
    """
    request = _ADD.make(
        key_store=key_store,
        external_key_id=external_key_id,
        key=key,
        encrypts=encrypts,
        decrypts=decrypts,
        pinning=enums.PINNING.number(pinning, "pinning"),
        kms_key_arn=kms_key_arn,
        compatible=compatible,
        request_id=request_id,
    )
    return _ADD.call(request, _key)


def describe_external_key(key_store: str, external_key_id: str) -> Call[results.ExternalKey]:
    """Describe an external key."""
    request = _DESCRIBE.make(key_store=key_store, external_key_id=external_key_id)
    return _DESCRIBE.call(request, _key)


def list_external_keys(
    key_store: str, *, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.ExternalKey]]:
    """List a store's external keys."""
    request = _LIST.make(key_store=key_store, page_size=page_size, page_token=page_token)
    return _LIST.call(request, _keys)


def update_external_key(  # noqa: PLR0913 - the fields of the request
    key_store: str,
    external_key_id: str,
    *,
    encrypts: bool | None = None,
    decrypts: bool | None = None,
    pinning: str = "",
    kms_key_arn: str = "",
    compatible: bool | None = None,
    etag: str = "",
    request_id: str | None = None,
) -> Call[results.ExternalKey]:
    """Change what a store may do with a key, and its pinning; what is None or empty stays as it is.

    Args:
        key_store: the store's id.
        external_key_id: the external key.
        encrypts: whether the store may encrypt with it.
        decrypts: whether it may decrypt.
        pinning: a Pinning; FIRST_USE forgets which KMS key was the first.
        kms_key_arn: the KMS key, for the pinning FIXED.
        compatible: open ciphertexts of AWS's sample proxy, too.
        etag: refuse if it changed since this etag was read.
        request_id: idempotency key; a fresh one by default.
    """
    request = _UPDATE.make(
        key_store=key_store,
        external_key_id=external_key_id,
        encrypts=encrypts,
        decrypts=decrypts,
        pinning=enums.PINNING.number(pinning, "pinning"),
        kms_key_arn=kms_key_arn,
        compatible=compatible,
        etag=etag,
        request_id=request_id,
    )
    return _UPDATE.call(request, _key)


def block_external_key(
    key_store: str, external_key_id: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.ExternalKey]:
    """Have every use of a key by the store refused, within a second; AWS KMS hears that it is disabled."""
    request = _BLOCK.make(
        key_store=key_store, external_key_id=external_key_id, etag=etag, request_id=request_id
    )
    return _BLOCK.call(request, _key)


def unblock_external_key(
    key_store: str, external_key_id: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.ExternalKey]:
    """Let an external key be used again."""
    request = _UNBLOCK.make(
        key_store=key_store, external_key_id=external_key_id, etag=etag, request_id=request_id
    )
    return _UNBLOCK.call(request, _key)


def remove_external_key(
    key_store: str, external_key_id: str, *, etag: str = "", request_id: str | None = None
) -> Call[None]:
    """Take a key from a store; the key itself stays."""
    request = _REMOVE.make(
        key_store=key_store, external_key_id=external_key_id, etag=etag, request_id=request_id
    )
    return _REMOVE.call(request, lambda _: None)


def _key(reply: Any) -> results.ExternalKey:  # noqa: ANN401 - any answer that carries one external key
    return _read_key(reply.external_key)


def _read_key(found: pb.ExternalKey) -> results.ExternalKey:
    return results.ExternalKey(
        key_store=found.key_store,
        external_key_id=found.external_key_id,
        key_arn=found.key_arn,
        key_id=found.key_id,
        blocked=found.blocked,
        encrypts=found.encrypts,
        decrypts=found.decrypts,
        pinning=enums.PINNING.name(found.pinning),
        kms_key_arn=found.kms_key_arn,
        compatible=found.compatible,
        created_time=_read.time_of(found, "created_time"),
        etag=found.etag,
    )


def _keys(reply: pb.ListExternalKeysResponse) -> results.Page[results.ExternalKey]:
    return results.Page(tuple(map(_read_key, reply.external_keys)), reply.next_page_token)
