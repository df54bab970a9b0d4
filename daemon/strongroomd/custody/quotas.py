"""Quotas: which buckets a call spends from, and the limits that administrators set.

Every cryptographic call spends from its account's class (symmetric, RSA, ECC) or from management; a key or a
principal has a bucket of its own only once a limit is set for it. All buckets are spent together or none.
"""

from collections.abc import Mapping, Sequence

from strongroomd.custody.ledger import Ledger
from strongroomd.domain.algorithms import QuotaClass
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import REFUSALS_BURST, REFUSALS_PER_SECOND
from strongroomd.domain.principals import Principal
from strongroomd.domain.quota import Rate as Rate  # noqa: PLC0414 - for whoever imports it from here
from strongroomd.domain.records import LimitRecord, LimitScope
from strongroomd.ports import Charge, JournalEntry, QuotaTable, Shortfall
from strongroomd.telemetry import logs

_log = logs.get("quotas")


class Quotas:
    """Spends from the node's shared table by the limits in force.

    Args:
        table: arrival times shared by the node's workers.
        ledger: verified limit records, and word of their changes.
        defaults: the limit of each class for every account.
    """

    def __init__(self, table: QuotaTable, ledger: Ledger, defaults: Mapping[QuotaClass, Rate]) -> None:
        self._table = table
        self._ledger = ledger
        self.defaults = dict(defaults)
        self._set: dict[str, Rate] = {}
        self._ordinary: dict[tuple[str, QuotaClass], Charge] = {}
        self._stale = True
        ledger.watch(self._changed)

    def _changed(self, change: JournalEntry) -> None:
        self._stale = self._stale or change.kind == LimitRecord.KIND

    async def refresh(self) -> None:
        """Read the limits again if any changed."""
        if not self._stale:
            return
        self._stale = False
        known = self._set
        try:
            read = {name: await self._read(name, known) for name in self._ledger.known(LimitRecord)}
        except StrongroomError:
            self._stale = True
            raise
        self._set = {name: rate for name, rate in read.items() if rate is not None}
        self._ordinary.clear()

    async def _read(self, name: str, known: Mapping[str, Rate]) -> Rate | None:
        """Read one limit; a damaged one keeps its last known value, and must not unset the others."""
        try:
            record = await self._ledger.read(LimitRecord, name)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            _log.error("a quota limit's record is damaged; its last known value or the default stays")
            return known.get(name)
        return Rate(record.per_second, record.burst) if record else None

    def use_defaults(self, defaults: Mapping[QuotaClass, Rate]) -> None:
        """Take other defaults over, from a reloaded configuration."""
        self.defaults = dict(defaults)
        self._ordinary.clear()

    def rate(self, scope: LimitScope, subject: str) -> Rate | None:
        """Give the limit in force for a subject: `<account>/<class>`, a key id or a principal's ARN."""
        rate = self._set.get(f"{scope}/{subject}")
        if rate is None and scope is LimitScope.CLASS:
            return self.defaults[QuotaClass(subject.partition("/")[2])]
        return rate

    def spend(
        self,
        principal: Principal,
        key_id: str,
        class_: QuotaClass,
        cost: int,
        more: Sequence[Charge] = (),
    ) -> None:
        """Take a call's cost from all of its buckets, or refuse.

        Args:
            principal: who calls; its account's class is charged.
            key_id: the key, or empty for calls without one.
            class_: the class of the operation.
            cost: cost units, 1 for an ordinary call.
            more: further charges, of whoever the call comes through.

        Raises:
            StrongroomError: QUOTA_EXCEEDED with the exact wait.
        """
        charges = [self._class_charge(principal.account, class_, cost), *more]
        if self._set:
            own = ((LimitScope.KEY, key_id), (LimitScope.PRINCIPAL, principal.arn))
            charges += [
                self._charge(scope, subject, cost)
                for scope, subject in own
                if f"{scope}/{subject}" in self._set
            ]
        shortfall = self._table.spend(charges)
        if shortfall is not None:
            raise _refusal(shortfall, cost, charges)

    def is_used_up(self, charge: Charge, ahead: int = 0) -> bool:
        """Say whether a charge would be refused once `ahead` like it are paid; nothing is spent by asking."""
        return self._table.available(charge) < charge.cost * (1 + ahead)

    def spend_refusal(self, arn: str, cost: int = 1) -> StrongroomError | None:
        """Take refusals from their principal's bucket, which nobody can set; a full one pays for any batch.

        Returns:
            QUOTA_EXCEEDED with the exact wait where it cannot pay.
        """
        bucket = f"REFUSED/{arn}"
        shortfall = self._table.spend(
            [Charge(bucket, min(cost, REFUSALS_BURST), REFUSALS_PER_SECOND, REFUSALS_BURST)]
        )
        if shortfall is None:
            return None
        text = f"the quota of {REFUSALS_PER_SECOND} refused calls per second is used up"
        violations = ((bucket, text),)
        return StrongroomError(Reason.QUOTA_EXCEEDED, retry_after=shortfall.wait, violations=violations)

    def _class_charge(self, account: str, class_: QuotaClass, cost: int) -> Charge:
        """Make the charge of an account's class; those of ordinary calls are kept."""
        charge = self._ordinary.get((account, class_))
        if charge is None or cost != 1:
            charge = self._charge(LimitScope.CLASS, f"{account}/{class_}", cost)
            if cost == 1:
                self._ordinary[account, class_] = charge
        return charge

    def _charge(self, scope: LimitScope, subject: str, cost: int) -> Charge:
        rate = self.rate(scope, subject)
        if rate is None:
            raise StrongroomError(Reason.NOT_FOUND, field="subject")
        return Charge(f"{scope}/{subject}", cost, rate.per_second, rate.burst)

    def available(self, scope: LimitScope, subject: str) -> tuple[Rate, int]:
        """Give a subject's limit and how much of it could be spent now. Raises NOT_FOUND without a limit."""
        charge = self._charge(scope, subject, 1)
        return Rate(charge.per_second, charge.burst), self._table.available(charge)


def _refusal(shortfall: Shortfall, cost: int, charges: list[Charge]) -> StrongroomError:
    rate = next(c for c in charges if c.bucket == shortfall.bucket)
    scope = shortfall.bucket.partition("/")[0].lower()
    if cost > rate.burst:
        text = f"the call costs more than the {scope} quota's burst of {rate.burst}"
        return StrongroomError(Reason.LIMIT_EXCEEDED, text, violations=((shortfall.bucket, text),))
    text = f"the {scope} quota of {rate.per_second} per second is used up"
    return StrongroomError(
        Reason.QUOTA_EXCEEDED, retry_after=shortfall.wait, violations=((shortfall.bucket, text),)
    )
