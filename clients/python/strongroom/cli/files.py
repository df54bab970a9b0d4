"""`strongroom file`: envelope encryption of files of any size."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from strongroom.cli.inputs import ContextOption, KeyArgument, pairs, standard_input
from strongroom.cli.output import note, print_json, standard_output
from strongroom.cli.session import connected, options

app = typer.Typer(help="Encrypt files of any size.", no_args_is_help=True)

SourceArgument = Annotated[str, typer.Argument(help="File to read; - is standard input.", metavar="SOURCE")]
TargetArgument = Annotated[
    str,
    typer.Argument(
        help="File to write; it appears only when it is whole. - is standard output.", metavar="TARGET"
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace a target that exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


@app.command("encrypt")
def encrypt(
    ctx: typer.Context,
    key: KeyArgument,
    source: SourceArgument,
    target: TargetArgument,
    context: ContextOption = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Encrypt a file under a data key of its own. Only this key of the daemon can open it again."""
    from strongroom.files import encrypt_file  # noqa: PLC0415 - loads cryptography

    with connected(ctx) as client, _progress(source, quiet=quiet) as progress:
        done = encrypt_file(
            client,
            key,
            _source(source),
            _target(target),
            context=pairs(context, "context"),
            overwrite=force,
            progress=progress,
        )
    _report(ctx, target, f"encrypted {done.size:,} bytes under {done.key_arn}", done)


@app.command("decrypt")
def decrypt(
    ctx: typer.Context,
    source: SourceArgument,
    target: TargetArgument,
    key: Annotated[str, typer.Option("--key", help="The key that it must be of.", metavar="KEY")] = "",
    context: ContextOption = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Decrypt a file. Nothing of it appears before all of it has verified, on standard output neither."""
    from strongroom.files import decrypt_file  # noqa: PLC0415

    with connected(ctx) as client, _progress(source, quiet=quiet) as progress:
        done = decrypt_file(
            client,
            _source(source),
            _target(target),
            key=key,
            context=pairs(context, "context"),
            overwrite=force,
            progress=progress,
        )
    _report(ctx, target, f"decrypted {done.size:,} bytes", done)


def _source(name: str) -> str | BinaryIO:
    return standard_input() if name == "-" else name


def _target(name: str) -> str | BinaryIO:
    return standard_output().buffer if name == "-" else name


def _report(ctx: typer.Context, target: str, text: str, done: object) -> None:
    # With the file itself on standard output there is no room for JSON.
    if options(ctx).as_json and target != "-":
        print_json(done)
    else:
        note(text)


@contextlib.contextmanager
def _progress(source: str, *, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """Show a bar to a person at the terminal, on standard error."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - loaded only when a bar is drawn
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=_size(source))
        yield lambda done: bar.advance(task, done)


def _size(source: str) -> int | None:
    if source == "-":
        return None
    try:
        return Path(source).stat().st_size
    except (OSError, ValueError):
        # Opening it will say what is wrong.
        return None
