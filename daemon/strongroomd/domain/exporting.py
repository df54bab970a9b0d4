"""How a key may leave: levels, recipients, algorithms, and the registered wrapping keys.

A level says where the key was in clear on its way: `token`, nowhere but in the HSM; `host-ephemeral`, the
one-time AES key over it passed through the daemon's memory; `host`, the key itself did. Level and recipient
decide the algorithm (`ALGORITHMS`), so that nobody can ask for one and get another.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.names import plain_text
from strongroomd.domain.protection import Record
from strongroomd.domain.tokens import MAIN

MIN_RECIPIENT_BITS: Final = 2_048
MAX_RECIPIENT_BITS: Final = 8_192
MAX_WRAPPING_KEYS: Final = 100  # of one account
MAX_WRAPPING_KEY_NAME: Final = 128  # characters
WRAPPING_KEY_BYTES: Final = 8
_WRAPPING_KEY: Final = re.compile(r"wk-[0-9a-f]{16}", re.ASCII)


class ExportLevel(StrEnum):
    """Where a key was in clear on its way out, the strictest first."""

    TOKEN = "token"  # noqa: S105 - a place
    HOST_EPHEMERAL = "host-ephemeral"
    HOST = "host"

    def satisfies(self, least: "ExportLevel") -> bool:
        """Say whether this level is as strict as another, or stricter."""
        order = list(ExportLevel)
        return order.index(self) <= order.index(least)


class WrappingKeyKind(StrEnum):
    """What a wrapping key is: a recipient's RSA public key, or an AES key that HSM and recipient share."""

    RSA = "RSA"
    AES = "AES"


class ExportAlgorithm(StrEnum):
    """How a key is wrapped on its way out (PKCS#11 v2.40, RFC 8017, RFC 5649)."""

    RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1"
    RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    AES_KEY_WRAP_PAD = "AES_KEY_WRAP_PAD"


ALGORITHMS: Final[dict[tuple[ExportLevel, WrappingKeyKind], ExportAlgorithm]] = {
    (ExportLevel.TOKEN, WrappingKeyKind.RSA): ExportAlgorithm.RSA_AES_KEY_WRAP_SHA_1,
    (ExportLevel.TOKEN, WrappingKeyKind.AES): ExportAlgorithm.AES_KEY_WRAP_PAD,
    (ExportLevel.HOST_EPHEMERAL, WrappingKeyKind.RSA): ExportAlgorithm.RSA_AES_KEY_WRAP_SHA_256,
    (ExportLevel.HOST, WrappingKeyKind.RSA): ExportAlgorithm.RSAES_OAEP_SHA_256,
}
"""The algorithm of each level and recipient. SoftHSM has OAEP with SHA-1 only, hence `host-ephemeral`."""

_SECRETS: Final = frozenset({KeyFamily.AES, KeyFamily.HMAC})


def algorithm_of(level: ExportLevel, kind: WrappingKeyKind, spec: KeySpec) -> ExportAlgorithm:
    """Give the algorithm by which a key leaves.

    Raises:
        StrongroomError: INVALID_FIELD (`level`) for a level that recipient or key does not go with.
    """
    algorithm = ALGORITHMS.get((level, kind))
    if algorithm is None:
        raise invalid("level", "does not go with an AES wrapping key, which works at level token")
    if algorithm is ExportAlgorithm.RSAES_OAEP_SHA_256 and SPECS[spec].family not in _SECRETS:
        raise invalid("level", "host is for symmetric and HMAC keys: a key pair is too long for OAEP")
    return algorithm


def require_token(kind: WrappingKeyKind, token: str) -> None:
    """Refuse an AES wrapping key for a key of a further token: it is in the main one, and cannot leave it.

    Args:
        kind: of the recipient.
        token: the name of the token that the key's versions live in; empty for the main one.

    Raises:
        StrongroomError: UNSUPPORTED_BY_TOKEN (`wrapping_key_id`).
    """
    if kind is WrappingKeyKind.AES and token != MAIN:
        text = "an AES wrapping key works for keys of the main token only: name the recipient's RSA key"
        raise StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, text, field="wrapping_key_id")


def require_level(level: ExportLevel, least: ExportLevel) -> None:
    """Refuse a level that the configuration does not allow. Raises INVALID_FIELD (`level`)."""
    if not level.satisfies(least):
        raise invalid("level", "is less strict than the configuration demands (export.least_level)")


def wrapping_key_id(text: str, field: str = "wrapping_key_id") -> str:
    """Check the form of a wrapping key's id: `wk-` and 16 hexadecimal digits."""
    if not _WRAPPING_KEY.fullmatch(text):
        raise invalid(field, "must be wk- and 16 hexadecimal digits")
    return text


def wrapping_key_name(text: str, field: str = "name") -> str:
    """Check the name of a wrapping key: 1 to 128 printable characters."""
    if not text.strip():
        raise invalid(field, "must not be empty")
    if len(text) > MAX_WRAPPING_KEY_NAME:
        raise too_large(field, MAX_WRAPPING_KEY_NAME, "characters")
    return plain_text(text, field)


@dataclass(frozen=True, slots=True)
class WrappingKeyRecord(Record):
    """A wrapping key that was registered under dual control, so that exports may name it.

    Attributes:
        wrapping_key_id: `wk-` and 16 hex digits.
        account: 12 digits.
        name: what people call it.
        public_key: DER SubjectPublicKeyInfo of the recipient's RSA key.
        kek_id: CKA_ID (hex) of the KEK that wraps `blob`; empty for RSA.
        blob: the AES key under that KEK, so that only this house's tokens can use it; empty for RSA.
        transport: the AES key wrapped to `public_key` for the recipient (RSA_AES_KEY_WRAP_SHA_1), or empty.
        registered_by: ARN.
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "wrapping_key"
    wrapping_key_id: str
    account: str
    name: str
    kind: WrappingKeyKind
    public_key: bytes
    kek_id: str
    blob: bytes
    transport: bytes
    registered_by: str
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The id."""
        return self.wrapping_key_id


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a key is wrapped for.

    Attributes:
        public_key: DER SubjectPublicKeyInfo of an RSA key.
        kek_id, blob: of a shared AES wrapping key, as its record has them; else empty.
    """

    public_key: bytes
    kek_id: str = ""
    blob: bytes = b""

    @property
    def kind(self) -> WrappingKeyKind:
        """What wraps."""
        return WrappingKeyKind.AES if self.blob else WrappingKeyKind.RSA


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A new AES wrapping key, as the HSM gives it; the fields are those of `WrappingKeyRecord`."""

    kek_id: str
    blob: bytes
    transport: bytes


def not_exportable() -> StrongroomError:
    """Make the refusal for a key that was not created exportable."""
    return StrongroomError(Reason.NOT_EXPORTABLE, field="key")
