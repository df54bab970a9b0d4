"""`strongroom attest`: signed statements about keys, and their verification without the daemon."""

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import KeyArgument
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected

if TYPE_CHECKING:
    from strongroom.results import SignedStatement

app = typer.Typer(help="Signed statements: what a key is, and that it is no more.", no_args_is_help=True)
MAX_STATEMENT = 1 << 20

PayloadOut = Annotated[
    str, typer.Option("--out", "-o", help="File for the payload; - is standard output.", metavar="FILE")
]
SignatureOut = Annotated[
    str | None, typer.Option("--signature-out", help="File for the signature, DER.", metavar="FILE")
]


@app.command("key")
def key(
    ctx: typer.Context,
    key: KeyArgument,
    nonce: Annotated[str, typer.Option(help="Text that the statement repeats: it is fresh, then.")] = "",
    out: PayloadOut = "-",
    signature_out: SignatureOut = None,
) -> None:
    """Have the house state, signed in the HSM, what a key is."""
    with connected(ctx) as client:
        stated = client.get_key_attestation(key, nonce=nonce)
    _deliver(ctx, stated, out, signature_out)


@app.command("destruction")
def destruction(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="Key id or ARN of a key that was destroyed.", metavar="KEY")],
    out: PayloadOut = "-",
    signature_out: SignatureOut = None,
) -> None:
    """Read the signed certificate of a key's destruction."""
    with connected(ctx) as client:
        stated = client.get_destruction_certificate(key)
    _deliver(ctx, stated, out, signature_out)


@app.command("keys")
def keys(
    ctx: typer.Context,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="File for the current key's PEM.", metavar="FILE")
    ] = None,
) -> None:
    """List the public keys that statements verify with. Better pin the file that the daemon's init left."""
    with connected(ctx) as client:
        found = client.list_statement_keys()
    if out is not None:
        inputs.write(out, found[-1].public_key_pem.encode(), secret=True)
    show_list(ctx, found, {"key id": "key_id", "current": "current"})


@app.command("verify")
def verify(
    ctx: typer.Context,
    public_key: Annotated[
        str, typer.Option(help="The pinned public key, PEM or DER.", metavar="FILE", show_default=False)
    ],
    signature: Annotated[str, typer.Option(help="File with the signature, DER.", metavar="FILE")],
    source: Annotated[
        str, typer.Option("--in", "-i", help="File with the payload; - is standard input.", metavar="FILE")
    ] = "-",
    kind: Annotated[str, typer.Option(help="Refuse statements of any other kind.")] = "",
    house: Annotated[str, typer.Option(help="Refuse statements of any other house.")] = "",
    nonce: Annotated[str, typer.Option(help="Refuse statements that do not repeat it.")] = "",
) -> None:
    """Verify a statement against a pinned public key, offline; exit code 7 if it is not genuine."""
    from strongroom.statements import verify as check  # noqa: PLC0415 - loads cryptography

    payload = inputs.read(source, "payload", limit=MAX_STATEMENT)
    found = check(
        payload,
        inputs.read(signature, "signature"),
        inputs.read(public_key, "public_key"),
        kind=kind,
        house=house,
        nonce=nonce,
    )
    note("the statement is genuine")
    show(ctx, found)


def _deliver(ctx: typer.Context, stated: "SignedStatement", out: str, signature_out: str | None) -> None:
    """Write payload and signature, byte for byte; without a file for either, show both."""
    if signature_out is not None:
        inputs.write(signature_out, stated.signature)
    if out == "-" and signature_out is None:
        show(ctx, stated)
        return
    inputs.write(out, stated.payload, secret=True)
