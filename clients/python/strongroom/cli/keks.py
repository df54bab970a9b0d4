"""`strongroom kek`: the daemon's own keys, and moving keys from older KEKs to the newest."""

from typing import Annotated

import typer

from strongroom.cli.inputs import RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected

app = typer.Typer(help="The daemon's own keys: KEKs and others; for operators.", no_args_is_help=True)
rewrap_app = typer.Typer(help="Move exportable keys to the newest KEK.", no_args_is_help=True)
app.add_typer(rewrap_app, name="rewrap")

Token = Annotated[str, typer.Option(help="Which token; the main one by default.", metavar="NAME")]
_COLUMNS = {
    "role": "role",
    "token": "token",
    "generation": "generation",
    "in use": "in_use",
    "state": "state",
    "created": "created_time",
    "key versions": "versions",
    "id": "house_key_id",
}


@app.command("list")
def list_keys(ctx: typer.Context) -> None:
    """List the daemon's own keys, and how many key versions each KEK wraps."""
    with connected(ctx) as client:
        show_list(ctx, client.list_house_keys(), _COLUMNS)


@app.command("rotate")
def rotate(
    ctx: typer.Context,
    role: Annotated[
        str,
        typer.Argument(
            help="kek-sealed, kek-exportable, row-mac, checkpoint, statement, sentinel or health.",
            metavar="ROLE",
        ),
    ],
    token: Token = "",
    request_id: RequestId = None,
) -> None:
    """Make a new key for a role; it cannot be undone. The one before stays for what is under it."""
    with connected(ctx) as client:
        show(ctx, client.rotate_house_key(role, token=token, request_id=request_id))
    if role == "kek-exportable":
        note("exportable keys stay under the older KEK until `strongroom kek rewrap start`")
    elif role == "kek-sealed":
        note("keys stay under the older KEK until they are rotated, or moved by `strongroomd rewrap`")


@rewrap_app.command("start")
def start(
    ctx: typer.Context,
    token: Token = "",
    per_second: Annotated[
        int, typer.Option(help="Most key versions moved in a second; 0 for 200.", min=0, max=2_000)
    ] = 0,
    request_id: RequestId = None,
) -> None:
    """Begin to move a token's exportable keys to its newest exportable KEK, in the background."""
    with connected(ctx) as client:
        show(ctx, client.start_rewrap(token=token, per_second=per_second, request_id=request_id))


@rewrap_app.command("status")
def status(ctx: typer.Context, token: Token = "") -> None:
    """Say how far a re-wrap is, or how it ended."""
    with connected(ctx) as client:
        show(ctx, client.get_rewrap(token=token))


@rewrap_app.command("cancel")
def cancel(ctx: typer.Context, token: Token = "", request_id: RequestId = None) -> None:
    """Stop a re-wrap; what has moved stays moved."""
    with connected(ctx) as client:
        show(ctx, client.cancel_rewrap(token=token, request_id=request_id))
