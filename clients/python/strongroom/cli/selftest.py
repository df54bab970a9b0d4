"""`strongroom xks selftest`: the examination of an XKS proxy."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.output import note, plain, print_json, show_list
from strongroom.cli.session import options

if TYPE_CHECKING:
    from strongroom.xks import Address, Credential, Origin, Trust
    from strongroom.xks.selftest import Report

FAILED = 1
"""Exit code of a selftest of which a check failed."""
_COLUMNS = {"group": "group", "check": "check", "verdict": "verdict", "detail": "detail"}


def selftest(  # noqa: PLR0913, PLR0917 - options
    ctx: typer.Context,
    url: Annotated[
        str,
        typer.Argument(
            help="https://host[:port]/prefix/kms/xks/v1; the file may give the path.", metavar="URL"
        ),
    ],
    key: Annotated[str, typer.Option("--key", help="External key id; one that is there for tests.")],
    credentials: Annotated[
        str | None,
        typer.Option(
            "--credentials",
            help="The JSON that the AWS console takes. Without it: STRONGROOM_XKS_ACCESS_KEY_ID and "
            "STRONGROOM_XKS_SECRET_ACCESS_KEY.",
            metavar="FILE",
        ),
    ] = None,
    region: Annotated[str, typer.Option(help="Region to sign for.")] = "us-east-1",
    ca: Annotated[
        str | None,
        typer.Option(help="PEM of the proxy's authority; the system's without.", metavar="FILE"),
    ] = None,
    client_cert: Annotated[str | None, typer.Option(help="PEM of your certificate.", metavar="FILE")] = None,
    client_key: Annotated[str | None, typer.Option(help="PEM of its private key.", metavar="FILE")] = None,
    principal: Annotated[
        str | None,
        typer.Option(help="awsPrincipalArn to name, where a policy asks.", metavar="ARN"),
    ] = None,
    kms_key_arn: Annotated[
        str | None, typer.Option(help="kmsKeyArn to name, where the key is pinned to one.", metavar="ARN")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Calls of each timing.")] = 50,
    insecure_http: Annotated[bool, typer.Option("--insecure-http", help="Take an http:// URL.")] = False,
) -> None:
    """Examine an XKS proxy from end to end: TLS, answers, ciphertexts, refusals, timings.

    Exit code 1 if a check failed. The daemon's own settings are not needed.
    """
    from strongroom.xks import ProxyClient  # noqa: PLC0415 - only this verb needs them
    from strongroom.xks import selftest as examination  # noqa: PLC0415

    credential, where = _door(url, credentials, insecure_http=insecure_http)
    trust, origin = _trust(ca, client_cert, client_key), _origin(principal, kms_key_arn)
    with ProxyClient(where, credential, region=region, trust=trust, origin=origin) as client:
        report = examination.examine(client, key, rounds=rounds)
    _show(ctx, report)
    if not report.passed:
        raise typer.Exit(FAILED)


def _door(url: str, credentials: str | None, *, insecure_http: bool) -> "tuple[Credential, Address]":
    """Find out what to sign with and where the proxy is; the credentials may say its path."""
    from strongroom.xks import address  # noqa: PLC0415

    credential, path = _credential(credentials)
    where = address.parse(url, path=path, insecure_http=insecure_http)
    if path and where.path != path:
        note(f"the credentials are for {path}")
    return credential, where


def _credential(file: str | None) -> "tuple[Credential, str]":
    from strongroom.xks import credential  # noqa: PLC0415

    return (credential.from_environment(os.environ), "") if file is None else credential.from_file(Path(file))


def _trust(*files: str | None) -> "Trust":
    from strongroom.xks import Trust  # noqa: PLC0415

    return Trust(*(None if name is None else Path(name) for name in files))


def _origin(principal: str | None, kms_key_arn: str | None) -> "Origin":
    from strongroom.xks import Origin  # noqa: PLC0415

    usual = Origin()
    return Origin(principal or usual.principal_arn, kms_key_arn or usual.kms_key_arn)


def _show(ctx: typer.Context, report: "Report") -> None:
    from strongroom.xks.selftest import Verdict  # noqa: PLC0415

    counts = {verdict.value: report.count(verdict) for verdict in Verdict}
    if options(ctx).as_json:
        print_json({"url": report.url, "passed": report.passed, **counts, "findings": plain(report.findings)})
        return
    # Of a proxy that fails at the door the table would be mostly what could not be tried.
    shown = [each for each in report.findings if report.passed or each.verdict is not Verdict.SKIP]
    show_list(ctx, shown, _COLUMNS)
    note(f"{report.url}: " + ", ".join(f"{number} {name}" for name, number in counts.items() if number))
