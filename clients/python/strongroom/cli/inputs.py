"""Bytes in and out: files, `-` for the standard streams, base64. No secret stands on the command line."""

import base64
import binascii
import contextlib
import select
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from strongroom.cli.output import is_terminal, print_json, standard_output, without
from strongroom.cli.session import options
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
        help="File to write, whole and with mode 0600, replacing what is there; - is standard output.",
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
GrantTokens = Annotated[
    list[str] | None,
    typer.Option("--grant-token", help="Of a grant that allows this; may be repeated.", metavar="TOKEN"),
]
KeyVersionOption = Annotated[int, typer.Option("--key-version", min=0, help="0 is the current one.")]
KeyArgument = Annotated[str, typer.Argument(help="alias/NAME, key id, key ARN or alias ARN.", metavar="KEY")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")]
Principals = list[str] | None
BypassLockoutCheck = Annotated[
    bool, typer.Option("--bypass-policy-lockout-safety-check", help="Allow a policy that locks you out.")
]
ApprovalOption = Annotated[
    str,
    typer.Option("--approval", help="An approved request for this, for protected keys.", metavar="ID"),
]
PublicKeyFile = Annotated[
    str, typer.Option("--public-key", help="PEM or DER of a public key.", metavar="FILE")
]
Etag = Annotated[str, typer.Option("--etag", help="Refuse if it changed since this etag was read.")]
ValidTo = Annotated[
    str,
    typer.Option(
        "--valid-to", help="When it expires, at most 365 days ahead.", metavar="YYYY-MM-DD[THH:MM:SSZ]"
    ),
]
RequestId = Annotated[
    str | None, typer.Option("--request-id", help="Idempotency key; by default a fresh one.", metavar="ID")
]


def moment(text: str, field: str = "valid_to") -> datetime:
    """Read a date, which begins in UTC, or a time with its zone. Raises INVALID_FIELD."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(field, "must be a date or a time such as 2027-01-31T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def read(name: str, field: str, *, decode: bool = False, limit: int = MAX_INPUT) -> bytes:
    """Read a file or standard input whole, at most `limit` bytes; with `decode` it is base64 text.

    Raises:
        StrongroomError: FILE_PROBLEM, FIELD_TOO_LARGE or INVALID_FIELD.
    """
    data = _read(name, limit + 1)
    if len(data) > limit:
        raise error("FIELD_TOO_LARGE", f"the input is larger than {limit:,} bytes", field=field)
    return from_base64(data, field) if decode else data


def write(name: str, data: bytes, *, text: bool = False, secret: bool = False) -> None:
    """Write bytes to a file or standard output; as base64 with `text`, or where a person would see binary.

    A file appears whole, with mode 0600, or what was there stays. A plaintext (`secret`) goes to a terminal
    as it is: it is what was asked for.

    Raises:
        StrongroomError: FILE_PROBLEM.
    """
    if text or (name == "-" and is_terminal() and not secret):
        data = base64.b64encode(data) + b"\n"
    if name == "-":
        output = standard_output().buffer
        output.write(data)
        output.flush()
        return
    from strongroom.files.targets import whole_file  # noqa: PLC0415 - loads cryptography

    try:
        with whole_file(Path(name), overwrite=True) as file:
            file.write(data)
    except (OSError, ValueError) as problem:
        raise file_problem(problem) from problem


def write_text(name: str, data: bytes) -> None:
    """Write text, which a person sees as it is. Raises FILE_PROBLEM."""
    write(name, data, secret=True)


def deliver(
    ctx: typer.Context,
    result: object,
    out: str,
    data: bytes,
    *fields: str,
    text: bool = False,
    secret: bool = False,
) -> None:
    """Write the bytes of an answer. As JSON, the whole answer, without those `fields` that went to a file."""
    as_json = options(ctx).as_json
    if out != "-" or not as_json:
        write(out, data, text=text, secret=secret)
    if as_json:
        print_json(result if out == "-" else without(result, *fields))


def refuse_both_from_stdin(field: str, one: str, other: str) -> None:
    """Refuse two inputs from one standard input: the second would be read as empty."""
    if one == other == "-":
        raise invalid(field, "two inputs cannot both come from standard input")


def standard_input() -> BinaryIO:
    """Give standard input, which whoever started us may have closed."""
    if sys.stdin is None:
        raise error("FILE_PROBLEM", "standard input is closed")
    return sys.stdin.buffer


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


def text(name: str, field: str, *, limit: int = MAX_INPUT) -> str:
    """Read a file or standard input as UTF-8 text."""
    try:
        return read(name, field, limit=limit).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid(field, "must be UTF-8 text") from None


def public_key(name: str) -> bytes:
    """Read a public key in PEM or DER, as DER SubjectPublicKeyInfo."""
    from strongroom import signing  # noqa: PLC0415 - loads cryptography

    return signing.spki(read(name, "public_key"))


def file_problem(problem: OSError | ValueError) -> StrongroomError:
    """Say what the operating system says."""
    why = problem.strerror if isinstance(problem, OSError) and problem.strerror else "not a valid path"
    return error("FILE_PROBLEM", f"the file cannot be used: {why}")


@contextlib.contextmanager
def file_problems(target: AbstractContextManager[BinaryIO]) -> Iterator[BinaryIO]:
    """Open a file to write, and tell of its problems as of any other's."""
    try:
        with target as file:
            yield file
    except (OSError, ValueError) as problem:
        raise file_problem(problem) from problem


def _read(name: str, size: int) -> bytes:
    try:
        if name == "-":
            return _read_waiting(standard_input(), size)
        with Path(name).open("rb") as file:
            return file.read(size)
    except (OSError, ValueError) as problem:
        raise file_problem(problem) from problem


def _read_waiting(source: BinaryIO, size: int) -> bytes:
    """Read to the end, also where whoever started us made the pipe non-blocking: no data is not the end."""
    parts: list[bytes] = []
    while size > 0 and (part := _read_some(source, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _read_some(source: BinaryIO, size: int) -> bytes:
    # Typeshed does not know that a buffered reader of a non-blocking pipe gives None.
    while (part := cast("bytes | None", source.read(size))) is None:
        select.select([source], [], [])
    return part
