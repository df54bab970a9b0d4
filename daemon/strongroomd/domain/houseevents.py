"""Which event a change of a house key or of a re-wrap is; part of `happenings`."""

from typing import Any, Final

from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.records import HouseRecord, HouseState, Record, RewrapRecord, RewrapState
from strongroomd.domain.tokens import spelled

_KEY_STATES: Final[dict[tuple[HouseState, HouseState], EventType]] = {
    (HouseState.INTENT, HouseState.ACTIVE): EventType.HOUSE_KEY_ROTATED,
    (HouseState.INTENT, HouseState.FAILED): EventType.HOUSE_KEY_GIVEN_UP,
}
"""States before and after; what `init` makes is there before anybody could be told."""


def happenings(before: Record | None, after: Record | None) -> list[Draft]:
    """Say what the change of a house key's or a re-wrap's record means; nothing for other kinds."""
    match after:
        case HouseRecord():
            return _of_key(before, after)
        case RewrapRecord():
            return _of_rewrap(before, after)
    return []


def _of_key(before: Any, after: HouseRecord) -> list[Draft]:  # noqa: ANN401 - a house key or None
    kind = _KEY_STATES.get((before.state, after.state)) if before else None
    if kind is None:
        return []
    facts = {
        "role": after.role,
        "token": spelled(after.token),
        "generation": after.generation,
        "house_key": after.hsm_id,
    }
    return [Draft(kind, f"house/{after.role}/{spelled(after.token)}", facts)]


def _of_rewrap(before: Any, after: RewrapRecord) -> list[Draft]:  # noqa: ANN401 - a re-wrap or None
    running = RewrapState.RUNNING
    if after.state is running and (
        before is None or before.state is not running or before.target != after.target
    ):
        kind = EventType.REWRAP_STARTED
    elif before is not None and before.state is running and after.state is not running:
        kind = EventType.REWRAP_ENDED
    else:
        return []
    facts = {
        "token": spelled(after.token),
        "house_key": after.target,
        "state": after.state.value,
        "total": after.total,
        "rewrapped": after.rewrapped,
        "failed": after.failed,
    }
    return [Draft(kind, f"rewrap/{spelled(after.token)}", facts)]
