"""Giving up the power to ignore file modes, so that a read-only token.object stays unwritten even by root.

SoftHSM rewrites token.object at each login; a kill in the middle destroys the token. Mode 0400 prevents the
write, unless the process has CAP_DAC_OVERRIDE, as root and many containers do (measured: 150 kills, 24 tokens
lost with it, none without).
"""

import ctypes
import os
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError

_VERSION_3: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, two 32-bit words per set
_DAC_OVERRIDE: Final = 1


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_override_capability() -> None:
    """Drop CAP_DAC_OVERRIDE from the calling thread and every thread that it starts later.

    Call it at a worker's start, before any thread exists. Harmless when the process never had it.

    Raises:
        StrongroomError: INTERNAL when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(_VERSION_3, 0)
    sets = (_Sets * 2)()
    _call(libc.capget(ctypes.byref(header), sets))
    sets[0].effective &= ~(1 << _DAC_OVERRIDE)
    sets[0].permitted &= ~(1 << _DAC_OVERRIDE)
    sets[0].inheritable &= ~(1 << _DAC_OVERRIDE)
    _call(libc.capset(ctypes.byref(header), sets))


def _call(status: int) -> None:
    if status != 0:
        text = os.strerror(ctypes.get_errno())
        raise StrongroomError(Reason.INTERNAL, detail=f"capabilities cannot be changed: {text}")
