"""The short form of `scripts/fuzz` for parsers and command lines; the RPCs' is in tests/conformance."""

import random

import pytest
from tests.fuzz import targets, xkstargets

TARGETS = targets.TARGETS | xkstargets.TARGETS
_TIMES = {"audit": 60, "argv": 80, "xks-http": 300}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_nothing_breaks_a_parser_or_a_command_line(name: str) -> None:
    for number in range(_TIMES.get(name, 1_500)):
        TARGETS[name](random.Random(f"short/{name}/{number}"))
