"""The daemon's algorithms in PKCS#11's terms.

Mechanism, parameters, and what a token must offer for a spec.
"""

from dataclasses import dataclass
from typing import Final

from pkcs11.mechanisms import MGF, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

from strongroomd.domain.algorithms import (
    DIGESTS,
    SPECS,
    KeyFamily,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    Scheme,
    SigningAlgorithm,
)
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm.quirks import Quirks
from strongroomd.hsm.templates import duty_of

M = Mechanism


@dataclass(frozen=True, slots=True)
class Signing:
    """How an algorithm is asked of the token.

    Attributes:
        mechanism, parameter: as C_SignInit takes them.
        prefix: what precedes the digest (DigestInfo of PKCS#1 v1.5, RFC 8017 9.2 note 1).
    """

    mechanism: Mechanism
    parameter: tuple[Mechanism, MGF, int] | None = None
    prefix: bytes = b""


_DIGEST_INFO: Final = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_PSS: Final = {
    "sha256": (M.SHA256, MGF.SHA256, 32),
    "sha384": (M.SHA384, MGF.SHA384, 48),
    "sha512": (M.SHA512, MGF.SHA512, 64),
}


def _signing(algorithm: SigningAlgorithm) -> Signing:
    if algorithm is SigningAlgorithm.ED25519_SHA_512:
        return Signing(M.EDDSA)
    digest = DIGESTS[algorithm]
    if algorithm.startswith("RSASSA_PSS"):
        return Signing(M.RSA_PKCS_PSS, _PSS[digest])
    if algorithm.startswith("RSASSA_PKCS1"):
        return Signing(M.RSA_PKCS, prefix=_DIGEST_INFO[digest])
    return Signing(M.ECDSA)


SIGNING: Final[dict[SigningAlgorithm, Signing]] = {a: _signing(a) for a in SigningAlgorithm}

MACS: Final[dict[MacAlgorithm, Mechanism]] = {
    MacAlgorithm.HMAC_SHA_224: M.SHA224_HMAC,
    MacAlgorithm.HMAC_SHA_256: M.SHA256_HMAC,
    MacAlgorithm.HMAC_SHA_384: M.SHA384_HMAC,
    MacAlgorithm.HMAC_SHA_512: M.SHA512_HMAC,
}

CURVES: Final[dict[KeySpec, bytes]] = {
    KeySpec.ECC_NIST_P256: encode_named_curve_parameters("secp256r1"),
    KeySpec.ECC_NIST_P384: encode_named_curve_parameters("secp384r1"),
    KeySpec.ECC_NIST_P521: encode_named_curve_parameters("secp521r1"),
    KeySpec.ECC_SECG_P256K1: encode_named_curve_parameters("secp256k1"),
    KeySpec.ECC_NIST_EDWARDS25519: encode_named_curve_parameters("1.3.101.112"),
}

GENERATION: Final[dict[KeyFamily, tuple[KeyType, Mechanism]]] = {
    KeyFamily.AES: (KeyType.AES, M.AES_KEY_GEN),
    KeyFamily.HMAC: (KeyType.GENERIC_SECRET, M.GENERIC_SECRET_KEY_GEN),
    KeyFamily.RSA: (KeyType.RSA, M.RSA_PKCS_KEY_PAIR_GEN),
    KeyFamily.EC: (KeyType.EC, M.EC_KEY_PAIR_GEN),
    KeyFamily.EDWARDS: (KeyType.EC_EDWARDS, M.EC_EDWARDS_KEY_PAIR_GEN),
}

INLINE_SIGNING: Final = frozenset((KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_EDWARDS25519))
"""Specs whose signature takes the token less than about 300 us (measured: P-256 105, Ed25519 280, P-521 390,
secp256k1 710, P-384 1,180, RSA-2048 1,200): made on the event loop, since a hop to a thread costs 160 us."""

HOUSE_MECHANISMS: Final = frozenset(
    (M.AES_KEY_GEN, M.GENERIC_SECRET_KEY_GEN, M.EC_KEY_PAIR_GEN, M.AES_KEY_WRAP_PAD, M.SHA256_HMAC, M.ECDSA)
)
"""What the daemon itself needs, whatever keys its callers make."""


SYMMETRIC_CHOICES: Final[dict[str, Scheme | None]] = {
    "auto": None,
    "xaes": Scheme.DEFAULT,
    "aes-gcm": Scheme.AES_GCM,
}
"""The setting `hsm.symmetric`: the scheme of new symmetric versions; None takes what the token has."""


class Offer:
    """What one token can do.

    Args:
        mechanisms: numbers of C_GetMechanismList.
        quirks: the module's differences.
        symmetric: one of `SYMMETRIC_CHOICES`.
    """

    def __init__(self, mechanisms: set[int], quirks: Quirks, symmetric: str) -> None:
        self._mechanisms = mechanisms
        self._quirks = quirks
        self._symmetric = SYMMETRIC_CHOICES[symmetric]

    def missing(self, wanted: frozenset[Mechanism]) -> list[str]:
        """Name the wanted mechanisms that the token lacks."""
        return sorted(f"CKM_{m.name}" for m in wanted if int(m) not in self._mechanisms)

    def has(self, *wanted: Mechanism) -> bool:
        """Tell whether the token has all of them."""
        return not self.missing(frozenset(wanted))

    def scheme(self, spec: KeySpec) -> Scheme:
        """Choose the scheme of a new version; XAES-256-GCM where the choice is free and the token has it."""
        if SPECS[spec].family is not KeyFamily.AES:
            return Scheme.DEFAULT
        if self._symmetric is not None:
            return self._symmetric
        return Scheme.DEFAULT if self.has(M.AES_ECB_ENCRYPT_DATA) else Scheme.AES_GCM

    def placement(
        self, spec: KeySpec, usage: KeyUsage, mode: CustodyMode | None, *, exportable: bool
    ) -> tuple[CustodyMode, str]:
        """See `Vault.placement`."""
        family = SPECS[spec].family
        if mode is CustodyMode.ADOPTED:
            raise invalid("custody_mode", "is not for new material: AdoptKey adopts what is there")
        self._need(needs(spec, usage, self.scheme(spec)), spec)
        obstacle = self._wrapping_obstacle(family)
        if mode is CustodyMode.RESIDENT:
            if exportable:
                raise StrongroomError(
                    Reason.INVALID_FIELD, "a resident key cannot be exportable", field="exportable"
                )
            return CustodyMode.RESIDENT, ""
        if not obstacle:
            return CustodyMode.WRAPPED, ""
        if mode is CustodyMode.WRAPPED or exportable:
            raise _unsupported(obstacle)
        return CustodyMode.RESIDENT, f"resident because {obstacle}"

    def _wrapping_obstacle(self, family: KeyFamily) -> str:
        if not self.has(M.AES_KEY_WRAP_PAD):
            return "the token lacks CKM_AES_KEY_WRAP_PAD"
        if family in self._quirks.unwrappable:
            return f"the token's CKM_AES_KEY_WRAP_PAD cannot wrap {GENERATION[family][0].name} private keys"
        return ""

    def _need(self, wanted: frozenset[Mechanism], spec: KeySpec) -> None:
        if missing := self.missing(wanted):
            raise _unsupported(f"{spec} needs {', '.join(missing)}, which the token lacks")


def needs(spec: KeySpec, usage: KeyUsage, scheme: Scheme) -> frozenset[Mechanism]:
    """List the mechanisms that making and using such a key takes."""
    family = SPECS[spec].family
    extra = {M.AES_GCM} if family is KeyFamily.AES else set()
    return frozenset({GENERATION[family][1], *duty_of(spec, usage, scheme).mechanisms, *extra})


def _unsupported(message: str) -> StrongroomError:
    return StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, message)
