"""`strongroomd dev`: a whole daemon for a shell or a CI job, in one command, in one throw-away folder.

The folder holds a SoftHSM token with random PINs, a development certificate authority, one administrator, one
ordinary service, and the configuration that ties them together. It is for development only: whoever can read
the folder can use every key.
"""

import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from strongroomd.cli.common import fail, reported, say
from strongroomd.cli.founding import found
from strongroomd.cli.softhsm import find_module, make_token
from strongroomd.config import Settings, daemon_file, load

ACCOUNT: Final = "111122223333"
TRUST_DOMAIN: Final = "strongroom.dev"
IDENTITIES: Final = ("admin", "service")
_CALLER: Final = re.compile(r"(?!(?:ca|server|admin|service)\Z)[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
MARKER: Final = "strongroom-dev"  # a folder without it is never removed
FOLDER_VARIABLE: Final = "STRONGROOM_DEV_DIR"
EXPORTED: Final = (
    "STRONGROOM_ENDPOINT",
    "STRONGROOM_CA",
    "STRONGROOM_CERT",
    "STRONGROOM_KEY",
    FOLDER_VARIABLE,
)
XKS_VARIABLE: Final = "STRONGROOM_XKS_ENDPOINT"  # exported as well where the XKS door is open
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
_CONFIG: Final = """\
# Made by `strongroomd dev`: for development only.
[daemon]
account = "{account}"
node = "dev"
workers = {workers}
state_dir = "state"
run_dir = "run"
allow_root = {allow_root}

[grpc]
address = "127.0.0.1:{port}"
certificate_file = "tls/server.pem"
key_file = "tls/server.key"
client_ca_file = "tls/ca.pem"
reflection = true

[ops]
address = "127.0.0.1:{ops_port}"

[hsm]
module = {module}
token_label = "{label}"
pin_file = "token/pin"
softhsm_conf = "token/softhsm2.conf"

[access]
administrators = ["arn:aws:iam::{account}:user/admin"]
operators = ["arn:aws:iam::{account}:user/admin"]
"""
_XKS: Final = """
[xks]
address = "127.0.0.1:{port}"
certificate_file = "tls/server.pem"
key_file = "tls/server.key"
"""
_IDENTITY: Final = """
[[identities]]
arn = "arn:aws:iam::{account}:user/{name}"
uri = "spiffe://{domain}/{name}"
"""


def dev(  # noqa: PLR0913 - the options of the command
    *,
    env: Annotated[
        bool, typer.Option("--env", help='Serve in the background: eval "$(strongroomd dev --env)".')
    ] = False,
    down: Annotated[
        bool,
        typer.Option("--down", help="Stop the daemon of --dir, remove its folder, print `unset` for eval."),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", envvar=FOLDER_VARIABLE, help="The folder; a new temporary one if not given."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="gRPC port; 0 takes a free one.")] = 0,
    ops_port: Annotated[int, typer.Option(min=0, max=65_535, help="Metrics port; 0 takes a free one.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 1,
    xks_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Open the door of external key stores, too, on this port; 0 takes a free one.",
        ),
    ] = None,
    caller: Annotated[
        list[str] | None,
        typer.Option(
            help="Make a certificate of spiffe://strongroom.dev/NAME as well, which speaks for nobody until "
            "`strongroom identity add`; may be repeated.",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Run an ephemeral daemon with its own SoftHSM token, certificates and identities; not for production."""
    with _folder_problems():
        if down:
            _down(folder)
            return
        with reported():
            settings = _ready_made(folder, _Plan(port, ops_port, workers, tuple(caller or ()), xks_port))
    if _is_running(settings.source.parent):
        _join(settings, env=env)
    elif env:
        _serve_in_background(settings)
    else:
        _serve_here(settings, ephemeral=folder is None)


def prepare(
    folder: Path,
    port: int,
    ops_port: int,
    workers: int,
    callers: Sequence[str] = (),
    *,
    xks_port: int | None = None,
) -> Path:
    """Make everything that a daemon needs but its house keys; returns the configuration file.

    Args:
        folder: existing and empty.
        port: where to serve gRPC on 127.0.0.1; 0 for any free port.
        ops_port: the same for metrics and health.
        workers: how many workers.
        callers: who gets a certificate besides the identities.
        xks_port: the same for external key stores, whose door is closed without it.

    Raises:
        StrongroomError: SoftHSM is missing or fails.
    """
    module = find_module()
    (folder / MARKER).touch()
    for name in ("token", "tls", "state", "run"):
        (folder / name).mkdir(mode=0o700)
    make_token(folder / "token", MARKER)
    make_certificates(folder / "tls", callers)
    text = _CONFIG.format(
        account=ACCOUNT,
        workers=workers,
        allow_root=str(os.geteuid() == 0).lower(),
        port=port,
        ops_port=ops_port,
        module=json.dumps(str(module)),
        label=MARKER,
    )
    text += "".join(_IDENTITY.format(account=ACCOUNT, name=name, domain=TRUST_DOMAIN) for name in IDENTITIES)
    if xks_port is not None:
        text += _XKS.format(port=xks_port)
    config = folder / "strongroomd.toml"
    config.write_text(text)
    config.chmod(0o600)
    return config


def make_certificates(folder: Path, callers: Sequence[str] = ()) -> None:
    """Write `ca.pem`; `server`, the identities and callers as `.pem` and `.key`; forget the CA's key."""
    from strongroomd.frontends.grpc.pki import Authority  # noqa: PLC0415

    authority = Authority.make()
    (folder / "ca.pem").write_bytes(authority.certificate)
    authority.server(["localhost", "127.0.0.1", "::1"]).write(folder / "server.pem", folder / "server.key")
    for name in (*IDENTITIES, *callers):
        credential = authority.client(name, f"spiffe://{TRUST_DOMAIN}/{name}")
        credential.write(folder / f"{name}.pem", folder / f"{name}.key")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a new folder is made with."""

    port: int
    ops_port: int
    workers: int
    callers: tuple[str, ...]
    xks_port: int | None


def _ready_made(folder: Path | None, plan: _Plan) -> Settings:
    """Use the folder as an earlier run left it, or make it."""
    if not all(map(_CALLER.fullmatch, plan.callers)):
        fail("--caller must be 1 to 32 of a-z, 0-9 and -, and none of ca, server, admin, service", 1)
    place = Path(tempfile.mkdtemp(prefix="strongroom-dev-")) if folder is None else folder.absolute()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (place / MARKER).exists():
        return _as_it_was(place, plan)
    if place.lstat().st_uid == os.geteuid() and not place.is_symlink():
        place.chmod(0o700)
    _check_ours(place)
    if any(place.iterdir()):
        fail(f"{place} is not empty and was not made by `strongroomd dev`", 1)
    try:
        config = prepare(place, plan.port, plan.ops_port, plan.workers, plan.callers, xks_port=plan.xks_port)
        settings = load(config)
        found(settings)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return settings


def _as_it_was(place: Path, plan: _Plan) -> Settings:
    """Use a folder of an earlier run; refuse what it was not made with."""
    _check_ours(place)
    if not all((place / "tls" / f"{name}.pem").exists() for name in plan.callers):
        fail(f"{place} was made without such a --caller, and its authority's key is forgotten", 1)
    settings = load(place / "strongroomd.toml")
    if plan.xks_port is not None and settings.xks.address is None:
        fail(f"{place} was made without --xks-port; add [xks] to {settings.source}", 1)
    return settings


def _check_ours(folder: Path) -> None:
    """Refuse a folder that another user made or could have filled: its configuration would be believed."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        fail(f"{folder} is a symbolic link or no folder; name the folder itself", 1)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        fail(f"{folder} is not a folder of yours with mode 0700; it is not trusted", 1)


@contextmanager
def _folder_problems() -> Iterator[None]:
    """Turn what the operating system refuses into one line."""
    try:
        yield
    except OSError as problem:
        fail(f"the folder cannot be used: {problem.strerror or 'an input or output error'}", 1)


def environment(settings: Settings) -> dict[str, str]:
    """List what a client needs to reach this daemon as its administrator."""
    folder = settings.source.parent
    published = _published(settings)
    values = (
        published["grpc"],
        folder / "tls" / "ca.pem",
        folder / "tls" / "admin.pem",
        folder / "tls" / "admin.key",
        folder,
    )
    found = dict(zip(EXPORTED, map(str, values), strict=True))
    if published.get("xks"):
        found[XKS_VARIABLE] = f"{'http' if settings.xks.plain_http else 'https'}://{published['xks']}"
    return found


def _serve_here(settings: Settings, *, ephemeral: bool) -> None:
    """Serve in the foreground by a child that gets our signals; tell how to reach it once it is ready."""
    process = _serve(settings, None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: process.send_signal(number))
    try:
        if _await_ready(settings, process):
            for name, value in environment(settings).items():
                say(f"export {name}={shlex.quote(value)}")
            say("serving; Ctrl-C stops" + (" and removes everything" if ephemeral else ""))
        code = process.wait()
    finally:
        if ephemeral:
            shutil.rmtree(settings.source.parent, ignore_errors=True)
    raise typer.Exit(code)


def _serve_in_background(settings: Settings) -> None:
    """Serve as a background process, and print the lines for `eval`."""
    folder = settings.source.parent
    process = _serve(settings, folder / "log")
    if not _await_ready(settings, process):
        process.terminate()
        _give_up(folder)
    _print_exports(settings)


def _join(settings: Settings, *, env: bool) -> None:
    """Use the daemon that this folder has already: a second one could not get the folder's lock."""
    folder = settings.source.parent
    if not env:
        fail(f"a daemon runs already in {folder}; --env prints how to reach it, --down stops it", 1)
    if not _await_ready(settings, None):
        _give_up(folder)
    _print_exports(settings)


def _print_exports(settings: Settings) -> None:
    for name, value in environment(settings).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo('# stop and remove it all: eval "$(strongroomd dev --down)"')


def _serve(settings: Settings, log: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "strongroomd", "serve", "--config", str(settings.source)]
    if log is None:
        return subprocess.Popen(command, process_group=0)  # noqa: S603 - our own program
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd="/"
        )


def _await_ready(settings: Settings, process: subprocess.Popen[bytes] | None) -> bool:
    """Wait until our child is ready; without one, the daemon that holds the folder."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        alive = _is_running(settings.source.parent) if process is None else process.poll() is None
        if not alive:
            return False
        published = _published(settings)
        if published.get("state") == "ready" and (process is None or published.get("pid") == process.pid):
            return True
        time.sleep(0.05)
    return False


def _published(settings: Settings) -> dict[str, Any]:
    try:
        return dict(json.loads(daemon_file(settings).read_bytes()))
    except (OSError, ValueError):
        return {}


def _give_up(folder: Path) -> NoReturn:
    log = folder / "log"  # a daemon in the foreground has none
    for line in log.read_text(errors="replace").splitlines()[-10:] if log.exists() else ():
        say(line)
    fail(f"the daemon did not become ready; {folder / 'log'} has the whole log", 1)


def _down(folder: Path | None) -> None:
    """Stop the daemon that holds the folder, if one does, and remove the folder."""
    if folder is None or not (folder / MARKER).exists():
        fail(f"--dir (or {FOLDER_VARIABLE}) must name a folder that `strongroomd dev` made", 1)
    folder = folder.absolute()
    _check_ours(folder)
    pid_file = folder / "run" / "daemon.json"
    if _is_running(folder):
        try:
            os.kill(int(json.loads(pid_file.read_bytes())["pid"]), signal.SIGTERM)
        except (OSError, ValueError, KeyError, TypeError):
            fail("the daemon runs but cannot be told to stop", 1)
        deadline = time.monotonic() + STOP_SECONDS
        while _is_running(folder):
            if time.monotonic() > deadline:
                fail("the daemon does not stop", 1)
            time.sleep(0.05)
    # A new name first, so that nobody finds a half-removed folder.
    doomed = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.removed")
    folder.rename(doomed)
    shutil.rmtree(doomed)
    # On standard output, for eval: a shell that keeps the variables would look for the daemon in vain.
    typer.echo(f"unset {' '.join((*EXPORTED, XKS_VARIABLE))}")
    say(f"stopped, and {folder} is removed")


def _is_running(folder: Path) -> bool:
    """Ask the lock that a supervisor holds: a pid in a file may belong to somebody else by now."""
    try:
        descriptor = os.open(folder / "run" / "daemon.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
