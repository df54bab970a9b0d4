"""Verbs that use keys: `encrypt`, `decrypt`, `re-encrypt`, `sign`, `verify`, `mac`, `derive`, `random`."""

from typing import Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import (
    Base64,
    ContextOption,
    DryRun,
    GrantTokens,
    In,
    KeyArgument,
    KeyVersionOption,
    Out,
)
from strongroom.cli.output import note, show
from strongroom.cli.session import connected
from strongroom.names import EncryptionAlgorithm, MacAlgorithm, MessageType, SigningAlgorithm

mac_app = typer.Typer(help="Message authentication codes.", no_args_is_help=True)

EncryptionOption = Annotated[
    EncryptionAlgorithm | None, typer.Option("--algorithm", help="Required for an RSA key.")
]
SigningOption = Annotated[
    SigningAlgorithm | None, typer.Option("--algorithm", help="Required for an RSA key.")
]
MacOption = Annotated[MacAlgorithm | None, typer.Option("--algorithm", help="By default the key's only one.")]
Kind = Annotated[
    MessageType, typer.Option("--message-type", help="Whether the input is the message or its digest.")
]
OptionalKey = Annotated[
    str, typer.Option("--key", help="The key that it must be of; required for RSA.", metavar="KEY")
]
SignatureFile = Annotated[str, typer.Option("--signature", help="File with the signature.", metavar="FILE")]
MacFile = Annotated[str, typer.Option("--mac", help="File with the MAC.", metavar="FILE")]


def encrypt(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    key: KeyArgument,
    source: In = "-",
    out: Out = "-",
    base64: Base64 = False,
    context: ContextOption = None,
    algorithm: EncryptionOption = None,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Encrypt up to 4,096 bytes of a file or standard input. --base64 makes the ciphertext text."""
    plaintext = inputs.read(source, "plaintext")
    with connected(ctx) as client:
        done = client.encrypt(
            key,
            plaintext,
            context=inputs.pairs(context, "context"),
            algorithm=algorithm or "",
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    inputs.deliver(ctx, done, out, done.ciphertext, "ciphertext", text=base64)


def decrypt(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    source: In = "-",
    out: Out = "-",
    base64: Base64 = False,
    key: OptionalKey = "",
    context: ContextOption = None,
    algorithm: EncryptionOption = None,
    key_version: KeyVersionOption = 0,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Open a ciphertext; a symmetric one names its key itself. --base64 says that the ciphertext is text."""
    ciphertext = inputs.read(source, "ciphertext", decode=base64)
    with connected(ctx) as client:
        done = client.decrypt(
            ciphertext,
            key=key,
            context=inputs.pairs(context, "context"),
            algorithm=algorithm or "",
            key_version=key_version,
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    inputs.deliver(ctx, done, out, done.plaintext, "plaintext", secret=True)


def re_encrypt(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    destination: Annotated[str, typer.Argument(help="The key to encrypt under.", metavar="KEY")],
    source: In = "-",
    out: Out = "-",
    base64: Base64 = False,
    source_key: Annotated[str, typer.Option(help="Required for RSA.", metavar="KEY")] = "",
    source_key_version: Annotated[int, typer.Option(min=0, help="Of an RSA key; 0 is the current one.")] = 0,
    source_context: Annotated[
        list[str] | None, typer.Option(help="Context of the old ciphertext.", metavar="NAME=VALUE")
    ] = None,
    source_algorithm: Annotated[EncryptionAlgorithm | None, typer.Option(help="Required for RSA.")] = None,
    context: ContextOption = None,
    algorithm: EncryptionOption = None,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Encrypt a ciphertext anew under another key or context; the plaintext stays in the daemon."""
    ciphertext = inputs.read(source, "ciphertext", decode=base64)
    with connected(ctx) as client:
        done = client.re_encrypt(
            ciphertext,
            destination,
            source_key=source_key,
            source_key_version=source_key_version,
            source_context=inputs.pairs(source_context, "source_context"),
            source_algorithm=source_algorithm or "",
            destination_context=inputs.pairs(context, "context"),
            destination_algorithm=algorithm or "",
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    inputs.deliver(ctx, done, out, done.ciphertext, "ciphertext", text=base64)


def sign(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    source: In = "-",
    out: Out = "-",
    base64: Base64 = False,
    algorithm: SigningOption = None,
    message_type: Kind = MessageType.RAW,
    key_version: KeyVersionOption = 0,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Sign up to 4,096 bytes, or a digest. --base64 makes the signature text."""
    message = inputs.read(source, "message")
    with connected(ctx) as client:
        done = client.sign(
            key,
            message,
            algorithm=algorithm or "",
            message_type=message_type,
            key_version=key_version,
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    inputs.deliver(ctx, done, out, done.signature, "signature", text=base64)


def verify(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    signature: SignatureFile,
    source: In = "-",
    base64: Base64 = False,
    algorithm: SigningOption = None,
    message_type: Kind = MessageType.RAW,
    key_version: KeyVersionOption = 0,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Verify a signature; exit code 7 if it is not valid. --base64 says that the signature is text."""
    inputs.refuse_both_from_stdin("signature", signature, source)
    proof = inputs.read(signature, "signature", decode=base64)
    message = inputs.read(source, "message")
    with connected(ctx) as client:
        done = client.verify(
            key,
            message,
            proof,
            algorithm=algorithm or "",
            message_type=message_type,
            key_version=key_version,
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    note("the signature is valid")
    show(ctx, done)


@mac_app.command("generate")
def mac_generate(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    source: In = "-",
    out: Out = "-",
    base64: Base64 = False,
    algorithm: MacOption = None,
    key_version: KeyVersionOption = 0,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Make the MAC of up to 4,096 bytes. --base64 makes it text."""
    message = inputs.read(source, "message")
    with connected(ctx) as client:
        done = client.generate_mac(
            key,
            message,
            algorithm=algorithm or "",
            key_version=key_version,
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    inputs.deliver(ctx, done, out, done.mac, "mac", text=base64)


@mac_app.command("verify")
def mac_verify(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    mac: MacFile,
    source: In = "-",
    base64: Base64 = False,
    algorithm: MacOption = None,
    key_version: KeyVersionOption = 0,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Verify a MAC; exit code 7 if it is not valid. --base64 says that the MAC is text."""
    inputs.refuse_both_from_stdin("mac", mac, source)
    proof = inputs.read(mac, "mac", decode=base64)
    message = inputs.read(source, "message")
    with connected(ctx) as client:
        done = client.verify_mac(
            key,
            message,
            proof,
            algorithm=algorithm or "",
            key_version=key_version,
            dry_run=dry_run,
            grant_tokens=grant_token or [],
        )
    note("the MAC is valid")
    show(ctx, done)


def derive(  # noqa: PLR0913, PLR0917
    ctx: typer.Context,
    key: KeyArgument,
    public_key: Annotated[
        str, typer.Option(help="File with the other side's public key, DER or PEM.", metavar="FILE")
    ],
    out: Out = "-",
    base64: Base64 = False,
    key_version: KeyVersionOption = 0,
    dry_run: DryRun = False,
    grant_token: GrantTokens = None,
) -> None:
    """Agree on a secret with the owner of a public key (ECDH). Put it through a key derivation function."""
    other = _der(inputs.read(public_key, "public_key"))
    with connected(ctx) as client:
        done = client.derive_shared_secret(
            key, other, key_version=key_version, dry_run=dry_run, grant_tokens=grant_token or []
        )
    inputs.deliver(ctx, done, out, done.secret, "secret", text=base64)


def random(
    ctx: typer.Context,
    size: Annotated[int, typer.Argument(min=1, max=1024, help="How many bytes.", metavar="BYTES")],
    out: Out = "-",
    base64: Base64 = False,
    dry_run: DryRun = False,
) -> None:
    """Draw random bytes from the HSM."""
    with connected(ctx) as client:
        done = client.generate_random(size, dry_run=dry_run)
    inputs.deliver(ctx, done, out, done.data, "data", text=base64)


def _der(data: bytes) -> bytes:
    """Take the PEM armour off, if there is one."""
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    lines = (line.strip() for line in data.splitlines())
    return inputs.from_base64(b"".join(line for line in lines if not line.startswith(b"-----")), "public_key")
