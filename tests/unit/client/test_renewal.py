"""Renewal of ciphertexts: what is renewed, what stays, what a run that was cut off leaves, and what fails."""

import base64
import contextlib
import json
import struct
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import errors, renewal
from strongroom.renewal import Origin, Renewer, origin, renew_file, renew_lines
from strongroomd.domain import envelope

if TYPE_CHECKING:
    from strongroom.client import Client

KEY, OTHER = "11111111-2222-4333-8444-555555555555", f"mrk-{'ab' * 16}"


def ciphertext(version: int, body: bytes = b"x", key: str = KEY, form: int = 1) -> bytes:
    kind, raw = (1, bytes.fromhex(key[4:])) if key.startswith("mrk-") else (0, uuid.UUID(key).bytes)
    return struct.pack(">2sBB16sI", b"SR", form, kind, raw, version) + body.ljust(40, b"\0")


@dataclass
class Daemon:
    """Answers as the daemon does: at version 3, and it opens only what is under the right context."""

    context: dict[str, str] = field(default_factory=dict)
    calls: list[bytes] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    fail_after: int = 1_000

    def describe_key(self, name: str) -> Any:
        self.described.append(name)
        if name == OTHER:
            raise errors.AccessDenied("ACCESS_DENIED", "no")
        return SimpleNamespace(key_id=KEY, current_version=3)

    def re_encrypt(
        self,
        data: bytes,
        destination: str,
        *,
        source_context: Mapping[str, str],
        destination_context: Mapping[str, str],
    ) -> Any:
        if len(self.calls) >= self.fail_after:
            raise KeyboardInterrupt
        assert source_context == destination_context
        if source_context != self.context:
            raise errors.NotGenuine("INVALID_CIPHERTEXT", "no")
        self.calls.append(data)
        return SimpleNamespace(ciphertext=ciphertext(3, b"renewed"))


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def renewer(daemon: Daemon) -> Iterator[Renewer]:
    with Renewer(cast("Client", daemon)) as made:
        yield made


def test_the_header_is_read_as_the_daemon_writes_it() -> None:
    for key, form in ((KEY, 1), (OTHER, 2)):
        data = ciphertext(7, key=key, form=form)
        parsed = envelope.parse(data)
        assert origin(data) == Origin(parsed.key_id, parsed.version) == Origin(key, 7)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SR",
        ciphertext(1)[:40],
        b"XX" + ciphertext(1)[2:],
        b"SR\x03" + ciphertext(1)[3:],
        b"SR\x01\x02" + ciphertext(1)[4:],
        ciphertext(0),
    ],
)
def test_what_is_no_ciphertext_is_refused(data: bytes) -> None:
    with pytest.raises(errors.StrongroomError) as refusal:
        origin(data)

    assert refusal.value.reason == "INVALID_CIPHERTEXT"


@given(st.binary(max_size=100))
def test_bytes_from_outside_never_crash(data: bytes) -> None:
    with contextlib.suppress(errors.CallerError):
        origin(data)


def test_an_old_file_is_replaced_with_its_mode_and_a_new_one_stays(
    renewer: Renewer, daemon: Daemon, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(ciphertext(1))
    new.write_bytes(ciphertext(3))
    old.chmod(0o640)
    before = new.stat()

    renew_file(renewer, old)
    renew_file(renewer, new)

    assert old.read_bytes() == ciphertext(3, b"renewed")
    assert old.stat().st_mode & 0o777 == 0o640
    assert new.stat() == before
    assert (renewer.renewed, renewer.current, dict(renewer.counts)) == (1, 1, {(KEY, 1): 1, (KEY, 3): 1})
    assert daemon.described == [KEY]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_text_stays_text(renewer: Renewer, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(base64.encodebytes(ciphertext(1)))

    renew_file(renewer, file, text=True)

    assert base64.b64decode(file.read_bytes()) == ciphertext(3, b"renewed")


def test_a_file_that_fails_stays_as_it_is(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(ciphertext(1))

    with Renewer(cast("Client", daemon), context={"a": "wrong"}) as renewer, pytest.raises(errors.NotGenuine):
        renew_file(renewer, file)

    assert file.read_bytes() == ciphertext(1)


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * (1 << 17)])
def test_a_file_of_another_kind_is_not_touched(
    renewer: Renewer, daemon: Daemon, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "f"
    file.write_bytes(content)

    with pytest.raises(errors.StrongroomError) as refusal:
        renew_file(renewer, file)

    assert refusal.value.reason == "INVALID_CIPHERTEXT"
    assert (file.read_bytes(), daemon.calls) == (content, [])


def test_a_file_that_changed_meanwhile_is_not_replaced(
    renewer: Renewer, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    file.write_bytes(ciphertext(1))
    re_encrypt = daemon.re_encrypt

    def slow(*args: Any, **kwargs: Any) -> Any:
        file.write_bytes(ciphertext(2, b"of somebody else"))
        return re_encrypt(*args, **kwargs)

    monkeypatch.setattr(daemon, "re_encrypt", slow)

    with pytest.raises(errors.StrongroomError) as refusal:
        renew_file(renewer, file)

    assert refusal.value.reason == "FILE_PROBLEM"
    assert file.read_bytes() == ciphertext(2, b"of somebody else")


def test_a_missing_file_is_a_file_problem(renewer: Renewer, tmp_path: Path) -> None:
    with pytest.raises(errors.StrongroomError) as refusal:
        renew_file(renewer, tmp_path / "absent")

    assert refusal.value.reason == "FILE_PROBLEM"


def test_a_dry_run_counts_by_version_and_changes_nothing(daemon: Daemon, tmp_path: Path) -> None:
    file, lines = tmp_path / "f", tmp_path / "lines"
    file.write_bytes(ciphertext(1))
    write(lines, [1, 2, 3, 1])
    before = lines.read_bytes()

    with Renewer(cast("Client", daemon), dry_run=True) as renewer:
        renew_file(renewer, file)
        assert renew_lines(renewer, lines) == []

    assert dict(renewer.counts) == {(KEY, 1): 3, (KEY, 2): 1, (KEY, 3): 1}
    assert (renewer.renewed, renewer.current) == (4, 1)
    assert (file.read_bytes(), lines.read_bytes(), daemon.calls) == (ciphertext(1), before, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "lines"]


def write(path: Path, versions: list[int], **more: Any) -> None:
    rows = [{"id": n, "ciphertext": text(ciphertext(v)), **more} for n, v in enumerate(versions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_renewed_and_all_else_stays(renewer: Renewer, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, [1, 3, 2], name="Zoë")
    current = path.read_text().splitlines()[1]
    told: list[tuple[int, int]] = []

    failed = renew_lines(renewer, path, tell=lambda done, total: told.append((done, total)))

    rows = read(path)
    assert failed == []
    assert [(row["id"], row["name"]) for row in rows] == [(0, "Zoë"), (1, "Zoë"), (2, "Zoë")]
    assert [row["ciphertext"] for row in rows] == [
        text(ciphertext(3, b"renewed")),
        text(ciphertext(3)),
        text(ciphertext(3, b"renewed")),
    ]
    assert path.read_text().splitlines()[1] == current
    assert told[-1] == (3, 3)
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


def test_each_lines_own_context_counts(daemon: Daemon, renewer: Renewer, tmp_path: Path) -> None:
    daemon.context = {"tenant": "blue"}
    path = tmp_path / "rows"
    write(path, [1], context={"tenant": "blue"})
    path.write_text(path.read_text() + json.dumps({"ciphertext": text(ciphertext(1))}) + "\n")

    failed = renew_lines(renewer, path)

    assert [(number, error.reason) for number, error in failed] == [(2, "INVALID_CIPHERTEXT")]
    assert [row["ciphertext"] for row in read(path)] == [
        text(ciphertext(3, b"renewed")),
        text(ciphertext(1)),
    ]


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_a_run_that_was_cut_off_is_continued_and_renews_nothing_twice(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(renewal, "_CHUNK", 2)
    path = tmp_path / "rows"
    write(path, [1] * 7)
    before, daemon.fail_after = path.read_bytes(), cut
    with Renewer(cast("Client", daemon)) as first, pytest.raises(KeyboardInterrupt):
        renew_lines(first, path)
    assert path.read_bytes() == before
    kept = len((tmp_path / "rows.renewing").read_bytes().splitlines()) - 1
    with (tmp_path / "rows.renewing").open("ab") as beside:
        beside.write(b'{"half a li')

    daemon.fail_after = 1_000
    with Renewer(cast("Client", daemon)) as second:
        assert renew_lines(second, path) == []

    assert second.renewed == 7 - kept
    assert [row["id"] for row in read(path)] == list(range(7))
    assert {row["ciphertext"] for row in read(path)} == {text(ciphertext(3, b"renewed"))}
    assert [each.name for each in tmp_path.iterdir()] == ["rows"]


def test_what_a_run_on_other_lines_left_is_not_continued(
    daemon: Daemon, renewer: Renewer, tmp_path: Path
) -> None:
    path = tmp_path / "rows"
    write(path, [1, 1])
    (tmp_path / "rows.renewing").write_text('{"renewing": "of another file"}\n{"id": 99}\n')

    renew_lines(renewer, path)

    assert [row["id"] for row in read(path)] == [0, 1]


BAD_CONTEXT = json.dumps({"ciphertext": text(ciphertext(1)), "context": {"a": 1}})


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "{}",
        '{"ciphertext": 1}',
        '{"ciphertext": "*"}',
        '{"ciphertext": "☃"}',
        "[" * 2_000,
        BAD_CONTEXT,
    ],
)
def test_a_line_of_another_shape_stops_the_run_before_anything_is_replaced(
    renewer: Renewer, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "rows"
    write(path, [1])
    path.write_text(path.read_text() + line + "\n")
    before = path.read_bytes()

    with pytest.raises(errors.InvalidRequest) as refusal:
        renew_lines(renewer, path)

    assert refusal.value.field == "line 2"
    assert path.read_bytes() == before


def test_a_link_in_the_place_of_the_progress_is_not_followed(renewer: Renewer, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    write(path, [1])
    (tmp_path / "precious").write_text("x")
    (tmp_path / "rows.renewing").symlink_to(tmp_path / "precious")

    with pytest.raises(errors.StrongroomError) as refusal:
        renew_lines(renewer, path)

    assert refusal.value.reason == "FILE_PROBLEM"
    assert (tmp_path / "precious").read_text() == "x"


def test_another_destination_renews_even_the_newest(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(ciphertext(9, key=OTHER))

    with Renewer(cast("Client", daemon), destination=KEY) as renewer:
        renew_file(renewer, path)

    assert path.read_bytes() == ciphertext(3, b"renewed")
