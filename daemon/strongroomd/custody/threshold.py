"""What a door refuses before a call reaches the gate: written down, and charged, like any other refusal.

An unknown certificate, a damaged checksum, an unknown enum, a message that does not parse: nobody's key was
touched, but somebody tried, and the audit log is where one looks for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from strongroomd.custody.gate import GateMeter
from strongroomd.custody.refusals import Refusals
from strongroomd.domain.errors import StrongroomError
from strongroomd.ports import AuditLog

NOBODY: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call as far as the door got with it.

    Attributes:
        door: which door, e.g. `grpc`.
        method: the RPC's name.
        request_id: correlates reply, log and record.
        source: the peer's address.
        principal: its ARN; `NOBODY` if the peer speaks for none.
        told: what else is known of the caller (`Caller.told`).
    """

    door: str
    method: str
    request_id: str
    source: str
    principal: str = NOBODY
    told: Mapping[str, str] = field(default_factory=dict)


class Threshold:
    """Writes refusals of the doors down.

    Args:
        audit: this worker's chain.
        refusals: charges them; those of strangers have one bucket together.
        meter: counts them.
    """

    def __init__(self, audit: AuditLog, refusals: Refusals, meter: GateMeter) -> None:
        self._audit = audit
        self._refusals = refusals
        self._meter = meter

    async def refuse(self, attempt: Attempt, error: StrongroomError) -> StrongroomError:
        """Write a refusal down; gives what the caller is told: this, or to slow down.

        Raises:
            StrongroomError: AUDIT_UNAVAILABLE.
        """
        answer = self._refusals.charge(attempt.principal) or error
        self._meter.refused(answer)
        if answer is error:
            await self._audit.write(_record(attempt, error))
        return answer


def _record(attempt: Attempt, error: StrongroomError) -> dict[str, Any]:
    record: dict[str, Any] = {
        "kind": "outcome",
        "action": "strongroom:Door",
        "method": attempt.method,
        "principal": attempt.principal,
        "request_id": attempt.request_id,
        "source": attempt.source,
        "door": attempt.door,
        **attempt.told,
        "outcome": error.reason.value,
    }
    return record | {"field": error.field} if error.field else record
