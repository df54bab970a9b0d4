"""`strongroom alias`, and the alias of a key that is about to be made.

That one is checked first, so that no key is left without its name.
"""

import contextlib
import re
import uuid
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.inputs import Etag, KeyArgument, Limit, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected
from strongroom.errors import AccessDenied, NotFound, StrongroomError, error, invalid

if TYPE_CHECKING:
    from strongroom.client import Client

app = typer.Typer(help="Second names of keys.", no_args_is_help=True)

AliasArgument = Annotated[str, typer.Argument(help="alias/NAME, or just NAME.", metavar="ALIAS")]
_COLUMNS = {"alias": "name", "key": "key_arn", "updated": "updated_time"}
_NEW_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}", re.ASCII)


@app.command("create")
def create(ctx: typer.Context, alias: AliasArgument, key: KeyArgument, request_id: RequestId = None) -> None:
    """Give a key a second name."""
    with connected(ctx) as client:
        show(ctx, client.create_alias(full_name(alias), arn_of(client, key), request_id=request_id))


@app.command("update")
def update(
    ctx: typer.Context, alias: AliasArgument, key: KeyArgument, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Point an alias at another key of the same kind."""
    with connected(ctx) as client:
        found = client.update_alias(full_name(alias), arn_of(client, key), etag=etag, request_id=request_id)
        show(ctx, found)


@app.command("delete")
def delete(ctx: typer.Context, alias: AliasArgument, etag: Etag = "", request_id: RequestId = None) -> None:
    """Take an alias away; its key stays."""
    with connected(ctx) as client:
        client.delete_alias(full_name(alias), etag=etag, request_id=request_id)
    note("deleted")


@app.command("list")
def list_(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="Only aliases of this key.", metavar="[KEY]")] = "",
    limit: Limit = 1_000,
) -> None:
    """List aliases."""
    with connected(ctx) as client:
        found = client.pages(client.list_aliases, key)
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


def full_name(text: str) -> str:
    """Spell an alias that may be given without its `alias/`."""
    return text if text.startswith(("alias/", "arn:")) else f"alias/{text}"


def checked_name(text: str) -> str:
    """Check the name of an alias that shall be made, before there is a key for it."""
    name = full_name(text)
    if not _NEW_ALIAS.fullmatch(name) or name.startswith("alias/aws/"):
        raise invalid("alias", "must be 1 to 250 letters, digits, /, _ or -, and not begin with aws/")
    return name


def refuse_taken(client: "Client", name: str) -> None:
    """Refuse an alias that exists, as far as the caller may know it; the daemon has the last word."""
    with contextlib.suppress(AccessDenied, NotFound):
        found = client.describe_key(name)
        raise error("ALREADY_EXISTS", f"the alias is taken: it names {found.arn}", field="alias")
    with contextlib.suppress(AccessDenied):
        if any(alias.name == name for alias in client.pages(client.list_aliases)):
            raise error("ALREADY_EXISTS", "the alias is taken", field="alias")


def name_new_key(client: "Client", name: str, arn: str, token: str) -> None:
    """Name a key; the same request_id of the key gives the same here, so that both calls repeat as one."""
    own = token and str(uuid.uuid5(uuid.NAMESPACE_URL, f"strongroom:create-alias:{token}"))
    try:
        client.create_alias(name, arn, request_id=own)
    except StrongroomError:
        note(f"the key was made, but not its alias; it is {arn}")
        raise
    note(f"it is {name}")


def arn_of(client: "Client", key: str) -> str:
    """Find the ARN behind an alias, for calls that take no alias."""
    by_alias = key.startswith("alias/") or ":alias/" in key
    return client.describe_key(key).arn if by_alias else key
