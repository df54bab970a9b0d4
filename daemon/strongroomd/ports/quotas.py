"""The quota buckets that all workers of a node share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Charge:
    """A cost to be taken from one quota bucket.

    Attributes:
        bucket: unique name, e.g. `CLASS/<account>/SYMMETRIC`.
        cost: in cost units; may exceed the burst only by being refused.
        per_second, burst: the bucket's limit.
    """

    bucket: str
    cost: int
    per_second: int
    burst: int


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a spend was refused: the bucket with the longest wait, and that wait in seconds."""

    bucket: str
    wait: float


class QuotaTable(Protocol):
    """Arrival times shared by all workers of a node; see domain/quota.py for the arithmetic."""

    def spend(self, charges: Sequence[Charge]) -> Shortfall | None:
        """Take all charges or none, in microseconds; waits for a sibling's few instructions at most."""
        ...

    def available(self, charge: Charge) -> int:
        """Cost units that the charge's bucket would grant now."""
        ...
