"""`strongroom approvals`: what waits for approvals and why; signing, online and offline."""

import hashlib
import os
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import approvers, asking, inputs
from strongroom.cli.inputs import Limit, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected
from strongroom.errors import invalid
from strongroom.names import ApprovalState

if TYPE_CHECKING:
    from strongroom.results import ApprovalRequest

app = typer.Typer(help="Dual control: what waits for approvals, and giving them.", no_args_is_help=True)
app.add_typer(asking.app, name="ask")
app.add_typer(approvers.app, name="approver")
app.add_typer(approvers.quorum_app, name="quorum")

Id = Annotated[str, typer.Argument(help="The request's id, from strongroom approvals list.", metavar="ID")]
Note = Annotated[str, typer.Option("--note", help="Why, for everybody who looks.", metavar="TEXT")]
KeyFile = Annotated[
    str,
    typer.Option(
        "--key", help="PEM of your approver's private key, Ed25519 or P-256; never sent.", metavar="FILE"
    ),
]
Approver = Annotated[
    str, typer.Option("--approver", help="Id of the key that signed, if you have several.", metavar="ID")
]
_COLUMNS = {
    "id": "approval_id",
    "state": "state",
    "action": "action",
    "key": "key",
    "asked by": "requester",
    "approved": "approved",
    "missing": "missing",
    "expires": "expiry_time",
    "why": "purpose",
}


@app.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[
        ApprovalState | None, typer.Option(help="Only in this state.", case_sensitive=False)
    ] = None,
    key: Annotated[str, typer.Option("--key", help="Only of this key.", metavar="KEY")] = "",
    own: Annotated[bool, typer.Option("--own", help="Only what you asked yourself.")] = False,
    limit: Limit = 1_000,
) -> None:
    """List requests, oldest first: of a key for who may approve there, the account's, or your own."""
    with connected(ctx) as client:
        found = client.pages(client.list_approvals, state=state or "", key=key, own=own)
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


@app.command("show")
def show_request(ctx: typer.Context, approval: Id) -> None:
    """Show a request: what would happen, who has approved, who is missing, and the receipt."""
    with connected(ctx) as client:
        found = client.describe_approval(approval)
        show(ctx, found)
        note(_waits_for(found))


def _waits_for(request: "ApprovalRequest") -> str:
    if request.state == "APPROVED":
        return "It waits for who asked to carry it out."
    if request.state != "WAITING":
        return f"It is over: {request.state}."
    others = (
        "" if any(each.counts for each in request.approvals) else ", somebody else than who asked among them"
    )
    return f"It waits for {request.missing} more of {request.quorum} approvals{others}."


@app.command("approve")
def approve(
    ctx: typer.Context, approval: Id, key: KeyFile, approver: Approver = "", request_id: RequestId = None
) -> None:
    """Approve a request: read it, sign its file with your own key, and send the signature."""
    from strongroom import signing  # noqa: PLC0415 - loads cryptography

    with connected(ctx) as client:
        found = client.describe_approval(approval)
        _check(found)
        note(found.request_file.decode("ascii"))
        signature = signing.sign(inputs.read(key, "key"), found.request_file, passphrase=_passphrase())
        done = client.approve_request(approval, signature, approver_id=approver, request_id=request_id)
        show(ctx, done)


def _check(request: "ApprovalRequest") -> None:
    """Refuse a file that is not the one that the daemon names: what is shown must be what is signed."""
    if hashlib.sha256(request.request_file).hexdigest() != request.digest:
        raise invalid("request_file", "is not what the digest says")


def _passphrase() -> bytes | None:
    """Give the passphrase of the key from the environment, if there is one; it never is an argument."""
    given = os.environ.get("STRONGROOM_APPROVER_PASSPHRASE")
    return given.encode() if given else None


@app.command("reject")
def reject(ctx: typer.Context, approval: Id, why: Note = "", request_id: RequestId = None) -> None:
    """Turn a request down, for good; one rejection is enough."""
    with connected(ctx) as client:
        show(ctx, client.reject_request(approval, note=why, request_id=request_id))


@app.command("cancel")
def cancel(ctx: typer.Context, approval: Id, why: Note = "", request_id: RequestId = None) -> None:
    """Take a request back."""
    with connected(ctx) as client:
        show(ctx, client.cancel_request(approval, note=why, request_id=request_id))


@app.command("request-file")
def request_file(ctx: typer.Context, approval: Id, out: inputs.Out = "-") -> None:
    """Write the text that approvers read and sign, to be signed where there is no daemon."""
    with connected(ctx) as client:
        found = client.describe_approval(approval)
    _check(found)
    inputs.write_text(out, found.request_file)


@app.command("sign")
def sign(
    source: Annotated[str, typer.Argument(help="Request file or enrolment text.", metavar="FILE")],
    key: KeyFile,
    out: inputs.Out = "-",
) -> None:
    """Sign a file with your own key; no daemon is asked. openssl makes the same signature."""
    from strongroom import signing  # noqa: PLC0415 - loads cryptography

    file = inputs.read(source, "file")
    if source != "-":
        note(file.decode("utf-8", errors="replace"))
    inputs.write(out, signing.sign(inputs.read(key, "key"), file, passphrase=_passphrase()))


@app.command("submit")
def submit(
    ctx: typer.Context,
    approval: Id,
    signature: Annotated[str, typer.Argument(help="The signature file.", metavar="FILE")],
    approver: Approver = "",
    request_id: RequestId = None,
) -> None:
    """Approve a request with a signature that was made elsewhere; only its signer may submit it."""
    with connected(ctx) as client:
        made = inputs.read(signature, "signature")
        show(ctx, client.approve_request(approval, made, approver_id=approver, request_id=request_id))
