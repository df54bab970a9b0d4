"""`strongroom key create` and `adopt`: a key is made and named, so that both repeat as one."""

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import aliases, inputs, policies
from strongroom.cli.inputs import BypassLockoutCheck, Etag, Principals, RequestId
from strongroom.cli.output import note, show
from strongroom.cli.session import connected, options
from strongroom.errors import invalid
from strongroom.names import CustodyMode, KeySpec, KeyUsage

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.client import Client
    from strongroom.results import Key

Administrators = Annotated[
    Principals,
    typer.Option(
        help="May manage the key, not use it; may be repeated. By default you.", metavar="PRINCIPAL"
    ),
]
Users = Annotated[
    Principals, typer.Option(help="May use the key, not manage it; may be repeated.", metavar="PRINCIPAL")
]
PolicyFile = Annotated[str | None, typer.Option(help="File with a policy instead; - is standard input.")]
Description = Annotated[str, typer.Option(help="Free text, not secret.")]
TagOption = Annotated[list[str] | None, typer.Option(help="May be repeated.", metavar="NAME=VALUE")]


def create(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    spec: Annotated[KeySpec, typer.Option(help="Kind and size.")] = KeySpec.SYMMETRIC_DEFAULT,
    usage: Annotated[KeyUsage | None, typer.Option(help="Needed for RSA and NIST curves.")] = None,
    alias: Annotated[
        str | None, typer.Option(help="Give the key this alias as well.", metavar="ALIAS")
    ] = None,
    administrator: Administrators = None,
    user: Users = None,
    policy: PolicyFile = None,
    description: Description = "",
    tag: TagOption = None,
    custody: Annotated[CustodyMode | None, typer.Option(help="Where the secret half lives.")] = None,
    token: Annotated[
        str, typer.Option(help="The token that the key shall live in; the daemon's default if not given.")
    ] = "",
    exportable: Annotated[
        bool, typer.Option("--exportable", help="May later leave, under dual control; fixed for ever.")
    ] = False,
    external: Annotated[
        bool, typer.Option("--external", help="Without material: import it with strongroom material.")
    ] = False,
    multi_region: Annotated[
        bool, typer.Option("--multi-region", help="Can be replicated to the account's peers; fixed for ever.")
    ] = False,
    quorum: Annotated[
        int,
        typer.Option(
            min=0, max=8, help="How many must approve what is guarded; protects the key, fixed for ever."
        ),
    ] = 0,
    bypass: BypassLockoutCheck = False,
    request_id: RequestId = None,
) -> None:
    """Make a key inside the HSM.

    Principals are ARNs, or user/NAME, role/NAME, service/NAME of your own account.
    """

    def make(client: "Client", request: str) -> "Key":
        return client.create_key(
            spec=spec,
            usage=usage or "",
            custody_mode=custody or "",
            exportable=exportable,
            description=description,
            policy=policies.given(client, policy, administrator or [], user or []),
            tags=inputs.pairs(tag, "tag"),
            bypass_policy_lockout_safety_check=bypass,
            request_id=request,
            token=token,
            origin="EXTERNAL" if external else "",
            quorum=quorum,
            multi_region=multi_region,
        )

    _make_and_name(ctx, alias, request_id, make)


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
    administrator: Administrators = None,
    user: Users = None,
    policy: PolicyFile = None,
    description: Description = "",
    tag: TagOption = None,
    bypass: BypassLockoutCheck = False,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Make a key of an AES-256 object that is in the token already; the object itself is never changed.

    For operators. Read the warnings of the answer: they say what the token does not prevent.
    """
    if key and alias is not None:
        raise invalid("alias", "is for new keys only")

    def make(client: "Client", request: str) -> "Key":
        return client.adopt_key(
            cka_id=cka_id,
            label=label,
            token=token,
            key=key,
            etag=etag,
            description=description,
            policy=policies.given(client, policy, administrator or [], user or []),
            tags=inputs.pairs(tag, "tag"),
            bypass_policy_lockout_safety_check=bypass,
            request_id=request,
        )

    _make_and_name(ctx, alias, request_id, make)


def _make_and_name(
    ctx: typer.Context,
    alias: str | None,
    request_id: str | None,
    make: "Callable[[Client, str], Key]",
) -> None:
    """Make a key, by a function that takes the request_id; show it, and name it if it is to have an alias."""
    name = None if alias is None else aliases.checked_name(alias)
    request = str(uuid.uuid4()) if request_id is None else request_id
    with connected(ctx) as client:
        if name is not None and request_id is None:
            # Not for a call that is repeated: there the alias is the one that the first call made.
            aliases.refuse_taken(client, name)
        made = make(client, request)
        show_key(ctx, made)
        if name is not None:
            aliases.name_new_key(client, name, made.arn, request)


def show_key(ctx: typer.Context, key: "Key") -> None:
    """Show a key; for people, the object of an adopted one below it, and what is to be said of that apart."""
    if key.adopted_object is None or options(ctx).as_json:
        show(ctx, key)
        return
    show(ctx, replace(key, adopted_object=None))
    note("\nthe object in the token:")
    show(ctx, replace(key.adopted_object, warnings=()))
    for warning in key.adopted_object.warnings:
        note(f"warning: {warning}")
