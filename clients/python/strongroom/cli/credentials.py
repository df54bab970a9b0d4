"""`strongroom identity`, `access-key` and `role`."""

from typing import Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.access import PrincipalArgument, arn_of
from strongroom.cli.inputs import Etag, RequestId
from strongroom.cli.output import note, print_json, show, show_list
from strongroom.cli.session import connected, options

identity_app = typer.Typer(help="Whom client certificates speak for.", no_args_is_help=True)
access_key_app = typer.Typer(help="Access keys for doors that verify signatures.", no_args_is_help=True)
role_app = typer.Typer(help="Roles, and sessions of them.", no_args_is_help=True)

Uri = Annotated[str, typer.Option(help="A URI in the certificate, such as a SPIFFE ID.", metavar="URI")]
Dns = Annotated[str, typer.Option(help="The one DNS name in a certificate without URI.", metavar="NAME")]
Subject = Annotated[str, typer.Option(help="The whole subject, RFC 4514.", metavar="TEXT")]
Issuer = Annotated[
    str, typer.Option("--issuer", help="SHA-256 of the issuer's public key, with --subject.", metavar="HEX")
]
KeyId = Annotated[str, typer.Argument(help="The access key id.", metavar="ACCESS_KEY_ID")]
_IDENTITY_COLUMNS = {"uri": "uri", "dns": "dns", "subject": "subject", "created": "created_time"}
_KEY_COLUMNS = {
    "access key id": "access_key_id",
    "active": "active",
    "created": "created_time",
    "last used": "last_used_time",
}


@identity_app.command("add")
def identity_add(
    ctx: typer.Context,
    who: PrincipalArgument,
    uri: Uri = "",
    dns: Dns = "",
    subject: Subject = "",
    issuer: Issuer = "",
    request_id: RequestId = None,
) -> None:
    """Let certificates speak for a principal; for operators."""
    with connected(ctx) as client:
        added = client.add_identity(
            arn_of(client, who),
            uri=uri,
            dns=dns,
            subject=subject,
            issuer_spki_sha256=issuer,
            request_id=request_id,
        )
        show(ctx, added)


@identity_app.command("remove")
def identity_remove(
    ctx: typer.Context,
    who: PrincipalArgument,
    uri: Uri = "",
    dns: Dns = "",
    subject: Subject = "",
    issuer: Issuer = "",
    request_id: RequestId = None,
) -> None:
    """Take an identity away: within a second such certificates are nobody's."""
    with connected(ctx) as client:
        client.remove_identity(
            arn_of(client, who),
            uri=uri,
            dns=dns,
            subject=subject,
            issuer_spki_sha256=issuer,
            request_id=request_id,
        )
    note("removed")


@identity_app.command("list")
def identity_list(ctx: typer.Context, who: PrincipalArgument) -> None:
    """List a principal's identities, without those of the daemon's configuration."""
    with connected(ctx) as client:
        show_list(ctx, client.list_identities(arn_of(client, who)), _IDENTITY_COLUMNS)


@access_key_app.command("create")
def access_key_create(ctx: typer.Context, who: PrincipalArgument, request_id: RequestId = None) -> None:
    """Make an access key; --json shows its secret, this once."""
    with connected(ctx) as client:
        made = client.create_access_key(arn_of(client, who), request_id=request_id)
    if options(ctx).as_json:
        print_json(made)
        return
    show(ctx, made.access_key)
    typer.echo(f"secret access key  {made.secret_access_key or '(shown before, not again)'}")
    note("keep the secret now: it is not shown again")


@access_key_app.command("list")
def access_key_list(ctx: typer.Context, who: PrincipalArgument) -> None:
    """List a principal's access keys."""
    with connected(ctx) as client:
        show_list(ctx, client.list_access_keys(arn_of(client, who)), _KEY_COLUMNS)


@access_key_app.command("activate")
def access_key_activate(
    ctx: typer.Context, who: PrincipalArgument, key_id: KeyId, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Let an access key work again."""
    with connected(ctx) as client:
        show(ctx, client.activate_access_key(arn_of(client, who), key_id, etag=etag, request_id=request_id))


@access_key_app.command("deactivate")
def access_key_deactivate(
    ctx: typer.Context, who: PrincipalArgument, key_id: KeyId, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Stop an access key."""
    with connected(ctx) as client:
        done = client.deactivate_access_key(arn_of(client, who), key_id, etag=etag, request_id=request_id)
        show(ctx, done)


@access_key_app.command("delete")
def access_key_delete(
    ctx: typer.Context, who: PrincipalArgument, key_id: KeyId, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Remove an access key for ever."""
    with connected(ctx) as client:
        client.delete_access_key(arn_of(client, who), key_id, etag=etag, request_id=request_id)
    note("deleted")


@role_app.command("assume")
def role_assume(
    ctx: typer.Context,
    role: PrincipalArgument,
    session_name: Annotated[str, typer.Argument(help="What audit records call it.", metavar="SESSION")],
    duration: Annotated[
        int, typer.Option(min=0, max=43_200, help="Seconds, 900 or more; 0: an hour at most.")
    ] = 0,
) -> None:
    """Begin a session of a role and show its token; --assume-role of every verb does so by itself."""
    with connected(ctx) as client:
        session = client.assume_role(arn_of(client, role), session_name, duration_seconds=duration)
    if options(ctx).as_json:
        print_json(session)
        return
    show(ctx, session)
    typer.echo(f"session token  {session.session_token}")


@role_app.command("trust")
def role_trust(
    ctx: typer.Context,
    role: PrincipalArgument,
    source: inputs.In = "-",
    max_session: Annotated[
        int, typer.Option(min=0, max=43_200, help="Longest session in seconds; 0: as it is.")
    ] = 0,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Say by a file who may assume a role."""
    text = inputs.text(source, "policy")
    with connected(ctx) as client:
        done = client.put_trust_policy(
            arn_of(client, role), text, max_session_seconds=max_session, etag=etag, request_id=request_id
        )
        show(ctx, done)


@role_app.command("revoke-sessions")
def role_revoke_sessions(
    ctx: typer.Context, role: PrincipalArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """End every session of a role that was begun before."""
    with connected(ctx) as client:
        show(ctx, client.revoke_role_sessions(arn_of(client, role), etag=etag, request_id=request_id))
