"""What `write` acknowledged is on the disk, in a chain that verifies, whatever happens to disk or worker."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from strongroomd.domain.audit import genesis, link, parse_line
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage import audit_log, syncing
from strongroomd.storage.audit_chain import (
    Scan,
    all_chains,
    chain_path,
    close_dead_chain,
    growing_chains,
    try_lock,
)
from strongroomd.storage.audit_log import AuditSettings, FileAuditLog, close_dead_chains
from strongroomd.storage.audit_reader import verify
from strongroomd.storage.chain_writer import ChainWriter
from strongroomd.storage.syncing import Done, KernelSyncer, ThreadSyncer, open_syncer

TIME = "2026-11-22T00:00:00.000Z"


@pytest.fixture
async def open_log(audit_settings: AuditSettings) -> AsyncIterator[Callable[..., FileAuditLog]]:
    logs: list[FileAuditLog] = []

    def make(**changes: Any) -> FileAuditLog:
        logs.append(FileAuditLog(replace(audit_settings, **changes)))
        return logs[-1]

    yield make
    for log in logs:
        await log.close()


@pytest.fixture
async def log(open_log: Callable[..., FileAuditLog]) -> FileAuditLog:
    return open_log()


@pytest.fixture
def directory(audit_settings: AuditSettings) -> Path:
    return audit_settings.directory


def records(path: Path) -> list[dict[str, Any]]:
    scan = Scan.start(path.stem)
    return [orjson.loads(body) for body in scan.bodies(path)]


def dead_chain(directory: Path, origin: str = "node-a-0-1000-abcd", count: int = 3) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    writer = ChainWriter(directory, origin, {"event": "chain.opened", "origin": origin, "previous": None})
    writer.append([{"event": "Encrypt", "n": n} for n in range(count)])
    writer.close()
    return directory / f"{origin}.jsonl"


async def test_a_record_is_on_the_disk_when_write_returns(log: FileAuditLog, directory: Path) -> None:
    await log.write({"event": "Encrypt", "b": 1, "a": 2})

    path = directory / f"{log.origin}.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    previous, opening = parse_line(first)
    digest, body = parse_line(second)
    assert previous == link(genesis(log.origin), opening)
    assert digest == link(previous, body)
    record = orjson.loads(body)
    assert list(record) == ["a", "b", "event", "seq", "time"]
    assert record["seq"] == 1
    assert len(record["time"]) == len(TIME)


async def test_the_first_record_names_the_chain(log: FileAuditLog, directory: Path) -> None:
    opened = records(directory / f"{log.origin}.jsonl")[0]

    assert (opened["event"], opened["origin"], opened["version"], opened["previous"], opened["seq"]) == (
        "chain.opened",
        log.origin,
        "0.1.0",
        None,
        0,
    )


async def test_only_the_owner_may_look(log: FileAuditLog, directory: Path) -> None:
    modes = {path: path.stat().st_mode & 0o777 for path in (directory, *growing_chains(directory))}

    assert modes == {directory: 0o700, directory / f"{log.origin}.jsonl": 0o600}


async def test_many_writers_share_syncs_and_lose_nothing(
    log: FileAuditLog, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    write = os.write

    def counted(file: int, data: bytes) -> int:
        syncs.append(file)
        return write(file, data)

    monkeypatch.setattr(os, "write", counted)

    await asyncio.gather(*(log.write({"n": n}) for n in range(500)))

    written = records(directory / f"{log.origin}.jsonl")[1:]
    assert [record["n"] for record in written] == list(range(500))
    assert len(syncs) < 100


async def test_nothing_is_written_after_closing(open_log: Callable[..., FileAuditLog]) -> None:
    log = open_log()
    await log.close()

    with pytest.raises(StrongroomError) as caught:
        await log.write({"n": 1})

    assert caught.value.reason is Reason.AUDIT_UNAVAILABLE


def locked(path: Path) -> bool:
    """Whether a writer holds the chain."""
    with path.open("rb") as file:
        return not try_lock(file.fileno())


async def test_closing_ends_the_chain(open_log: Callable[..., FileAuditLog], directory: Path) -> None:
    log = open_log()
    path = directory / f"{log.origin}.jsonl"
    assert locked(path)

    await log.close()

    assert records(path)[-1]["event"] == "chain.closed"
    assert not locked(path)


async def test_a_record_that_is_not_json_fails_alone(log: FileAuditLog, directory: Path) -> None:
    outcomes = await asyncio.gather(
        log.write({"n": 1}), log.write({"n": object()}), log.write({"n": 3}), return_exceptions=True
    )

    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [None, Reason.INTERNAL, None]
    assert [record["n"] for record in records(directory / f"{log.origin}.jsonl")[1:]] == [1, 3]


async def test_a_record_whose_caller_went_away_is_still_written(log: FileAuditLog, directory: Path) -> None:
    task = asyncio.create_task(log.write({"n": 1}))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await log.write({"n": 2})

    assert [record["n"] for record in records(directory / f"{log.origin}.jsonl")[1:]] == [1, 2]


class SlowSyncer:
    """A disk that takes its time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Done, seconds: float, code: int = 0) -> None:
        self._loop, self._done, self._seconds, self._code = loop, done, seconds, code

    def start(self, descriptor: int) -> None:
        self._loop.call_later(self._seconds, self._done, self._code)

    def close(self) -> None:
        pass


async def test_a_slow_disk_refuses_in_time_and_the_chain_stays_right(
    log: FileAuditLog, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "open_syncer", lambda loop, done, _: SlowSyncer(loop, done, 0.6))
    start = time.monotonic()

    with pytest.raises(StrongroomError) as caught:
        await log.write({"n": 1})

    assert caught.value.reason is Reason.AUDIT_UNAVAILABLE
    assert time.monotonic() - start < 0.4
    await asyncio.sleep(0.5)
    log._syncer = SlowSyncer(asyncio.get_running_loop(), log._synced, 0.0)
    await log.write({"n": 2})
    assert [record["n"] for record in records(directory / f"{log.origin}.jsonl")[1:]] == [1, 2]


async def test_a_sync_that_fails_is_final(log: FileAuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "open_syncer", lambda loop, done, _: SlowSyncer(loop, done, 0.0, code=5))

    outcomes = await asyncio.gather(log.write({"n": 1}), log.write({"n": 2}), return_exceptions=True)

    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [Reason.AUDIT_UNAVAILABLE] * 2
    assert log.failed
    with pytest.raises(StrongroomError):
        await log.write({"n": 3})


@pytest.mark.parametrize("make", [KernelSyncer, ThreadSyncer])
async def test_either_way_of_syncing_says_when_it_is_done_and_when_it_failed(
    make: type[KernelSyncer] | type[ThreadSyncer], tmp_path: Path
) -> None:
    answers: asyncio.Queue[int] = asyncio.Queue()
    syncer = make(asyncio.get_running_loop(), answers.put_nowait)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        for n in range(20):
            file.write(b"x" * n)
            syncer.start(file.fileno())
            assert await asyncio.wait_for(answers.get(), 5) == 0
    reading, writing = os.pipe()
    try:
        syncer.start(writing)  # a pipe cannot be synced
        assert await asyncio.wait_for(answers.get(), 5) == errno.EINVAL
    except OSError as error:
        assert error.errno == errno.EINVAL  # noqa: PT017 - refused at once is as good
    finally:
        os.close(reading)
        os.close(writing)
        syncer.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("refused", ["setup", "submit", "events", "eventfd", "the sync itself", "silence"])
async def test_where_the_kernel_cannot_sync_a_thread_does_and_nothing_is_left_behind(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, calls = KernelSyncer._call, []

    def forbidding(self: KernelSyncer, number: int, *arguments: object) -> None:
        names = {self._setup: "setup", self._submit: "submit", self._events: "events"}
        calls.append(names.get(number, "destroy"))
        if names.get(number) == refused:
            raise OSError(errno.EINVAL, "not here")
        if number == self._submit and refused == "the sync itself":
            os.eventfd_write(self._bell, 1)
            self._event[2] = -errno.EIO
        elif number == self._events and refused == "the sync itself":
            return
        elif number != self._submit or refused != "silence":
            call(self, number, *arguments)

    monkeypatch.setattr(KernelSyncer, "_call", forbidding)
    monkeypatch.setattr(syncing, "_PROOF_SECONDS", 0.05)
    if refused == "eventfd":
        monkeypatch.setattr(os, "eventfd", lambda *_: os.open("/nonexistent", os.O_RDONLY))
    answers: asyncio.Queue[int] = asyncio.Queue()
    with (tmp_path / "file").open("wb", buffering=0) as file:
        before = open_files()
        syncer = open_syncer(asyncio.get_running_loop(), answers.put_nowait, file.fileno())
        after = open_files()
        syncer.start(file.fileno())
        assert await asyncio.wait_for(answers.get(), 5) == 0
    syncer.close()

    assert isinstance(syncer, ThreadSyncer)
    assert after == before
    assert refused == "setup" or calls[-1] == "destroy"


async def test_the_kernels_way_is_proved_on_the_file_itself(tmp_path: Path) -> None:
    answers: asyncio.Queue[int] = asyncio.Queue()
    reading, writing = os.pipe()
    unsyncable = open_syncer(asyncio.get_running_loop(), answers.put_nowait, writing)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        syncer = open_syncer(asyncio.get_running_loop(), answers.put_nowait, file.fileno())
        for _ in range(3):
            syncer.start(file.fileno())
            assert await asyncio.wait_for(answers.get(), 5) == 0
        assert answers.empty(), "the proof is no answer"
    for each in (syncer, unsyncable):
        each.close()
    os.close(reading)
    os.close(writing)

    assert isinstance(unsyncable, ThreadSyncer)


async def test_a_full_disk_refuses_what_does_not_fit_and_heals(
    log: FileAuditLog, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / f"{log.origin}.jsonl"
    room = path.stat().st_size + 250  # one record fits, the second does not
    write = os.write

    def limited(file: int, data: bytes) -> int:
        left = room - os.fstat(file).st_size
        if left <= 0:
            raise OSError(28, "No space left on device")
        return write(file, data[:left])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", limited)
        outcomes = await asyncio.gather(
            *(log.write({"n": n, "pad": "x" * 80}) for n in range(3)), return_exceptions=True
        )
        refused = [getattr(outcome, "reason", None) for outcome in outcomes]
        assert refused == [None, Reason.AUDIT_UNAVAILABLE, Reason.AUDIT_UNAVAILABLE]
        with pytest.raises(StrongroomError):
            await log.write({"n": 3, "pad": "x" * 80})
    assert not log.failed

    await log.write({"n": 4})

    assert [record["n"] for record in records(path)[1:]] == [0, 4]
    assert path.read_bytes().count(b"\n") == 3


async def test_a_failed_sync_is_final(
    open_log: Callable[..., FileAuditLog], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()

    write = os.write

    def fail(file: int, data: bytes) -> int:
        write(file, data)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(StrongroomError) as caught:
            await log.write({"n": 1})
    assert caught.value.reason is Reason.AUDIT_UNAVAILABLE
    assert log.failed

    with pytest.raises(StrongroomError):
        await log.write({"n": 2})
    await log.close()
    successor = open_log()

    first = next(path for path in growing_chains(directory) if path.stem == log.origin)
    assert [record.get("n", record.get("event")) for record in records(first)] == [
        "chain.opened",
        1,
        "chain.closed",
    ], "what may have been written is in the chain"
    assert records(first)[-1]["successor"] == successor.origin


async def test_a_busy_loop_does_not_starve_the_writer(log: FileAuditLog) -> None:
    stop = False

    async def burn() -> None:
        while not stop:
            sum(range(5_000))
            await asyncio.sleep(0)

    burning = asyncio.create_task(burn())
    for n in range(50):
        await log.write({"n": n})
    stop = True
    await burning


async def test_no_record_is_acknowledged_before_its_sync(
    log: FileAuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr(
        audit_log,
        "open_syncer",
        lambda loop, done, _: SimpleNamespace(start=started.append, close=lambda: None),
    )

    with pytest.raises(StrongroomError) as caught:
        await log.write({"n": 1})

    assert caught.value.reason is Reason.AUDIT_UNAVAILABLE
    assert started == [log._chain.descriptor]


async def test_too_many_waiting_records_are_refused_at_once(
    log: FileAuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MAX_QUEUE", 0)

    with pytest.raises(StrongroomError) as caught:
        await log.write({})

    assert caught.value.reason is Reason.AUDIT_UNAVAILABLE


async def test_a_long_chain_is_continued_in_another(
    open_log: Callable[..., FileAuditLog], directory: Path
) -> None:
    log = open_log(rotate_at=2_000)
    for n in range(40):
        await log.write({"n": n, "pad": "x" * 50})
    await log.close()

    paths = all_chains(directory)
    chains = {path.stem: records(path) for path in paths}
    assert len(paths) > 3
    last = next(path.stem for path in paths if chains[path.stem][-1].get("reason") == "shutdown")
    order = [last]
    while (previous := chains[order[0]][0]["previous"]) is not None:
        assert chains[previous][-1]["successor"] == order[0]
        order.insert(0, previous)
    assert len(order) == len(paths)
    written = [record["n"] for origin in order for record in chains[origin] if "n" in record]
    assert written == list(range(40))
    assert verify(directory, lambda *_: True).ok


async def test_a_chain_that_cannot_be_rotated_goes_on(
    open_log: Callable[..., FileAuditLog], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(rotate_at=100)
    origin = log.origin
    monkeypatch.setattr(audit_log, "ChainWriter", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))

    await log.write({"n": 1})
    await log.write({"n": 2})

    assert log.origin == origin


async def test_a_successor_closes_the_dead_chain_of_its_slot(
    open_log: Callable[..., FileAuditLog], directory: Path
) -> None:
    dead = dead_chain(directory)
    other_slot = dead_chain(directory, "node-a-1-1000-abcd")

    log = open_log()

    assert log.unclosed == []
    closing = records(dead)[-1]
    assert (closing["event"], closing["successor"]) == ("chain.closed", log.origin)
    assert records(directory / f"{log.origin}.jsonl")[0]["previous"] == dead.stem
    assert records(other_slot)[-1]["event"] == "Encrypt"
    close_dead_chains(directory, slot=None, successor=None, now=1.0)
    assert records(other_slot)[-1]["event"] == "chain.closed"


async def test_a_living_chain_is_left_alone(log: FileAuditLog, directory: Path) -> None:
    path = directory / f"{log.origin}.jsonl"

    assert close_dead_chain(path, successor=None, time=TIME, reason="test") is None
    await log.write({"n": 1})


def test_a_chain_is_closed_once(tmp_path: Path) -> None:
    path = dead_chain(tmp_path / "audit")

    head = close_dead_chain(path, successor="s", time=TIME, reason="test")

    assert head is not None
    assert head.count == 5
    assert close_dead_chain(path, successor="s", time=TIME, reason="test") is None
    assert close_dead_chain(path, successor="s", time=TIME, reason="test", known=head) is None
    assert close_dead_chain(tmp_path / "none-0-1-abcd.jsonl", successor=None, time=TIME, reason="") is None


@pytest.mark.parametrize("torn", [b"x", b"0" * 64 + b" {", b"f" * 64 + b' {"a":1}\n', b"\0" * 5000])
def test_an_unfinished_end_is_cut_and_told(tmp_path: Path, torn: bytes) -> None:
    path = dead_chain(tmp_path / "audit")
    with path.open("ab") as file:
        file.write(torn)

    close_dead_chain(path, successor=None, time=TIME, reason="test")

    found = records(path)
    assert len(found) == 5
    assert found[-1]["cut_bytes"] == len(torn)


def test_a_dead_chain_that_was_edited_is_kept_as_evidence(tmp_path: Path) -> None:
    path = dead_chain(tmp_path / "audit")
    edited = path.read_bytes().replace(b'"n":1', b'"n":7')
    path.write_bytes(edited)

    with pytest.raises(StrongroomError) as caught:
        close_dead_chain(path, successor=None, time=TIME, reason="test")

    assert caught.value.reason is Reason.INTEGRITY_FAILURE
    assert path.stem in str(caught.value.detail)
    assert "line 3" in str(caught.value.detail)
    assert path.read_bytes() == edited
    assert len(close_dead_chains(path.parent, slot=None, successor=None, now=0.0)) == 1


@pytest.mark.parametrize("node", ["", "a/b", "..", "a b", "x" * 65])
def test_a_node_name_must_be_a_file_name(tmp_path: Path, node: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        FileAuditLog(AuditSettings(tmp_path / "audit", node, 0, "v"))

    assert (caught.value.reason, caught.value.field) == (Reason.CONFIGURATION, "audit.node")


def test_a_directory_that_cannot_be_made_is_audit_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StrongroomError) as caught:
        FileAuditLog(AuditSettings(tmp_path / "file" / "audit", "n", 0, "v"))

    assert caught.value.reason is Reason.AUDIT_UNAVAILABLE


_WORKER = """
import asyncio, sys
from pathlib import Path
from strongroomd.storage.audit_log import AuditSettings, FileAuditLog

async def main():
    log = FileAuditLog(AuditSettings(Path(sys.argv[1]), "node-a", 0, "v"))
    async def one(start):
        for n in range(start, 10**6, 4):
            await log.write({"n": n})
            print(n, flush=True)
    await asyncio.gather(*(one(start) for start in range(4)))

asyncio.run(main())
"""


def start_worker(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(directory)], stdout=subprocess.PIPE, text=True
    )


async def test_a_killed_worker_loses_no_acknowledged_record(
    open_log: Callable[..., FileAuditLog], directory: Path
) -> None:
    for _ in range(3):
        process = start_worker(directory)
        assert process.stdout is not None
        acknowledged = {int(process.stdout.readline()) for _ in range(50)}
        os.kill(process.pid, signal.SIGKILL)
        acknowledged |= {int(line) for line in process.stdout.read().splitlines()[:-1]}
        process.wait()
        process.stdout.close()
        newest = max(growing_chains(directory), key=lambda path: path.stat().st_mtime_ns)

        written = {record["n"] for record in records(newest) if "n" in record}

        assert acknowledged <= written
    log = open_log()
    assert log.unclosed == []
    report = verify(directory, lambda *_: True)
    assert report.ok, report.problems
    assert [chain.closed for chain in report.chains].count(False) == 1
    assert chain_path(directory, log.origin).exists()
