"""`strongroom material`: bring key material in that was made elsewhere, and take it away again."""

from typing import Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.inputs import ApprovalOption, KeyArgument, KeyVersionOption, RequestId
from strongroom.cli.output import note, show
from strongroom.cli.session import connected
from strongroom.names import ImportLevel, WrappingAlgorithm, WrappingKeySpec

app = typer.Typer(help="Bring key material in that was made elsewhere.", no_args_is_help=True)

TOKEN_FILE = "import-token.bin"  # noqa: S105 - a file
Level = Annotated[
    ImportLevel | None,
    typer.Option(help="Where the material may be in clear; by default as strict as the algorithm allows."),
]


@app.command("parameters")
def parameters(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    key: KeyArgument,
    wrapping_key: Annotated[
        str, typer.Option(help="File for the wrapping key, DER.", metavar="FILE")
    ] = "wrapping-key.der",
    import_token: Annotated[
        str, typer.Option(help="File for the import token.", metavar="FILE")
    ] = TOKEN_FILE,
    algorithm: Annotated[
        WrappingAlgorithm, typer.Option(help="How the material will be wrapped.")
    ] = WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256,
    spec: Annotated[
        WrappingKeySpec, typer.Option(help="Size of the wrapping key.")
    ] = WrappingKeySpec.RSA_4096,
    level: Level = None,
    request_id: RequestId = None,
) -> None:
    """Get wrapping key and import token for a key made with --external: for 24 hours and one import."""
    with connected(ctx) as client:
        made = client.get_parameters_for_import(
            key,
            wrapping_algorithm=algorithm,
            wrapping_key_spec=spec,
            level=level or "",
            request_id=request_id,
        )
    inputs.write(wrapping_key, made.public_key)
    inputs.write(import_token, made.import_token)
    show(ctx, made)
    note("wrap the material under the wrapping key, then: strongroom material import")


@app.command("import")
def import_(  # noqa: PLR0913, PLR0917 - the options of the verb
    ctx: typer.Context,
    key: KeyArgument,
    material: Annotated[
        str, typer.Option("--in", "-i", help="File with the wrapped material.", metavar="FILE")
    ],
    import_token: Annotated[
        str, typer.Option(help="File with the import token.", metavar="FILE")
    ] = TOKEN_FILE,
    valid_to: inputs.ValidTo = "",
    does_not_expire: Annotated[bool, typer.Option("--does-not-expire", help="It never expires.")] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Further material of a symmetric key; key rotate makes it current.")
    ] = False,
    level: Level = None,
    approval: ApprovalOption = "",
    request_id: RequestId = None,
) -> None:
    """Import wrapped material: the first of a key, the same as before, or with --new further one."""
    inputs.refuse_both_from_stdin("import_token", material, import_token)
    time = inputs.moment(valid_to) if valid_to else None
    wrapped = inputs.read(material, "encrypted_key_material")
    token = inputs.read(import_token, "import_token")
    with connected(ctx) as client:
        made = client.import_key_material(
            key,
            token,
            wrapped,
            valid_to=time,
            expiration_model="KEY_MATERIAL_DOES_NOT_EXPIRE" if does_not_expire else "",
            import_type="NEW_KEY_MATERIAL" if new else "",
            level=level or "",
            approval_id=approval,
            request_id=request_id,
        )
    show(ctx, made.material)


@app.command("delete")
def delete(
    ctx: typer.Context,
    key: KeyArgument,
    key_version: KeyVersionOption = 0,
    approval: ApprovalOption = "",
    request_id: RequestId = None,
) -> None:
    """Delete imported material at once. The same material can be imported again, and no other."""
    with connected(ctx) as client:
        done = client.delete_imported_key_material(
            key, key_version=key_version, approval_id=approval, request_id=request_id
        )
        show(ctx, done)
