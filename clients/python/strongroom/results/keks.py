"""KekService: the daemon's own keys and what moves to new ones."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HouseKey:
    """One of the daemon's own keys; `versions` counts what a KEK wraps, `public_key` is DER or empty."""

    role: str
    token: str
    generation: int
    house_key_id: str
    in_use: bool
    state: str
    created_time: datetime | None
    versions: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Rewrap:
    """How far a token's exportable keys have moved to its newest exportable KEK."""

    token: str
    target_house_key_id: str
    state: str
    total: int
    rewrapped: int
    failed: int
    per_second: int
    start_time: datetime | None
    end_time: datetime | None
    started_by: str
