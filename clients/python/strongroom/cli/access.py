"""`strongroom account` and `principal`."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import inputs, policies
from strongroom.cli.inputs import Etag, Limit, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected
from strongroom.names import PrincipalKind

if TYPE_CHECKING:
    from strongroom.client import Client

account_app = typer.Typer(help="Accounts, the tenants.", no_args_is_help=True)
rail_app = typer.Typer(help="What nobody in an account may exceed.", no_args_is_help=True)
principal_app = typer.Typer(help="Users, roles and services.", no_args_is_help=True)
policy_app = typer.Typer(help="What a principal may do.", no_args_is_help=True)
account_app.add_typer(rail_app, name="guard-rail")
principal_app.add_typer(policy_app, name="policy")

Account = Annotated[str, typer.Argument(help="12 digits.", metavar="ACCOUNT")]
PrincipalArgument = Annotated[
    str, typer.Argument(help="user/NAME, role/NAME, service/NAME of your account, or an ARN.", metavar="WHO")
]
PolicyName = Annotated[str, typer.Argument(help="The policy's name.", metavar="NAME")]
Description = Annotated[str, typer.Option(help="Free text, not secret.")]
_ACCOUNT_COLUMNS = {"account": "account", "description": "description", "guard rails": "guard_rails"}
_PRINCIPAL_COLUMNS = {"arn": "arn", "kind": "kind", "enabled": "enabled", "policies": "identity_policies"}


def arn_of(client: "Client", who: str) -> str:
    """Complete a principal: `user/alice` is one of the caller's own account; an ARN stands as it is."""
    if who.startswith("arn:"):
        return who
    return policies.principal(who, client.get_caller_identity().account)


@account_app.command("create")
def account_create(
    ctx: typer.Context, account: Account, description: Description = "", request_id: RequestId = None
) -> None:
    """Make an account; for operators."""
    with connected(ctx) as client:
        show(ctx, client.create_account(account, description=description, request_id=request_id))


@account_app.command("describe")
def account_describe(ctx: typer.Context, account: Account) -> None:
    """Describe an account."""
    with connected(ctx) as client:
        show(ctx, client.describe_account(account))


@account_app.command("list")
def account_list(ctx: typer.Context, limit: Limit = 1_000) -> None:
    """List the accounts that you administer."""
    with connected(ctx) as client:
        found = client.pages(client.list_accounts)
        show_list(ctx, list(islice(found, limit)), _ACCOUNT_COLUMNS)


@rail_app.command("put")
def rail_put(
    ctx: typer.Context,
    account: Account,
    name: PolicyName,
    source: inputs.In = "-",
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Attach a guard rail from a file; for operators."""
    text = inputs.text(source, "policy")
    with connected(ctx) as client:
        show(ctx, client.put_guard_rail(account, name, text, etag=etag, request_id=request_id))


@rail_app.command("get")
def rail_get(ctx: typer.Context, account: Account, name: PolicyName, out: inputs.Out = "-") -> None:
    """Read a guard rail, JSON."""
    with connected(ctx) as client:
        found = client.get_guard_rail(account, name)
    inputs.deliver(ctx, found, out, found.policy.rstrip("\n").encode() + b"\n", "policy", secret=True)


@rail_app.command("list")
def rail_list(ctx: typer.Context, account: Account) -> None:
    """List an account's guard rails."""
    with connected(ctx) as client:
        show(ctx, client.list_guard_rails(account))


@rail_app.command("delete")
def rail_delete(
    ctx: typer.Context, account: Account, name: PolicyName, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Take a guard rail away; for operators."""
    with connected(ctx) as client:
        show(ctx, client.delete_guard_rail(account, name, etag=etag, request_id=request_id))


@principal_app.command("create")
def principal_create(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    who: PrincipalArgument,
    description: Description = "",
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.", metavar="NAME=VALUE")] = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="A service that may say for whom it calls; operators only.")
    ] = False,
    trust: Annotated[
        str | None, typer.Option(help="File with a role's trust policy; - is standard input.", metavar="FILE")
    ] = None,
    max_session: Annotated[
        int, typer.Option(min=0, max=43_200, help="A role's longest session in seconds; 0: an hour.")
    ] = 0,
    request_id: RequestId = None,
) -> None:
    """Make a user, role or service."""
    policy = "" if trust is None else inputs.text(trust, "trust_policy")
    with connected(ctx) as client:
        made = client.create_principal(
            arn_of(client, who),
            description=description,
            tags=inputs.pairs(tag, "tag"),
            trusted=trusted,
            trust_policy=policy,
            max_session_seconds=max_session,
            request_id=request_id,
        )
        show(ctx, made)


@principal_app.command("describe")
def principal_describe(ctx: typer.Context, who: PrincipalArgument) -> None:
    """Describe a principal."""
    with connected(ctx) as client:
        show(ctx, client.describe_principal(arn_of(client, who)))


@principal_app.command("list")
def principal_list(
    ctx: typer.Context,
    account: Annotated[str, typer.Option(help="Another account than your own; for operators.")] = "",
    kind: Annotated[PrincipalKind | None, typer.Option(help="Only this kind.", case_sensitive=False)] = None,
    limit: Limit = 1_000,
) -> None:
    """List principals."""
    with connected(ctx) as client:
        found = client.pages(client.list_principals, account, kind=kind or "")
        show_list(ctx, list(islice(found, limit)), _PRINCIPAL_COLUMNS)


@principal_app.command("delete")
def principal_delete(
    ctx: typer.Context, who: PrincipalArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Remove a principal with its identities and access keys."""
    with connected(ctx) as client:
        client.delete_principal(arn_of(client, who), etag=etag, request_id=request_id)
    note("deleted")


@principal_app.command("enable")
def principal_enable(
    ctx: typer.Context, who: PrincipalArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Let a disabled principal call again."""
    with connected(ctx) as client:
        show(ctx, client.enable_principal(arn_of(client, who), etag=etag, request_id=request_id))


@principal_app.command("disable")
def principal_disable(
    ctx: typer.Context, who: PrincipalArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Shut a principal out, within a second."""
    with connected(ctx) as client:
        show(ctx, client.disable_principal(arn_of(client, who), etag=etag, request_id=request_id))


@principal_app.command("tag")
def principal_tag(
    ctx: typer.Context,
    who: PrincipalArgument,
    tags: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")],
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Set tags on a principal."""
    given = inputs.pairs(tags, "tags")
    with connected(ctx) as client:
        show(ctx, client.tag_principal(arn_of(client, who), given, etag=etag, request_id=request_id))


@principal_app.command("untag")
def principal_untag(
    ctx: typer.Context,
    who: PrincipalArgument,
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Take tags off a principal."""
    with connected(ctx) as client:
        show(ctx, client.untag_principal(arn_of(client, who), names, etag=etag, request_id=request_id))


@policy_app.command("put")
def policy_put(
    ctx: typer.Context,
    who: PrincipalArgument,
    name: PolicyName,
    source: inputs.In = "-",
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Attach an identity policy from a file."""
    text = inputs.text(source, "policy")
    with connected(ctx) as client:
        done = client.put_identity_policy(arn_of(client, who), name, text, etag=etag, request_id=request_id)
        show(ctx, done)


@policy_app.command("get")
def policy_get(ctx: typer.Context, who: PrincipalArgument, name: PolicyName, out: inputs.Out = "-") -> None:
    """Read an identity policy, JSON."""
    with connected(ctx) as client:
        found = client.get_identity_policy(arn_of(client, who), name)
    inputs.deliver(ctx, found, out, found.policy.rstrip("\n").encode() + b"\n", "policy", secret=True)


@policy_app.command("list")
def policy_list(ctx: typer.Context, who: PrincipalArgument) -> None:
    """List a principal's identity policies."""
    with connected(ctx) as client:
        show(ctx, client.list_identity_policies(arn_of(client, who)))


@policy_app.command("delete")
def policy_delete(
    ctx: typer.Context,
    who: PrincipalArgument,
    name: PolicyName,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Take an identity policy away."""
    with connected(ctx) as client:
        show(ctx, client.delete_identity_policy(arn_of(client, who), name, etag=etag, request_id=request_id))
