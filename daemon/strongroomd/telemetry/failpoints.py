"""Numbered steps of what must survive a kill, at which a test ends the process.

An action of several steps says at each `reach("import.2")`: now step 1 is done and step 2 is not begun. In a
daemon that costs one comparison and does nothing. Only code can arm it: there is no setting, no environment
variable and no file that does, and nothing in this package calls `arm` (a test looks).
"""

from collections.abc import Callable

_told: Callable[[str], None] | None = None


def reach(step: str) -> None:
    """Say that a step is about to begin.

    Args:
        step: the action's name, a dot and the step's number, counted from 1; each is reached in one place.
    """
    if _told is not None:
        _told(step)


def arm(told: Callable[[str], None] | None) -> None:
    """Have somebody told of every step that is reached, in this process, or nobody any more; for tests.

    Args:
        told: may raise, or end the process.
    """
    global _told  # noqa: PLW0603 - one process, one test
    _told = told
