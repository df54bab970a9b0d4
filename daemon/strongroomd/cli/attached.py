"""Serves the attached recovery token in a process of its own, to make it and to restore by it.

One process has one copy of a module with one configuration, and the recovery token's may be the same module
with another. It is given the two public keys in the first line of its input and the first part of a
recovery blob in each other, and answers each by a line, all in base64. A one-time key goes from wrapped to
wrapped inside the token; nothing in clear passes here.
"""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from strongroomd.cli.common import reported
from strongroomd.config.attached import attached_token
from strongroomd.hsm.pin import Pin, PinSource
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.transport import make_recovery_token, retarget_all


def serve(path: Path) -> None:
    """Answer until the input ends.

    Args:
        path: describes the token.
    """
    settings, pin = _token(path)
    recovery_key, transport = (base64.b64decode(part) for part in sys.stdin.readline().split())
    for answer in retarget_all(settings, pin, recovery_key, transport, _heads()):
        sys.stdout.write(base64.b64encode(answer).decode() + "\n")
        sys.stdout.flush()


def make(path: Path, bits: int) -> None:
    """Make the recovery pair in a fresh token, and print its public half.

    Args:
        path: describes the token.
        bits: of the modulus.
    """
    public_key = make_recovery_token(*_token(path), bits)
    sys.stdout.write(base64.b64encode(public_key).decode() + "\n")


def _token(path: Path) -> tuple[HsmSettings, Pin]:
    token = attached_token(path)
    settings = HsmSettings(
        module=token.module,
        state=token.state_dir or path.parent,
        token_serial=token.token_serial,
        token_label=token.token_label,
        softhsm_conf=token.softhsm_conf,
    )
    return settings, PinSource(file=token.pin_file).read()


def _heads() -> Iterator[bytes]:
    for line in sys.stdin:
        yield base64.b64decode(line)


def main() -> None:
    """Serve, or make the pair if the size of its modulus is given."""
    try:
        with reported():
            if len(sys.argv) > 2:
                make(Path(sys.argv[1]), int(sys.argv[2]))
            else:
                serve(Path(sys.argv[1]))
    except typer.Exit as end:
        sys.exit(end.exit_code)


if __name__ == "__main__":
    main()
