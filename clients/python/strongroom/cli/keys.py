"""`strongroom key`: what keys there are, and their life."""

from itertools import islice
from typing import Annotated

import typer

from strongroom.cli import inputs, keypolicy, newkeys, rotation
from strongroom.cli.inputs import (
    ApprovalOption,
    Etag,
    GrantTokens,
    KeyArgument,
    KeyVersionOption,
    Limit,
    RequestId,
)
from strongroom.cli.output import show, show_list
from strongroom.cli.session import connected
from strongroom.names import KeyManager, KeySpec, KeyState

app = typer.Typer(help="Make keys and look after them.", no_args_is_help=True)
app.add_typer(keypolicy.app, name="policy")
app.add_typer(rotation.app, name="rotation")
app.command("create")(newkeys.create)
app.command("adopt")(newkeys.adopt)

_COLUMNS = {
    "key id": "key_id",
    "spec": "spec",
    "usage": "usage",
    "state": "state",
    "manager": "key_manager",
    "version": "current_version",
}


@app.command("describe")
def describe(ctx: typer.Context, key: KeyArgument, grant_token: GrantTokens = None) -> None:
    """Describe a key."""
    with connected(ctx) as client:
        newkeys.show_key(ctx, client.describe_key(key, grant_tokens=grant_token or []))


@app.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[KeyState | None, typer.Option(help="Only keys in this state.")] = None,
    spec: Annotated[KeySpec | None, typer.Option(help="Only keys of this spec.")] = None,
    manager: Annotated[KeyManager | None, typer.Option(help="Only keys looked after so.")] = None,
    tag_key: Annotated[str, typer.Option(help="Only keys with this tag.")] = "",
    tag_value: Annotated[str | None, typer.Option(help="Only keys whose tag has this value.")] = None,
    limit: Limit = 1_000,
) -> None:
    """List the keys of your account."""
    with connected(ctx) as client:
        found = client.pages(
            client.list_keys,
            state=state or "",
            spec=spec or "",
            key_manager=manager or "",
            tag_key=tag_key,
            tag_value=tag_value,
        )
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


@app.command("set-description")
def set_description(
    ctx: typer.Context,
    key: KeyArgument,
    description: Annotated[str, typer.Argument(help="The new text; empty takes it away.")],
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Replace the description of a key."""
    with connected(ctx) as client:
        show(ctx, client.update_key_description(key, description, etag=etag, request_id=request_id))


@app.command("enable")
def enable(ctx: typer.Context, key: KeyArgument, etag: Etag = "", request_id: RequestId = None) -> None:
    """Switch a disabled key on."""
    with connected(ctx) as client:
        show(ctx, client.enable_key(key, etag=etag, request_id=request_id))


@app.command("disable")
def disable(ctx: typer.Context, key: KeyArgument, etag: Etag = "", request_id: RequestId = None) -> None:
    """Switch a key off: within a second nothing can be done with it."""
    with connected(ctx) as client:
        show(ctx, client.disable_key(key, etag=etag, request_id=request_id))


@app.command("schedule-deletion")
def schedule_deletion(
    ctx: typer.Context,
    key: KeyArgument,
    days: Annotated[int, typer.Option(min=7, max=30, help="Days in which it can be called off.")] = 30,
    etag: Etag = "",
    request_id: RequestId = None,
    approval: ApprovalOption = "",
) -> None:
    """Have a key destroyed for ever, after a waiting time in which it cannot be used."""
    with connected(ctx) as client:
        done = client.schedule_key_deletion(
            key, pending_window_days=days, etag=etag, request_id=request_id, approval_id=approval
        )
        show(ctx, done)


@app.command("cancel-deletion")
def cancel_deletion(
    ctx: typer.Context, key: KeyArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Call a deletion off; the key is left disabled."""
    with connected(ctx) as client:
        show(ctx, client.cancel_key_deletion(key, etag=etag, request_id=request_id))


@app.command("rotate")
def rotate(ctx: typer.Context, key: KeyArgument, etag: Etag = "", request_id: RequestId = None) -> None:
    """Make a new version of a key; old versions still decrypt and verify."""
    with connected(ctx) as client:
        show(ctx, client.rotate_key(key, etag=etag, request_id=request_id))


@app.command("versions")
def versions(ctx: typer.Context, key: KeyArgument, limit: Limit = 1_000) -> None:
    """List the versions of a key."""
    columns = {
        "version": "version", "created": "created_time", "current": "current", "format": "ciphertext_format",
    }  # fmt: skip
    with connected(ctx) as client:
        found = client.pages(client.list_key_versions, key)
        show_list(ctx, list(islice(found, limit)), columns)


@app.command("public-key")
def public_key(
    ctx: typer.Context,
    key: KeyArgument,
    key_version: KeyVersionOption = 0,
    der: Annotated[bool, typer.Option("--der", help="DER instead of PEM.")] = False,
    out: inputs.Out = "-",
    grant_token: GrantTokens = None,
) -> None:
    """Read the public half of a key as PEM."""
    with connected(ctx) as client:
        found = client.get_public_key(key, key_version=key_version, grant_tokens=grant_token or [])
    data = found.public_key if der else found.public_key_pem.encode()
    inputs.deliver(ctx, found, out, data, "public_key", "public_key_pem", secret=not der)


@app.command("usage")
def usage(ctx: typer.Context, key: KeyArgument) -> None:
    """Say when a key was last used, and how often."""
    with connected(ctx) as client:
        show(ctx, client.get_key_usage(key))
