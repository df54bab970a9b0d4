"""PolicyService: what is to be said of a policy before it is put."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """One thing that is suspicious about a policy: how bad (error, warning, note), which rule, and where."""

    severity: str
    code: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class PolicyTrace:
    """What one statement had to say; `failed` is what did not match.

    `delegates` says that it only lets the account's identity policies decide; `near_miss` that nothing but
    conditions or the resource kept it from applying.
    """

    source: str
    policy: str
    statement: str
    effect: str
    applies: bool
    delegates: bool
    failed: tuple[str, ...]
    near_miss: bool


@dataclass(frozen=True, slots=True)
class Simulation:
    """How a request would be decided: by which rule, by which statement of which policy."""

    allowed: bool
    basis: str
    ground: str
    policy: str
    traces: tuple[PolicyTrace, ...]
