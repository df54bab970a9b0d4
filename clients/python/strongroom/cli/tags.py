"""`strongroom tag`: names and values attached to keys."""

from typing import Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import Etag, KeyArgument, RequestId
from strongroom.cli.output import show
from strongroom.cli.session import connected

app = typer.Typer(help="Names and values attached to keys.", no_args_is_help=True)


@app.command("set")
def set_(
    ctx: typer.Context,
    key: KeyArgument,
    tags: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")],
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Set tags on a key."""
    with connected(ctx) as client:
        show(ctx, client.tag_key(key, inputs.pairs(tags, "tags"), etag=etag, request_id=request_id))


@app.command("remove")
def remove(
    ctx: typer.Context,
    key: KeyArgument,
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Take tags off a key."""
    with connected(ctx) as client:
        show(ctx, client.untag_key(key, names, etag=etag, request_id=request_id))


@app.command("list")
def list_(ctx: typer.Context, key: KeyArgument) -> None:
    """List the tags of a key."""
    with connected(ctx) as client:
        show(ctx, client.list_tags(key))
