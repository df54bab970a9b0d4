"""`strongroom approvals approver` and `quorum`: whose approvals count, and how many it takes."""

import re
from itertools import islice
from typing import Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import Limit, PublicKeyFile, RequestId
from strongroom.cli.output import show, show_list
from strongroom.cli.session import connected
from strongroom.errors import invalid

app = typer.Typer(help="Approvers' keys.", no_args_is_help=True)
quorum_app = typer.Typer(help="How many must approve in the account.", no_args_is_help=True)

Principal = Annotated[str, typer.Argument(help="ARN of whose key it is.", metavar="PRINCIPAL")]
_COLUMNS = {
    "id": "approver_id",
    "principal": "principal",
    "enrolled": "enrolled_time",
    "revoked": "revoked_time",
}
_PRINCIPAL = re.compile(r"arn:aws:iam::(\d{12}):.+", re.ASCII)


@app.command("proof-file")
def proof_file(principal: Principal, public_key: PublicKeyFile, out: inputs.Out = "-") -> None:
    """Write the text that a key signs to be enrolled; no daemon is asked."""
    from strongroom import signing  # noqa: PLC0415 - loads cryptography

    match = _PRINCIPAL.fullmatch(principal)
    if match is None:
        raise invalid("principal", "must be the ARN of a principal")
    inputs.write_text(out, signing.enrolment_file(match[1], principal, inputs.public_key(public_key)))


@app.command("enrol")
def enrol(
    ctx: typer.Context,
    principal: Principal,
    public_key: PublicKeyFile,
    proof: Annotated[
        str, typer.Option("--proof", help="The key's signature over its proof-file.", metavar="FILE")
    ],
    request_id: RequestId = None,
) -> None:
    """Enrol somebody's key; for administrators. It makes nobody an approver: key policies do."""
    with connected(ctx) as client:
        made = client.enrol_approver(
            principal, inputs.public_key(public_key), inputs.read(proof, "proof"), request_id=request_id
        )
        show(ctx, made)


@app.command("revoke")
def revoke(
    ctx: typer.Context,
    approver: Annotated[str, typer.Argument(help="Id of the key.", metavar="ID")],
    request_id: RequestId = None,
) -> None:
    """Revoke a key for ever; what it approved and was not executed yet does not count any more."""
    with connected(ctx) as client:
        show(ctx, client.revoke_approver(approver, request_id=request_id))


@app.command("list")
def list_(ctx: typer.Context, limit: Limit = 1_000) -> None:
    """List approvers' keys: the account's for administrators, else your own."""
    with connected(ctx) as client:
        found = client.pages(client.list_approvers)
        show_list(ctx, list(islice(found, limit)), _COLUMNS)


@quorum_app.command("get")
def quorum_get(
    ctx: typer.Context,
    account: Annotated[str, typer.Option(help="Another account than your own; for operators.")] = "",
) -> None:
    """Show how many must approve in an account where no key's own quorum counts."""
    with connected(ctx) as client:
        show(ctx, client.get_quorum(account=account))


@quorum_app.command("put")
def quorum_put(
    ctx: typer.Context,
    quorum: Annotated[int, typer.Argument(min=1, max=8, help="How many must approve.")],
    approval: Annotated[str, typer.Option("--approval", help="The approved request.", metavar="ID")],
    request_id: RequestId = None,
) -> None:
    """Change the account's quorum, with an approved request for exactly this."""
    with connected(ctx) as client:
        show(ctx, client.put_quorum(quorum, approval, request_id=request_id))
