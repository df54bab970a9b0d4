"""A worker's memory: what it has freed goes back to the kernel.

A flood of connections takes 45 KB for each, and all of it is freed when they are gone. glibc keeps it:
between what was freed lies what is in use, and a heap is given back only from its end. The next flood finds
pieces that are too small for it, and the heap grows again.
"""

import ctypes
import os
from pathlib import Path
from typing import Final

ROOM: Final = 32 << 20
"""Bytes that a worker may have more than when it was smallest without looking for what it could give back."""
EVERY_SECONDS: Final = 5.0
"""Between two looks: one that finds something takes 0.1 ms of the loop for each MB, one in vain 0.5 ms."""
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 131_072  # bytes, glibc's threshold at the start
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = Path("/proc/self/statm")


def map_large_blocks() -> None:
    """Have large blocks mapped one by one, so that each goes back to the kernel when it is freed.

    Each TLS connection has a block of 256 KiB. glibc would soon take them from the heap.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc; to set the threshold ends its growth (mallopt(3))
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


class Surplus:
    """Gives back the pages between the blocks in use, too, where they may be many."""

    def __init__(self) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc; malloc_trim(3)
        self._least = resident()

    def give_back(self) -> bool:
        """Do so while the process has `ROOM` more than when it was smallest; says whether it tried."""
        try:
            now = resident()
        except OSError:  # no descriptor is left: the next look may have one
            return False
        self._least = min(self._least, now)
        if self._trim is None or now - self._least < ROOM:
            return False
        self._trim(0)
        return True


def resident() -> int:
    """Give how many bytes of this process are in memory."""
    return int(_STATM.read_text().split()[1]) * _PAGE
