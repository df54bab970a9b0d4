"""How a call ends at the gate: refused, done or left by its caller; what it costs, and what is recorded."""

from strongroomd.custody.passage import Passage
from strongroomd.domain.errors import Fault, Reason, StrongroomError
from strongroomd.telemetry import logs

_log = logs.get("custody")
_SLOW_DOWN = (Reason.QUOTA_EXCEEDED, Reason.OVERLOADED)  # what tells a caller to do so by itself


async def refuse(passage: Passage, error: StrongroomError) -> StrongroomError:
    """Write a refusal down and count it; gives what the caller is told: this, or to slow down."""
    throttled = _cannot_pay(passage, error)
    if throttled is not None:
        answer = error if error.reason in _SLOW_DOWN else throttled
        passage.gate.meter.refused(answer)
        return answer
    passage.gate.meter.refused(error)
    if error.detail:
        reason, request_id = error.reason.value, passage.caller.request_id
        _log.info("refused", reason=reason, detail=error.detail, request_id=request_id)
    await passage.outcome(error.reason.value)
    return error


def _cannot_pay(passage: Passage, error: StrongroomError) -> StrongroomError | None:
    """Charge a refusal; gives QUOTA_EXCEEDED where it gets no record of its own.

    Overload is not its caller's fault, but a worker that has too much to do cannot write down each.
    """
    if error.reason is Reason.OVERLOADED:
        return passage.gate.refusals.charge(passage.caller.principal.arn)
    return passage.charge_refusal() if error.fault is Fault.CALLER else None


async def end(passage: Passage) -> None:
    """Write down that the call succeeded and count what it used.

    The items of a batch that were refused have paid nothing yet.

    Raises:
        StrongroomError: QUOTA_EXCEEDED for such a batch when its principal is refused too often.
    """
    throttled = passage.charge_refusal()
    if throttled is not None:
        passage.gate.meter.refused(throttled)
        if passage.charged:  # some items were done
            await passage.outcome(throttled.reason.value)
            passage.count_uses()
        try:
            raise throttled
        finally:
            del throttled  # its traceback has this frame: nothing is left to the garbage collector
    await passage.outcome("OK")
    passage.count_uses()


def cancelled(passage: Passage) -> None:
    """Have it written down that the caller went away: what was done may have been done."""
    if passage.charge_refusal() is None:
        passage.gate.keep(passage.outcome("CANCELLED"))
