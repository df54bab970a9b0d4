"""How often a worker may ask for a successor because of a token: remembered across workers, ever more rarely.

Some modules see a token again only after C_Initialize, and that belongs to a fresh process. A token that
comes and goes must not have workers replaced without end.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

FIRST_SECONDS: Final = 30.0
MOST_SECONDS: Final = 3_600.0
_MOST_DOUBLINGS: Final = 10


class Renewals:
    """One worker's place in one token's count.

    Args:
        path: the file that remembers; its length is how often, its modification time when last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self) -> bool:
        """Ask once more; False while the last time is too near."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return self._note(0)
        wait = min(FIRST_SECONDS * 2 ** (status.st_size - 1), MOST_SECONDS)
        if 0 <= time.time() - status.st_mtime < wait:
            return False
        return self._note(status.st_size)

    def clear(self) -> None:
        """Forget: the token has been well for long."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _note(self, before: int) -> bool:
        """Remember this time; without a place to do so nobody asks."""
        try:
            self._path.write_bytes(b"." * min(before + 1, _MOST_DOUBLINGS))
        except OSError:
            return False
        return True
