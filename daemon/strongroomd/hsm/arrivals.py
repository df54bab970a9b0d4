"""What imported material must be: looked at before it is kept, and at level `host` before the token sees it.

`parsed` has the material itself and is strict: the form, every number, and whether they belong together.
`examine` has only a token object, whose secret nobody sees: it reads what is public of it, and has the key do
what it is for. So a private exponent that does not fit its primes is found by the first alone.
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from pkcs11.constants import Attribute

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage, signing_algorithms
from strongroomd.domain.errors import StrongroomError, invalid
from strongroomd.domain.rsastrength import RsaNumbers, private_weakness, public_weakness
from strongroomd.hsm import handles
from strongroomd.hsm.asymmetric import field_bytes
from strongroomd.hsm.checks import is_pair, signs
from strongroomd.hsm.gauging import is_of_length
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.mechanisms import CURVES as CURVE_PARAMETERS
from strongroomd.hsm.publickeys import CURVES, PublicKey
from strongroomd.hsm.templates import MASK

FIELD: Final = "encrypted_key_material"
_SECRETS: Final = (KeyFamily.AES, KeyFamily.HMAC)
_PKCS8: Final = (
    b"\x02\x01\x00\x30"  # after the outer header: version 0, then an AlgorithmIdentifier (RFC 5208)
)


def unfit(why: str) -> StrongroomError:
    """Refuse material; `why` states what is wrong and never quotes it."""
    return invalid(FIELD, why)


# --- in this process's memory ---


def parsed(value: bytes, spec: KeySpec) -> dict[Attribute, bytes]:
    """Read material in clear, and give the attributes that make it a token object.

    Args:
        value: an AES or HMAC key's bytes; a private key's PKCS#8, DER.
        spec: what it must be.

    Raises:
        StrongroomError: INVALID_FIELD with what is wrong.
    """
    family = SPECS[spec].family
    if family in _SECRETS:
        if len(value) != _length(spec):
            raise _other_length(spec)
        return {Attribute.VALUE: value}
    key = _private_key(value)
    if family is KeyFamily.RSA and isinstance(key, rsa.RSAPrivateKey):
        return _rsa_parts(key, spec)
    if family is KeyFamily.EC and isinstance(key, ec.EllipticCurvePrivateKey):
        return _ec_parts(key, spec)
    raise unfit(f"holds a private key that is no {family} key")


def _length(spec: KeySpec) -> int:
    return SPECS[spec].bits // 8


def _other_length(spec: KeySpec) -> StrongroomError:
    return unfit(f"holds a secret that is not {_length(spec)} bytes long")


def _private_key(value: bytes) -> object:
    if value[_header(value) :][: len(_PKCS8)] != _PKCS8:
        raise unfit("holds no PKCS#8 private key in DER (RFC 5208, unencrypted)")
    try:
        return load_der_private_key(value, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise unfit("holds a private key that is malformed, not consistent, or of a kind not known") from None


def _header(value: bytes) -> int:
    """Length of the outer SEQUENCE's header: one byte of tag, and one or more of length."""
    return 2 if len(value) < 2 or value[1] < 0x80 else 2 + (value[1] & 0x7F)


def _rsa_parts(key: rsa.RSAPrivateKey, spec: KeySpec) -> dict[Attribute, bytes]:
    values = key.private_numbers()
    public = values.public_numbers
    numbers = RsaNumbers(
        public.n, public.e, values.d, values.p, values.q, values.dmp1, values.dmq1, values.iqmp
    )
    why = public_weakness(public.n, public.e, SPECS[spec].bits) or private_weakness(numbers)
    if why:
        raise unfit(f"holds an RSA key that is not taken: {why}")
    parts = {
        Attribute.MODULUS: numbers.n,
        Attribute.PUBLIC_EXPONENT: numbers.e,
        Attribute.PRIVATE_EXPONENT: numbers.d,
        Attribute.PRIME_1: numbers.p,
        Attribute.PRIME_2: numbers.q,
        Attribute.EXPONENT_1: numbers.dp,
        Attribute.EXPONENT_2: numbers.dq,
        Attribute.COEFFICIENT: numbers.qi,
    }
    return {name: number.to_bytes((number.bit_length() + 7) // 8) for name, number in parts.items()}


def _ec_parts(key: ec.EllipticCurvePrivateKey, spec: KeySpec) -> dict[Attribute, bytes]:
    curve = CURVES[spec]
    if key.curve.name != curve.name:
        raise _other_curve(spec)
    scalar = key.private_numbers().private_value
    if ec.derive_private_key(scalar, curve).public_key() != key.public_key():
        raise unfit("holds a private key whose public half is another's")
    value = scalar.to_bytes(field_bytes(spec))
    return {Attribute.EC_PARAMS: CURVE_PARAMETERS[spec], Attribute.VALUE: value}


def _other_curve(spec: KeySpec) -> StrongroomError:
    return unfit(f"holds a private key of another curve than {CURVES[spec].name}")


# --- in the token ---


def examine(session: Session, held: TokenObject, spec: KeySpec, usage: KeyUsage) -> bytes:
    """Look at material in the token, and have a private key prove that it is one.

    Returns:
        The public half, DER SubjectPublicKeyInfo; empty for secrets.

    Raises:
        StrongroomError: INVALID_FIELD with what is wrong.
    """
    family = SPECS[spec].family
    if family in _SECRETS:
        if not is_of_length(session, held, _length(spec)):
            raise _other_length(spec)
        return b""
    public: PublicKey = (
        _rsa_public(held, spec) if family is KeyFamily.RSA else _ec_public(session, held, spec)
    )
    if not is_pair(session, held.handle, spec, usage, public):
        raise unfit("holds a private key that does not do what its public half undoes")
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _rsa_public(held: TokenObject, spec: KeySpec) -> rsa.RSAPublicKey:
    modulus = int.from_bytes(held[Attribute.MODULUS])
    exponent = int.from_bytes(held[Attribute.PUBLIC_EXPONENT])
    if why := public_weakness(modulus, exponent, SPECS[spec].bits):
        raise unfit(f"holds an RSA key that is not taken: {why}")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _ec_public(session: Session, held: TokenObject, spec: KeySpec) -> ec.EllipticCurvePublicKey:
    """Find the public half of a curve key: an agreement with the base point gives its x coordinate.

    Of the two points that have it, the right one verifies a signature.
    """
    if held[Attribute.EC_PARAMS] != CURVE_PARAMETERS[spec]:
        raise _other_curve(spec)
    size = field_bytes(spec)
    derived = handles.derive_ecdh(session, held.handle, _BASE_POINTS[spec], size, MASK)
    x = handles.take_value(derived)
    algorithm = signing_algorithms(spec, KeyUsage.SIGN_VERIFY)[0]
    for sign in (b"\x02", b"\x03"):
        point = ec.EllipticCurvePublicKey.from_encoded_point(CURVES[spec], sign + x)
        if signs(session, held.handle, algorithm, point):
            return point
    raise unfit("holds a private key that does not sign")


_BASE_POINTS: Final[dict[KeySpec, bytes]] = {
    spec: ec.derive_private_key(1, curve)
    .public_key()
    .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for spec, curve in CURVES.items()
}
