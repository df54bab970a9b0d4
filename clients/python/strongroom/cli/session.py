"""What every verb has in common: the global options and the client made from them."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from strongroom.client import Client
    from strongroom.settings import Settings


@dataclass(frozen=True, slots=True)
class Options:
    """The global options, as given."""

    as_json: bool = False
    profile: str | None = None
    endpoint: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    timeout: str | None = None
    assume_role: str | None = None


def options(ctx: typer.Context) -> Options:
    """Give the global options of this run."""
    found = ctx.find_root().obj
    return found if isinstance(found, Options) else Options()


@contextlib.contextmanager
def connected(ctx: typer.Context) -> Iterator["Client"]:
    """Connect with the global options, the environment and the profile.

    A daemon that is down is reported after a few quick attempts instead of waiting for it to come back.
    """
    from strongroom.settings import resolve  # noqa: PLC0415 - only for verbs that call

    given = options(ctx)
    overrides = {
        "endpoint": given.endpoint,
        "ca": given.ca,
        "cert": given.cert,
        "key": given.key,
        "server_name": given.server_name,
        "timeout": given.timeout,
        "assume_role": given.assume_role,
    }
    with _client(resolve(overrides, profile=given.profile)) as client:
        yield client


@contextlib.contextmanager
def connected_as(ctx: typer.Context, profile: str) -> Iterator["Client"]:
    """Connect to a second daemon by its profile alone, with this run's deadline."""
    from strongroom.settings import CONFIG_VARIABLE, resolve  # noqa: PLC0415 - only for verbs that call

    ours = {name for name in os.environ if name.startswith("STRONGROOM_") and name != CONFIG_VARIABLE}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    found = resolve({"timeout": options(ctx).timeout}, profile=profile, environ=environment)
    with _client(found) as client:
        yield client


def _client(settings: "Settings") -> "Client":
    from strongroom.client import Client  # noqa: PLC0415 - gRPC is loaded only by verbs that call
    from strongroom.retry import RetryPolicy  # noqa: PLC0415

    return Client(settings, retry=RetryPolicy(wait_for_connection=False))
