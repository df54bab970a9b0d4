"""`strongroom grant`: what a key lends to one principal."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import inputs, policies
from strongroom.cli.inputs import DryRun, GrantTokens, KeyArgument, Limit, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected

if TYPE_CHECKING:
    from strongroom.client import Client

app = typer.Typer(help="Lend the use of keys.", no_args_is_help=True)

GrantId = Annotated[str, typer.Argument(help="As list shows it.", metavar="GRANT_ID")]
_COLUMNS = {
    "grant id": "grant_id",
    "grantee": "grantee_principal",
    "operations": "operations",
    "name": "name",
    "created": "created_time",
}
_RETIRABLE = {"grant id": "grant_id", "key": "key_arn", "grantee": "grantee_principal", "name": "name"}


@app.command("create")
def create(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    key: KeyArgument,
    grantee: Annotated[str, typer.Option(help="Who may use the key.", metavar="PRINCIPAL")],
    operation: Annotated[
        list[str], typer.Option(help="Such as Decrypt; may be repeated.", metavar="OPERATION")
    ],
    retiring: Annotated[
        str, typer.Option(help="Who may retire the grant, besides you.", metavar="PRINCIPAL")
    ] = "",
    equals: Annotated[
        list[str] | None,
        typer.Option("--context-equals", help="All of the encryption context.", metavar="NAME=VALUE"),
    ] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option("--context-subset", help="Some of the encryption context.", metavar="NAME=VALUE"),
    ] = None,
    source_arn: Annotated[str, typer.Option(help="What aws:SourceArn must be.", metavar="ARN")] = "",
    source_account: Annotated[str, typer.Option(help="What aws:SourceAccount must be.")] = "",
    name: Annotated[str, typer.Option(help="The same command makes no second grant of this name.")] = "",
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
    request_id: RequestId = None,
) -> None:
    """Lend operations of a key to a principal, of any account. The token makes the grant count at once.

    Principals are ARNs, or user/NAME, role/NAME, service/NAME of your own account.
    """
    with connected(ctx) as client:
        made = client.create_grant(
            key,
            _full(client, grantee),
            operation,
            retiring_principal=_full(client, retiring) if retiring else "",
            context_equals=inputs.pairs(equals, "context_equals"),
            context_subset=inputs.pairs(subset, "context_subset"),
            source_arn=source_arn,
            source_account=source_account,
            name=name,
            dry_run=dry_run,
            grant_tokens=grant_token or [],
            request_id=request_id,
        )
    show(ctx, made)


@app.command("list")
def list_(
    ctx: typer.Context,
    key: KeyArgument,
    grant_id: Annotated[str, typer.Option(help="Only this grant.")] = "",
    grantee: Annotated[str, typer.Option(help="Only grants to this principal.", metavar="PRINCIPAL")] = "",
    limit: Limit = 1_000,
) -> None:
    """List the grants of a key."""
    with connected(ctx) as client:
        whose = _full(client, grantee) if grantee else ""
        found = client.pages(client.list_grants, key, grant_id=grant_id, grantee_principal=whose)
        show_list(ctx, islice(found, limit), _COLUMNS)


@app.command("list-retirable")
def list_retirable(
    ctx: typer.Context,
    principal: Annotated[str, typer.Argument(help="By default you.", metavar="PRINCIPAL")] = "",
    limit: Limit = 1_000,
) -> None:
    """List the grants, of all keys, that name a retiring principal."""
    with connected(ctx) as client:
        whose = _full(client, principal) if principal else client.get_caller_identity().principal_arn
        found = client.pages(client.list_retirable_grants, whose)
        show_list(ctx, islice(found, limit), _RETIRABLE)


@app.command("retire")
def retire(
    ctx: typer.Context,
    grant_id: Annotated[str, typer.Argument(help="With --key.", metavar="GRANT_ID")] = "",
    key: Annotated[str, typer.Option(help="The grant's key.", metavar="KEY")] = "",
    token: Annotated[str, typer.Option(help="A token of the grant, instead.", metavar="TOKEN")] = "",
    dry_run: DryRun = False,
    request_id: RequestId = None,
) -> None:
    """End a grant that is not needed any more, as whoever made it, uses it or was named to retire it."""
    with connected(ctx) as client:
        client.retire_grant(token, key=key, grant_id=grant_id, dry_run=dry_run, request_id=request_id)
    note("the grant is retired")


@app.command("revoke")
def revoke(
    ctx: typer.Context,
    key: KeyArgument,
    grant_id: GrantId,
    dry_run: DryRun = False,
    request_id: RequestId = None,
) -> None:
    """Take back what a key lends by a grant. Grants that were made by it stay; list shows their parent."""
    with connected(ctx) as client:
        client.revoke_grant(key, grant_id, dry_run=dry_run, request_id=request_id)
    note("the grant is revoked")


def _full(client: "Client", principal: str) -> str:
    """Complete a principal that may be given without its account."""
    account = "" if principal.startswith("arn:") else client.get_caller_identity().account
    return policies.principal(principal, account)
