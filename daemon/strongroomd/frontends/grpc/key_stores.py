"""KeyStoreService on the wire: key stores and their credentials."""

from typing import Final

from strongroom.v1 import key_stores_pb2 as pb
from strongroomd.custody.xks.credentials import Credentials, UsedCredential
from strongroomd.custody.xks.externalkeys import ExternalKeys
from strongroomd.custody.xks.stores import NO_RATE, StoreForm, Stores
from strongroomd.domain import names
from strongroomd.domain.quota import Rate, settle_rate
from strongroomd.domain.xks.names import store_arn
from strongroomd.domain.xks.records import CredentialRecord, StoreRecord
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call
from strongroomd.frontends.grpc.external_keys import ExternalKeyMethods

_LIMITS: Final = {"limit": "rate", "key_limit": "key_rate", "principal_limit": "principal_rate"}
"""Fields of requests, and those of the form."""


class StoreMethods:
    """The methods about stores."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def CreateKeyStore(
        self, request: pb.CreateKeyStoreRequest, call: Call
    ) -> pb.CreateKeyStoreResponse:
        """Make a store."""
        form = StoreForm(request.description, request.policy, **_rates(request))
        prefix = request.uri_prefix if request.HasField("uri_prefix") else None
        request_id = names.request_id(request.request_id)
        made = await self._stores.create(call.caller, request.account, prefix, form, request_id)
        return pb.CreateKeyStoreResponse(key_store=key_store(made))

    async def DescribeKeyStore(
        self, request: pb.DescribeKeyStoreRequest, call: Call
    ) -> pb.DescribeKeyStoreResponse:
        """Describe a store."""
        found = await self._stores.describe(call.caller, request.key_store)
        return pb.DescribeKeyStoreResponse(key_store=key_store(found))

    async def ListKeyStores(self, request: pb.ListKeyStoresRequest, call: Call) -> pb.ListKeyStoresResponse:
        """List stores."""
        page = await self._stores.list_stores(call.caller, request.page_size, request.page_token)
        return pb.ListKeyStoresResponse(
            key_stores=[key_store(record) for record in page.stores], next_page_token=page.next_token
        )

    async def UpdateKeyStore(
        self, request: pb.UpdateKeyStoreRequest, call: Call
    ) -> pb.UpdateKeyStoreResponse:
        """Change a store."""
        form = StoreForm(
            request.description if request.HasField("description") else None,
            request.policy if request.HasField("policy") else None,
            **_rates(request),
        )
        request_id = names.request_id(request.request_id)
        changed = await self._stores.update(call.caller, request.key_store, form, request.etag, request_id)
        return pb.UpdateKeyStoreResponse(key_store=key_store(changed))

    async def BlockKeyStore(self, request: pb.BlockKeyStoreRequest, call: Call) -> pb.BlockKeyStoreResponse:
        """Block a store."""
        request_id = names.request_id(request.request_id)
        changed = await self._stores.block(call.caller, request.key_store, request.etag, request_id)
        return pb.BlockKeyStoreResponse(key_store=key_store(changed))

    async def UnblockKeyStore(
        self, request: pb.UnblockKeyStoreRequest, call: Call
    ) -> pb.UnblockKeyStoreResponse:
        """Let a store work again."""
        request_id = names.request_id(request.request_id)
        changed = await self._stores.unblock(call.caller, request.key_store, request.etag, request_id)
        return pb.UnblockKeyStoreResponse(key_store=key_store(changed))

    async def DeleteKeyStore(
        self, request: pb.DeleteKeyStoreRequest, call: Call
    ) -> pb.DeleteKeyStoreResponse:
        """Remove a store."""
        request_id = names.request_id(request.request_id)
        await self._stores.delete(call.caller, request.key_store, request.etag, request_id)
        return pb.DeleteKeyStoreResponse()


class CredentialMethods:
    """The methods about credentials."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def CreateKeyStoreCredential(
        self, request: pb.CreateKeyStoreCredentialRequest, call: Call
    ) -> pb.CreateKeyStoreCredentialResponse:
        """Make a credential."""
        request_id = names.request_id(request.request_id)
        made = await self._credentials.create(call.caller, request.key_store, request_id)
        return pb.CreateKeyStoreCredentialResponse(
            credential=_credential(made.record), secret_access_key=made.secret, uri_prefix=made.uri_prefix
        )

    async def ListKeyStoreCredentials(
        self, request: pb.ListKeyStoreCredentialsRequest, call: Call
    ) -> pb.ListKeyStoreCredentialsResponse:
        """List credentials."""
        found = await self._credentials.list_credentials(call.caller, request.key_store)
        return pb.ListKeyStoreCredentialsResponse(credentials=[_used(each) for each in found])

    async def DeleteKeyStoreCredential(
        self, request: pb.DeleteKeyStoreCredentialRequest, call: Call
    ) -> pb.DeleteKeyStoreCredentialResponse:
        """Remove a credential."""
        request_id = names.request_id(request.request_id)
        await self._credentials.delete(call.caller, request.key_store, request.access_key_id, request_id)
        return pb.DeleteKeyStoreCredentialResponse()


class KeyStoreServicer(StoreMethods, CredentialMethods, ExternalKeyMethods):
    """Turns KeyStoreService messages into use cases and back."""

    def __init__(self, stores: Stores, credentials: Credentials, external_keys: ExternalKeys) -> None:
        StoreMethods.__init__(self, stores)
        CredentialMethods.__init__(self, credentials)
        ExternalKeyMethods.__init__(self, external_keys)


def _rates(request: pb.CreateKeyStoreRequest | pb.UpdateKeyStoreRequest) -> dict[str, Rate]:
    """Read the limits that a request has."""
    return {
        of_form: _rate(getattr(request, name), f"{name}.")
        for name, of_form in _LIMITS.items()
        if request.HasField(name)  # type: ignore[arg-type]  # the stubs want literals
    }


def _rate(limit: pb.RequestLimit, within: str) -> Rate:
    """Check a limit; both numbers 0 mean none."""
    if not limit.per_second and not limit.burst:
        return NO_RATE
    return settle_rate(limit.per_second, limit.burst, within)


def key_store(record: StoreRecord) -> pb.KeyStore:
    """Describe a store."""
    return pb.KeyStore(
        key_store_id=record.store_id,
        arn=store_arn(record.account, record.store_id),
        account=record.account,
        uri_prefix=record.uri_prefix,
        description=record.description,
        blocked=record.blocked,
        policy=record.policy,
        limit=pb.RequestLimit(per_second=record.per_second, burst=record.burst),
        key_limit=pb.RequestLimit(per_second=record.key_per_second, burst=record.key_burst),
        principal_limit=pb.RequestLimit(per_second=record.principal_per_second, burst=record.principal_burst),
        created_time=convert.timestamp(record.created_at),
        etag=str(record.row_version),
    )


def _used(found: UsedCredential) -> pb.KeyStoreCredential:
    return _credential(found.record, found.last_used)


def _credential(record: CredentialRecord, last_used: int = 0) -> pb.KeyStoreCredential:
    """Describe a credential, without its secret."""
    return pb.KeyStoreCredential(
        access_key_id=record.access_key_id,
        key_store=record.store_id,
        created_time=convert.timestamp(record.created_at),
        last_used_time=convert.timestamp(last_used),
    )
