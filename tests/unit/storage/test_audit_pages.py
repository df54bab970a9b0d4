"""Pages of the audit log: each does a bounded part of the work, and together they give every record once."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroomd.domain.audit import Head, next_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.frontends.grpc.audit import _record
from strongroomd.ports import AuditPage, AuditWanted
from strongroomd.storage import audit_pages, audit_records
from strongroomd.storage.audit_chain import ARCHIVE, close_dead_chain, timestamp
from strongroomd.storage.audit_pages import read_page
from strongroomd.storage.audit_reader import verify
from strongroomd.storage.chain_writer import ChainWriter
from strongroomd.storage.checkpoints import CheckpointFile, SignedCheckpoint

BEGUN = 1_700_000_000
ALL = AuditWanted()


def at(seconds: float) -> str:
    return timestamp(BEGUN + seconds)


def writer(directory: Path, worker: int, seconds: float = 0) -> ChainWriter:
    origin = f"node-a-{worker}-{int((BEGUN + seconds) * 1_000)}-aaaa"
    opened = {"event": "chain.opened", "origin": origin, "previous": None, "time": at(seconds)}
    return ChainWriter(directory, origin, opened)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / ARCHIVE).mkdir()
    return tmp_path


@pytest.fixture
def writers(directory: Path) -> Iterator[list[ChainWriter]]:
    made = [writer(directory, worker) for worker in (0, 1)]
    yield made  # whoever closes one takes it out
    for each in made:
        each.close()


def fill(writers: list[ChainWriter], count: int, **facts: Any) -> None:
    for n in range(count):
        writers[n % len(writers)].append([{"n": n, "time": at(1 + n), **facts}])


def walk(directory: Path, wanted: AuditWanted = ALL, limit: int = 100) -> Iterator[AuditPage]:
    after = ""
    for _ in range(10_000):
        page = read_page(directory, wanted, after, limit)
        yield page
        after = page.after
        if not after:
            return
    raise AssertionError("pages without end")


def numbers(pages: Iterator[AuditPage] | list[AuditPage]) -> list[int]:
    return [record["n"] for page in pages for record in page.records if "n" in record]


def test_a_page_that_did_its_share_is_short_or_empty_and_the_next_goes_on(
    directory: Path, writers: list[ChainWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(writers, 60)
    writers[0].append([{"n": 99, "outcome": "ACCESS_DENIED", "time": at(99)}])
    monkeypatch.setattr(audit_pages, "READ", 10 * audit_pages.RECORD)

    pages = list(walk(directory, AuditWanted(outcome="ACCESS_DENIED")))

    assert numbers(pages) == [99]
    assert len(pages) > 5
    assert [page.records for page in pages[:5]] == [[]] * 5


def test_a_page_reads_no_record_that_an_earlier_one_read(
    directory: Path, writers: list[ChainWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(writers, 300)
    read: list[int] = []
    chain = audit_records.read_chain

    def counted(*arguments: Any) -> Iterator[dict[str, Any]]:
        for record in chain(*arguments):
            read.append(record["seq"])
            yield record

    monkeypatch.setattr(audit_pages, "read_chain", counted)
    pages = list(walk(directory, limit=10))

    assert numbers(pages) == list(range(300))
    assert len(read) <= 302 + 2 * len(pages), "each page looks one record ahead in each chain"


def test_large_records_end_a_page_before_the_answer_is_too_long(
    directory: Path, writers: list[ChainWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(writers, 20, pad="x" * 100_000)

    pages = list(walk(directory, limit=1_000))

    assert numbers(pages) == list(range(20))
    assert max(sum(len(r["body"]) for r in page.records) for page in pages) < 2 * audit_pages.SHOWN


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(-30, 60)), max_size=30),
    limit=st.integers(1, 5),
    share=st.integers(1, 6),
)
def test_pages_give_every_record_once_whatever_the_clock_did(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], limit: int, share: int
) -> None:
    directory = tmp_path_factory.mktemp("audit")
    made = [writer(directory, worker, 20 * worker) for worker in range(3)]
    clock = 50
    for n, (worker, step) in enumerate(steps):
        clock += step
        made[worker].append([{"n": n, "time": at(clock)}])
    for each in made:
        each.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_pages, "READ", share * audit_pages.RECORD)
        found = [record for page in walk(directory, limit=limit) for record in page.records]

    assert sorted(r["n"] for r in found if "n" in r) == list(range(len(steps)))
    for each in made:
        own = [r["seq"] for r in found if r["chain"] == each.origin]
        assert own == sorted(own), "in order within a chain"


def test_what_is_written_between_two_pages_is_found_and_a_closed_chain_is_left(
    directory: Path, writers: list[ChainWriter]
) -> None:
    fill(writers, 4)
    first = read_page(directory, ALL, "", 5)
    writers[1].append([{"n": 4, "time": at(50)}])
    ended = writers.pop(0)
    ended.close()
    name = f"{ended.origin}.jsonl"
    close_dead_chain(directory / name, successor=None, time=at(60), reason="test")
    (directory / name).rename(directory / ARCHIVE / name)
    young = writer(directory, 0, 70)
    young.append([{"n": 5, "time": at(71)}])
    young.close()

    rest = list(itertools.islice(read_all(directory, first.after), 20))

    assert [r["n"] for r in [*first.records, *rest] if "n" in r] == [0, 1, 2, 3, 4, 5]


def read_all(directory: Path, after: str) -> Iterator[dict[str, Any]]:
    while after:
        page = read_page(directory, ALL, after, 2)
        yield from page.records
        after = page.after


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"key": "k"}, [1, 2]),
        ({"key": "other"}, [2]),
        ({"principal": "p"}, [2, 3]),
        ({"principal": "s"}, [3]),
        ({"action": "kms:Sign"}, [3]),
        ({"outcome": "ACCESS_DENIED"}, [1]),
        ({"since": at(2)}, [2, 3, 4]),
        ({"until": at(2)}, [1]),
        ({"since": at(2), "until": at(3)}, [2]),
        ({"key": "k", "outcome": "OK"}, [2]),
        ({"account": "111122223333"}, [4]),
    ],
)
def test_filters_narrow_each_other(
    directory: Path, writers: list[ChainWriter], wanted: dict[str, str], expected: list[int]
) -> None:
    records = [
        {"n": 1, "key": "k", "outcome": "ACCESS_DENIED"},
        {"n": 2, "key": "k", "other_keys": ["other"], "principal": "p", "outcome": "OK"},
        {"n": 3, "principal": "p", "session": "s", "action": "kms:Sign"},
        {"n": 4, "principal": "arn:aws:iam::111122223333:user/a"},
    ]
    for n, record in enumerate(records, start=1):
        writers[n % 2].append([{**record, "time": at(n)}])

    assert numbers(walk(directory, AuditWanted(**wanted))) == expected


def test_what_a_checkpoint_shows_to_be_older_is_not_read(
    directory: Path, writers: list[ChainWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(writers, 200)
    heads = tuple(Head(w.origin, w.head.count, w.head.size, w.head.digest) for w in writers)
    made = next_checkpoint(
        None, heads, time=(BEGUN + 210) * 1_000, journal_sequence=0, journal_head=bytes(32)
    )
    CheckpointFile(directory).append(SignedCheckpoint(made, b""))
    for n in (400, 401):
        writers[0].append([{"n": n, "time": at(n)}])
    monkeypatch.setattr(audit_pages, "READ", 3 * audit_pages.RECORD)

    assert numbers([read_page(directory, AuditWanted(since=at(400)), "", 10)]) == [400, 401]
    assert numbers(walk(directory, AuditWanted(since=at(150)))) == [*range(149, 200), 400, 401]


def bookmark(directory: Path) -> list[Any]:
    made: list[Any] = orjson.loads(read_page(directory, ALL, "", 3).after)
    return made


def test_a_bookmark_that_the_files_do_not_bear_out_is_refused(
    directory: Path, writers: list[ChainWriter]
) -> None:
    fill(writers, 10)
    time, newest, sizes = bookmark(directory)
    (origin, size), *_ = sizes.items()
    forged: list[Any] = [
        [time, newest, {origin: size + 1}],
        [time, newest, {origin: size - 1}],
        [time, newest, {origin: -1}],
        [time, newest, {origin: 1 << 62}],
        [time, newest, {origin: (1 << 64) - 1}],
        [time, newest, {origin: "1"}],
        [time, newest, {origin: True}],
        [time, newest, {"../../etc/passwd": 0}],
        [time, newest, {"node-a-9-1-ffff": 0}],
        [time, newest, {f"node-a-9-{n}-ffff": 0 for n in range(300)}],
        [time, "../x", sizes],
        [1, newest, sizes],
        [time, newest, [origin]],
        [time, newest],
        {},
        7,
    ]
    for each in [*(orjson.dumps(f).decode() for f in forged), "nonsense", "["]:
        with pytest.raises(StrongroomError) as caught:
            read_page(directory, ALL, each, 3)
        assert (caught.value.reason, caught.value.field) == (Reason.INVALID_PAGE_TOKEN, "page_token"), each


def test_a_record_that_was_edited_is_not_given(directory: Path, writers: list[ChainWriter]) -> None:
    fill(writers, 10)
    after = read_page(directory, ALL, "", 4).after
    path = directory / f"{writers[0].origin}.jsonl"
    text = path.read_bytes()
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, b'"n":7', text.index(b'"n":6'))
    os.close(descriptor)

    with pytest.raises(StrongroomError) as caught:
        list(read_all(directory, after))

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


def test_records_from_before_context_values_were_hidden_are_verified_and_found(directory: Path) -> None:
    """The golden chain (made by an independent script) has one record of either kind."""
    golden = Path(__file__).parents[2] / "vectors" / "audit-chain.jsonl"
    (directory / "node-a-0-1700000000000-0a0b.jsonl").write_bytes(golden.read_bytes())

    report = verify(directory, lambda *_: True)
    _, old, new = read_page(directory, ALL, "", 10).records

    assert (report.ok, report.records) == (True, 3)
    assert old["context"] == {"tenant": "blue"}
    assert (new["context_hmac"].keys(), new["decision"]["policy"]) == ({"tenant"}, "duty")
    assert _record(old).decision.policy == ""
    assert (_record(new).decision.policy, _record(new).identity) == ("duty", "certificate:ab")
