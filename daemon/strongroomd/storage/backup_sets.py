"""The files of a backup set (domain/backups.py): written so that there is a whole one or none, and read back.

Nothing is held in memory whole: the archive is made by one thread and encrypted by another, a pipe between
them. Everything here blocks: call it in a thread, or in a command.
"""

import hashlib
import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import orjson
import pyrage

from strongroomd.domain.audit import canonical
from strongroomd.domain.backups import (
    MANIFEST,
    MAX_MANIFEST,
    PAYLOAD,
    SIGNATURE,
    STATEMENT,
    Manifest,
    Member,
    damaged,
    parse_manifest,
)
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.statements import MAX_STATEMENT
from strongroomd.storage import durable
from strongroomd.telemetry import failpoints

_MAX_SIGNATURE: Final = 256  # bytes; DER of two 256-bit numbers has 72 at most
_BLOCK: Final = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be saved: its place in the archive, and where its bytes are.

    Attributes:
        member: path, size and hash; a longer file is saved up to that size.
        path: where it is.
    """

    member: Member
    path: Path


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted payload.

    Attributes:
        sha256: hexadecimal.
        size: bytes.
    """

    sha256: str
    size: int


def source(member: str, path: Path, size: int | None = None) -> Source:
    """Describe a file as it is now, or its first `size` bytes. Raises STORE_UNAVAILABLE."""
    try:
        length = path.stat().st_size if size is None else size
        return Source(Member(member, length, durable.digest_of(path, length)), path)
    except (OSError, EOFError) as error:
        raise _unreadable(member) from error


def parse_recipients(texts: Sequence[str]) -> list[pyrage.x25519.Recipient]:
    """Read the public keys that sets are encrypted to (`age1...`).

    Raises:
        StrongroomError: CONFIGURATION for none, or for anything else.
    """
    try:
        recipients = [pyrage.x25519.Recipient.from_str(text) for text in texts]
    except (pyrage.RecipientError, ValueError) as error:
        raise _bad_recipients("each line must be an age public key, age1...") from error
    if not recipients:
        raise _bad_recipients("at least one age public key is needed")
    return recipients


def new_identity() -> tuple[str, str]:
    """Make a key pair for sets: the private key, `AGE-SECRET-KEY-1...`, and its public half, `age1...`."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


class SetWriter:
    """Writes one set; what is unfinished has a name that no reader takes.

    Args:
        folder: where sets are kept.
        name: the new set's.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._place = folder / name
        self._partial = folder / f".{name}.partial"

    def begin(self) -> None:
        """Make the unfinished set's folder. Raises CONFIGURATION if that is impossible."""
        try:
            self._partial.mkdir(mode=0o700)
        except OSError as error:
            detail = f"{self._partial.parent}: {error.strerror}"
            message = "sets cannot be written there"
            raise StrongroomError(
                Reason.CONFIGURATION, message, field="backup.directory", detail=detail
            ) from error

    def seal(self, manifest: bytes, sources: Sequence[Source], recipients: Sequence[str]) -> Sealed:
        """Archive and encrypt everything into the payload.

        Raises:
            StrongroomError: CONFIGURATION for recipients, STORE_UNAVAILABLE when a file cannot be read, or is
                not any more what it was when it was described.
        """
        keys = parse_recipients(recipients)
        with _created(self._partial / PAYLOAD) as file:
            counting = _Hashing(file)
            _through_pipe(
                lambda write: _archive(write, manifest, sources),
                lambda read: pyrage.encrypt_io(read, counting, keys),
            )
            file.flush()
            os.fsync(file.fileno())
        return Sealed(counting.digest.hexdigest(), counting.size)

    def finish(self, statement: bytes, signature: bytes) -> Path:
        """Add what the house says, and give the set its name; it is whole and durable then."""
        durable.write_new(self._partial / STATEMENT, statement)
        durable.write_new(self._partial / SIGNATURE, signature)
        failpoints.reach("backup.5")
        self._partial.rename(self._place)
        durable.sync(self._place.parent)
        return self._place

    def abandon(self) -> None:
        """Remove what is unfinished."""
        shutil.rmtree(self._partial, ignore_errors=True)


def remove_unfinished(folder: Path) -> int:
    """Remove what backups left behind that were cut off; gives how many. No backup may be under way."""
    left = [path for path in folder.glob(".*.partial") if path.is_dir()]
    for path in left:
        shutil.rmtree(path)
    return len(left)


@dataclass(frozen=True, slots=True)
class SetFiles:
    """A set's two small files, as they are, and where its payload is; nothing of it is verified."""

    statement: bytes
    signature: bytes
    payload: Path


def read_set(folder: Path) -> SetFiles:
    """Read a set's statement and signature.

    Raises:
        StrongroomError: INTEGRITY_FAILURE if it is no whole set.
    """
    try:
        if not (folder / PAYLOAD).is_file():
            raise damaged("the folder holds no payload")
        return SetFiles(
            _bounded(folder / STATEMENT, MAX_STATEMENT),
            _bounded(folder / SIGNATURE, _MAX_SIGNATURE),
            folder / PAYLOAD,
        )
    except OSError as error:
        raise damaged(f"a file of the set cannot be read: {error.strerror}") from error


def check_payload(payload: Path, sha256: str, size: int) -> None:
    """Compare a payload with what the statement says. Raises INTEGRITY_FAILURE."""
    try:
        if payload.stat().st_size != size or durable.digest_of(payload) != sha256:
            raise damaged("the payload is not the one that was signed")
    except (OSError, EOFError) as error:
        raise damaged("the payload cannot be read") from error


def decrypt_payload(payload: Path, identity: Path, archive: Path) -> None:
    """Decrypt a payload into a new file with the recipients' private key (an age identity file).

    Raises:
        StrongroomError: CONFIGURATION for an identity file that is none; INTEGRITY_FAILURE when it is
        another's,
            or the payload is damaged: no more is told apart.
    """
    identities = _identities(identity)
    try:
        with payload.open("rb") as sealed, _created(archive) as plain:
            pyrage.decrypt_io(sealed, plain, identities)
            plain.flush()
            os.fsync(plain.fileno())
    except (pyrage.DecryptError, OSError) as error:
        archive.unlink(missing_ok=True)
        raise damaged("the payload does not open with this identity") from error


def unpack(
    archive: Path, manifest_sha256: str, places: Callable[[Manifest], Callable[[str], Path]]
) -> Manifest:
    """Take a decrypted archive apart, comparing every member with the manifest; nothing else is written.

    Args:
        archive: the tar file.
        manifest_sha256: what the statement says of the manifest.
        places: given the verified manifest, says where each member goes; folders are made.

    Raises:
        StrongroomError: INTEGRITY_FAILURE if a member is missing, twice there, unknown, of another size or
        hash,
            or anything but a plain file.
    """
    try:
        with tarfile.open(archive, mode="r:") as tar:
            members = iter(tar)
            manifest = _manifest_of(tar, next(members, None), manifest_sha256)
            place = places(manifest)
            expected = {member.path: member for member in manifest.members}
            for found in members:
                member = expected.pop(found.name, None)
                if member is None or not found.isreg() or found.size != member.size:
                    raise damaged("the archive holds a member that the manifest does not name so")
                _extract(tar, found, member, place(member.path))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise damaged(f"the archive cannot be read: {type(error).__name__}") from error
    if expected:
        raise damaged("a member that the manifest names is missing")
    return manifest


def _manifest_of(tar: tarfile.TarFile, first: tarfile.TarInfo | None, sha256: str) -> Manifest:
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_MANIFEST:
        raise damaged("the archive does not begin with a manifest")
    stream = tar.extractfile(first)
    data = stream.read() if stream else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise damaged("the manifest is not the one that was signed")
    fields = orjson.loads(data)
    if canonical(fields) != data:
        raise damaged("the manifest is not in its one form")
    return parse_manifest(fields)


def _extract(tar: tarfile.TarFile, found: tarfile.TarInfo, member: Member, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stream = tar.extractfile(found)
    if stream is None:
        raise damaged("a member is no plain file")
    with _created(target) as file:
        writer = _Hashing(file)
        shutil.copyfileobj(stream, writer, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    if writer.digest.hexdigest() != member.sha256:
        raise damaged("a member is not the one that was signed")


def _archive(write: BinaryIO, manifest: bytes, sources: Sequence[Source]) -> None:
    with tarfile.open(fileobj=write, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_entry(MANIFEST, len(manifest)), io.BytesIO(manifest))
        for each in sources:
            with each.path.open("rb") as file:
                reader = _Verified(file, each.member)
                tar.addfile(_entry(each.member.path, each.member.size), reader)
                reader.demand_the_same()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


def _through_pipe(produce: Callable[[BinaryIO], None], consume: Callable[[BinaryIO], object]) -> None:
    """Run a producer in a thread of its own and the consumer here; whatever either raises is raised."""
    reading, writing = os.pipe()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with os.fdopen(writing, "wb") as file:
                produce(file)
        except BaseException as error:  # noqa: BLE001 - raised again where the work was asked for
            failures.append(error)

    thread = threading.Thread(target=work, name="backup-archive")
    thread.start()
    try:
        with os.fdopen(reading, "rb") as file:
            consume(file)
    finally:
        thread.join()
    if failures:
        raise (
            failures[0] if isinstance(failures[0], StrongroomError) else _unreadable("a file")
        ) from failures[0]


class _Hashing:
    """A file to write to that counts and hashes what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


class _Verified:
    """The first bytes of a file that must still be those that were described."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self._file = file
        self._member = member
        self._left = member.size
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._digest.update(data)
        return data

    def demand_the_same(self) -> None:
        if self._left or self._digest.hexdigest() != self._member.sha256:
            raise _unreadable(self._member.path)


def _identities(path: Path) -> list[pyrage.x25519.Identity]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (OSError, ValueError, pyrage.IdentityError) as error:
        raise _bad_identity() from error
    if not found:
        raise _bad_identity()
    return found


def _bad_identity() -> StrongroomError:
    return invalid("identity", "must be an age identity file: one AGE-SECRET-KEY-1... on a line")


def _bad_recipients(message: str) -> StrongroomError:
    return StrongroomError(Reason.CONFIGURATION, message, field="backup.recipients_file")


def _created(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise damaged(f"{path.name} is too long")
    return data


def _unreadable(what: str) -> StrongroomError:
    detail = f"{what} cannot be read, or changed while it was saved"
    return StrongroomError(Reason.STORE_UNAVAILABLE, detail=detail, retry_after=1.0)
