"""`strongroomd doctor`: looks at everything that must be right before the daemon can serve.

It says what to do about what is not. It changes nothing, never logs in to the token, and may run beside a
serving daemon.
"""

import asyncio
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import typer

from strongroomd import __version__
from strongroomd.cli.common import DEFAULT_CONFIG, Config, settings_of
from strongroomd.config import Address, Settings, daemon_file, file_mistakes
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.tokens import MAIN

PKCS11_VERSION: Final = "0.10.1"  # the one whose inner workings the hsm room relies on
MIN_FREE: Final = 64 << 20  # bytes; below this the audit log soon stops the daemon
LOW_FREE: Final = 1 << 30
CERTIFICATE_DAYS: Final = 30
_HTTPS: Final = 443  # the only port that AWS KMS calls
EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC).timestamp()  # no honest clock is behind this daemon's writing


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome, and what to do about it."""

    check: str
    verdict: Verdict
    text: str
    hint: str = ""


def doctor(config: Config = DEFAULT_CONFIG) -> None:
    """Check versions, module, token, store, files, ports and disk; exits with 1 on a failure."""
    settings = settings_of(config, check_files=False)
    worst = Verdict.OK
    for finding in examine(settings):
        typer.echo(f"{finding.verdict:<5} {finding.check:<18} {finding.text}")
        if finding.hint and finding.verdict is not Verdict.OK:
            typer.echo(f"{'':<24} {finding.hint}")
        worst = max(worst, finding.verdict, key=list(Verdict).index)
    if worst is Verdict.FAIL:
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Run every check; one that itself fails is a finding, not the end."""
    for check in _CHECKS:
        name = check.__name__.strip("_").replace("_", " ")
        try:
            yield from (Finding(name, *outcome) for outcome in check(settings))
        except Exception as error:  # noqa: BLE001 - the other checks still matter
            yield Finding(name, Verdict.FAIL, f"cannot be checked: {type(error).__name__}")


_Outcomes = Iterator[tuple[Verdict, str] | tuple[Verdict, str, str]]


def _versions(_settings: Settings) -> _Outcomes:
    yield Verdict.OK, f"strongroom {__version__}, Python {platform.python_version()}, {platform.system()}"
    yield Verdict.OK, "grpcio " + importlib.metadata.version("grpcio")
    found = importlib.metadata.version("python-pkcs11")
    if found != PKCS11_VERSION:
        yield Verdict.FAIL, f"python-pkcs11 {found}", f"pip install python-pkcs11=={PKCS11_VERSION}"
    else:
        yield Verdict.OK, f"python-pkcs11 {found}"


def _journal(_settings: Settings) -> _Outcomes:
    from strongroomd.storage.database import journal_mode  # noqa: PLC0415

    mode = journal_mode()
    why = "" if mode == "WAL" else ", since WAL is safe from SQLite 3.51.3 on only"
    yield Verdict.OK, f"SQLite with the {mode} journal{why}"


def _files(settings: Settings) -> _Outcomes:
    """The same checks of files as at the daemon's start."""
    mistakes = list(file_mistakes(settings))
    for mistake in mistakes:
        yield Verdict.FAIL, str(mistake), "correct the path, the owner or the mode"
    if not mistakes:
        yield Verdict.OK, "every file that the configuration names is there, with a safe mode"


def _folders(settings: Settings) -> _Outcomes:
    for name, path in (
        ("state", settings.daemon.state_dir),
        ("run", settings.daemon.run_dir),
        ("audit", settings.audit_directory),
    ):
        yield _folder(name, path)


def _folder(name: str, path: Path) -> tuple[Verdict, str, str]:
    if not path.exists():
        return Verdict.WARN, f"{name} folder {path} does not exist yet", "init and serve make it"
    status = path.stat()
    if not os.access(path, os.W_OK | os.X_OK):
        return Verdict.FAIL, f"{name} folder {path} is not writable", "chown it to the daemon's user"
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        return Verdict.WARN, f"{name} folder {path} is open to others", f"chmod 0700 {path}"
    return Verdict.OK, f"{name} folder {path}", ""


def _disk_space(settings: Settings) -> _Outcomes:
    for name, path in (("state", settings.daemon.state_dir), ("audit", settings.audit_directory)):
        place = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(place).free
        verdict = Verdict.FAIL if free < MIN_FREE else Verdict.WARN if free < LOW_FREE else Verdict.OK
        yield (
            verdict,
            f"{free >> 20} MiB free for {name}",
            "a full disk stops the audit log, and so the daemon",
        )


def _token(settings: Settings) -> _Outcomes:
    """Look for the main token, without which nothing works."""
    yield from _look_for(settings, MAIN, "[hsm]", Verdict.FAIL)


def _further_tokens(settings: Settings) -> _Outcomes:
    """Look for each further token: the daemon serves without one that is away, but not that one's keys."""
    made = _tokens_with_house_keys(settings)
    for token in settings.hsm.tokens:
        for verdict, text, hint in _look_for(settings, token.name, "its [[hsm.tokens]] entry", Verdict.WARN):
            yield verdict, f"{token.name}: {text}", hint
        if made is not None and token.name not in made:
            yield (
                Verdict.WARN,
                f"{token.name}: the store knows no house keys of it",
                f"strongroomd init --token {token.name}",
            )


def _tokens_with_house_keys(settings: Settings) -> set[str] | None:
    """Name them, or nothing while the store cannot be asked."""
    from strongroomd import wiring  # noqa: PLC0415 - it loads every room
    from strongroomd.storage.migration import SchemaState, schema_state  # noqa: PLC0415

    if not settings.hsm.tokens or schema_state(settings.store_url) is not SchemaState.CURRENT:
        return None
    return asyncio.run(wiring.founded_tokens(settings))


def _look_for(
    settings: Settings, name: str, place: str, verdict: Verdict
) -> Iterator[tuple[Verdict, str, str]]:
    """Load a token's module in a process of its own: a bad one crashes that."""
    command = [sys.executable, "-P", "-m", "strongroomd.cli.probe", str(settings.source), name]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603 - our own program
    if done.returncode != 0:
        yield (
            verdict,
            "the PKCS#11 module crashes when it is loaded",
            f"check module in {place}, and its libraries",
        )
        return
    found = json.loads(done.stdout)
    for stage, text, hint in (
        ("module", "the PKCS#11 module loads, with locking", f"check module in {place}"),
        ("token", "the token is visible", f"check token_label, token_serial and softhsm_conf in {place}"),
        (
            "symmetric",
            "the token can make symmetric keys as configured",
            f"change symmetric in {place}",
        ),
    ):
        if found[stage] == "ok":
            yield Verdict.OK, text, ""
        elif found[stage]:
            yield verdict, found[stage], hint


def _store(settings: Settings) -> _Outcomes:
    from strongroomd.storage.migration import SchemaState, schema_state  # noqa: PLC0415

    try:
        state = schema_state(settings.store_url)
    except StrongroomError as error:
        yield Verdict.FAIL, f"{settings.store_path}: {error.message}", "restore it from a backup"
        return
    hints = {
        SchemaState.ABSENT: "strongroomd init",
        SchemaState.OUTDATED: "strongroomd migrate",
        SchemaState.NEWER: "it belongs to a newer strongroomd: install that",
    }
    verdict = Verdict.OK if state is SchemaState.CURRENT else Verdict.FAIL
    yield verdict, f"{settings.store_path}: schema {state.value}", hints.get(state, "")


def _clock(_settings: Settings) -> _Outcomes:
    if time.time() < EPOCH:
        yield Verdict.FAIL, "the clock is years behind", "set it, and keep it by NTP"
    elif not Path("/run/systemd/timesync/synchronized").exists() and not Path("/run/chrony").exists():
        yield Verdict.WARN, "no sign of clock synchronisation", "run chrony or systemd-timesyncd"
    else:
        yield Verdict.OK, "the clock is kept by NTP"


def _certificates(settings: Settings) -> _Outcomes:
    from strongroomd.frontends.grpc.pki import expires_at  # noqa: PLC0415

    grpc = settings.grpc
    files = [("server", grpc.certificate_file), ("client CA", grpc.client_ca_file)]
    if settings.xks.certificate_file is not None:
        files.append(("XKS door's", settings.xks.certificate_file))
    for name, path in files:
        try:
            days = (expires_at(path.read_bytes()) - time.time()) / 86_400
        except (OSError, StrongroomError):
            yield Verdict.FAIL, f"{name} certificate cannot be read", "it must be PEM"
            continue
        verdict = Verdict.FAIL if days <= 0 else Verdict.WARN if days < CERTIFICATE_DAYS else Verdict.OK
        text = (
            f"{name} certificate expires in {days:.0f} days"
            if days > 0
            else f"{name} certificate has expired"
        )
        yield verdict, text, "renew it; the daemon takes the new file without a restart"


def _ports(settings: Settings) -> _Outcomes:
    daemon = _running(settings)
    if daemon:
        yield Verdict.OK, f"a daemon serves on {daemon.get('grpc')}, state {daemon.get('state')}"
        return
    for address in (settings.grpc.address, settings.ops.address, settings.xks.address):
        if address is not None:
            yield _port(address)


def _key_stores(settings: Settings) -> _Outcomes:
    """Try what the XKS door would serve with."""
    from strongroomd.wiring import rooms  # noqa: PLC0415 - it loads every room

    if settings.xks.address is None:
        yield Verdict.OK, "the XKS door is closed: [xks] has no address"
        return
    if settings.xks.plain_http:
        yield (
            Verdict.WARN,
            "the XKS door speaks plain HTTP",
            "right only behind a load balancer that ends TLS",
        )
        return
    try:
        rooms.xks_tls(settings)
    except StrongroomError as error:
        yield Verdict.FAIL, f"{error.field}: {error.message}", "correct the file"
        return
    yield Verdict.OK, "the XKS door can serve with its certificate, and with the suites of AWS KMS only"
    if settings.xks.address.port != _HTTPS:
        yield (
            Verdict.OK,
            f"AWS KMS calls port {_HTTPS}: a load balancer must lead it to {settings.xks.address}",
        )


def _running(settings: Settings) -> dict[str, Any]:
    try:
        return dict(json.loads(daemon_file(settings).read_bytes()))
    except (OSError, ValueError):
        return {}


def _port(address: Address) -> tuple[Verdict, str, str]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            return (
                Verdict.FAIL,
                f"{address}: {error.strerror}",
                "stop what uses it, or choose another address",
            )
    return Verdict.OK, f"{address} is free", ""


def _memory(_settings: Settings) -> _Outcomes:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        yield Verdict.OK, "memory can be locked against swapping"
    elif _has_swap():
        yield Verdict.WARN, "memory may be swapped out", "LimitMEMLOCK=infinity in the unit, or no swap"
    else:
        yield Verdict.OK, "memory cannot be locked, but there is no swap"


def _has_swap() -> bool:
    return len(Path("/proc/swaps").read_text().splitlines()) > 1


_CHECKS: Final[tuple[Callable[[Settings], _Outcomes], ...]] = (
    _versions,
    _journal,
    _files,
    _folders,
    _disk_space,
    _memory,
    _clock,
    _token,
    _further_tokens,
    _store,
    _certificates,
    _key_stores,
    _ports,
)
