"""KeyService: aliases, tags and the policy of a key."""

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.calls.keys import tag_messages
from strongroom.v1 import keys_pb2 as pb

_SERVICE: Final = "KeyService"
_CREATE_ALIAS: Final = Rpc(_SERVICE, "CreateAlias", pb.CreateAliasRequest, pb.CreateAliasResponse)
_UPDATE_ALIAS: Final = Rpc(_SERVICE, "UpdateAlias", pb.UpdateAliasRequest, pb.UpdateAliasResponse)
_DELETE_ALIAS: Final = Rpc(_SERVICE, "DeleteAlias", pb.DeleteAliasRequest, pb.DeleteAliasResponse)
_LIST_ALIASES: Final = Rpc(_SERVICE, "ListAliases", pb.ListAliasesRequest, pb.ListAliasesResponse)
_TAG: Final = Rpc(_SERVICE, "TagKey", pb.TagKeyRequest, pb.TagKeyResponse)
_UNTAG: Final = Rpc(_SERVICE, "UntagKey", pb.UntagKeyRequest, pb.UntagKeyResponse)
_LIST_TAGS: Final = Rpc(_SERVICE, "ListTags", pb.ListTagsRequest, pb.ListTagsResponse)
_GET_POLICY: Final = Rpc(_SERVICE, "GetKeyPolicy", pb.GetKeyPolicyRequest, pb.GetKeyPolicyResponse)
_PUT_POLICY: Final = Rpc(_SERVICE, "PutKeyPolicy", pb.PutKeyPolicyRequest, pb.PutKeyPolicyResponse)


def create_alias(alias: str, key: str, *, request_id: str | None = None) -> Call[results.Alias]:
    """Give a key (id or ARN) a second name, `alias/...`."""
    request = _CREATE_ALIAS.make(alias=alias, key=key, request_id=request_id)
    return _CREATE_ALIAS.call(request, _alias)


def update_alias(
    alias: str, key: str, *, etag: str = "", request_id: str | None = None
) -> Call[results.Alias]:
    """Point an alias at another key (id or ARN) of the same usage and family."""
    request = _UPDATE_ALIAS.make(alias=alias, key=key, etag=etag, request_id=request_id)
    return _UPDATE_ALIAS.call(request, _alias)


def delete_alias(alias: str, *, etag: str = "", request_id: str | None = None) -> Call[None]:
    """Take a name away from its key; the key stays."""
    request = _DELETE_ALIAS.make(alias=alias, etag=etag, request_id=request_id)
    return _DELETE_ALIAS.call(request, _nothing)


def list_aliases(
    key: str = "", *, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.Alias]]:
    """List the aliases of one key, or of the caller's account, by name."""
    request = _LIST_ALIASES.make(key=key, page_size=page_size, page_token=page_token)
    return _LIST_ALIASES.call(request, _aliases)


def tag_key(
    key: str, tags: Mapping[str, str], *, etag: str = "", request_id: str | None = None
) -> Call[results.Tags]:
    """Set tags on a key; the answer holds all its tags."""
    request = _TAG.make(key=key, tags=tag_messages(tags), etag=etag, request_id=request_id)
    return _TAG.call(request, _tags)


def untag_key(
    key: str, tag_keys: Sequence[str], *, etag: str = "", request_id: str | None = None
) -> Call[results.Tags]:
    """Take tags off a key; the answer holds those that are left."""
    request = _UNTAG.make(key=key, tag_keys=tag_keys, etag=etag, request_id=request_id)
    return _UNTAG.call(request, _tags)


def list_tags(key: str) -> Call[results.Tags]:
    """List all tags of a key."""
    return _LIST_TAGS.call(_LIST_TAGS.make(key=key), _tags_alone)


def get_key_policy(key: str) -> Call[results.KeyPolicy]:
    """Read the policy of a key."""
    return _GET_POLICY.call(_GET_POLICY.make(key=key), _policy)


def put_key_policy(
    key: str,
    policy: str,
    *,
    bypass_policy_lockout_safety_check: bool = False,
    etag: str = "",
    request_id: str | None = None,
    approval_id: str = "",
) -> Call[results.Key]:
    """Replace the policy of a key, AWS policy JSON; in force in every worker within one second.

    Where it may loosen that of a protected key, it needs `approval_id`, an approved request for exactly this.
    """
    request = _PUT_POLICY.make(
        key=key,
        policy=policy,
        bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
        etag=etag,
        request_id=request_id,
        approval_id=approval_id,
    )
    return _PUT_POLICY.call(request, _key)


def _alias(reply: pb.CreateAliasResponse | pb.UpdateAliasResponse) -> results.Alias:
    return _read.alias(reply.alias)


def _aliases(reply: pb.ListAliasesResponse) -> results.Page[results.Alias]:
    return results.Page(tuple(_read.alias(found) for found in reply.aliases), reply.next_page_token)


def _nothing(_: pb.DeleteAliasResponse) -> None:
    return None


def _tags(reply: pb.TagKeyResponse | pb.UntagKeyResponse) -> results.Tags:
    return results.Tags({tag.key: tag.value for tag in reply.tags}, reply.etag)


def _tags_alone(reply: pb.ListTagsResponse) -> results.Tags:
    return results.Tags({tag.key: tag.value for tag in reply.tags})


def _policy(reply: pb.GetKeyPolicyResponse) -> results.KeyPolicy:
    return results.KeyPolicy(reply.policy, reply.etag)


def _key(reply: pb.PutKeyPolicyResponse) -> results.Key:
    return _read.key(reply.metadata)
