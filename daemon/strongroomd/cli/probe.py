"""Loads a token's PKCS#11 module in a process of its own, for `doctor`: a bad one takes only this one down.

Prints one JSON line. It never logs in.
"""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from strongroomd.config import load, token_plans
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.module import load as load_module
from strongroomd.hsm.settings import HsmSettings


def probe(config: Path, name: str = MAIN) -> dict[str, str]:
    """Load the module of a token with locking, then look for the token; says how far it came."""
    settings = load(config, check_files=False)
    token = next(plan for plan in token_plans(settings) if plan.name == name)
    hsm = HsmSettings(
        module=token.module,
        state=token.state,
        token_serial=token.token_serial,
        token_label=token.token_label,
        softhsm_conf=token.softhsm_conf,
        lock_seconds=settings.hsm.lock_seconds,
        symmetric=token.symmetric,
    )
    found = {"module": "", "token": "", "symmetric": ""}
    # The lock keeps a login of the running daemon from being seen half done; before `init` there is none.
    with login_lock(hsm) if token.state.is_dir() else nullcontext():
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
    sys.stdout.write(json.dumps(probe(Path(sys.argv[1]), *sys.argv[2:])) + "\n")
