"""`strongroom export`: asking that a key leave, carrying it out, and registered wrapping keys."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.asking import Lifetime, Why
from strongroom.cli.inputs import KeyArgument, Limit, PublicKeyFile, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected
from strongroom.errors import invalid
from strongroom.names import ExportLevel, WrappingKeyKind

app = typer.Typer(help="Letting exportable keys out, under dual control.", no_args_is_help=True)

_COLUMNS = {
    "id": "wrapping_key_id",
    "name": "name",
    "kind": "kind",
    "registered by": "registered_by",
    "registered": "created_time",
}
Approval = Annotated[str, typer.Option("--approval", help="The approved request.", metavar="ID")]


@app.command("request")
def export_request(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    key: KeyArgument,
    why: Why,
    public_key: Annotated[
        str, typer.Option("--public-key", help="The recipient's RSA key, PEM or DER.", metavar="FILE")
    ] = "",
    wrapping_key: Annotated[
        str, typer.Option("--wrapping-key", help="Instead: a registered wrapping key.", metavar="ID")
    ] = "",
    level: Annotated[
        ExportLevel, typer.Option(help="Where the key may be in clear.", case_sensitive=False)
    ] = ExportLevel.TOKEN,
    key_version: inputs.KeyVersionOption = 0,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask that a key leave, wrapped for a recipient; it waits for the key's quorum of approvals."""
    if bool(public_key) == bool(wrapping_key):
        raise invalid("recipient", "give either --public-key or --wrapping-key")
    with connected(ctx) as client:
        made = client.request_export(
            key,
            purpose=why,
            public_key=inputs.public_key(public_key) if public_key else b"",
            wrapping_key_id=wrapping_key,
            level=level,
            key_version=key_version,
            lifetime_seconds=seconds,
            request_id=request_id,
        )
        show(ctx, made)


@app.command("execute")
def export_execute(
    ctx: typer.Context,
    approval: Annotated[str, typer.Argument(help="The approved request.", metavar="ID")],
    out: Annotated[str, typer.Option("--out", "-o", help="File for the wrapped key.", metavar="FILE")],
    receipt: Annotated[
        str,
        typer.Option(
            "--receipt", help="File for the receipt; its signature goes to FILE.sig.", metavar="FILE"
        ),
    ],
) -> None:
    """Carry out an approved export. It works once: see that the files can be written."""
    for name in (out, receipt, f"{receipt}.sig"):
        _require_writable(name)
    with connected(ctx) as client:
        done = client.execute_export(approval)
    inputs.write(out, done.blob)
    inputs.write(receipt, done.receipt.payload)
    inputs.write(f"{receipt}.sig", done.receipt.signature)
    show(ctx, done)
    note(f"The receipt verifies under the house's statement key {done.receipt.key_id}.")


def _require_writable(name: str) -> None:
    """Refuse a place that cannot be written before the request is spent for it."""
    folder = Path(name).parent
    if name == "-" or not folder.is_dir():
        raise invalid("out", "must be a file in a folder that is there")


@app.command("register-wrapping-key")
def register_wrapping_key(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it, as it was asked for.", metavar="NAME")],
    public_key: PublicKeyFile,
    approval: Approval,
    kind: Annotated[WrappingKeyKind, typer.Option(case_sensitive=False)] = WrappingKeyKind.RSA,
    request_id: RequestId = None,
) -> None:
    """Register a wrapping key, with an approved request for exactly this."""
    with connected(ctx) as client:
        made = client.register_wrapping_key(
            name, kind, inputs.public_key(public_key), approval, request_id=request_id
        )
        show(ctx, made)


@app.command("wrapping-keys")
def wrapping_keys(ctx: typer.Context, limit: Limit = 1_000) -> None:
    """List the account's wrapping keys."""
    with connected(ctx) as client:
        found = client.pages(client.list_wrapping_keys)
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


@app.command("remove-wrapping-key")
def remove_wrapping_key(
    ctx: typer.Context,
    wrapping_key: Annotated[str, typer.Argument(help="Its id.", metavar="ID")],
    request_id: RequestId = None,
) -> None:
    """Remove a wrapping key; requests that name it cannot be executed any more."""
    with connected(ctx) as client:
        client.remove_wrapping_key(wrapping_key, request_id=request_id)
