"""What may be imported and how: wrapping algorithms, levels, expiry, import tokens (AWS KMS: imported keys).

The level says where the material was in clear: `token` only inside the HSM; `host-ephemeral` inside as well,
but the one-time AES key that carried it passed through the daemon's memory; `host` the material itself did.
It follows from the algorithm, because SoftHSM has OAEP with SHA-1 alone: what has SHA-256 is unpadded here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.limits import IMPORT_DAYS, IMPORT_TOKEN_LIFETIME

_DAY_MS: Final = 24 * 3600 * 1000


class WrappingAlgorithm(StrEnum):
    """How material is wrapped for its way into the HSM, under AWS KMS's names."""

    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1"
    RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256"

    @property
    def is_sha256(self) -> bool:
        """Whether OAEP's hash is SHA-256, which SoftHSM lacks."""
        return self.value.endswith("SHA_256")

    @property
    def has_key_wrap(self) -> bool:
        """Whether a one-time AES key carries the material (PKCS#11 v2.40, 2.1.22), not OAEP itself."""
        return self.value.startswith("RSA_AES_KEY_WRAP")


class WrappingKeySpec(StrEnum):
    """The pair whose public half wraps; the private half never leaves the HSM."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"

    @property
    def bits(self) -> int:
        """Size of the modulus."""
        return SPECS[self.spec].bits

    @property
    def spec(self) -> KeySpec:
        """The same among the key specs."""
        return KeySpec(self.value)


class ImportLevel(StrEnum):
    """Where imported material was in clear, strictest first (module text)."""

    TOKEN = "token"  # noqa: S105 - a place, not a password
    HOST_EPHEMERAL = "host-ephemeral"
    HOST = "host"

    def satisfies(self, least: "ImportLevel") -> bool:
        """Say whether this level is as strict as another or stricter."""
        order = list(ImportLevel)
        return order.index(self) <= order.index(least)


class ExpirationModel(StrEnum):
    """Whether imported material goes by itself, at `valid_to`."""

    KEY_MATERIAL_EXPIRES = "KEY_MATERIAL_EXPIRES"
    KEY_MATERIAL_DOES_NOT_EXPIRE = "KEY_MATERIAL_DOES_NOT_EXPIRE"


class ImportType(StrEnum):
    """Whether material is new to a key, or must be some that it had before."""

    EXISTING_KEY_MATERIAL = "EXISTING_KEY_MATERIAL"
    NEW_KEY_MATERIAL = "NEW_KEY_MATERIAL"


_A = WrappingAlgorithm
LEVELS: Final[dict[WrappingAlgorithm, tuple[ImportLevel, ...]]] = {
    _A.RSAES_OAEP_SHA_1: (ImportLevel.TOKEN,),
    _A.RSAES_OAEP_SHA_256: (ImportLevel.HOST,),
    _A.RSA_AES_KEY_WRAP_SHA_1: (ImportLevel.TOKEN,),
    _A.RSA_AES_KEY_WRAP_SHA_256: (ImportLevel.HOST_EPHEMERAL, ImportLevel.HOST),
}
"""At which levels each algorithm works, the first where nobody asks for another."""

_TOO_LONG_FOR_OAEP: Final = frozenset({(KeySpec.ECC_NIST_P521, WrappingKeySpec.RSA_2048)})
"""What AWS KMS does not take under OAEP alone: PKCS#8 of P-521 with its public key has 241 bytes."""


@dataclass(frozen=True, slots=True)
class Way:
    """How some material is to come in: checked by `settle_way`."""

    algorithm: WrappingAlgorithm
    wrapping_key: WrappingKeySpec
    level: ImportLevel


def settle_way(
    spec: KeySpec,
    algorithm: WrappingAlgorithm,
    wrapping_key: WrappingKeySpec,
    level: ImportLevel | None,
    least: ImportLevel,
) -> Way:
    """Settle how material of a key comes in.

    Args:
        spec: of the key.
        algorithm: how it will be wrapped.
        wrapping_key: under what.
        level: which the caller wants; None takes what the algorithm gives.
        least: which the configuration demands.

    Raises:
        StrongroomError: UNSUPPORTED_ALGORITHM (`wrapping_algorithm`, `wrapping_key_spec`) where they do not
            go with the material; INVALID_FIELD (`level`, `wrapping_algorithm`).
    """
    if not algorithm.has_key_wrap:
        _require_oaep_carries(spec, wrapping_key)
    offered = LEVELS[algorithm]
    chosen = level or offered[0]
    if chosen not in offered:
        raise invalid("level", f"this wrapping algorithm gives level {' or '.join(offered)}")
    if not chosen.satisfies(least):
        raise invalid("wrapping_algorithm", f"gives level {chosen}, and the configuration demands {least}")
    return Way(algorithm, wrapping_key, chosen)


def _require_oaep_carries(spec: KeySpec, wrapping_key: WrappingKeySpec) -> None:
    if SPECS[spec].family is KeyFamily.RSA:
        text = "an RSA private key is too long for OAEP: use RSA_AES_KEY_WRAP"
        raise StrongroomError(Reason.UNSUPPORTED_ALGORITHM, text, field="wrapping_algorithm")
    if (spec, wrapping_key) in _TOO_LONG_FOR_OAEP:
        text = "a P-521 private key is too long for OAEP under RSA_2048"
        raise StrongroomError(Reason.UNSUPPORTED_ALGORITHM, text, field="wrapping_key_spec")


def settle_expiry(model: ExpirationModel | None, valid_to: int, now: int) -> int:
    """Settle when material expires, in ms since the Unix epoch; 0 means never.

    Raises:
        StrongroomError: INVALID_FIELD (`valid_to`) where it is absent, in the past, over 365 days ahead, or
            of no use.
    """
    if model is ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE:
        if valid_to:
            raise invalid("valid_to", "is of no use where the material does not expire")
        return 0
    if not valid_to:
        raise invalid("valid_to", "must be set unless the material does not expire")
    if not now < valid_to <= now + IMPORT_DAYS * _DAY_MS:
        raise invalid("valid_to", f"must be in the future, at most {IMPORT_DAYS} days ahead")
    return valid_to


def model_of(expires_at: int) -> ExpirationModel:
    """Give the expiration model of material by when it expires, 0 for never."""
    model = ExpirationModel
    return model.KEY_MATERIAL_EXPIRES if expires_at else model.KEY_MATERIAL_DOES_NOT_EXPIRE


_VERSION: Final = b"\x01"
_TIME_BYTES: Final = 8
_MAC_BYTES: Final = 32
IMPORT_ID_BYTES: Final = 16
_BODY_BYTES: Final = 1 + _TIME_BYTES + IMPORT_ID_BYTES


@dataclass(frozen=True, slots=True)
class ImportToken:
    """What an import token says: which wrapping pair it belongs to, and until when.

    Layout: version (1), end in ms since the Unix epoch (8, big-endian), the pair's id (16), and a MAC over
    key id and all before it, made in the HSM. It is used up when the pair's record goes.

    Attributes:
        import_id: 32 hexadecimal digits.
        expires_at: ms since the Unix epoch.
    """

    import_id: str
    expires_at: int

    def message(self, key_id: str) -> bytes:
        """Give the bytes under the MAC."""
        return b"strongroom.import-token.v1" + key_id.encode() + b"\0" + self._body()

    def _body(self) -> bytes:
        return _VERSION + self.expires_at.to_bytes(_TIME_BYTES) + bytes.fromhex(self.import_id)

    def spell(self, mac: bytes) -> bytes:
        """Write the token."""
        return self._body() + mac


def fresh_token(import_id: str, now: int) -> ImportToken:
    """Make what a token says that is made now; it ends in 24 hours."""
    return ImportToken(import_id, now + IMPORT_TOKEN_LIFETIME * 1000)


def parse_token(raw: bytes) -> tuple[ImportToken, bytes]:
    """Read a token and its MAC, which is not verified here.

    Raises:
        StrongroomError: INVALID_IMPORT_TOKEN for what no daemon writes.
    """
    if len(raw) != _BODY_BYTES + _MAC_BYTES or not raw.startswith(_VERSION):
        raise refused_token()
    ends, import_id = raw[1 : 1 + _TIME_BYTES], raw[1 + _TIME_BYTES : _BODY_BYTES]
    return ImportToken(import_id.hex(), int.from_bytes(ends)), raw[_BODY_BYTES:]


def refused_token() -> StrongroomError:
    """Make the one answer for a token that is forged, of another key, or used up."""
    return StrongroomError(Reason.INVALID_IMPORT_TOKEN, field="import_token")
