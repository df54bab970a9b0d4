"""Founding an installation: `wiring.initialise`, and the one public fact that auditors need of it."""

import asyncio
from pathlib import Path

from strongroomd.config import Settings
from strongroomd.domain.errors import Reason, StrongroomError

CHECKPOINT_ROLE = "checkpoint"


def found(settings: Settings, so_pin_file: Path | None = None) -> None:
    """Make house keys and store, and write down the public half of the checkpoint key.

    Args:
        settings: names token and store, both fresh.
        so_pin_file: the security officer's PIN, when the token has no user PIN yet.

    Raises:
        StrongroomError: CONFIGURATION for a used token or store; what token and store raise.
    """
    from strongroomd import wiring  # noqa: PLC0415 - it loads every room
    from strongroomd.frontends.ops.signatures import public_key_pem  # noqa: PLC0415
    from strongroomd.hsm.pin import PinSource  # noqa: PLC0415

    settings.daemon.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    so_pin = None if so_pin_file is None else PinSource(file=so_pin_file).read()
    for record in asyncio.run(wiring.initialise(settings, so_pin=so_pin)):
        if record.role == CHECKPOINT_ROLE:
            _write(settings.checkpoint_public_key, public_key_pem(record.public_key))


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
        detail = f"the checkpoint key's public half cannot be written, errno {error.errno}"
        raise StrongroomError(Reason.CONFIGURATION, field="daemon.state_dir", detail=detail) from error
