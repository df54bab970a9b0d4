"""What a worker has freed goes back to the kernel, though other blocks stay between."""

import subprocess
import sys

import pytest

SCENE = """
import ctypes
from strongroomd import memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def come(number, size):
    blocks = []
    for _ in range(number):
        blocks.append(libc.malloc(size))
        libc.memset(blocks[-1], 1, size)
        libc.malloc(2_000)  # something small that stays between them
    return blocks
def go(blocks):
    for block in blocks:
        libc.free(block)
before = memory.resident()
def kept():
    return memory.resident() - before
"""
CONNECTIONS, EACH = 2_000, 40_000  # 80 MB
"""A flood's, below the size that is mapped."""


def scene(code: str) -> str:
    """Play one in a process of its own; gives what it prints."""
    command = [sys.executable, "-c", SCENE + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_large_blocks_are_given_back_when_they_are_freed() -> None:
    code = """import os
from strongroomd.worker import harden
harden(os.getppid())
before = memory.resident()
for _ in range(2):
    go(come(100, 262_144))
print(kept() < 10 << 20)"""

    assert scene(code) == "True"


def test_what_a_flood_of_connections_has_freed_is_given_back() -> None:
    code = f"""surplus = memory.Surplus()
go(come({CONNECTIONS}, {EACH}))
print(kept() > 60 << 20, surplus.give_back(), kept() < 20 << 20)"""

    assert scene(code) == "True True True"


def test_floods_one_after_the_other_need_no_more_than_the_first() -> None:
    code = f"""surplus, found = memory.Surplus(), []
for _ in range(4):
    go(come({CONNECTIONS}, {EACH}))
    surplus.give_back()
    found.append(kept() < 40 << 20)
print(all(found))"""

    assert scene(code) == "True"


@pytest.mark.parametrize("megabytes", [0, 16])
def test_a_worker_that_has_not_grown_much_does_nothing(megabytes: int) -> None:
    code = f"""surplus = memory.Surplus()
held = bytes({megabytes} << 20)
print(surplus.give_back())"""

    assert scene(code) == "False"


def test_a_worker_looks_again_while_it_is_large() -> None:
    """What is freed later is given back later."""
    code = f"""surplus = memory.Surplus()
blocks = come({CONNECTIONS}, {EACH})
print(surplus.give_back(), kept() > 60 << 20)
go(blocks)
print(surplus.give_back(), kept() < 20 << 20)
print(surplus.give_back())"""

    assert scene(code).split() == ["True", "True", "True", "True", "False"]


def test_a_worker_without_descriptors_looks_another_time() -> None:
    code = f"""import resource
surplus = memory.Surplus()
go(come({CONNECTIONS}, {EACH}))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
print(surplus.give_back())
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(surplus.give_back())"""

    assert scene(code).split() == ["False", "True"]


def test_growth_counts_from_where_it_was_smallest() -> None:
    code = """held = bytearray(b"x") * (64 << 20)
surplus = memory.Surplus()
del held
surplus.give_back()
held = bytearray(b"x") * (40 << 20)
print(surplus.give_back())"""

    assert scene(code) == "True"
