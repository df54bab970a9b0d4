"""`strongroom xks key`: which keys an external key store uses."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.inputs import Etag, KeyArgument, Limit, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected
from strongroom.errors import error
from strongroom.names import Pinning

if TYPE_CHECKING:
    from strongroom.client import Client

app = typer.Typer(help="The keys of a key store.", no_args_is_help=True)

Store = Annotated[str, typer.Argument(help="The store's id, xks-..., or its prefix, /...", metavar="STORE")]
Id = Annotated[str, typer.Argument(help="The external key id; AWS: XksKeyId.", metavar="ID")]
Pin = Annotated[
    Pinning | None,
    typer.Option("--pin", help="To which KMS key it is bound.", case_sensitive=False),
]
KmsKey = Annotated[str, typer.Option("--kms-key", help="The KMS key, with --pin fixed.", metavar="ARN")]
_COLUMNS = {
    "id": "external_key_id",
    "key": "key_arn",
    "blocked": "blocked",
    "encrypts": "encrypts",
    "decrypts": "decrypts",
    "pinning": "pinning",
    "KMS key": "kms_key_arn",
}


def store_of(client: "Client", store: str) -> str:
    """Find a store by its prefix; an id stands as it is.

    Raises:
        StrongroomError: NOT_FOUND if no store that the caller administers has the prefix.
    """
    if not store.startswith("/"):
        return store
    for each in client.pages(client.list_key_stores):
        if each.uri_prefix == store:
            return each.key_store_id
    raise error("NOT_FOUND", "you administer no key store with this prefix", field="key_store")


@app.command("add")
def key_add(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    store: Store,
    external_key: Id,
    key: KeyArgument,
    encrypt: Annotated[bool, typer.Option(help="Whether the store may encrypt.")] = True,
    decrypt: Annotated[bool, typer.Option(help="Whether the store may decrypt.")] = True,
    pin: Pin = None,
    kms_key: KmsKey = "",
    compatible: Annotated[
        bool, typer.Option("--compatible", help="Open what AWS's sample proxy encrypted, too.")
    ] = False,
    request_id: RequestId = None,
) -> None:
    """Let a store use a key, which you may make grants of."""
    with connected(ctx) as client:
        added = client.add_external_key(
            store_of(client, store),
            external_key,
            key,
            encrypts=encrypt,
            decrypts=decrypt,
            pinning=pin or "",
            kms_key_arn=kms_key,
            compatible=compatible,
            request_id=request_id,
        )
        show(ctx, added)


@app.command("describe")
def key_describe(ctx: typer.Context, store: Store, external_key: Id) -> None:
    """Describe an external key."""
    with connected(ctx) as client:
        show(ctx, client.describe_external_key(store_of(client, store), external_key))


@app.command("list")
def key_list(ctx: typer.Context, store: Store, limit: Limit = 1_000) -> None:
    """List a store's external keys."""
    with connected(ctx) as client:
        found = client.pages(client.list_external_keys, store_of(client, store))
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


@app.command("update")
def key_update(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    store: Store,
    external_key: Id,
    encrypt: Annotated[bool | None, typer.Option(help="Whether the store may encrypt.")] = None,
    decrypt: Annotated[bool | None, typer.Option(help="Whether the store may decrypt.")] = None,
    pin: Pin = None,
    kms_key: KmsKey = "",
    compatible: Annotated[
        bool | None, typer.Option(help="Whether it opens what AWS's sample proxy encrypted.")
    ] = None,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Change what a store may do with a key, within a second; what is not given stays as it is."""
    with connected(ctx) as client:
        changed = client.update_external_key(
            store_of(client, store),
            external_key,
            encrypts=encrypt,
            decrypts=decrypt,
            pinning=pin or "",
            kms_key_arn=kms_key,
            compatible=compatible,
            etag=etag,
            request_id=request_id,
        )
        show(ctx, changed)


@app.command("block")
def key_block(
    ctx: typer.Context, store: Store, external_key: Id, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Kill switch: refuse every use of the key by the store, within a second."""
    with connected(ctx) as client:
        show(
            ctx,
            client.block_external_key(
                store_of(client, store), external_key, etag=etag, request_id=request_id
            ),
        )


@app.command("unblock")
def key_unblock(
    ctx: typer.Context, store: Store, external_key: Id, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Let an external key be used again."""
    with connected(ctx) as client:
        show(
            ctx,
            client.unblock_external_key(
                store_of(client, store), external_key, etag=etag, request_id=request_id
            ),
        )


@app.command("remove")
def key_remove(
    ctx: typer.Context, store: Store, external_key: Id, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Take a key from a store; the key itself stays."""
    with connected(ctx) as client:
        client.remove_external_key(store_of(client, store), external_key, etag=etag, request_id=request_id)
    note("removed")
