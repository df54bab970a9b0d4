"""`strongroom xks store` and `xks credential`: external key stores of AWS KMS."""

import json
import re
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from strongroom.cli import externalkeys, inputs
from strongroom.cli.externalkeys import Store, store_of
from strongroom.cli.inputs import Etag, Limit, RequestId
from strongroom.cli.output import note, print_json, show, show_list, without
from strongroom.cli.session import connected, options
from strongroom.errors import error, invalid

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from strongroom.results import NewKeyStoreCredential, RequestLimit

store_app = typer.Typer(help="External key stores.", no_args_is_help=True)
credential_app = typer.Typer(help="What AWS KMS signs a store's requests with.", no_args_is_help=True)

_LIMIT = "requests a second, and at once; 0 for no limit."
StoreLimit = Annotated[
    str | None, typer.Option("--limit", help=f"Of the store: {_LIMIT}", metavar="PER_SECOND[/BURST]")
]
KeyLimit = Annotated[
    str | None, typer.Option("--key-limit", help="Of each external key.", metavar="PER_SECOND[/BURST]")
]
PrincipalLimit = Annotated[
    str | None,
    typer.Option("--principal-limit", help="Of each AWS principal.", metavar="PER_SECOND[/BURST]"),
]
ConsoleFile = Annotated[
    str | None,
    typer.Option(
        "--console-json",
        help="Write the file that AWS's console reads, secret and all, with mode 0600, and show no secret; "
        "- is standard output.",
        metavar="FILE",
    ),
]
_XKS_PATH = "/kms/xks/v1"
_COLUMNS = {
    "id": "key_store_id",
    "account": "account",
    "prefix": "uri_prefix",
    "blocked": "blocked",
    "description": "description",
    "created": "created_time",
}
_CREDENTIAL_COLUMNS = {
    "access key id": "access_key_id",
    "created": "created_time",
    "last used": "last_used_time",
}


def attach(app: typer.Typer) -> None:
    """Put the verbs of key stores under a group."""
    app.add_typer(store_app, name="store")
    app.add_typer(credential_app, name="credential")
    app.add_typer(externalkeys.app, name="key")


@store_app.command("create")
def store_create(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    prefix: Annotated[
        str | None,
        typer.Option(help="Before /kms/xks/v1 in its URIs; by default / and its id.", metavar="/PATH"),
    ] = None,
    account: Annotated[str, typer.Option(help="Another account than your own; for operators.")] = "",
    description: Annotated[str, typer.Option(help="Words for people.")] = "",
    policy: Annotated[
        str | None, typer.Option(help="File with its policy; - is standard input.", metavar="FILE")
    ] = None,
    limit: StoreLimit = None,
    key_limit: KeyLimit = None,
    principal_limit: PrincipalLimit = None,
    request_id: RequestId = None,
) -> None:
    """Make a key store; then give it a credential and keys."""
    text = "" if policy is None else inputs.text(policy, "policy")
    limits = _limits(limit, key_limit, principal_limit)
    with connected(ctx) as client:
        made = client.create_key_store(
            account=account,
            uri_prefix=prefix,
            description=description,
            policy=text,
            request_id=request_id,
            **limits,
        )
        show(ctx, made)
    note(f"AWS calls it the path {made.uri_prefix}{_XKS_PATH}")


@store_app.command("describe")
def store_describe(ctx: typer.Context, store: Store) -> None:
    """Describe a key store."""
    with connected(ctx) as client:
        show(ctx, client.describe_key_store(store_of(client, store)))


@store_app.command("list")
def store_list(ctx: typer.Context, limit: Limit = 1_000) -> None:
    """List the key stores that you administer."""
    with connected(ctx) as client:
        found = client.pages(client.list_key_stores)
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


@store_app.command("update")
def store_update(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    store: Store,
    description: Annotated[str | None, typer.Option(help="Words for people.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="File with its policy; an empty one takes it away.", metavar="FILE"),
    ] = None,
    limit: StoreLimit = None,
    key_limit: KeyLimit = None,
    principal_limit: PrincipalLimit = None,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Change a key store, within a second; what is not given stays as it is."""
    text = None if policy is None else inputs.text(policy, "policy").strip()
    limits = _limits(limit, key_limit, principal_limit)
    with connected(ctx) as client:
        changed = client.update_key_store(
            store_of(client, store),
            description=description,
            policy=text,
            etag=etag,
            request_id=request_id,
            **limits,
        )
        show(ctx, changed)


@store_app.command("block")
def store_block(ctx: typer.Context, store: Store, etag: Etag = "", request_id: RequestId = None) -> None:
    """Kill switch: refuse every request of AWS KMS to the store, within a second."""
    with connected(ctx) as client:
        show(ctx, client.block_key_store(store_of(client, store), etag=etag, request_id=request_id))


@store_app.command("unblock")
def store_unblock(ctx: typer.Context, store: Store, etag: Etag = "", request_id: RequestId = None) -> None:
    """Let a key store work again."""
    with connected(ctx) as client:
        show(ctx, client.unblock_key_store(store_of(client, store), etag=etag, request_id=request_id))


@store_app.command("delete")
def store_delete(ctx: typer.Context, store: Store, etag: Etag = "", request_id: RequestId = None) -> None:
    """Remove a key store that has no external keys any more."""
    with connected(ctx) as client:
        client.delete_key_store(store_of(client, store), etag=etag, request_id=request_id)
    note("deleted")


@credential_app.command("create")
def credential_create(
    ctx: typer.Context,
    store: Store,
    console_json: ConsoleFile = None,
    request_id: RequestId = None,
) -> None:
    """Make a credential; its secret is shown, or written, this once."""
    with connected(ctx) as client, _console_file(console_json) as file:
        made = client.create_key_store_credential(store_of(client, store), request_id=request_id)
        if file is not None:
            file.write(_console_json(made))
    if console_json is None:
        _show_secret(ctx, made)
    elif console_json == "-":
        inputs.write("-", _console_json(made), secret=True)
    elif options(ctx).as_json:
        print_json(without(made, "secret_access_key"))
    else:
        show(ctx, made.credential)
        note("the secret is in the file, and nowhere else")


@credential_app.command("list")
def credential_list(ctx: typer.Context, store: Store) -> None:
    """List a store's credentials."""
    with connected(ctx) as client:
        show_list(ctx, client.list_key_store_credentials(store_of(client, store)), _CREDENTIAL_COLUMNS)


@credential_app.command("delete")
def credential_delete(
    ctx: typer.Context,
    store: Store,
    access_key: Annotated[str, typer.Argument(help="The access key id.", metavar="ACCESS_KEY_ID")],
    request_id: RequestId = None,
) -> None:
    """Remove a credential: within a second what it signs is refused."""
    with connected(ctx) as client:
        client.delete_key_store_credential(store_of(client, store), access_key, request_id=request_id)
    note("deleted")


def _console_file(name: str | None) -> "AbstractContextManager[BinaryIO | None]":
    """Open the console's file before the credential is made, whose secret would be lost without it."""
    if name is None or name == "-":
        return nullcontext()
    from strongroom.files.targets import whole_file  # noqa: PLC0415 - loads cryptography

    return inputs.file_problems(whole_file(Path(name), overwrite=True))


def _console_json(made: "NewKeyStoreCredential") -> bytes:
    """Write what AWS's console reads: the proxy's path and credential."""
    if not made.secret_access_key:
        raise error("NOT_FOUND", "the secret was shown before, not again", field="secret_access_key")
    pair = {
        "AccessKeyId": made.credential.access_key_id,
        "RawSecretAccessKey": made.secret_access_key,
    }
    whole = {"XksProxyUriPath": made.uri_prefix + _XKS_PATH, "XksProxyAuthenticationCredential": pair}
    return json.dumps(whole, indent=2).encode() + b"\n"


def _show_secret(ctx: typer.Context, made: "NewKeyStoreCredential") -> None:
    if options(ctx).as_json:
        print_json(made)
        return
    show(ctx, made.credential)
    typer.echo(f"secret access key  {made.secret_access_key or '(shown before, not again)'}")
    note("keep the secret now: it is not shown again")


def _limits(store: str | None, key: str | None, principal: str | None) -> "dict[str, RequestLimit]":
    """Read the limits that were given."""
    given = {"limit": store, "key_limit": key, "principal_limit": principal}
    return {name: _limit(text, name) for name, text in given.items() if text is not None}


def _limit(text: str, field: str) -> "RequestLimit":
    from strongroom.results import RequestLimit  # noqa: PLC0415 - only when a limit is given

    numbers = re.fullmatch(r"([0-9]{1,9})(?:/([0-9]{1,9}))?", text)
    if numbers is None:
        raise invalid(field, "must be PER_SECOND or PER_SECOND/BURST, whole numbers")
    return RequestLimit(int(numbers[1]), int(numbers[2] or "0"))
