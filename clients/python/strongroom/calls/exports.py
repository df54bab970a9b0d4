"""ExportService: keys that leave under dual control, and registered wrapping keys."""

import dataclasses
from typing import Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.calls.approvals import read_receipt, read_request
from strongroom.v1 import export_pb2 as pb

_SERVICE: Final = "ExportService"
_REQUEST: Final = Rpc(_SERVICE, "RequestExport", pb.RequestExportRequest, pb.RequestExportResponse)
_EXECUTE: Final = Rpc(_SERVICE, "ExecuteExport", pb.ExecuteExportRequest, pb.ExecuteExportResponse)
_REGISTER: Final = Rpc(
    _SERVICE, "RegisterWrappingKey", pb.RegisterWrappingKeyRequest, pb.RegisterWrappingKeyResponse
)
_LIST: Final = Rpc(_SERVICE, "ListWrappingKeys", pb.ListWrappingKeysRequest, pb.ListWrappingKeysResponse)
_REMOVE: Final = Rpc(_SERVICE, "RemoveWrappingKey", pb.RemoveWrappingKeyRequest, pb.RemoveWrappingKeyResponse)


def request_export(  # noqa: PLR0913 - the fields of the request
    key: str,
    *,
    purpose: str,
    public_key: bytes = b"",
    wrapping_key_id: str = "",
    level: str = "",
    key_version: int = 0,
    lifetime_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.ApprovalRequest]:
    """Ask for an export, which then waits for approvals.

    Args:
        key: an exportable key.
        purpose: why, for the approvers.
        public_key: the recipient's RSA key, DER SubjectPublicKeyInfo; or else
        wrapping_key_id: a registered wrapping key.
        level: an ExportLevel; empty means TOKEN.
        key_version: 0 for the current one.
        lifetime_seconds: for how long it may wait; 0 is a day.
        request_id: idempotency key; a fresh one by default.
    """
    recipient: dict[str, object] = {"public_key": public_key} if public_key else {}
    if wrapping_key_id:
        recipient["wrapping_key_id"] = wrapping_key_id
    request = _REQUEST.make(
        key=key,
        key_version=key_version,
        level=enums.EXPORT_LEVEL.number(level, "level"),
        purpose=purpose,
        lifetime_seconds=lifetime_seconds,
        request_id=request_id,
        **recipient,
    )
    return _REQUEST.call(request, _request)


def execute_export(approval_id: str) -> Call[results.Export]:
    """Carry out an approved export; it works once, so the client never tries it again by itself."""
    call = _EXECUTE.call(_EXECUTE.make(approval_id=approval_id), _export)
    return dataclasses.replace(call, repeatable=False)


def register_wrapping_key(
    name: str, kind: str, public_key: bytes, approval_id: str, *, request_id: str | None = None
) -> Call[results.WrappingKey]:
    """Register a wrapping key, with an approved request for exactly this.

    Args:
        name: what people call it.
        kind: a WrappingKeyKind.
        public_key: DER SubjectPublicKeyInfo of the recipient's RSA key.
        approval_id: the approved request.
        request_id: idempotency key; a fresh one by default.
    """
    request = _REGISTER.make(
        name=name,
        kind=enums.WRAPPING_KEY_KIND.number(kind, "kind"),
        public_key=public_key,
        approval_id=approval_id,
        request_id=request_id,
    )
    return _REGISTER.call(request, _registered)


def list_wrapping_keys(
    *, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.WrappingKey]]:
    """List the account's wrapping keys."""
    return _LIST.call(_LIST.make(page_size=page_size, page_token=page_token), _wrapping_keys)


def remove_wrapping_key(wrapping_key_id: str, *, request_id: str | None = None) -> Call[None]:
    """Remove a wrapping key; requests that name it cannot be executed any more."""
    request = _REMOVE.make(wrapping_key_id=wrapping_key_id, request_id=request_id)
    return _REMOVE.call(request, _nothing)


def _request(reply: pb.RequestExportResponse) -> results.ApprovalRequest:
    return read_request(reply.request)


def _export(reply: pb.ExecuteExportResponse) -> results.Export:
    return results.Export(
        blob=reply.blob,
        algorithm=enums.EXPORT_ALGORITHM.name(reply.algorithm),
        level=enums.EXPORT_LEVEL.name(reply.level),
        key=reply.key,
        key_version=reply.key_version,
        length=reply.length,
        receipt=read_receipt(reply.receipt),
    )


def _registered(reply: pb.RegisterWrappingKeyResponse) -> results.WrappingKey:
    return _wrapping_key(reply.wrapping_key)


def _wrapping_key(found: pb.WrappingKey) -> results.WrappingKey:
    return results.WrappingKey(
        wrapping_key_id=found.wrapping_key_id,
        account=found.account,
        name=found.name,
        kind=enums.WRAPPING_KEY_KIND.name(found.kind),
        public_key=found.public_key,
        transport=found.transport,
        registered_by=found.registered_by,
        created_time=_read.time_of(found, "created_time"),
    )


def _wrapping_keys(reply: pb.ListWrappingKeysResponse) -> results.Page[results.WrappingKey]:
    return results.Page(tuple(_wrapping_key(each) for each in reply.wrapping_keys), reply.next_page_token)


def _nothing(_: pb.RemoveWrappingKeyResponse) -> None:
    return None
