"""Founding an installation: `wiring.initialise`, and the public keys that others verify its word with."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from strongroomd.config import Settings
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord

CHECKPOINT_ROLE, STATEMENT_ROLE = "checkpoint", "statement"


def found(settings: Settings, so_pin_file: Path | None = None) -> None:
    """Make house keys and store, and write down the public halves of the keys that sign.

    Args:
        settings: names token and store, both fresh.
        so_pin_file: the security officer's PIN, when the token has no user PIN yet.

    Raises:
        StrongroomError: CONFIGURATION for a used token or store; what token and store raise.
    """
    from strongroomd import wiring  # noqa: PLC0415 - it loads every room
    from strongroomd.hsm.pin import PinSource  # noqa: PLC0415

    settings.daemon.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    so_pin = None if so_pin_file is None else PinSource(file=so_pin_file).read()
    _publish(settings, asyncio.run(wiring.initialise(settings, so_pin=so_pin)))


def complete(settings: Settings) -> int:
    """Make the house keys that came after this house was founded; returns how many there were.

    Args:
        settings: names token and store; the store is at this version's schema.

    Raises:
        StrongroomError: what token and store raise.
    """
    from strongroomd import wiring  # noqa: PLC0415 - it loads every room

    made = asyncio.run(wiring.complete_house(settings))
    _publish(settings, made)
    return len(made)


def _publish(settings: Settings, made: Iterable[HouseRecord]) -> None:
    from strongroomd.frontends.ops.signatures import public_key_pem  # noqa: PLC0415 - it loads cryptography

    places = {
        CHECKPOINT_ROLE: settings.checkpoint_public_key,
        STATEMENT_ROLE: settings.statement_public_key,
    }
    for record in made:
        if record.role in places:
            _write(places[record.role], public_key_pem(record.public_key))


def found_token(settings: Settings, name: str, so_pin_file: Path | None = None) -> None:
    """Make the house keys of a further token, for a house that has its main token already.

    Args:
        settings: names token and store.
        name: the token's name in the configuration.
        so_pin_file: the security officer's PIN, when the token has no user PIN yet.

    Raises:
        StrongroomError: CONFIGURATION for an unknown or a used token; what token and store raise.
    """
    from strongroomd import wiring  # noqa: PLC0415 - it loads every room
    from strongroomd.hsm.pin import PinSource  # noqa: PLC0415

    so_pin = None if so_pin_file is None else PinSource(file=so_pin_file).read()
    asyncio.run(wiring.initialise_token(settings, name, so_pin=so_pin))


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        detail = f"{path.name} cannot be written, errno {error.errno}"
        raise StrongroomError(Reason.CONFIGURATION, field="daemon.state_dir", detail=detail) from error
