"""How results are shown: JSON for programs, or tables for people. Secrets only where asked for."""

import base64
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TextIO

import typer

from strongroom.cli.session import options
from strongroom.errors import StrongroomError, error

_HIDDEN = "(hidden; use --json or an output file)"


def show(ctx: typer.Context, result: object) -> None:
    """Show one result: all its fields."""
    if options(ctx).as_json:
        print_json(result)
    else:
        _record(result)


def show_list(ctx: typer.Context, rows: Iterable[object], columns: Mapping[str, str]) -> None:
    """Show several results: all fields as JSON, chosen columns (heading -> field) as a table."""
    if options(ctx).as_json:
        print_json(list(rows))
    else:
        _table(list(rows), columns)


def print_json(value: object) -> None:
    """Print a value as JSON; bytes are base64, times ISO 8601 in UTC."""
    standard_output()
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def without(result: object, *fields: str) -> dict[str, object]:
    """Give the fields of a result but some."""
    return {name: value for name, value, _ in _fields(result) if name not in fields}


def standard_output() -> TextIO:
    """Give standard output, which whoever started us may have closed.

    Raises:
        StrongroomError: FILE_PROBLEM.
    """
    if sys.stdout is None:
        raise error("FILE_PROBLEM", "standard output is closed")
    return sys.stdout


def plain(value: object) -> object:  # noqa: PLR0911 - a case for each type
    """Make JSON's own types of a result."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case StrongroomError():
            return plain_error(value)
        case Mapping():
            return {str(name): plain(each) for name, each in value.items()}
        case Sequence():
            return [plain(each) for each in value]
        case _:
            return {name: plain(each) for name, each, _ in _fields(value)}


def plain_error(failure: StrongroomError) -> dict[str, object]:
    """Make JSON's own types of an error."""
    return {
        "error": {
            "reason": failure.reason,
            "message": failure.message,
            "field": failure.field,
            "retry_after": failure.retry_after,
            "request_id": failure.request_id,
            "code": failure.code,
        }
    }


def note(text: str) -> None:
    """Say something to the person at the terminal, away from the output."""
    typer.echo(text, err=True)


def is_terminal() -> bool:
    """Say whether a person reads the output."""
    return standard_output().isatty()


def _fields(value: object) -> Iterable[tuple[str, object, bool]]:
    """Give name, value and whether it may be shown, for each field of a result."""
    if not dataclasses.is_dataclass(value):
        return
    for field in dataclasses.fields(value):
        yield field.name, getattr(value, field.name), field.repr


def _record(value: object) -> None:
    from rich.table import Table  # noqa: PLC0415 - loaded only when a table is drawn

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, each, visible in _fields(value):
        if each not in ("", None, ()):
            table.add_row(name.replace("_", " "), _cell(each) if visible else _HIDDEN)
    _print(table)


def _table(rows: Sequence[object], columns: Mapping[str, str]) -> None:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(getattr(row, field)) for field in columns.values()))
    _print(table)


def _print(table: object) -> None:
    from rich.console import Console  # noqa: PLC0415

    # A pipe has no width: lines that a program reads are not folded.
    console = Console(width=None if is_terminal() else 400, highlight=False, soft_wrap=False)
    console.print(table)


def _cell(value: object) -> str:
    from rich.markup import escape  # noqa: PLC0415

    match value:
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = value.strftime("%Y-%m-%d %H:%M:%S UTC")
        case Mapping():
            text = "\n".join(f"{name}={each}" for name, each in value.items())
        case tuple():
            text = "\n".join(_cell(each) for each in value)
        case bytes():
            text = base64.b64encode(value).decode("ascii")
        case None:
            text = ""
        case _:
            text = _line(value)
    return escape(text)


def _line(value: object) -> str:
    if dataclasses.is_dataclass(value) and type(value).__str__ is object.__str__:
        return " ".join(_cell(each) for _, each, visible in _fields(value) if visible)
    return str(value)
