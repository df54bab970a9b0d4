"""A backup set: what it holds, and what is said and signed of it. Its files are read and written by storage.

A set is a folder of three files, so that any `sha256sum`, `openssl` and `age` can look into it:

    payload.age      a tar archive, encrypted to the offline recipients (age-encryption.org/v1)
    statement.json   what was saved, when, and the payload's hash: a statement of the house (statements.py)
    statement.sig    its signature: ECDSA P-256 SHA-256, DER

The archive's first member is `manifest.json`, which names every other member with its size and hash; the
statement names the manifest's own. Nothing of a set is believed before all of that has been compared.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from strongroomd.domain.audit import canonical
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.statements import Statement

KIND: Final = "backup-set"
"""Of statements; a set of another format would have another kind."""

PAYLOAD: Final = "payload.age"
STATEMENT: Final = "statement.json"
SIGNATURE: Final = "statement.sig"

MANIFEST: Final = "manifest.json"
STORE: Final = "store.sqlite"
KEYS: Final = "keys.jsonl"
CONFIG: Final = "strongroomd.toml"
AUDIT: Final = "audit/"
TOKENS: Final = "tokens/"
TLS: Final = "tls/"

MAX_MANIFEST: Final = 64 << 20  # bytes: some 400,000 files
_MEMBER: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}/){0,4}[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")

SOFTHSM_COPIED: Final = "copied into the set"
VENDOR: Final = "save the token by its vendor's own procedure, after this set and before it is relied on"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive.

    Attributes:
        path: relative, with `/` between; see `is_member`.
        size: bytes.
        sha256: hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SavedToken:
    """A token of the house, and how it is saved.

    Attributes:
        name: as records name it, empty for the main one.
        serial: its serial number.
        description: what it said of itself.
        folder: member folder that holds a SoftHSM token directory's copy, or empty.
        procedure: what else is to be done to save it.
    """

    name: str
    serial: str
    description: str
    folder: str
    procedure: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in the archive.

    Attributes:
        tokens: the house's tokens.
        members: every file but the manifest, in the archive's order.
    """

    tokens: tuple[SavedToken, ...]
    members: tuple[Member, ...]

    def encoded(self) -> bytes:
        """Give the bytes of `manifest.json`."""
        fields = {"tokens": [asdict(token) for token in self.tokens]}
        return canonical(fields | {"members": [asdict(member) for member in self.members]})


@dataclass(frozen=True, slots=True)
class BackupClaims:
    """What the house claims of a set; which house and when, its statement says.

    Attributes:
        name: the set's, which is its folder's.
        node: the machine that made it.
        version: its daemon's.
        schema: revision of the store.
        journal_sequence, journal_head: how far the store goes (hexadecimal).
        checkpoint, checkpoint_digest: newest checkpoint of the audit log; 0 and zeros for none.
        keys: key versions that `keys.jsonl` lists.
        recipients: public keys that the payload is encrypted to.
        manifest_sha256, payload_sha256: hexadecimal.
        payload_bytes: size of the payload.
    """

    name: str
    node: str
    version: str
    schema: str
    journal_sequence: int
    journal_head: str
    checkpoint: int
    checkpoint_digest: str
    keys: int
    recipients: tuple[str, ...]
    manifest_sha256: str
    payload_sha256: str
    payload_bytes: int

    def claims(self) -> dict[str, Any]:
        """Give the claims of the statement."""
        return {**asdict(self), "recipients": list(self.recipients)}


def is_member(path: str) -> bool:
    """Tell whether a path may be in an archive: a few plain names, none of them hidden or leading upwards."""
    return _MEMBER.fullmatch(path) is not None


def is_name(text: str) -> bool:
    """Tell whether a text can be a set's name: its time and eight hexadecimal digits."""
    return _NAME.fullmatch(text) is not None


def claims_of(statement: Statement) -> BackupClaims:
    """Read what a statement claims of a set.

    Raises:
        StrongroomError: INTEGRITY_FAILURE for a statement about anything else, or of another format.
    """
    if statement.kind != KIND:
        raise damaged("the statement is about no backup set that this version knows")
    body = dict(statement.claims)
    body["recipients"] = tuple(_texts(body.get("recipients")))
    claims: BackupClaims = _record(BackupClaims, body, "statement")
    hashes = (claims.journal_head, claims.checkpoint_digest, claims.manifest_sha256, claims.payload_sha256)
    if not all(map(_SHA256.fullmatch, hashes)):
        raise damaged("the statement holds no hash where one belongs")
    if not is_name(claims.name):
        raise damaged("the statement names no set")
    return claims


def parse_manifest(fields: object) -> Manifest:
    """Make a manifest of `manifest.json`'s content.

    Raises:
        StrongroomError: INTEGRITY_FAILURE for anything but what `Manifest.encoded` gives.
    """
    body = _table(fields, "manifest")
    if set(body) != {"tokens", "members"}:
        raise damaged("the manifest has other fields than it should")
    tokens = tuple(_record(SavedToken, token, "manifest") for token in _list(body["tokens"]))
    members = tuple(_record(Member, member, "manifest") for member in _list(body["members"]))
    paths = [member.path for member in members]
    if len(set(paths)) != len(paths) or MANIFEST in paths or not all(map(is_member, paths)):
        raise damaged("the manifest names a member twice, or one that cannot be")
    if any(member.size < 0 or not _SHA256.fullmatch(member.sha256) for member in members):
        raise damaged("the manifest names a member without size and hash")
    return Manifest(tokens, members)


def damaged(detail: str) -> StrongroomError:
    """Make the error for a set that is not whole; nothing of it is used."""
    return StrongroomError(Reason.INTEGRITY_FAILURE, "the backup set is not whole", detail=detail)


def _record(kind: type[Any], body: object, what: str) -> Any:  # noqa: ANN401 - an object of `kind`
    """Make a dataclass of a table that has exactly its fields, each exactly of its type."""
    table = _table(body, what)
    types = kind.__annotations__
    wrong = [name for name, value in table.items() if type(value) is not _PLAIN.get(types.get(name))]
    if set(table) != set(types) or wrong:
        raise damaged(f"the {what} has other fields than it should")
    return kind(**table)


_PLAIN: Final[dict[object, type]] = {str: str, int: int, tuple[str, ...]: tuple}


def _table(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise damaged(f"the {what} is no table")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise damaged("the manifest holds no list where one belongs")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise damaged("the statement names no recipients")
    return value
