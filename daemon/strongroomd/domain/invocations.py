"""How often one AES-GCM key may encrypt: the arithmetic of its counter.

With random 96-bit IVs a key encrypts at most 2^32 times, however many workers share it (NIST SP 800-38D,
8.3): up to there the chance that two IVs are the same stays below 2^-32. Invocations are numbered from 1,
and handed out to workers in blocks: what a worker does not use of its block is lost, never used again.
"""

from dataclasses import dataclass
from typing import Final

LIMIT: Final = 1 << 32
BLOCK: Final = 1 << 16  # invocations in one store transaction: 65,536 blocks are enough for 180 workers a day
WARN: Final = LIMIT * 8 // 10
ROTATE: Final = LIMIT * 9 // 10
AT_BIRTH: Final = 1  # each key's own check value is the first thing that it encrypts


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a counter goes and in which steps.

    Attributes:
        limit: the number of the last invocation.
        block: how many are handed out at once.
        warn, rotate: numbers at which operators are told, and the key gets a new version.
    """

    limit: int = LIMIT
    block: int = BLOCK
    warn: int = WARN
    rotate: int = ROTATE


@dataclass(frozen=True, slots=True)
class Block:
    """Invocations `first` to `last` of a key version, which belong to one worker."""

    first: int
    last: int


def next_block(reserved: int, bounds: Bounds) -> Block | None:
    """Give the block behind the last one handed out, a shorter one at the end, None after the end."""
    last = min(reserved + bounds.block, bounds.limit)
    return Block(reserved + 1, last) if last > reserved else None


def crosses(block: Block, mark: int) -> bool:
    """Tell whether a block is the one that reaches a mark: that is one block of all workers'."""
    return block.first <= mark <= block.last
