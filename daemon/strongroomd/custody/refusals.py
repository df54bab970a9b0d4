"""Refusals have a price too: each costs a durable audit record, so nobody may cause them without end.

A call that no quota was charged for (an unknown or forbidden key, a key in the wrong state, a bad field, a
used up quota) is charged to its principal's own bucket of refusals. While that is empty no record is written
for each call: they are counted, and one record about a second later says how many there were.
"""

import asyncio
from collections import Counter
from typing import Any

from strongroomd.custody.quotas import Quotas
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import REFUSALS_REPORT_SECONDS
from strongroomd.ports import AuditLog
from strongroomd.telemetry import logs

_log = logs.get("custody")


class Refusals:
    """Charges refusals, and counts those that have no record of their own.

    Args:
        quotas: has the buckets.
        audit: this worker's chain.
    """

    def __init__(self, quotas: Quotas, audit: AuditLog) -> None:
        self._quotas = quotas
        self._audit = audit
        self._untold: Counter[str] = Counter()
        self._reports: dict[str, asyncio.Task[None]] = {}

    def charge(self, arn: str, cost: int = 1) -> StrongroomError | None:
        """Charge a principal for refusals; gives QUOTA_EXCEEDED, and counts the call, if it cannot pay."""
        error = self._quotas.spend_refusal(arn, cost)
        if error is not None:
            self._untold[arn] += 1
            if arn not in self._reports:
                self._reports[arn] = asyncio.ensure_future(self._report_later(arn))
        return error

    def require(self, arn: str) -> None:
        """Do the same for one refusal. Raises QUOTA_EXCEEDED."""
        error = self.charge(arn)
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame: nothing is left to the garbage collector

    async def _report_later(self, arn: str) -> None:
        await asyncio.sleep(REFUSALS_REPORT_SECONDS)
        del self._reports[arn]
        await self._report(arn)

    async def flush(self) -> None:
        """Write down at once what is counted; for a worker that is about to end."""
        for task in self._reports.values():
            task.cancel()
        self._reports.clear()
        for arn in tuple(self._untold):
            await self._report(arn)

    async def _report(self, arn: str) -> None:
        count = self._untold.pop(arn, 0)
        if not count:
            return
        record: dict[str, Any] = {"kind": "outcome", "action": "strongroom:Refusals", "principal": arn}
        try:
            await self._audit.write({**record, "outcome": Reason.QUOTA_EXCEEDED.value, "refusals": count})
        except StrongroomError as error:
            self._untold[arn] += count  # the next refusal's report, or flush, tells of these too
            _log.warning("refusals not written down yet", reason=error.reason.value)
