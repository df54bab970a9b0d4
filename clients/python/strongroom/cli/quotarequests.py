"""`strongroom quota request`, `requests`, `show`, `answer` and `cancel`."""

from itertools import islice
from typing import Annotated

import typer

from strongroom.cli import admin
from strongroom.cli.admin import Scope, Subject
from strongroom.cli.inputs import Etag, Limit, RequestId
from strongroom.cli.output import show, show_list
from strongroom.cli.session import connected
from strongroom.names import LimitScope, QuotaDecision, QuotaRequestState

quota_app = admin.quota_app
"""The verbs about limits; those of requests stand beside them."""

Id = Annotated[str, typer.Argument(help="The request's id, from strongroom quota requests.", metavar="ID")]
_COLUMNS = {
    "id": "id",
    "state": "state",
    "scope": "scope",
    "subject": "subject",
    "per second": "per_second",
    "burst": "burst",
    "asked by": "principal",
    "asked": "created_time",
}


@quota_app.command("request")
def quota_request(
    ctx: typer.Context,
    scope: Scope,
    subject: Subject,
    per_second: Annotated[int, typer.Argument(min=1, max=1_000_000, help="Cost to be admitted per second.")],
    burst: Annotated[
        int, typer.Option(min=0, max=10_000_000, help="Cost to be admitted at once; 0: as per second.")
    ] = 0,
    justification: Annotated[
        str, typer.Option("--why", help="For the administrators; no secrets.", metavar="TEXT")
    ] = "",
    request_id: RequestId = None,
) -> None:
    """Ask the administrators for a limit of yourself, a class of your account, or a key."""
    with connected(ctx) as client:
        made = client.request_quota(
            scope, subject, per_second, burst=burst, justification=justification, request_id=request_id
        )
        show(ctx, made)


@quota_app.command("requests")
def quota_requests(
    ctx: typer.Context,
    state: Annotated[
        QuotaRequestState | None, typer.Option(help="Only requests in this state.", case_sensitive=False)
    ] = None,
    scope: Annotated[
        LimitScope | None, typer.Option(help="Only requests of this scope.", case_sensitive=False)
    ] = None,
    own: Annotated[bool, typer.Option("--own", help="Only what you asked yourself.")] = False,
    limit: Limit = 1_000,
) -> None:
    """List requests, oldest first: administrators see their account's, others their own."""
    with connected(ctx) as client:
        found = client.pages(client.list_quota_requests, state=state or "", scope=scope or "", own=own)
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


@quota_app.command("show")
def quota_show(ctx: typer.Context, quota_request: Id) -> None:
    """Read one request: what was asked and why, the limit then in force, and the answer."""
    with connected(ctx) as client:
        show(ctx, client.get_quota_request(quota_request))


@quota_app.command("answer")
def quota_answer(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    quota_request: Id,
    decision: Annotated[QuotaDecision, typer.Argument(help="Yes or no.", case_sensitive=False)],
    per_second: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Another limit than was asked for; 0: as asked.")
    ] = 0,
    burst: Annotated[int, typer.Option(min=0, max=10_000_000, help="Its burst; 0: as per second.")] = 0,
    note: Annotated[str, typer.Option(help="For who asked.", metavar="TEXT")] = "",
    etag: Etag = "",
    request_id: RequestId = None,
) -> None:
    """Approve a request, which sets the limit within a second, or deny it; never your own."""
    with connected(ctx) as client:
        done = client.answer_quota_request(
            quota_request,
            decision,
            per_second=per_second,
            burst=burst,
            note=note,
            etag=etag,
            request_id=request_id,
        )
        show(ctx, done)


@quota_app.command("cancel")
def quota_cancel(
    ctx: typer.Context, quota_request: Id, etag: Etag = "", request_id: RequestId = None
) -> None:
    """Take your own request back."""
    with connected(ctx) as client:
        show(ctx, client.cancel_quota_request(quota_request, etag=etag, request_id=request_id))
