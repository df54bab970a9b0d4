"""KeyService: making keys and their life, versions and use counts."""

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc, make
from strongroom.calls import _read
from strongroom.v1 import keys_pb2 as pb
from strongroom.v1 import types_pb2

_SERVICE: Final = "KeyService"
_CREATE: Final = Rpc(_SERVICE, "CreateKey", pb.CreateKeyRequest, pb.CreateKeyResponse)
_ADOPT: Final = Rpc(_SERVICE, "AdoptKey", pb.AdoptKeyRequest, pb.AdoptKeyResponse)
_DESCRIBE: Final = Rpc(_SERVICE, "DescribeKey", pb.DescribeKeyRequest, pb.DescribeKeyResponse)
_LIST: Final = Rpc(_SERVICE, "ListKeys", pb.ListKeysRequest, pb.ListKeysResponse)
_UPDATE: Final = Rpc(
    _SERVICE, "UpdateKeyDescription", pb.UpdateKeyDescriptionRequest, pb.UpdateKeyDescriptionResponse
)
_ENABLE: Final = Rpc(_SERVICE, "EnableKey", pb.EnableKeyRequest, pb.EnableKeyResponse)
_DISABLE: Final = Rpc(_SERVICE, "DisableKey", pb.DisableKeyRequest, pb.DisableKeyResponse)
_SCHEDULE: Final = Rpc(
    _SERVICE, "ScheduleKeyDeletion", pb.ScheduleKeyDeletionRequest, pb.ScheduleKeyDeletionResponse
)
_CANCEL: Final = Rpc(_SERVICE, "CancelKeyDeletion", pb.CancelKeyDeletionRequest, pb.CancelKeyDeletionResponse)
_ROTATE: Final = Rpc(_SERVICE, "RotateKey", pb.RotateKeyRequest, pb.RotateKeyResponse)
_VERSIONS: Final = Rpc(_SERVICE, "ListKeyVersions", pb.ListKeyVersionsRequest, pb.ListKeyVersionsResponse)
_ENABLE_ROTATION: Final = Rpc(
    _SERVICE, "EnableKeyRotation", pb.EnableKeyRotationRequest, pb.EnableKeyRotationResponse
)
_DISABLE_ROTATION: Final = Rpc(
    _SERVICE, "DisableKeyRotation", pb.DisableKeyRotationRequest, pb.DisableKeyRotationResponse
)
_ROTATION: Final = Rpc(
    _SERVICE, "GetKeyRotationStatus", pb.GetKeyRotationStatusRequest, pb.GetKeyRotationStatusResponse
)
_ROTATIONS: Final = Rpc(_SERVICE, "ListKeyRotations", pb.ListKeyRotationsRequest, pb.ListKeyRotationsResponse)
_PUBLIC_KEY: Final = Rpc(_SERVICE, "GetPublicKey", pb.GetPublicKeyRequest, pb.GetPublicKeyResponse)
_USAGE: Final = Rpc(_SERVICE, "GetKeyUsage", pb.GetKeyUsageRequest, pb.GetKeyUsageResponse)

_Described = (
    pb.CreateKeyResponse
    | pb.AdoptKeyResponse
    | pb.DescribeKeyResponse
    | pb.UpdateKeyDescriptionResponse
    | pb.EnableKeyResponse
    | pb.DisableKeyResponse
    | pb.ScheduleKeyDeletionResponse
    | pb.CancelKeyDeletionResponse
    | pb.RotateKeyResponse
)


def create_key(  # noqa: PLR0913 - the fields of the request
    *,
    spec: str = "",
    usage: str = "",
    custody_mode: str = "",
    exportable: bool = False,
    description: str = "",
    policy: str = "",
    tags: Mapping[str, str] | None = None,
    bypass_policy_lockout_safety_check: bool = False,
    request_id: str | None = None,
    token: str = "",
    quorum: int = 0,
    origin: str = "",
    multi_region: bool = False,
) -> Call[results.Key]:
    """Make a key inside the HSM, or with origin EXTERNAL one whose material is to be imported.

    Args:
        spec: a KeySpec; empty means SYMMETRIC_DEFAULT.
        usage: a KeyUsage; may be left empty where the spec allows one only (not RSA or the NIST curves).
        custody_mode: a CustodyMode; empty lets the daemon choose and say why in `custody_note`.
        exportable: whether the secret half may later leave under dual control; fixed for ever.
        description: free text, at most 8,192 characters; not secret.
        policy: key policy as AWS policy JSON; empty means the default policy of the daemon.
        tags: names and values, at most 50.
        bypass_policy_lockout_safety_check: allow a policy that locks the caller out.
        request_id: None makes a fresh one, so that a repeated attempt never makes a second key.
        token: where the key shall live: `main`, or the name of another token; empty for the daemon's default.
        quorum: how many must approve what dual control guards of it, 1 to 8, fixed for ever; 0: the account's
            if it is exportable, else it is not protected.
        origin: a KeyOrigin: HSM, which empty means, or EXTERNAL.
        multi_region: whether it can be replicated to the account's peers; fixed for ever.
    """
    request = _CREATE.make(
        key_spec=enums.KEY_SPEC.number(spec, "key_spec"),
        key_usage=enums.KEY_USAGE.number(usage, "key_usage"),
        custody_mode=enums.CUSTODY_MODE.number(custody_mode, "custody_mode"),
        exportable=exportable,
        description=description,
        policy=policy,
        bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
        tags=tag_messages(tags or {}),
        request_id=request_id,
        token=token,
        quorum=quorum,
        origin=enums.KEY_ORIGIN.number(origin, "origin"),
        multi_region=multi_region,
    )
    return _CREATE.call(request, _key)


def adopt_key(  # noqa: PLR0913 - the fields of the request
    *,
    cka_id: str = "",
    label: str = "",
    token: str = "",
    key: str = "",
    etag: str = "",
    description: str = "",
    policy: str = "",
    tags: Mapping[str, str] | None = None,
    bypass_policy_lockout_safety_check: bool = False,
    request_id: str | None = None,
) -> Call[results.Key]:
    """Make a key of an object that was in the token before the daemon; the object is never changed.

    Args:
        cka_id: the object's CKA_ID in hexadecimal digits; or else
        label: its CKA_LABEL.
        token: where it is: `main`, or the name of another token; empty for the default, or the key's own.
        key: an adopted key, whose next version it shall become; empty for a new key.
        etag: with `key`, only if nothing came between.
        description: free text, at most 8,192 characters; not secret.
        policy: key policy as AWS policy JSON; empty means the default policy of the daemon.
        tags: names and values, at most 50.
        bypass_policy_lockout_safety_check: allow a policy that locks the caller out.
        request_id: None makes a fresh one, so that a repeated attempt never makes a second key.
    """
    request = _ADOPT.make(
        cka_id=cka_id,
        label=label,
        token=token,
        key=key,
        etag=etag,
        description=description,
        policy=policy,
        bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
        tags=tag_messages(tags or {}),
        request_id=request_id,
    )
    return _ADOPT.call(request, _key)


def describe_key(key: str, *, grant_tokens: Sequence[str] = ()) -> Call[results.Key]:
    """Describe one key, in any state; `key` is a key id, key ARN, alias or alias ARN."""
    return _DESCRIBE.call(_DESCRIBE.make(key=key, grant_tokens=grant_tokens), _key)


def list_keys(
    *,
    state: str = "",
    spec: str = "",
    key_manager: str = "",
    tag_key: str = "",
    tag_value: str | None = None,
    page_size: int = 0,
    page_token: str = "",
) -> Call[results.Page[results.Key]]:
    """List the keys of the caller's account; filters narrow each other, empty ones match everything."""
    request = _LIST.make(
        page_size=page_size,
        page_token=page_token,
        state=enums.KEY_STATE.number(state, "state"),
        key_spec=enums.KEY_SPEC.number(spec, "key_spec"),
        key_manager=enums.KEY_MANAGER.number(key_manager, "key_manager"),
        tag_key=tag_key,
        tag_value=tag_value,
    )
    return _LIST.call(request, _keys)


def update_key_description(
    key: str, description: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Key]:
    """Replace the description of a key; with `etag`, only if nothing came between."""
    request = _UPDATE.make(key=key, description=description, etag=etag, request_id=request_id)
    return _UPDATE.call(request, _key)


def enable_key(key: str, *, etag: str = "", request_id: str | None = None) -> Call[results.Key]:
    """Switch a disabled key on."""
    return _ENABLE.call(_ENABLE.make(key=key, etag=etag, request_id=request_id), _key)


def disable_key(key: str, *, etag: str = "", request_id: str | None = None) -> Call[results.Key]:
    """Switch a key off: within one second no worker uses it any more."""
    return _DISABLE.call(_DISABLE.make(key=key, etag=etag, request_id=request_id), _key)


def schedule_key_deletion(
    key: str,
    *,
    pending_window_days: int = 0,
    etag: str = "",
    request_id: str | None = None,
    approval_id: str = "",
) -> Call[results.Key]:
    """Have a key destroyed after 7 to 30 days (0 means 30), in which it cannot be used.

    A protected key needs `approval_id`, an approved request for exactly this.
    """
    request = _SCHEDULE.make(
        key=key,
        pending_window_days=pending_window_days,
        etag=etag,
        request_id=request_id,
        approval_id=approval_id,
    )
    return _SCHEDULE.call(request, _key)


def cancel_key_deletion(key: str, *, etag: str = "", request_id: str | None = None) -> Call[results.Key]:
    """Call a scheduled deletion off; the key is left DISABLED."""
    return _CANCEL.call(_CANCEL.make(key=key, etag=etag, request_id=request_id), _key)


def rotate_key(key: str, *, etag: str = "", request_id: str | None = None) -> Call[results.Key]:
    """Make a new version of the key's material and make it current; old versions still decrypt and verify."""
    return _ROTATE.call(_ROTATE.make(key=key, etag=etag, request_id=request_id), _key)


def enable_key_rotation(
    key: str, *, rotation_period_days: int = 0, request_id: str | None = None
) -> Call[results.RotationPlan]:
    """Have a symmetric key rotated automatically every 90 to 2,560 days (0 means 365)."""
    request = _ENABLE_ROTATION.make(key=key, rotation_period_days=rotation_period_days, request_id=request_id)
    return _ENABLE_ROTATION.call(request, _plan)


def disable_key_rotation(key: str, *, request_id: str | None = None) -> Call[None]:
    """Have a key rotated automatically no more; its versions stay."""
    return _DISABLE_ROTATION.call(_DISABLE_ROTATION.make(key=key, request_id=request_id), _nothing)


def get_key_rotation_status(key: str) -> Call[results.RotationStatus]:
    """Say whether, how often and when next a key is rotated."""
    return _ROTATION.call(_ROTATION.make(key=key), _rotation_status)


def list_key_rotations(
    key: str, *, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.Rotation]]:
    """List the rotations of a key, oldest first: every version but the first."""
    return _ROTATIONS.call(_ROTATIONS.make(key=key, page_size=page_size, page_token=page_token), _rotations)


def list_key_versions(
    key: str, *, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.KeyVersion]]:
    """List the versions of a key, oldest first."""
    return _VERSIONS.call(_VERSIONS.make(key=key, page_size=page_size, page_token=page_token), _versions)


def get_public_key(
    key: str, *, key_version: int = 0, grant_tokens: Sequence[str] = ()
) -> Call[results.PublicKey]:
    """Read the public half of an RSA or curve key; version 0 means the current one."""
    return _PUBLIC_KEY.call(
        _PUBLIC_KEY.make(key=key, key_version=key_version, grant_tokens=grant_tokens), _public_key
    )


def get_key_usage(key: str) -> Call[results.UsageReport]:
    """Say when a key was last used, and how often. Counts may lag by some seconds."""
    return _USAGE.call(_USAGE.make(key=key), _usage)


def tag_messages(tags: Mapping[str, str]) -> list[types_pb2.Tag]:
    """Make the messages of some tags."""
    return [make(types_pb2.Tag, key=name, value=value) for name, value in tags.items()]


def _key(reply: _Described) -> results.Key:
    return _read.key(reply.metadata)


def _keys(reply: pb.ListKeysResponse) -> results.Page[results.Key]:
    return results.Page(tuple(_read.key(found) for found in reply.keys), reply.next_page_token)


def _plan(reply: pb.EnableKeyRotationResponse) -> results.RotationPlan:
    return results.RotationPlan(reply.rotation_period_days, _read.time_of(reply, "next_rotation_time"))


def _nothing(_: pb.DisableKeyRotationResponse) -> None:
    return None


def _rotation_status(reply: pb.GetKeyRotationStatusResponse) -> results.RotationStatus:
    return results.RotationStatus(
        key_arn=reply.key_arn,
        rotation_enabled=reply.rotation_enabled,
        rotation_period_days=reply.rotation_period_days,
        next_rotation_time=_read.time_of(reply, "next_rotation_time"),
        on_demand_rotations=reply.on_demand_rotations,
        current_version=reply.current_version,
        current_version_time=_read.time_of(reply, "current_version_time"),
    )


def _rotations(reply: pb.ListKeyRotationsResponse) -> results.Page[results.Rotation]:
    found = (
        results.Rotation(
            each.version, _read.time_of(each, "time"), enums.ROTATION_TYPE.name(each.type), each.current
        )
        for each in reply.rotations
    )
    return results.Page(tuple(found), reply.next_page_token)


def _versions(reply: pb.ListKeyVersionsResponse) -> results.Page[results.KeyVersion]:
    found = (
        results.KeyVersion(
            each.version,
            _read.time_of(each, "created_time"),
            each.current,
            each.ciphertext_format,
            _read.adopted_object(each),
            _read.imported_material(each),
            each.pending_rotation,
        )
        for each in reply.versions
    )
    return results.Page(tuple(found), reply.next_page_token)


def _public_key(reply: pb.GetPublicKeyResponse) -> results.PublicKey:
    return results.PublicKey(
        key_arn=reply.key_arn,
        key_version=reply.key_version,
        public_key=reply.public_key,
        public_key_pem=reply.public_key_pem,
        spec=enums.KEY_SPEC.name(reply.key_spec),
        usage=enums.KEY_USAGE.name(reply.key_usage),
        encryption_algorithms=enums.ENCRYPTION.all(reply.encryption_algorithms),
        signing_algorithms=enums.SIGNING.all(reply.signing_algorithms),
        key_agreement_algorithms=enums.KEY_AGREEMENT.all(reply.key_agreement_algorithms),
    )


def _usage(reply: pb.GetKeyUsageResponse) -> results.UsageReport:
    return results.UsageReport(
        key_arn=reply.key_arn,
        last_used_time=_read.time_of(reply, "last_used_time"),
        last_operation=reply.last_operation,
        tracking_start_time=_read.time_of(reply, "tracking_start_time"),
        operation_counts={each.operation: each.count for each in reply.operation_counts},
    )
