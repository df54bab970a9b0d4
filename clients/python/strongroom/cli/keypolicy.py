"""`strongroom key policy`: who may do what with a key."""

from typing import Annotated

import typer

from strongroom.cli import inputs, policies
from strongroom.cli.inputs import ApprovalOption, BypassLockoutCheck, Etag, KeyArgument, Principals, RequestId
from strongroom.cli.output import show
from strongroom.cli.session import connected

app = typer.Typer(help="Who may do what with a key.", no_args_is_help=True)


@app.command("get")
def get(ctx: typer.Context, key: KeyArgument, out: inputs.Out = "-") -> None:
    """Read the policy of a key, JSON."""
    with connected(ctx) as client:
        found = client.get_key_policy(key)
    inputs.deliver(ctx, found, out, found.policy.rstrip("\n").encode() + b"\n", "policy", secret=True)


@app.command("put")
def put(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    source: inputs.In = "-",
    administrator: Annotated[
        Principals, typer.Option(help="Instead of a file: may manage, not use.", metavar="PRINCIPAL")
    ] = None,
    user: Annotated[
        Principals, typer.Option(help="Instead of a file: may use, not manage.", metavar="PRINCIPAL")
    ] = None,
    bypass: BypassLockoutCheck = False,
    etag: Etag = "",
    request_id: RequestId = None,
    approval: ApprovalOption = "",
) -> None:
    """Replace the policy of a key by a file, or by administrators and users."""
    composed = bool(administrator or user)
    with connected(ctx) as client:
        text = policies.given(client, None if composed else source, administrator or [], user or [])
        show(
            ctx,
            client.put_key_policy(
                key,
                text,
                bypass_policy_lockout_safety_check=bypass,
                etag=etag,
                request_id=request_id,
                approval_id=approval,
            ),
        )
