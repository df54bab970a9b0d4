"""`strongroom approvals ask`: asking for approval of a guarded change, one verb for each kind."""

from typing import Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import KeyArgument, KeyVersionOption, PublicKeyFile, RequestId
from strongroom.cli.output import show
from strongroom.cli.session import connected
from strongroom.names import WrappingKeyKind

app = typer.Typer(help="Ask for approval of a guarded change.", no_args_is_help=True)

Why = Annotated[str, typer.Option("--why", help="For the approvers; no secrets.", metavar="TEXT")]
Lifetime = Annotated[
    int, typer.Option("--for", min=0, max=86_400, help="Seconds that it may wait; 0 is a day.")
]


@app.command("policy-change")
def policy_change(
    ctx: typer.Context,
    key: KeyArgument,
    why: Why,
    source: inputs.In = "-",
    bypass: Annotated[
        bool, typer.Option("--bypass-policy-lockout-safety-check", help="As of key policy put.")
    ] = False,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval of a new policy for a protected key; then key policy put --approval."""
    with connected(ctx) as client:
        made = client.ask_policy_change(
            key,
            inputs.text(source, "policy"),
            purpose=why,
            bypass_policy_lockout_safety_check=bypass,
            lifetime_seconds=seconds,
            request_id=request_id,
        )
        show(ctx, made)


@app.command("key-deletion")
def key_deletion(
    ctx: typer.Context,
    key: KeyArgument,
    why: Why,
    days: Annotated[int, typer.Option(min=7, max=30, help="Days in which it can be called off.")] = 30,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval of a protected key's deletion; then key schedule-deletion --approval."""
    with connected(ctx) as client:
        made = client.ask_key_deletion(
            key, days, purpose=why, lifetime_seconds=seconds, request_id=request_id
        )
        show(ctx, made)


@app.command("material-deletion")
def material_deletion(
    ctx: typer.Context,
    key: KeyArgument,
    why: Why,
    key_version: KeyVersionOption = 0,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval of deleting a protected key's imported material; then material delete --approval."""
    with connected(ctx) as client:
        made = client.ask_material_deletion(
            key, purpose=why, key_version=key_version, lifetime_seconds=seconds, request_id=request_id
        )
        show(ctx, made)


@app.command("material-expiry")
def material_expiry(
    ctx: typer.Context,
    key: KeyArgument,
    why: Why,
    valid_to: inputs.ValidTo,
    key_version: KeyVersionOption = 0,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval of an earlier end of a protected key's material; then material import --approval."""
    with connected(ctx) as client:
        made = client.ask_material_expiry(
            key,
            inputs.moment(valid_to),
            purpose=why,
            key_version=key_version,
            lifetime_seconds=seconds,
            request_id=request_id,
        )
        show(ctx, made)


@app.command("peer")
def peer(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(help="The other house's statement; its signature is in FILE.sig.", metavar="FILE")
    ],
    statement_key: Annotated[
        str,
        typer.Option(
            "--statement-key", help="The key that signs its statements, PEM or DER.", metavar="FILE"
        ),
    ],
    why: Why,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval of another house as a peer; then peer add."""
    payload, signature = inputs.read(source, "statement"), inputs.read(f"{source}.sig", "signature")
    with connected(ctx) as client:
        made = client.ask_peer(
            payload,
            signature,
            inputs.public_key(statement_key),
            purpose=why,
            lifetime_seconds=seconds,
            request_id=request_id,
        )
        show(ctx, made)


@app.command("lost-primary")
def lost_primary(
    ctx: typer.Context,
    key: KeyArgument,
    region: Annotated[
        str, typer.Argument(help="The region that has the primary from now on.", metavar="REGION")
    ],
    why: Why,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval that a key's primary is elsewhere; then replica move-lost-primary."""
    with connected(ctx) as client:
        made = client.ask_lost_primary(
            key, region, purpose=why, lifetime_seconds=seconds, request_id=request_id
        )
        show(ctx, made)


@app.command("wrapping-key")
def wrapping_key(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What people call it.", metavar="NAME")],
    public_key: PublicKeyFile,
    why: Why,
    kind: Annotated[WrappingKeyKind, typer.Option(case_sensitive=False)] = WrappingKeyKind.RSA,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval of a wrapping key; then export register-wrapping-key."""
    with connected(ctx) as client:
        made = client.ask_wrapping_key(
            name,
            kind,
            inputs.public_key(public_key),
            purpose=why,
            lifetime_seconds=seconds,
            request_id=request_id,
        )
        show(ctx, made)


@app.command("quorum")
def quorum(
    ctx: typer.Context,
    quorum: Annotated[int, typer.Argument(min=1, max=8, help="How many must approve.")],
    why: Why,
    seconds: Lifetime = 0,
    request_id: RequestId = None,
) -> None:
    """Ask for approval of another quorum for the account; then approvals quorum put."""
    with connected(ctx) as client:
        show(ctx, client.ask_quorum(quorum, purpose=why, lifetime_seconds=seconds, request_id=request_id))
