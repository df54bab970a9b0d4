"""Encrypted files: whole or refused, and never plaintext left behind."""

import hashlib
import io
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom import errors
from strongroom.files import chunks, decrypt_file, encrypt_file
from strongroom.files import format as fmt
from strongroom.results import DataKey, Decrypted

GOLDEN = Path(__file__).parent / "golden" / "format-1.srfile"
CHUNK = 1 << fmt.CHUNK_BITS
ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


class Keys:
    """Makes and opens data keys as a daemon would: sealed is the context and the key turned around."""

    def __init__(self) -> None:
        self.made = 0

    def generate_data_key(self, key: str, /, *, spec: str = "", context: Any = None) -> DataKey:
        self.made += 1
        plaintext = hashlib.sha256(b"data key %d" % self.made).digest()
        return DataKey(plaintext, plaintext[::-1] + repr(context or {}).encode(), ARN, 1)

    def decrypt(self, ciphertext: bytes, /, *, key: str = "", context: Any = None) -> Decrypted:
        if ciphertext[32:] != repr(context or {}).encode():
            raise errors.error("INVALID_CIPHERTEXT", "they do not belong together")
        return Decrypted(ciphertext[:32][::-1], ARN, 1, "SYMMETRIC_DEFAULT")


@pytest.fixture
def keys() -> Keys:
    return Keys()


def sealed(keys: Keys, plaintext: bytes) -> bytes:
    out = io.BytesIO()
    encrypt_file(keys, "alias/k", io.BytesIO(plaintext), out)
    return out.getvalue()


def opened(keys: Keys, data: bytes) -> bytes:
    out = io.BytesIO()
    decrypt_file(keys, io.BytesIO(data), out)
    return out.getvalue()


def refused(keys: Keys, data: bytes) -> errors.StrongroomError:
    out = io.BytesIO()
    with pytest.raises(errors.StrongroomError) as raised:
        decrypt_file(keys, io.BytesIO(data), out)
    assert out.getvalue() == b""
    return raised.value


def header_size(data: bytes) -> int:
    return fmt.FIXED_SIZE + int.from_bytes(data[40:42], "big") + fmt.COMMITMENT


@pytest.mark.parametrize("size", [0, 1, 15, 16, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
def test_a_file_comes_back_as_it_was(keys: Keys, size: int) -> None:
    plaintext = os.urandom(size)

    data = sealed(keys, plaintext)

    assert opened(keys, data) == plaintext
    assert len(data) == header_size(data) + size + 16 * max(1, -(-size // CHUNK))


def test_the_golden_file_opens_for_ever() -> None:
    assert opened(Keys(), GOLDEN.read_bytes()) == b"Strongroom, format 1. " * 4_000


@given(sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=50), plaintext=st.binary(max_size=20_000))
@settings(max_examples=40, deadline=None)
def test_pipes_may_give_as_little_as_they_like(sizes: list[int], plaintext: bytes) -> None:
    class Pipe(io.BytesIO):
        turn = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.turn += 1
            return super().read(min(size or 0, sizes[self.turn % len(sizes)]))

    keys, out = Keys(), io.BytesIO()
    encrypt_file(keys, "alias/k", Pipe(plaintext), out)

    assert opened(keys, out.getvalue()) == plaintext


def test_two_files_share_neither_key_nor_bytes(keys: Keys) -> None:
    one, other = sealed(keys, b"same" * 100), sealed(keys, b"same" * 100)

    assert one[header_size(one) :] != other[header_size(other) :]
    assert keys.made == 2


def test_every_cut_is_refused(keys: Keys) -> None:
    data = sealed(keys, b"x" * (CHUNK + 40))
    border = header_size(data) + CHUNK + 16
    cuts = {0, 1, 5, 41, 42, 60, border - 1, border, border + 1, border + 15, border + 16, len(data) - 1}

    assert {refused(keys, data[:cut]).reason for cut in cuts} <= {"FILE_DAMAGED", "INVALID_CIPHERTEXT"}


def test_a_file_of_whole_chunks_cut_at_a_border_is_refused(keys: Keys) -> None:
    data = sealed(keys, b"x" * (3 * CHUNK))

    assert refused(keys, data[: header_size(data) + 2 * (CHUNK + 16)]).reason == "FILE_DAMAGED"
    assert refused(keys, data[: header_size(data)]).reason == "FILE_DAMAGED"


@pytest.mark.parametrize("more", [b"\0", b"\0" * 16, b"\0" * (CHUNK + 16)])
@pytest.mark.parametrize("size", [0, 5, CHUNK, 2 * CHUNK])
def test_an_extended_file_is_refused(keys: Keys, size: int, more: bytes) -> None:
    assert refused(keys, sealed(keys, b"x" * size) + more).reason == "FILE_DAMAGED"


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (0, 0, 2), (0, 2), (0, 1, 1, 2), (2,), (2, 1, 0)])
def test_reordered_dropped_and_repeated_chunks_are_refused(keys: Keys, order: tuple[int, ...]) -> None:
    data = sealed(keys, os.urandom(3 * CHUNK))
    start, size = header_size(data), CHUNK + 16
    parts = [data[start + number * size :][:size] for number in range(3)]

    assert refused(keys, data[:start] + b"".join(parts[number] for number in order)).reason == "FILE_DAMAGED"


def test_every_flipped_bit_of_the_head_and_of_the_chunks_is_refused(keys: Keys) -> None:
    data = sealed(keys, b"hello")

    for position in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            refused(keys, bytes(broken))


def test_the_head_of_another_file_is_refused(keys: Keys) -> None:
    one, other = sealed(keys, b"one"), sealed(keys, b"other")

    assert refused(keys, one[: header_size(one)] + other[header_size(other) :]).reason == "FILE_DAMAGED"


def test_another_context_does_not_open_the_file(keys: Keys) -> None:
    out = io.BytesIO()
    encrypt_file(keys, "alias/k", io.BytesIO(b"x"), out, context={"tenant": "blue"})

    assert refused(keys, out.getvalue()).reason == "INVALID_CIPHERTEXT"
    assert refused(keys, sealed(keys, b"x").replace(b"SRFILE", b"SRFYLE")).reason == "FILE_DAMAGED"


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_cleanly(data: bytes) -> None:
    refused(Keys(), data)
    refused(Keys(), b"SRFILE\x01\x10" + data)


def test_a_path_appears_whole_with_mode_0600(keys: Keys, tmp_path: Path) -> None:
    source, target, again = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    source.write_bytes(b"x" * 100_000)

    report = encrypt_file(keys, "alias/k", source, target)
    decrypt_file(keys, str(target), str(again))

    assert again.read_bytes() == source.read_bytes()
    assert (report.size, report.key_arn, report.key_version) == (100_000, ARN, 1)
    assert target.stat().st_mode & 0o777 == again.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize("nameless", [True, False])
def test_a_damaged_file_leaves_nothing_behind(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        monkeypatch.setattr("os.O_TMPFILE", os.O_DIRECTORY | os.O_EXCL | os.O_CREAT)
    source = tmp_path / "a"
    source.write_bytes(sealed(keys, b"secret" * 50_000)[:-1])

    with pytest.raises(errors.IntegrityError):
        decrypt_file(keys, source, tmp_path / "b")

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_files_without_nameless_ones_work_as_well(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool, overwrite: bool
) -> None:
    if not nameless:
        monkeypatch.setattr("os.O_TMPFILE", os.O_DIRECTORY | os.O_EXCL | os.O_CREAT)
    if overwrite:
        (tmp_path / "b").write_bytes(b"old")

    encrypt_file(keys, "alias/k", io.BytesIO(b"new"), tmp_path / "b", overwrite=overwrite)

    assert opened(keys, (tmp_path / "b").read_bytes()) == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_an_existing_target_is_kept_unless_told_otherwise(keys: Keys, tmp_path: Path) -> None:
    target = tmp_path / "b"
    target.write_bytes(b"old")

    with pytest.raises(errors.CallerError) as raised:
        encrypt_file(keys, "alias/k", io.BytesIO(b"new"), target)

    assert raised.value.reason == "FILE_PROBLEM"
    assert target.read_bytes() == b"old"
    assert keys.made == 0


@pytest.mark.parametrize("nameless", [True, False])
def test_a_target_that_appears_meanwhile_is_kept(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        monkeypatch.setattr("os.O_TMPFILE", os.O_DIRECTORY | os.O_EXCL | os.O_CREAT)
    target = tmp_path / "b"

    class Racing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            target.write_bytes(b"someone else")
            return super().read(size)

    with pytest.raises(errors.CallerError):
        encrypt_file(keys, "alias/k", Racing(b"new"), target)

    assert target.read_bytes() == b"someone else"


@pytest.mark.parametrize("name", ["missing/b", "a\0b", "\udcff/b"])
def test_paths_that_cannot_be_used_are_clean_errors(keys: Keys, tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(errors.CallerError) as reading:
        encrypt_file(keys, "alias/k", path, io.BytesIO())
    with pytest.raises(errors.CallerError) as writing:
        encrypt_file(keys, "alias/k", io.BytesIO(b"x"), path)
    with pytest.raises(errors.CallerError) as decrypting:
        decrypt_file(keys, io.BytesIO(sealed(keys, b"x")), path)

    assert {raised.value.reason for raised in (reading, writing, decrypting)} == {"FILE_PROBLEM"}


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a pipe"])
def test_only_regular_files_are_replaced(keys: Keys, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "b"
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        os.mkfifo(tmp_path / "pipe")
        target.symlink_to(tmp_path / "pipe")
    before = target.lstat().st_mode

    with pytest.raises(errors.CallerError):
        encrypt_file(keys, "alias/k", io.BytesIO(b"x"), target, overwrite=True)

    assert target.lstat().st_mode == before


def test_a_link_to_a_file_keeps_being_one(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")

    encrypt_file(keys, "alias/k", io.BytesIO(b"new"), tmp_path / "link", overwrite=True)

    assert (tmp_path / "link").is_symlink()
    assert opened(keys, (tmp_path / "real").read_bytes()) == b"new"


def test_a_failing_key_leaves_no_target(keys: Keys, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> DataKey:
        raise errors.error("KEY_DISABLED", "off")

    keys.generate_data_key = refuse  # type: ignore[method-assign]

    with pytest.raises(errors.KeyNotUsable):
        encrypt_file(keys, "alias/k", io.BytesIO(b"x"), tmp_path / "b")

    assert list(tmp_path.iterdir()) == []


def test_a_source_that_has_nothing_yet_is_not_taken_for_ended(keys: Keys, tmp_path: Path) -> None:
    class Stalling(io.BytesIO):
        turn = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.turn += 1
            return super().read(5) if self.turn == 1 else None  # type: ignore[return-value]

    with pytest.raises(errors.CallerError) as raised:
        encrypt_file(keys, "alias/k", Stalling(b"hello, and more"), tmp_path / "b")
    with pytest.raises(errors.CallerError):
        decrypt_file(keys, Stalling(sealed(keys, b"x")), tmp_path / "b")

    assert raised.value.reason == "FILE_PROBLEM"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("nameless", [True, False])
def test_a_rename_that_fails_leaves_no_plaintext(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        monkeypatch.setattr("os.O_TMPFILE", os.O_DIRECTORY | os.O_EXCL | os.O_CREAT)

    class Racing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            (tmp_path / "b").mkdir(exist_ok=True)
            return super().read(size)

    with pytest.raises(errors.CallerError):
        decrypt_file(keys, Racing(sealed(keys, b"secret")), tmp_path / "b", overwrite=True)

    assert [path.name for path in tmp_path.iterdir()] == ["b"]


class Endless:
    """A source of so many bytes that are nowhere kept."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int) -> bytes:
        given = min(size, self.left)
        self.left -= given
        return bytes(given)


def test_memory_does_not_grow_with_the_file() -> None:
    keys = fmt.derive(bytes(32), fmt.Header(fmt.CHUNK_BITS, bytes(32), b"sealed"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for _ in chunks.seal(Endless(200 << 20), CHUNK, keys):
        pass

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB


def test_progress_counts_every_byte_both_ways(keys: Keys, tmp_path: Path) -> None:
    done: list[int] = []
    encrypt_file(keys, "alias/k", io.BytesIO(b"x" * 200_000), tmp_path / "b", progress=done.append)
    assert sum(done) == 200_000
    done.clear()

    decrypt_file(keys, tmp_path / "b", io.BytesIO(), progress=done.append)

    assert sum(done) == 200_000


def test_a_killed_process_leaves_no_plaintext(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom strongroom.files.targets import whole_file\n"
        "with whole_file(Path(sys.argv[1]) / 'b', overwrite=False) as file:\n"
        "    file.write(b'secret')\n    file.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=30)

    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_nonces_never_repeat_and_end_before_the_counter_does() -> None:
    keys = fmt.derive(bytes(32), fmt.Header(fmt.CHUNK_BITS, bytes(32), b"sealed"))

    made = {keys.nonce(number, last=last) for number in (0, 1, 2, (1 << 32) - 1) for last in (False, True)}

    assert len(made) == 8
    assert {len(nonce) for nonce in made} == {12}
    with pytest.raises(errors.IntegrityError):
        keys.nonce(1 << 32, last=True)


def test_the_golden_file_is_as_the_document_says() -> None:
    """An independent reading of FORMAT.md, by HMAC and AES-GCM alone."""
    import hmac  # noqa: PLC0415 - the independent reader's own tools

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    data = GOLDEN.read_bytes()
    length = int.from_bytes(data[40:42], "big")
    header, commitment, body = data[: 42 + length], data[42 + length : 74 + length], data[74 + length :]
    data_key = header[42 : 42 + 32][::-1]
    prk = hmac.digest(header[8:40], data_key, "sha256")
    info, okm, block = b"strongroom.file.v1" + header, b"", b""
    for number in range(1, 4):
        block = hmac.digest(prk, block + info + bytes([number]), "sha256")
        okm += block
    size = (1 << header[7]) + 16
    parts = [body[at : at + size] for at in range(0, len(body), size)]

    plaintext = b"".join(
        AESGCM(okm[:32]).decrypt(
            okm[32:39] + number.to_bytes(4, "big") + bytes([number == len(parts) - 1]), part, None
        )
        for number, part in enumerate(parts)
    )

    assert okm[39:71] == commitment
    assert len(parts) == 2
    assert plaintext == b"Strongroom, format 1. " * 4_000
