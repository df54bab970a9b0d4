"""Approvals where no daemon runs: a request file that approvers sign, and their signatures, brought as files.

Who may approve is asked of the state that is to be restored: the approvers enrolled in it. Its records are
verified by then, by the token's MACs or by the house's signature over the set.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from strongroomd.custody.approvalproofs import require_offline
from strongroomd.custody.clock import Clock
from strongroomd.domain.approvals import (
    ID_BYTES,
    LEAST_OFFLINE,
    MAX_LIFETIME_MS,
    NONCE_BYTES,
    Enrolled,
    FrozenRequest,
    GuardedAction,
    check_request,
    living,
    read_request,
    request_id_at,
)
from strongroomd.domain.errors import Reason, StrongroomError, invalid


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done, to the last bit that approvers must have signed for.

    Attributes:
        action: one that is done without a daemon.
        account: whose people approve, 12 digits.
        parameters: what exactly.
    """

    action: GuardedAction
    account: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Approvals:
    """What an operator brings.

    Attributes:
        request: the request's file, as approvers signed it; None while there is none.
        signatures: theirs over it, in any order.
        ask: takes a request's file to be signed, if there is none yet.
        requester: ARN of who asks, for that: an enrolled approver.
        purpose: why, for that.
        requester_counts: whether who asked may be one of those who approve.
        clock: tells when a request is made, and whether one is over.
    """

    request: bytes | None = None
    signatures: tuple[bytes, ...] = ()
    ask: Callable[[bytes], None] | None = None
    requester: str = ""
    purpose: str = ""
    requester_counts: bool = True
    clock: Clock = field(default_factory=Clock)

    def demand(self, wanted: Wanted, approvers: Mapping[str, Enrolled], quorum: int) -> list[str]:
        """Give the ARNs of those who approved; enough of them, for exactly this, and in time.

        Args:
            wanted: what is to be done.
            approvers: enrolled keys by their ids, verified.
            quorum: how many must approve at least; two people do in any case.

        Raises:
            StrongroomError: APPROVAL_REQUIRED while there is no request, which is written if asked for;
                INVALID_FIELD (`requester`) for one who could not approve; else what `require_offline` raises.
        """
        if self.request is None:
            raise self._ask(wanted, approvers, max(quorum, LEAST_OFFLINE))
        request = read_request(self.request)
        if request.account != wanted.account:
            raise StrongroomError(Reason.APPROVAL_MISMATCH)
        counted = require_offline(
            self.request,
            self.signatures,
            approvers.values(),
            wanted.action,
            dict(wanted.parameters),
            quorum,
            self.clock.wall_ms(),
            requester_counts=self.requester_counts,
        )
        return sorted({*counted.others, *({request.requester} if counted.own else ())})

    def _ask(self, wanted: Wanted, approvers: Mapping[str, Enrolled], quorum: int) -> StrongroomError:
        if self.ask is None:
            message = "enrolled approvers must sign for this: --request-approval writes what they sign"
            return StrongroomError(Reason.APPROVAL_REQUIRED, message, field="approval")
        people = living(wanted.account, approvers.values())
        if len(people) < quorum + (0 if self.requester_counts else 1):
            message = "fewer approvers than must sign are enrolled and not disabled, so nobody can ask"
            return StrongroomError(Reason.APPROVAL_REQUIRED, message, field="approval")
        if self.requester not in people:
            return invalid("requester", "must be an enrolled approver of the account who is not disabled")
        now = self.clock.wall_ms()
        request = FrozenRequest(
            id=request_id_at(now, os.urandom(ID_BYTES)),
            action=wanted.action,
            account=wanted.account,
            key="",
            version=0,
            parameters=tuple(sorted(wanted.parameters.items())),
            requester=self.requester,
            behind=(),
            purpose=self.purpose,
            quorum=quorum,
            created_at=now,
            expires_at=now + MAX_LIFETIME_MS,
            nonce=os.urandom(NONCE_BYTES).hex(),
        )
        self.ask(check_request(request).file)
        message = f"the request is written; {quorum} people must sign it within 24 hours"
        return StrongroomError(Reason.APPROVAL_REQUIRED, message, field="approval")
