"""`strongroomd backup`: one encrypted, signed set, made while the daemon serves."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from strongroomd.cli.common import DEFAULT_CONFIG, Config, reported, settings_of


def backup(
    config: Config = DEFAULT_CONFIG,
    *,
    to: Annotated[
        Path | None, typer.Option(help="Folder for the set; [backup] directory if not given.")
    ] = None,
    with_tls_keys: Annotated[
        bool,
        typer.Option("--with-tls-keys", help="Save the doors' certificates and their private keys, too."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was saved as JSON.")] = False,
) -> None:
    """Save store, token (SoftHSM), audit log and configuration as one set; beside a serving daemon or not.

    The set is encrypted to the keys in [backup] recipients_file, whose private halves are elsewhere, and
    signed by the house. Either there is a whole set in the end or none.
    """
    from strongroomd.wiring.backing import back_up  # noqa: PLC0415 - it loads every room

    settings = settings_of(config, check_files=False)
    with reported():
        finished = asyncio.run(back_up(settings, to, with_tls=with_tls_keys))
    if as_json:
        typer.echo(json.dumps({"place": str(finished.place), **finished.facts()}))
        return
    claims = finished.claims
    typer.echo(
        f"{finished.place}: {claims.keys} key versions, {claims.payload_bytes >> 10} KiB, encrypted, signed"
    )
    for procedure in finished.procedures:
        typer.echo(procedure)
