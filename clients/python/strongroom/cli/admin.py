"""`strongroom quota`, `audit` and `whoami`."""

import json
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from strongroom.cli.aliases import arn_of
from strongroom.cli.inputs import Etag, Limit, RequestId
from strongroom.cli.output import note, plain, show, show_list
from strongroom.cli.session import connected, options
from strongroom.cloudtrail import event
from strongroom.errors import invalid
from strongroom.names import LimitScope

quota_app = typer.Typer(help="Rate limits of keys, principals and classes.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit log and its signed checkpoints.", no_args_is_help=True)

Scope = Annotated[LimitScope, typer.Argument(help="What is counted.", case_sensitive=False)]
Subject = Annotated[
    str,
    typer.Argument(
        help="A key or its alias, a principal's ARN, or SYMMETRIC, RSA, ECC, MANAGEMENT.", metavar="SUBJECT"
    ),
]
OnlyKey = Annotated[str, typer.Option("--key", help="Only records of this key.", metavar="KEY")]
OnlyPrincipal = Annotated[
    str, typer.Option("--principal", help="Only records of this principal.", metavar="ARN")
]
_LIMIT_COLUMNS = {
    "scope": "scope",
    "subject": "subject",
    "per second": "per_second",
    "burst": "burst",
    "default": "is_default",
}
_FULL_PAGE = 1_000
_RECORD_COLUMNS = {
    "time": "time",
    "action": "action",
    "principal": "principal",
    "key": "key_arn",
    "kind": "kind",
    "outcome": "outcome",
}


@quota_app.command("get")
def quota_get(ctx: typer.Context, scope: Scope, subject: Subject) -> None:
    """Read the limit in force."""
    with connected(ctx) as client:
        show(ctx, client.get_limit(scope, arn_of(client, subject)))


@quota_app.command("put")
def quota_put(
    ctx: typer.Context,
    scope: Scope,
    subject: Subject,
    per_second: Annotated[int, typer.Argument(min=1, max=1_000_000, help="Cost admitted per second.")],
    burst: Annotated[
        int, typer.Option(min=0, max=10_000_000, help="Cost admitted at once; 0: as per second.")
    ] = 0,
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Set a limit; in force within a second."""
    with connected(ctx) as client:
        done = client.put_limit(
            scope, arn_of(client, subject), per_second, burst=burst, etag=etag, request_id=request_id
        )
        show(ctx, done)


@quota_app.command("delete")
def quota_delete(
    ctx: typer.Context, scope: Scope, subject: Subject, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Take a limit away; a class falls back to its default."""
    with connected(ctx) as client:
        client.delete_limit(scope, arn_of(client, subject), etag=etag, request_id=request_id)
    note("deleted")


@quota_app.command("list")
def quota_list(
    ctx: typer.Context,
    scope: Annotated[
        LimitScope | None, typer.Option(help="Only limits of this scope.", case_sensitive=False)
    ] = None,
    limit: Limit = 1_000,
) -> None:
    """List the limits that were set, and the classes' defaults."""
    with connected(ctx) as client:
        found = client.pages(client.list_limits, scope=scope or "")
        show_list(ctx, list(islice(found, limit)), _LIMIT_COLUMNS)


@quota_app.command("usage")
def quota_usage(ctx: typer.Context, scope: Scope, subject: Subject) -> None:
    """Read how much of a limit is left at this moment."""
    with connected(ctx) as client:
        show(ctx, client.get_quota_usage(scope, arn_of(client, subject)))


@audit_app.command("query")
def audit_query(  # noqa: PLR0913, PLR0917 - the filters
    ctx: typer.Context,
    key: OnlyKey = "",
    principal: OnlyPrincipal = "",
    action: Annotated[
        str, typer.Option(help="Only records of this action, e.g. kms:Decrypt.", metavar="ACTION")
    ] = "",
    outcome: Annotated[
        str,
        typer.Option(help="Only OK, an error reason such as ACCESS_DENIED, PENDING, ...", metavar="OUTCOME"),
    ] = "",
    since: Annotated[
        str | None, typer.Option(help="At this time or later: ISO 8601; without a zone UTC.", metavar="TIME")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.", metavar="TIME")] = None,
    limit: Limit = 100,
) -> None:
    """Find audit records, oldest first. --json: a line each, in the shape of CloudTrail's events."""
    wanted = {"key": key, "principal": principal, "action": action, "outcome": outcome}
    times = {"since": _time(since, "since"), "until": _time(until, "until")}
    with connected(ctx) as client:
        size = min(limit, _FULL_PAGE)
        found = islice(client.pages(client.list_audit_records, **wanted, **times, page_size=size), limit)
        if options(ctx).as_json:
            for record in found:
                typer.echo(json.dumps(event(record), ensure_ascii=False))
        else:
            show_list(ctx, list(found), _RECORD_COLUMNS)


@audit_app.command("tail")
def audit_tail(ctx: typer.Context, key: OnlyKey = "", principal: OnlyPrincipal = "") -> None:
    """Follow the audit log: records as they are written, until you stop it. --json: as of query."""
    with connected(ctx) as client:
        for record in client.tail_audit_records(key=key, principal=principal):
            if options(ctx).as_json:
                typer.echo(json.dumps(event(record), ensure_ascii=False))
            else:
                cells = (plain(getattr(record, field)) for field in _RECORD_COLUMNS.values())
                typer.echo("  ".join(str(cell or "-") for cell in cells))


@audit_app.command("checkpoint")
def audit_checkpoint(ctx: typer.Context) -> None:
    """Read the newest signed checkpoint. Keep it elsewhere: with it, a log that was cut is found out."""
    with connected(ctx) as client:
        show(ctx, client.get_audit_checkpoint())


def whoami(ctx: typer.Context) -> None:
    """Say who the daemon takes you for."""
    with connected(ctx) as client:
        show(ctx, client.get_caller_identity())


def _time(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(field, "must be a time as in 2027-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
