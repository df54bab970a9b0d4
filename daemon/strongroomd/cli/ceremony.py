"""`strongroomd ceremony`: the first start of a house, before witnesses; secrets come back from shares.

Every secret is made here, given out once as shares, each person's in a folder of their own, and never printed
or logged. What the daemon needs of them goes to the files that its configuration names.
"""

from pathlib import Path
from typing import Annotated

import typer

from strongroomd.cli.common import DEFAULT_CONFIG, Config, demand_settled, fail, reported, settings_of
from strongroomd.config import ExitCode
from strongroomd.config.ceremony import CeremonyPlan, ceremony_plan
from strongroomd.storage import durable

app = typer.Typer(
    help="Found a house before witnesses; put secrets together again from shares.", no_args_is_help=True
)


@app.command()
def start(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The ceremony's plan (TOML).")],
    config: Config = DEFAULT_CONFIG,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Nobody is asked: the plan was confirmed elsewhere.")
    ] = False,
) -> None:
    """Make tokens, PINs, recovery and backup keys, and the house; hand out shares; prove backup and recovery.

    Needs fresh tokens, an empty store, and a configuration that names files that are not there yet: [hsm]
    pin_file and recovery_public_key, [backup] recipients_file. Cut off, it is begun again with fresh
    tokens.
    """
    from strongroomd.cli.firststart import Ceremony, demand_fresh  # noqa: PLC0415 - it loads the HSM room

    settings = settings_of(config, check_files=False)
    demand_settled(settings)
    with reported():
        agreed = ceremony_plan(plan)
        demand_fresh(settings, agreed)
        if not yes:
            _confirm(agreed, "is here, and agrees with the plan")
        ceremony = Ceremony(settings, agreed)
        ceremony.make()
        ceremony.found()
        ceremony.prove()
        if not yes:
            _confirm(agreed, "has seen what was done, and agrees with the transcript")
        ceremony.write_down()
    typer.echo(f"the house is founded; shares and transcript are in {agreed.output}")
    typer.echo(
        "every shareholder takes one folder of shares home now; the recovery token goes to a safe of its own"
    )


@app.command("recover-pin")
def recover_pin(
    share: Annotated[list[Path], typer.Option(help="One share; as many as it says must come together.")],
    to: Annotated[Path, typer.Option(help="Where the secret goes, mode 0600; never printed.")],
) -> None:
    """Put a PIN, or the backup identity, together from its shares."""
    from strongroomd.hsm.shares import combine, parse_share  # noqa: PLC0415 - it loads cryptography

    with reported():
        secret = combine([parse_share(_text(path)) for path in share])
        try:
            durable.write_new(to, secret.reveal().encode() + b"\n")
        except OSError as error:
            fail(f"{to} cannot be written: {error.strerror}", ExitCode.REFUSED)
    typer.echo(f"{to}: written")


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        fail(f"{path} cannot be read", ExitCode.REFUSED)


def _confirm(plan: CeremonyPlan, what: str) -> None:
    for person in plan.people:
        if typer.prompt(f"{person} {what}; {person} types their name").strip() != person:
            fail("that is another name; the ceremony ends here", ExitCode.REFUSED)
