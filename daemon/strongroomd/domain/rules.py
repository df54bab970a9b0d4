"""Rules: a pattern of events and what is done about those that match."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.events import Pattern

HOUR_MS: Final = 3_600_000


class RuleAction(StrEnum):
    """What a rule can do; a closed list."""

    ENABLE_KEY = "enable_key"
    DISABLE_KEY = "disable_key"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: as configured, unique.
        pattern: which events it is about.
        action: what it does.
        principal: ARN of who does it, under policy; empty for notify, which touches no key.
        sink: whom it notifies; empty for the others.
        most_per_hour: how often it acts on one subject within an hour.
    """

    name: str
    pattern: Pattern
    action: RuleAction
    principal: str
    sink: str
    most_per_hour: int
