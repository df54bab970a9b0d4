"""Quotas: which buckets a call is charged to, and what a refusal says."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from strongroomd.custody.quotas import Quotas, Rate
from strongroomd.domain.algorithms import QuotaClass
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import REFUSALS_BURST, REFUSALS_PER_SECOND
from strongroomd.domain.principals import Principal
from strongroomd.domain.records import LimitRecord, LimitScope
from strongroomd.ports import Charge, JournalEntry, Shortfall

ALICE = Principal("arn:aws:iam::111122223333:user/alice", "111122223333")
_KEY = LimitRecord(LimitScope.KEY, "k1", 10, 20)
_ALICE = LimitRecord(LimitScope.PRINCIPAL, ALICE.arn, 30, 40)
_RSA = LimitRecord(LimitScope.CLASS, f"{ALICE.account}/RSA", 5, 6)


class Table:
    def __init__(self) -> None:
        self.charges: list[Charge] = []
        self.short: Shortfall | None = None

    def spend(self, charges: Sequence[Charge]) -> Shortfall | None:
        self.charges = list(charges)
        return self.short

    def available(self, charge: Charge) -> int:
        return 7


class Records:
    """A ledger that holds some limits, one of which may be damaged."""

    def __init__(self, *records: LimitRecord) -> None:
        self.records = {record.record_id: record for record in records}
        self.damaged = ""
        self.watcher: Any = None

    def watch(self, watcher: Any) -> None:
        self.watcher = watcher

    def known(self, _kind: type) -> list[str]:
        return list(self.records)

    async def read(self, _kind: type, record_id: str) -> LimitRecord:
        if record_id == self.damaged:
            raise StrongroomError(Reason.INTEGRITY_FAILURE)
        return self.records[record_id]


async def quotas(table: Table, *records: LimitRecord) -> tuple[Quotas, Records]:
    held = Records(*records)
    made = Quotas(table, held, dict.fromkeys(QuotaClass, Rate(100, 200)))  # type: ignore[arg-type]
    await made.refresh()
    return made, held


async def test_without_limits_only_the_class_is_charged_at_its_default() -> None:
    table = Table()
    made, _ = await quotas(table)

    made.spend(ALICE, "k1", QuotaClass.SYMMETRIC, 3)

    assert table.charges == [Charge("CLASS/111122223333/SYMMETRIC", 3, 100, 200)]


async def test_key_and_principal_are_charged_beside_the_class_once_they_have_limits() -> None:
    table = Table()
    made, _ = await quotas(table, _KEY, _ALICE, _RSA)

    made.spend(ALICE, "k1", QuotaClass.RSA, 1)

    assert table.charges == [
        Charge("CLASS/111122223333/RSA", 1, 5, 6),
        Charge("KEY/k1", 1, 10, 20),
        Charge(f"PRINCIPAL/{ALICE.arn}", 1, 30, 40),
    ]
    made.spend(ALICE, "k2", QuotaClass.ECC, 1)
    assert [c.bucket for c in table.charges] == ["CLASS/111122223333/ECC", f"PRINCIPAL/{ALICE.arn}"]


async def test_a_refusal_names_the_limit_and_the_wait_but_a_cost_over_the_burst_never_fits() -> None:
    table = Table()
    made, _ = await quotas(table, _KEY)
    table.short = Shortfall("KEY/k1", 0.25)

    with pytest.raises(StrongroomError) as waits:
        made.spend(ALICE, "k1", QuotaClass.RSA, 1)
    with pytest.raises(StrongroomError) as never:
        made.spend(ALICE, "k1", QuotaClass.RSA, 21)

    assert (waits.value.reason, waits.value.retry_after) == (Reason.QUOTA_EXCEEDED, 0.25)
    assert (never.value.reason, never.value.retry_after) == (Reason.LIMIT_EXCEEDED, None)
    assert waits.value.violations[0][0] == "KEY/k1"


async def test_limits_are_read_again_only_when_the_journal_says_that_one_changed() -> None:
    table = Table()
    made, held = await quotas(table)
    held.records = {_KEY.record_id: _KEY}

    await made.refresh()
    before = made.rate(LimitScope.KEY, "k1")
    held.watcher(SimpleNamespace(kind="key"))
    await made.refresh()
    still = made.rate(LimitScope.KEY, "k1")
    held.watcher(SimpleNamespace(kind=LimitRecord.KIND))
    await made.refresh()

    assert (before, still, made.rate(LimitScope.KEY, "k1")) == (None, None, Rate(10, 20))


async def test_what_has_no_limit_has_none_left_to_read() -> None:
    made, _ = await quotas(Table(), _KEY)

    assert made.available(LimitScope.KEY, "k1") == (Rate(10, 20), 7)
    with pytest.raises(StrongroomError) as caught:
        made.available(LimitScope.KEY, "k2")
    assert caught.value.reason is Reason.NOT_FOUND


async def test_a_damaged_limit_keeps_its_last_value_and_unsets_no_other() -> None:
    table = Table()
    made, held = await quotas(table, _KEY, _ALICE)
    held.damaged = _KEY.record_id
    held.watcher(JournalEntry(1, LimitRecord.KIND, _KEY.record_id, 2, b"", b"", b""))

    await made.refresh()

    assert made.rate(LimitScope.KEY, _KEY.subject) == Rate(_KEY.per_second, _KEY.burst)
    assert made.rate(LimitScope.PRINCIPAL, _ALICE.subject) == Rate(_ALICE.per_second, _ALICE.burst)


async def test_refusals_have_a_bucket_for_each_principal() -> None:
    table = Table()
    made, _ = await quotas(table)

    assert made.spend_refusal(ALICE.arn) is None
    assert table.charges == [Charge(f"REFUSED/{ALICE.arn}", 1, REFUSALS_PER_SECOND, REFUSALS_BURST)]
    table.short = Shortfall(f"REFUSED/{ALICE.arn}", 0.5)
    refusal = made.spend_refusal(ALICE.arn)

    assert refusal is not None
    assert (refusal.reason, refusal.retry_after) == (Reason.QUOTA_EXCEEDED, 0.5)
    assert refusal.violations[0][0] == f"REFUSED/{ALICE.arn}"
