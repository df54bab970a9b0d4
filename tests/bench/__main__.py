"""`scripts/bench`: efficiency, store size, access, oracle, XKS."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)
Rounds = Annotated[int, typer.Option(min=1, help="Turns of each measurement; 7 or more to quote.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="Length of one turn.")]
Workers = Annotated[int, typer.Option(min=1, help="Workers of the daemon, and echo processes.")]


@app.command()
def efficiency(
    rounds: Rounds = 7,
    seconds: Seconds = 2.0,
    callers: Annotated[int, typer.Option(min=1, help="Calls in flight.")] = 16,
    workers: Workers = 1,
) -> None:
    """E of each operation, with mutual TLS, policy, quota and audit on."""
    from tests.bench import efficiency as bench

    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        bench.run(Path(folder), rounds=rounds, seconds=seconds, callers=callers, workers=workers)


@app.command()
def size(
    rounds: Rounds = 7,
    seconds: Seconds = 1.0,
    keys: Annotated[int, typer.Option(min=10, help="Keys in the larger store.")] = 10_000,
) -> None:
    """Latency with many keys in the store against ten."""
    from tests.bench import size as bench

    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        bench.run(Path(folder), rounds=rounds, seconds=seconds, keys=keys)


@app.command()
def oracle(
    samples: Annotated[
        int, typer.Option(min=100, help="Refusals of each kind; 5,000 or more to quote.")
    ] = 5_000,
) -> None:
    """Time to refuse a forbidden key against that for one that is not there."""
    from tests.bench import oracle as bench

    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        bench.run(Path(folder), samples=samples)


@app.command()
def access(
    rounds: Rounds = 7,
    policies: Annotated[
        int, typer.Option(min=20, help="Key and identity policies, as many of each.")
    ] = 10_000,
    grants: Annotated[int, typer.Option(min=100, help="Grants, a fifth of them of one key.")] = 50_000,
) -> None:
    """Start and decisions with many policies and grants against few."""
    from tests.bench import access as bench

    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        bench.run(Path(folder), rounds=rounds, policies=policies, grants=grants)


@app.command()
def xks(
    rate: Annotated[float, typer.Option(help="Requests due a second.")] = 1_800.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of one measurement.")] = 60.0,
    search: Annotated[bool, typer.Option("--search", help="Find the highest rate that holds.")] = False,
    overload: Annotated[bool, typer.Option("--overload", help="Ask for five times the peak.")] = False,
    noisy: Annotated[
        bool, typer.Option("--noisy", help="A store beside one at ten times its quota.")
    ] = False,
    keys: Annotated[bool, typer.Option("--keys", help="Many keys against four.")] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="Adopted keys of a token with many objects against few.")
    ] = False,
    efficiency: Annotated[bool, typer.Option("--efficiency", help="E against a bare HTTPS echo.")] = False,
    rounds: Rounds = 7,
    workers: Workers = 2,
    connections: Annotated[int, typer.Option(min=1, help="Kept connections.")] = 32,
    many: Annotated[int, typer.Option(min=10, help="Keys of the larger store.")] = 10_000,
    slow_ms: Annotated[
        float,
        typer.Option(min=0, help="A token that takes so long a call besides; not for --keys, --efficiency."),
    ] = 0.0,
    apart: Annotated[
        bool,
        typer.Option("--apart", help="A processor of their own for generators, the others for the daemon."),
    ] = False,
    url: Annotated[
        str, typer.Option(help="Another proxy than one of the bench's own; for --rate, --search, --overload.")
    ] = "",
    credentials: Annotated[
        Path | None, typer.Option(help="With --url: the JSON that the AWS console takes.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="With --url: external key id; may be repeated.")
    ] = None,
    ca: Annotated[str, typer.Option(help="With --url: PEM of the proxy's authority.")] = "",
) -> None:
    """The XKS proxy door: at a rate (without another switch), and under what goes beyond it."""
    from tests.bench import xksmodes as bench

    plan = bench.Plan(rate, seconds, rounds, workers, connections, many, slow_ms / 1e3, apart)
    wanted = [name for name, on in (("search", search), ("overload", overload), ("noisy", noisy), ("keys", keys), ("objects", objects),
                                    ("efficiency", efficiency)) if on]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        if url and credentials:
            bench.run_against(url, credentials, tuple(key or ()), ca, plan, wanted)
        else:
            bench.run(Path(folder), plan, wanted)


if __name__ == "__main__":
    app()
