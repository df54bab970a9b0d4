"""Loads the PKCS#11 module in a process of its own, for `doctor`: a bad module takes only this one down.

Prints one JSON line. It never logs in.
"""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from strongroomd.config import load
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import StrongroomError
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.module import load as load_module
from strongroomd.hsm.settings import HsmSettings


def probe(config: Path) -> dict[str, str]:
    """Load the module with locking, then look for the token; says how far it came."""
    settings = load(config, check_files=False)
    hsm = HsmSettings(
        module=settings.hsm.module,
        state=settings.hsm_state,
        token_serial=settings.hsm.token_serial,
        token_label=settings.hsm.token_label,
        softhsm_conf=settings.hsm.softhsm_conf,
        lock_seconds=settings.hsm.lock_seconds,
        symmetric=settings.hsm.symmetric,
    )
    found = {"module": "", "token": "", "symmetric": ""}
    # The lock keeps a login of the running daemon from being seen half done; before `init` there is none.
    with login_lock(hsm) if settings.hsm_state.is_dir() else nullcontext():
        for stage, step in _STAGES:
            try:
                step(hsm)
            except StrongroomError as error:
                return found | {stage: error.detail or error.message}
            found[stage] = "ok"
    return found


def _token(hsm: HsmSettings) -> None:
    load_module(hsm).token(hsm)


def _symmetric(hsm: HsmSettings) -> None:
    """See whether the token could make a symmetric key of the configured scheme."""
    module = load_module(hsm)
    offer = module.offer(module.token(hsm), hsm.symmetric)
    offer.placement(KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, None, exportable=False)


_STAGES: Final[tuple[tuple[str, Callable[[HsmSettings], object]], ...]] = (
    ("module", load_module),
    ("token", _token),
    ("symmetric", _symmetric),
)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(Path(sys.argv[1]))) + "\n")
