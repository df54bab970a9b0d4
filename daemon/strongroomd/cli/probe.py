"""Loads the PKCS#11 module in a process of its own, for `doctor`: a bad module takes only this one down.

Prints one JSON line. It never logs in.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from strongroomd.config import load
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
    )
    found = {"module": "", "token": ""}
    # The lock keeps a login of the running daemon from being seen half done; before `init` there is none.
    with login_lock(hsm) if settings.hsm_state.is_dir() else nullcontext():
        for stage, step in (("module", load_module), ("token", lambda hsm: load_module(hsm).token(hsm))):
            try:
                step(hsm)
            except StrongroomError as error:
                return found | {stage: error.detail or error.message}
            found[stage] = "ok"
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(Path(sys.argv[1]))) + "\n")
