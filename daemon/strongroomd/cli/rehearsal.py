"""The rehearsal in a ceremony: a first backup, restored twice by the very commands of the day.

Each command is a process of its own, as on the day, and since one process has one copy of a PKCS#11 module.
"""

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from strongroomd.cli.softhsm import initialise_token
from strongroomd.config import Settings
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage import durable

DESCRIPTION: Final = "recovery.toml"
"""In the recovery token's folder: what `restore --recovery-token` takes, once `pin` is beside it."""
_SECONDS: Final = 600.0
_PROVED: Final = {"WRAPPED": 1}
_CONFIG: Final = """\
[daemon]
account = {account}
region = {region}
node = "rehearsal"
workers = 1
state_dir = "state"
run_dir = "run"
allow_root = {allow_root}

[grpc]
certificate_file = "unused"
key_file = "unused"
client_ca_file = "unused"

[hsm]
module = {module}
token_label = {label}
pin_file = {pin_file}
softhsm_conf = "softhsm2.conf"
recovery_public_key = {recovery_public_key}
"""
_DESCRIPTION: Final = """\
# The recovery token. Attach it, put its user PIN together in `pin` (strongroomd ceremony recover-pin),
# and remove that file when the restore is done.
module = {module}
token_label = {label}
pin_file = "pin"
softhsm_conf = "softhsm2.conf"
"""

Step = tuple[str, dict[str, Any]]


def make_recovery_pair(folder: Path, module: Path, label: str, pins: tuple[str, str], bits: int) -> bytes:
    """Make a SoftHSM token with the recovery pair; gives the public half (PEM).

    Args:
        folder: absent; the token stays in it, its PINs do not.
        module: SoftHSM.
        label: the token's.
        pins: of its security officer and its user.
        bits: of the modulus.

    Raises:
        StrongroomError: HSM_UNAVAILABLE, saying what went wrong.
    """
    from strongroomd.frontends.ops.signatures import public_key_pem  # noqa: PLC0415 - it loads cryptography

    conf = _softhsm(folder)
    initialise_token(conf, label, *pins)
    description = folder / DESCRIPTION
    text = _DESCRIPTION.format(module=json.dumps(str(module)), label=json.dumps(label))
    durable.write_new(description, text.encode())
    pin = folder / "pin"
    durable.write_new(pin, pins[1].encode(), 0o400)
    try:
        made = _run([sys.executable, "-P", "-m", "strongroomd.cli.attached", str(description), str(bits)])
    finally:
        pin.unlink()
    return public_key_pem(base64.b64decode(made))


def rehearse(
    settings: Settings, scratch: Path, recovery: Path, recovery_pin: str, identity: str
) -> Iterator[Step]:
    """Make a key, back it up, and restore it twice; gives what was proved, step by step.

    Args:
        settings: the new house's.
        scratch: absent; removed in the end, with the secrets that were in it.
        recovery: the recovery token's folder.
        recovery_pin: its user PIN.
        identity: the backup recipients' private key.

    Raises:
        StrongroomError: INTERNAL if a set does not come back as it was; what the commands say.
    """
    from strongroomd.wiring.ceremonies import make_proof_key  # noqa: PLC0415 - it loads every room

    scratch.mkdir(mode=0o700)
    pin = recovery / "pin"
    try:
        durable.write_new(scratch / "identity", identity.encode() + b"\n")
        durable.write_new(pin, recovery_pin.encode(), 0o400)
        key_id = asyncio.run(make_proof_key(settings))
        yield "key to prove it by made", {"key": key_id}
        saved = _backup(settings, scratch / "sets")
        yield "backup made", {"set": saved["set"], "payload_sha256": saved["payload_sha256"]}
        copy = _scratch_house(settings, scratch / "copy", settings.hsm.pin_file)
        _prove(_restore(settings, copy, saved, scratch))
        yield "backup restored on the token's copy, its key proved", {"key": key_id}
        fresh = _scratch_house(settings, scratch / "fresh", None)
        _prove(_restore(settings, fresh, saved, scratch, "--recovery-token", str(recovery / DESCRIPTION)))
        yield "key recovered into a fresh token, and proved there", {"key": key_id}
    finally:
        pin.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)


def _backup(settings: Settings, to: Path) -> dict[str, Any]:
    said = _run(_strongroomd("backup", "--config", str(settings.source), "--to", str(to), "--json"))
    return dict(json.loads(said))


def _restore(
    settings: Settings, config: Path, saved: dict[str, Any], scratch: Path, *more: str
) -> dict[str, Any]:
    said = _run(
        _strongroomd(
            *("restore", saved["place"], "--config", str(config), "--json"),
            *("--public-key", str(settings.statement_public_key), "--identity", str(scratch / "identity")),
            *more,
        )
    )
    return dict(json.loads(said))


def _prove(report: dict[str, Any]) -> None:
    if report["keys"] != _PROVED or report["wrong"] or report["lost"] or report["missing"]:
        raise StrongroomError(Reason.INTERNAL, detail="the first backup did not come back as it was")


def _scratch_house(settings: Settings, folder: Path, pin_file: Path | None) -> Path:
    """Make the configuration of an empty house; with a fresh token and its own PIN where none is given."""
    conf = _softhsm(folder)
    if pin_file is None:
        pin_file, pin = folder / "pin", secrets.token_urlsafe(24)
        initialise_token(conf, settings.hsm.token_label, secrets.token_urlsafe(24), pin)
        durable.write_new(pin_file, pin.encode(), 0o400)
    config = folder / "strongroomd.toml"
    quoted = {
        "account": settings.daemon.account,
        "region": settings.daemon.region,
        "module": settings.hsm.module,
        "label": settings.hsm.token_label,
        "pin_file": pin_file,
        "recovery_public_key": settings.hsm.recovery_public_key,
    }
    text = _CONFIG.format(
        allow_root=str(os.geteuid() == 0).lower(),
        **{name: json.dumps(str(value)) for name, value in quoted.items()},
    )
    durable.write_new(config, text.encode())
    return config


def _softhsm(folder: Path) -> Path:
    """Make an empty SoftHSM token directory and its configuration."""
    (folder / "tokens").mkdir(mode=0o700, parents=True)
    conf = folder / "softhsm2.conf"
    text = f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    durable.write_new(conf, text.encode())
    return conf


def _strongroomd(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "strongroomd", *arguments]


def _run(command: list[str]) -> str:
    """Run one of our own programs; what it says on standard error is the reason of a failure."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StrongroomError(Reason.HSM_UNAVAILABLE, detail="it takes too long") from error
    if done.returncode != 0:
        raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=done.stderr.strip()[-500:])
    return done.stdout
