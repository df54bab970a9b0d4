"""The `strongroomd` command and its everyday verbs.

Each verb imports what it runs only when it runs: the supervisor must never load gRPC or a PKCS#11 module.
"""

import gc
import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer

from strongroomd import __version__
from strongroomd.cli import audit, backup, ceremony, dev, doctor, restore, rewrap
from strongroomd.cli.common import DEFAULT_CONFIG, Config, demand_settled, reported, say, settings_of
from strongroomd.cli.founding import complete, found, found_token
from strongroomd.config import ConfigurationErrors, ExitCode, Settings, load, read

app = typer.Typer(
    name="strongroomd",
    help="Custody of keys that are made and used inside an HSM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(audit.app, name="audit")
app.add_typer(ceremony.app, name="ceremony")
app.command("doctor")(doctor.doctor)
app.command("dev")(dev.dev)
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("rewrap")(rewrap.rewrap)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def global_options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the versions.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Custody of keys that are made and used inside an HSM."""


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def serve(config: Config = DEFAULT_CONFIG) -> None:
    """Serve in the foreground, until SIGTERM."""
    from strongroomd.supervisor import Supervisor  # noqa: PLC0415
    from strongroomd.telemetry import logs  # noqa: PLC0415

    demand_settled(settings_of(config))
    try:
        data = read(config)
        settings = load(config, data)
    except ConfigurationErrors as errors:
        say(f"the configuration changed just now: {errors}")
        raise typer.Exit(int(ExitCode.REFUSED)) from None
    logs.configure(settings.telemetry.log_level)
    raise typer.Exit(int(Supervisor(settings, data).run()))


@app.command(hidden=True)
def worker(  # noqa: PLR0913, PLR0917 - the supervisor's arguments, one to one
    config: Annotated[Path, typer.Option()],
    index: Annotated[int, typer.Option()],
    parent: Annotated[int, typer.Option()],
    grpc_port: Annotated[int, typer.Option()],
    ops_port: Annotated[int, typer.Option()],
    heartbeat_fd: Annotated[int, typer.Option()],
    config_fd: Annotated[int, typer.Option()],
    pin_fd: Annotated[int | None, typer.Option()] = None,
    token_pin: Annotated[list[str] | None, typer.Option()] = None,
    xks_port: Annotated[int | None, typer.Option()] = None,
    wary: Annotated[bool, typer.Option("--wary")] = False,  # noqa: FBT002 - the supervisor's, by name
) -> None:
    """Be one worker; the supervisor starts it."""
    gc.disable()  # what is loaded stays: to look for garbage in it meanwhile takes a quarter of the time
    from strongroomd import wiring  # noqa: PLC0415
    from strongroomd.worker import WorkerArguments, run  # noqa: PLC0415

    gc.enable()
    arguments = WorkerArguments(
        config=config,
        index=index,
        parent=parent,
        grpc_port=grpc_port,
        ops_port=ops_port,
        heartbeat_fd=heartbeat_fd,
        config_fd=config_fd,
        pin_fd=pin_fd,
        token_pin_fds=_descriptors(token_pin or []),
        xks_port=xks_port,
        wary=wary,
    )
    code = run(arguments, wiring.assemble)
    sys.stderr.flush()
    # Everything durable is on disk by now. Taking the interpreter down would wait for threads that may be
    # caught in a module, and would unload the module under them.
    os._exit(code)


def _descriptors(token_pins: list[str]) -> dict[str, int]:
    """Read the supervisor's `NAME:DESCRIPTOR` of each further token whose PIN came by descriptor."""
    pairs = (pair.rpartition(":") for pair in token_pins)
    return {name: int(descriptor) for name, _, descriptor in pairs}


@app.command("check-config")
def check_config(config: Config = DEFAULT_CONFIG) -> None:
    """Print every mistake of the configuration, or that there is none."""
    settings = settings_of(config)
    typer.echo(f"{settings.source}: no mistakes")


@app.command()
def init(
    config: Config = DEFAULT_CONFIG,
    so_pin_file: Annotated[
        Path | None,
        typer.Option(
            help="Holds the security officer's PIN, to set the user PIN of a token that has none yet: the"
            " main one, or the one of --token."
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Only prepare this further token, for a house that is in use.")
    ] = None,
) -> None:
    """Make the house keys in fresh tokens and the store beside them; refuses a used token."""
    settings = settings_of(config)
    demand_settled(settings)
    if token is not None:
        _init_token(settings, token, so_pin_file)
        return
    with reported():
        found(settings, so_pin_file)
    typer.echo("the token holds the house keys, and the store is ready; start with `strongroomd serve`")
    for further in settings.hsm.tokens:
        _init_token(settings, further.name)


def _init_token(settings: Settings, name: str, so_pin_file: Path | None = None) -> None:
    """Prepare one further token.

    What fails before its house keys are there can be repeated with `--token`; cut off later, the token must
    be initialised anew, as it refuses to be emptied.
    """
    with reported():
        found_token(settings, name, so_pin_file)
    typer.echo(f"token {name} holds its house keys; keys can be made there once the daemon has found it")


@app.command()
def migrate(config: Config = DEFAULT_CONFIG) -> None:
    """Bring the store to this version's schema, and make house keys that came since the house was founded.

    Stop the daemon first, and keep a copy of store and token. The PIN is needed only where keys are made.
    """
    from strongroomd.storage.migration import migrate as migrate_store  # noqa: PLC0415

    settings = settings_of(config)
    with reported():
        migrate_store(settings.store_url)
        made = complete(settings)
    typer.echo(f"{settings.store_path}: at this version's schema")
    if made:
        typer.echo(f"house keys made in the token: {made}")


@app.command()
def version() -> None:
    """Print the versions of the daemon and of Python."""
    typer.echo(f"strongroomd {__version__} on Python {platform.python_version()}")
