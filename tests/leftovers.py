"""What calls leave behind for Python's cyclic garbage collector: it should be nothing.

A collection holds up every call of its worker, for longer the more there is to look at; and what waits for one may
be a plaintext.
"""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

OURS = ("strongroomd", "uvicorn", "httptools")


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what is left of the work within, by type; of the daemon's own, and of what it serves HTTP with."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(filter(None, map(_name, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _name(item: Any) -> str:
    if isinstance(item, FrameType):
        return f"frame of {item.f_code.co_qualname}" if "strongroomd" in item.f_code.co_filename else ""
    kind = type(item)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__.startswith(OURS) else ""
