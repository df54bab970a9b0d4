"""One quota table serves every worker of a node, whatever happens to them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.ports import Charge, Shortfall
from strongroomd.storage.quota_table import SLOT, SharedQuotaTable

START = 1_000_000_000_000


class Clock:
    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_table(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., SharedQuotaTable]]:
    made: list[SharedQuotaTable] = []

    def make(**options: object) -> SharedQuotaTable:
        made.append(SharedQuotaTable(tmp_path / "quota", **({"clock": clock} | options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for table in made:
        table.close()


@pytest.fixture
def table(make_table: Callable[..., SharedQuotaTable]) -> SharedQuotaTable:
    return make_table()


def one(bucket: str = "a", cost: int = 1, per_second: int = 10, burst: int = 5) -> Charge:
    return Charge(bucket, cost, per_second, burst)


def test_an_idle_bucket_grants_its_burst_and_then_waits_exactly(
    table: SharedQuotaTable, clock: Clock
) -> None:
    assert [table.spend([one()]) for _ in range(5)] == [None] * 5
    assert table.spend([one()]) == Shortfall("a", 0.1)

    clock.now += 99_999_999
    assert table.spend([one()]) == Shortfall("a", 1e-9)
    clock.now += 1
    assert table.spend([one()]) is None


def test_costs_are_weighted(table: SharedQuotaTable) -> None:
    assert table.spend([one(cost=4)]) is None
    assert table.spend([one(cost=2)]) == Shortfall("a", 0.1)
    assert table.available(one()) == 1


def test_a_cost_above_the_burst_is_never_granted_and_takes_nothing(table: SharedQuotaTable) -> None:
    assert table.spend([one(cost=7)]) == Shortfall("a", 0.2)
    assert table.available(one()) == 5


def test_all_charges_are_taken_or_none(table: SharedQuotaTable) -> None:
    table.spend([one("b", cost=5)])

    refused = table.spend([one("a"), one("b", cost=3), one("c")])

    assert refused == Shortfall("b", 0.3)
    assert [table.available(one(bucket)) for bucket in "abc"] == [5, 0, 5]


def test_the_longest_wait_is_named(table: SharedQuotaTable) -> None:
    table.spend([one("a", cost=5), one("b", cost=5)])

    assert table.spend([one("a"), one("b", cost=2), one("a")]) == Shortfall("b", 0.2)


def test_a_bucket_charged_twice_in_one_spend_pays_twice(table: SharedQuotaTable) -> None:
    assert table.spend([one(cost=3), one(cost=3)]) == Shortfall("a", 0.1)
    assert table.spend([one(cost=3), one(cost=2)]) is None
    assert table.available(one()) == 0


def test_nothing_to_charge_is_granted(table: SharedQuotaTable) -> None:
    assert table.spend([]) is None
    assert table.spend([one(cost=0)]) is None


def test_two_tables_share_the_buckets(make_table: Callable[..., SharedQuotaTable]) -> None:
    first, second = make_table(), make_table()

    first.spend([one(cost=5)])

    assert second.spend([one()]) == Shortfall("a", 0.1)


def test_a_place_given_to_another_bucket_is_noticed(
    make_table: Callable[..., SharedQuotaTable], clock: Clock
) -> None:
    first, second = make_table(slots=1), make_table(slots=1)
    first.spend([one("a", cost=5)])
    clock.now += 10**9

    second.spend([one("b", cost=5)])  # takes the only slot

    assert first.available(one("b")) == 0
    assert first.spend([one("a", cost=5)]) is None


def test_two_new_buckets_of_one_spend_get_two_places(make_table: Callable[..., SharedQuotaTable]) -> None:
    table = make_table(slots=2)

    table.spend([one("a", cost=5), one("b", cost=2)])

    assert (table.available(one("a")), table.available(one("b"))) == (0, 3)


def test_more_charges_than_places_are_still_decided(make_table: Callable[..., SharedQuotaTable]) -> None:
    table = make_table(slots=2)

    assert table.spend([one("a"), one("b"), one("c")]) is None


def test_times_of_a_clock_that_ran_further_lock_nobody_out(table: SharedQuotaTable, clock: Clock) -> None:
    table.spend([one(cost=5)])
    clock.now = 1_000_000_000  # the machine restarted

    assert table.spend([one()]) == Shortfall("a", 0.1)
    clock.now += 100_000_000
    assert table.spend([one()]) == Shortfall("a", 0.1), "an empty bucket is refilled only once it was charged"


@pytest.mark.parametrize("offset", [0, 8, 12, 16])
def test_a_file_with_another_header_is_made_anew(
    tmp_path: Path, make_table: Callable[..., SharedQuotaTable], offset: int
) -> None:
    make_table().spend([one(cost=5)])
    path = tmp_path / "quota"
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)

    assert make_table().available(one()) == 5
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size % SLOT == 0


def test_a_table_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(StrongroomError) as caught:
        SharedQuotaTable(tmp_path / "none" / "quota")

    assert (caught.value.reason, caught.value.field) == (Reason.CONFIGURATION, "quota.table")


def _hammer(path: Path, seconds: float, results: "multiprocessing.Queue[int]") -> None:
    table = SharedQuotaTable(path)
    granted = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        granted += table.spend([Charge("hot", 1, 5_000, 100)]) is None
    results.put(granted)


def test_four_processes_share_one_limit_exactly(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    path = tmp_path / "quota"
    table = SharedQuotaTable(path)
    processes = [context.Process(target=_hammer, args=(path, 2.0, results)) for _ in range(4)]
    start = time.monotonic()

    for process in processes:
        process.start()
    granted = sum(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    elapsed = time.monotonic() - start
    table.close()

    assert granted <= 5_000 * elapsed + 100
    assert granted >= 5_000 * 2.0 * 0.98


_HOLDER = """
import sys, time
from pathlib import Path
from strongroomd.storage.quota_table import SharedQuotaTable
table = SharedQuotaTable(Path(sys.argv[1]))
table._lock()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path / "quota")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_holder_frees_the_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    table = SharedQuotaTable(tmp_path / "quota")
    start = time.monotonic()

    assert table.spend([one()]) is None

    assert time.monotonic() - start < 0.015
    table.close()


def test_a_stopped_holder_delays_but_does_not_block(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    table = SharedQuotaTable(tmp_path / "quota")
    start = time.monotonic()

    assert table.spend([one()]) is None

    assert 0.015 < time.monotonic() - start < 0.5
    table.close()
