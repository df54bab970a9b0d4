"""The alias of a key that is about to be made: checked first, so that no key is left without its name."""

import contextlib
import re
import uuid
from typing import TYPE_CHECKING

from strongroom.cli.output import note
from strongroom.errors import AccessDenied, NotFound, StrongroomError, error, invalid

if TYPE_CHECKING:
    from strongroom.client import Client

_NEW_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}", re.ASCII)


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
