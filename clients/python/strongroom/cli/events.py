"""`strongroom events` and `compliance`."""

import json
from itertools import islice
from typing import Annotated

import typer

from strongroom.cli.inputs import Limit
from strongroom.cli.output import note, plain, print_json, show_list
from strongroom.cli.session import connected, options

events_app = typer.Typer(help="What happens, and who has heard of it.", no_args_is_help=True)
compliance_app = typer.Typer(help="What is noted about keys.", no_args_is_help=True)

Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only events of this type; may end in *; repeatable.", metavar="PATTERN"),
]
Subjects = Annotated[
    list[str] | None,
    typer.Option("--subject", help="Only events of this key's ARN; may end in *.", metavar="PATTERN"),
]
OnlySink = Annotated[str, typer.Option("--sink", help="Only this sink.", metavar="NAME")]
_SINK_COLUMNS = {
    "sink": "name",
    "configured": "configured",
    "backlog": "backlog",
    "waiting": "waiting",
    "dead": "dead_letters",
    "last success": "last_success_time",
    "last error": "last_error",
    "next try": "next_try_time",
}
_FINDING_COLUMNS = {"key": "key_arn", "check": "check", "since": "since"}


@events_app.command("watch")
def watch(
    ctx: typer.Context,
    types: Types = None,
    subjects: Subjects = None,
    cursor: Annotated[
        str,
        typer.Option(
            help="Begin behind the event with this cursor; 0: with the oldest kept.", metavar="CURSOR"
        ),
    ] = "",
) -> None:
    """Follow events as they happen, until you stop it. With --json each line has its cursor."""
    with connected(ctx) as client:
        for watched in client.watch_events(types=types or (), subjects=subjects or (), cursor=cursor):
            if options(ctx).as_json:
                typer.echo(json.dumps(plain(watched), ensure_ascii=False))
                continue
            event = watched.event
            cells = (plain(event.time), event.type, event.subject, event.principal, json.dumps(event.data))
            typer.echo("  ".join(str(cell or "-") for cell in cells))


@events_app.command("sinks")
def sinks(ctx: typer.Context) -> None:
    """Say how each sink is doing."""
    with connected(ctx) as client:
        show_list(ctx, client.list_sinks(), _SINK_COLUMNS)


@events_app.command("dead-letters")
def dead_letters(ctx: typer.Context, sink: OnlySink = "", limit: Limit = 100) -> None:
    """List events that were given up at a sink."""
    with connected(ctx) as client:
        found = list(islice(client.pages(client.list_dead_letters, sink=sink), limit))
    if options(ctx).as_json:
        print_json(found)
        return
    for letter in found:
        event = letter.event
        cells = (letter.sink, event.id, event.type, event.subject, f"{letter.tries} tries", letter.error)
        typer.echo("  ".join(cells))


@events_app.command("redrive")
def redrive(
    ctx: typer.Context,
    event_id: Annotated[str, typer.Argument(help="An event's id; all without one.", metavar="EVENT")] = "",
    sink: OnlySink = "",
) -> None:
    """Have dead letters sent again, with the ids that they had."""
    with connected(ctx) as client:
        count = client.redrive_dead_letter(sink=sink, event_id=event_id)
    if options(ctx).as_json:
        print_json({"redriven": count})
    else:
        note(f"{count} will be sent again")


@compliance_app.command("report")
def report(ctx: typer.Context, limit: Limit = 1_000) -> None:
    """Show what the newest compliance run found."""
    with connected(ctx) as client:
        first = page = client.get_compliance_report()
        findings = list(first.items)
        while page.next_page_token and len(findings) < limit:
            page = client.get_compliance_report(page_token=page.next_page_token)
            findings += page.items
    findings = findings[:limit]
    if options(ctx).as_json:
        head = {"time": first.time, "keys": first.keys, "checks_not_offered": first.checks_not_offered}
        print_json(head | {"findings": findings})
        return
    when = "no run yet" if first.time is None else f"run at {plain(first.time)} over {first.keys} keys"
    note(f"{when}; not offered: {', '.join(first.checks_not_offered) or 'nothing'}")
    show_list(ctx, findings, _FINDING_COLUMNS)
