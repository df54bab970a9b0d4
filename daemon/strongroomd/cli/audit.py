"""`strongroomd audit`: verify the log, and take the newest checkpoint away from this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroomd.cli.common import DEFAULT_CONFIG, Config, fail, reported, settings_of
from strongroomd.config import ExitCode

if TYPE_CHECKING:
    from strongroomd.storage.audit_reader import Report
    from strongroomd.storage.checkpoints import SignedCheckpoint

app = typer.Typer(help="Verify the audit log; print its newest signed checkpoint.", no_args_is_help=True)
Directory = Annotated[Path | None, typer.Option(help="The audit directory, if not the configuration's.")]


@app.command()
def verify(
    config: Config = DEFAULT_CONFIG,
    directory: Directory = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The checkpoint key's public half (PEM or DER), as `init` wrote it.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint kept elsewhere: finds truncation behind it.")
    ] = None,
) -> None:
    """Verify every chain and checkpoint; exits with 1 if anything is wrong."""
    from strongroomd.frontends.ops.signatures import checkpoint_verifier, successor_verifier  # noqa: PLC0415
    from strongroomd.storage.audit_reader import verify as verify_directory  # noqa: PLC0415

    if directory is None or public_key is None:
        settings = settings_of(config, check_files=False)
        directory = directory or settings.audit_directory
        public_key = public_key or settings.checkpoint_public_key
    with reported():
        signature_ok = checkpoint_verifier(_read(public_key))
        held = None if checkpoint is None else _held(checkpoint)
        if not directory.is_dir():
            fail("the audit directory does not exist", ExitCode.REFUSED)
        report = verify_directory(
            directory, signature_ok, held.checkpoint if held else None, successor_verifier
        )
        checks = [signature_ok, *map(successor_verifier, report.keys)]
        if held is not None and not any(ok(held.checkpoint.message(), held.signature) for ok in checks):
            fail("--checkpoint: its signature is not this daemon's", 1)
    _print(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command("checkpoint")
def newest(config: Config = DEFAULT_CONFIG, directory: Directory = None) -> None:
    """Print the newest signed checkpoint: keep it off this machine, and give it to `audit verify`."""
    from strongroomd.storage.checkpoints import CheckpointFile  # noqa: PLC0415

    directory = directory or settings_of(config, check_files=False).audit_directory
    with reported():
        signed = CheckpointFile(directory).newest()
    if signed is None:
        fail("there is no checkpoint yet", 1)
    typer.echo(signed.line(), nl=False)


def _held(path: Path) -> "SignedCheckpoint":
    """Read the verifier's own checkpoint; it is trusted only for its signature, by any key of this log."""
    from strongroomd.storage.checkpoints import parse_signed  # noqa: PLC0415

    try:
        return parse_signed(_read(path))
    except ValueError:
        fail("--checkpoint: this is no signed checkpoint", 1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {getattr(error, 'strerror', 'not a usable path')}", ExitCode.REFUSED)


def _print(report: "Report") -> None:
    for problem in report.problems:
        line = f" line {problem.line}" if problem.line else ""
        typer.echo(f"WRONG  {problem.where}{line}: {problem.text}")
    typer.echo(
        f"{report.records} records in {len(report.chains)} chains, {report.checkpoints} checkpoints; "
        f"{report.unsigned} records are newer than the newest checkpoint and not signed yet"
    )
    if report.keys:
        typer.echo(f"the checkpoint key was replaced {len(report.keys)} times, each time by the one before")
    typer.echo("the log is whole" if report.ok else f"{len(report.problems)} problems")
