"""`strongroom key rotation`: the automatic rotation of a key, and the rotations that it has had."""

from itertools import islice
from typing import Annotated

import typer

from strongroom.cli.inputs import KeyArgument, Limit, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected

app = typer.Typer(help="Automatic rotation of symmetric keys.", no_args_is_help=True)
_COLUMNS = {"version": "version", "time": "time", "type": "type", "current": "current"}


@app.command("enable")
def enable(
    ctx: typer.Context,
    key: KeyArgument,
    days: Annotated[int, typer.Option(min=90, max=2560, help="Days between two rotations.")] = 365,
    request_id: RequestId = None,
) -> None:
    """Have a key rotated by the daemon, the first time one period from now."""
    with connected(ctx) as client:
        show(ctx, client.enable_key_rotation(key, rotation_period_days=days, request_id=request_id))


@app.command("disable")
def disable(ctx: typer.Context, key: KeyArgument, request_id: RequestId = None) -> None:
    """Have a key rotated automatically no more; its versions stay."""
    with connected(ctx) as client:
        client.disable_key_rotation(key, request_id=request_id)
    note("disabled")


@app.command("status")
def status(ctx: typer.Context, key: KeyArgument) -> None:
    """Say whether, how often and when next a key is rotated."""
    with connected(ctx) as client:
        show(ctx, client.get_key_rotation_status(key))


@app.command("history")
def history(ctx: typer.Context, key: KeyArgument, limit: Limit = 1_000) -> None:
    """List the rotations of a key, oldest first."""
    with connected(ctx) as client:
        found = client.pages(client.list_key_rotations, key)
        show_list(ctx, list(islice(found, limit)), _COLUMNS)
