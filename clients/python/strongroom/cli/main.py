"""`strongroom`: the tree of verbs, the global options, and what becomes of errors."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from strongroom import errors
from strongroom.cli import (
    access,
    admin,
    aliases,
    approvals,
    attest,
    credentials,
    crypto,
    datakeys,
    events,
    exports,
    files,
    grants,
    keks,
    keys,
    keystores,
    material,
    quotarequests,
    renew,
    replicas,
    selftest,
    tags,
    trials,
)
from strongroom.cli.output import note, plain_error, print_json, standard_output
from strongroom.cli.session import Options, options
from strongroom.reasons import EXPLANATIONS, Explanation

EXIT_CODES: Final[tuple[tuple[type[errors.StrongroomError], int], ...]] = (
    (errors.DryRunSucceeded, 0),
    (errors.AccessDenied, 3),
    (errors.Throttled, 5),
    (errors.Unavailable, 6),
    (errors.DeadlineExceeded, 6),
    (errors.NotGenuine, 7),
    (errors.IntegrityError, 7),
    (errors.ConfigurationError, 8),
    (errors.CallerError, 4),
    (errors.StrongroomError, 1),
)
"""Exit code of the first class that an error is of."""

_EXIT_HELP: Final = """
Exit codes: 0 done; 1 the daemon failed; 2 wrong usage; 3 access denied; 4 the request or the key's state
does not allow it; 5 throttled; 6 unavailable, or the deadline passed; 7 not genuine, or damaged; 8 the
client's settings; 130 interrupted.

--json and --profile may stand anywhere, other global options before the verb.
"""
_WRONG_USAGE: Final = 2
_INTERRUPTED: Final = 130

app = typer.Typer(
    name="strongroom",
    help="Work with keys that never leave the HSM." + _EXIT_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(keys.app, name="key")
app.add_typer(aliases.app, name="alias")
app.add_typer(tags.app, name="tag")
app.add_typer(material.app, name="material")
app.command("encrypt")(crypto.encrypt)
app.command("decrypt")(crypto.decrypt)
app.command("re-encrypt")(crypto.re_encrypt)
app.add_typer(renew.app, name="renew")
app.add_typer(datakeys.app, name="datakey")
app.command("sign")(crypto.sign)
app.command("verify")(crypto.verify)
app.add_typer(crypto.mac_app, name="mac")
app.command("derive")(crypto.derive)
app.command("random")(crypto.random)
app.add_typer(datakeys.batch_app, name="batch")
app.add_typer(files.app, name="file")
app.add_typer(grants.app, name="grant")
app.add_typer(keks.app, name="kek")
app.add_typer(trials.app, name="policy")
app.add_typer(quotarequests.quota_app, name="quota")
app.add_typer(attest.app, name="attest")
app.add_typer(admin.audit_app, name="audit")
app.add_typer(access.account_app, name="account")
app.add_typer(access.principal_app, name="principal")
app.add_typer(credentials.identity_app, name="identity")
app.add_typer(credentials.access_key_app, name="access-key")
app.add_typer(credentials.role_app, name="role")
xks_app = typer.Typer(help="AWS KMS external key stores.", no_args_is_help=True)
keystores.attach(xks_app)
xks_app.command("selftest")(selftest.selftest)
app.add_typer(xks_app, name="xks")
app.add_typer(approvals.app, name="approvals")
app.add_typer(exports.app, name="export")
app.add_typer(replicas.peer_app, name="peer")
app.add_typer(replicas.app, name="replica")
app.add_typer(events.events_app, name="events")
app.add_typer(events.compliance_app, name="compliance")
app.command("whoami")(admin.whoami)


class Shell(StrEnum):
    """Shells that have completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - slow to load

        typer.echo(f"strongroom {version('strongroom')}")
        raise typer.Exit


@app.callback()
def global_options(  # noqa: PLR0913, PLR0917 - the global options
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    profile: Annotated[str | None, typer.Option(help="Profile of the configuration file.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="The daemon's host:port.")] = None,
    ca: Annotated[str | None, typer.Option(help="PEM of the daemon's authority.", metavar="FILE")] = None,
    cert: Annotated[str | None, typer.Option(help="PEM of your certificate.", metavar="FILE")] = None,
    key: Annotated[str | None, typer.Option(help="PEM of its private key.", metavar="FILE")] = None,
    server_name: Annotated[str | None, typer.Option(help="Name in the daemon's certificate.")] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Deadline of a call, in seconds; 10 by default.")
    ] = None,
    assume_role: Annotated[str | None, typer.Option(help="Do it as this role.", metavar="ARN")] = None,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the global options; each may also be set as STRONGROOM_<NAME> or in the profile."""
    ctx.obj = Options(as_json, profile, endpoint, ca, cert, key, server_name, timeout, assume_role)


@app.command("explain")
def explain(
    ctx: typer.Context,
    reason: Annotated[
        str | None, typer.Argument(help="A reason, as errors name it; all without one.")
    ] = None,
) -> None:
    """Explain an error reason: what it means, whose it is, what to do."""
    if reason is None:
        _list_reasons(ctx)
        return
    found = EXPLANATIONS.get(reason.upper())
    if found is None:
        raise errors.error(
            "NOT_FOUND", "no reason has this name; strongroom explain lists them all", field="reason"
        )
    if options(ctx).as_json:
        print_json(found)
    else:
        typer.echo(f"{reason.upper()}\n\n{found.meaning}\n\nWho must act: {found.who}.\n{found.action}")


@app.command("completion")
def completion(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Print the completion script of a shell: eval "$(strongroom completion bash)"."""
    os.environ["_STRONGROOM_COMPLETE"] = f"source_{shell.value}"
    app(args=[], prog_name="strongroom")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # File names and descriptions may hold what the terminal's encoding has not.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(hoist(given))
    except errors.StrongroomError as error:
        sys.exit(_report(error, as_json="--json" in hoist(given)[:1]))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(0)


def _run(arguments: list[str]) -> None:
    """Run one command to the last byte of its output, which may find the disk full."""
    standard_output()  # before anything is done whose answer would be lost
    try:
        try:
            app(args=arguments, prog_name="strongroom")
        finally:
            sys.stdout.flush()
    except OSError as problem:
        # What is left in the buffer would fail again, without a word of ours, when Python ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(problem, BrokenPipeError):
            sys.exit(1)  # as of `| head`: the reader has enough
        why = problem.strerror or "an error"
        raise errors.error("FILE_PROBLEM", f"input or output failed: {why}") from None


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move --json and --profile, wherever they stand before a `--`, to the front, as typer wants them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags: list[str] = []
    profile: list[str] = []
    rest: list[str] = []
    words = iter(arguments[:end])
    for word in words:
        if word == "--json":
            flags = [word]
        elif word == "--profile":
            # Without a value it stays alone, and typer says what is missing.
            value = next(words, None)
            if value is not None and value.startswith("-"):
                return list(arguments)
            profile = [word] if value is None else [word, value]
        elif word.startswith("--profile="):
            profile = [word]
        else:
            rest.append(word)
    return [*flags, *profile, *rest, *arguments[end:]]


def exit_code(error: errors.StrongroomError) -> int:
    """Say which exit code an error has."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def _report(error: errors.StrongroomError, *, as_json: bool) -> int:
    if isinstance(error, errors.DryRunSucceeded):
        note("dry run: every check passed, nothing was done")
    elif as_json:
        note(json.dumps(plain_error(error), indent=2))
    else:
        note("\n".join(_lines(error)))
    return exit_code(error)


def _lines(error: errors.StrongroomError) -> list[str]:
    lines = [f"error: {error.reason}: {error.message}"]
    if error.field:
        lines.append(f"  field: {error.field}")
    lines += [f"  {subject}: {text}" for subject, text in error.violations if text != error.message]
    if error.retry_after is not None:
        lines.append(f"  try again in {error.retry_after:.3g} s")
    if error.request_id:
        lines.append(f"  request id: {error.request_id}")
    if isinstance(error.__cause__, errors.StrongroomError):
        lines.append(f"  before that: {error.__cause__.reason}: {error.__cause__.message}")
    if error.reason in EXPLANATIONS:
        lines.append(f"  more: strongroom explain {error.reason}")
    return lines


def _list_reasons(ctx: typer.Context) -> None:
    if options(ctx).as_json:
        print_json(EXPLANATIONS)
        return
    width = max(map(len, EXPLANATIONS))
    for name, found in EXPLANATIONS.items():
        typer.echo(f"{name:<{width}}  {_first_sentence(found)}")


def _first_sentence(explanation: Explanation) -> str:
    return explanation.meaning.partition(". ")[0].rstrip(".") + "."


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    # As an exception, so that files under way are removed.
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
