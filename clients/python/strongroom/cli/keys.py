"""`strongroom key`, `alias` and `tag`."""

import uuid
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import aliases, inputs, policies
from strongroom.cli.inputs import Etag, GrantTokens, KeyArgument, KeyVersionOption, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected, options
from strongroom.errors import invalid
from strongroom.names import CustodyMode, KeyManager, KeySpec, KeyState, KeyUsage

if TYPE_CHECKING:
    from strongroom.client import Client
    from strongroom.results import Key

app = typer.Typer(help="Make keys and look after them.", no_args_is_help=True)
policy_app = typer.Typer(help="Who may do what with a key.", no_args_is_help=True)
alias_app = typer.Typer(help="Second names of keys.", no_args_is_help=True)
tag_app = typer.Typer(help="Names and values attached to keys.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")

AliasArgument = Annotated[str, typer.Argument(help="alias/NAME, or just NAME.", metavar="ALIAS")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")]
Principals = list[str] | None
_KEY_COLUMNS = {
    "key id": "key_id",
    "spec": "spec",
    "usage": "usage",
    "state": "state",
    "manager": "key_manager",
    "version": "current_version",
}
_ALIAS_COLUMNS = {"alias": "name", "key": "key_arn", "updated": "updated_time"}


@app.command("create")
def create(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    spec: Annotated[KeySpec, typer.Option(help="Kind and size.")] = KeySpec.SYMMETRIC_DEFAULT,
    usage: Annotated[KeyUsage | None, typer.Option(help="Needed for RSA and NIST curves.")] = None,
    alias: Annotated[
        str | None, typer.Option(help="Give the key this alias as well.", metavar="ALIAS")
    ] = None,
    administrator: Annotated[
        Principals,
        typer.Option(
            help="May manage the key, not use it; may be repeated. By default you.", metavar="PRINCIPAL"
        ),
    ] = None,
    user: Annotated[
        Principals, typer.Option(help="May use the key, not manage it; may be repeated.", metavar="PRINCIPAL")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="File with a policy instead; - is standard input.")
    ] = None,
    description: Annotated[str, typer.Option(help="Free text, not secret.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.", metavar="NAME=VALUE")] = None,
    custody: Annotated[CustodyMode | None, typer.Option(help="Where the secret half lives.")] = None,
    token: Annotated[
        str, typer.Option(help="The token that the key shall live in; the daemon's default if not given.")
    ] = "",
    exportable: Annotated[
        bool, typer.Option("--exportable", help="May later be exported by ceremony.")
    ] = False,
    bypass: Annotated[
        bool, typer.Option("--bypass-policy-lockout-safety-check", help="Allow a policy that locks you out.")
    ] = False,
    request_id: RequestId = None,
) -> None:
    """Make a key inside the HSM.

    Principals are ARNs, or user/NAME, role/NAME, service/NAME of your own account.
    """
    name = None if alias is None else aliases.checked_name(alias)
    request = str(uuid.uuid4()) if request_id is None else request_id
    with connected(ctx) as client:
        if name is not None and request_id is None:
            # Not for a call that is repeated: there the alias is the one that the first call made.
            aliases.refuse_taken(client, name)
        made = client.create_key(
            spec=spec,
            usage=usage or "",
            custody_mode=custody or "",
            exportable=exportable,
            description=description,
            policy=_policy(client, policy, administrator or [], user or []),
            tags=inputs.pairs(tag, "tag"),
            bypass_policy_lockout_safety_check=bypass,
            request_id=request,
            token=token,
        )
        show(ctx, made)
        if name is not None:
            aliases.name_new_key(client, name, made.arn, request)


@app.command("adopt")
def adopt(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    cka_id: Annotated[
        str, typer.Option("--cka-id", help="The object's CKA_ID, hexadecimal digits.", metavar="HEX")
    ] = "",
    label: Annotated[str, typer.Option(help="Or its label.", metavar="TEXT")] = "",
    token: Annotated[
        str,
        typer.Option(help="The token that holds it; the daemon's default, or the key's own, if not given."),
    ] = "",
    key: Annotated[
        str, typer.Option("--key", help="An adopted key: the object becomes its next version.", metavar="KEY")
    ] = "",
    alias: Annotated[
        str | None, typer.Option(help="Give the new key this alias as well.", metavar="ALIAS")
    ] = None,
    administrator: Annotated[
        Principals,
        typer.Option(
            help="May manage the key, not use it; may be repeated. By default you.", metavar="PRINCIPAL"
        ),
    ] = None,
    user: Annotated[
        Principals, typer.Option(help="May use the key, not manage it; may be repeated.", metavar="PRINCIPAL")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="File with a policy instead; - is standard input.")
    ] = None,
    description: Annotated[str, typer.Option(help="Free text, not secret.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.", metavar="NAME=VALUE")] = None,
    bypass: Annotated[
        bool, typer.Option("--bypass-policy-lockout-safety-check", help="Allow a policy that locks you out.")
    ] = False,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Make a key of an AES-256 object that is in the token already; the object itself is never changed.

    For operators. Read the warnings of the answer: they say what the token does not prevent.
    """
    if key and alias is not None:
        raise invalid("alias", "is for new keys only")
    name = None if alias is None else aliases.checked_name(alias)
    request = str(uuid.uuid4()) if request_id is None else request_id
    with connected(ctx) as client:
        if name is not None and request_id is None:
            aliases.refuse_taken(client, name)
        made = client.adopt_key(
            cka_id=cka_id,
            label=label,
            token=token,
            key=key,
            etag=etag,
            description=description,
            policy=_policy(client, policy, administrator or [], user or []),
            tags=inputs.pairs(tag, "tag"),
            bypass_policy_lockout_safety_check=bypass,
            request_id=request,
        )
        _show_key(ctx, made)
        if name is not None:
            aliases.name_new_key(client, name, made.arn, request)


@app.command("describe")
def describe(ctx: typer.Context, key: KeyArgument, grant_token: GrantTokens = None) -> None:
    """Describe a key."""
    with connected(ctx) as client:
        _show_key(ctx, client.describe_key(key, grant_tokens=grant_token or []))


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
        show_list(ctx, list(islice(found, limit)), _KEY_COLUMNS)


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
) -> None:
    """Have a key destroyed for ever, after a waiting time in which it cannot be used."""
    with connected(ctx) as client:
        done = client.schedule_key_deletion(key, pending_window_days=days, etag=etag, request_id=request_id)
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


@policy_app.command("get")
def policy_get(ctx: typer.Context, key: KeyArgument, out: inputs.Out = "-") -> None:
    """Read the policy of a key, JSON."""
    with connected(ctx) as client:
        found = client.get_key_policy(key)
    inputs.deliver(ctx, found, out, found.policy.rstrip("\n").encode() + b"\n", "policy", secret=True)


@policy_app.command("put")
def policy_put(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    source: inputs.In = "-",
    administrator: Annotated[
        Principals, typer.Option(help="Instead of a file: may manage, not use.", metavar="PRINCIPAL")
    ] = None,
    user: Annotated[
        Principals, typer.Option(help="Instead of a file: may use, not manage.", metavar="PRINCIPAL")
    ] = None,
    bypass: Annotated[
        bool, typer.Option("--bypass-policy-lockout-safety-check", help="Allow a policy that locks you out.")
    ] = False,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Replace the policy of a key by a file, or by administrators and users."""
    composed = bool(administrator or user)
    with connected(ctx) as client:
        text = _policy(client, None if composed else source, administrator or [], user or [])
        show(
            ctx,
            client.put_key_policy(
                key, text, bypass_policy_lockout_safety_check=bypass, etag=etag, request_id=request_id
            ),
        )


@alias_app.command("create")
def alias_create(
    ctx: typer.Context, alias: AliasArgument, key: KeyArgument, request_id: RequestId = None
) -> None:
    """Give a key a second name."""
    with connected(ctx) as client:
        show(ctx, client.create_alias(aliases.full_name(alias), arn_of(client, key), request_id=request_id))


@alias_app.command("update")
def alias_update(
    ctx: typer.Context, alias: AliasArgument, key: KeyArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Point an alias at another key of the same kind."""
    with connected(ctx) as client:
        found = client.update_alias(
            aliases.full_name(alias), arn_of(client, key), etag=etag, request_id=request_id
        )
        show(ctx, found)


@alias_app.command("delete")
def alias_delete(
    ctx: typer.Context, alias: AliasArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Take an alias away; its key stays."""
    with connected(ctx) as client:
        client.delete_alias(aliases.full_name(alias), etag=etag, request_id=request_id)
    note("deleted")


@alias_app.command("list")
def alias_list(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="Only aliases of this key.", metavar="[KEY]")] = "",
    limit: Limit = 1_000,
) -> None:
    """List aliases."""
    with connected(ctx) as client:
        found = client.pages(client.list_aliases, key)
        show_list(ctx, list(islice(found, limit)), _ALIAS_COLUMNS)


@tag_app.command("set")
def tag_set(
    ctx: typer.Context,
    key: KeyArgument,
    tags: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...")],
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Set tags on a key."""
    with connected(ctx) as client:
        show(ctx, client.tag_key(key, inputs.pairs(tags, "tags"), etag=etag, request_id=request_id))


@tag_app.command("remove")
def tag_remove(
    ctx: typer.Context,
    key: KeyArgument,
    names: Annotated[list[str], typer.Argument(metavar="NAME...")],
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Take tags off a key."""
    with connected(ctx) as client:
        show(ctx, client.untag_key(key, names, etag=etag, request_id=request_id))


@tag_app.command("list")
def tag_list(ctx: typer.Context, key: KeyArgument) -> None:
    """List the tags of a key."""
    with connected(ctx) as client:
        show(ctx, client.list_tags(key))


def _show_key(ctx: typer.Context, key: "Key") -> None:
    """Show a key; for people, the object of an adopted one below it, and what is to be said of that apart."""
    if key.adopted_object is None or options(ctx).as_json:
        show(ctx, key)
        return
    show(ctx, replace(key, adopted_object=None))
    note("\nthe object in the token:")
    show(ctx, replace(key.adopted_object, warnings=()))
    for warning in key.adopted_object.warnings:
        note(f"warning: {warning}")


def arn_of(client: "Client", key: str) -> str:
    """Find the ARN behind an alias, for calls that take no alias."""
    by_alias = key.startswith("alias/") or ":alias/" in key
    return client.describe_key(key).arn if by_alias else key


def _policy(client: "Client", source: str | None, administrators: list[str], users: list[str]) -> str:
    """Read or compose a policy; empty where none was asked for."""
    if source is not None and (administrators or users):
        raise invalid("policy", "give a file, or administrators and users, not both")
    if source is not None:
        return inputs.text(source, "policy")
    if not (administrators or users):
        return ""
    caller = client.get_caller_identity()
    managers = [policies.principal(text, caller.account) for text in administrators]
    return policies.compose(
        managers or [caller.principal_arn], [policies.principal(text, caller.account) for text in users]
    )
