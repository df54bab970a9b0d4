"""`scripts/bench`: efficiency, store size, access, oracle."""

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


if __name__ == "__main__":
    app()
