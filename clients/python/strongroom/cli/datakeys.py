"""`strongroom datakey` and `batch`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import ContextOption, DryRun, GrantTokens, In, KeyArgument
from strongroom.cli.output import note, print_json, show, without
from strongroom.cli.session import connected, options
from strongroom.errors import StrongroomError, invalid
from strongroom.names import DataKeyPairSpec, MessageType, SigningAlgorithm

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="Data keys, for envelope encryption.", no_args_is_help=True)
batch_app = typer.Typer(
    help="Many items: JSON lines in, at most 64 MiB of them, JSON lines out.", no_args_is_help=True
)

Size = Annotated[
    int, typer.Option("--bytes", min=0, max=1024, help="Length of the data key; 0 is 32 bytes, for AES-256.")
]
SecretOut = Annotated[
    str | None, typer.Option("--plaintext-out", help="File for the key in clear, mode 0600.", metavar="FILE")
]
SealedOut = Annotated[
    str | None, typer.Option("--ciphertext-out", help="File for the encrypted key.", metavar="FILE")
]
PublicOut = Annotated[
    str | None, typer.Option("--public-key-out", help="File for the public half, DER.", metavar="FILE")
]
Context = dict[str, str]
MAX_LINES = 64 << 20  # bytes of a batch's input, which is held in memory with its results


@app.command("generate")
def generate(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    plaintext_out: SecretOut = None,
    ciphertext_out: SealedOut = None,
    size: Size = 0,
    context: ContextOption = None,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Make a data key, in clear and encrypted. In clear it is shown only with --json or --plaintext-out."""
    with connected(ctx) as client:
        done = client.generate_data_key(
            key,
            number_of_bytes=size,
            context=inputs.pairs(context, "context"),
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    _deliver(
        ctx,
        done,
        plaintext=(plaintext_out, done.plaintext),
        ciphertext=(ciphertext_out, done.ciphertext),
    )


@app.command("generate-sealed")
def generate_sealed(
    ctx: typer.Context,
    key: KeyArgument,
    ciphertext_out: SealedOut = None,
    size: Size = 0,
    context: ContextOption = None,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Make a data key, encrypted only."""
    with connected(ctx) as client:
        done = client.generate_data_key_without_plaintext(
            key,
            number_of_bytes=size,
            context=inputs.pairs(context, "context"),
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    _deliver(ctx, done, ciphertext=(ciphertext_out, done.ciphertext))


@app.command("generate-pair")
def generate_pair(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    spec: Annotated[DataKeyPairSpec, typer.Option(help="Kind of key pair.")],
    plaintext_out: SecretOut = None,
    ciphertext_out: SealedOut = None,
    public_key_out: PublicOut = None,
    context: ContextOption = None,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Make a key pair, its private half (PKCS#8) in clear and encrypted."""
    with connected(ctx) as client:
        done = client.generate_data_key_pair(
            key,
            spec,
            context=inputs.pairs(context, "context"),
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    _deliver(
        ctx,
        done,
        private_key=(plaintext_out, done.private_key),
        sealed_private_key=(ciphertext_out, done.sealed_private_key),
        public_key=(public_key_out, done.public_key),
    )


@app.command("generate-sealed-pair")
def generate_sealed_pair(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    spec: Annotated[DataKeyPairSpec, typer.Option(help="Kind of key pair.")],
    ciphertext_out: SealedOut = None,
    public_key_out: PublicOut = None,
    context: ContextOption = None,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Make a key pair, its private half encrypted only."""
    with connected(ctx) as client:
        done = client.generate_data_key_pair_without_plaintext(
            key,
            spec,
            context=inputs.pairs(context, "context"),
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    _deliver(
        ctx,
        done,
        sealed_private_key=(ciphertext_out, done.sealed_private_key),
        public_key=(public_key_out, done.public_key),
    )


@batch_app.command("encrypt")
def batch_encrypt(
    ctx: typer.Context,
    key: KeyArgument,
    source: In = "-",
    context: ContextOption = None,
    grant_token: GrantTokens = None,
) -> None:
    """Encrypt many plaintexts: each line of input is {"data": BASE64} and may have its own "context"."""
    items = _items(source, inputs.pairs(context, "context"))
    with connected(ctx) as client:
        _report(client.encrypt_many(key, items, grant_tokens=grant_token or []))


@batch_app.command("decrypt")
def batch_decrypt(
    ctx: typer.Context,
    source: In = "-",
    key: Annotated[str, typer.Option("--key", help="The key that all must be of.", metavar="KEY")] = "",
    context: ContextOption = None,
    grant_token: GrantTokens = None,
) -> None:
    """Open many ciphertexts: each line of input is {"data": BASE64} and may have its own "context"."""
    items = _items(source, inputs.pairs(context, "context"))
    with connected(ctx) as client:
        _report(client.decrypt_many(items, key=key, grant_tokens=grant_token or []))


@batch_app.command("sign")
def batch_sign(
    ctx: typer.Context,
    key: KeyArgument,
    source: In = "-",
    algorithm: Annotated[SigningAlgorithm | None, typer.Option(help="Required for an RSA key.")] = None,
    message_type: Annotated[MessageType, typer.Option(help="Messages or digests.")] = MessageType.RAW,
    grant_token: GrantTokens = None,
) -> None:
    """Sign many messages: each line of input is {"data": BASE64}."""
    messages = [data for data, _ in _items(source, {})]
    with connected(ctx) as client:
        _report(
            client.sign_many(
                key,
                messages,
                algorithm=algorithm or "",
                message_type=message_type,
                grant_tokens=grant_token or [],
            )
        )


def _items(source: str, shared: Context) -> list[tuple[bytes, Context]]:
    lines = inputs.text(source, "items", limit=MAX_LINES).splitlines()
    return [_item(line, number, shared) for number, line in enumerate(lines, 1) if line.strip()]


def _item(line: str, number: int, shared: Context) -> tuple[bytes, Context]:
    field = f"line {number}"
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise invalid(field, "must be a JSON object") from None
    if not isinstance(found, dict) or not set(found) <= {"data", "context"}:
        raise invalid(field, 'must be an object with "data" and perhaps "context"')
    data, context = found.get("data"), found.get("context", shared)
    if not isinstance(data, str) or not data.isascii():
        raise invalid(field, '"data" must be base64 text')
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        raise invalid(field, '"context" must map names to text')
    return inputs.from_base64(data.encode(), field), context


def _report(results: "Sequence[object]") -> None:
    """Print a line for each item, in order; a batch with a failed item fails."""
    from strongroom.cli.output import plain  # noqa: PLC0415 - as the other helpers of this verb

    for result in results:
        typer.echo(json.dumps(plain(result), ensure_ascii=False))
    failures = [result for result in results if isinstance(result, StrongroomError)]
    if failures:
        note(f"{len(failures)} of {len(results)} items failed")
        raise failures[0]


def _deliver(ctx: typer.Context, done: object, **parts: tuple[str | None, bytes]) -> None:
    """Write each field that has a file to it, and show the answer; as JSON, without those fields."""
    written = {name for name, (file, _) in parts.items() if file is not None}
    for file, data in parts.values():
        if file is not None:
            inputs.write(file, data)
    if options(ctx).as_json and written:
        print_json(without(done, *written))
    else:
        show(ctx, done)
