"""No edit, deletion, reordering or truncation of signed audit records goes unseen; no torn end alarms."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroomd.domain.audit import (
    Checkpoint,
    canonical,
    format_line,
    genesis,
    link,
    next_checkpoint,
    parse_line,
)
from strongroomd.storage.audit_chain import ARCHIVE, CHECKPOINTS, close_dead_chain
from strongroomd.storage.audit_reader import Report, verify
from strongroomd.storage.chain_writer import ChainWriter
from strongroomd.storage.checkpoints import ChainFollower, CheckpointFile, SignedCheckpoint

TIME = "2026-11-22T00:00:00.000Z"
CLOSED, LONG, SHORT = "node-a-0-1000-aaaa", "node-a-0-2000-bbbb", "node-a-1-1000-cccc"

Tree = dict[str, bytes]

UNHURRIED = settings(deadline=None, max_examples=60)


def signature(message: bytes) -> bytes:
    return hashlib.sha256(b"key" + message).digest()


def signature_ok(message: bytes, given_signature: bytes) -> bool:
    return signature(message) == given_signature


@cache
def original() -> tuple[Tree, dict[str, int], Checkpoint]:
    """Make a directory: three chains, one of them archived, three checkpoints, an unsigned tail."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / ARCHIVE).mkdir()
        follower = ChainFollower(directory, None)
        checkpoints: list[Checkpoint] = []
        writers = {
            origin: ChainWriter(
                directory,
                origin,
                {"event": "chain.opened", "origin": origin, "previous": previous, "time": TIME},
            )
            for origin, previous in ((CLOSED, None), (LONG, CLOSED), (SHORT, None))
        }
        for round_ in range(3):
            for origin in (CLOSED, LONG, SHORT)[(0, 1, 1)[round_] :]:
                writers[origin].append([{"event": "Encrypt", "n": n, "time": TIME} for n in range(3)])
            if round_ == 0:
                writers[CLOSED].close()
                close_dead_chain(directory / f"{CLOSED}.jsonl", successor=LONG, time=TIME, reason="test")
            before = checkpoints[-1] if checkpoints else None
            checkpoint = next_checkpoint(
                before, follower.poll(), time=round_, journal_sequence=1, journal_head=bytes(32)
            )
            CheckpointFile(directory).append(SignedCheckpoint(checkpoint, signature(checkpoint.message())))
            follower.archive(checkpoint)
            checkpoints.append(checkpoint)
        signed = {
            str(path.relative_to(directory)): path.stat().st_size for path in directory.rglob("*.jsonl")
        }
        writers[LONG].append([{"event": "Decrypt", "n": n, "time": TIME} for n in range(3)])
        tree = {name: (directory / name).read_bytes() for name in signed}
        return tree, signed, checkpoints[-1]


@contextmanager
def written(tree: Tree) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / ARCHIVE).mkdir()
        for name, data in tree.items():
            (folder / name).write_bytes(data)
        yield folder
    finally:
        shutil.rmtree(folder)


def report_on(tree: Tree, *, hold: bool = True) -> Report:
    with written(tree) as directory:
        return verify(directory, signature_ok, original()[2] if hold else None)


NAMES = st.sampled_from(sorted(original()[0]))
CHAINS = st.sampled_from(sorted(name for name in original()[0] if name != CHECKPOINTS))


def test_the_untouched_directory_verifies() -> None:
    report = report_on(original()[0])

    assert report.ok, report.problems
    assert report.checkpoints == 3
    assert report.unsigned == 3
    assert [(chain.origin, chain.records, chain.signed, chain.closed) for chain in report.chains] == [
        (CLOSED, 5, 5, True),
        (SHORT, 10, 10, False),
        (LONG, 13, 10, False),
    ]


@UNHURRIED
@given(NAMES, st.data())
def test_any_changed_byte_is_found(name: str, data: st.DataObject) -> None:
    tree, signed, _ = original()
    place = data.draw(st.integers(0, signed[name] - 1))
    content = bytearray(tree[name])
    content[place] ^= data.draw(st.integers(1, 255))

    assert not report_on(tree | {name: bytes(content)}).ok


@UNHURRIED
@given(NAMES, st.data())
def test_any_removed_line_is_found(name: str, data: st.DataObject) -> None:
    tree, signed, _ = original()
    lines = tree[name].splitlines(keepends=True)
    count = tree[name][: signed[name]].count(b"\n")
    del lines[data.draw(st.integers(0, count - 1))]

    assert not report_on(tree | {name: b"".join(lines)}).ok


@UNHURRIED
@given(NAMES, st.data())
def test_any_two_swapped_or_doubled_lines_are_found(name: str, data: st.DataObject) -> None:
    tree, _, _ = original()
    lines = tree[name].splitlines(keepends=True)
    first, second = data.draw(
        st.lists(st.integers(0, len(lines) - 1), min_size=2, max_size=2, unique=True).map(sorted)
    )
    if data.draw(st.booleans()):
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines.insert(second, lines[first])

    assert not report_on(tree | {name: b"".join(lines)}).ok


@UNHURRIED
@given(NAMES, st.data())
def test_any_truncation_of_what_is_signed_is_found(name: str, data: st.DataObject) -> None:
    tree, signed, _ = original()
    length = data.draw(st.integers(0, signed[name] - 1))

    assert not report_on(tree | {name: tree[name][:length]}).ok


@UNHURRIED
@given(NAMES)
def test_any_removed_file_is_found(name: str) -> None:
    tree = dict(original()[0])
    del tree[name]

    assert not report_on(tree).ok


@UNHURRIED
@given(st.lists(CHAINS, min_size=2, max_size=2, unique=True))
def test_any_two_swapped_files_are_found(names: list[str]) -> None:
    tree = dict(original()[0])
    tree[names[0]], tree[names[1]] = tree[names[1]], tree[names[0]]

    assert not report_on(tree).ok


@UNHURRIED
@given(CHAINS)
def test_a_copy_of_a_chain_under_another_name_is_found(name: str) -> None:
    tree = original()[0]

    assert not report_on(tree | {"node-z-0-9000-ffff.jsonl": tree[name]}).ok


@UNHURRIED
@given(st.data())
def test_an_edit_in_the_unsigned_tail_is_found_before_its_last_record(data: st.DataObject) -> None:
    tree, signed, _ = original()
    name = f"{LONG}.jsonl"
    # Without the line feed before it, the last record is a torn end.
    last = tree[name].rstrip(b"\n").rfind(b"\n") + 1
    content = bytearray(tree[name])
    content[data.draw(st.integers(signed[name], last - 2))] ^= data.draw(st.integers(1, 255))

    assert not report_on(tree | {name: bytes(content)}).ok


@UNHURRIED
@given(st.sampled_from([LONG, SHORT]), st.binary(max_size=300).filter(lambda tail: b"\n" not in tail[:-1]))
def test_a_torn_end_is_no_alarm(origin: str, torn: bytes) -> None:
    name = f"{origin}.jsonl"
    tree = original()[0]

    report = report_on(tree | {name: tree[name] + torn})

    assert report.ok, report.problems
    assert sum(chain.torn for chain in report.chains) == len(torn)


@UNHURRIED
@given(st.data())
def test_a_lost_unsigned_tail_is_no_alarm(data: st.DataObject) -> None:
    tree, signed, _ = original()
    name = f"{LONG}.jsonl"
    length = data.draw(st.integers(signed[name], len(tree[name])))

    assert report_on(tree | {name: tree[name][:length]}).ok


@UNHURRIED
@given(st.integers(0, 2))
def test_a_rollback_of_everything_is_found_by_whoever_holds_a_checkpoint(keep: int) -> None:
    tree, _, _ = original()
    lines = tree[CHECKPOINTS].splitlines(keepends=True)[:keep]
    rolled_back = tree | {CHECKPOINTS: b"".join(lines)}

    assert report_on(rolled_back, hold=False).ok
    assert not report_on(rolled_back).ok


def test_a_whole_chain_rewritten_with_right_hashes_is_found() -> None:
    tree = original()[0]
    name = f"{SHORT}.jsonl"
    digest, lines = genesis(SHORT), []
    for line in tree[name].splitlines(keepends=True):
        body = parse_line(line)[1].replace(b"Encrypt", b"Decrypt")
        digest = link(digest, body)
        lines.append(format_line(digest, body))

    problems = report_on(tree | {name: b"".join(lines)}).problems

    assert [(problem.where, problem.line) for problem in problems] == [(SHORT, 11)]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"event": "x", "seq": 99}, "sequence"),
        ([], "JSON object"),
        ({"event": "chain.closed", "seq": 14}, "is gone"),
    ],
)
def test_a_record_that_cannot_be_is_found_though_it_is_chained(record: object, text: str) -> None:
    tree = original()[0]
    name = f"{LONG}.jsonl"
    last = tree[name].splitlines(keepends=True)[-1]
    if isinstance(record, dict) and record["event"] == "chain.closed":
        record = record | {"seq": 13, "successor": "node-a-0-9999-dddd"}
    body = canonical(record)  # type: ignore[arg-type]
    line = format_line(link(parse_line(last)[0], body), body)

    problems = report_on(tree | {name: tree[name] + line}).problems

    assert text in problems[0].text
