"""A consistent copy of SoftHSM's token directory while a daemon uses it.

The daemon logs in and changes token objects only under the login lock (login.py, objects.py), which is held
for the copy. Programs of others know nothing of that lock: so the directory is compared before and after.
"""

import shutil
from pathlib import Path
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.tokenfile import is_whole, token_directory

_TRIES: Final = 3
_Stamps = dict[str, tuple[int, int]]


def copy_tokens(settings: HsmSettings, target: Path) -> bool:
    """Copy every token of SoftHSM's token directory into a new folder; False for another module.

    Raises:
        StrongroomError: HSM_UNAVAILABLE when the lock stays taken, others keep changing the directory, or a
            token's main file is damaged.
    """
    tokens = None if settings.softhsm_conf is None else token_directory(settings.softhsm_conf)
    if tokens is None:
        return False
    with login_lock(settings):
        for _ in range(_TRIES):
            try:
                before = _stamps(tokens)
                shutil.copytree(tokens, target, ignore=_hidden)
                if _stamps(tokens) == before:
                    _demand_whole(target)
                    return True
            except (FileNotFoundError, shutil.Error):
                pass  # a file went while it was copied
            shutil.rmtree(target, ignore_errors=True)
    raise _unavailable("others keep changing the token directory")


def _stamps(tokens: Path) -> _Stamps:
    """Note when each file was changed, and its size; locks are opened for writing at every look."""
    files = (path for path in tokens.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path): ((status := path.stat()).st_mtime_ns, status.st_size) for path in files}


def _hidden(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(".")]


def _demand_whole(target: Path) -> None:
    for path in target.glob("*/token.object"):
        if not is_whole(path.read_bytes()):
            raise _unavailable("a token's main file is damaged")


def _unavailable(detail: str) -> StrongroomError:
    return StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=5.0)
