"""What every command shares: the configuration option, and how errors end a command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from strongroomd.config import ConfigurationErrors, ExitCode, Settings, load
from strongroomd.domain.errors import Fault, StrongroomError

DEFAULT_CONFIG: Final = Path("/etc/strongroom/strongroomd.toml")
Config = Annotated[
    Path, typer.Option("--config", "-c", envvar="STRONGROOM_CONFIG", help="The daemon's configuration file.")
]


def settings_of(path: Path, *, check_files: bool = True) -> Settings:
    """Load the configuration, or print every mistake in it and exit with 78 (EX_CONFIG)."""
    try:
        return load(path, check_files=check_files)
    except ConfigurationErrors as errors:
        _tell_mistakes(errors)


def _tell_mistakes(errors: ConfigurationErrors) -> NoReturn:
    for mistake in errors.mistakes:
        say(f"{errors.path}: {mistake}")
    count = len(errors.mistakes)
    fail(f"{count} mistake{'s' * (count != 1)} in the configuration", ExitCode.REFUSED)


@contextmanager
def reported() -> Iterator[None]:
    """Turn the daemon's own errors into one line and an exit code: the operator's faults 78, others 1."""
    try:
        yield
    except ConfigurationErrors as errors:
        _tell_mistakes(errors)
    except StrongroomError as error:
        place = f"{error.field}: " if error.field else ""
        detail = f" ({error.detail})" if error.detail else ""
        code = ExitCode.REFUSED if error.fault is Fault.OPERATOR else ExitCode.CRASHED
        fail(f"{error.reason}: {place}{error.message}{detail}", code)


def demand_settled(settings: Settings) -> None:
    """Exit with 78 while a restore is half put in place: nothing else may be there before it is finished."""
    from strongroomd.storage.placing import is_unfinished  # noqa: PLC0415 - the supervisor loads no storage

    if is_unfinished(settings.daemon.state_dir):
        fail("a restore was cut off: run `strongroomd restore` again, which finishes it", ExitCode.REFUSED)


def say(text: str) -> None:
    """Tell the operator something on standard error; unprintable characters are escaped."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    sys.stderr.write(safe.encode("ascii", "backslashreplace").decode() + "\n")


def fail(text: str, code: int) -> NoReturn:
    """Say why and exit."""
    say(f"strongroomd: {text}")
    raise typer.Exit(int(code))
