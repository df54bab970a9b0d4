"""Backup sets as files: whole or not there, and refused for whatever is not as it was signed."""

import hashlib
import io
import os
import signal
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest
from tests.failpoints import steps

from strongroomd.domain.audit import canonical
from strongroomd.domain.backups import MANIFEST, PAYLOAD, SIGNATURE, STATEMENT, Manifest, Member, SavedToken
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.backup_sets import (
    SetWriter,
    Source,
    check_payload,
    decrypt_payload,
    new_identity,
    parse_recipients,
    read_set,
    remove_unfinished,
    source,
    unpack,
)
from strongroomd.telemetry import failpoints

PRIVATE, PUBLIC = new_identity()
NAME = "20261126T000000Z-00000000"
CONTENTS = {"store.sqlite": os.urandom(300_000), "audit/a-0-1-0000.jsonl": b"line\n" * 100, "keys.jsonl": b""}


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    made = []
    for number, (member, content) in enumerate(CONTENTS.items()):
        path = tmp_path / f"source-{number}"
        path.write_bytes(content)
        made.append(source(member, path))
    return made


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "identity"
    path.write_text(f"# a comment\n\n{PRIVATE}\n")
    return path


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    (tmp_path / "sets").mkdir()
    return tmp_path / "sets"


def manifest_of(sources: list[Source]) -> bytes:
    tokens = (SavedToken("", "0123", "SoftHSM", "tokens/0/", ""),)
    return Manifest(tokens, tuple(each.member for each in sources)).encoded()


def write(sets: Path, sources: list[Source]) -> tuple[Path, bytes]:
    """Write a set; gives its folder and its manifest."""
    writer, manifest = SetWriter(sets, NAME), manifest_of(sources)
    writer.begin()
    writer.seal(manifest, sources, [PUBLIC])
    return writer.finish(b"statement", b"signature"), manifest


def refused(error: pytest.ExceptionInfo[StrongroomError]) -> Reason:
    return error.value.reason


def opened(made: Path, manifest: bytes, identity: Path, into: Path) -> Manifest:
    archive = into.with_suffix(".tar")
    decrypt_payload(made / PAYLOAD, identity, archive)
    digest = hashlib.sha256(manifest).hexdigest()
    return unpack(archive, digest, lambda _: lambda member: into / member)


def test_what_was_saved_comes_back_byte_by_byte(
    sets: Path, sources: list[Source], identity: Path, tmp_path: Path
) -> None:
    made, manifest = write(sets, sources)

    found = opened(made, manifest, identity, tmp_path / "out")

    assert {path.name for path in sets.iterdir()} == {NAME}
    assert [member.path for member in found.members] == list(CONTENTS)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in CONTENTS} == CONTENTS
    assert all((tmp_path / "out" / name).stat().st_mode & 0o077 == 0 for name in CONTENTS)


def test_nothing_of_what_was_saved_is_in_the_set_in_clear(sets: Path, sources: list[Source]) -> None:
    made, _ = write(sets, sources)

    payload = (made / PAYLOAD).read_bytes()

    assert CONTENTS["store.sqlite"][1000:1032] not in payload
    assert b"store.sqlite" not in payload


def test_a_longer_file_is_saved_up_to_where_it_was_described(
    sets: Path, sources: list[Source], identity: Path, tmp_path: Path
) -> None:
    with sources[1].path.open("ab") as file:
        file.write(b"later\n")

    made, manifest = write(sets, sources)
    opened(made, manifest, identity, tmp_path / "out")

    assert (tmp_path / "out" / sources[1].member.path).read_bytes() == b"line\n" * 100


@pytest.mark.parametrize("change", [lambda c: b"X" + c[1:], lambda c: c[:-1]], ids=["edited", "shortened"])
def test_a_file_that_changes_while_it_is_saved_ends_the_backup(
    sets: Path, sources: list[Source], change: Callable[[bytes], bytes]
) -> None:
    sources[0].path.write_bytes(change(CONTENTS["store.sqlite"]))

    with pytest.raises(StrongroomError) as refusal:
        write(sets, sources)

    assert refused(refusal) is Reason.STORE_UNAVAILABLE
    assert not (sets / NAME).exists()


def test_a_file_that_is_gone_ends_the_backup(sets: Path, sources: list[Source]) -> None:
    sources[0].path.unlink()

    with pytest.raises(StrongroomError) as refusal:
        write(sets, sources)

    assert refused(refusal) is Reason.STORE_UNAVAILABLE


def test_a_set_of_the_same_name_is_never_replaced(sets: Path, sources: list[Source]) -> None:
    (sets / NAME).mkdir()
    (sets / NAME / "something").touch()

    with pytest.raises(OSError, match="not empty"):
        write(sets, sources)


@pytest.mark.parametrize("texts", [[], ["age1nonsense"], [PUBLIC, ""], [PRIVATE], ["ssh-ed25519 AAAA"]])
def test_useless_recipients_are_refused(texts: list[str]) -> None:
    with pytest.raises(StrongroomError) as refusal:
        parse_recipients(texts)

    assert refused(refusal) is Reason.CONFIGURATION
    assert refusal.value.field == "backup.recipients_file"
    assert PRIVATE not in str(refusal.value.message)


@pytest.mark.parametrize(
    "content",
    ["", "# nothing\n", "AGE-SECRET-KEY-1XXXX\n", PUBLIC, "\udcff"],
    ids=["empty", "comment", "damaged", "recipient", "no text"],
)
def test_an_identity_file_that_is_none_is_refused(
    sets: Path, sources: list[Source], identity: Path, tmp_path: Path, content: str
) -> None:
    made, _ = write(sets, sources)
    identity.write_bytes(content.encode("utf-8", "surrogateescape"))

    with pytest.raises(StrongroomError) as refusal:
        decrypt_payload(made / PAYLOAD, identity, tmp_path / "out.tar")

    assert refused(refusal) is Reason.INVALID_FIELD
    assert not (tmp_path / "out.tar").exists()


def test_another_recipient_opens_nothing(
    sets: Path, sources: list[Source], identity: Path, tmp_path: Path
) -> None:
    made, _ = write(sets, sources)
    identity.write_text(new_identity()[0])

    with pytest.raises(StrongroomError) as refusal:
        decrypt_payload(made / PAYLOAD, identity, tmp_path / "out.tar")

    assert refused(refusal) is Reason.INTEGRITY_FAILURE
    assert not (tmp_path / "out.tar").exists()


def test_a_payload_with_any_bit_flipped_or_cut_anywhere_is_not_opened(
    sets: Path, sources: list[Source], identity: Path, tmp_path: Path
) -> None:
    """By the cipher alone, without the hash in the statement: each part of the file, and both of its ends."""
    made, _ = write(sets, sources)
    payload = made / PAYLOAD
    whole = payload.read_bytes()
    spots = [*range(0, 240, 7), *range(240, len(whole), len(whole) // 40), len(whole) - 1]
    damaged = [whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :] for spot in spots]
    damaged += [whole[:spot] for spot in spots]

    for content in damaged:
        payload.write_bytes(content)
        with pytest.raises(StrongroomError) as refusal:
            decrypt_payload(payload, identity, tmp_path / "out.tar")
        assert refused(refusal) is Reason.INTEGRITY_FAILURE
        assert not (tmp_path / "out.tar").exists()


def test_a_payload_is_held_against_its_hash_and_size(sets: Path, sources: list[Source]) -> None:
    made, _ = write(sets, sources)
    content = (made / PAYLOAD).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    check_payload(made / PAYLOAD, digest, len(content))

    for changed in (content[:-1], content + b"\0", bytes([content[0] ^ 1]) + content[1:]):
        (made / PAYLOAD).write_bytes(changed)
        with pytest.raises(StrongroomError) as refusal:
            check_payload(made / PAYLOAD, digest, len(content))
        assert refused(refusal) is Reason.INTEGRITY_FAILURE


@pytest.mark.parametrize("name", [PAYLOAD, STATEMENT, SIGNATURE])
def test_a_set_that_lacks_a_file_is_none(sets: Path, sources: list[Source], name: str) -> None:
    made, _ = write(sets, sources)
    (made / name).unlink()

    with pytest.raises(StrongroomError) as refusal:
        read_set(made)

    assert refused(refusal) is Reason.INTEGRITY_FAILURE


def test_a_statement_without_end_is_not_read(sets: Path, sources: list[Source]) -> None:
    made, _ = write(sets, sources)
    (made / STATEMENT).write_bytes(bytes(2 << 20))

    with pytest.raises(StrongroomError):
        read_set(made)


# Archives that somebody made who has the recipients' public key: anybody. The manifest's hash is what is signed.


def entry(name: str, content: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in more.items():
        setattr(info, field, value)
    return info, content


def archive(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def manifest(*members: Member) -> bytes:
    return Manifest((), members).encoded()


def member(path: str, content: bytes) -> Member:
    return Member(path, len(content), hashlib.sha256(content).hexdigest())


GOOD = manifest(member("store.sqlite", b"store"))
FIRST = entry(MANIFEST, GOOD)
STORE = entry("store.sqlite", b"store")
BAD_ARCHIVES = {
    "nothing": (),
    "no manifest": (STORE,),
    "manifest not first": (STORE, FIRST),
    "another manifest": (entry(MANIFEST, manifest()), STORE),
    "member missing": (FIRST,),
    "member twice": (FIRST, STORE, STORE),
    "member too many": (FIRST, STORE, entry("more", b"")),
    "other content": (FIRST, entry("store.sqlite", b"stor!")),
    "other size": (FIRST, entry("store.sqlite", b"store!")),
    "symbolic link": (FIRST, entry("store.sqlite", type=tarfile.SYMTYPE, linkname="elsewhere")),
    "hard link": (FIRST, entry("store.sqlite", type=tarfile.LNKTYPE, linkname=MANIFEST)),
    "folder": (FIRST, entry("store.sqlite", type=tarfile.DIRTYPE)),
    "device": (FIRST, entry("store.sqlite", type=tarfile.CHRTYPE)),
    "upwards": (FIRST, entry("../store.sqlite", b"store")),
    "absolute": (FIRST, entry("/store.sqlite", b"store")),
}


@pytest.mark.parametrize("entries", BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_an_archive_that_is_not_what_the_manifest_says_is_refused(
    tmp_path: Path, entries: tuple[tuple[tarfile.TarInfo, bytes], ...]
) -> None:
    made = archive(tmp_path / "made.tar", *entries)

    with pytest.raises(StrongroomError) as refusal:
        unpack(made, hashlib.sha256(GOOD).hexdigest(), lambda _: lambda name: tmp_path / "out" / name)

    assert refused(refusal) is Reason.INTEGRITY_FAILURE
    assert not (tmp_path / "store.sqlite").exists()


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../b", ".hidden", "a//b", "a/", "", "a\n", "ü"])
def test_a_manifest_with_a_path_that_leads_elsewhere_is_refused_though_it_is_signed(
    tmp_path: Path, path: str
) -> None:
    signed = manifest(member(path, b"x"))
    made = archive(tmp_path / "made.tar", entry(MANIFEST, signed), entry(path or "x", b"x"))

    with pytest.raises(StrongroomError) as refusal:
        unpack(made, hashlib.sha256(signed).hexdigest(), lambda _: lambda name: tmp_path / "out" / name)

    assert refused(refusal) is Reason.INTEGRITY_FAILURE
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "signed", [b"", b"{", b"[]", b"{}", b'{"members": [],"tokens":[]}', canonical({"a": 1})]
)
def test_a_manifest_in_any_other_form_is_refused_though_it_is_signed(tmp_path: Path, signed: bytes) -> None:
    made = archive(tmp_path / "made.tar", entry(MANIFEST, signed))

    with pytest.raises(StrongroomError) as refusal:
        unpack(made, hashlib.sha256(signed).hexdigest(), lambda _: lambda name: tmp_path / "out" / name)

    assert refused(refusal) is Reason.INTEGRITY_FAILURE


def test_noise_is_no_archive(tmp_path: Path) -> None:
    made = tmp_path / "made.tar"
    for content in (b"", os.urandom(5_000), bytes(10_240)):
        made.write_bytes(content)
        with pytest.raises(StrongroomError):
            unpack(made, "0" * 64, lambda _: lambda name: tmp_path / "out" / name)


def test_any_age_opens_a_payload(sets: Path, sources: list[Source]) -> None:
    made, signed = write(sets, sources)

    plain = pyrage.decrypt((made / PAYLOAD).read_bytes(), [pyrage.x25519.Identity.from_str(PRIVATE)])

    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert tar.getnames() == [MANIFEST, *CONTENTS]
        assert tar.extractfile(MANIFEST).read() == signed  # type: ignore[union-attr]


def test_a_large_file_is_never_in_memory_whole(sets: Path, tmp_path: Path, identity: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(96 << 20)
    tracemalloc.start()
    try:
        made, signed = write(sets, [source("store.sqlite", large)])
        opened(made, signed, identity, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 12 << 20
    assert (tmp_path / "out" / "store.sqlite").stat().st_size == 96 << 20


def killed_at(step: str, work: Callable[[], object]) -> int:
    """Do work in a process of its own that is killed at a step; gives the signal that ended it."""
    child = os.fork()
    if child == 0:
        failpoints.arm(lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == step else None)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    failpoints.arm(None)


def test_a_kill_before_the_last_step_leaves_no_set_and_the_next_backup_cleans_up(
    sets: Path, sources: list[Source]
) -> None:
    assert "backup.5" in steps("backup")
    assert killed_at("backup.5", lambda: write(sets, sources)) == -signal.SIGKILL

    assert [path.name for path in sets.iterdir()] == [f".{NAME}.partial"]
    assert remove_unfinished(sets) == 1
    assert list(sets.iterdir()) == []
