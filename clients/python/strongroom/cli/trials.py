"""`strongroom policy`: a policy checked and tried out before it is put."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from strongroom.cli import inputs, policies
from strongroom.cli.inputs import ContextOption, In
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected, options

if TYPE_CHECKING:
    from strongroom.results import PolicyFinding, Simulation

app = typer.Typer(help="Check policies, and try them out, before they are put.", no_args_is_help=True)

REFUSED: Final = 3
"""Exit code of a simulation whose answer is no: that of access denied."""
SUSPICIOUS: Final = 4
"""Exit code of a policy with findings of severity error."""
_FINDINGS = {"severity": "severity", "rule": "code", "place": "place", "message": "message"}
_TRACES = {
    "source": "source",
    "policy": "policy",
    "statement": "statement",
    "effect": "effect",
    "applies": "applies",
    "failed": "failed",
}


class Kind(StrEnum):
    """What a policy is to be attached to."""

    KEY = "key"
    IDENTITY = "identity"
    GUARD_RAIL = "guard-rail"
    TRUST = "trust"


@app.command("check")
def check(
    ctx: typer.Context,
    source: In = "-",
    kind: Annotated[Kind, typer.Option(help="What it is to be attached to.")] = Kind.KEY,
) -> None:
    """Read a policy as putting it would, and list what is suspicious.

    Exit code 4 if something is an error.
    """
    text = inputs.text(source, "policy")
    with connected(ctx) as client:
        found = client.check_policy(text, kind=kind.name)
    _say(ctx, found)
    if any(each.severity == "error" for each in found):
        raise typer.Exit(SUSPICIOUS)


@app.command("simulate")
def simulate(
    ctx: typer.Context,
    action: Annotated[str, typer.Argument(help="Such as kms:Encrypt.", metavar="ACTION")],
    principal: Annotated[str, typer.Option(help="Who would ask; by default you.", metavar="PRINCIPAL")] = "",
    key: Annotated[str, typer.Option(help="The key.", metavar="KEY")] = "",
    policy: Annotated[
        str | None,
        typer.Option(help="File with a key policy to ask instead; - is standard input.", metavar="FILE"),
    ] = None,
    context: ContextOption = None,
    circumstance: Annotated[
        list[str] | None,
        typer.Option("--with", help="Such as aws:SourceIp=192.0.2.1.", metavar="CONDITION_KEY=VALUE"),
    ] = None,
) -> None:
    """Say how a request would be decided, and what each statement says of it. Exit code 3 if it is no.

    Grants are left out, and what the configuration allows administrators. What --with does not give
    is not there.
    """
    text = "" if policy is None else inputs.text(policy, "policy")
    with connected(ctx) as client:
        account = (
            "" if not principal or principal.startswith("arn:") else client.get_caller_identity().account
        )
        found = client.simulate_policy(
            action,
            principal=policies.principal(principal, account) if principal else "",
            key=key,
            policy=text,
            context=inputs.pairs(context, "context"),
            circumstances=inputs.pairs(circumstance, "with"),
        )
    _tell(ctx, found)
    if not found.allowed:
        raise typer.Exit(REFUSED)


def _say(ctx: typer.Context, found: "tuple[PolicyFinding, ...]") -> None:
    if found or options(ctx).as_json:
        show_list(ctx, found, _FINDINGS)
    else:
        note("nothing is suspicious")


def _tell(ctx: typer.Context, found: "Simulation") -> None:
    if options(ctx).as_json:
        show(ctx, found)
        return
    note(f"{'allowed' if found.allowed else 'refused'}: {found.basis}, {found.ground}")
    show_list(ctx, found.traces, _TRACES)
