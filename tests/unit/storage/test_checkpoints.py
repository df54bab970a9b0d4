"""Checkpoints are written once, found again, and only over chains that verify."""

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroomd.domain.audit import Checkpoint, Head, next_checkpoint, parse_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.ports import AuditPage, AuditWanted
from strongroomd.storage import audit_pages, audit_records, audit_trail
from strongroomd.storage.audit_chain import ARCHIVE, close_dead_chain, timestamp
from strongroomd.storage.audit_pages import read_page
from strongroomd.storage.audit_reader import verify
from strongroomd.storage.audit_records import place, tail_records
from strongroomd.storage.audit_trail import FileAuditTrail
from strongroomd.storage.chain_writer import ChainWriter
from strongroomd.storage.checkpoints import ChainFollower, CheckpointFile, SignedCheckpoint, parse_signed

TIME = "2026-11-22T00:00:00.000Z"
ORIGINS = ["node-a-0-1000-aaaa", "node-a-1-1000-bbbb"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "audit"
    (path / ARCHIVE).mkdir(parents=True)
    return path


@pytest.fixture
def writers(directory: Path) -> list[ChainWriter]:
    return [
        ChainWriter(
            directory, origin, {"event": "chain.opened", "origin": origin, "previous": None, "time": TIME}
        )
        for origin in ORIGINS
    ]


def sign(checkpoint: Checkpoint) -> SignedCheckpoint:
    return SignedCheckpoint(checkpoint, hashlib.sha256(b"key" + checkpoint.message()).digest())


def signature_ok(message: bytes, signature: bytes) -> bool:
    return hashlib.sha256(b"key" + message).digest() == signature


def following(before: Checkpoint | None, heads: tuple[Head, ...] = ()) -> Checkpoint:
    return next_checkpoint(before, heads, time=1, journal_sequence=0, journal_head=bytes(32))


def append(file: CheckpointFile, count: int) -> list[Checkpoint]:
    newest = file.newest()
    made = [newest.checkpoint] if newest else []
    for _ in range(count):
        made.append(following(made[-1] if made else None))
        file.append(sign(made[-1]))
    return made


def test_no_checkpoint_in_an_empty_directory(directory: Path) -> None:
    file = CheckpointFile(directory)

    assert (file.newest(), file.nth(1), list(file.lines())) == (None, None, [])


def test_every_checkpoint_is_found_by_its_number(directory: Path) -> None:
    file = CheckpointFile(directory)
    made = append(file, 25)

    assert file.newest() == sign(made[-1])
    assert [file.nth(number) for number in range(1, 26)] == [sign(one) for one in made]
    assert [file.nth(number) for number in (0, 26)] == [None, None]


def test_a_checkpoint_that_does_not_follow_is_refused(directory: Path) -> None:
    file = CheckpointFile(directory)
    first = append(file, 1)[0]

    for wrong in (first, following(following(first)), following(None)):
        with pytest.raises(StrongroomError) as caught:
            file.append(sign(wrong))
        assert caught.value.reason is Reason.AUDIT_UNAVAILABLE
    assert file.newest() == sign(first)


def test_an_unfinished_line_is_replaced(directory: Path) -> None:
    file = CheckpointFile(directory)
    append(file, 2)
    with (directory / "checkpoints.jsonl").open("ab") as raw:
        raw.write(b'{"checkpoint":{"number":3')

    assert file.nth(3) is None
    made = append(file, 1)

    assert file.nth(3) == sign(made[-1])
    assert verify(directory, signature_ok).ok


def test_a_newest_line_that_is_no_checkpoint_is_an_integrity_failure(directory: Path) -> None:
    (directory / "checkpoints.jsonl").write_bytes(b"{}\n")

    with pytest.raises(StrongroomError) as caught:
        CheckpointFile(directory).newest()

    assert caught.value.reason is Reason.INTEGRITY_FAILURE


def test_a_checkpoint_reads_back_as_it_was_signed() -> None:
    checkpoint = following(None, (Head("b", 2, 3, b"d" * 32), Head("a", 1, 1, b"c" * 32)))

    assert [head.origin for head in checkpoint.heads] == ["a", "b"]
    assert parse_checkpoint(checkpoint.fields()) == checkpoint
    assert parse_signed(sign(checkpoint).line()) == sign(checkpoint)


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{}", b"null", b'{"checkpoint":{},"signature":""}', b'{"checkpoint":1,"signature":"!"}'],
)
def test_what_is_no_checkpoint_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_signed(line + b"\n")


@pytest.mark.parametrize("field", ["number", "time", "journal_sequence"])
@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None])
def test_a_count_that_is_none_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_checkpoint(following(None).fields() | {field: value})


def test_the_follower_reads_on_where_it_stopped(directory: Path, writers: list[ChainWriter]) -> None:
    follower = ChainFollower(directory, None)
    first = follower.poll()

    writers[0].append([{"n": 1}, {"n": 2}])

    assert first == tuple(Head(head.origin, 1, head.size, head.digest) for head in first)
    assert follower.poll() == (writers[0].head, writers[1].head)
    assert ChainFollower(directory, following(None, first)).poll() == (writers[0].head, writers[1].head)


def test_a_line_that_is_still_being_written_waits(directory: Path, writers: list[ChainWriter]) -> None:
    follower = ChainFollower(directory, None)
    before = follower.poll()
    with (directory / f"{ORIGINS[0]}.jsonl").open("ab") as file:
        file.write(b"0123")

    assert follower.poll() == before


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":3'))


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize("tamper", [_edit, _shorten, Path.unlink])
def test_the_follower_names_the_chain_that_does_not_verify(
    directory: Path, writers: list[ChainWriter], tamper: Callable[[Path], None]
) -> None:
    follower = ChainFollower(directory, None)
    follower.poll()
    writers[0].append([{"n": 1}, {"n": 2}])
    if tamper is not _edit:
        follower.poll()
    tamper(directory / f"{ORIGINS[0]}.jsonl")

    with pytest.raises(StrongroomError) as caught:
        follower.poll()

    assert caught.value.reason is Reason.INTEGRITY_FAILURE
    assert ORIGINS[0] in str(caught.value.detail)


def test_a_closed_chain_is_archived_once_its_end_is_signed(
    directory: Path, writers: list[ChainWriter]
) -> None:
    follower = ChainFollower(directory, None)
    early = following(None, follower.poll())
    writers[0].close()
    close_dead_chain(directory / f"{ORIGINS[0]}.jsonl", successor=None, time=TIME, reason="test")

    heads = follower.poll()
    assert follower.archive(early) == []
    late = following(early, heads)
    assert follower.archive(late) == [ORIGINS[0]]
    assert (directory / ARCHIVE / f"{ORIGINS[0]}.jsonl").exists()

    assert [head.origin for head in follower.poll()] == [ORIGINS[1]]
    assert [head.origin for head in ChainFollower(directory, late).poll()] == [ORIGINS[1]]


def test_a_successor_follower_archives_what_was_left(directory: Path, writers: list[ChainWriter]) -> None:
    writers[0].close()
    close_dead_chain(directory / f"{ORIGINS[0]}.jsonl", successor=None, time=TIME, reason="test")
    newest = following(None, ChainFollower(directory, None).poll())

    follower = ChainFollower(directory, newest)
    follower.poll()

    assert follower.archive(newest) == [ORIGINS[0]]


def test_records_of_all_chains_come_newest_last_and_filtered(
    directory: Path, writers: list[ChainWriter]
) -> None:
    writers[0].append([{"n": 1, "key": "k", "time": "2026-11-22T00:00:01.000Z"}])
    writers[1].append([{"n": 2, "key": "k", "principal": "p", "time": "2026-11-22T00:00:02.000Z"}])
    writers[0].append([{"n": 3, "key": "l", "principal": "p", "time": "2026-11-22T00:00:03.000Z"}])

    def numbers(**wanted: str) -> list[int]:
        records = read_page(directory, AuditWanted(**wanted), "", 100).records
        return [record["n"] for record in records if "n" in record]

    assert numbers() == [1, 2, 3]
    assert numbers(key="k") == [1, 2]
    assert numbers(principal="p", since="2026-11-22T00:00:02.500Z") == [3]


async def test_the_tail_gives_what_appears_even_from_new_and_archived_chains(
    directory: Path, writers: list[ChainWriter]
) -> None:
    writers[0].append([{"n": 0, "time": TIME}])
    tail = tail_records(directory, AuditWanted(key="k"), interval=0.01)
    following_record = anext(tail)

    async def first() -> dict[str, object]:
        return await following_record

    task = asyncio.create_task(first())
    await asyncio.sleep(0.2)
    writers[1].append([{"n": 1, "key": "k", "time": TIME}])
    writers[1].close()
    name = f"{ORIGINS[1]}.jsonl"
    (directory / name).rename(directory / ARCHIVE / name)

    assert (await asyncio.wait_for(task, 5))["n"] == 1
    late = ChainWriter(directory, "node-b-0-2000-cccc", {"event": "chain.opened", "key": "k", "time": TIME})
    assert (await asyncio.wait_for(anext(tail), 5))["chain"] == late.origin
    await tail.aclose()  # type: ignore[attr-defined]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_hundreds_of_chains_are_read_in_order_with_few_files_open(directory: Path) -> None:
    for n in reversed(range(300)):  # each worker lived 1.5 s: a little beside the next
        begun = 1_000 * n
        origin = f"node-a-0-{begun}-aaaa"
        opened = {
            "event": "chain.opened",
            "origin": origin,
            "previous": None,
            "time": timestamp(begun / 1_000),
        }
        writer = ChainWriter(directory, origin, opened)
        writer.append(
            [{"n": 2 * n + late, "time": timestamp((begun + 500 + late) / 1_000)} for late in (0, 1)]
        )
        writer.append([{"closes": n, "time": timestamp((begun + 1_500) / 1_000)}])
        writer.close()
    before = open_files()

    most, found = 0, []
    merge = audit_pages._Merge(directory, AuditWanted(), "")
    while (record := merge.next()) is not None:
        most = max(most, open_files() - before)
        found.append(record)

    assert most <= 6
    assert open_files() <= before
    assert [record["n"] for record in found if "n" in record] == list(range(600))
    assert [place(record) for record in found] == sorted(place(record) for record in found)


async def test_a_tail_takes_a_burst_in_parts_and_loses_nothing_of_an_archived_chain(
    directory: Path, writers: list[ChainWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_records, "NEWS", 10)
    follower = audit_records._Follower(directory)
    for writer in writers:
        writer.append([{"n": n, "time": TIME} for n in range(50)])
    writers[1].close()
    looks = [follower.news()]
    name = f"{ORIGINS[1]}.jsonl"
    (directory / name).rename(directory / ARCHIVE / name)
    while follower.behind:
        looks.append(follower.news())

    assert max(len(look) for look in looks) <= 10
    for origin in ORIGINS:
        assert [r["n"] for look in looks for r in look if r["chain"] == origin] == list(range(50))
    assert follower.news() == []


async def test_readers_have_a_thread_of_their_own(
    directory: Path, writers: list[ChainWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    names, go = [], threading.Event()

    def reading(*_: object) -> AuditPage:
        names.append(threading.current_thread().name)
        go.wait(10)
        return AuditPage([], "")

    monkeypatch.setattr(audit_trail, "read_page", reading)
    trail = FileAuditTrail(directory, lambda: 0.0)
    pages = [asyncio.ensure_future(trail.page(AuditWanted(), after="", limit=1)) for _ in range(40)]
    await asyncio.sleep(0.05)

    heads = await asyncio.wait_for(trail.heads(None), 2)  # what a checkpoint begins with
    go.set()
    await asyncio.gather(*pages)

    assert len(heads) == len(ORIGINS)
    assert len(set(names)) == 1
