"""Whether a fresh process would see a token: loads the module in one, looks, and never logs in.

SoftHSM looks for tokens in C_Initialize alone, and a token whose files were away once stays invalid for the
process that noticed; other modules have their own ways. Only a fresh process knows.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from strongroomd.domain.errors import StrongroomError
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.module import load
from strongroomd.hsm.settings import HsmSettings

_SECONDS: Final = 30.0  # the login lock may be waited for, and modules are slow to load
_FIELDS: Final = ("module", "state", "token_serial", "token_label", "softhsm_conf", "lock_seconds", "name")


def sees(settings: HsmSettings) -> bool:
    """Look for the token in a process of its own; blocks for about a second."""
    facts = {name: _plain(getattr(settings, name)) for name in _FIELDS}
    command = [sys.executable, "-P", "-m", "strongroomd.hsm.scout", json.dumps(facts)]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def look(settings: HsmSettings) -> bool:
    """Look for the token in this process."""
    try:
        with login_lock(settings):  # nobody's login shall be seen half done
            load(settings).token(settings)
    except StrongroomError:
        return False
    return True


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _settings(text: str) -> HsmSettings:
    facts = json.loads(text)
    paths = {
        name: Path(facts[name]) for name in ("module", "state", "softhsm_conf") if facts[name] is not None
    }
    return HsmSettings(**{**facts, **paths})


if __name__ == "__main__":
    sys.exit(0 if look(_settings(sys.argv[1])) else 1)
