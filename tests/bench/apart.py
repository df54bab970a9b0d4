"""Processors of their own for the daemon, and for those who call it.

A flood that is made on the daemon's own processors takes away what it is to be served with: the figures then tell
of the machine, not of the daemon. Apart, callers have one processor and the daemon has the others, in its peak as in
what is compared with it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

GIVES_WAY = "--gives-way"
"""The argument of a generator that makes trouble, beside one that measures: `give_way`."""
_APART: ContextVar[bool] = ContextVar("apart", default=False)


@contextmanager
def keep(*, apart: bool) -> Iterator[None]:
    """Start whatever is started within in a place of its own, or, if not apart, anywhere.

    Raises:
        RuntimeError: there is one processor only.
    """
    if apart and len(os.sched_getaffinity(0)) < 2:
        raise RuntimeError("there is one processor only: nothing can be kept apart")
    token = _APART.set(apart)
    try:
        yield
    finally:
        _APART.reset(token)


def workers() -> int:
    """Give how many workers a daemon shall have: apart, one for each of its processors, and else two."""
    return len(os.sched_getaffinity(0)) - 1 if _APART.get() else 2


def trouble() -> list[str]:
    """Give the arguments of a helper that makes trouble: it gives way, if the daemon has a place of its own."""
    return [GIVES_WAY] if _APART.get() else []


@contextmanager
def daemons() -> Iterator[None]:
    """Processes that are started within run where daemons do: on all processors but the last."""
    with _on(slice(None, -1)):
        yield


@contextmanager
def callers() -> Iterator[None]:
    """Processes that are started within run where callers do: on the last processor."""
    with _on(slice(-1, None)):
        yield


def give_way() -> None:
    """Let every other process go first at once (SCHED_IDLE, sched(7)).

    For those who make trouble beside somebody whose times are taken, on a processor of both: what it costs to make it
    is no part of them. A nice value is not enough: whoever runs may go on for some ms before one who matters more.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@contextmanager
def _on(which: slice) -> Iterator[None]:
    mine = os.sched_getaffinity(0)
    if _APART.get():
        os.sched_setaffinity(0, sorted(mine)[which])
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
