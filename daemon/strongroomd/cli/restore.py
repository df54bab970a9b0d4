"""`strongroomd restore`: a set put in place on its own token, or its keys brought into a fresh one."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from strongroomd.cli.common import DEFAULT_CONFIG, Config, fail, reported, say, settings_of
from strongroomd.config import ExitCode, Settings
from strongroomd.storage import durable

if TYPE_CHECKING:
    from strongroomd.custody.offlineapprovals import Approvals
    from strongroomd.domain.audit import Checkpoint
    from strongroomd.storage.audit_reader import SignatureCheck

_MAX_FILE: Final = 1 << 20  # bytes of what an operator brings
_LISTS: Final = {
    "wrong": "cannot be used",
    "missing": "resident keys whose object is not in the token; only the token's own copy brings them back",
    "elsewhere": "adopted keys whose object is not in the token",
    "away": "in a token that could not be asked",
    "lost": "wrapped keys without a recovery blob: no other token can have them",
    "untold": "imported keys whose material cannot be told again: nothing can be imported for them",
    "rotate": "may encrypt so often only, and their count may be behind: rotate them",
    "notes": "to be done",
}


def restore(  # noqa: PLR0913 - the options of the command
    folder: Annotated[Path, typer.Argument(metavar="SET", help="The set's folder.")],
    config: Config = DEFAULT_CONFIG,
    *,
    public_key: Annotated[
        Path, typer.Option(help="The statement key's public half (PEM or DER), kept elsewhere since `init`.")
    ],
    identity: Annotated[Path, typer.Option(help="The recipients' private key: an age identity file.")],
    checkpoint_key: Annotated[
        Path | None, typer.Option(help="The checkpoint key's public half, for --checkpoint.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint kept elsewhere: an older set is refused.")
    ] = None,
    recovery_token: Annotated[
        Path | None,
        typer.Option(
            help="Bring the keys into a fresh token; this file describes the attached recovery token."
        ),
    ] = None,
    request_approval: Annotated[
        Path | None, typer.Option(help="Where approvals are needed: write what approvers sign to this file.")
    ] = None,
    requester: Annotated[str, typer.Option(help="ARN of who asks for approvals, an enrolled approver.")] = "",
    purpose: Annotated[str, typer.Option(help="Why, for the approvers.")] = "",
    approval_request: Annotated[Path | None, typer.Option(help="The request that approvers signed.")] = None,
    approval: Annotated[
        list[Path] | None, typer.Option(help="One approver's signature over it; may be repeated.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report (JSON) to this file, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Verify a set, prove every key of it in the token, and put it in place.

    What is there is never overwritten.     The target is where the configuration says, and must be empty;
    no daemon may run. A SoftHSM token comes back with the set; any other is restored by its vendor's
    procedure first. A restore that was cut off is begun again, or finished where it had come so far.
    """
    from strongroomd.custody.offlineapprovals import Approvals  # noqa: PLC0415 - it loads cryptography

    settings = settings_of(config, check_files=False)
    with reported(), alone(settings):
        approvals = Approvals(
            request=None if approval_request is None else read_file(approval_request),
            signatures=tuple(read_file(path) for path in approval or ()),
            ask=None if request_approval is None else partial(durable.replace, request_approval),
            requester=requester,
            purpose=purpose,
            requester_counts=settings.approvals.requester_counts,
        )
        held = None if checkpoint is None else _held(checkpoint, checkpoint_key)
        found = _restored(settings, folder, public_key, identity, held, approvals, recovery_token)
    if report is not None:
        report.write_text(json.dumps(found, indent=2) + "\n")
    typer.echo(json.dumps(found, indent=2) if as_json else _readable(found))


def _restored(
    settings: Settings,
    folder: Path,
    public_key: Path,
    identity: Path,
    held: "Checkpoint | None",
    approvals: "Approvals",
    recovery_token: Path | None,
) -> dict[str, Any]:
    """Finish what an earlier restore committed, or restore."""
    from strongroomd.storage.placing import finish  # noqa: PLC0415
    from strongroomd.wiring.recovering import recover  # noqa: PLC0415
    from strongroomd.wiring.restoring import Order, restore_set  # noqa: PLC0415

    unfinished = finish(settings.daemon.state_dir)
    if unfinished is not None:
        say("a restore that was cut off is finished; this is its report")
        return unfinished
    order = Order(folder, _verifier(public_key), identity, held, approvals)
    if recovery_token is None:
        return asyncio.run(restore_set(settings, order)).facts()
    return asyncio.run(recover(settings, order, recovery_token)).facts()


def _verifier(public_key: Path) -> "SignatureCheck":
    from strongroomd.frontends.ops.signatures import checkpoint_verifier  # noqa: PLC0415

    return checkpoint_verifier(read_file(public_key))


def _held(path: Path, key: Path | None) -> "Checkpoint":
    from strongroomd.storage.checkpoints import parse_signed  # noqa: PLC0415

    if key is None:
        fail("--checkpoint needs --checkpoint-key, to be believed", ExitCode.REFUSED)
    try:
        signed = parse_signed(read_file(path))
    except ValueError:
        fail("--checkpoint: this is no signed checkpoint", ExitCode.REFUSED)
    if not _verifier(key)(signed.checkpoint.message(), signed.signature):
        fail("--checkpoint: its signature is not this key's", ExitCode.REFUSED)
    return signed.checkpoint


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Keep every daemon and every other restore of this configuration out, as a daemon keeps out another."""
    from strongroomd.supervisor.holdings import RefusalError, only_one  # noqa: PLC0415

    for folder in (settings.daemon.run_dir, settings.daemon.state_dir):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            fail(f"{folder} cannot be made: {error.strerror}", ExitCode.REFUSED)
    try:
        lock = only_one(settings.daemon.run_dir / "daemon.lock")
    except RefusalError as error:
        fail(str(error), ExitCode.REFUSED)
    try:
        yield
    finally:
        os.close(lock)


def read_file(path: Path) -> bytes:
    """Read what an operator brings, or say why that cannot be done and exit with 78."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {getattr(error, 'strerror', 'not a usable path')}", ExitCode.REFUSED)
    if len(data) > _MAX_FILE:
        fail(f"{path} is too large", ExitCode.REFUSED)
    return data


def _readable(found: dict[str, Any]) -> str:
    keys = ", ".join(f"{count} {mode.lower()}" for mode, count in sorted(found["keys"].items())) or "none"
    lines = [
        f"set {found['set']} of {found['created_at']}, restored by {found['path']} in {found['seconds']} s",
        f"  records      {found['records']} verified",
        f"  audit log    {found['audit_records']} records, {found['checkpoints']} checkpoints verified",
        f"  keys         check value right: {keys}",
    ]
    lines += [f"  token        {name}: {how}" for name, how in found["tokens"].items()]
    if found["rolled_back"]:
        lines.append(f"  older state  sequence {found['rolled_back']} was known; approved by")
        lines += [f"    {arn}" for arn in found["approved_by"]]
    for name, meaning in _LISTS.items():
        if found[name]:
            lines.append(f"  {len(found[name])} {meaning}:")
            lines += [f"    {item}" for item in found[name]]
    return "\n".join(lines)
