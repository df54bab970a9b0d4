"""`strongroom renew`: old ciphertexts brought to the newest version of their key."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import Base64, ContextOption
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected, options
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from strongroom.renewal import Renewer

app = typer.Typer(
    help="Bring old ciphertexts to the newest version of their key; no plaintext comes here.",
    no_args_is_help=True,
)
Destination = Annotated[
    str, typer.Option("--to", help="Encrypt under this key instead of each one's own.", metavar="KEY")
]
Count = Annotated[bool, typer.Option("--dry-run", help="Only count, by key and version.")]
_TELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class VersionCount:
    """How many ciphertexts were found of a version."""

    key_id: str
    version: int
    ciphertexts: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did, or in a dry run would do."""

    renewed: int
    current: int
    failed: int
    versions: tuple[VersionCount, ...]


@app.command("files")
def files(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files, each a ciphertext.", metavar="FILE...")],
    destination: Destination = "",
    base64: Base64 = False,
    context: ContextOption = None,
    dry_run: Count = False,
) -> None:
    """Renew files that are a ciphertext each; each is replaced whole. --base64 says that they are text.

    A run that was cut off is run again: what is of the newest version already stays as it is. Files of
    `strongroom file encrypt` are no such ciphertexts.
    """
    from strongroom.renewal import Renewer, renew_file  # noqa: PLC0415 - loads gRPC

    failures: list[StrongroomError] = []
    tell = _progress()
    shared = inputs.pairs(context, "context")
    with (
        connected(ctx) as client,
        Renewer(client, destination=destination, context=shared, dry_run=dry_run) as renewer,
    ):
        for number, path in enumerate(paths, 1):
            try:
                renew_file(renewer, path, text=base64)
            except StrongroomError as error:
                failures.append(error)
                note(f"{path}: {error.reason}: {error.message}")
            tell(number, len(paths))
        _finish(ctx, renewer, failures)


@app.command("lines")
def lines(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="File of JSON objects, one a line.", metavar="FILE")],
    field: Annotated[str, typer.Option(help="The member that holds the ciphertext, base64.")] = "ciphertext",
    destination: Destination = "",
    context: ContextOption = None,
    dry_run: Count = False,
) -> None:
    """Renew the ciphertexts in a file of JSON lines; the file is replaced whole, at the end.

    A line's encryption context is its member "context", or --context. Progress is kept in FILE.renewing,
    where a run that was cut off is continued. Lines that fail stay as they are.
    """
    from strongroom.renewal import Renewer, renew_lines  # noqa: PLC0415

    shared = inputs.pairs(context, "context")
    with (
        connected(ctx) as client,
        Renewer(client, destination=destination, context=shared, dry_run=dry_run) as renewer,
    ):
        failed = renew_lines(renewer, path, field=field, tell=_progress())
        for number, error in failed:
            note(f"line {number}: {error.reason}: {error.message}")
        _finish(ctx, renewer, [error for _, error in failed])


def _finish(ctx: typer.Context, renewer: "Renewer", failures: list[StrongroomError]) -> None:
    versions = tuple(VersionCount(*place, count) for place, count in sorted(renewer.counts.items()))
    report = Report(renewer.renewed, renewer.current, len(failures), versions)
    if options(ctx).as_json:
        show(ctx, report)
    else:
        columns = {"key": "key_id", "version": "version", "ciphertexts": "ciphertexts"}
        show_list(ctx, versions, columns)
        verb = "would be renewed" if renewer.dry_run else "renewed"
        note(f"{report.renewed} {verb}, {report.current} of the newest version, {report.failed} failed")
    if failures:
        raise failures[0]


def _progress() -> Callable[[int, int], None]:
    """Tell a person at the terminal how far it is, once a second."""
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if sys.stderr is not None and sys.stderr.isatty() and now - told >= _TELL_SECONDS:
            told = now
            note(f"{done} of {total}")

    return tell
