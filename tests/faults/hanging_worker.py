"""The real worker, whose C_Sign hangs while a file beside its configuration names the thread: `loop` or `lane`."""

import ctypes
import os
import threading
import time
from pathlib import Path

from strongroomd.cli import main
from strongroomd.hsm import module

C_SIGN = 44  # its place in the function list, the version counted as place 0 (PKCS#11 2.40, 5.1)
_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong, *[ctypes.c_void_p] * 4)
_kept: list[object] = []


def hang_on_demand(loaded: module.Module) -> None:
    """Put a function before C_Sign that sleeps when told to."""
    real = _PROTOTYPE(loaded.hook.table[C_SIGN])
    order = Path(os.environ["STRONGROOM_TEST_HANG"])

    def sign(*arguments: int) -> int:
        thread = "loop" if threading.current_thread() is threading.main_thread() else "lane"
        if order.exists() and order.read_text() == thread:
            time.sleep(1_000)
        return int(real(*arguments))

    replaced = _PROTOTYPE(sign)
    _kept.extend((real, replaced))
    loaded.hook.table[C_SIGN] = ctypes.cast(replaced, ctypes.c_void_p).value or 0


class _Hanging(module.Module):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        hang_on_demand(self)


module.Module = _Hanging  # type: ignore[misc]
main()
