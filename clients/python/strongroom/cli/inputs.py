"""Bytes in and out: files, `-` for the standard streams, base64. No secret stands on the command line."""

import base64
import binascii
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.output import is_terminal
from strongroom.errors import StrongroomError, error, invalid

MAX_INPUT = (
    1 << 20
)  # bytes; far above what any call takes, so that a wrong file is refused and not read for ever

In = Annotated[str, typer.Option("--in", "-i", help="File to read; - is standard input.", metavar="FILE")]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        help="File to write, mode 0600, replacing what is there; - is standard output.",
        metavar="FILE",
    ),
]
Base64 = Annotated[bool, typer.Option("--base64", help="Binary input and output is base64 text.")]
ContextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--context", "-c", help="Encryption context; may be repeated. Not secret.", metavar="NAME=VALUE"
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Make the checks only.")]
KeyVersionOption = Annotated[int, typer.Option("--key-version", min=0, help="0 is the current one.")]
KeyArgument = Annotated[str, typer.Argument(help="alias/NAME, key id, key ARN or alias ARN.", metavar="KEY")]
Etag = Annotated[str, typer.Option("--etag", help="Refuse if it changed since this etag was read.")]
RequestId = Annotated[
    str | None, typer.Option("--request-id", help="Idempotency key; by default a fresh one.", metavar="ID")
]


def read(name: str, field: str, *, decode: bool = False) -> bytes:
    """Read a file or standard input whole; with `decode` it is base64 text.

    Raises:
        StrongroomError: FILE_PROBLEM, FIELD_TOO_LARGE or INVALID_FIELD.
    """
    data = _read(name)
    if len(data) > MAX_INPUT:
        raise error("FIELD_TOO_LARGE", "the input is larger than any call takes", field=field)
    return from_base64(data, field) if decode else data


def write(name: str, data: bytes, *, text: bool = False, secret: bool = False) -> None:
    """Write bytes to a file or standard output; as base64 with `text`, or where a person would see binary.

    A plaintext (`secret`) goes to a terminal as it is: it is what was asked for.
    """
    if text or (name == "-" and is_terminal() and not secret):
        data = base64.b64encode(data) + b"\n"
    if name == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except (OSError, ValueError) as problem:
        raise file_problem(problem) from problem


def from_base64(data: bytes, field: str) -> bytes:
    """Decode base64 text, with or without line breaks."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (ValueError, binascii.Error):
        raise invalid(field, "must be base64") from None


def pairs(given: list[str] | None, field: str) -> dict[str, str]:
    """Read NAME=VALUE arguments; a name may be given once."""
    found: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise invalid(field, "must be NAME=VALUE")
        if name in found:
            raise invalid(field, "must name each NAME once")
        found[name] = value
    return found


def text(name: str, field: str) -> str:
    """Read a file or standard input as UTF-8 text."""
    try:
        return read(name, field).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid(field, "must be UTF-8 text") from None


def file_problem(problem: OSError | ValueError) -> StrongroomError:
    """Say what the operating system says."""
    why = problem.strerror if isinstance(problem, OSError) and problem.strerror else "not a valid path"
    return error("FILE_PROBLEM", f"the file cannot be used: {why}")


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(MAX_INPUT + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_INPUT + 1)
    except (OSError, ValueError) as problem:
        raise file_problem(problem) from problem
