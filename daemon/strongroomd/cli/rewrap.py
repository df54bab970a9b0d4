"""`strongroomd rewrap`: keys that no KEK can wrap again move to the newest one by the recovery token."""

import asyncio
import json
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from strongroomd.cli.common import (
    DEFAULT_CONFIG,
    Config,
    demand_settled,
    fail,
    reported,
    say,
    settings_of,
)
from strongroomd.cli.restore import alone, read_file
from strongroomd.config import ExitCode
from strongroomd.domain.rewraps import RewrapReport, Stays
from strongroomd.domain.tokens import spelled
from strongroomd.storage import durable

_MEANING: Final = {
    Stays.RESIDENT: "resident: no KEK wraps them; only `key rotate` replaces them",
    Stays.NO_RECOVERY_BLOB: "without a recovery blob: `key rotate` makes new versions under the newest KEK",
    Stays.WRONG_BLOB: "whose recovery blob does not open with this recovery token, or holds other material",
    Stays.UNUSABLE: "that fail their check value under the older KEK",
    Stays.CHANGED: "that somebody changed meanwhile: begin again",
}
_SECOND: Final = 1.0


def rewrap(  # noqa: PLR0913 - the options of the command
    config: Config = DEFAULT_CONFIG,
    *,
    token: Annotated[str, typer.Option(help="Which token's keys; the main one by default.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be moved, and what not.")
    ] = False,
    recovery_token: Annotated[
        Path | None, typer.Option(help="This file describes the attached recovery token.")
    ] = None,
    request_approval: Annotated[
        Path | None, typer.Option(help="Only write what approvers sign to this file.")
    ] = None,
    requester: Annotated[str, typer.Option(help="ARN of who asks for approvals.")] = "",
    purpose: Annotated[str, typer.Option(help="Why, for the approvers.")] = "",
    approval_request: Annotated[Path | None, typer.Option(help="The request that approvers signed.")] = None,
    approval: Annotated[
        list[Path] | None, typer.Option(help="One approver's signature over it; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Empty or absent folder for the signed transcript and the report.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Move keys from a token's older KEKs to its newest, by their recovery blobs; non-exportable ones, too.

    In a ceremony: the recovery token is attached, two people or more have signed for it, and no daemon
    runs. Asking for approvals and a dry run change nothing and may run beside the daemon. Cut off, each key
    is under its old KEK or the new one, and the same command goes on.
    """
    from strongroomd.custody.offlineapprovals import Approvals  # noqa: PLC0415 - it loads cryptography
    from strongroomd.telemetry import logs  # noqa: PLC0415
    from strongroomd.wiring.rewrapping import RewrapOrder, preview  # noqa: PLC0415 - it loads every room
    from strongroomd.wiring.rewrapping import rewrap as hold  # noqa: PLC0415

    settings = settings_of(config, check_files=False)
    logs.configure(settings.telemetry.log_level)
    demand_settled(settings)
    moving = recovery_token is not None
    if [dry_run, request_approval is not None, moving].count(True) != 1:
        fail("say one of --dry-run, --request-approval and --recovery-token", ExitCode.REFUSED)
    if moving and output is None:
        fail("--recovery-token needs --output, for the transcript", ExitCode.REFUSED)
    with reported(), alone(settings) if moving else nullcontext():
        if dry_run:
            _print(asyncio.run(preview(settings, token)), as_json=as_json)
            return
        approvals = Approvals(
            request=None if approval_request is None else read_file(approval_request),
            signatures=tuple(read_file(path) for path in approval or ()),
            ask=None if request_approval is None else partial(durable.replace, request_approval),
            requester=requester,
            purpose=purpose,
            requester_counts=settings.approvals.requester_counts,
        )
        order = RewrapOrder(token, approvals, recovery_token, output, _Progress().told)
        report = asyncio.run(hold(settings, order))
    _print(report, as_json=as_json)


class _Progress:
    """Says how many keys are done, at most once a second, and when all are."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def told(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._said >= _SECOND:
            self._said = now
            say(f"{done} of {total} keys")


def _print(report: RewrapReport, *, as_json: bool) -> None:
    typer.echo(json.dumps(report.facts(), indent=2) if as_json else _readable(report))


def _readable(report: RewrapReport) -> str:
    plan = report.plan
    lines = [
        f"token {spelled(plan.token)}: {len(report.moved)} of {plan.versions} key versions moved",
        f"  newest KEKs  {plan.sealed.hsm_id} (sealed), {plan.exportable.hsm_id} (exportable)",
    ]
    lines += [f"  under older  {hsm_id}: {count}" for hsm_id, count in report.left_under.items()]
    lines += [f"  approved by  {arn}" for arn in report.approved_by]
    if plan.pairs:
        lines.append(f"  {plan.pairs} import wrapping pairs under older KEKs; they end within a day")
    if plan.wrapping_keys:
        many = len(plan.wrapping_keys)
        lines.append(f"  {many} AES wrapping keys under older KEKs: remove them, and register others")
        lines += [f"    {name}" for name in plan.wrapping_keys]
    for why, names in report.stays.items():
        lines.append(f"  {len(names)} {_MEANING[why]}:")
        lines += [f"    {name}" for name in names]
    return "\n".join(lines)
