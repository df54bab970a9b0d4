"""`strongroom peer` and `strongroom replica`: one key in several houses, by files or by two connections."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import inputs
from strongroom.cli.exports import Approval
from strongroom.cli.inputs import KeyArgument, RequestId
from strongroom.cli.output import note, show, show_list
from strongroom.cli.session import connected, connected_as
from strongroom.errors import invalid

if TYPE_CHECKING:
    from strongroom.client import Client
    from strongroom.results import ReplicaBundle, ReplicaImported, SignedStatement

peer_app = typer.Typer(help="Houses that multi-region keys may go to and come from.", no_args_is_help=True)
app = typer.Typer(help="Multi-region keys: replicas in other houses.", no_args_is_help=True)

RegionArgument = Annotated[str, typer.Argument(help="The other house's region.", metavar="REGION")]
StatementKey = Annotated[
    str,
    typer.Option(
        "--statement-key",
        help="The key that signs the other house's statements, PEM or DER; compare its fingerprint.",
        metavar="FILE",
    ),
]
Source = Annotated[
    str, typer.Argument(help="File with the statement; its signature is in FILE.sig.", metavar="FILE")
]
Target = Annotated[
    str, typer.Option("--out", "-o", help="File for it; its signature goes to FILE.sig.", metavar="FILE")
]
Policy = Annotated[
    str, typer.Option("--policy", help="File with a new replica's policy; the default one if not given.")
]
Description = Annotated[str, typer.Option(help="Of a new replica; not secret.")]
Tag = Annotated[
    list[str] | None, typer.Option(help="Of a new replica; may be repeated.", metavar="NAME=VALUE")
]
_COLUMNS = {
    "region": "region",
    "house": "house",
    "replica key": "replica_key_sha256",
    "statement key": "statement_key_sha256",
    "registered": "created_time",
}


@peer_app.command("statement")
def peer_statement(ctx: typer.Context, out: Target) -> None:
    """Have this house state who it is, for another house to register it."""
    with connected(ctx) as client:
        _write(out, client.get_peer_statement())
    note("Tell the other house's people the fingerprint of this house's statement key by another way.")


@peer_app.command("add")
def peer_add(
    ctx: typer.Context,
    source: Source,
    statement_key: StatementKey,
    approval: Approval,
    request_id: RequestId = None,
) -> None:
    """Register another house, with an approved request for exactly this (approvals ask peer)."""
    payload, signature = _read(source)
    with connected(ctx) as client:
        key = inputs.public_key(statement_key)
        show(ctx, client.register_peer(payload, signature, key, approval, request_id=request_id))


@peer_app.command("list")
def peer_list(ctx: typer.Context) -> None:
    """List the account's peers."""
    with connected(ctx) as client:
        show_list(ctx, client.list_peers(), _COLUMNS)


@peer_app.command("remove")
def peer_remove(ctx: typer.Context, region: RegionArgument, request_id: RequestId = None) -> None:
    """Remove a peer: no key goes there any more, and none comes from there. What is there stays."""
    with connected(ctx) as client:
        client.remove_peer(region, request_id=request_id)


@app.command("create")
def replica_create(
    ctx: typer.Context, key: KeyArgument, region: RegionArgument, out: Target, request_id: RequestId = None
) -> None:
    """Give a multi-region primary a replica, and write the first bundle for it."""
    with connected(ctx) as client:
        _write_bundle(out, client.replicate_key(key, region, request_id=request_id))


@app.command("export")
def replica_export(
    ctx: typer.Context,
    key: KeyArgument,
    region: RegionArgument,
    out: Target,
    after: Annotated[int, typer.Option(min=0, help="Leave out versions up to this one.")] = 0,
) -> None:
    """Write a bundle for a replica that the key has: after a rotation, or where one was lost."""
    with connected(ctx) as client:
        _write_bundle(out, client.get_replica_bundle(key, region, after_version=after))


@app.command("import")
def replica_import(
    ctx: typer.Context,
    source: Source,
    receipt: Annotated[
        str, typer.Option("--receipt", help="File for the receipt, to be taken back.", metavar="FILE")
    ],
    policy: Policy = "",
    description: Description = "",
    tag: Tag = None,
    request_id: RequestId = None,
) -> None:
    """Bring a bundle in; the same bundle again changes nothing, and gives the receipt again."""
    payload, signature = _read(source)
    with connected(ctx) as client:
        done = client.import_replica(
            payload,
            signature,
            policy=inputs.text(policy, "policy") if policy else "",
            description=description,
            tags=inputs.pairs(tag, "tag"),
            request_id=request_id,
        )
    _write(receipt, done.receipt)
    show(ctx, done.key)


@app.command("acknowledge")
def replica_acknowledge(
    ctx: typer.Context, key: KeyArgument, source: Source, request_id: RequestId = None
) -> None:
    """Take a replica's receipt; a version that waited becomes current with the last one."""
    payload, signature = _read(source)
    with connected(ctx) as client:
        show(ctx, client.acknowledge_replica(key, payload, signature, request_id=request_id))


@app.command("remove")
def replica_remove(
    ctx: typer.Context, key: KeyArgument, region: RegionArgument, request_id: RequestId = None
) -> None:
    """Forget a replica that was destroyed or is lost: nothing waits for it any more."""
    with connected(ctx) as client:
        show(ctx, client.remove_replica(key, region, request_id=request_id))


@app.command("promote")
def replica_promote(
    ctx: typer.Context,
    key: KeyArgument,
    region: RegionArgument,
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="Folder for a bundle REGION.json of each replica.", metavar="DIR"),
    ],
    request_id: RequestId = None,
) -> None:
    """Make another region's replica the primary. Bring its bundle in there first, then the others'."""
    if not Path(out).is_dir():
        raise invalid("out", "must be a folder that is there")
    with connected(ctx) as client:
        for bundle in client.update_primary_region(key, region, request_id=request_id):
            _write_bundle(str(Path(out) / f"{bundle.region}.json"), bundle)


@app.command("move-lost-primary")
def replica_move_lost_primary(
    ctx: typer.Context,
    key: KeyArgument,
    region: Annotated[
        str, typer.Argument(help="The region that has the primary from now on.", metavar="REGION")
    ],
    approval: Approval,
    request_id: RequestId = None,
) -> None:
    """Say where a primary is whose house is lost, with an approved request; in each house that is left."""
    with connected(ctx) as client:
        show(ctx, client.move_lost_primary(key, region, approval, request_id=request_id))


@app.command("sync")
def replica_sync(
    ctx: typer.Context,
    key: KeyArgument,
    region: RegionArgument,
    to: Annotated[str, typer.Option("--to", help="Profile of the other house.", metavar="PROFILE")],
    policy: Policy = "",
    description: Description = "",
    tag: Tag = None,
) -> None:
    """Bring a replica up to its primary here, with a connection to both houses; safe to repeat."""
    with connected(ctx) as here, connected_as(ctx, to) as there:
        bundle = _bundle_for(here, key, region)
        while True:
            done = there.import_replica(
                bundle.statement.payload,
                bundle.statement.signature,
                policy=inputs.text(policy, "policy") if policy else "",
                description=description,
                tags=inputs.pairs(tag, "tag"),
            )
            here.acknowledge_replica(key, done.receipt.payload, done.receipt.signature)
            if bundle.last_version >= bundle.newest_version:
                break
            bundle = here.get_replica_bundle(key, region, after_version=bundle.last_version)
        _tell_current(here, there, key, region, done)
        show(ctx, there.describe_key(done.key.key_id))


def _bundle_for(client: "Client", key: str, region: str) -> "ReplicaBundle":
    """Get a bundle, the first one if the key has no replica there yet."""
    described = client.describe_key(key).multi_region
    known = described is not None and any(each.region == region for each in described.replicas)
    return client.get_replica_bundle(key, region) if known else client.replicate_key(key, region)


def _tell_current(here: "Client", there: "Client", key: str, region: str, done: "ReplicaImported") -> None:
    """Tell the replica which version is current, if its own receipt has just made another one so."""
    if here.describe_key(key).current_version != done.key.current_version:
        last = here.get_replica_bundle(key, region, after_version=done.newest_version).statement
        there.import_replica(last.payload, last.signature)


def _read(name: str) -> tuple[bytes, bytes]:
    return inputs.read(name, "statement"), inputs.read(f"{name}.sig", "signature")


def _write(name: str, statement: "SignedStatement") -> None:
    inputs.write(name, statement.payload)
    inputs.write(f"{name}.sig", statement.signature)


def _write_bundle(name: str, bundle: "ReplicaBundle") -> None:
    _write(name, bundle.statement)
    note(f"{name} is for {bundle.region}: versions up to {bundle.last_version} of {bundle.newest_version}.")
